"""From photos to embeddings, vectors that tell how alike two photos are: `Embedder().embed("photo.jpg")`.

photo -> load -> preprocess -> Engine.run -> embeddings
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from verydeep.image.decode import PHOTO_FORMATS
from verydeep.image.stream import Source
from verydeep.nouns import Failure
from verydeep.outputs.embeddings import embedding_output, embeddings
from verydeep.predict.photos import Reader, check_finite, or_failure
from verydeep.runtime import open_model

BATCH_SIZE = 32


class Embedder:
    """A model as a measure of likeness. Safe to share between threads.

    The cosine of two embeddings, their scalar product, is 1 for copies. A classifier will do: its embedding is what the
    layer below its last makes of a photo. The arguments are those of `Predictor`. Raises UsageError on a model that
    answers for pixels.
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
            model, engine=engine, device=device, precision=precision, threads=threads, photos=photos
        )
        self.output = embedding_output(self.model.info.architecture)
        self._reader = Reader(self.model.info.preprocessing, threads, formats)

    def embed(self, photo: Source) -> np.ndarray:
        """The embedding of one photo, (d,) float32 of length 1. Raises ImageError where it cannot be read."""
        images, _ = self._reader.read(photo)
        vector: np.ndarray = self._vectors(images)[0]
        return vector

    def embed_many(self, photos: Iterable[Source], batch_size: int = BATCH_SIZE) -> Iterator[np.ndarray | Failure]:
        """The embedding of each photo as `embed` gives it, or a Failure where it cannot be read, in the order given.

        As with `Predictor.predict_many`, `photos` may be a generator. Raises UsageError on a single photo.
        """
        answers = self._reader.answers(photos, lambda images, _: self._vectors(images), batch_size)
        return (or_failure(*answer) for answer in answers)

    def _vectors(self, images: np.ndarray) -> np.ndarray:
        features = self.model.engine.run(images, (self.output,))[self.output]
        check_finite(features, self.model)
        return embeddings(features)


def most_alike(vectors: np.ndarray, vector: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of N embeddings, those most like `vector` first, and the cosine of each, at its position.

    vectors: (N, d), vector: (d,), all of length 1. Cosines are rounded to six digits, as float32 has them: copies of a
    photo have equal ones, and of these the first in `vectors` comes first.
    """
    cosines = np.round(vectors @ vector, 6)
    return np.argsort(-cosines, kind="stable"), cosines
