"""Notices a training that hangs, writes down where, and ends it, so that a supervisor or a person can resume it.

A loader, a network file system or a GPU may hang inside a call into C, which no exception interrupts: the watchdog is
a thread of its own, and ends the whole process. What it cannot notice is a call that never lets Python's lock go.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import shlex
import signal
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from types import FrameType, TracebackType

from verydeep.errors import HungRun, printable

STACKS_FILE = Path("training") / "stacks.txt"
SHORTEST_S = 60.0  # a step may take that long whatever the others took: a disk wakes up, a machine is shared
MEDIANS = 10.0  # times the median step
FIRST_S = 600.0  # until the first step: loader processes start, a GPU loads its kernels
PHASE_S = 3600.0  # without a sign of life in what is not a step, for example a save to a slow disk
_PACKAGE = str(Path(__file__).parents[1])
_REMEMBERED = 200  # steps that the median is of
_DUMP_S = 2.0  # for the loader processes to write their stacks


class Watchdog:
    """While entered, ends the process with HungRun's exit code where the thread that entered it shows no sign of life.

    Time is counted by the watchdog's own ticks, at most one tick for each: while the whole process is stopped or the
    machine sleeps, no time passes. The stacks of all threads go to STACKS_FILE; the loader's processes get SIGUSR1, at
    which each is to append its own.
    run: the folder of the run. The other arguments: seconds, see the constants.
    """

    def __init__(
        self, run: Path, *, shortest_s: float = SHORTEST_S, first_s: float = FIRST_S, tick_s: float = 1.0
    ) -> None:
        self._run, self._shortest_s, self._tick_s = run, shortest_s, tick_s
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._watched = 0  # the thread that is watched
        self._silent_s = 0.0
        self._waits_for, self._longest_s = "the first step", first_s
        self._is_phase = False
        self._durations: deque[float] = deque(maxlen=_REMEMBERED)
        self._last_step: float | None = None  # or the last phase's end, by time.monotonic; None within a phase

    def __enter__(self) -> "Watchdog":
        self._watched = threading.get_ident()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        stacks = self._run / STACKS_FILE
        with contextlib.suppress(OSError):  # the loader's processes open it in advance
            if stacks.stat().st_size == 0:
                stacks.unlink()

    def step(self) -> None:
        """A step of training is done."""
        now = time.monotonic()
        with self._lock:
            if self._last_step is not None:
                self._durations.append(now - self._last_step)
            self._last_step, self._silent_s = now, 0.0
            self._waits_for = "a step"

    def alive(self) -> None:
        """A sign of life within a step or a phase."""
        with self._lock:
            self._silent_s = 0.0

    @contextlib.contextmanager
    def phase(self, name: str, longest_s: float = PHASE_S) -> Iterator[None]:
        """What is no step, "validation": it may be silent for `longest_s` seconds. Phases do not nest."""
        before = self._waits_for, self._longest_s
        self._begin(name, longest_s, is_phase=True)
        try:
            yield
        finally:
            self._begin(*before, is_phase=False)

    def _begin(self, waits_for: str, longest_s: float, *, is_phase: bool) -> None:
        with self._lock:
            self._waits_for, self._longest_s, self._is_phase = waits_for, longest_s, is_phase
            self._silent_s = 0.0
            self._last_step = None if is_phase else time.monotonic()

    def _watch(self) -> None:
        while not self._ended.wait(self._tick_s):
            with self._lock:
                self._silent_s += self._tick_s  # not the clock: it also runs while this thread is stopped
                is_hung = self._silent_s > self._limit_s()
            if is_hung:
                self._end()

    def _limit_s(self) -> float:
        if self._is_phase or not self._durations:
            return self._longest_s
        return max(self._shortest_s, MEDIANS * statistics.median(self._durations))

    def _end(self) -> None:
        """Tells what hangs, and ends this process and the loader's."""
        frame = sys._current_frames().get(self._watched)
        path = self._run / STACKS_FILE
        try:
            _dump(path)
            told = f"the stacks of all threads are in {path}"
        except OSError as error:
            told = f"the stacks could not be written to {path}: {error.strerror}"
        hung = HungRun(
            f"the training hangs: {self._waits_for} has shown no sign of life for {self._silent_s:.0f} s"
            f"{_place(frame)}; {told}.",
            f"Go on with: verydeep train --resume {shlex.quote(str(self._run))}",
        )
        # Not by sys.stderr: the thread that hangs may hold its lock.
        with contextlib.suppress(OSError):
            os.write(2, f"\nerror: {printable(hung.message)}\nhint: {printable(hung.hint)}\n".encode(errors="replace"))
        children = multiprocessing.active_children()
        for process in children:
            process.kill()
        for process in children:
            process.join(timeout=1.0)
        os._exit(hung.exit_code)


def _dump(path: Path) -> None:
    """The stacks of this process, then of each of the loader's, which get a moment to write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(f"Stacks of the training, process {os.getpid()}, {time.strftime('%Y-%m-%d %H:%M:%S')}\n\n")
        file.flush()
        faulthandler.dump_traceback(file)
    for process in multiprocessing.active_children():
        if process.pid is None or not hasattr(signal, "SIGUSR1"):
            continue
        with path.open("a", encoding="utf-8") as file:
            file.write(f"\nStacks of {process.name}, process {process.pid}\n\n")
        with contextlib.suppress(OSError):  # it has ended meanwhile
            os.kill(process.pid, signal.SIGUSR1)
        time.sleep(_DUMP_S / 4)
    time.sleep(_DUMP_S / 4)


def _place(frame: FrameType | None) -> str:
    """Where in this package a thread is: " (in load_batches, loader.py line 72)"."""
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_PACKAGE):
            return f" (in {code.co_name}, {Path(code.co_filename).name} line {frame.f_lineno})"
        frame = frame.f_back
    return ""
