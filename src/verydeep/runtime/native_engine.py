"""The native engine: the rows of the table in C++, its convolutions by Winograd. Its source is the folder native/."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from verydeep.architecture import Architecture
from verydeep.errors import DeviceError, ModelFileError
from verydeep.machine import cores
from verydeep.nouns import Weights
from verydeep.runtime import _native  # type: ignore[attr-defined]  # built from native/
from verydeep.runtime.packing import NUMBERS, WHOLE, Packed, Ranges, methods, packed_weights
from verydeep.runtime.ranges import sources
from verydeep.runtime.request import check_request

PRECISIONS = tuple(NUMBERS)
MOST_THREADS = 1024  # of a run


class NativeEngine:
    """An engine that needs NumPy and the compiled module. Thread-safe: runs that overlap have threads of their own.

    weights: arrays of `architecture.weight_shapes`, float32 or float16; those of fully connected layers are not copied.
    precision: "float32"; or "fast": 3 x 3 convolutions multiply 16-bit whole numbers, scaled by `ranges`
    (`measure_ranges`), and fully connected layers have their weights in float16; or "int8": both in 8 bits.
    threads: of a run, by default one a core. instruction_set: by default the best. Raises DeviceError for what is not
    offered here, and ModelFileError where the weights hold NaN or infinity or `ranges` are missing.
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
        *,
        ranges: Ranges | None = None,
        instruction_set: str | None = None,
    ) -> None:
        self.architecture = architecture
        self.threads = threads or cores()
        self.instruction_set = find_instruction_set(instruction_set)
        _check_settings(device, precision)
        if precision in WHOLE:
            _check_ranges(architecture, ranges, precision)
        packed = packed_weights(
            architecture, weights, self.instruction_set, self.threads, precision=precision, ranges=ranges
        )
        self._network = _make_network(architecture, weights, packed, self.instruction_set, precision)

    def run(
        self, images: np.ndarray, outputs: Sequence[str] = ("logits",), *, threads: int | None = None
    ) -> dict[str, np.ndarray]:
        """images: (N, channels, H, W), normalised -> the named outputs, float32: see `nouns.Engine`.

        threads: of this run, instead of the engine's. Raises DeviceError where they are fewer than 1.
        """
        check_request(self.architecture, images, outputs)
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise DeviceError(f"threads is {threads}; expected 1 to {MOST_THREADS}.", "Leave it out to use all cores.")
        pixels = np.ascontiguousarray(images, np.float32)
        found: dict[str, np.ndarray] = self._network.run(pixels, list(outputs), threads or self.threads)
        return found

    def time_layers(self, images: np.ndarray) -> dict[str, float]:
        """The seconds of each layer in one run; a pool that is computed with the convolution before it has none."""
        check_request(self.architecture, images, ())
        seconds = self._network.time_rows(np.ascontiguousarray(images, np.float32), self.threads)
        return dict(zip((layer.name for layer in self.architecture.layers), seconds, strict=True))


def _make_network(
    architecture: Architecture, weights: Weights, packed: Packed, instruction_set: str, precision: str
) -> Any:
    """The rows of the table as the compiled module has them."""
    network = _native.Network(instruction_set)
    chosen = methods(architecture, precision)
    for layer in architecture.layers:
        names = (layer.name, layer.relu_name if layer.has_relu else "")
        shape = (layer.in_channels, layer.out_channels, layer.kernel)
        if layer.kind == "conv":
            parts = ("weight", "bias", "input_scales", "output_scales", "output_starts")
            arrays = [packed.get(f"{layer.name}.{part}") for part in parts]
            number = NUMBERS[precision] if f"{layer.name}.input_scales" in packed else "float32"
            network.add_conv(*names, *shape, layer.padding, chosen[layer.name], number, *arrays)
        elif layer.kind == "fc":
            weight = packed.get(f"{layer.name}.weight", weights[f"{layer.name}.weight"])
            bias = np.require(weights[f"{layer.name}.bias"], np.float32, ["C", "A"])
            scales = packed.get(f"{layer.name}.scales")
            network.add_fc(*names, *shape, np.require(weight, requirements=["C", "A"]), bias, scales)
        else:
            network.add_layer(layer.name, layer.kind, layer.out_channels, layer.pool)
    network.finish()
    return network


def _check_settings(device: str, precision: str) -> None:
    for what, value, allowed in (("device", device, ("auto", "cpu")), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise DeviceError(
                f"the native engine computes on the CPU, in {', '.join(PRECISIONS)}; got the {what} {value}.",
                f"Leave the {what} out, or use --engine torch.",
            )


def _check_ranges(architecture: Architecture, ranges: Ranges | None, precision: str) -> None:
    if not sources(architecture):
        raise DeviceError(
            f"{architecture.name} has no 3 x 3 convolution that precision {precision} could compute in whole numbers.",
            "Use --precision float32.",
        )
    missing = sorted(set(sources(architecture)) - set(ranges or {}))
    if missing:
        raise ModelFileError(
            f"the model does not say how large the numbers in {missing[0]} are ({len(missing)} such), which precision "
            f"{precision} has to know.",
            "Measure it on some photos: verydeep calibrate MODEL FOLDER. Or use --precision float32.",
        )


def find_instruction_set(name: str | None = None) -> str:
    """The best one, or the one that is named by the argument or by $VERYDEEP_ISA. Raises DeviceError."""
    known: list[str] = _native.instruction_sets()
    name = name or os.environ.get("VERYDEEP_ISA") or known[0]
    if name not in known:
        raise DeviceError(f"no instruction set {name!r} here; there are {', '.join(known)}.", "Choose one of these.")
    return name
