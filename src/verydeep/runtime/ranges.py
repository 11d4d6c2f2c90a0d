"""How large the numbers are that `fast` and `int8` round: measured on some photos, kept in the model file.

They round the transformed pixels of each convolution, to 14 and to 8 bits. The scale is one for each position of
Winograd's F(4x4), from the largest value seen there (`packing.py`).
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from verydeep.architecture import Architecture
from verydeep.nouns import Engine

POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))  # and infinity: native/src/winograd_points.h
_TILE, _WINDOW = 4, 6  # pixels


def sources(architecture: Architecture) -> dict[str, str]:
    """Of each convolution by Winograd the name of the output that it reads: "conv1_2" -> "relu1_1"."""
    found = {}
    before = ""
    for layer in architecture.layers:
        if layer.kind == "conv" and (layer.kernel, layer.padding) == (3, 1) and before:
            found[layer.name] = before
        before = layer.relu_name if layer.has_relu else layer.name
    return found


def measure_ranges(
    architecture: Architecture, engine: Engine, images: Sequence[np.ndarray]
) -> dict[str, tuple[float, ...]]:
    """Of each convolution by Winograd the largest absolute value at each of the 36 positions, over all images.

    images: (channels, H, W) each, normalised. engine: of this architecture, in float32.
    """
    read_by = sources(architecture)
    largest = {name: np.zeros(_WINDOW**2) for name in read_by}
    for image in images:
        outputs = engine.run(image[None], sorted(set(read_by.values())))
        for name, source in read_by.items():
            for values in _transformed(outputs[source][0]):
                largest[name] = np.maximum(largest[name], np.abs(values).max(axis=0))
    return {name: tuple(float(f"{value:.4g}") for value in row) for name, row in largest.items()}


def _transformed(maps: np.ndarray) -> Iterator[np.ndarray]:
    """maps: (channels, H, W) -> of each channel (windows, 36): B^T d B of all its windows."""
    matrix = input_matrix()
    _, height, width = maps.shape
    behind = [-side % _TILE + 1 for side in (height, width)]
    for channel in maps:
        padded = np.pad(channel, ((1, behind[0]), (1, behind[1])))
        windows = sliding_window_view(padded, (_WINDOW, _WINDOW))[::_TILE, ::_TILE]
        yield (matrix @ windows @ matrix.T).reshape(-1, _WINDOW**2)


def input_matrix() -> np.ndarray:
    """B transposed of F(4x4), (6, 6) float32. Row i: the product of (x - p) over all points p but point i."""
    rows = [np.poly([other for other in POINTS if other != point])[::-1] for point in POINTS]
    matrix = np.zeros((_WINDOW, _WINDOW), np.float32)
    for row, coefficients in zip(matrix, rows, strict=False):
        row[: len(coefficients)] = coefficients
    matrix[-1] = np.poly(POINTS)[::-1]
    return matrix
