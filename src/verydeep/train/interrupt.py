"""Signals that end a training: the first one stops it where its state is whole, a second Ctrl-C or SIGTERM at once.

SIGHUP, of a terminal that was closed, and SIGUSR1, by which batch schedulers warn of the end of the time, stop it, too,
but never at once: a logout sends two or three signals, and nobody is impatient. The loader's processes, which get
SIGUSR1 from the watchdog, have handlers of their own.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

from verydeep.errors import InterruptedRun

_SIGNALS = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]
_ASKING = (signal.SIGINT, signal.SIGTERM)  # by which a person asks, and asks again
_SHELL_BASE = 128  # shells count a command that a signal ended as 128 and its number
_SHOW_CURSOR = "\x1b[?25h"  # a progress bar hides it


class Stopped(KeyboardInterrupt):
    """A signal has arrived. What catches every Exception lets it through."""

    where = ""  # how far the work was, to be told


class Interruption:
    """While entered, raises Stopped where a signal arrives, or at the end of a `deferred` block.

    What leaves it is an InterruptedRun. Outside the main thread, where Python allows no handlers, it does nothing.
    """

    def __init__(self) -> None:
        self._arrived: signal.Signals | None = None
        self._is_answered = False
        self._is_deferred = False
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if number.name != "SIGHUP" or signal.getsignal(number) is not signal.SIG_IGN:  # set by nohup
                    self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        if isinstance(error, Stopped) and self._arrived is not None:
            interrupted = InterruptedRun(f"stopped by {self._arrived.name}{error.where}.")
            interrupted.exit_code = _SHELL_BASE + self._arrived
            raise interrupted from error

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """What must not be left half done: a signal is answered at the block's end.

        Where an error breaks the block off, no Stopped takes its place any more: at a Stopped the state is saved.
        """
        self._is_deferred = True
        try:
            yield
        except BaseException:
            self._is_answered = True  # by the error
            raise
        finally:
            self._is_deferred = False
        self._answer()

    def check(self) -> None:
        """Raises Stopped where a signal has arrived: anew, where a library has swallowed the one raised then."""
        if self._arrived is not None:
            raise Stopped

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number in _ASKING and self._arrived in _ASKING:  # whatever it is doing: it was asked twice
            for child in multiprocessing.active_children():  # the loader's, which would notice only seconds later
                child.kill()
            if sys.stderr.isatty():
                sys.stderr.write(_SHOW_CURSOR)
                sys.stderr.flush()
            os._exit(_SHELL_BASE + number)
        if self._arrived not in _ASKING:
            self._arrived = signal.Signals(number)
        if not self._is_deferred:
            self._answer()

    def _answer(self) -> None:
        if self._arrived is None or self._is_answered:
            return
        self._is_answered = True
        raise Stopped
