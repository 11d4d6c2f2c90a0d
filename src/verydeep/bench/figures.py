"""Samples -> figures: the median of n runs with the 5th and the 95th percentile, and ratios of medians."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_RESAMPLES = 1000


@dataclass(frozen=True)
class Figure:
    """A median and its spread, in the unit of whoever asks."""

    value: float
    low: float  # the 5th percentile
    high: float  # the 95th
    n: int
    is_clean: bool = True  # False: other programs used the processor meanwhile; not to be published

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def figure(samples: Sequence[float], *, is_clean: bool = True) -> Figure:
    """Of at least one sample."""
    low, high = np.percentile(samples, (5, 95))
    return Figure(float(np.median(samples)), float(low), float(high), len(samples), is_clean)


def ratio(above: Sequence[float], below: Sequence[float], *, is_clean: bool = True) -> Figure:
    """The median of one over that of the other. Its spread is that of such ratios when both are drawn anew."""
    random = np.random.default_rng(0)

    def medians(samples: Sequence[float]) -> np.ndarray:
        values = np.asarray(samples)
        drawn: np.ndarray = np.median(random.choice(values, (_RESAMPLES, len(values))), axis=1)
        return drawn

    low, high = np.percentile(medians(above) / medians(below), (5, 95))
    value = float(np.median(above) / np.median(below))
    return Figure(value, float(low), float(high), min(len(above), len(below)), is_clean)


def by_group(sample: dict[str, float], group_of: Callable[[str], str]) -> dict[str, float]:
    """The sums of the parts of a run that belong together."""
    sums: dict[str, float] = {}
    for name, seconds in sample.items():
        group = group_of(name)
        sums[group] = sums.get(group, 0.0) + seconds
    return sums
