"""From a photo to the class of each of its pixels: `Segmenter("trained/run").segment("photo.jpg")`.

photo -> load -> preprocess, the whole photo -> Engine.run, window by window where it is large -> segment
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from verydeep.errors import UsageError
from verydeep.image.decode import PHOTO_FORMATS
from verydeep.image.stream import Source
from verydeep.nouns import Failure, SegmentationPrediction
from verydeep.outputs.segments import segment, segmentation
from verydeep.predict.photos import Origin, Reader, check_finite, or_failure
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
        self._reader = Reader(self.model.info.preprocessing, threads, formats, is_dense=True)
        self._engine = WindowedEngine(self.model.engine, architecture)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their numbers in a mask."""
        return self.model.info.classes

    def segment(self, photo: Source) -> SegmentationPrediction:
        """The class of each pixel of one photo. Raises ImageError where it cannot be read."""
        (prediction,) = self._predictions(*self._reader.read(photo))
        return prediction

    def logits(self, photo: Source) -> np.ndarray:
        """What the network says of one photo, at the size that it looks at: (classes, h, w) float32. As `segment`."""
        images, _ = self._reader.read(photo)
        found: np.ndarray = self._logits(images)[0]
        return found

    def segment_many(
        self, photos: Iterable[Source], batch_size: int = 32
    ) -> Iterator[SegmentationPrediction | Failure]:
        """The answer for each photo, in the order given, or a Failure where it cannot be read.

        batch_size: photos at once, fewer where they are large. As with `Predictor.predict_many`, `photos` may be a
        generator. Raises UsageError on a single photo.
        """
        at_once = photos_at_once(self.model.info.preprocessing.resize, batch_size)
        return (or_failure(*answer) for answer in self._reader.answers(photos, self._predictions, at_once))

    def _predictions(self, images: np.ndarray, origins: Sequence[Origin]) -> Iterator[SegmentationPrediction]:
        temperature = self.model.info.calibration.temperature
        for (path, size), logits in zip(origins, self._logits(images), strict=True):
            yield segmentation(segment(logits, size, temperature), self.classes, path)

    def _logits(self, images: np.ndarray) -> np.ndarray:
        logits = self._engine.run(images)["logits"]
        check_finite(logits, self.model)
        return logits
