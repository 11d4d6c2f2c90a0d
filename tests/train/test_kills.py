"""A run survives what kills it: a kill at any call that writes, a call that fails, a power cut.

VERYDEEP_KILLS=60 kills as often; without it a slice is done. The faults come from faults.c, the work is in
fault_harness.py.
"""

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from verydeep.data.datasets import open_splits
from verydeep.train.checkpoint import load_state
from verydeep.train.loop import begin

HERE = Path(__file__).parent
KILLS = int(os.environ.get("VERYDEEP_KILLS", "4"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="faults.c counts the calls of Linux"),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="faults.c needs gcc"),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("faults") / "faults.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", path, HERE / "faults.c", "-ldl", "-lpthread"], check=True)
    return path


@pytest.fixture
def work(make_photos, tmp_path) -> Path:
    """The folder of a harness, with its photos."""
    make_photos(tmp_path / "photos", each=12)
    return tmp_path


def harness(library: Path, work: Path, *arguments: str) -> dict:
    work = work.resolve()
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "FAULT_FOLDER": str(work),
        "VERYDEEP_CACHE": str(work / "cache"),
    }
    command = [sys.executable, str(HERE / "fault_harness.py"), str(work), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_run_that_is_killed_again_and_again_ends_with_the_same_weights(library, work):
    result = harness(library, work, "kills", str(KILLS), "7")
    assert sum(result["kills"].values()) == KILLS
    assert result["kills"]["at a call"] == KILLS // 2
    assert result["ends"]
    assert set(result["ends"]) == {result["calm"]}


def test_a_run_whose_disk_is_full_at_any_call_says_so_and_ends_with_the_same_weights(library, work):
    result = harness(library, work, "full", str(KILLS), "11")
    assert len(result["ends"]) == KILLS
    assert set(result["ends"]) == {result["calm"]}
    assert result["told"] >= KILLS // 4


def test_a_save_that_fails_at_any_call_says_so_and_leaves_the_state_before(library, work):
    result = harness(library, work, "faults")
    assert result["calls"] >= 8
    assert len(result["outcomes"]) == 5 * result["calls"]
    for outcome in result["outcomes"]:
        assert outcome["told"] == [], outcome  # no state is damaged
        assert outcome["batch"] in (1, 2), outcome
        assert outcome["said"] or outcome["batch"] == 2, outcome  # never a failed save that nobody hears of
        if outcome["said"]:
            assert outcome["said"].startswith("cannot write "), outcome
    assert sum(bool(outcome["said"]) for outcome in result["outcomes"]) >= 5 * 5


def test_a_kill_at_any_call_of_a_save_leaves_the_old_state_or_the_new(library, work):
    result = harness(library, work, "kill each")
    assert result["calls"] >= 8
    assert [outcome["at"] for outcome in result["outcomes"]] == list(range(1, result["calls"] + 1))
    for outcome in result["outcomes"]:
        assert outcome["killed"], outcome
        assert outcome["told"] == [], outcome  # no state is damaged
        assert outcome["batch"] in (1, 2), outcome
        assert outcome["after"] == 2, outcome  # what was left of it is in nobody's way
    assert {outcome["batch"] for outcome in result["outcomes"]} == {1, 2}


def test_a_save_that_renames_before_it_writes_is_found_by_kills(library, work):
    outcomes = harness(library, work, "kill each", "renamed before it is written")["outcomes"]
    assert any(outcome["told"] for outcome in outcomes)


def test_a_kill_at_any_call_of_a_roll_back_changes_nothing_of_the_end(library, work):
    result = harness(library, work, "roll back")
    assert result["killed"] >= 8
    assert set(result["ends"]) == {result["calm"]}


def test_a_power_cut_at_any_moment_of_a_save_leaves_the_old_state_or_the_new(library, work):
    harness(library, work, "trace")
    assert list(wrong_after_power_cuts(work)) == []


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("file is not flushed", "damaged"),
        ("folder is not flushed", "lost"),
        ("renamed before it is written", "damaged"),
    ],
)
def test_a_fault_planted_into_the_way_files_are_written_is_found(damage, expected, library, work):
    harness(library, work, "trace", damage)
    assert expected in set(wrong_after_power_cuts(work))


@dataclass(frozen=True)
class Entry:
    """A change of the folder: a name now stands for an inode, or for nothing."""

    name: str
    inode: int | None
    at: int  # the number of calls before it


def wrong_after_power_cuts(work: Path) -> Iterator[str]:
    """What is wrong with each folder that a power cut may leave: "damaged", or "lost" where a finished save is gone.

    What was not flushed may be there or not: a file empty or cut off, a change of the folder made or forgotten, each
    alone or all that came before it.
    """
    entries, flushed, folder_flushes, calls = read_trace(work / "trace")
    content = {path.name: path.read_bytes() for path in (work / "run" / "training").glob("state-*")}
    splits = open_splits(work / "photos")
    from fault_harness import RECIPE

    for cut in range(calls + 1):
        durable = max((at for at in folder_flushes if at < cut), default=-1)
        safe = [entry for entry in entries if entry.at <= durable]
        pending = [entry for entry in entries if durable < entry.at < cut]
        choices = [pending[:n] for n in range(len(pending) + 1)] + [[entry] for entry in pending]
        for made, length in itertools.product(choices, (0.0, 0.5)):
            folder = work / "cut"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(work / "before", folder)
            for entry in (*safe, *made):
                path = folder / "training" / entry.name
                if entry.inode is None:
                    path.unlink(missing_ok=True)
                    continue
                whole = content[entry.name]
                is_safe = flushed.get(entry.inode, calls) < cut
                path.write_bytes(whole if is_safe else whole[: int(length * len(whole))])
            state = begin(RECIPE, splits, torch.device("cpu"))
            told = load_state(folder, state, splits)
            if told or state.progress.batch not in (1, 2):
                yield "damaged"
            elif cut == calls and state.progress.batch != 2:
                yield "lost"


def read_trace(path: Path) -> tuple[list[Entry], dict[int, int], list[int], int]:
    """The folder's changes, the call that first flushed each inode, those that flushed the folder, how many calls."""
    entries: list[Entry] = []
    flushed: dict[int, int] = {}
    folder_flushes: list[int] = []
    lines = path.read_text().splitlines()
    for at, line in enumerate(lines):
        what, inode, source, target = line.split("\t")
        name = Path(target or source).name
        known = next((entry.inode for entry in reversed(entries) if entry.name == name), None)
        if what == "flush folder":
            folder_flushes.append(at)
        elif what == "flush":
            flushed.setdefault(int(inode), at)
        if not name.startswith("state-"):
            continue
        if what == "remove":
            entries.append(Entry(name, None, at))
        elif known != int(inode):  # renamed, also by a call that faults.c does not see
            entries.append(Entry(name, int(inode), at))
    return entries, flushed, folder_flushes, len(lines)
