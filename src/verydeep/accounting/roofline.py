"""The least time that a machine needs, layer by layer: the roofline model of Williams, Waterman & Patterson (2009).

A layer computes, and it moves its weights, its input and its output between memory and processor, each once a batch.
The two overlap, so the longer of them sets the time. ReLU is part of its layer, batch norm is folded in; pools, LRN
and the global average compute next to nothing and are paid for by what they move.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from verydeep.accounting.layers import LayerAccount
from verydeep.accounting.memory import check_batch, layer_weights_bytes, value_bytes
from verydeep.errors import UsageError

SPEEDS = (1e-6, 1e12)  # in 10^9 a second: slower than an abacus, faster than all machines together


@dataclass(frozen=True)
class LayerTime:
    """The predicted time of one layer, for one batch."""

    name: str
    flops: int
    traffic_bytes: int
    compute_ms: float
    traffic_ms: float

    @property
    def time_ms(self) -> float:
        return max(self.compute_ms, self.traffic_ms)

    @property
    def is_compute_bound(self) -> bool:
        return self.compute_ms >= self.traffic_ms

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"time_ms": self.time_ms, "is_compute_bound": self.is_compute_bound}


def predict_times(
    accounts: Sequence[LayerAccount],
    peak_gflops: float,
    bandwidth_gbs: float,
    batch_size: int = 1,
    precision: str = "float32",
    *,
    map_precision: str | None = None,
) -> tuple[LayerTime, ...]:
    """The predicted time of every layer for one batch; their sum is the network's.

    peak_gflops: the machine's peak in 10^9 FLOP/s, at that precision. bandwidth_gbs: that of its memory in 10^9
    byte/s. map_precision: of what lies between layers, where that is another than the weights'. Raises UsageError where
    a speed is not within `SPEEDS`.
    """
    check_batch(batch_size)
    for name, value, unit in (("peak", peak_gflops, "GFLOP/s"), ("bandwidth", bandwidth_gbs, "GB/s")):
        if not SPEEDS[0] <= value <= SPEEDS[1]:
            raise UsageError(
                f"a {name} of {value} {unit}; expected a number from {SPEEDS[0]:g} to {SPEEDS[1]:g}.",
                "See the machine's data sheet.",
            )
    times = []
    for before, account in pairwise(accounts):
        flops = account.flops * batch_size
        maps_bytes = (before.activations + account.activations) * value_bytes(map_precision or precision) * batch_size
        traffic_bytes = layer_weights_bytes(account, precision) + maps_bytes
        compute_ms, traffic_ms = flops / peak_gflops / 1e6, traffic_bytes / bandwidth_gbs / 1e6
        times.append(LayerTime(account.name, flops, traffic_bytes, compute_ms, traffic_ms))
    return tuple(times)
