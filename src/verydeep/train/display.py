"""What a person sees of a training: a bar on a terminal, plain lines otherwise. Everything goes to stderr."""

import sys
import time
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0


class Display:
    """Tells how a training goes. Not thread-safe."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._epoch_started = self._last_line = time.monotonic()
        self._photos = 0  # since the epoch began, or this start within it
        self._costs: Sequence[float] = ()
        self._epochs_before = 0.0  # done before this start
        self._metric = ("top1", "top-1")

    def start(
        self, title: str, costs: Sequence[float], epochs_done: float, metric: tuple[str, str] = ("top1", "top-1")
    ) -> None:
        """title: what is trained on what. costs: how long each epoch takes, of which only the ratios matter.

        epochs_done: before this start, 2.5 in the middle of the third. metric: what validation is judged by, as the
        rows have it and in words.
        """
        self._metric = metric
        self.note(title)
        epochs, epoch = len(costs), int(epochs_done)
        if epochs_done >= epochs:
            self.note("all epochs are done already")
        elif epochs_done:
            place = f"after epoch {epoch}" if epoch == epochs_done else f"in epoch {epoch + 1}"
            self.note(f"going on {place} of {epochs}")
        self._costs, self._epochs_before = costs, epochs_done
        self._started = self._epoch_started = self._last_line = time.monotonic()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                BarColumn(),
                TextColumn("{task.fields[status]}"),
                TimeRemainingColumn(),
                console=self.console,
                refresh_per_second=2,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=None, epoch=epoch + 1, epochs=epochs, status="starting")

    def reading(self, done: int, total: int, what: str = "decoding the photos") -> None:
        """So many of the photos are done, once for all epochs. Told where it takes long."""
        if time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.note(f"{what}, once for all epochs: {done} of {total}")

    def leave_out(self, seconds: float) -> None:
        """So long was no training, and says nothing about how long the rest takes."""
        self._started += seconds
        self._epoch_started = time.monotonic()

    def step(self, epoch: int, step: int, steps: int, loss: float, photos: int) -> None:
        """One step is done: `step` of the epoch, counted from 0. loss: the mean of the last steps."""
        self._photos += photos
        elapsed = time.monotonic() - self._epoch_started  # 0 within a tick of a coarse clock
        speed = self._photos / elapsed if elapsed else 0.0
        status = f"loss {loss:.3f}  {speed:.0f} photos/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=self._cost(epoch + (step + 1) / steps),
                total=sum(self._costs),
                epoch=epoch + 1,
                status="validating" if step + 1 == steps else status,
            )
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = self._left(epoch + (step + 1) / steps)
            self.note(f"epoch {epoch + 1}/{len(self._costs)}  step {step + 1}/{steps}  {status}  {left}")

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done: what was measured, as METRICS_FILE has it."""
        left = self._left(row["epoch"])
        metric, in_words = self._metric
        self.note(
            f"epoch {row['epoch']}/{len(self._costs)}: validation {in_words} {row[f'validation_{metric}']:.1%}, "
            f"loss {row['validation_loss']:.3f}; training loss {row['loss']:.3f}, "
            f"{row['photos_per_second']:.0f} photos/s{f', {left}' if left else ''}"
        )
        self._photos, self._epoch_started = 0, time.monotonic()

    def note(self, message: str) -> None:
        """Something a person should know."""
        self.console.print(message, markup=False)

    def close(self) -> None:
        """Leaves the terminal as it was. Call it however the training ends."""
        if self._bar is not None:
            self._bar.stop()

    def _left(self, epochs_done: float) -> str:
        """How long it takes until the end, validation included; empty there, and where this start took no step yet."""
        if epochs_done >= len(self._costs) or epochs_done <= self._epochs_before:
            return ""
        done = self._cost(epochs_done)
        seconds = (time.monotonic() - self._started) / (done - self._cost(self._epochs_before))
        return f"{_duration(seconds * (sum(self._costs) - done))} left"

    def _cost(self, epochs: float) -> float:
        """Of the first epochs."""
        whole = int(epochs)
        return sum(self._costs[:whole]) + (epochs - whole) * sum(self._costs[whole : whole + 1])


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "under a minute"
    )
