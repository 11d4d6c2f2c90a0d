"""From a photo to what is on it: `Predictor().predict("photo.jpg")`.

    photo -> load -> preprocess -> Engine.run -> class_logits -> posteriors -> classify -> Prediction
                                             -> boxes, where the model has some or they are asked for

Each step is one function of a package below; this file only joins them.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from verydeep.errors import ImageError, UsageError, VerydeepError
from verydeep.image.decode import PHOTO_FORMATS, name_of
from verydeep.image.preprocess import preprocess
from verydeep.image.stream import Item, Size, Source, batches, load, stream
from verydeep.nouns import Failure, Photo, Prediction
from verydeep.outputs.classify import best_classes, class_logits, classify, posteriors
from verydeep.predict.boxes import locator
from verydeep.runtime import OpenedModel, open_model


class Predictor:
    """A model that answers. Safe to share between threads.

    model: a model file, a folder with one, or the name of a built-in model; by default the program's own. engine,
    device, precision, threads, photos: see `runtime.open_model`. formats: the kinds of picture files that are accepted.
    boxes: a classifier, too, says where each class is, as the part of the photo that speaks for it; a localiser
    always does. Raises UsageError where the model has no classes of photos.

    A photo is a path, the bytes of an image file, an array (H, W, 3) of uint8 RGB, or a Pillow image.
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
        boxes: bool = False,
    ) -> None:
        self.model = open_model(
            model, engine=engine, device=device, precision=precision, threads=threads, photos=photos
        )
        _check_answers(self.model)
        self.threads = threads
        self.formats = formats
        self._locator = locator(self.model, of_activation=boxes)

    @property
    def has_boxes(self) -> bool:
        """Whether predictions say where each class is."""
        return self._locator is not None

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of `predict_proba`'s columns."""
        return self.model.info.classes

    def predict(self, photo: Source, k: int = 5) -> Prediction:
        """The `k` most probable classes of one photo. Raises ImageError where it cannot be read."""
        loaded = load(photo, self.formats)
        image = preprocess(loaded, self.model.info.preprocessing)
        (prediction,) = self._predictions(image[np.newaxis], [(_path(photo), (loaded.shape[0], loaded.shape[1]))], k)
        return prediction

    def predict_many(
        self, photos: Iterable[Source], k: int = 5, batch_size: int = 32
    ) -> Iterator[Prediction | Failure]:
        """The answer for each photo, in the order given: a Prediction, or a Failure where it cannot be read.

        Photos are decoded by a few threads ahead of the engine, and no more than a few batches are held in memory,
        so `photos` may be a generator. Raises UsageError on a single photo.
        """
        check_many(photos)
        return self._answers(photos, k, batch_size)

    def predict_proba(self, photos: Iterable[Source], batch_size: int = 32) -> np.ndarray:
        """The probability of each class for each photo: (photos, classes) float64, each row adds to 1.

        Raises ImageError at the first photo that cannot be read, and UsageError on a single photo.
        """
        check_many(photos)
        rows = [np.empty((0, len(self.classes)))]
        for batch in batches(self._inputs(photos, batch_size), batch_size):
            rows.append(self._posteriors(self._run(np.stack([_input_or_raise(loaded) for _, loaded in batch]))))
        return np.concatenate(rows)

    def _answers(self, photos: Iterable[Source], k: int, batch_size: int) -> Iterator[Prediction | Failure]:
        paths: deque[str] = deque()  # of the photos that are on their way
        sizes: dict[int, Size] = {}
        for batch in batches(self._inputs(_noting(photos, paths), batch_size, sizes), batch_size):
            told = [(paths.popleft(), position, loaded) for position, loaded in batch]
            read = [(path, sizes.pop(place), loaded) for path, place, loaded in told if isinstance(loaded, np.ndarray)]
            images = [image for _, _, image in read]
            known = self._predictions(np.stack(images), [one[:2] for one in read], k) if images else iter(())
            for path, _, loaded in told:
                if isinstance(loaded, ImageError):
                    yield Failure(path, loaded.message, loaded.hint)
                else:
                    yield next(known)

    def _inputs(
        self, photos: Iterable[Source], batch_size: int, sizes: dict[int, Size] | None = None
    ) -> Iterator[Item]:
        preprocessing = self.model.info.preprocessing
        ahead = 2 * batch_size
        return stream(photos, preprocessing, threads=self.threads, ahead=ahead, formats=self.formats, sizes=sizes)

    def _predictions(self, images: np.ndarray, photos: Sequence[tuple[str, Size]], k: int) -> Iterator[Prediction]:
        """photos: the path and the size of each."""
        info = self.model.info
        values = self._run(images)
        for row, ((path, size), probabilities) in enumerate(zip(photos, self._posteriors(values), strict=True)):
            best = best_classes(probabilities, k).tolist()
            own = {name: array[row] for name, array in values.items()}
            boxes = self._locator.boxes(own, best, size) if self._locator else None
            yield classify(probabilities, info.classes, info.calibration, path, k, boxes=boxes)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        values = self.model.engine.run(images, self._locator.outputs if self._locator else ("logits",))
        if not np.isfinite(values["logits"]).all():
            raise VerydeepError(
                f"the network of {self.model.path} gives NaN or infinity.",
                "Run it with precision float32; if it already does, the model is damaged.",
            )
        return values

    def _posteriors(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        logits = class_logits(values["logits"], len(self.classes))
        return posteriors(logits, self.model.info.calibration.temperature)


def _check_answers(model: OpenedModel) -> None:
    """Raises UsageError on a model that names no class of a photo."""
    if model.info.architecture.task == "segment":
        raise UsageError(
            f"the model {model.path} has an answer for each pixel, not for the whole photo.",
            "Ask it by verydeep.predict.Segmenter.",
        )
    if model.info.architecture.task == "embed":
        raise UsageError(
            f"{model.path} makes embeddings of photos, and tells no classes.",
            "Find photos that are alike: verydeep search PHOTO --in FOLDER --model MODEL, in Python an Embedder.",
        )


def _path(photo: Source) -> str:
    return name_of(photo) if isinstance(photo, (str, Path, Photo)) else ""


def _noting(photos: Iterable[Source], paths: "deque[str]") -> Iterator[Source]:
    """The photos; the path of each is appended to `paths` when it is taken."""
    for photo in photos:
        paths.append(_path(photo))
        yield photo


def check_many(photos: object) -> None:
    """Raises UsageError on one photo: a path is iterable, too, and its letters are no photos, nor an array's rows."""
    is_one_array = isinstance(photos, np.ndarray) and photos.ndim in (2, 3)
    if is_one_array or isinstance(photos, (str, bytes)) or not isinstance(photos, Iterable):
        raise UsageError(
            f"got a single {type(photos).__name__}; expected several photos, such as a list.",
            "Use predict for one photo, or put it in a list.",
        )


def _input_or_raise(loaded: np.ndarray | ImageError) -> np.ndarray:
    if isinstance(loaded, ImageError):
        raise loaded
    return loaded
