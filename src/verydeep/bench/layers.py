"""The time of each layer beside what the accounts predict of it, and of each block beside the best rival's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from verydeep.accounting.layers import account_layers
from verydeep.accounting.roofline import LayerTime, predict_times
from verydeep.bench.figures import Figure, by_group, figure
from verydeep.bench.peaks import Peaks
from verydeep.bench.rows import block_of
from verydeep.bench.subject import Subject
from verydeep.bench.turns import Record

# What the engine's weights take in memory, for the accounts; its maps are float32 in all of them.
_WEIGHTS = {"float32": "float32", "fast": "float16", "int8": "int8"}


@dataclass(frozen=True)
class LayerFigure:
    """One layer of the native engine, for a batch."""

    measured_ms: Figure | None  # None: computed together with the layer before it
    predicted: LayerTime  # of a direct convolution at the machine's peaks

    @property
    def name(self) -> str:
        return self.predicted.name

    @property
    def gflops(self) -> float | None:
        """10^9 operations of the direct convolution a second: Winograd, which does fewer, may lie above the peak."""
        return self.predicted.flops / self.measured_ms.value / 1e6 if self.measured_ms else None

    @property
    def intensity(self) -> float:
        """Operations for each byte that is moved between memory and processor."""
        return self.predicted.flops / self.predicted.traffic_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        measured = self.measured_ms.to_dict() if self.measured_ms else None
        derived = {"gflops": self.gflops, "flop_per_byte": self.intensity}
        return {"name": self.name, "measured_ms": measured, "predicted": self.predicted.to_dict()} | derived


@dataclass(frozen=True)
class BlockFigure:
    """One block, by every contestant that can tell: name -> its time for a batch."""

    name: str
    measured_ms: dict[str, Figure]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"name": self.name, "measured_ms": {name: ms.to_dict() for name, ms in self.measured_ms.items()}}


def layer_figures(
    subject: Subject, precision: str, batch: int, record: Record, peaks: Peaks
) -> tuple[LayerFigure, ...]:
    """Every layer in order. record: of the native engine's parts in that precision."""
    accounts = account_layers(subject.architecture, subject.image_size)
    gflops = peaks.gflops.get(precision, peaks.gflops["float32"])
    predicted = predict_times(
        accounts, gflops, peaks.bandwidth_gbs, batch, _WEIGHTS[precision], map_precision="float32"
    )
    rows = []
    for time in predicted:
        seconds = [sample[time.name] for sample in record.counted]
        measured = figure([1e3 * value for value in seconds], is_clean=record.is_clean) if any(seconds) else None
        rows.append(LayerFigure(measured, time))
    return tuple(rows)


def block_figures(records: dict[str, Record]) -> tuple[BlockFigure, ...]:
    """records: of the parts, by contestant; names of layers, or of the pools that end a block."""
    sums = {name: [by_group(sample, block_of) for sample in record.counted] for name, record in records.items()}
    blocks = dict.fromkeys(block for samples in sums.values() for sample in samples for block in sample)
    return tuple(BlockFigure(block, _of_block(block, sums, records)) for block in blocks)


def _of_block(block: str, sums: dict[str, list[dict[str, float]]], records: dict[str, Record]) -> dict[str, Figure]:
    return {
        name: figure([1e3 * sample[block] for sample in samples], is_clean=records[name].is_clean)
        for name, samples in sums.items()
        if samples
    }


def worst_block(blocks: Sequence[BlockFigure], ours: str, rival: str) -> tuple[str, float] | None:
    """The block in which we are slowest beside a rival, and our time over its; None where one was not measured."""
    ratios = {
        block.name: block.measured_ms[ours].value / max(1e-9, block.measured_ms[rival].value)
        for block in blocks
        if ours in block.measured_ms and rival in block.measured_ms
    }
    return max(ratios.items(), key=lambda item: item[1]) if ratios else None
