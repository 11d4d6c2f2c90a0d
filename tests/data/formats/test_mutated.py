"""Annotations of every format, damaged in thousands of ways: no error but ours, no file read outside the folder."""

import json
import random
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

from verydeep.data.formats import FORMATS


@pytest.mark.soak(
    "M10",
    goal="1,000,000 damaged annotation files: no exception but ours, no file read outside the folder",
    here="20,000 files of every format that is read",
)
@pytest.mark.parametrize("fault", ["", "foreign", "outside"])
def test_damaged_annotations_are_read_or_told_and_lead_nowhere(tmp_path, amount, measured, fault):
    """Of an error that is not ours and of a file outside the test would notice."""
    count = amount(400 if fault else 700, 20_000)
    done = subprocess.run(
        [sys.executable, "-W", "error", mutants.__file__, str(tmp_path), "0", str(count), fault],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    print(*found["examples"], sep="\n")
    figures = {name: found.get(name, 0) for name in ("files", "read", "told", "refused", "foreign", "outside")}
    measured(**figures, slowest_seconds=round(found["slowest"], 3))
    assert (figures["foreign"] > 0) == (fault == "foreign")
    assert (figures["outside"] > 0) == (fault == "outside")
    assert 0.1 < figures["read"] / count < 0.9  # the damage is neither too mild to be seen nor too rough to get far
    assert found["slowest"] < 10
    assert done.stderr == ""


def test_every_format_with_files_of_its_own_is_damaged():
    assert set(mutants.SETS) == set(FORMATS) - {"folders"}


def test_the_damage_of_a_number_is_always_the_same():
    data = mutants.coco_set()["instances_train.json"]
    paths = mutants.hostile_paths(Path("x"))
    twice = [mutants.mutated(data, "a.json", random.Random(7), paths) for _ in range(2)]
    assert twice[0] == twice[1] != data
