"""Weights as the native engine reads them: folded, transformed, in the order of its loops; kept for the next start.

For each convolution an array of bytes in the layout of native/src/pack.h and a bias, with scales where it is computed
in whole numbers. Those of float32 are 4 to 7 times as large as what they are made of, so they are not shipped: they are
made on the first start, and mapped on the next.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.architecture import BATCH_NORM_EPSILON, Architecture, Layer
from verydeep.errors import ModelFileError
from verydeep.files import cache_folder, make_folder
from verydeep.nouns import Weights
from verydeep.runtime import _native  # type: ignore[attr-defined]  # built from native/
from verydeep.runtime.array_file import aligned_zeros, read_arrays, write_arrays
from verydeep.weights import MappedWeights

FOLDER_BYTES = 4 << 30  # of all such files; what was not used for longest goes first
BLOCK = 16  # channels that lie together in memory: kBlock of native/src/types.h

_PART_VALUES = 1 << 20  # of weights, that are looked at together

_WORTH_IT = 0.95  # of the multiplications of F(4x4), from which on F(6x6) with its larger rounding errors is taken

NUMBERS = {"float32": "float32", "fast": "int16", "int8": "int8"}
"""What the convolutions by Winograd multiply in each precision."""
WHOLE = tuple(precision for precision, number in NUMBERS.items() if number != "float32")

# The largest whole number that a transformed pixel becomes (native/src/types.h), and the pixel that becomes it, as a
# multiple of the largest one seen. With 14 bits there is room for what a few photos did not show. With 8 bits it is
# better to cut the few largest off, so that the others are rounded less (docs/log.md).
_LARGEST_VALUE = {"int16": 8191, "int8": 127}
_HEADROOM = {"int16": 2.0, "int8": 0.8}

Packed = dict[str, np.ndarray]
""" "conv1_1.weight" -> bytes, "conv1_1.bias" -> float32 of whole blocks."""
Ranges = Mapping[str, Sequence[float]]
""" "conv1_2" -> the largest value at each position: see `ranges.measure_ranges`."""


def methods(architecture: Architecture, precision: str = "float32") -> dict[str, str]:
    """How each convolution is computed: by Winograd's F(4x4) or F(6x6), window by window, or as the first.

    The larger tiles take fewer multiplications, but where they fit badly they reach far beyond the map. In whole
    numbers their rounding errors are too large.
    """
    shapes = architecture.output_shapes(architecture.input_size, architecture.input_size)
    chosen = {}
    for number, layer in enumerate(architecture.layers):
        if layer.kind != "conv":
            continue
        if number == 0:
            chosen[layer.name] = "first"
        elif (layer.kernel, layer.padding) != (3, 1):
            chosen[layer.name] = "window"
        else:
            _, side, _ = shapes[layer.name]
            of_four, of_six = (-(-side // 4)) ** 2 * 36, (-(-side // 6)) ** 2 * 64
            is_six = precision == "float32" and of_six <= _WORTH_IT * of_four
            chosen[layer.name] = "winograd6" if is_six else "winograd4"
    return chosen


def packed_weights(
    architecture: Architecture,
    weights: Weights,
    instruction_set: str,
    threads: int,
    *,
    precision: str = "float32",
    ranges: Ranges | None = None,
) -> Packed:
    """The arrays that are not those of the model file, from a file where they were made before.

    Where the weights are mapped from a model file they are kept for the next start; where they cannot be kept, or what
    is kept is damaged, they are made again, and nobody is told: it takes tenths of a second. ranges: as
    `measure_ranges` returns them, for whole numbers. Raises ModelFileError on NaN or infinity.
    """
    how = _How(architecture, instruction_set, threads, precision, ranges or {})
    if not isinstance(weights, MappedWeights):
        return _pack(how, weights)
    key = how.key(weights.identity)
    with contextlib.suppress(OSError):  # StorageError is one
        kept = read_arrays(cache_folder() / "packed" / f"{key}.packed", key)
        if kept is not None:
            return kept
    packed = _pack(how, weights)
    with contextlib.suppress(OSError):
        path = make_folder(cache_folder() / "packed") / f"{key}.packed"
        write_arrays(path, key, packed, FOLDER_BYTES)
        return read_arrays(path, key) or packed  # the pages of a file are shared with other processes
    return packed


@dataclass(frozen=True)
class _How:
    """All that decides what is made of weights."""

    architecture: Architecture
    instruction_set: str
    threads: int  # that make it: no matter to the result
    precision: str
    ranges: Ranges

    def key(self, identity: str) -> str:
        """identity: of the weights."""
        chosen = [
            *(identity, _native.PACKING_VERSION, self.instruction_set, self.precision, dict(self.ranges)),
            *(self.architecture.to_dict(), methods(self.architecture, self.precision), BATCH_NORM_EPSILON),
            *(_LARGEST_VALUE, _HEADROOM),
        ]
        return hashlib.blake2b(json.dumps(chosen).encode(), digest_size=16).hexdigest()


def _pack(how: _How, weights: Weights) -> Packed:
    for name, array in weights.items():
        if not all(np.isfinite(array[part]).all() for part in _parts(array)):
            what = f"{weights.path} holds" if isinstance(weights, MappedWeights) else "the weights hold"
            raise ModelFileError(
                f"{what} NaN or infinity in {name}.", "Train the model again, or fetch its file again."
            )
    packed: Packed = {}
    chosen = methods(how.architecture, how.precision)
    for layer in how.architecture.layers:
        if layer.kind == "conv":
            for part, array in _packed_conv(how, layer, chosen[layer.name], weights).items():
                packed[f"{layer.name}.{part}"] = array
        elif layer.kind == "fc" and how.precision == "fast":
            packed[f"{layer.name}.weight"] = _halved(weights[f"{layer.name}.weight"])
        elif layer.kind == "fc" and how.precision == "int8":
            weight, scales = _in_bytes(weights[f"{layer.name}.weight"])
            packed[f"{layer.name}.weight"], packed[f"{layer.name}.scales"] = weight, scales
    return packed


def _packed_conv(how: _How, layer: Layer, method: str, weights: Weights) -> Packed:
    """weight and bias; the scales of whole numbers, too, where it is computed in them."""
    weight = np.ascontiguousarray(weights[f"{layer.name}.weight"])
    scale, bias = _folded(layer, weights)
    packed: Packed = {"bias": np.pad(bias, (0, -len(bias) % BLOCK))}
    number = NUMBERS[how.precision] if method == "winograd4" else "float32"
    if number != "float32" and not (np.isfinite(bias).all() and (scale is None or np.isfinite(scale).all())):
        raise ModelFileError(
            f"the batch norm after {layer.name} gives NaN or infinity, which has no whole number.",
            "Use --precision float32, train the model again, or fetch its file again.",
        )
    if number != "float32":
        largest = np.maximum(np.asarray(how.ranges[layer.name], np.float32), 1e-20)
        shape = len(largest), len(packed["bias"])
        packed["input_scales"] = (_LARGEST_VALUE[number] / (_HEADROOM[number] * largest)).astype(np.float32)
        packed["output_scales"] = np.zeros(shape, np.float32)
        if number == "int8":
            packed["output_starts"] = np.zeros(shape, np.int32)
    packed["weight"] = aligned_zeros(_native.packed_bytes(weight, method, number))
    _native.pack(
        how.instruction_set,
        weight,
        scale,
        method,
        number,
        packed.get("input_scales"),
        packed["weight"],
        packed.get("output_scales"),
        packed.get("output_starts"),
        how.threads,
    )
    return packed


def _halved(weight: np.ndarray) -> np.ndarray:
    """In float16, where no number is too large for it: a fully connected layer takes as long as its weights are."""
    if max(weight.max(), -weight.min()) > np.finfo(np.float16).max:
        return np.ascontiguousarray(weight, np.float32)
    return np.ascontiguousarray(weight, np.float16)


def _in_bytes(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, inputs...) -> int8, and the scale of each output that makes the weights of it again."""
    whole = np.empty((len(weight), weight[0].size), np.int8)
    scales = np.empty(len(weight), np.float32)
    for part in _parts(weight):
        rows = np.asarray(weight[part], np.float32).reshape(-1, whole.shape[1])
        scales[part] = np.maximum(np.abs(rows).max(axis=1), np.finfo(np.float32).tiny) / 127
        whole[part] = np.rint(rows / scales[part, None])
    return whole, scales


def _parts(array: np.ndarray) -> Iterator[slice]:
    """Of its first axis, a few MB each: fc6 of D is 411 MB, and so would be each step's result."""
    size = max(1, _PART_VALUES // max(1, array[:1].size))
    for first in range(0, len(array), size):
        yield slice(first, first + size)


def _folded(layer: Layer, weights: Weights) -> tuple[np.ndarray | None, np.ndarray]:
    """Batch norm as a factor of the weights of each output, none without batch norm, and the bias with its share."""
    bias = np.asarray(weights[f"{layer.name}.bias"], np.float64)
    if not layer.has_batch_norm:
        return None, bias.astype(np.float32)
    parts = ("weight", "bias", "running_mean", "running_var")
    gamma, beta, mean, variance = (np.asarray(weights[f"{layer.batch_norm_name}.{part}"], np.float64) for part in parts)
    with np.errstate(invalid="ignore", over="ignore"):  # a variance below zero: the logits are NaN, which is told there
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    return scale.astype(np.float32), ((bias - mean) * scale + beta).astype(np.float32)
