"""What an evaluation of boxes found: the boxes of every photo, and the figures that follow from them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from verydeep.evaluate import metrics
from verydeep.evaluate.report import Proportion
from verydeep.image.decode import name_of
from verydeep.nouns import Box, Calibration, ClassScore, Failure, StoredPhoto
from verydeep.outputs.boxes import iou
from verydeep.outputs.classify import best_classes

TOP = 5  # answers to a photo, of which one has to be right
OVERLAP = 0.5  # of a box that is right with one that is true: more than this, not as much


@dataclass(frozen=True)
class Mean:
    """The mean of a figure over the photos, with the interval that holds the true one in 95 of 100 such samples."""

    value: float
    interval: tuple[float, float]
    n: int

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "interval_95": list(self.interval), "n": self.n}


@dataclass(frozen=True)
class ClassRow:
    """How a class fares, over its photos."""

    label: str
    right: Proportion  # class and box of the first answer
    placed: Proportion  # the box alone, the class told
    mean_iou: float | None  # of these boxes; None without photos

    def to_dict(self) -> dict[str, Any]:
        shares = {"class_and_box": self.right.to_dict(), "given_class": self.placed.to_dict()}
        return {"label": self.label, **shares, "mean_iou": self.mean_iou}


@dataclass(frozen=True, eq=False)
class LocalizationReport:
    """An evaluation. The arrays have one row a photo that could be read, in the order of the data set.

    Boxes are edges in pixels of the upright photo. The localisation error is that of ILSVRC: each photo has five
    answers, a class and its box, and is right where one of them has the photo's class and an IoU over 0.5 with any
    object of that class. `given_class` asks for the box alone, its class told (the paper's Table 8).
    """

    protocol: str  # in a sentence: what every figure here depends on
    protocol_name: str  # of `BOX_PROTOCOLS`, or empty
    classes: tuple[str, ...]
    paths: tuple[StoredPhoto, ...]
    labels: np.ndarray  # (n,) int64, positions in `classes`
    true_boxes: tuple[np.ndarray, ...]  # n arrays (m, 4): the objects of the photo's class
    posteriors: np.ndarray  # (n, classes) float64, at the calibration's temperature
    top_boxes: np.ndarray  # (n, 5 or fewer, 4): of the best classes, the best first
    own_boxes: np.ndarray  # (n, 4): of the photo's class
    failures: tuple[Failure, ...] = ()  # the photos that could not be read, which are in no figure
    calibration: Calibration = field(default_factory=Calibration)  # of the model, or fitted to these photos
    without_box: int = 0  # photos in which no object of their class is told, which are in no figure either
    are_classes_judged: bool = True  # False: it has learnt boxes alone, and is judged by them, their class told

    @property
    def n(self) -> int:
        """How many photos every figure rests on."""
        return len(self.labels)

    @cached_property
    def top_classes(self) -> np.ndarray:
        """(n, 5 or fewer) positions in `classes`, the best first: whose `top_boxes` are."""
        return np.stack([best_classes(row, self.top_boxes.shape[1]) for row in self.posteriors])

    @cached_property
    def own_ious(self) -> np.ndarray:
        """Of the box of each photo's class with the object that it fits best: (n,)."""
        return np.array([iou(box, true).max() for box, true in zip(self.own_boxes, self.true_boxes, strict=True)])

    @cached_property
    def is_right(self) -> np.ndarray:
        """Of each answer, whether class and box are right: (n, 5 or fewer) bool."""
        pairs = zip(self.top_boxes, self.true_boxes, strict=True)
        ious = np.stack([iou(boxes[:, np.newaxis], true[np.newaxis]).max(axis=1) for boxes, true in pairs])
        found: np.ndarray = (self.top_classes == self.labels[:, np.newaxis]) & (ious > OVERLAP)
        return found

    @cached_property
    def top5(self) -> Proportion:
        """The photos of which one answer of five is right: one less the localisation error. (Of fewer classes, all.)"""
        return self._share(np.asarray(self.is_right.any(axis=1)))

    @cached_property
    def top1(self) -> Proportion:
        """The photos whose first answer is right."""
        return self._share(self.is_right[:, 0])

    @cached_property
    def given_class(self) -> Proportion:
        """The photos whose box is right, the class told."""
        return self._share(self.own_ious > OVERLAP)

    @cached_property
    def class_top1(self) -> Proportion:
        """The photos whose first answer has the right class, wherever its box is."""
        return self._share(metrics.top_k_correct(self.posteriors, self.labels, 1))

    @cached_property
    def class_top5(self) -> Proportion:
        """The photos of which one answer of five has the right class."""
        return self._share(metrics.top_k_correct(self.posteriors, self.labels, TOP))

    @cached_property
    def mean_iou(self) -> Mean:
        """Of the boxes with the class told."""
        return Mean(float(self.own_ious.mean()), metrics.bootstrap_interval(self.own_ious), self.n)

    @cached_property
    def class_rows(self) -> tuple[ClassRow, ...]:
        """One for each class, in the model's order."""
        rows = []
        for place, label in enumerate(self.classes):
            own = self.labels == place
            right, placed = self.is_right[own, 0], self.own_ious[own] > OVERLAP
            mean = float(self.own_ious[own].mean()) if own.any() else None
            rows.append(ClassRow(label, self._share(right), self._share(placed), mean))
        return tuple(rows)

    @property
    def loss(self) -> float:
        """The mean cross-entropy of the classes, in nats, and what is missing to a mean IoU of 1.

        The latter alone where classes are not judged. Whatever loss taught the boxes, so that runs can be compared; for
        the same reason it is not that of training.
        """
        of_classes = metrics.cross_entropy(self.posteriors, self.labels) if self.are_classes_judged else 0.0
        return of_classes + 1 - self.mean_iou.value

    @property
    def judged(self) -> Proportion:
        """What the model is judged by: the photos whose first answer is right, class and box, or `given_class`."""
        return self.top1 if self.are_classes_judged else self.given_class

    @property
    def score(self) -> float:
        """As a number."""
        return self.judged.successes / self.n

    @property
    def headline(self) -> str:
        """The score with its name, its interval and its terms."""
        name = "class and box" if self.are_classes_judged else "the box, its class told,"
        return f"{name} {self.judged.value:.1%} ({_interval(self.judged)}, n = {self.n}; {self.protocol})"

    @property
    def lead(self) -> tuple[str, ...]:
        """The score alone, and the rest of the sentence."""
        what = "recognised and found" if self.are_classes_judged else "found, their class told"
        told = f"of {self.n:,} validation photos {what} (IoU over {OVERLAP}; {_interval(self.judged)})"
        return f"{self.judged.value:.1%}", told

    def summary(self) -> dict[str, Any]:
        """As a model file has it."""
        shares = {name: getattr(self, name).to_dict() for name in ("top5", "given_class", "class_top1")}
        shares["class_and_box"] = self.top1.to_dict()
        return {"protocol": self.protocol, "n": self.n, **shares, "mean_iou": self.mean_iou.to_dict()}

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: every figure, and the answers for each photo."""
        return {
            "protocol": {"name": self.protocol_name, "description": self.protocol},
            "n": self.n,
            "without_box": self.without_box,
            "localization_error": _error(self.top5),
            "localization_error_top1": _error(self.top1),
            "localization_error_class_given": _error(self.given_class),
            "mean_iou": self.mean_iou.to_dict(),
            "calibration": self.calibration.to_dict(),
            "class_top1": self.class_top1.to_dict(),
            "class_top5": self.class_top5.to_dict(),
            "classes": [row.to_dict() for row in self.class_rows],
            "photos": [self._photo(position) for position in range(self.n)],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def _photo(self, position: int) -> dict[str, Any]:
        """What was answered, beside what is true."""
        answers = zip(self.top_classes[position].tolist(), self.top_boxes[position].tolist(), strict=True)
        probabilities = self.posteriors[position]
        scores = [ClassScore(self.classes[i], float(probabilities[i]), Box(*edges)) for i, edges in answers]
        return {
            "path": name_of(self.paths[position]),
            "label": self.classes[self.labels[position]],
            "boxes": [Box(*edges).to_dict() for edges in self.true_boxes[position].tolist()],
            "predictions": [score.to_dict() for score in scores],
            "is_right": bool(self.is_right[position].any()),
            "iou_class_given": float(self.own_ious[position]),
        }

    def _share(self, is_right: np.ndarray) -> Proportion:
        return Proportion(int(is_right.sum()), len(is_right))


def _interval(share: Proportion) -> str:
    low, high = share.interval
    return f"95 % interval {low:.1%} to {high:.1%}"


def _error(right: Proportion) -> dict[str, Any]:
    """The share of the others."""
    wrong = Proportion(right.n - right.successes, right.n)
    return {"value": wrong.value, "interval_95": list(wrong.interval), "errors": wrong.successes, "n": wrong.n}
