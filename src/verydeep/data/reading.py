"""A photo as training sees it before it is varied: no larger than any of its pictures needs, so that it is read fast.

`read_training_photo` is the one definition. The loader calls it in every epoch, or once, where `cache` keeps what it
returned: a run is the same to the bit with a cache and without. Validation and prediction read photos as they are.
"""

import errno

import numpy as np

from verydeep.errors import DataError, ImageError, StorageError
from verydeep.image.decode import decode, name_of, read_file, stored_size
from verydeep.nouns import StoredPhoto

READING_RULES = 1  # raised with every change of the pixels that `training_photo` returns: older caches are of no use
REPLACE = (
    "Replace them under the same names and go on with --resume, or remove them and train into another folder, "
    "--out FOLDER."
)
_MOST_UNREADABLE = 0.05  # the share of photos that may be unreadable before a training stops
# What memory, open files, a disk or a server may lack for a moment.
_PASSING = (errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ETIMEDOUT)


def read_training_photo(path: StoredPhoto, side: int) -> np.ndarray:
    """The photo in a file, or within one, (H, W, 3) uint8 RGB, upright. Raises ImageError.

    Its shorter side has `side` pixels at most: a larger photo is reduced, a smaller one keeps its size.
    """
    return training_photo(read_file(path), name_of(path), side)


def training_photo(data: bytes, name: str, side: int) -> np.ndarray:
    """As `read_training_photo`, from the bytes of the file. name: what to call the photo in errors."""
    return decode(data, name, at_most=side)


def training_bytes(data: bytes, name: str, side: int) -> int:
    """About how many bytes `training_photo` would return, from the header alone. Raises ImageError."""
    width, height = stored_size(data, name)
    share = min(1, side / max(1, min(width, height)))
    return round(3 * width * share * height * share)


def refusal_of_unreadable(unreadable: int, photos: int, what: str) -> str | None:
    """Why nothing is trained where so many of the photos cannot be read; None where it is. what: they are called."""
    if unreadable <= max(1, _MOST_UNREADABLE * photos):  # one of a dozen photos is no sign of anything
        return None
    return f"{unreadable} of {photos} {what} cannot be read, more than {_MOST_UNREADABLE:.0%}"


def check_lasting(error: ImageError) -> None:
    """Raises StorageError where that a photo cannot be read may pass, so that it says nothing about the photo.

    With a neighbour in its place a run would end with other weights than where it is gone on with later.
    """
    cause = error.__cause__
    while isinstance(cause, DataError):  # of a photo within another file, which could not be read
        cause = cause.__cause__
    if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _PASSING):
        raise StorageError(
            f"{error.message.rstrip('.')}; that may pass, and says nothing about the photo.",
            "Free memory or open files; where a disk fails again and again, replace the photo under the same name.",
        ) from error
