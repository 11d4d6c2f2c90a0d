"""The validation photos of a run as inputs of its network: decoded in the first epoch, kept for the others."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from verydeep import machine
from verydeep.data.reading import check_lasting
from verydeep.errors import ImageError
from verydeep.image import denormalize, normalize
from verydeep.image.stream import Item, stream
from verydeep.nouns import Preprocessing, StoredPhoto

LIMIT_BYTES = 512 << 20  # 10,000 photos of 128 pixels
_SHARE_OF_MEMORY = 1 / 16  # at most


class KeptInputs:
    """Gives what `stream` gives, to the bit, and reads each photo's file once for each size of the inputs.

    The photos are kept as 8-bit pixels, of the size that was asked for last; none where they would take too much
    memory. One that cannot be read is tried again each time. It is always to be called with the same paths.
    """

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = min(limit_bytes, (machine.memory_bytes() or math.inf) * _SHARE_OF_MEMORY)
        self._preprocessing: Preprocessing | None = None
        self._pixels: dict[int, np.ndarray] = {}  # by position

    def __call__(self, paths: Sequence[StoredPhoto], preprocessing: Preprocessing) -> Iterator[Item]:
        """Raises StorageError where the reason why a photo cannot be read may pass."""
        if preprocessing != self._preprocessing:
            self._preprocessing, self._pixels = preprocessing, {}
        are_kept = 3 * preprocessing.crop**2 * len(paths) <= self._limit_bytes
        missing = [path for position, path in enumerate(paths) if position not in self._pixels]
        read = stream(missing, preprocessing)
        for position in range(len(paths)):
            if position in self._pixels:
                yield position, normalize(self._pixels[position], preprocessing)
                continue
            _, loaded = next(read)
            if isinstance(loaded, ImageError):
                check_lasting(loaded)
            elif are_kept:
                self._pixels[position] = denormalize(loaded, preprocessing)  # exact: it was made of 8 bits
            yield position, loaded
