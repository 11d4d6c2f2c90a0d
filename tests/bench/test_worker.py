"""What a contestant's process answers."""

from itertools import count, pairwise

import pytest

from verydeep.bench.worker import MOST_SAMPLES, time_runs


@pytest.mark.parametrize(("runs", "samples"), [(0, 0), (3, 3), (MOST_SAMPLES, MOST_SAMPLES), (2500, 834)])
def test_of_many_runs_evenly_spread_ones_are_told(runs: int, samples: int) -> None:
    number = count()
    told = time_runs(lambda images: {"total": float(next(number))}, None, runs)
    assert len(told) == samples
    assert next(number) == runs  # all of them were run
    assert len({after["total"] - before["total"] for before, after in pairwise(told)}) <= 1
