"""Photos -> what a network says of each, in their order: decoded ahead of it, in batches, errors in their place."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

import numpy as np

from verydeep.errors import ImageError, UsageError, VerydeepError
from verydeep.image.decode import PHOTO_FORMATS, name_of
from verydeep.image.preprocess import preprocess
from verydeep.image.stream import Size, Source, batches, load, stream
from verydeep.nouns import Failure, Photo, Preprocessing
from verydeep.runtime import OpenedModel

A = TypeVar("A")


class Origin(NamedTuple):
    """The photo that an input was made of."""

    path: str  # as it was given; "" for an array or bytes
    size: Size


Answer: TypeAlias = Callable[[np.ndarray, list[Origin]], Iterable[A]]
"""A batch of inputs, (n, channels, h, w) float32, and their photos -> an answer for each."""


@dataclass(frozen=True)
class Reader:
    """Makes the inputs of a network of photos."""

    preprocessing: Preprocessing
    threads: int | None  # that decode
    formats: Sequence[str] = PHOTO_FORMATS  # that are accepted
    is_dense: bool = False  # the whole photo is looked at, not its central crop

    def read(self, photo: Source) -> tuple[np.ndarray, list[Origin]]:
        """One photo as a batch, (1, channels, h, w) float32. Raises ImageError where it cannot be read."""
        loaded = load(photo, self.formats)
        image = preprocess(loaded, self.preprocessing, self.is_dense)
        return image[np.newaxis], [Origin(_path(photo), (loaded.shape[0], loaded.shape[1]))]

    def answers(
        self, photos: Iterable[Source], answer: Answer[A], batch_size: int
    ) -> Iterator[tuple[str, A | ImageError]]:
        """The path of each photo and the answer, or why it cannot be read. Raises UsageError on a single photo.

        No more than a few batches are held in memory, so `photos` may be a generator.
        """
        _check_many(photos)
        return self._answers(photos, answer, batch_size)

    def _answers(
        self, photos: Iterable[Source], answer: Answer[A], batch_size: int
    ) -> Iterator[tuple[str, A | ImageError]]:
        paths: deque[str] = deque()  # of the photos that are on their way
        sizes: dict[int, Size] = {}
        inputs = stream(
            _noting(photos, paths),
            self.preprocessing,
            self.is_dense,
            self.threads,
            ahead=2 * batch_size,
            formats=self.formats,
            sizes=sizes,
        )
        for batch in batches(inputs, batch_size):
            told = [(paths.popleft(), position, loaded) for position, loaded in batch]
            read = [(Origin(path, sizes.pop(at)), image) for path, at, image in told if isinstance(image, np.ndarray)]
            origins = [origin for origin, _ in read]
            found = iter(answer(np.stack([image for _, image in read]), origins) if read else ())
            for path, _, loaded in told:
                yield path, loaded if isinstance(loaded, ImageError) else next(found)


def or_failure(path: str, answer: A | ImageError) -> A | Failure:
    """The answer, or why there is none."""
    return Failure(path, answer.message, answer.hint) if isinstance(answer, ImageError) else answer


def check_finite(values: np.ndarray, model: OpenedModel) -> None:
    """Raises VerydeepError where a network gives what is no number."""
    if not np.isfinite(values).all():
        raise VerydeepError(
            f"the network of {model.path} gives NaN or infinity.",
            "Run it with precision float32; if it already does, the model is damaged.",
        )


def _check_many(photos: object) -> None:
    """Raises UsageError on one photo: a path is iterable, too, and its letters are no photos, nor an array's rows."""
    is_one_array = isinstance(photos, np.ndarray) and photos.ndim in (2, 3)
    if is_one_array or isinstance(photos, (str, bytes)) or not isinstance(photos, Iterable):
        raise UsageError(
            f"got a single {type(photos).__name__}; expected several photos, such as a list.",
            "Use predict for one photo, or put it in a list.",
        )


def _path(photo: Source) -> str:
    return name_of(photo) if isinstance(photo, (str, Path, Photo)) else ""


def _noting(photos: Iterable[Source], paths: "deque[str]") -> Iterator[Source]:
    """The photos; the path of each is appended to `paths` when it is taken."""
    for photo in photos:
        paths.append(_path(photo))
        yield photo
