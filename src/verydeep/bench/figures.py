"""Samples -> figures: the median of n runs with the 5th and the 95th percentile, and ratios."""

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


def ratio(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]], *, is_clean: bool = True) -> Figure:
    """How many times `below` goes into `above`, each the runs of the same rounds: the median of the rounds' ratios.

    That of a round is the ratio of the medians of the two chunks, which had nearly the same minute of the machine. The
    spread is that of such medians when rounds are drawn anew; n counts the rounds.
    """
    ratios = [np.median(one) / np.median(other) for one, other in zip(above, below, strict=True)]
    drawn = np.random.default_rng(0).choice(ratios, (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(drawn, axis=1), (5, 95))
    return Figure(float(np.median(ratios)), float(low), float(high), len(ratios), is_clean)


def by_group(sample: dict[str, float], group_of: Callable[[str], str]) -> dict[str, float]:
    """The sums of the parts of a run that belong together."""
    sums: dict[str, float] = {}
    for name, seconds in sample.items():
        group = group_of(name)
        sums[group] = sums.get(group, 0.0) + seconds
    return sums
