"""Tests of promises: each row of them runs a little in `make test`, and much in `make soak`.

    @pytest.mark.soak("S11", goal="200 SIGTERMs at random moments", here="200 SIGTERMs, 0 to 0.2 s after a load began")
    @pytest.mark.parametrize("fault", ["", "no drain"])
    def test_...(amount, measured, fault):
        for _ in range(amount(6, 200)):
            ...
        measured(signals=200, lost=0)

goal: what is promised of a long run on any machine; here: what `make soak` does of it. A fault is planted in what is
tested, and the test shows that it would notice; it gets the little run both times. With VERYDEEP_SOAK=FILE.csv the much
is done, and each test adds its row to that file.
"""

import csv
import dataclasses
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import pytest

from verydeep import machine

T = TypeVar("T")
FILE = os.environ.get("VERYDEEP_SOAK", "")
MEASURED = pytest.StashKey[dict[str, Any]]()
START = pytest.StashKey[float]()


@dataclasses.dataclass(frozen=True)
class Row:
    """Of results/soak.csv."""

    date: str
    commit: str
    machine: str
    row: str
    test: str
    goal: str
    here: str
    fault: str  # that was planted; empty: none
    outcome: str  # passed, with a fault: that it was noticed; failed; skipped
    seconds: str
    measured: str


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "soak(row, *, goal, here): a promise, of which `make soak` tests more")


@pytest.fixture
def fault() -> str:
    """What is broken in the thing that is tested; a test parametrizes it."""
    return ""


@pytest.fixture
def amount(fault: str) -> Callable[[T, T], T]:
    """A function (little, much) -> one of them."""
    return lambda little, much: much if FILE and not fault else little


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[..., None]:
    """A function (**figures) that adds figures to the test's row."""
    figures = request.node.stash.setdefault(MEASURED, {})
    return lambda **more: figures.update(more)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    item.stash[START] = time.monotonic()
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report: Any = yield
    mark = item.get_closest_marker("soak")
    if FILE and mark and (report.when == "call" or not report.passed):
        _add(item, mark, report.outcome)
    return report


def _add(item: pytest.Item, mark: pytest.Mark, outcome: str) -> None:
    given = getattr(item, "callspec", None)
    row = Row(
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        commit=machine.commit(),
        machine=", ".join(filter(None, (machine.processor(), machine.vectors(), f"{machine.cores()} cores"))),
        row=mark.args[0],
        test=item.name,
        goal=mark.kwargs["goal"],
        here=mark.kwargs["here"],
        fault=given.params.get("fault", "") if given else "",
        outcome=outcome,
        seconds=f"{time.monotonic() - item.stash.get(START, time.monotonic()):.1f}",
        measured=" ".join(f"{name}={value}" for name, value in item.stash.get(MEASURED, {}).items()),
    )
    path = Path(FILE)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in dataclasses.fields(Row)], lineterminator="\n")
        if not file.tell():
            writer.writeheader()
        writer.writerow(dataclasses.asdict(row))
