"""Logits -> probabilities -> Prediction."""

from collections.abc import Mapping, Sequence

import numpy as np

from verydeep.errors import UsageError
from verydeep.nouns import Box, Calibration, ClassScore, Prediction


def softmax(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """exp(logits / temperature) along the last axis, divided by its sum: float64, each row adds to 1.

    The largest logit is subtracted first: the result is the same, and no exponential overflows.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def class_logits(answer: np.ndarray, classes: int) -> np.ndarray:
    """The scores of the classes in what a network answers, (N, scores) or (N, scores, h, w): they come first.

    A localiser's boxes come after them; a classifier answers with nothing else.
    """
    return answer[:, :classes]


def posteriors(logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """What a network says of N photos: logits (N, classes) or (N, classes, h, w) -> (N, classes) float64.

    A dense network's map of scores is averaged over its positions before the soft-max (section 3.2).
    """
    if logits.ndim == 4:
        logits = logits.mean(axis=(2, 3), dtype=np.float64)
    return softmax(logits, temperature)


def best_classes(probabilities: np.ndarray, k: int) -> np.ndarray:
    """The positions of the `k` largest of (classes,), the largest first, or of all where there are fewer.

    Of equal ones the first wins. Raises UsageError where `k` is below 1.
    """
    if k < 1:
        raise UsageError(f"k is {k}; expected a number of at least 1.", "Ask for one class or more.")
    return np.argsort(-probabilities, kind="stable")[:k]


def classify(
    probabilities: np.ndarray,
    classes: Sequence[str],
    calibration: Calibration,
    path: str = "",
    k: int = 5,
    *,
    boxes: Mapping[int, Box] | None = None,
) -> Prediction:
    """The `k` best classes of one photo, or all where there are fewer: see `best_classes`.

    probabilities: (classes,), from `posteriors`. boxes: where each of these classes is, by its position in `classes`.
    """
    best, found = best_classes(probabilities, k), boxes or {}
    return Prediction(
        path,
        tuple(ClassScore(classes[i], float(probabilities[i]), found.get(i)) for i in best.tolist()),
        is_known=bool(probabilities[best[0]] >= calibration.reject_below),
    )
