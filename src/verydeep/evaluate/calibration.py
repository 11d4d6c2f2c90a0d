"""What the validation photos say of a model's confidence: its temperature, and when to answer "none of these"."""

import numpy as np

from verydeep.evaluate.metrics import top_k_correct
from verydeep.nouns import Calibration
from verydeep.outputs.classify import posteriors

MIN_PHOTOS = 50  # a quantile of 5 % rests on the two or three least sure of them; fewer would be chance
TEMPERATURES = (0.1, 100.0)  # the bounds of the search; most need 0.3 to 3, one that learnt few photos by heart 20
KEEP = 0.95
ROUNDING = 1e-5  # of a probability: engines and batch sizes add in other orders, and differ by a tenth of it


def calibrate(logits: np.ndarray, labels: np.ndarray) -> Calibration:
    """The temperature and the threshold of photos that the model did not train on; identity if under `MIN_PHOTOS`.

    logits: (N, classes); labels: (N,) positions in them.
    """
    if len(labels) < MIN_PHOTOS:
        return Calibration()
    temperature = fit_temperature(logits, labels)
    return Calibration(temperature, reject_threshold(posteriors(logits, temperature), labels), len(labels))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The T with which softmax(logits / T) makes the labels most likely, within `TEMPERATURES`.

    It changes no photo's best class, only how sure the model says it is. Where every photo is recognised, the most
    likely T is zero, a model sure of everything; nothing was learnt of its mistakes, and 1 is returned.
    Source: Guo et al. (2017), section 4.2.
    """
    if top_k_correct(logits, labels, 1).all():
        return 1.0
    logits = logits.astype(np.float64)
    # The cost is convex in 1 / T, so its slope crosses zero once at most: halve the interval (of log T) around it.
    low, high = np.log(TEMPERATURES)
    for _ in range(50):  # 6.9 / 2^50: as fine as a float
        middle = (low + high) / 2
        if _slope(logits, labels, float(np.exp(middle))) > 0:
            low = middle  # a smaller 1 / T costs less
        else:
            high = middle
    return float(np.exp((low + high) / 2))


def reject_threshold(probabilities: np.ndarray, labels: np.ndarray, keep: float = KEEP) -> float:
    """The top probability under which a photo is said to be none of the classes: `keep` of the right answers stay.

    It is the (1 - keep) quantile of the top probabilities of the photos that were recognised, so up to 5 % of them
    are turned down wrongly: that is its price. What is gained is that more of the wrong answers than of the right
    ones are turned down, and of photos that are none of the classes. How many is not promised: a network can be
    sure of a photo unlike any it has seen. It lies in the middle of the first gap below that quantile, so that no
    photo's answer hangs on the last bit of its probability: engines and batch sizes turn down the same photos.
    Returns 0, reject nothing, where fewer than `MIN_PHOTOS` were recognised.
    Source: Hendrycks & Gimpel (2017), "A baseline for detecting misclassified and out-of-distribution examples".
    """
    confidence = probabilities.max(axis=1)
    recognised = confidence[top_k_correct(probabilities, labels, 1)]
    if len(recognised) < MIN_PHOTOS:
        return 0.0
    quantile = np.quantile(recognised, 1 - keep, method="lower")
    below = np.append(np.sort(confidence[confidence <= quantile])[::-1], 0.0)  # from the quantile down
    gap = int(np.argmax(below[:-1] - below[1:] > ROUNDING))
    return float((below[gap] + below[gap + 1]) / 2)


def _slope(logits: np.ndarray, labels: np.ndarray, temperature: float) -> float:
    """The derivative of the mean cross-entropy by 1 / T: the mean logit by the posteriors less that of the label."""
    expected = (posteriors(logits, temperature) * logits).sum(axis=1)
    own = np.take_along_axis(logits, labels[:, None], axis=1)[:, 0]
    return float((expected - own).mean())
