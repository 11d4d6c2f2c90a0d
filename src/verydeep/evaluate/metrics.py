"""Scores and labels -> figures. Scores are logits or posteriors, (N, classes); labels are (N,) positions in them."""

import math
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000


def ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The place of the right class in each photo's list, 0 the best: (N,) int.

    Of classes with equal scores the one listed first comes first, as in the list that a prediction shows.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    is_earlier = np.arange(scores.shape[1]) < labels[:, None]
    ahead: np.ndarray = ((scores > own) | ((scores == own) & is_earlier)).sum(axis=1)
    return ahead


def top_k_correct(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the right class is among the k best, photo by photo: (N,) bool."""
    return ranks(scores, labels) < k


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval that holds the true proportion with that confidence, given `successes` of `n` tries.

    Unlike "p plus or minus 1.96 standard errors" it stays within [0, 1] and is right for 0 of n and n of n, too.
    Without a try it is (0, 1). Source: Wilson (1927), Journal of the American Statistical Association 22, 209-212.
    """
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p = successes / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    # at the ends the exact bound is p itself; rounding must not put it a hair beside
    return (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)


def paired_change(before: np.ndarray, after: np.ndarray, confidence: float = 0.95) -> tuple[float, tuple[float, float]]:
    """How much the share of right answers changed between two models that saw the same photos, and its interval.

    before, after: (N,) bool, whether the answer to each photo was right; N at least 1. Most of the photos' own spread
    cancels: the interval is much narrower than that of either share. Source: Agresti and Min (2005), Statistics in
    Medicine 24, 729-740: Wald's interval, with half a photo added to each of the four outcomes.
    """
    n, won, lost = len(before), int((after & ~before).sum()), int((before & ~after).sum())
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    centre = (won - lost) / (n + 2)
    half = z * math.sqrt(won + lost + 1 - (won - lost) ** 2 / (n + 2)) / (n + 2)
    return (won - lost) / n, (max(-1.0, centre - half), min(1.0, centre + half))


def bootstrap_interval(values: np.ndarray, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """The interval of the mean of (N,) values, N at least 1: the percentiles of the means of N photos drawn anew.

    The same values always give the same interval. Of paired differences, it is that of the paired difference. Source:
    Efron & Tibshirani (1993), "An Introduction to the Bootstrap", section 13.3.
    """
    random = np.random.default_rng(seed)
    means: list[float] = []
    while len(means) < RESAMPLES:  # some at a time, so that many photos need little memory
        some = min(RESAMPLES - len(means), max(1, 1_000_000 // len(values)))
        drawn = random.integers(0, len(values), (some, len(values)))
        means += values[drawn].mean(axis=1, dtype=np.float64).tolist()
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def paired_bootstrap(
    before: np.ndarray, after: np.ndarray, confidence: float = 0.95, seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """How much the mean of a figure changed between two models that saw the same photos, and its interval.

    before, after: (N,) the figure of each photo, such as the IoU of its box; N at least 1. For right and wrong answers
    `paired_change` says the same without drawing.
    """
    differences = np.asarray(after, float) - np.asarray(before, float)
    return float(differences.mean()), bootstrap_interval(differences, confidence, seed)


def confusion_matrix(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many photos of each class (row) were taken for each class (column): (classes, classes) int."""
    classes = scores.shape[1]
    pairs = labels * classes + scores.argmax(axis=1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def recall(confusion: np.ndarray) -> np.ndarray:
    """The share of each class's photos that were recognised: (classes,), NaN for a class without photos."""
    return _ratio(confusion.diagonal(), confusion.sum(axis=1))


def precision(confusion: np.ndarray) -> np.ndarray:
    """The share of right ones among the photos taken for each class: (classes,), NaN where there are none."""
    return _ratio(confusion.diagonal(), confusion.sum(axis=0))


def cross_entropy(posteriors: np.ndarray, labels: np.ndarray) -> float:
    """The mean of -log(posterior of the right class), in nats; a guess among C classes costs log(C).

    A posterior that underflowed to zero counts as the smallest float32, a cost of 87.
    """
    own = np.take_along_axis(posteriors, labels[:, None], axis=1).astype(np.float64)
    return float(-np.log(np.maximum(own, np.finfo(np.float32).tiny)).mean())


def expected_calibration_error(posteriors: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """How far the confidence is from the accuracy, on average over photos: 0 = honest.

    The photos are put into `bins` equal intervals of the top posterior; each adds |accuracy - mean confidence|,
    weighted by its share of the photos. Source: Guo et al. (2017), "On calibration of modern neural networks".
    """
    _, right, confidence = calibration_bins(posteriors, labels, bins)
    return float(np.abs(right - confidence).sum() / len(labels))


def calibration_bins(
    posteriors: np.ndarray, labels: np.ndarray, bins: int = 15
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The photos in equal intervals of their top posterior: how many, how many right, and the sum of the posteriors.

    Each is (bins,) float64.
    """
    confidence = posteriors.max(axis=1).astype(np.float64)
    is_right = posteriors.argmax(axis=1) == labels
    members = np.minimum((confidence * bins).astype(int), bins - 1)
    counts, right, total = (
        np.bincount(members, weights, bins) for weights in (np.ones(len(labels)), is_right, confidence)
    )
    return counts, right, total


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    ratio = np.full(len(whole), np.nan)
    np.divide(part, whole, out=ratio, where=whole > 0)
    return ratio
