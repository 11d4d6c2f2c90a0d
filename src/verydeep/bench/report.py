"""The figures of a measurement, as JSON and as rows of results."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from verydeep.architecture import Architecture
from verydeep.bench.comparisons import Comparison
from verydeep.bench.contestants import Contestant
from verydeep.bench.figures import Figure
from verydeep.bench.layers import BlockFigure, LayerFigure
from verydeep.bench.peaks import Peaks
from verydeep.bench.starts import Start
from verydeep.bench.subject import Subject
from verydeep.evaluate.results import Result, result_row

# The packages whose versions stand in a row, by origin.
_PACKAGES = {
    "native": (),
    "reference": (),
    "torch": ("torch",),
    "onnxruntime": ("onnxruntime", "onnx"),
    "openvino": ("openvino", "nncf"),
    "ncnn": ("ncnn",),
    "mnn": ("mnn",),
}


def without_nan(value: Any) -> Any:
    """The same with None in the place of NaN, which JSON does not have: an error of logits that overflowed."""
    if isinstance(value, dict):
        return {key: without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class Measured:
    """One contestant at one batch."""

    contestant: Contestant
    latency_ms: Figure  # of a batch
    error: float  # the largest of a logit, over the largest logit of the reference in float64
    memory_bytes: int | None  # the most that its process ever held, at this batch; None where the system does not tell
    disturbed: int  # runs during which other programs used the processor

    def to_dict(self, batch: int) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "name": self.contestant.name,
            "precision": self.contestant.precision,
            "is_ours": self.contestant.is_ours,
            "latency_ms": self.latency_ms.to_dict(),
            "images_a_second": 1e3 * batch / self.latency_ms.value,
            "error": self.error,
            "memory_bytes": self.memory_bytes,
            "disturbed": self.disturbed,
        }


@dataclass(frozen=True)
class Group:
    """All that ran in turns: the contestants at one batch."""

    batch: int
    measured: tuple[Measured, ...]
    comparisons: tuple[Comparison, ...]
    layers: dict[str, tuple[LayerFigure, ...]]  # by the native engine's precision; empty where not asked for
    blocks: tuple[BlockFigure, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "batch": self.batch,
            "contestants": [one.to_dict(self.batch) for one in self.measured],
            "comparisons": [one.to_dict() for one in self.comparisons],
            "layers": {precision: [row.to_dict() for row in rows] for precision, rows in self.layers.items()},
            "blocks": [block.to_dict() for block in self.blocks],
        }


@dataclass(frozen=True)
class Report:
    """Everything that was measured of a network on this machine."""

    subject: Subject
    threads: int
    peaks: Peaks
    starts: tuple[Start, ...]
    groups: tuple[Group, ...]

    @property
    def network(self) -> str:
        return self.subject.architecture.name

    @property
    def inputs(self) -> str:
        """What the network ran on, and the classes where neither a model file nor the network's name tells them."""
        (height, width), classes = self.subject.image_size, self.subject.architecture.classes
        photos = " of photos" if self.subject.has_photos else ""
        is_told = self.subject.label != "-" or classes == Architecture.classes  # the default
        return f"{height} x {width} pixels{photos}" + ("" if is_told else f", {classes} classes")

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it. Later versions may add keys; they rename none."""
        return {
            "network": {"name": self.network} | self.subject.architecture.to_dict(),
            "image_size": list(self.subject.image_size),
            "has_photos": self.subject.has_photos,
            "threads": self.threads,
            "peaks": self.peaks.to_dict(),
            "starts": [
                {
                    "name": start.name,
                    "first_s": start.first_s,
                    "second_s": start.second_s.to_dict(),
                    "memory_bytes": start.memory_bytes,
                }
                for start in self.starts
            ],
            "groups": [group.to_dict() for group in self.groups],
        }

    def rows(self) -> Iterator[Result]:
        """A row of results for each figure during which nobody else used the processor."""
        for group in self.groups:
            for one in group.measured:
                if one.latency_ms.is_clean:
                    yield from self._rows_of(one, group.batch)
            for comparison in group.comparisons:
                if comparison.times.is_clean:
                    what = f"times as fast as the best rival in {comparison.number_class}"
                    yield self._row(comparison.ours, group.batch, what, comparison.best_rival, comparison.times)
        for start in self.starts:
            if start.second_s.is_clean:
                what = "start to first prediction, not the first start"
                yield self._row(start.contestant, 1, what, "s", start.second_s)

    def _rows_of(self, one: Measured, batch: int) -> Iterator[Result]:
        yield self._row(one.contestant, batch, "prediction", "ms a batch", one.latency_ms)
        if math.isfinite(one.error):  # of random weights without batch norm a deep network may overflow
            exactly = Figure(one.error, one.error, one.error, batch)
            yield self._row(one.contestant, batch, "largest error", "over the largest logit", exactly)
        if one.memory_bytes is not None:
            megabytes = one.memory_bytes / 1e6
            most = Figure(megabytes, megabytes, megabytes, 1)
            yield self._row(one.contestant, batch, "peak memory of a process", "MB", most)

    def _row(self, contestant: Contestant, batch: int, what: str, unit: str, figure: Figure) -> Result:
        return result_row(
            model=self.subject.label,
            architecture=self.network,
            engine=contestant.name,
            dtype=contestant.precision,
            threads=self.threads,
            batch=batch,
            protocol=f"{what}: {self.inputs}, {unit}",
            n=figure.n,
            value=f"{figure.value:.4g}",
            spread=f"{figure.low:.4g}..{figure.high:.4g}",
            packages=_PACKAGES[contestant.origin],
        )
