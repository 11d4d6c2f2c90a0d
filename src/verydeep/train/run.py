"""The folder of a run: its recipe and what was measured; checkpoint.py and finish.py write the rest into it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import verydeep
from verydeep.errors import CheckpointError, UsageError
from verydeep.files import atomic_write, make_folder
from verydeep.train.recipe import Recipe

RECIPE_FILE = "recipe.json"
METRICS_FILE = "metrics.jsonl"


@dataclass(frozen=True)
class Run:
    """A training on disk. Make one with `create_run` or `open_run`."""

    folder: Path
    recipe: Recipe
    data: Path  # the folder of photos
    command: tuple[str, ...]  # what started it
    notes: Mapping[str, str] = field(default_factory=dict)  # licence and source of the data, for the model card

    def append_metrics(self, row: Mapping[str, float]) -> None:
        """One line of METRICS_FILE an epoch. Raises StorageError."""
        rows = [*self.metrics(), row]
        atomic_write(self.folder / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows))

    def metrics(self) -> list[dict[str, float]]:
        """What was measured after each epoch so far."""
        path = self.folder / METRICS_FILE
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget_after(self, epoch: int) -> None:
        """Drops what was measured in epochs whose state was not saved."""
        rows = [row for row in self.metrics() if row["epoch"] <= epoch]
        if rows or self.metrics():
            atomic_write(self.folder / METRICS_FILE, "".join(json.dumps(row) + "\n" for row in rows))


def create_run(folder: Path, recipe: Recipe, data: Path, command: tuple[str, ...], notes: Mapping[str, str]) -> Run:
    """A new run. Raises UsageError where the folder holds something already, StorageError."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"{folder} is there already; expected a new or empty folder for the run.",
            f"Go on with the run in it: --resume {folder}, or choose another: --out FOLDER",
        )
    make_folder(folder)
    content: dict[str, Any] = {
        "verydeep": verydeep.__version__,
        "data": str(data),
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
        content = json.loads(path.read_text())
        recipe = Recipe.from_dict(content["recipe"])
        return Run(folder, recipe, Path(content["data"]), tuple(content["command"]), content["notes"])
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} is no run: it has no {RECIPE_FILE}.", "Give the folder of a run.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged: {error}.", "Start the training anew in another folder.") from error
