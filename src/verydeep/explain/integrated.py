"""Integrated gradients: the target's gain over a picture without content, shared out among the pixels."""

import numpy as np

from verydeep.explain.backward import Start, Subject, record, signal_at


def integrated_gradients(subject: Subject, image: np.ndarray, target: Start, steps: int = 50) -> np.ndarray:
    """(channels, H, W): the image times its mean gradient on the straight way to it from the baseline.

    image: (channels, H, W), normalised. The baseline is 0, the mean colour of the training photos. The sum of all is
    the target's score for the image minus that for the baseline, as exactly as `steps` points of Gauss's and Legendre's
    rule integrate. Source: Sundararajan et al. (2017), equation 1.
    """
    points, weights = np.polynomial.legendre.leggauss(steps)  # of the interval from -1 to 1
    mean = np.zeros_like(image)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        values = record(subject, (point * image).astype(image.dtype), (target.output,))
        mean += (weight * signal_at(subject, values, target)).astype(image.dtype)
    found: np.ndarray = image * mean
    return found


def gain(subject: Subject, image: np.ndarray, target: Start) -> float:
    """The target's score for the image, minus that for the baseline: what the attributions should add up to."""
    also = (target.output,)
    return target.score(record(subject, image, also)) - target.score(record(subject, np.zeros_like(image), also))
