"""COCO's masks as runs of pixels: how many are outside, how many then inside, and so on, down column after column.

Source: pycocotools' maskApi.c. The runs are a list of numbers, or a text in which each is the difference to the run
before the last, as digits of five bits from the lowest on, in the letters from "0" on; 32 says that a digit follows.
"""

from collections.abc import Sequence

import numpy as np

from verydeep.data.annotations import Bitmap, make_size
from verydeep.errors import DatasetError
from verydeep.image.decode import Limits

_MOST_DIGITS = 8  # of five bits


def bitmap(segmentation: object, size: tuple[int, int] | None, where: str) -> Bitmap:
    """The part of the photo in which pixels are inside. size: the photo's, where it is told. Raises DatasetError."""
    if not isinstance(segmentation, dict):
        raise _error(where, "are not told as counts and size")
    height, width = _sides(segmentation.get("size"), where)
    if size is not None and size != (width, height):
        raise _error(where, f"are of {width} x {height} pixels; the photo has {size[0]} x {size[1]}")
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        runs = runs_of_text(counts, where)
    elif isinstance(counts, list) and all(type(count) is int and 0 <= count <= width * height for count in counts):
        runs = np.array(counts, np.int64)
    else:
        raise _error(where, "are neither a list of numbers nor a text")
    if len(runs) == 0 or runs.min() < 0 or runs.max() > width * height or runs.sum() != width * height:
        raise _error(where, f"do not fill {width} x {height} pixels")
    if runs[1::2].sum() == 0:
        raise _error(where, "have no pixel inside")
    inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    part = inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Bitmap(int(columns[0]), int(rows[0]), part.shape[1], part.shape[0], np.packbits(part).tobytes())


def runs_of_text(text: str, where: str) -> np.ndarray:
    """The runs in a text, int64. Raises DatasetError."""
    letters = np.frombuffer(text.encode(errors="replace"), np.uint8).astype(np.int64) - ord("0")
    if len(letters) == 0 or letters.min() < 0 or letters.max() >= 64 or letters[-1] & 32:
        raise _error(where, "are a text that is damaged")
    lasts = np.flatnonzero(letters & 32 == 0)
    firsts = np.concatenate([[0], lasts[:-1] + 1])
    digits = lasts - firsts + 1
    if digits.max() > _MOST_DIGITS:
        raise _error(where, "are a text with a number that is too large")
    shifts = 5 * (np.arange(len(letters)) - np.repeat(firsts, digits))
    runs: np.ndarray = np.add.reduceat((letters & 31) << shifts, firsts)
    runs -= np.where(letters[lasts] & 16, 1 << 5 * digits, 0)  # the highest bit is the sign
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])  # the first run of all is told as it is, the third, too
    return runs


def _sides(size: object, where: str) -> Sequence[int]:
    sides = make_size(*size) if isinstance(size, list) and len(size) == 2 else None
    if sides is None or sides[0] * sides[1] > Limits().pixels:
        raise _error(where, f"are of the size {str(size)[:40]!r}; expected height and width")
    return sides


def _error(where: str, what: str) -> DatasetError:
    return DatasetError(f"{where}: the runs of its mask {what}.", "Export it again.")
