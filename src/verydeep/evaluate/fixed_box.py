"""What there is to beat in localisation: one and the same box for every photo."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from verydeep.errors import DatasetError, ImageError
from verydeep.evaluate.localization import Finder, Found, answers
from verydeep.evaluate.localization_report import OVERLAP
from verydeep.image.preprocess import crop_box
from verydeep.nouns import StoredPhoto
from verydeep.outputs.boxes import clip, edges, iou, to_region
from verydeep.weights.files import ModelInfo

_TABLE_ROWS = 256  # boxes that are compared with all objects at once


def best_fixed_box(boxes: Iterable[np.ndarray]) -> np.ndarray:
    """The one box that has an IoU over 0.5 with an object in as many photos as possible: (4,) edges.

    boxes: of each photo (m, 4) edges as shares of its square, as the result is; photos without any do not
    count. Searched on a grid, then in ever smaller steps around the best; of equal ones that with the larger mean IoU.
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
    return edges(best)


def _best_of(candidates: np.ndarray, boxes: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, float]:
    """The best of (n, 4) centres, widths and heights, and its value: how many photos, and their mean IoU after it."""
    values = []
    for first in range(0, len(candidates), _TABLE_ROWS):
        table = iou(edges(candidates[first : first + _TABLE_ROWS])[:, np.newaxis], boxes[np.newaxis])
        own = np.maximum.reduceat(table, starts, axis=1)
        values.append((own > OVERLAP).sum(axis=1) + own.mean(axis=1))
    every = np.concatenate(values)
    return candidates[every.argmax()], float(every.max())


def fixed_finder(box: np.ndarray, info: ModelInfo, *, threads: int | None = None) -> Finder:
    """The same box for every photo, relative to its square: what there is to beat. All classes are equal.

    box: (4,), the edges as shares of the square, such as `best_fixed_box` finds.
    """
    classes = len(info.classes)
    even = np.full(classes, 1 / classes)

    def find(paths: Sequence[StoredPhoto]) -> Iterator[Found | ImageError]:
        for one in answers(_say_nothing, paths, info.preprocessing, threads=threads):
            if isinstance(one, ImageError):
                yield one
                continue
            region = np.array(crop_box(one.size, info.preprocessing))
            placed = clip(to_region(box, region), one.size)
            yield Found(one.size, even, region[np.newaxis], placed[np.newaxis, np.newaxis], even[np.newaxis])

    return find


def _say_nothing(images: np.ndarray) -> dict[str, np.ndarray]:
    return {"logits": np.zeros((len(images), 1))}
