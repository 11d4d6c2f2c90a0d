"""Occlusion: how much a class loses when a square of the photo is covered. Any engine will do; no gradient is taken."""

import numpy as np

from verydeep.nouns import Engine
from verydeep.outputs import class_logits, posteriors

BATCH = 16  # covered photos at once


def occlude(
    engine: Engine,
    image: np.ndarray,
    class_index: int,
    window: int,
    stride: int,
    *,
    classes: int,
    temperature: float = 1.0,
) -> np.ndarray:
    """By how much covering a square lowers the probability of a class: (rows, columns) of squares, float64.

    image: (channels, H, W), normalised. classes: how many the network has. A square of `window` pixels is set to 0, the
    mean colour of the training photos; the next one begins `stride` pixels further, and the last ones end with the
    image. Source: Zeiler & Fergus (2014), section 4.2.
    """
    rows, columns = (starts(side, window, stride) for side in image.shape[1:])
    covered = [(top, left) for top in rows for left in columns]
    found: list[np.ndarray] = [_posteriors(engine, image[np.newaxis], classes, temperature)]
    for first in range(0, len(covered), BATCH):
        batch = np.stack([_covered(image, place, window) for place in covered[first : first + BATCH]])
        found.append(_posteriors(engine, batch, classes, temperature))
    whole, *others = np.concatenate(found)[:, class_index]
    drops: np.ndarray = (whole - np.array(others)).reshape(len(rows), len(columns))
    return drops


def starts(side: int, window: int, stride: int) -> range:
    """Where the squares begin along a side: every `stride` pixels until one reaches the end, which may cut it off."""
    return range(0, max(0, side - window + stride - 1) + 1, stride)


def spread(drops: np.ndarray, window: int, stride: int, shape: tuple[int, int]) -> np.ndarray:
    """What `occlude` found in the pixels of an image of (height, width): the mean over the squares that cover each."""
    total, count = np.zeros(shape), np.zeros(shape)
    for (row, column), drop in np.ndenumerate(drops):
        place = np.s_[row * stride : row * stride + window, column * stride : column * stride + window]
        total[place] += drop
        count[place] += 1
    mean: np.ndarray = total / np.maximum(count, 1)
    return mean


def _covered(image: np.ndarray, place: tuple[int, int], window: int) -> np.ndarray:
    top, left = place
    covered: np.ndarray = image.copy()
    covered[:, top : top + window, left : left + window] = 0
    return covered


def _posteriors(engine: Engine, images: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    return posteriors(class_logits(engine.run(images)["logits"], classes), temperature)
