"""Predicted and true masks -> figures. Masks are (H, W) integers, positions of classes; ignored pixels are in none.

A class that is absent from the true masks and from the predicted ones has no figure (NaN) and is in no mean. One that
was predicted somewhere but is never there has an intersection over union of 0, which counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verydeep.data.targets import IGNORED
from verydeep.errors import DatasetError
from verydeep.evaluate.metrics import recall

TOLERANCE = 0.0075  # of the photo's diagonal: how far a predicted contour may lie from the true one
_RESAMPLED = 2000  # times, for an interval
_AT_ONCE = 1 << 24  # numbers of resampled confusions in memory


@dataclass(frozen=True, eq=False)
class SegmentationScores:
    """The figures of some photos. Figures of nothing, of photos without a pixel that counts, are NaN."""

    classes: tuple[str, ...]
    confusions: np.ndarray  # (photos, classes, classes) int64: pixels of each class (row) taken for each (column)
    contours: np.ndarray  # (photos, classes), `boundary_f1` of each photo; NaN where it was not worked out

    @classmethod
    def of(
        cls, predicted: Sequence[np.ndarray], true: Sequence[np.ndarray], classes: Sequence[str], ignored: int = IGNORED
    ) -> "SegmentationScores":
        """The scores of photos from their masks. Raises DatasetError where masks do not fit."""
        pairs = list(zip(predicted, true, strict=True))
        return cls.joined([score_photo(*pair, len(classes), ignored) for pair in pairs], classes)

    @classmethod
    def joined(cls, photos: Sequence[tuple[np.ndarray, np.ndarray]], classes: Sequence[str]) -> "SegmentationScores":
        """The scores of photos that `score_photo` has seen, one by one."""
        count = len(classes)
        return cls(
            tuple(classes),
            np.array([confusion for confusion, _ in photos], np.int64).reshape(-1, count, count),
            np.array([contour for _, contour in photos], np.float64).reshape(-1, count),
        )

    @cached_property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int64 pixels, of all photos."""
        total: np.ndarray = self.confusions.sum(axis=0)
        return total

    @property
    def global_accuracy(self) -> float:
        """The share of all pixels that have the right class."""
        return global_accuracy(self.confusion)

    @property
    def class_accuracies(self) -> np.ndarray:
        """The share of each class's pixels that have the right class."""
        return recall(self.confusion)

    @property
    def class_average(self) -> float:
        """The mean of these."""
        return _mean(self.class_accuracies)

    @property
    def ious(self) -> np.ndarray:
        """The intersection over union of each class."""
        return intersection_over_union(self.confusion)

    @property
    def mean_iou(self) -> float:
        return _mean(self.ious)

    @cached_property
    def mean_iou_interval(self) -> tuple[float, float]:
        """The interval of 95 %, by drawing the photos anew: see `bootstrap_mean_iou`."""
        return bootstrap_mean_iou(self.confusions)

    @property
    def boundary_f1(self) -> float:
        """The mean over the photos of the mean over the classes that are there, as in the paper of SegNet."""
        return _mean(np.array([_mean(photo) for photo in self.contours]))

    @property
    def boundary_f1s(self) -> np.ndarray:
        """The mean of each class over the photos where it is."""
        return np.array([_mean(photos) for photos in self.contours.T])

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it; what has no figure is null."""
        rows = zip(self.classes, self.class_accuracies, self.ious, self.boundary_f1s, strict=True)
        low, high = self.mean_iou_interval
        return {
            "photos": len(self.confusions),
            "pixels": int(self.confusion.sum()),
            "global_accuracy": _or_null(self.global_accuracy),
            "class_average": _or_null(self.class_average),
            "mean_iou": {"value": _or_null(self.mean_iou), "interval_95": [_or_null(low), _or_null(high)]},
            "boundary_f1": _or_null(self.boundary_f1),
            "classes": [
                {
                    "label": label,
                    "accuracy": _or_null(accuracy),
                    "iou": _or_null(iou),
                    "boundary_f1": _or_null(contour),
                }
                for label, accuracy, iou, contour in rows
            ],
            "confusion": self.confusion.tolist(),
        }


def score_photo(
    predicted: np.ndarray, true: np.ndarray, classes: int, ignored: int = IGNORED, *, has_contours: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The confusion matrix and the boundary F1 of each class, of one photo. has_contours: else the latter is NaN."""
    confusion = pixel_confusion(predicted, true, classes, ignored)
    if not has_contours:
        return confusion, np.full(classes, np.nan)
    return confusion, boundary_f1(predicted, true, classes, ignored)


def pixel_confusion(predicted: np.ndarray, true: np.ndarray, classes: int, ignored: int = IGNORED) -> np.ndarray:
    """How many pixels of each class (row) were taken for each class (column): (classes, classes) int64.

    Raises DatasetError where the masks differ in size, or a number in one is no class.
    """
    if predicted.shape != true.shape:
        raise DatasetError(
            f"a predicted mask of {predicted.shape} pixels goes with a true one of {true.shape}; expected the same.",
            "Predict at the photo's own size.",
        )
    counts = true != ignored
    rows, columns = true[counts].astype(np.intp), predicted[counts].astype(np.intp)
    for name, numbers in (("true", rows), ("predicted", columns)):
        if numbers.size and not 0 <= int(numbers.min()) <= int(numbers.max()) < classes:
            wrong = next(int(number) for number in np.unique(numbers) if not 0 <= number < classes)
            raise DatasetError(
                f"a {name} mask holds the number {wrong}; expected 0 to {classes - 1} or {ignored}, the ignored.",
                "Are these masks of the same classes?",
            )
    return np.bincount(rows * classes + columns, minlength=classes**2).reshape(classes, classes)


def global_accuracy(confusion: np.ndarray) -> float:
    """The share of pixels on the diagonal; NaN without a pixel."""
    total = int(confusion.sum())
    return int(np.trace(confusion)) / total if total else math.nan


def intersection_over_union(confusion: np.ndarray) -> np.ndarray:
    """Of each class, the pixels that have it in both masks over those that have it in one: (..., classes).

    confusion: (..., classes, classes). NaN for a class that is in neither.
    """
    both = np.diagonal(confusion, axis1=-2, axis2=-1).astype(np.float64)
    either = confusion.sum(axis=-1) + confusion.sum(axis=-2) - both
    found = np.full(both.shape, np.nan)
    np.divide(both, either, out=found, where=either > 0)
    return found


def bootstrap_mean_iou(
    confusions: np.ndarray, confidence: float = 0.95, seed: int = 0, resampled: int = _RESAMPLED
) -> tuple[float, float]:
    """The interval that holds the mean IoU of so many other photos of the same kind, with that confidence.

    confusions: (photos, classes, classes). The photos are drawn anew, with replacement, and the mean IoU of each such
    set is worked out from its pixels. Photos are the unit, since pixels of one photo depend on one another. NaN where
    no pixel counts. Source: Efron (1979), Annals of Statistics 7, 1-26, the percentiles.
    """
    photos, classes, _ = confusions.shape
    if photos == 0 or not confusions.any():
        return math.nan, math.nan
    random = np.random.Generator(np.random.Philox(key=seed))
    flat = confusions.reshape(photos, -1).astype(np.float64)
    means: list[np.ndarray] = []
    at_once = max(1, _AT_ONCE // flat.shape[1])
    for first in range(0, resampled, at_once):
        times = random.multinomial(photos, np.full(photos, 1 / photos), size=min(at_once, resampled - first))
        ious = intersection_over_union((times @ flat).reshape(-1, classes, classes))
        present = (~np.isnan(ious)).sum(axis=1)
        means.append(np.nansum(ious, axis=1)[present > 0] / present[present > 0])
    low, high = np.quantile(np.concatenate(means), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def boundary_f1(
    predicted: np.ndarray, true: np.ndarray, classes: int, ignored: int = IGNORED, tolerance: float = TOLERANCE
) -> np.ndarray:
    """How well the contours of each class fit, in one photo: (classes,), NaN for a class that is not there.

    The precision is the share of predicted contour pixels that lie within `tolerance` (of the photo's diagonal) of a
    true one of the class, the recall the share of true ones that lie so near to a predicted one; this is their harmonic
    mean. A contour pixel is one of the class that has another class above, below or beside it; the edge of the photo
    and of ignored pixels is no contour. Without a contour in both masks, where a class fills all that counts, it is 1,
    and without one in either mask alone 0. Source: Csurka et al. (2013), BMVC, section 2.2.
    """
    counts = true != ignored
    reach = tolerance * math.hypot(*true.shape)
    found = np.full(classes, np.nan)
    for number in np.unique(true[counts]).tolist():
        one, other = (_contour(mask == number, counts) for mask in (predicted, true))
        found[number] = _contour_f1(one, other, reach)
    return found


def _contour_f1(predicted: np.ndarray, true: np.ndarray, reach: float) -> float:
    if not predicted.any() or not true.any():
        return float(predicted.any() == true.any())
    precision, completeness = _share_near(predicted, true, reach), _share_near(true, predicted, reach)
    return 2 * precision * completeness / (precision + completeness) if precision + completeness else 0.0


def _contour(mask: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The pixels of a mask that have a neighbour which counts and is not of it."""
    others = counts & ~mask
    beside = np.zeros(mask.shape, bool)
    beside[1:] |= others[:-1]
    beside[:-1] |= others[1:]
    beside[:, 1:] |= others[:, :-1]
    beside[:, :-1] |= others[:, 1:]
    edge: np.ndarray = beside & mask & counts
    return edge


def _share_near(points: np.ndarray, contour: np.ndarray, reach: float) -> float:
    """The share of points that have a pixel of the contour within `reach` pixels, both (H, W) bool.

    Looked for in the columns as far as the reach to each side, by how many pixels of the contour each has above a row:
    only the points themselves are looked at.
    """
    height, width = points.shape
    above = np.zeros((height + 1, width), np.int32)
    np.cumsum(contour, axis=0, out=above[1:])
    rows, columns = np.divmod(np.flatnonzero(points), width)
    is_near = np.zeros(len(rows), bool)
    for shift in range(-math.floor(reach), math.floor(reach) + 1):
        aside = columns + shift
        inside = (aside >= 0) & (aside < width)
        room = math.floor(math.sqrt(reach**2 - shift**2))  # along the column
        first = np.maximum(rows[inside] - room, 0)
        end = np.minimum(rows[inside] + room + 1, height)
        is_near[inside] |= above[end, aside[inside]] > above[first, aside[inside]]
    return float(is_near.mean())


def _mean(values: np.ndarray) -> float:
    """Of those that are numbers; NaN where none is."""
    numbers = values[~np.isnan(values)]
    return float(numbers.mean()) if numbers.size else math.nan


def _or_null(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
