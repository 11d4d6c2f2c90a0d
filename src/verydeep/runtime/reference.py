"""The reference engine: the rows of the table in plain NumPy, as plainly as they can be written.

It says what the numbers are; every other engine is held against it. Each image runs by itself, on one thread: the
answer for a photo depends neither on its batch nor on the number of threads, and memory is that of one photo a thread.
"""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from threadpoolctl import ThreadpoolController

from verydeep.architecture import BATCH_NORM_EPSILON, LRN, Architecture, Layer
from verydeep.errors import DeviceError
from verydeep.machine import cores
from verydeep.nouns import Weights
from verydeep.runtime.request import check_request

WINDOW_VALUES = 1 << 21  # 8 MiB in float32
PRECISIONS = ("float32", "float64")
_one_at_a_time = threading.Lock()  # of two limits that overlap, the second would put back that of the first


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """While it is entered, NumPy's matrix products run on the thread that calls them; others that want it wait."""
    with _one_at_a_time, ThreadpoolController().limit(limits=1, user_api="blas"):
        yield


class ReferenceEngine:
    """An engine that needs NumPy alone. Thread-safe; runs that overlap wait for each other.

    weights: arrays of `architecture.weight_shapes`. It computes on the CPU, in float32, or in float64 to measure the
    rounding errors of others, its outputs are then float64, too; DeviceError where anything else is asked for. threads:
    images at once, by default one a core.
    """

    device = "cpu"
    device_name = ""

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        _check_settings(device, precision)
        self.architecture = architecture
        self.dtype = np.dtype(precision)
        self.weights = {name: np.asarray(array, self.dtype) for name, array in weights.items()}
        self.threads = threads or cores()
        self._blas = ThreadpoolController()

    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """images: (N, channels, H, W), normalised -> the named outputs, float32: see `nouns.Engine`."""
        check_request(self.architecture, images, outputs)

        def run_one(image: np.ndarray) -> dict[str, np.ndarray]:
            return {name: x for name, x in self._outputs(np.asarray(image, self.dtype)) if name in outputs}

        # The limit is the whole process's, except where BLAS uses OpenMP: there every thread has its own.
        with _one_at_a_time, self._one_blas_thread():
            threads = min(self.threads, len(images))
            with ThreadPoolExecutor(threads, "reference", initializer=self._one_blas_thread) as pool:
                found = list(pool.map(run_one, images))
        return {name: np.stack([one[name] for one in found]) for name in outputs}

    def _one_blas_thread(self) -> AbstractContextManager[object]:
        """From now on, and until its end, NumPy's matrix product runs on the thread that calls it.

        The threads of BLAS wait for each other at every product, and spin while they wait: beside one busy program on
        two cores, two of them take twelve times as long as one.
        """
        limit: AbstractContextManager[object] = self._blas.limit(limits=1, user_api="blas")
        return limit

    def _outputs(self, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Every output of one image (channels, H, W), in the order of `Architecture.outputs`."""
        undone = {layer.pool for layer in self.architecture.layers}
        pooled: dict[str, np.ndarray] = {}  # what each pool took that is undone later
        for layer in self.architecture.layers:
            if layer.name in undone:
                pooled[layer.name] = x
            x = max_unpool(x, pooled.pop(layer.pool), layer) if layer.kind == "unpool" else self._linear_part(layer, x)
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
        if layer.kind == "unit":
            return unit(x)
        weight, bias = self.weights[f"{layer.name}.weight"], self.weights[f"{layer.name}.bias"]
        if layer.kind == "fc":
            return fully_connected(x, weight, bias)
        x = convolve(x, weight, bias, layer.padding)
        if layer.has_batch_norm:
            parts = ("weight", "bias", "running_mean", "running_var")
            x = batch_norm(x, *(self.weights[f"{layer.batch_norm_name}.{part}"] for part in parts))
        return x


def convolve(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, padding: int) -> np.ndarray:
    """A convolution of stride 1 (as in torch: a cross-correlation) of one map (in, H, W). weight: (out, in, k, k).

    Each pixel of the result is the weights times the window around it. The windows of some rows are laid out as the
    columns of a matrix, `WINDOW_VALUES` of them at a time: all at once, they are k * k times as large as the map.
    """
    out_channels, _, kernel, _ = weight.shape
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, (kernel, kernel), axis=(1, 2)).transpose(0, 3, 4, 1, 2)  # (in, k, k, h, w)
    height, width = windows.shape[3:]
    matrix = weight.reshape(out_channels, -1)
    rows = max(1, WINDOW_VALUES // (matrix.shape[1] * width))
    y = np.empty((out_channels, height, width), x.dtype)
    for top in range(0, height, rows):
        columns = windows[:, :, :, top : top + rows].reshape(matrix.shape[1], -1)
        y[:, top : top + rows] = (matrix @ columns).reshape(out_channels, -1, width)
    y += _by_channel(bias)
    return y


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
    pooled: np.ndarray = np.maximum.reduce([x[place] for place in corners(layer, height, width)])
    return pooled


def max_unpool(x: np.ndarray, before: np.ndarray, layer: Layer) -> np.ndarray:
    """Undoes a pool: each value of one map (channels, h, w) where the largest of its window of `before` was.

    before: (channels, H, W), what the pool took; the result has its shape. Of equal ones the first, row by row, as in
    torch. The rest is zero, also an odd last row or column.
    """
    _, height, width = x.shape
    places = corners(layer, height, width)
    largest = np.argmax([before[place] for place in places], axis=0)
    back = np.zeros(before.shape, x.dtype)
    for corner, place in enumerate(places):
        back[place] = np.where(largest == corner, x, 0)
    return back


def corners(layer: Layer, height: int, width: int) -> list[tuple[slice, slice, slice]]:
    """The pixels of a pool's windows, the first of each window, then the second ...: height x width windows."""
    step = layer.stride
    return [
        np.s_[:, dy : dy + step * height : step, dx : dx + step * width : step]
        for dy in range(layer.kernel)
        for dx in range(layer.kernel)
    ]


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


def unit(x: np.ndarray) -> np.ndarray:
    """A vector divided by its length; one shorter than 1e-12 by that, as torch's `normalize` does."""
    length = np.sqrt(np.square(x, dtype=np.float64).sum())  # in float32, large numbers have no square
    y: np.ndarray = (x / max(length, 1e-12)).astype(x.dtype)
    return y


def fully_connected(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """weight (out, in) times all of x, in the order channels, rows, columns, as in Caffe."""
    y: np.ndarray = weight @ x.reshape(-1) + bias
    return y


def _by_channel(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]


def _check_settings(device: str, precision: str) -> None:
    if device not in ("auto", "cpu"):
        raise DeviceError(f"the reference engine runs on the cpu only, not on {device}.", "Use the engine torch.")
    if precision not in PRECISIONS:
        raise DeviceError(f"the reference engine computes in float32 only, not {precision}.", "Use the engine torch.")
