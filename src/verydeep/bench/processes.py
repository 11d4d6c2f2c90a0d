"""Contestants in processes of their own, which are started, asked, and ended whatever happens."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from verydeep.errors import VerydeepError

_TAIL = 200  # characters of what a process printed last


class LostError(VerydeepError):
    """A contestant whose process has ended, does not answer, or says that it cannot go on."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name} {reason}; it is left out.")
        self.name = name


@dataclass(frozen=True)
class Command:
    """What is started for a contestant, and how long its answers may take."""

    name: str  # of the contestant
    arguments: Sequence[str]  # after `python`
    environment: dict[str, str]
    start_s: float  # seconds until the first answer: torch.compile needs minutes
    answer_s: float  # until any other


class Process:
    """A running contestant; one thread asks it. Its group of processes ends with `end`."""

    def __init__(self, command: Command) -> None:
        self.name = command.name
        self._command = command
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115, as long as the process
        self.is_alive = True
        self._started = time.perf_counter()
        self._process = subprocess.Popen(  # noqa: S603, our own interpreter and module
            [sys.executable, *command.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=os.environ | command.environment,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the measuring process alone, which then ends the others
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def first_answer(self) -> tuple[dict[str, Any], float]:
        """And the seconds since its start. Raises LostError."""
        fields = self._answer(self._command.start_s)
        return fields, time.perf_counter() - self._started

    def ask(self, **fields: object) -> dict[str, Any]:
        """Its answer to a command. Raises LostError."""
        if not self.is_alive:
            raise LostError(self.name, "was lost before")
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended: its answer says so
            self._process.stdin.write(json.dumps(fields) + "\n")
            self._process.stdin.flush()
        return self._answer(self._command.answer_s)

    def turn(self, count: int, what: str = "total") -> list[dict[str, float]]:
        """The seconds of so many runs. what: "total", or "parts" for those of each part. Raises LostError."""
        samples: list[dict[str, float]] = self.ask(do=what, count=count)["samples"]
        return samples

    def end(self) -> None:
        """Ends it and all that it has started, unless that has left its group; a second time does nothing."""
        if not self.is_alive:
            return
        self.is_alive = False
        with contextlib.suppress(OSError):  # before `wait`: after it the number may be that of somebody else's group
            if hasattr(os, "killpg"):
                os.killpg(self._process.pid, signal.SIGKILL)
            else:
                self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._errors):
            with contextlib.suppress(OSError):
                if stream:
                    stream.close()

    def _answer(self, patience_s: float) -> dict[str, Any]:
        """A process that is lost is ended: it would disturb the others."""
        try:
            line = self._lines.get(timeout=patience_s)
        except queue.Empty:
            line, reason = "", f"has not answered for {patience_s:g} seconds"
        else:
            reason = "" if line else f"has ended: {self._reason()}"
        fields: dict[str, Any] = json.loads(line or "{}")
        if "error" in fields:
            reason = f"cannot go on: {fields['error']}"
        if reason:
            self.end()
            raise LostError(self.name, reason)
        return fields

    def _reason(self) -> str:
        code = self._exit_code()
        if code == -signal.SIGKILL:
            return "the system killed it, as it does where memory is short"
        self._errors.seek(0)
        said = " ".join(self._errors.read().decode(errors="replace").split())[-_TAIL:]
        return f"exit code {code}" + (f", {said}" if said else "")

    def _exit_code(self) -> int:
        """As soon as it has ended. Its number stays taken, so that `end` can end what it has left behind."""
        if not hasattr(os, "waitid"):  # Windows, and older Pythons on macOS
            return self._process.wait()
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status

    def _read(self, output: IO[str]) -> None:
        for line in output:
            self._lines.put(line)
        output.close()
        self._lines.put("")  # the end


@contextlib.contextmanager
def ended_together() -> Iterator[list[Process]]:
    """A list to put processes into; all of them are ended at the end of the block, whatever ends it."""
    processes: list[Process] = []
    try:
        yield processes
    finally:
        for process in processes:
            process.end()


def worker_command(folder: Path, name: str, task: str, threads: int, batch: int, *, patience_s: float) -> Command:
    """What starts `worker.py` for a contestant. patience_s: for any answer but the first, which gets five times that.

    Everything that a library writes for the next start goes below `folder`, and every library is held to the threads.
    """
    cache = folder / "cache"
    environment = {name: str(threads) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    environment |= {"VERYDEEP_CACHE": str(cache), "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor")}
    environment |= {"TORCHINDUCTOR_COMPILE_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    arguments = ["-m", "verydeep.bench.worker", str(folder), name, task, str(threads), str(batch)]
    return Command(name, arguments, environment, 5 * patience_s, patience_s)
