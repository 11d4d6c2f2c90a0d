"""The reference engine: the rows of the table in plain NumPy, as plainly as they can be written.

It says what the numbers are; every other engine is held against it. Images run one after the other, so the answer for
a photo does not depend on its batch, and memory is that of one photo.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from verydeep.architecture import BATCH_NORM_EPSILON, LRN, Architecture, Layer
from verydeep.errors import DeviceError
from verydeep.nouns import Weights
from verydeep.runtime.request import check_request


class ReferenceEngine:
    """An engine that needs NumPy alone. Thread-safe: a run changes nothing.

    weights: arrays of `architecture.weight_shapes`. It computes in float32 on the CPU, with the threads of NumPy's
    matrix product; DeviceError where anything else is asked for.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        _check_settings(device, precision, threads)
        self.architecture = architecture
        self.weights = {name: np.asarray(array, np.float32) for name, array in weights.items()}
        # convolutions (out, in, k, k) -> (k, k, out, in): a position in the window is then one whole matrix
        self._windows = {
            layer.name: np.ascontiguousarray(self.weights[f"{layer.name}.weight"].transpose(2, 3, 0, 1))
            for layer in architecture.layers
            if layer.kind == "conv"
        }

    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """images: (N, channels, H, W), normalised -> the named outputs, float32: see `nouns.Engine`."""
        check_request(self.architecture, images, outputs)
        found: dict[str, list[np.ndarray]] = {name: [] for name in outputs}
        for image in images:
            for name, value in self._outputs(np.asarray(image, np.float32)):
                if name in found:
                    found[name].append(value)
        return {name: np.stack(values) for name, values in found.items()}

    def _outputs(self, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every output of one image (channels, H, W), in the order of `Architecture.outputs`."""
        for layer in self.architecture.layers:
            x = self._linear_part(layer, x)
            yield layer.name, x
            if layer.has_relu:
                x = np.maximum(x, 0)
                yield layer.relu_name, x
        yield "logits", x

    def _linear_part(self, layer: Layer, x: np.ndarray) -> np.ndarray:
        """All of a layer that comes before its ReLU. Dropout is of training alone."""
        if layer.kind == "pool":
            return max_pool(x, layer)
        if layer.kind == "lrn":
            return local_response_norm(x)
        if layer.kind == "gap":
            return global_average(x)
        bias = self.weights[f"{layer.name}.bias"]
        if layer.kind == "fc":
            return fully_connected(x, self.weights[f"{layer.name}.weight"], bias)
        x = convolve(x, self._windows[layer.name], bias, layer)
        if layer.has_batch_norm:
            parts = ("weight", "bias", "running_mean", "running_var")
            x = batch_norm(x, *(self.weights[f"{layer.batch_norm_name}.{part}"] for part in parts))
        return x


def convolve(x: np.ndarray, windows: np.ndarray, bias: np.ndarray, layer: Layer) -> np.ndarray:
    """A convolution of stride 1 (as in torch: a cross-correlation) of one map (in, H, W).

    windows: (kernel, kernel, out, in). Each position in the window multiplies the whole map, moved by that position:
    a k x k convolution is the sum of k * k products of matrices.
    """
    channels, height, width = layer.output_shape(x.shape)
    x = np.pad(x, ((0, 0), (layer.padding, layer.padding), (layer.padding, layer.padding)))
    y = np.repeat(bias[:, None], height * width, axis=1)
    for dy in range(layer.kernel):
        for dx in range(layer.kernel):
            moved = x[:, dy : dy + height, dx : dx + width]
            y += windows[dy, dx] @ moved.reshape(len(x), height * width)
    return y.reshape(channels, height, width)


def batch_norm(
    x: np.ndarray, scale: np.ndarray, shift: np.ndarray, mean: np.ndarray, variance: np.ndarray
) -> np.ndarray:
    """Each channel of one map (channels, H, W) by the statistics of training: four arrays (channels,)."""
    deviation = np.sqrt(variance + np.float32(BATCH_NORM_EPSILON))
    y: np.ndarray = (x - _by_channel(mean)) / _by_channel(deviation) * _by_channel(scale) + _by_channel(shift)
    return y


def max_pool(x: np.ndarray, layer: Layer) -> np.ndarray:
    """The largest of each window of one map (channels, H, W); an odd last row or column is left out."""
    _, height, width = layer.output_shape(x.shape)
    step = layer.stride
    corners = [
        x[:, dy : dy + step * height : step, dx : dx + step * width : step]
        for dy in range(layer.kernel)
        for dx in range(layer.kernel)
    ]
    pooled: np.ndarray = np.maximum.reduce(corners)
    return pooled


def local_response_norm(x: np.ndarray) -> np.ndarray:
    """x / (k + alpha * sum of x^2 over the neighbouring channels) ^ beta, Krizhevsky et al. (2012), section 3.3."""
    size, alpha, beta, k = int(LRN["size"]), np.float32(LRN["alpha"]), np.float32(LRN["beta"]), np.float32(LRN["k"])
    squares = np.pad(x * x, ((size // 2, size // 2), (0, 0), (0, 0)))
    energy = sum(squares[i : i + len(x)] for i in range(size))
    normalized: np.ndarray = x / (k + alpha * energy) ** beta
    return normalized


def global_average(x: np.ndarray) -> np.ndarray:
    """The mean of each channel of one map: (channels, H, W) -> (channels,)."""
    mean: np.ndarray = x.mean(axis=(1, 2))
    return mean


def fully_connected(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """weight (out, in) times all of x, in the order channels, rows, columns, as in Caffe."""
    y: np.ndarray = weight @ x.reshape(-1) + bias
    return y


def _by_channel(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


def _check_settings(device: str, precision: str, threads: int | None) -> None:
    if device not in ("auto", "cpu"):
        raise DeviceError(f"the reference engine runs on the cpu only, not on {device}.", "Use the engine torch.")
    if precision != "float32":
        raise DeviceError(f"the reference engine computes in float32 only, not {precision}.", "Use the engine torch.")
    if threads is not None:
        raise DeviceError(
            f"the reference engine cannot be told to use {threads} threads: NumPy reads their number when it starts.",
            f"Set OPENBLAS_NUM_THREADS={threads} in the environment, or use the engine torch.",
        )
