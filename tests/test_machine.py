"""What the program says of the machine, against what the operating system says."""

import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from verydeep import machine

GIB = 2**30


def test_the_processor_has_a_name_and_the_process_a_core() -> None:
    assert machine.processor().strip()
    assert 1 <= machine.cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep freed memory")
def test_memory_that_is_freed_is_kept_for_the_next_that_is_asked_for():
    """A page that the system gives again is a fault; each of these arrays has 16,384 pages, or 32 huge ones."""
    program = """
import resource, sys
import numpy as np
from verydeep import machine
if sys.argv[1] == "kept":
    machine.keep_freed_memory()
np.ones(2**23)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    faults = {
        how: int(subprocess.run([sys.executable, "-c", program, how], capture_output=True, check=True).stdout)
        for how in ("kept", "returned")
    }
    assert faults["returned"] >= 10 * 32
    assert 10 * faults["kept"] < faults["returned"]


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


MACHINE = {  # 8 GiB free, of which the process holds one already; the rest of its addresses are not memory
    "proc/meminfo": "MemTotal:       16777216 kB\nMemAvailable:    8388608 kB\nHugePages_Total:       0\n",
    "proc/self/status": "Name:\tpython\nVmSize:\t 4194304 kB\nRssAnon:\t 1048576 kB\nThreads:\t3\n",
}


def group(version: int, path: str, limit: int | str, used: int, files: int) -> dict[str, str]:
    """The files of a control group, the sizes in GiB."""
    names = (
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        if version == 1
        else ("memory.max", "memory.current", "inactive_file")
    )
    folder = f"sys/fs/cgroup/{'memory' if version == 1 else ''}/{path}"
    text = limit if isinstance(limit, str) else str(limit * GIB)
    return {
        f"{folder}/{names[0]}": f"{text}\n",
        f"{folder}/{names[1]}": f"{used * GIB}\n",
        f"{folder}/memory.stat": f"anon 5\n{names[2]} {files * GIB}\n",
    }


@pytest.mark.parametrize(
    ("groups", "files", "free"),
    [
        ("", {}, 8),
        ("0::/\n", group(2, "", "max", 3, 0), 8),
        ("0::/job/step\n", group(2, "job/step", "max", 3, 0) | group(2, "job", 6, 5, 2), 3),  # 6 - (5 - 2)
        ("0::/job\n", group(2, "job", 20, 5, 2), 8),  # the machine has less
        ("0::/of/the/host\n", group(2, "", 4, 3, 1), 2),  # a container sees its own group at the root
        ("9:cpu:/\n8:hugetlb,memory:/job\n0::/\n", group(1, "job", 4, 3, 1), 2),
        ("8:memory:/job\n", group(1, "job", 2**33, 3, 1), 8),  # as the first version says that there is no limit
        ("0::/job\n", group(2, "job", 4, 9, 1), 0),
    ],
)
def test_available_memory_is_what_the_process_holds_and_the_least_that_is_free(
    groups: str, files: dict[str, str], free: int, tmp_path: Path
) -> None:
    for name, text in {**MACHINE, **files, "proc/self/cgroup": groups}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    assert machine.available_memory_bytes(tmp_path) == (1 + free) * GIB


def test_available_memory_is_at_most_what_the_limit_on_addresses_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource = pytest.importorskip("resource")
    for name, text in MACHINE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="ascii")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (6 * GIB, 9 * GIB))
    assert machine.available_memory_bytes(tmp_path) == (1 + 6 - 4) * GIB


def test_where_the_system_tells_nothing_no_memory_is_claimed(tmp_path: Path) -> None:
    assert machine.available_memory_bytes(tmp_path) is None


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


@pytest.mark.parametrize(
    ("known", "told"),
    [
        (("avx2", "fma", "avx512f", "avx512_vnni"), "AVX-512 VNNI"),
        (("avx2", "fma"), "AVX2"),
        (("asimd",), "NEON"),
        ((), ""),
    ],
)
def test_the_vector_instructions_tell_processors_of_one_name_apart(
    monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr(machine, "instruction_sets", lambda: known)
    assert machine.vectors() == told
