"""What there is to beat in localisation: one and the same box for every photo."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from verydeep.errors import DatasetError, ImageError
from verydeep.evaluate.localization import Finder, Found
from verydeep.evaluate.localization_report import OVERLAP
from verydeep.image.decode import read_image
from verydeep.nouns import StoredPhoto
from verydeep.outputs.boxes import edges, iou

_TABLE_ROWS = 256  # boxes that are compared with all objects at once


def best_fixed_box(boxes: Iterable[np.ndarray]) -> np.ndarray:
    """The one box that has an IoU over 0.5 with an object in as many photos as possible: (4,) edges.

    boxes: of each photo (m, 4) edges as shares of its sides, as the result is and as `BoxTargets` has them; photos
    without any do not count. Of the whole photo, not of a square cut from it: in that an object beside the middle has
    another place in each proportion, and one box fits fewer of them. Searched on a grid, then in ever smaller steps
    around the best; of equal ones that with the larger mean IoU.
    """
    every = [np.asarray(one, float) for one in boxes if len(one)]
    if not every:
        raise DatasetError("no photo has a box; expected one at least.", "Give the boxes of training photos.")
    starts = np.cumsum([0, *map(len, every[:-1])])
    flat = np.concatenate(every)
    centres, sides = np.linspace(0.2, 0.8, 7), np.linspace(0.2, 1.1, 10)
    grid = np.stack(np.meshgrid(centres, centres, sides, sides, indexing="ij"), axis=-1).reshape(-1, 4)
    best, value = _best_of(grid, flat, starts)
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    for step in (0.05, 0.02, 0.01):
        while True:
            near, its_value = _best_of(best + step * steps, flat, starts)
            if its_value <= value:
                break
            best, value = near, its_value
    return _within(best)


def _best_of(candidates: np.ndarray, boxes: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, float]:
    """The best of (n, 4) centres, widths and heights, and its value: how many photos, and their mean IoU after it."""
    values = []
    for first in range(0, len(candidates), _TABLE_ROWS):
        table = iou(_within(candidates[first : first + _TABLE_ROWS])[:, np.newaxis], boxes[np.newaxis])
        own = np.maximum.reduceat(table, starts, axis=1)
        values.append((own > OVERLAP).sum(axis=1) + own.mean(axis=1))
    every = np.concatenate(values)
    return candidates[every.argmax()], float(every.max())


def _within(boxes: np.ndarray) -> np.ndarray:
    """The edges of what lies in the photo of each centre, width and height."""
    clipped: np.ndarray = np.clip(edges(boxes), 0, 1)
    return clipped


def fixed_finder(box: np.ndarray, classes: int) -> Finder:
    """The same box for every photo: what there is to beat. All classes are equal.

    box: (4,), the edges as shares of the photo's sides, such as `best_fixed_box` finds.
    """
    even = np.full(classes, 1 / classes)

    def find(paths: Sequence[StoredPhoto]) -> Iterator[Found | ImageError]:
        for path in paths:
            try:
                height, width = read_image(path).shape[:2]
            except ImageError as error:
                yield error
                continue
            sides = np.array([width, height, width, height], float)
            whole = np.array([[0.0, 0.0, width, height]])
            yield Found((height, width), even, whole, (box * sides)[np.newaxis, np.newaxis], even[np.newaxis])

    return find
