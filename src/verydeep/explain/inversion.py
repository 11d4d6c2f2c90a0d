"""Inversion: a picture made up so that a layer sees in it what it saw in the photo, to show what it has kept."""

import math
from dataclasses import dataclass

import numpy as np

from verydeep.errors import UsageError
from verydeep.explain.backward import Subject, Values, record, signal_at

RATE = 0.1  # of Adam's first step, in deviations of the training photos' colours; it falls to zero along half a cosine
SMOOTHNESS = 0.05  # what the mean squared difference of neighbours costs, beside the relative error


@dataclass(frozen=True)
class Mismatch:
    """How far an output is from what is wanted: the squared distance over the square of what is wanted."""

    output: str
    wanted: np.ndarray

    def signal(self, values: Values) -> np.ndarray:
        """Its derivative by the output, as a walk back begins with."""
        signal: np.ndarray = 2 * (values[self.output] - self.wanted) / self._size
        return signal

    def score(self, values: Values) -> float:
        return float(((values[self.output] - self.wanted) ** 2).sum() / self._size)

    @property
    def _size(self) -> float:
        return max(float((self.wanted**2).sum()), float(np.finfo(np.float32).tiny))


def invert(
    subject: Subject, image: np.ndarray, output: str, steps: int = 50, seed: int = 0
) -> tuple[np.ndarray, list[float]]:
    """A smooth image in which the layer's `output` is that of `image`, (channels, H, W), and its error at each step.

    The last error is that of the image returned. It begins with faint noise and takes `steps` steps of Adam. Raises
    UsageError where the output is zero everywhere. Source: Mahendran & Vedaldi (2015), equation 1, with the squared
    differences of neighbours as their total variation (beta = 2).
    """
    goal = Mismatch(output, record(subject, image, (output,))[output])
    if not goal.wanted.any():
        raise UsageError(f"{output} is zero everywhere for this photo: it keeps nothing of it.", "Name another layer.")
    x = 0.1 * np.random.default_rng(seed).standard_normal(image.shape).astype(image.dtype)
    mean, square = np.zeros_like(x), np.zeros_like(x)
    errors: list[float] = []
    for step in range(1, steps + 1):
        values = record(subject, x, (output,))
        errors.append(goal.score(values))
        gradient = signal_at(subject, values, goal) + SMOOTHNESS * roughness_gradient(x)
        mean, square = 0.9 * mean + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        rate = RATE * 0.5 * (1 + math.cos(math.pi * (step - 1) / steps))
        x = x - (rate * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-12)).astype(x.dtype)
    errors.append(goal.score(record(subject, x, (output,))))
    return x, errors


def roughness_gradient(x: np.ndarray) -> np.ndarray:
    """The derivative of the mean squared difference of neighbours, across and down, by the pixels (channels, H, W)."""
    gradient = np.zeros_like(x)
    for axis in (1, 2):
        difference = np.diff(x, axis=axis) * (2 / x.size)
        before, after = [(0, 0)] * 3, [(0, 0)] * 3
        before[axis], after[axis] = (1, 0), (0, 1)
        gradient += np.pad(difference, before) - np.pad(difference, after)
    return gradient
