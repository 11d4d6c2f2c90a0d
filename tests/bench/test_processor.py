"""Who used the processor: from files like Linux's, and from this machine's."""

import os
import sys
import time
from pathlib import Path

import pytest

from verydeep.bench.processor import Processor, peak_memory_bytes

PID = 77


def write(proc: Path, *, busy: int, own: int, worker: int) -> None:
    """Ticks of a hundredth of a second."""
    idle = 5000  # idle and waiting do not count
    (proc / "stat").write_text(f"cpu  {busy - 6} 1 1 {idle} {idle} 1 1 2 0 0\ncpu0 1 2 3\n")
    for pid, ticks in ((os.getpid(), own), (PID, worker)):
        (proc / str(pid)).mkdir(exist_ok=True)
        (proc / str(pid) / "stat").write_text(f"{pid} (a b) c) S {'0 ' * 10}{ticks - 3} 1 1 1 20 0 1\n")


@pytest.mark.parametrize(
    ("watched", "own", "worker", "others_s"),
    [(PID, 60, 450, 4.2 - 0.1 - 3.5), (os.getpid(), 250, 100, 4.2 - 2.0)],
    ids=["a worker", "the measuring process, which counts once"],
)
def test_what_is_watched_and_this_process_used_is_not_that_of_others(
    watched: int, own: int, worker: int, others_s: float, *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verydeep.bench.processor._ticks", lambda: 100)
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    write(tmp_path, busy=1000, own=50, worker=100)
    others = Processor(tmp_path).watch([watched])
    write(tmp_path, busy=1420, own=own, worker=worker)
    assert others() == pytest.approx(others_s / 2)


def test_where_nobody_tells_nobody_disturbs(tmp_path: Path) -> None:
    processor = Processor(tmp_path / "nothing")
    assert processor.watch([PID])() == 0
    assert processor.wait_until_quiet(0.05, 1.0, look_s=0.001)


def test_waiting_for_a_quiet_processor_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    processor = Processor()
    monkeypatch.setattr(processor, "watch", lambda own: lambda: 1.0)
    assert not processor.wait_until_quiet(0.05, 0.02, look_s=0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_this_machine_tells() -> None:
    busy = Processor().busy_seconds()
    assert busy is not None
    assert busy > 0
    assert (peak_memory_bytes() or 0) > 10e6
