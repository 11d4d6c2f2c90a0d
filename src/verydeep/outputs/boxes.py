"""Boxes: from the numbers of a localiser to edges in a photo, their overlap, and their merging. No torch.

After the scores of the classes a localiser's last layer gives four numbers for each of its boxes: how far across and
down the centre is, then the width and the height, as shares of the picture that the network gets. The whole picture
is 0.5 0.5 1 1. Nothing bounds them, so that their squared error is the paper's Euclidean loss (appendix A), and so
that a box may reach beyond the crop: docs/decisions/0013. With boxes="single" there is one box, of whatever class;
with boxes="class" one for each, in the order of the classes.

Everywhere else a box is its edges: left, top, right, bottom, along the last axis of an array.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.architecture import Architecture
from verydeep.outputs.classify import class_logits

MERGE_BELOW = -0.5  # the match score up to which two boxes are merged: see `match_scores`


@dataclass(frozen=True)
class Windows:
    """What a localiser says of one picture: at each place where it looked, the classes and the boxes there."""

    places: np.ndarray  # (n, 4): the edges of what it looked at, as shares of the picture
    logits: np.ndarray  # (n, classes)
    boxes: np.ndarray  # (n, 1 or classes, 4): edges, as shares of the picture


def split(answer: np.ndarray, architecture: Architecture) -> tuple[np.ndarray, np.ndarray]:
    """A network's answer -> class scores and boxes, each of which is centre, width and height.

    answer: (N, scores) -> (N, classes) and (N, boxes, 4); a dense map (N, scores, h, w) -> (N, classes, h, w) and
    (N, h, w, boxes, 4). A classifier has 0 boxes.
    """
    numbers = np.moveaxis(answer[:, architecture.classes :], 1, -1)
    boxes = numbers.reshape(*numbers.shape[:-1], numbers.shape[-1] // 4, 4)
    return class_logits(answer, architecture.classes), boxes


def windows(answer: np.ndarray, architecture: Architecture, side: int, shape: tuple[int, ...]) -> Windows:
    """What a localiser answers for one picture of `shape` (height, width), place by place.

    answer: (scores,), of the picture as a whole, or a dense map (scores, h, w), whose position (i, j) looks at the
    square of `side` pixels, the crop of training, that begins i strides from the top and j from the left.
    """
    logits, boxes = split(answer[np.newaxis], architecture)
    if answer.ndim == 1:
        return Windows(np.array([[0.0, 0.0, 1.0, 1.0]]), logits, edges(boxes))
    _, _, height, width = logits.shape
    rows, columns = (architecture.stride * index.ravel() for index in np.indices((height, width)))
    picture_height, picture_width = shape
    pixels = np.stack([columns, rows, columns + side, rows + side], axis=1)
    places = pixels / (picture_width, picture_height, picture_width, picture_height)
    found = edges(boxes[0].reshape(height * width, -1, 4))
    return Windows(places, logits[0].reshape(len(logits[0]), -1).T, to_region(found, places[:, np.newaxis]))


def slide(maps: np.ndarray, weight: np.ndarray, bias: np.ndarray, cells: int) -> np.ndarray:
    """A gap head's answer for every square of `cells` x `cells` values of the last maps: (N, scores, h, w).

    maps: (N, channels, H, W), at least as large as the square. weight, bias: of the linear layer.
    """
    means = np.lib.stride_tricks.sliding_window_view(maps, (cells, cells), axis=(2, 3)).mean(axis=(4, 5))
    answers: np.ndarray = np.einsum("nchw,sc->nshw", means, weight) + bias[:, np.newaxis, np.newaxis]
    return answers


def edges(boxes: np.ndarray) -> np.ndarray:
    """Centre, width and height -> left, top, right, bottom. A width or height below zero counts as none."""
    centre, half = boxes[..., :2], np.maximum(boxes[..., 2:], 0) / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def centered(boxes: np.ndarray) -> np.ndarray:
    """Left, top, right, bottom -> centre, width and height: what a network is to be taught."""
    corner, opposite = boxes[..., :2], boxes[..., 2:]
    return np.concatenate([(corner + opposite) / 2, opposite - corner], axis=-1)


def to_region(boxes: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Edges as shares of a region -> in the unit in which the region's own edges are given."""
    corner, size = region[..., :2], region[..., 2:] - region[..., :2]
    return np.concatenate([corner + size * boxes[..., :2], corner + size * boxes[..., 2:]], axis=-1)


def clip(boxes: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """What of them is within a photo of (height, width); without an area where nothing is."""
    height, width = size
    clipped: np.ndarray = np.clip(boxes, 0, np.array([width, height, width, height], float)) + 0.0  # 0, never -0
    return clipped


def area(boxes: np.ndarray) -> np.ndarray:
    """0 where the right edge is left of the left one."""
    sides = np.maximum(boxes[..., 2:] - boxes[..., :2], 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def common_area(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Of each box with its counterpart; the two broadcast."""
    corner = np.maximum(boxes[..., :2], others[..., :2])
    return area(np.concatenate([corner, np.minimum(boxes[..., 2:], others[..., 2:])], axis=-1))


def iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """The intersection over the union of each box with its counterpart; 0 where both have no area.

    The two broadcast: (n, 1, 4) and (1, m, 4) give all pairs, (n, m).
    """
    common = common_area(boxes, others)
    union = area(boxes) + area(others) - common
    found: np.ndarray = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def match_scores(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How little two boxes match; they broadcast. -1: they are the same; 1: equal squares that touch side by side.

    The distance of the centres, in units of the side of a square as large as the two are on average, less the area
    that they share, in units of that square. OverFeat (Sermanet et al. 2014, section 4.3) adds pixels and square
    pixels, and adds the area, which would merge what lies apart first: docs/decisions/0013.
    """
    centre, other_centre = centered(boxes)[..., :2], centered(others)[..., :2]
    distance = np.sqrt(((centre - other_centre) ** 2).sum(axis=-1))
    unit = np.maximum((area(boxes) + area(others)) / 2, np.finfo(float).tiny ** 0.5)
    scores: np.ndarray = distance / np.sqrt(unit) - common_area(boxes, others) / unit
    return scores


def merge(boxes: np.ndarray, ratings: np.ndarray, limit: float = MERGE_BELOW) -> tuple[np.ndarray, np.ndarray]:
    """Merges the two boxes that match best again and again, until no two match: OverFeat's greedy merging.

    boxes: (n, 4) edges. ratings: (n,) or (n, k). Returns the (m, 4) merged ones, each the mean of all boxes that went
    into it, and the sums of their ratings, (m,) or (m, k).
    """
    boxes, ratings = boxes.astype(float), ratings.astype(float)
    counts = np.ones(len(boxes))
    is_left = np.ones(len(boxes), bool)
    scores = match_scores(boxes[:, np.newaxis], boxes[np.newaxis])
    np.fill_diagonal(scores, np.inf)
    while is_left.sum() > 1:
        kept, gone = divmod(int(scores.argmin()), len(boxes))
        if scores[kept, gone] > limit:
            break
        share = counts[gone] / (counts[kept] + counts[gone])
        boxes[kept] += share * (boxes[gone] - boxes[kept])
        counts[kept] += counts[gone]
        ratings[kept] += ratings[gone]
        is_left[gone] = False
        scores[gone], scores[:, gone] = np.inf, np.inf
        matches = np.where(is_left, match_scores(boxes[kept], boxes), np.inf)
        matches[kept] = np.inf
        scores[kept], scores[:, kept] = matches, matches
    return boxes[is_left], ratings[is_left]


def class_boxes(
    boxes: np.ndarray, ratings: np.ndarray, classes: Sequence[int], limit: float = MERGE_BELOW
) -> np.ndarray:
    """The box of each of these classes: of the merged ones the one whose ratings by that class add to most.

    boxes: (n, 1 or classes, 4), of n windows, at least one. ratings: (n, classes), by how much each window shows each
    class. Returns (len(classes), 4).
    """
    chosen = list(classes)
    if boxes.shape[1] == 1:  # the same ones for all classes
        merged, rated = merge(boxes[:, 0], ratings[:, chosen], limit)
        found: np.ndarray = merged[rated.argmax(axis=0)]
        return found
    each = [merge(boxes[:, place], ratings[:, place], limit) for place in chosen]
    return np.stack([merged[rated.argmax()] for merged, rated in each])
