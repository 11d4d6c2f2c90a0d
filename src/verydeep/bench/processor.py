"""How much of the processor others use while one process is measured: told by Linux, nowhere else."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path

_PROC = Path("/proc")
# The columns of /proc/stat that are work: user, nice, system, irq, softirq, steal. The others are idle and waiting.
_WORK_COLUMNS = (1, 2, 3, 6, 7, 8)


class Processor:
    """The measuring process and those that it has started count as one's own."""

    def __init__(self, proc: Path = _PROC) -> None:
        self._proc = proc

    def watch(self, own: Iterable[int]) -> Callable[[], float]:
        """Starts now. The function says how many cores others used on average since then; 0 where nobody tells.

        own: the process ids whose time does not count, beside that of this process.
        """
        pids = {os.getpid(), *own}
        busy, used, start = self.busy_seconds(), self._used(pids), time.perf_counter()

        def others() -> float:
            elapsed = time.perf_counter() - start
            if busy is None or elapsed <= 0:
                return 0.0
            now = self.busy_seconds() or busy
            return max(0.0, (now - busy) - (self._used(pids) - used)) / elapsed

        return others

    def wait_until_quiet(self, limit: float, patience_s: float, look_s: float = 0.15) -> bool:
        """Returns as soon as others use less than `limit` cores; False where that did not happen in so many seconds."""
        end = time.perf_counter() + patience_s
        while True:
            others = self.watch(())
            time.sleep(look_s)
            if others() <= limit:
                return True
            if time.perf_counter() >= end:
                return False

    def busy_seconds(self) -> float | None:
        """Of all cores together since the machine was started, whoever used them; None where nobody tells."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            columns = (self._proc / "stat").read_text(encoding="ascii").split("\n", 1)[0].split()
            return sum(int(columns[i]) for i in _WORK_COLUMNS) / _ticks()
        return None

    def _used(self, pids: Iterable[int]) -> float:
        return sum(self._process_seconds(pid) for pid in pids)

    def _process_seconds(self, pid: int) -> float:
        """Of all threads of a process and of the processes that it has seen end; 0 where it has ended itself."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = (self._proc / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
            columns = text.rpartition(")")[2].split()  # the name before it may hold spaces
            return sum(map(int, columns[11:15])) / _ticks()  # user and system, its own and its children's
        return 0.0


def peak_memory_bytes() -> int | None:
    """The most that this process ever had in memory (VmHWM): files that are mapped count where they were touched."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / "self" / "status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return None


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
