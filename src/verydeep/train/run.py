"""The folder of a run: its recipe and what was measured; checkpoint.py and finish.py write the rest into it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import verydeep
from verydeep.errors import CheckpointError, UsageError, VerydeepError
from verydeep.files import atomic_write, make_folder, storage_error
from verydeep.train.recipe import Recipe

RECIPE_FILE = "recipe.json"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """A training on disk. Make one with `create_run` or `open_run`."""

    folder: Path
    recipe: Recipe
    data: Path | None  # the folder of photos; None where they were given one by one
    command: tuple[str, ...]  # what started it
    notes: Mapping[str, str] = field(default_factory=dict)  # licence and source of the data, for the model card

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
    folder: Path, recipe: Recipe, data: Path | None, command: tuple[str, ...], notes: Mapping[str, str]
) -> Run:
    """A new run. Raises UsageError where the folder holds something already, and StorageError."""
    make_folder(folder)
    try:
        is_empty = not any(folder.iterdir())
    except OSError as error:
        raise storage_error(folder, error) from error
    if not is_empty:
        has_run = (folder / RECIPE_FILE).exists()
        raise UsageError(
            f"{folder} is not empty; expected a new or empty folder for the run.",
            f"Go on with the run in it: --resume {folder}, or choose another folder: --out FOLDER"
            if has_run
            else "Choose another folder: --out FOLDER",
        )
    data = data.absolute() if data else None  # the run may be resumed from another folder
    content: dict[str, Any] = {
        "verydeep": verydeep.__version__,
        "data": str(data) if data else None,
        "command": list(command),
        "notes": dict(notes),
        "recipe": recipe.to_dict(),
    }
    atomic_write(folder / RECIPE_FILE, json.dumps(content, indent=2) + "\n")
    return Run(folder, recipe, data, command, notes)


def open_run(folder: Path) -> Run:
    """A run that was created before. Raises CheckpointError."""
    path = folder / RECIPE_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        recipe = Recipe.from_dict(content["recipe"])
        data = Path(content["data"]) if content["data"] is not None else None
        return Run(folder, recipe, data, tuple(content["command"]), content["notes"])
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
