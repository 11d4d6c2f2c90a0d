"""Other programs that watch a training: TensorBoard, Weights & Biases, MLflow. The run's own record needs none of them.

Each is a `Log`, opened by name in `open_logs`. None can stop a training: one that fails is told once and left alone.
"""

import contextlib
import importlib
import importlib.util
import netrc
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from verydeep.errors import MissingExtraError, UsageError, printable
from verydeep.train.run import Run

PROJECT = "verydeep"  # what the runs are listed under in Weights & Biases and MLflow
_FOLDER = "training"  # of the run's folder: what a model does not need


class Log(Protocol):
    """Where the measurements of each epoch go, beside METRICS_FILE."""

    def row(self, row: Mapping[str, float]) -> None:
        """An epoch is done: what was measured, by column; "step" counts the optimiser's steps so far."""

    def close(self) -> None:
        """There will be no more rows."""


@contextlib.contextmanager
def open_logs(
    names: Sequence[str] | None,
    run: Run,
    first_step: int,
    tell: Callable[[str], None] = lambda message: print(message, file=sys.stderr),
) -> Iterator[Log]:
    """One log that writes to all: TensorBoard's files where it is installed, and those named; closed at the end.

    names: of `LOGS`. first_step: how many of the optimiser's steps are done; what an earlier attempt logged of later
    ones is void. tell: gets a sentence where a log fails. Raises UsageError on an unknown name and MissingExtraError
    where the library of one that was named is not installed.
    """
    names = tuple(names or ())
    check_names(names)
    is_default = "tensorboard" not in names and _is_installed("tensorboard")
    log = _Unfailing(tell)
    for name in dict.fromkeys((*(["tensorboard"] if is_default else []), *names)):
        log.open(name, run, first_step)
    try:
        yield log
    finally:
        log.close()


class TensorBoardLog:
    """Event files in the run's folder: `tensorboard --logdir FOLDER`. The step is the optimiser's."""

    def __init__(self, run: Run, first_step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        # A row carries the number of steps done at its time, so what an attempt that was lost logged is larger.
        self._writer = SummaryWriter(str(run.folder / _FOLDER / "tensorboard"), purge_step=first_step + 1)

    def row(self, row: Mapping[str, float]) -> None:
        for name, value in row.items():
            self._writer.add_scalar(name, value, round(row["step"]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class WandbLog:
    """A run of Weights & Biases, in the group of the run's folder. Offline, `wandb sync` sends it, unless logged in."""

    def __init__(self, run: Run, first_step: int) -> None:
        wandb: Any = importlib.import_module("wandb")
        name = run.folder.resolve().name
        folder = run.folder / _FOLDER
        folder.mkdir(parents=True, exist_ok=True)  # else it takes the system's temporary folder
        self._run = wandb.init(
            project=PROJECT,
            name=f"{name} from step {first_step}" if first_step else name,
            group=name,
            dir=str(folder),
            config=run.recipe.to_dict(),
            mode=None if _has_wandb_account() else "offline",
        )

    def row(self, row: Mapping[str, float]) -> None:
        self._run.log(dict(row), step=round(row["step"]))

    def close(self) -> None:
        self._run.finish()


class MlflowLog:
    """A run of MLflow, in the store that the user has set, otherwise in a file in the run's folder."""

    def __init__(self, run: Run, first_step: int) -> None:
        self._mlflow: Any = importlib.import_module("mlflow")
        name = run.folder.resolve().name
        if "MLFLOW_TRACKING_URI" not in os.environ:
            folder = run.folder.resolve() / _FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            self._mlflow.set_tracking_uri(f"sqlite:///{(folder / 'mlflow.db').as_posix()}")
        self._mlflow.set_experiment(PROJECT)
        self._mlflow.start_run(run_name=f"{name} from step {first_step}" if first_step else name)
        self._mlflow.log_params(run.recipe.to_dict())

    def row(self, row: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(row), step=round(row["step"]))

    def close(self) -> None:
        self._mlflow.end_run()


LOGS: dict[str, Callable[[Run, int], Log]] = {"tensorboard": TensorBoardLog, "wandb": WandbLog, "mlflow": MlflowLog}


class _Unfailing:
    """Several logs as one, which never raises: a log that fails is told, closed, and gets no more rows."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._logs: dict[str, Log] = {}

    def open(self, name: str, run: Run, first_step: int) -> None:
        try:
            self._logs[name] = LOGS[name](run, first_step)
        except Exception as error:  # whatever a foreign library raises: the training is worth more than its log
            self._tell_of(name, error)

    def row(self, row: Mapping[str, float]) -> None:
        for name, log in list(self._logs.items()):
            try:
                log.row(row)
            except Exception as error:
                self._tell_of(name, error)
                del self._logs[name]
                with contextlib.suppress(Exception):
                    log.close()

    def close(self) -> None:
        while self._logs:
            name, log = self._logs.popitem()
            try:
                log.close()
            except Exception as error:
                self._tell_of(name, error)

    def _tell_of(self, name: str, error: Exception) -> None:
        reason = printable(str(error) or type(error).__name__)[:200].rstrip(".")
        self._tell(f"{name} does not log this training: {reason}. The training goes on without it.")


def check_names(names: Sequence[str]) -> None:
    """Raises UsageError on a name that is none of `LOGS`, MissingExtraError where its library is not installed."""
    if unknown := [name for name in names if name not in LOGS]:
        raise UsageError(f"no log {unknown[0]!r}; there are {', '.join(LOGS)}.", "Choose one of these.")
    for name in names:
        if not _is_installed(name):
            raise MissingExtraError(f"{name} is not installed.", f"pip install {name}")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _has_wandb_account() -> bool:
    """Whether the user has told wandb what to do: by its variables, or by `wandb login`, which writes ~/.netrc."""
    if os.environ.get("WANDB_MODE") or os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    for name in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        with contextlib.suppress(OSError, netrc.NetrcParseError, RuntimeError):  # RuntimeError: there is no home
            if name and netrc.netrc(str(Path(name).expanduser())).authenticators(host):
                return True
    return False
