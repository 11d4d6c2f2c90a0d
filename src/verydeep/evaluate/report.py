"""What an evaluation found: the posteriors of every photo, and the figures that follow from them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from verydeep.evaluate import metrics
from verydeep.image.decode import name_of
from verydeep.nouns import Calibration, Failure, StoredPhoto
from verydeep.outputs.classify import classify, posteriors


@dataclass(frozen=True)
class Proportion:
    """A share of photos, with the interval that holds the true one in 95 of 100 such samples (Wilson's)."""

    successes: int
    n: int

    @property
    def value(self) -> float | None:
        """None where there is nothing to take a share of."""
        return self.successes / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        return metrics.wilson_interval(self.successes, self.n)

    def to_dict(self) -> dict[str, Any]:
        return {"value": self.value, "interval_95": list(self.interval), "successes": self.successes, "n": self.n}


@dataclass(frozen=True)
class ClassRow:
    """One class: how many of its photos were recognised, and how many of those taken for it were."""

    label: str
    recall: Proportion  # of the photos of the class; also called its accuracy
    precision: Proportion  # of the photos taken for the class

    def to_dict(self) -> dict[str, Any]:
        return {"label": self.label, "recall": self.recall.to_dict(), "precision": self.precision.to_dict()}


@dataclass(frozen=True)
class Confusion:
    """How often photos of one class were taken for another."""

    label: str
    taken_for: str
    photos: int


@dataclass(frozen=True, eq=False)
class Report:
    """An evaluation. The arrays have one row a photo that could be read, in the order of the data set."""

    protocol: str  # in a sentence: what every figure here depends on
    protocol_name: str  # of `PROTOCOLS`
    classes: tuple[str, ...]
    paths: tuple[StoredPhoto, ...]
    labels: np.ndarray  # (n,) int64, positions in `classes`
    posteriors: np.ndarray  # (n, classes) float64, at the calibration's temperature
    logits: np.ndarray | None  # (n, classes) float32; None where several views were averaged after the soft-max
    calibration: Calibration
    failures: tuple[Failure, ...] = ()  # the photos that are in no figure

    @property
    def n(self) -> int:
        """How many photos every figure rests on."""
        return len(self.labels)

    @cached_property
    def top1(self) -> Proportion:
        return self._top(1)

    @property
    def score(self) -> float:
        """What the model is judged by: top-1."""
        return self.top1.successes / self.n

    @property
    def headline(self) -> str:
        """Top-1 with its interval and its terms."""
        return f"top-1 {self.top1.value:.1%} ({self._interval}, n = {self.n}; {self.protocol})"

    @property
    def lead(self) -> tuple[str, ...]:
        """Top-1 alone, and the rest of the sentence."""
        return f"{self.top1.value:.1%}", f"of {self.n:,} validation photos recognised (top-1; {self._interval})"

    @property
    def _interval(self) -> str:
        low, high = self.top1.interval
        return f"95 % interval {low:.1%} to {high:.1%}"

    def summary(self) -> dict[str, Any]:
        """As a model file has it."""
        return {"protocol": self.protocol, "n": self.n, "top1": self.top1.to_dict()}

    @cached_property
    def top5(self) -> Proportion | None:
        """None for five classes or fewer, where every answer would be right."""
        return self._top(5) if len(self.classes) > 5 else None

    @cached_property
    def loss(self) -> float:
        """The mean cross-entropy of the posteriors, in nats."""
        return metrics.cross_entropy(self.posteriors, self.labels)

    @cached_property
    def calibration_error(self) -> float:
        """The expected calibration error, 15 bins."""
        return metrics.expected_calibration_error(self.posteriors, self.labels)

    @cached_property
    def uncalibrated_error(self) -> float | None:
        """The same without the temperature; None where the logits are not known."""
        if self.logits is None:
            return None
        return metrics.expected_calibration_error(posteriors(self.logits), self.labels)

    @cached_property
    def confusion(self) -> np.ndarray:
        """(classes, classes) int: rows the true class, columns the one it was taken for."""
        return metrics.confusion_matrix(self.posteriors, self.labels)

    @cached_property
    def class_rows(self) -> tuple[ClassRow, ...]:
        """One a class, in the model's order."""
        right, own, taken = self.confusion.diagonal(), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        return tuple(
            ClassRow(label, Proportion(int(right[i]), int(own[i])), Proportion(int(right[i]), int(taken[i])))
            for i, label in enumerate(self.classes)
        )

    @cached_property
    def answered(self) -> Proportion:
        """The photos that the model is sure enough of to name a class: its coverage."""
        return Proportion(int(self._is_answered.sum()), self.n)

    @cached_property
    def right_when_answered(self) -> Proportion:
        """Top-1 among those."""
        is_right = metrics.top_k_correct(self.posteriors, self.labels, 1)
        return Proportion(int((is_right & self._is_answered).sum()), self.answered.successes)

    def top_confusions(self, count: int = 10) -> tuple[Confusion, ...]:
        """The most frequent mistakes, the most frequent first."""
        wrong = self.confusion.copy()
        np.fill_diagonal(wrong, 0)
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        pairs = [divmod(int(flat), len(self.classes)) for flat in order]
        return tuple(Confusion(self.classes[i], self.classes[j], int(wrong[i, j])) for i, j in pairs if wrong[i, j] > 0)

    def to_dict(self) -> dict[str, Any]:
        """As `verydeep evaluate --json` prints it: every figure, and what the model said of each photo."""
        return {
            "protocol": {"name": self.protocol_name, "description": self.protocol},
            "n": self.n,
            "top1": self.top1.to_dict(),
            "top5": self.top5.to_dict() if self.top5 else None,
            "loss": self.loss,
            "expected_calibration_error": self.calibration_error,
            "calibration": self.calibration.to_dict(),
            "answered": self.answered.to_dict(),
            "right_when_answered": self.right_when_answered.to_dict(),
            "classes": [row.to_dict() for row in self.class_rows],
            "confusion": self.confusion.tolist(),
            "photos": [self._photo(position) for position in range(self.n)],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def _photo(self, position: int) -> dict[str, Any]:
        """What the model said of a photo, beside what it is."""
        path, label = name_of(self.paths[position]), self.classes[self.labels[position]]
        prediction = classify(self.posteriors[position], self.classes, self.calibration, path)
        scores = [score.to_dict() for score in prediction.scores]
        return {"path": path, "label": label, "predictions": scores, "is_known": prediction.is_known}

    @property
    def _is_answered(self) -> np.ndarray:
        is_sure: np.ndarray = self.posteriors.max(axis=1) >= self.calibration.reject_below
        return is_sure

    def _top(self, k: int) -> Proportion:
        return Proportion(int(metrics.top_k_correct(self.posteriors, self.labels, k).sum()), self.n)
