"""What the choices of localisation are worth: appends rows to benchmarks/results/localization.csv.

    python benchmarks/localization.py [--data FOLDER] [--runs FOLDER] [--sets NAMES] [--seeds N]

On each set of photos with a box each, the recipe `localize` is trained as it is, and with something changed
(`KINDS`): a box for each class (the paper's PCR beside its SCR), the fully connected layers alone with either, other
losses. Each model is asked as `predict` asks it and by the dense protocol at one and at three sizes, and the one with a
single box and the one with a box for each class are asked together: the rows of the paper's Tables 8 and 9. Beside them
stands the best single box for all photos. Intervals are of the photos, the seeds averaged.
Run again, it goes on where it was stopped: nothing is trained, asked or written down twice. A training that fails is
told at the end, with exit status 1. Hours on two cores.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from verydeep.data.datasets import Dataset, Splits, open_splits
from verydeep.data.picture_targets import BoxTargets
from verydeep.evaluate.fixed_box import best_fixed_box, fixed_finder
from verydeep.evaluate.localization import describe_protocol, evaluate_localization, localize
from verydeep.evaluate.localization_report import OVERLAP, LocalizationReport
from verydeep.evaluate.metrics import bootstrap_interval, paired_bootstrap
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.files import atomic_write
from verydeep.runtime import OpenedModel, open_model
from verydeep.train.run import RECIPE_FILE
from verydeep.weights.files import MODEL_FILE, model_path

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results" / "localization.csv"
START = "imagenette"
SMALL = {"input_size": "128", "test_resize": "128", "test_crop": "128"}  # twice the side of tiny-imagenet's photos
SETS: Mapping[str, Mapping[str, str]] = {  # what is set for the number and the size of their photos
    "cub-birds-loc": {},
    "tiny-imagenet-loc": {"epochs": "20", **SMALL},
}
RECIPE, CLASS_BOXES = "as the recipe is", "a box for each class"
HEAD, HEAD_CLASS_BOXES = "fully connected layers alone", "fully connected layers alone, a box for each class"
KINDS: Mapping[str, Mapping[str, str]] = {
    RECIPE: {},
    CLASS_BOXES: {"boxes": "class"},
    HEAD: {"trained": "head"},
    HEAD_CLASS_BOXES: {"trained": "head", "boxes": "class"},
    # Weights that pull as the recipe's 5 does with l1, where a box with sides of 0.6 lies 0.1 beside the true one: the
    # derivative of l1 is 1 there, that of the square 2 * 0.1, and that of giou 2 * 0.6 / (0.6 + 0.1)^2 = 2.4.
    "Euclidean loss": {"box_loss": "euclidean", "box_weight": "25"},
    "GIoU loss": {"box_loss": "giou", "box_weight": "2"},
}
# By name the protocol, and the sizes: by how many strides of the network they are above its crop.
WAYS = {"center": ("center", ()), "dense": ("dense", (1,)), "dense at three sizes": ("dense", (0, 1, 2))}
FUSED = "one box and a box for each class, fused"  # of the trainings `RECIPE` and `CLASS_BOXES`, by "dense"
FIXED = "the best fixed box"
BOX = "box, its class told"
Row = tuple[str, str]  # a kind, `FUSED` or `FIXED`, and how it was asked
# Whose boxes are compared, photo by photo.
PAIRS: Sequence[tuple[Row, Row]] = [
    ((RECIPE, "center"), (FIXED, "")),
    *(((kind, "center"), (RECIPE, "center")) for kind in KINDS if kind != RECIPE),
    ((HEAD_CLASS_BOXES, "center"), (HEAD, "center")),
    *(((RECIPE, way), (RECIPE, "center")) for way in WAYS if way != "center"),
    ((FUSED, "dense"), (RECIPE, "dense")),
]
QUICK = {"epochs": "1", "warmup_epochs": "0", "width": "0.0625"}
QUICK |= {"input_size": "32", "test_resize": "32", "test_crop": "32"}
QUICK_PHOTOS = {"train": 48, "val": 8}


@dataclass(frozen=True)
class Given:
    """What was asked for."""

    data: Path
    runs: Path
    results: Path
    seeds: int
    is_quick: bool

    @property
    def seeds_in_words(self) -> str:
        return "seed 0" if self.seeds == 1 else f"mean of {self.seeds} seeds"


@dataclass(frozen=True)
class Answers:
    """What a model, or several together, say of the photos: each figure photo by photo."""

    protocol: str
    model: str  # of the column of the results
    architecture: str
    engine: str
    threads: int
    figures: dict[str, list[float]]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--runs", type=Path, default=REPOSITORY.parent / "verydeep-runs" / "localization")
    parser.add_argument("--sets", default=",".join(SETS), help="separated by commas")
    parser.add_argument("--seeds", type=int, default=1, help="of each training, counted from 0")
    parser.add_argument("--quick", action="store_true", help=argparse.SUPPRESS)  # whether it works, in seconds
    asked = parser.parse_args(arguments)
    names = asked.sets.split(",")
    if unknown := [name for name in names if name not in SETS]:
        parser.error(f"no set {unknown[0]!r}; there are {', '.join(SETS)}")
    if asked.seeds < 1:
        parser.error(f"--seeds {asked.seeds}; expected 1 or more")
    results = asked.runs / RESULTS.name if asked.quick else RESULTS
    given = Given(asked.data, asked.runs, results, asked.seeds, asked.quick)
    failed = [told for name in names for told in measure(given, name)]
    for told in failed:
        print(f"error: {told}", file=sys.stderr)
    return 1 if failed else 0


def measure(given: Given, name: str) -> list[str]:
    """Everything of one set of photos, but what stands on a training that failed; these are told."""
    data = some_photos(given, name) if given.is_quick else given.data / name
    splits = open_splits(data, 0, "table", task="localize")
    assert not splits.is_drawn, f"the photos to validate on are not the same for all seeds in {data}"
    failed: list[str] = []
    asked: dict[Row, list[Answers]] = {}  # for each seed

    def add(row: Row, answers: list[Answers]) -> None:
        asked[row] = answers
        append(given, name, row, answers)

    add((FIXED, ""), [ask_fixed(splits)])
    runs: dict[str, list[Path]] = {}  # of the kinds whose trainings all ended well
    for kind, fields in KINDS.items():
        stem = f"{name}-{kind.replace(',', '').replace(' ', '-')}"
        folders = [given.runs / f"{stem}-{seed}" for seed in range(given.seeds)]
        before = len(failed)
        for seed, folder in enumerate(folders):
            try:
                train(given, folder, data, {**SETS[name], **fields, "seed": str(seed)})
            except subprocess.CalledProcessError as error:
                failed.append(f"{name}, {kind}, seed {seed}: the training ended with exit status {error.returncode}")
        if len(failed) == before:
            runs[kind] = folders
            for way in WAYS:
                add((kind, way), [ask([folder], way, splits.validation) for folder in folders])
    if RECIPE in runs and CLASS_BOXES in runs:
        pairs = zip(runs[RECIPE], runs[CLASS_BOXES], strict=True)
        add((FUSED, "dense"), [ask(pair, "dense", splits.validation) for pair in pairs])
    for row, base in PAIRS:
        if row in asked and base in asked:
            compare(given, name, row, base, asked)
    return failed


def train(given: Given, folder: Path, data: Path, fields: Mapping[str, str]) -> None:
    """Begins a training, or goes on with it, unless it has ended. Raises CalledProcessError where it fails."""
    if (folder / MODEL_FILE).exists():
        return
    chosen = {**fields, **(QUICK if given.is_quick else {})}
    start = [] if given.is_quick else ["--from", START]  # whose weights fit one width
    if given.is_quick:
        chosen.pop("trained", None)
    new = [str(data), "--format", "table", "--recipe", "localize", *start, "--out", str(folder)]
    new += [f"--set={field}={value}" for field, value in chosen.items()]
    known = ["--resume", str(folder)]
    command = ["train", *(known if (folder / RECIPE_FILE).exists() else new)]
    subprocess.run([sys.executable, "-m", "verydeep", *command], check=True, stdout=subprocess.DEVNULL)  # noqa: S603, our own command


def ask(folders: Sequence[Path], way: str, photos: Dataset) -> Answers:
    """What the models of these runs say together; what they said before is read, so long as nothing has changed."""
    protocol, strides = WAYS[way]
    opened = [open_model(folder, is_dense=protocol == "dense") for folder in folders]
    scales = [opened[0].info.preprocessing.crop + opened[0].info.architecture.stride * above for above in strides]
    described, model = describe_protocol(opened, protocol, scales), labels(opened)
    kept = folders[0] / f"{way.replace(' ', '-')}-of-{len(folders)}.json"
    if kept.exists():
        known = Answers(**json.loads(kept.read_text(encoding="utf-8")))
        if (known.protocol, known.model) == (described, model):
            return known
    report = evaluate_localization(opened, photos, protocol, scales=scales)
    first = opened[0]
    names = " + ".join(dict.fromkeys(one.info.architecture.name for one in opened))
    found = Answers(described, model, names, first.engine_name, first.engine.threads, figures(report))
    atomic_write(kept, json.dumps(asdict(found)))
    return found


def ask_fixed(splits: Splits) -> Answers:
    """What the one box would reach that fits most of the photos to train on, in shares of a photo's sides."""
    assert isinstance(splits.training.targets, BoxTargets)
    box, classes = best_fixed_box(splits.training.targets.boxes), splits.validation.classes
    report = localize([fixed_finder(box, len(classes))], splits.validation, classes)
    of_boxes = {figure: values for figure, values in figures(report).items() if "class told" in figure}
    protocol = f"one box for all photos, in shares of their sides, the best for those to train on; IoU over {OVERLAP}"
    return Answers(protocol, "-", "-", "-", 1, of_boxes)


def figures(report: LocalizationReport) -> dict[str, list[float]]:
    """What is told of a report, photo by photo."""
    found = {
        "class and box, first answer": report.is_right[:, 0],
        "class and box, one of five answers (1 - the error of ILSVRC)": report.is_right.any(axis=1),
        BOX: report.own_ious > OVERLAP,
        "mean IoU, the class told": report.own_ious,
    }
    return {figure: values.astype(float).tolist() for figure, values in found.items()}


def labels(opened: Sequence[OpenedModel]) -> str:
    return " + ".join(model_label(model_path(one.path)) for one in opened)


def append(given: Given, name: str, row: Row, asked: Sequence[Answers]) -> None:
    """Rows of each figure. asked: for each seed."""
    for figure in asked[0].figures:
        values = averaged(asked, figure)
        what = f"{figure}; {set_in_words(given, name)}, {row_in_words(row)}: {asked[0].protocol}"
        write(given, what, models_of(asked), asked[0], values.mean(), bootstrap_interval(values), len(values))


def compare(given: Given, name: str, row: Row, base: Row, asked: Mapping[Row, Sequence[Answers]]) -> None:
    """A row of what a change is worth, photo by photo: boxes right with their class told, less those without it."""
    after, before = averaged(asked[row], BOX), averaged(asked[base], BOX)
    what = f"{BOX}, of {row_in_words(row)} less that of {row_in_words(base)}; {set_in_words(given, name)}"
    models = f"{models_of(asked[row])} less {models_of(asked[base])}"
    write(given, f"{what}; interval over photos", models, asked[row][0], *paired_bootstrap(before, after), len(after))


def models_of(asked: Sequence[Answers]) -> str:
    """Of all seeds."""
    return ", ".join(dict.fromkeys(one.model for one in asked))


def averaged(asked: Sequence[Answers], figure: str) -> np.ndarray:
    """A figure of each photo, the mean over the seeds: (photos,)."""
    mean: np.ndarray = np.mean([each.figures[figure] for each in asked], axis=0)
    return mean


def set_in_words(given: Given, name: str) -> str:
    return f"{name}{fields_in_words(SETS[name])}, {given.seeds_in_words}"


def row_in_words(row: Row) -> str:
    kind, way = row
    return kind + fields_in_words(KINDS.get(kind, {})) + (f", {way}" if way else "")


def fields_in_words(fields: Mapping[str, str]) -> str:
    """ " (box_loss=euclidean, box_weight=25)" """
    return f" ({', '.join(f'{field}={value}' for field, value in fields.items())})" if fields else ""


def write(  # noqa: PLR0917, all of a row
    given: Given, what: str, models: str, asked: Answers, value: float, interval: tuple[float, float], n: int
) -> None:
    """Appends a row, unless there is one of the same models by the same protocol."""
    if (models, what) in known_rows(given.results):
        return
    low, high = interval
    row = result_row(
        model=models,
        architecture=asked.architecture,
        engine=asked.engine,
        dtype="float32",
        threads=asked.threads,
        batch=32,
        protocol=what,
        n=n,
        value=f"{value:.4f}",
        spread=f"{low:.4f}..{high:.4f}",
    )
    append_result(given.results, row)
    print(f"{what}: {row.value} ({row.spread}, n = {row.n})", flush=True)


def known_rows(results: Path) -> set[tuple[str, str]]:
    """The models and the protocols of a file of results."""
    if not results.exists():
        return set()
    with results.open(encoding="utf-8", newline="") as file:
        return {(row["model"], row["protocol"]) for row in csv.DictReader(file)}


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
    sys.exit(main())
