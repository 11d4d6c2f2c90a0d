"""The folder of a run: its recipe and what was measured; checkpoint.py and finish.py write the rest into it."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import verydeep
from verydeep.errors import CheckpointError, UsageError, VerydeepError
from verydeep.files import atomic_write, is_unfinished, make_folder, sole_use, storage_error
from verydeep.train.recipe import Recipe
from verydeep.train.start import Start

STATE_FOLDER = "training"
RECIPE_FILE = "recipe.json"
METRICS_FILE = "metrics.jsonl"
_LOCK = "lock"


@dataclass(frozen=True)
class Run:
    """A training on disk. Make one with `create_run` or `open_run`."""

    folder: Path
    recipe: Recipe
    data: Path | None  # the photos' folder or the file that names them; None where they were given one by one
    command: tuple[str, ...]  # what started it
    notes: Mapping[str, str] = field(default_factory=dict)  # licence and source of the data, for the model card
    format: str = "folders"  # of `data.formats.FORMATS`: what was found in `data`, and is read when the run goes on
    root: Path | None = None  # the folder that annotations may name photos in; None: `data`
    start: Start | None = None  # the model that it begins from
    folds: int = 0  # of its cross-validation; 0: it has photos to validate on

    def sole_use(self) -> AbstractContextManager[None]:
        """While entered, no other process trains this run. Raises UsageError where one does, StorageError."""
        return sole_use(self.folder / STATE_FOLDER / _LOCK, f"the run in {self.folder}")

    def append_metrics(self, row: Mapping[str, float]) -> None:
        """One line of METRICS_FILE an epoch. Raises StorageError."""
        rows = [*self.metrics(), row]
        atomic_write(self.folder / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows))

    def metrics(self) -> list[dict[str, float]]:
        """What was measured after each epoch so far. Raises CheckpointError where the file is damaged."""
        path = self.folder / METRICS_FILE
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            sum(row["epoch"] + row["seconds"] for row in rows)  # they are there, and they are numbers
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise CheckpointError(
                f"{path} is damaged: {error!r}.", "Move it elsewhere: the run goes on without it."
            ) from error
        return rows

    def forget_after(self, epoch: int) -> None:
        """Drops what was measured in epochs whose state was not saved."""
        rows = [row for row in self.metrics() if row["epoch"] <= epoch]
        if len(rows) < len(self.metrics()):
            atomic_write(self.folder / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def create_run(
    folder: Path,
    recipe: Recipe,
    data: Path | None,
    command: tuple[str, ...],
    notes: Mapping[str, str],
    *,
    format: str = "folders",
    root: Path | None = None,
    start: Start | None = None,
    folds: int = 0,
) -> Run:
    """A new run. Raises UsageError where the folder holds something already, and StorageError."""
    _check_empty(make_folder(folder))
    data, root = (path.absolute() if path else None for path in (data, root))  # it may be resumed from another folder
    content: dict[str, Any] = {
        "verydeep": verydeep.__version__,
        "data": str(data) if data else None,
        "format": format,
        "root": str(root) if root else None,
        "command": list(command),
        "notes": dict(notes),
        "start": start.to_dict() if start else None,
        "folds": folds,
        "recipe": recipe.to_dict(),
    }
    run = Run(folder, recipe, data, command, notes, format, root, start, folds)
    with run.sole_use():  # two processes may be given the same folder at once
        _check_empty(folder)
        atomic_write(folder / RECIPE_FILE, json.dumps(content, indent=2) + "\n")
    return run


def _check_empty(folder: Path) -> None:
    """Raises UsageError where there is more in a folder than what a process leaves that is killed before its run."""
    try:
        paths = [path.relative_to(folder) for path in (*folder.iterdir(), *folder.glob(f"{STATE_FOLDER}/*"))]
    except OSError as error:
        raise storage_error(folder, error) from error
    found = {path.as_posix() for path in paths if not is_unfinished(path)}
    if found <= {STATE_FOLDER, f"{STATE_FOLDER}/{_LOCK}"}:
        return
    raise UsageError(
        f"{folder} is not empty; expected a new or empty folder for the run.",
        f"Go on with the run in it: --resume {folder}, or choose another folder: --out FOLDER"
        if RECIPE_FILE in found
        else "Choose another folder: --out FOLDER",
    )


def open_run(folder: Path) -> Run:
    """A run that was created before. Raises CheckpointError."""
    path = folder / RECIPE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.from_dict(content["recipe"])
        data = Path(content["data"]) if content["data"] is not None else None
        root = Path(content["root"]) if content.get("root") is not None else None
        format = str(content.get("format", "folders"))  # older runs name none
        start = Start.from_dict(content["start"]) if content.get("start") else None  # unknown to older versions
        folds = int(content.get("folds", 0))
        command = tuple(content["command"])
        return Run(folder, recipe, data, command, content["notes"], format, root, start, folds)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CheckpointError(
            f"{folder} is no run: it has no {RECIPE_FILE}.", "Give the folder that `verydeep train` made."
        ) from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error.message if isinstance(error, VerydeepError) else str(error)
        raise CheckpointError(
            f"{path} is damaged: {reason.rstrip('.')}.", "Start the training anew in another folder, --out FOLDER."
        ) from error
