"""What the choices of localisation are worth: appends rows to benchmarks/results/localization.csv.

    python benchmarks/localization.py [--data FOLDER] [--runs FOLDER] [--sets NAMES] [--seed N]

On each set of photos with a box each, the recipe `localize` is trained as it is, and with one thing changed: a box for
each class (the paper's PCR beside its SCR), the fully connected layers alone, the paper's Euclidean loss. Each model is
asked by the central crop and by the dense protocol at one and at three sizes: the rows of the paper's Tables 8 and 9.
Beside them stands the best single box for all photos. Ends where it was stopped when it is run again: hours on two
cores.
"""

import argparse
import csv
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.datasets import Dataset, open_splits
from verydeep.data.picture_targets import BoxTargets
from verydeep.evaluate.fixed_box import best_fixed_box, fixed_finder
from verydeep.evaluate.localization import evaluate_localization, localize
from verydeep.evaluate.localization_report import OVERLAP, LocalizationReport
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.runtime import OpenedModel, open_model
from verydeep.train.run import RECIPE_FILE
from verydeep.weights.files import MODEL_FILE, model_path

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results" / "localization.csv"
START = "imagenette"
SETS = {"cub-birds-loc": {}, "tiny-imagenet-loc": {"epochs": "20"}}  # what is set for the number of their photos
KINDS: Mapping[str, Mapping[str, str]] = {
    "as the recipe is": {},
    "a box for each class": {"boxes": "class"},
    "fully connected layers alone": {"trained": "head"},
    "Euclidean loss": {"box_loss": "euclidean"},
}
THREE_SIZES = (128, 160, 192)  # pixels, the shorter side
WAYS = {"center": ("center", ()), "dense": ("dense", ()), "dense at three sizes": ("dense", THREE_SIZES)}
QUICK = {
    "epochs": "1",
    "warmup_epochs": "0",
    "width": "0.0625",
    "input_size": "32",
    "test_resize": "32",
    "test_crop": "32",
}
QUICK_PHOTOS = {"train": 48, "val": 8}
DRAWS = 10_000  # of the bootstrap


@dataclass(frozen=True)
class Given:
    """What was asked for."""

    data: Path
    runs: Path
    results: Path
    seed: int
    is_quick: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--runs", type=Path, default=REPOSITORY.parent / "verydeep-runs" / "localization")
    parser.add_argument("--sets", default=",".join(SETS), help="separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)  # whether it works, in seconds
    asked = parser.parse_args()
    results = asked.runs / RESULTS.name if asked.quick else RESULTS
    given = Given(asked.data, asked.runs, results, asked.seed, asked.quick)
    for name in asked.sets.split(","):
        measure(given, name)


def measure(given: Given, name: str) -> None:
    """Everything of one set of photos."""
    data = some_photos(given, name) if given.is_quick else given.data / name
    splits = open_splits(data, given.seed, "table", task="localize")
    reports: dict[tuple[str, str], LocalizationReport] = {}
    for kind, fields in KINDS.items():
        folder = given.runs / f"{name}-{kind.replace(' ', '-')}-{given.seed}"
        train(given, folder, data, SETS[name] | fields)
        for way, (protocol, sizes) in WAYS.items():
            opened = open_model(folder, is_dense=protocol == "dense")
            scales = [size // 4 for size in sizes] if given.is_quick else sizes
            report = evaluate_localization([opened], splits.validation, protocol, scales=scales)
            reports[kind, way] = report
            append(given, name, f"{kind}, {way}", report, opened)
    append(given, name, "the best fixed box", fixed(splits.training, splits.validation), None)
    compare(given, name, reports)


def train(given: Given, folder: Path, data: Path, fields: Mapping[str, str]) -> None:
    """Begins a training, or goes on with it, unless it has ended."""
    if (folder / MODEL_FILE).exists():
        return
    chosen = {**fields, "seed": str(given.seed), **(QUICK if given.is_quick else {})}
    start = [] if given.is_quick else ["--from", START]  # whose weights fit one width
    if given.is_quick:
        chosen.pop("trained", None)
    new = [str(data), "--format", "table", "--recipe", "localize", *start, "--out", str(folder)]
    new += [f"--set={field}={value}" for field, value in chosen.items()]
    known = ["--resume", str(folder)]
    command = ["train", *(known if (folder / RECIPE_FILE).exists() else new)]
    subprocess.run([sys.executable, "-m", "verydeep", *command], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, our own command


def fixed(training: Dataset, validation: Dataset) -> LocalizationReport:
    """What the one box would reach that fits most of the photos to train on, in shares of a photo's sides."""
    assert isinstance(training.targets, BoxTargets)
    box, classes = best_fixed_box(training.targets.boxes), validation.classes
    protocol = f"one box for all photos, in shares of their sides, the best for those to train on; IoU over {OVERLAP}"
    return localize([fixed_finder(box, len(classes))], validation, classes, protocol=protocol)


def figures(report: LocalizationReport) -> Iterator[tuple[str, float, tuple[float, float]]]:
    """The names, values and intervals of what is told of a report."""
    shares = {
        "class and box, first answer": report.top1,
        "class and box, one of five answers (1 - the error of ILSVRC)": report.top5,
        "box, its class told": report.given_class,
    }
    for name, share in shares.items():
        yield name, share.successes / share.n, share.interval
    yield "mean IoU, the class told", report.mean_iou.value, report.mean_iou.interval


def append(given: Given, name: str, what: str, report: LocalizationReport, model: OpenedModel | None) -> None:
    for figure, value, (low, high) in figures(report):
        if model is None and "class told" not in figure:
            continue  # a box alone names no class
        row = result_row(
            model=model_label(model_path(model.path)) if model else "-",
            architecture=model.info.architecture.name if model else "-",
            engine=model.engine_name if model else "-",
            dtype="float32",
            threads=model.engine.threads if model else 1,
            batch=32,
            protocol=f"{figure}; {name}, {what}, seed {given.seed}: {report.protocol}",
            n=report.n,
            value=f"{value:.4f}",
            spread=f"{low:.4f}..{high:.4f}",
        )
        append_result(given.results, row)
        print(f"{name}, {what}: {figure} {row.value} ({row.spread}, n = {row.n})", flush=True)


def compare(given: Given, name: str, reports: Mapping[tuple[str, str], LocalizationReport]) -> None:
    """What each change is worth, photo by photo: boxes right with their class told, less those of the recipe."""
    base = reports["as the recipe is", "center"]
    pairs = {kind: reports[kind, "center"] for kind in list(KINDS)[1:]}
    pairs |= {way: reports["as the recipe is", way] for way in list(WAYS)[1:]}
    for what, report in pairs.items():
        each = (report.own_ious > OVERLAP).astype(float) - (base.own_ious > OVERLAP)
        drawn = np.random.default_rng(0).integers(0, len(each), (DRAWS, len(each)))
        low, high = np.quantile(each[drawn].mean(axis=1), [0.025, 0.975])
        row = result_row(
            architecture="-",
            engine="-",
            dtype="float32",
            threads=1,
            batch=32,
            protocol=f"box, its class told, of {what} less that of the recipe by center; {name}, seed {given.seed}; "
            f"interval over photos",
            n=len(each),
            value=f"{each.mean():.4f}",
            spread=f"{low:.4f}..{high:.4f}",
        )
        append_result(given.results, row)
        print(f"{row.protocol}: {row.value} ({row.spread}, n = {row.n})", flush=True)


def some_photos(given: Given, name: str) -> Path:
    """A copy of a few photos of all parts of the set, with their boxes."""
    folder = given.runs / f"{name}-some"
    shutil.rmtree(folder, ignore_errors=True)
    for side, count in QUICK_PHOTOS.items():
        with (given.data / name / f"boxes_{side}.csv").open(newline="") as file:
            header, *rows = csv.reader(file)
        chosen = [rows[place] for place in np.linspace(0, len(rows) - 1, count).astype(int)]
        for row in chosen:
            (folder / row[0]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(given.data / name / row[0], folder / row[0])
        with (folder / f"boxes_{side}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([header, *chosen])
    return folder


if __name__ == "__main__":
    main()
