"""Grad-CAM: where in the photo the maps of a layer speak for a class."""

import numpy as np

from verydeep.explain.backward import Start, Subject, Values, signal_at


def gradcam(subject: Subject, values: Values, target: Start, layer: str) -> np.ndarray:
    """The maps of `layer`, each by its weight, added: (h, w), what speaks against the target negative.

    A map's weight is the mean of the target's gradient over it. values: `record`, with `layer` among them. The paper
    cuts off what is negative, as `enlarge` does. Source: Selvaraju et al. (2017), equations 1 and 2.
    """
    weights = signal_at(subject, values, target, layer).mean(axis=(1, 2))
    found: np.ndarray = np.tensordot(weights, values[layer], axes=1)
    return found


def enlarge(values: np.ndarray, center: float, stride: float, shape: tuple[int, int]) -> np.ndarray:
    """What is positive in a map (h, w), in the pixels of an image of (height, width): bilinear, float32.

    center, stride: where the first value lies, and the distance to the next, in pixels from the image's edge: the
    accounts of the layer say so. So the map lies where its units look, also at sizes that the pools do not divide.
    Before the first centre and after the last, their values hold.
    """
    rows, columns = (_between(count, center, stride, side) for count, side in zip(values.shape, shape, strict=True))
    enlarged: np.ndarray = rows @ np.maximum(values, 0) @ columns.T
    return enlarged.astype(np.float32)


def _between(count: int, center: float, stride: float, side: int) -> np.ndarray:
    """(side, count): how much of each value a pixel gets, linear between the two centres around it."""
    places = np.clip((np.arange(side) + 0.5 - center) / stride, 0, count - 1)
    shares: np.ndarray = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count)))
    return shares
