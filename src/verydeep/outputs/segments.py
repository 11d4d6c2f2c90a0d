"""Logits of each pixel -> the class of each pixel of the photo, how sure that is, and the share of each class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from verydeep.nouns import ClassShare, SegmentationPrediction


class Segments(NamedTuple):
    """What a network says of each pixel of a photo."""

    classes: np.ndarray  # (H, W), the smallest unsigned integers that hold the positions of the classes
    probabilities: np.ndarray  # (H, W) float32, of that class


def segment(logits: np.ndarray, size: tuple[int, int] | None = None, temperature: float = 1.0) -> Segments:
    """The best class of each pixel and its probability, at the photo's own size.

    logits: (classes, h, w). size: (H, W) of the photo, by default the map's. The probabilities are enlarged or shrunk
    to it, bilinearly, and then the largest is taken: so that an edge between two classes is a line, not stairs. Of
    equal ones, the class that comes first wins. Beside the probabilities of the map, memory for a few planes of the
    photo's size is needed, however many classes there are.
    """
    probabilities = _probabilities(logits, temperature)
    height, width = size or logits.shape[1:]
    rows, columns = _Grid.between(logits.shape[1], height), _Grid.between(logits.shape[2], width)
    best = np.full((height, width), -1, np.float32)
    classes = np.zeros((height, width), np.min_scalar_type(len(logits) - 1))
    for number, plane in enumerate(probabilities):
        resized = columns.of(rows.of(plane).T).T
        is_better = resized > best
        np.copyto(best, resized, where=is_better)
        classes[is_better] = number
    return Segments(classes, best)


def segmentation(segments: Segments, names: Sequence[str], path: str = "") -> SegmentationPrediction:
    """The prediction for one photo. names: of the classes, in the order of the logits."""
    counts = np.bincount(segments.classes.ravel(), minlength=len(names))
    order = np.argsort(-counts, kind="stable")
    shares = tuple(ClassShare(names[i], float(counts[i] / segments.classes.size)) for i in order if counts[i])
    return SegmentationPrediction(path, segments.classes, segments.probabilities, tuple(names), shares)


def _probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """The soft-max over the classes, (classes, h, w) float32: as `classify.softmax`, which would need twice as much."""
    scaled = np.asarray(logits, np.float32) / np.float32(temperature)
    powers: np.ndarray = np.exp(scaled - scaled.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers


class _Grid(NamedTuple):
    """Where the values along one side come from: two neighbours, and the share of the second."""

    first: np.ndarray
    second: np.ndarray
    share: np.ndarray

    @classmethod
    def between(cls, before: int, after: int) -> "_Grid":
        """From `before` values to `after`: the centres of the outer pixels lie within them, as in torch and Pillow."""
        place = (np.arange(after) + 0.5) * (before / after) - 0.5
        place = np.clip(place, 0, before - 1)
        first = np.floor(place).astype(np.intp)
        return cls(first, np.minimum(first + 1, before - 1), (place - first).astype(np.float32))

    def of(self, plane: np.ndarray) -> np.ndarray:
        """Along the first axis."""
        if len(self.first) == len(plane):  # nothing to do, and nothing to round
            return plane
        share = self.share[:, None]
        resized: np.ndarray = plane[self.first] * (1 - share) + plane[self.second] * share
        return resized
