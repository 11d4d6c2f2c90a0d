"""What tests of trainings share: to run one, to break one off, and to compare what two have come to."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import load_file

from verydeep.data.datasets import Splits, open_splits
from verydeep.train import finish, loop
from verydeep.train.checkpoint import save_state, state_files
from verydeep.train.display import Display
from verydeep.train.interrupt import Stopped
from verydeep.train.loop import train
from verydeep.train.recipe import Recipe
from verydeep.train.run import Run

CPU = torch.device("cpu")
MOMENTS = ("after the epoch", "in mid-epoch", "before the state is saved", "in validation")


class Listen(Display):
    """Remembers what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def note(self, message: str) -> None:
        self.heard.append(message)


class Stop(Display):
    """Ends a run in a step, counted from 0 in epochs that are, too, or after an epoch, counted from 1."""

    def __init__(self, *, in_step: tuple[int, int] | None = None, after_epoch: int = 0) -> None:
        super().__init__()
        self.in_step, self.after_epoch = in_step, after_epoch

    def step(self, epoch: int, step: int, steps: int, loss: float, photos: int) -> None:
        if (epoch, step) == self.in_step:
            raise Stopped

    def epoch(self, row: Any) -> None:
        if row["epoch"] == self.after_epoch:
            raise Stopped


def splits_of(data: Path | None, recipe: Recipe) -> Splits:
    assert data is not None
    return open_splits(data, recipe.seed, task=recipe.task)


def go(run: Run, display: Display | None = None) -> Any:
    """Trains to the end; the report."""
    return train(run, splits_of(run.data, run.recipe), display or Display(), "cpu")


def break_off(run: Run, moment: str, epoch: int = 1) -> None:
    """Trains until that moment, one of MOMENTS, of that epoch, or shortly after it. There is no model then."""

    def save(folder: Path, state: Any) -> None:
        if (state.progress.epoch, moment) == (epoch, "before the state is saved"):
            raise KeyboardInterrupt
        save_state(folder, state)

    def validate_or_stop(*arguments: Any, **named: Any) -> Any:
        if moment == "in validation":
            raise Stopped
        return finish.validate(*arguments, **named)

    display = Stop(
        in_step=(1, 1) if moment == "in mid-epoch" else None, after_epoch=epoch if moment == "after the epoch" else 0
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(loop, "save_state", save)
        patched.setattr(loop, "validate", validate_or_stop)
        with pytest.raises(KeyboardInterrupt):
            go(run, display)
    assert not (run.folder / "model.safetensors").exists()


def end_of(run: Run) -> tuple[Any, ...]:
    """The numbers of its last state, its model and its epochs."""
    rows = [(row["epoch"], row["loss"], row["validation_loss"]) for row in run.metrics()]
    return arrays(state_files(run.folder)[0]), arrays(run.folder / "model.safetensors"), rows


def arrays(path: Path) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load_file(path).items()}
