"""From a photo to the class of each of its pixels: `Segmenter("trained/run").segment("photo.jpg")`.

photo -> load -> preprocess, the whole photo -> Engine.run, window by window where it is large -> segment
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from verydeep.errors import ImageError, UsageError, VerydeepError
from verydeep.image.decode import PHOTO_FORMATS, name_of
from verydeep.image.preprocess import preprocess
from verydeep.image.stream import Size, Source, batches, load, stream
from verydeep.nouns import Failure, Photo, SegmentationPrediction
from verydeep.outputs.segments import segment, segmentation
from verydeep.predict.predictor import check_many
from verydeep.runtime import open_model
from verydeep.runtime.windows import WindowedEngine, photos_at_once


class Segmenter:
    """A model that tells what each pixel shows. Safe to share between threads.

    The whole photo is looked at, its shorter side scaled to what the model learnt; the answer has the photo's own size.
    The arguments are those of `Predictor`. Raises UsageError on a model that answers for whole photos.
    """

    def __init__(
        self,
        model: str | Path | None = None,
        *,
        engine: str = "auto",
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
        photos: int | None = None,
        formats: Sequence[str] = PHOTO_FORMATS,
    ) -> None:
        self.model = open_model(
            model, engine=engine, device=device, precision=precision, threads=threads, is_dense=True, photos=photos
        )
        architecture = self.model.info.architecture
        if architecture.task != "segment":
            raise UsageError(
                f"the model {self.model.path} has an answer for whole photos, not for each pixel.",
                "Ask it by Predictor, or train one of pixels: verydeep train DATA --recipe segment",
            )
        self.threads = threads
        self.formats = formats
        self._engine = WindowedEngine(self.model.engine, architecture)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their numbers in a mask."""
        return self.model.info.classes

    def segment(self, photo: Source) -> SegmentationPrediction:
        """The class of each pixel of one photo. Raises ImageError where it cannot be read."""
        loaded = load(photo, self.formats)
        return self._prediction(_path(photo), self.logits(loaded), (loaded.shape[0], loaded.shape[1]))

    def logits(self, photo: Source) -> np.ndarray:
        """What the network says of one photo, at the size that it looks at: (classes, h, w) float32. As `segment`."""
        image = preprocess(load(photo, self.formats), self.model.info.preprocessing, is_dense=True)
        found: np.ndarray = self._logits(image[np.newaxis])[0]
        return found

    def segment_many(
        self, photos: Iterable[Source], batch_size: int = 32
    ) -> Iterator[SegmentationPrediction | Failure]:
        """The answer for each photo, in the order given, or a Failure where it cannot be read.

        batch_size: photos at once, fewer where they are large. As with `Predictor.predict_many`, `photos` may be a
        generator. Raises UsageError on a single photo.
        """
        check_many(photos)
        return self._answers(photos, photos_at_once(self.model.info.preprocessing.resize, batch_size))

    def _answers(self, photos: Iterable[Source], batch_size: int) -> Iterator[SegmentationPrediction | Failure]:
        paths: deque[str] = deque()  # of the photos that are on their way
        sizes: dict[int, Size] = {}
        inputs = stream(
            _noting(photos, paths),
            self.model.info.preprocessing,
            is_dense=True,
            threads=self.threads,
            ahead=2 * batch_size,
            formats=self.formats,
            sizes=sizes,
        )
        for batch in batches(inputs, batch_size):
            images = [loaded for _, loaded in batch if isinstance(loaded, np.ndarray)]
            rows = iter(self._logits(np.stack(images)) if images else ())
            for position, loaded in batch:
                path = paths.popleft()
                if isinstance(loaded, ImageError):
                    yield Failure(path, loaded.message, loaded.hint)
                else:
                    yield self._prediction(path, next(rows), sizes.pop(position))

    def _logits(self, images: np.ndarray) -> np.ndarray:
        logits = self._engine.run(images)["logits"]
        if not np.isfinite(logits).all():
            raise VerydeepError(
                f"the network of {self.model.path} gives NaN or infinity.",
                "Run it with precision float32; if it already does, the model is damaged.",
            )
        return logits

    def _prediction(self, path: str, logits: np.ndarray, size: Size) -> SegmentationPrediction:
        return segmentation(segment(logits, size, self.model.info.calibration.temperature), self.classes, path)


def _path(photo: Source) -> str:
    return name_of(photo) if isinstance(photo, (str, Path, Photo)) else ""


def _noting(photos: Iterable[Source], paths: "deque[str]") -> Iterator[Source]:
    """The photos; the path of each is appended to `paths` when it is taken."""
    for photo in photos:
        paths.append(_path(photo))
        yield photo
