"""From a photo to what is on it: `Predictor().predict("photo.jpg")`.

    photo -> load -> preprocess -> Engine.run -> class_logits -> posteriors -> classify -> Prediction
                                             -> boxes, where the model has some or they are asked for

Each step is one function of a package below; this file only joins them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from verydeep.errors import ImageError, UsageError
from verydeep.image.decode import PHOTO_FORMATS
from verydeep.image.stream import Source
from verydeep.nouns import Failure, Prediction
from verydeep.outputs.classify import best_classes, class_logits, classify, posteriors
from verydeep.predict.boxes import locator
from verydeep.predict.photos import Origin, Reader, check_finite, or_failure
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
        self._reader = Reader(self.model.info.preprocessing, threads, formats)
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
        (prediction,) = self._predictions(*self._reader.read(photo), k)
        return prediction

    def predict_many(
        self, photos: Iterable[Source], k: int = 5, batch_size: int = 32
    ) -> Iterator[Prediction | Failure]:
        """The answer for each photo, in the order given: a Prediction, or a Failure where it cannot be read.

        Photos are decoded by a few threads ahead of the engine, and no more than a few batches are held in memory,
        so `photos` may be a generator. Raises UsageError on a single photo.
        """
        answers = self._reader.answers(
            photos, lambda images, origins: self._predictions(images, origins, k), batch_size
        )
        return (or_failure(*answer) for answer in answers)

    def predict_proba(self, photos: Iterable[Source], batch_size: int = 32) -> np.ndarray:
        """The probability of each class for each photo: (photos, classes) float64, each row adds to 1.

        Raises ImageError at the first photo that cannot be read, and UsageError on a single photo.
        """
        rows = [np.empty((0, len(self.classes)))]
        answers = self._reader.answers(photos, lambda images, _: self._posteriors(self._run(images)), batch_size)
        for _, row in answers:
            if isinstance(row, ImageError):
                raise row
            rows.append(row[np.newaxis])
        return np.concatenate(rows)

    def _predictions(self, images: np.ndarray, origins: Sequence[Origin], k: int) -> Iterator[Prediction]:
        info = self.model.info
        values = self._run(images)
        for row, ((path, size), probabilities) in enumerate(zip(origins, self._posteriors(values), strict=True)):
            best = best_classes(probabilities, k).tolist()
            own = {name: array[row] for name, array in values.items()}
            boxes = self._locator.boxes(own, best, size) if self._locator else None
            yield classify(probabilities, info.classes, info.calibration, path, k, boxes=boxes)

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        values = self.model.engine.run(images, self._locator.outputs if self._locator else ("logits",))
        check_finite(values["logits"], self.model)
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
