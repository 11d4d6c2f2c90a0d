"""What the program says of the machine, against what the operating system says."""

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from verydeep import machine


def test_the_processor_has_a_name_and_the_process_a_core() -> None:
    assert machine.processor().strip()
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux lets a process be confined to a core")
def test_cores_are_those_the_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, allowed)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({}, None),
    ],
)
def test_the_quota_of_a_container_is_read(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert machine._quota(tmp_path) == quota


@pytest.mark.parametrize(("quota", "cores"), [(0.2, 1), (1.5, 2), (1000.0, None), (None, None)])
def test_cores_are_at_most_the_quota(quota: float | None, cores: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(machine, "_quota", lambda: quota)
    assert machine.cores() == (cores or 8)


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="needs Linux's account of the memory")
def test_memory_is_at_most_the_machines() -> None:
    total = re.search(r"MemTotal: +(\d+) kB", Path("/proc/meminfo").read_text())
    memory = machine.memory_bytes()
    assert total is not None
    assert memory is not None
    assert 2**28 < memory <= 1024 * int(total[1])


def test_versions_are_those_of_the_packages_and_the_missing_are_left_out() -> None:
    assert machine.versions("numpy", "no-such-package") == {"numpy": np.__version__}


def test_the_commit_is_the_checkouts() -> None:
    checkout = Path(__file__).parents[1]
    if not (checkout / ".git").exists():
        pytest.skip("needs a checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True).stdout
    assert head.startswith(machine.commit().rstrip("+"))


def test_in_somebody_elses_repository_the_commit_is_the_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    assert machine.commit().startswith("v")
