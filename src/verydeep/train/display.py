"""What a person sees of a training: a bar on a terminal, plain lines otherwise. Everything goes to stderr."""

import sys
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0


class Display:
    """Tells how a training goes. Not thread-safe."""

    def __init__(self) -> None:
        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._started = self._last_line = time.monotonic()
        self._photos = self._steps = self._epochs = 0

    def start(self, title: str, epochs: int, epoch: int) -> None:
        """title: what is trained on what. epoch: how many are done already."""
        self.console.print(title, markup=False)
        if epoch:
            self.console.print(f"Going on after epoch {epoch} of {epochs}.")
        self._epochs = epochs
        self._started = self._last_line = time.monotonic()
        if self.console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
                BarColumn(),
                TextColumn("loss {task.fields[loss]:.3f}  {task.fields[rate]:.0f} photos/s"),
                TimeRemainingColumn(),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=None, epoch=epoch + 1, epochs=epochs, loss=float("nan"), rate=0)

    def step(self, epoch: int, step: int, steps: int, loss: float, photos: int) -> None:
        """One step is done: `step` of the epoch, counted from 0. loss: the mean of the last steps."""
        self._photos, self._steps = self._photos + photos, self._steps + 1
        elapsed = time.monotonic() - self._started
        rate = self._photos / elapsed
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task,
                completed=epoch * steps + step + 1,
                total=self._epochs * steps,
                epoch=epoch + 1,
                loss=loss,
                rate=rate,
            )
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            left = (self._epochs * steps - epoch * steps - step - 1) * elapsed / self._steps
            self.console.print(
                f"epoch {epoch + 1}/{self._epochs}  step {step + 1}/{steps}  loss {loss:.3f}  {rate:.0f} photos/s  "
                f"{_duration(left)} left"
            )

    def epoch(self, row: Mapping[str, float]) -> None:
        """An epoch is done: what was measured, as METRICS_FILE has it."""
        self.console.print(
            f"epoch {row['epoch']}/{self._epochs}: loss {row['loss']:.3f}, "
            f"validation top-1 {row['validation_top1']:.1%}, validation loss {row['validation_loss']:.3f}, "
            f"{row['photos_per_second']:.0f} photos/s"
        )

    def note(self, message: str) -> None:
        """Something a person should know."""
        self.console.print(message, markup=False)

    def close(self) -> None:
        """Leaves the terminal as it was. Call it however the training ends."""
        if self._bar is not None:
            self._bar.stop()


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return (
        f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min" if minutes else "under a minute"
    )
