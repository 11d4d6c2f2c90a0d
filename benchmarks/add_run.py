"""A finished training as a row of benchmarks/results/training.csv: `python benchmarks/add_run.py RUN...`"""

import csv
import math
import shlex
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

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
    validation, metric = origin["validation"], task_of(run.recipe).metric
    low, high = validation[metric]["interval_95"]
    words = shlex.split(origin["command"])
    settings = dict(value.split("=", 1) for option, value in pairwise(words) if option == "--set")  # the last counts
    settings.pop("seed", None)
    recipe = next((value for option, value in pairwise(words) if option == "--recipe"), "modern")
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
        "protocol": validation["protocol"],
        "n": validation["n"],
        "value": validation[metric]["value"],
        "spread": f"{low:.4f}..{high:.4f}",
        "curve": " ".join(f"{step[f'validation_{metric}']:.4f}" for step in metrics),
    }


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit("Usage: python benchmarks/add_run.py RUN...")
    try:
        main(sys.argv[1:])
    except VerydeepError as error:
        sys.exit(f"error: {error}")
