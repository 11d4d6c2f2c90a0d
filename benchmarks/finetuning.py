"""What a trained start is worth for few photos: appends rows to benchmarks/results/finetuning.csv.

    python benchmarks/finetuning.py [--data DATA] [--runs FOLDER] [--seeds N] [--folds K]

Three trainings of the recipe `finetune` take part, on the same folds of all photos, with the same seeds: all layers of
the built-in model; the same network for as many epochs from scratch, at the rates that suit such a start; and the head
of the built-in model alone, for as many epochs as the recipe has. Each photo is asked about by models that were not
trained on it. Run again, it goes on where it was stopped: two hours on two cores.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from verydeep import machine
from verydeep.data.datasets import open_splits
from verydeep.evaluate.metrics import bootstrap_interval, paired_bootstrap
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.files import atomic_write
from verydeep.image.decode import name_of
from verydeep.recipes import load_recipe
from verydeep.train.display import Display
from verydeep.train.folds import FOLDS_FOLDER, ask_folds
from verydeep.train.recipe import Recipe
from verydeep.train.run import RECIPE_FILE, create_run, open_run
from verydeep.train.start import Start, begin_from, open_start
from verydeep.weights import read_info

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results" / "finetuning.csv"
MODEL = "imagenette"
ALL_LAYERS = {"trained": "all", "epochs": 15, "learning_rate": 0.02}
FROM_SCRATCH = {"initialization": "identity", "whiten": True, "layer_decay": 1.0, "learning_rate": 0.05}


@dataclass(frozen=True)
class Kind:
    """A way to train."""

    name: str
    recipe: Recipe
    start: Start | None


@dataclass(frozen=True)
class Answers:
    """What the trainings of a kind came to."""

    kind: Kind
    right: np.ndarray  # (seeds, photos) bool: whether the model of its fold recognised each photo
    precision: str
    threads: int

    @property
    def shares(self) -> np.ndarray:
        """(photos,): with how many of the seeds each was recognised."""
        return self.right.mean(axis=0)

    @property
    def told(self) -> str:
        return f"{self.kind.name}, {self.kind.recipe.epochs} epochs"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data" / "hymenoptera")
    parser.add_argument("--runs", type=Path, default=REPOSITORY.parent / "verydeep-runs" / "finetuning")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(machine.cores())
    tell(given, *(ask(given, kind) for kind in kinds()))


def kinds() -> tuple[Kind, Kind, Kind]:
    """All layers from the model, the same from scratch, the model's head."""
    start, info = open_start(MODEL)
    recipe = load_recipe("finetune").with_fields({"precision": "float32"})  # auto might choose another one for each
    all_layers = begin_from(recipe, info, ALL_LAYERS)
    return (
        Kind(f"all layers of {start.name}", all_layers, start),
        Kind("from scratch", all_layers.with_fields(FROM_SCRATCH), None),
        Kind(f"head of {start.name}", begin_from(recipe, info, {}), start),
    )


def ask(given: argparse.Namespace, kind: Kind) -> Answers:
    """Whether each photo was recognised by the model of its fold, with each seed."""
    found = [ask_once(given, kind, seed) for seed in range(given.seeds)]
    right = np.array([list(one["right"].values()) for one in found])
    return Answers(kind, right, found[0]["precision"], found[0]["threads"])


def ask_once(given: argparse.Namespace, kind: Kind, seed: int) -> dict[str, Any]:
    """The same with one seed, the photos by their names; what was asked before is kept."""
    folder = given.runs / f"{kind.name.replace(' ', '-')}-{seed}"
    answers = folder.with_suffix(".json")
    if not answers.exists():
        atomic_write(answers, json.dumps(train_once(given, kind, seed, folder), indent=2) + "\n")
    found: dict[str, Any] = json.loads(answers.read_text(encoding="utf-8"))
    share = np.mean(list(found["right"].values()))
    print(f"{kind.name}, seed {seed}: top-1 {share:.1%} of {len(found['right'])}", flush=True)
    return found


def train_once(given: argparse.Namespace, kind: Kind, seed: int, folder: Path) -> dict[str, Any]:
    """What `ask_once` keeps. A run that is there goes on."""
    if (folder / RECIPE_FILE).exists():
        run = open_run(folder)
    else:
        recipe, command = kind.recipe.with_fields({"seed": seed}), (Path(__file__).name,)
        run = create_run(folder, recipe, given.data, command, {}, start=kind.start, folds=given.folds)
    report = ask_folds(run, open_splits(given.data, seed), Display).report
    right = zip(map(name_of, report.paths), report.posteriors.argmax(axis=1) == report.labels, strict=True)
    return {
        "right": {name: bool(is_right) for name, is_right in sorted(right)},
        "precision": read_info(folder / FOLDS_FOLDER / "1").origin["precision"],
        "threads": torch.get_num_threads(),
    }


def tell(given: argparse.Namespace, all_layers: Answers, scratch: Answers, head: Answers) -> None:
    """A row for each, and what the start is worth, photo by photo: by the same epochs, and by the head alone."""
    for one in (all_layers, scratch, head):
        append(given, f"top-1, {one.told}", one, one.shares.mean(), bootstrap_interval(one.shares))
    for one in (all_layers, head):
        more, interval = paired_bootstrap(scratch.shares, one.shares)
        append(given, f"top-1 of {one.told}, less that {scratch.told}, paired", one, more, interval)


def append(given: argparse.Namespace, what: str, answers: Answers, value: float, interval: tuple[float, float]) -> None:
    seeds, photos = answers.right.shape
    kind = answers.kind
    row = result_row(
        model=model_label(kind.start.path) if kind.start else "-",
        architecture=kind.recipe.architecture(classes=2).name,
        engine="torch",
        dtype=answers.precision,
        threads=answers.threads,
        batch=kind.recipe.batch_size,
        protocol=f"{what}; {given.data.name}, {given.folds} folds, mean of {seeds} seeds; interval over photos",
        n=photos,
        value=f"{value:.4f}",
        spread=f"{interval[0]:.4f}..{interval[1]:.4f}",
    )
    append_result(RESULTS, row)
    print(f"{row.protocol}: {row.value} ({row.spread}, n = {row.n})")


if __name__ == "__main__":
    main()
