"""How many times as fast as the best rival of each class our native precisions are."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from verydeep.bench.contestants import Contestant
from verydeep.bench.figures import Figure, ratio
from verydeep.bench.turns import Record
from verydeep.bench.worker import TOTAL


@dataclass(frozen=True)
class Comparison:
    """How many times as fast as the best rival of a class one of ours is."""

    ours: Contestant
    number_class: str
    rival: str
    without: tuple[str, ...]  # rivals of that class that are not installed, were lost, or disturbed all the time
    times: Figure

    @property
    def best_rival(self) -> str:
        """Its name, and of which rivals it is not known whether they are better."""
        return f"{self.rival} (best without {' and '.join(self.without)})" if self.without else self.rival

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {
            "ours": self.ours.name,
            "class": self.number_class,
            "best_rival": self.rival,
            "without": list(self.without),
            "times_as_fast": self.times.to_dict(),
        }


def compare(planned: Sequence[Contestant], records: Mapping[str, Record]) -> Iterator[Comparison]:
    """Each native precision that was measured beside the best rival of each class of which one was.

    planned: all that should have taken part. records: of those that have runs that count, by name.
    """
    for ours in (one for one in planned if one.origin == "native" and one.name in records):
        for number_class in dict.fromkeys(one.number_class for one in planned):
            rivals = [one.name for one in planned if not one.is_ours and one.number_class == number_class]
            best, without = _best_of(rivals, records)
            times = _times_as_fast(records[ours.name], records[best]) if best else None
            if best and times:
                yield Comparison(ours, number_class, best, without, times)


def _best_of(rivals: Sequence[str], records: Mapping[str, Record]) -> tuple[str | None, tuple[str, ...]]:
    """The fastest, of those that were disturbed all the time only where there is no other; and who could not be it."""
    found = [name for name in rivals if name in records]
    clean = [name for name in found if records[name].is_clean]
    medians = {name: median(sample[TOTAL] for sample in records[name].counted) for name in clean or found}
    best = min(medians, key=medians.__getitem__, default=None)
    return best, tuple(name for name in rivals if name not in clean and name != best)


def _times_as_fast(ours: Record, theirs: Record) -> Figure | None:
    """From the rounds in which both have runs that count; None where there are none."""
    rounds = sorted(ours.by_round.keys() & theirs.by_round.keys())
    below, above = (
        [[sample[TOTAL] for sample in runs[number]] for number in rounds] for runs in (ours.by_round, theirs.by_round)
    )
    return ratio(above, below, is_clean=ours.is_clean and theirs.is_clean) if rounds else None
