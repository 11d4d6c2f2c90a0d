"""A finished training as a row of benchmarks/results/training.csv: `python benchmarks/add_run.py RUN...`"""

import csv
import math
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from verydeep.cli.train import train
from verydeep.errors import VerydeepError
from verydeep.train.run import open_run
from verydeep.train.tasks import task_of
from verydeep.weights import read_info
from verydeep.weights.files import MODEL_FILE

RESULTS = Path(__file__).parent / "results" / "training.csv"


def main(folders: Sequence[str]) -> None:
    rows = [row(Path(folder)) for folder in folders]
    is_new = not RESULTS.exists()
    with RESULTS.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0], lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def row(folder: Path) -> dict[str, Any]:
    """Everything of it is in the model file and in the run's measurements. Raises ModelFileError, CheckpointError."""
    run, info = open_run(folder), read_info(folder / MODEL_FILE)
    origin, metrics = info.origin, run.metrics()
    validation, task = origin["validation"], task_of(run.recipe)
    low, high = validation[task.metric]["interval_95"]
    recipe, settings = _asked(origin)
    return {
        "date": origin["date"],
        "program": origin["program"],
        "machine": origin["machine"],
        "precision": origin["precision"],
        "versions": " ".join(f"{name}={version}" for name, version in origin["versions"].items()),
        "data": origin["data"],
        "photos": origin["photos"],
        "recipe": recipe,
        "settings": " ".join(f"{name}={value}" for name, value in sorted(settings.items())),
        "architecture": info.architecture.name,
        "seed": run.recipe.seed,
        "epochs": len(metrics),
        "seconds": round(metrics[-1]["seconds"]),
        "waiting": round(sum(row.get("waiting_seconds", math.nan) for row in metrics) / metrics[-1]["seconds"], 4),
        "protocol": f"{task.metric_in_words}: {validation['protocol']}",
        "n": validation["n"],
        "value": validation[task.metric]["value"],
        "spread": f"{low:.4f}..{high:.4f}",
        "curve": " ".join(f"{step[f'validation_{task.metric}']:.4f}" for step in metrics),
    }


def _asked(origin: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """The recipe's name, and what `--set` changed of it, the seed apart, as the command itself reads what it was told.

    A training that Python began names none: "-".
    """
    program, *words = shlex.split(origin["command"])
    if (program, *words[:1]) != ("verydeep", "train"):
        return "-", {}
    told = train.make_context("train", words[1:], resilient_parsing=True).params
    settings = dict(text.split("=", 1) for text in told["settings"])  # of two of a field the last counts
    settings.pop("seed", None)
    return told["recipe_name"] or ("finetune" if "start" in origin else "modern"), settings


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("Usage: python benchmarks/add_run.py RUN...")
    try:
        main(sys.argv[1:])
    except VerydeepError as error:
        sys.exit(f"error: {error}")
