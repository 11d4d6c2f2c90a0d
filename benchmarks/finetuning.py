"""What a trained start is worth for few photos: appends rows to benchmarks/results/finetuning.csv.

    python benchmarks/finetuning.py [--data DATA] [--runs FOLDER] [--seeds N] [--folds K]

Three trainings of the recipe `finetune` take part, on the same folds of all photos, with the same seeds: the head alone
of the built-in model, all its layers, and all layers of the same network from scratch. Each photo is asked about by
models that were not trained on it. Run again, it goes on where it was stopped: two hours and more on two cores.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from verydeep.evaluate.metrics import bootstrap_interval, paired_bootstrap
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.runtime import find_model
from verydeep.train.run import RECIPE_FILE
from verydeep.weights import read_info

REPOSITORY = Path(__file__).parents[1]
RESULTS = REPOSITORY / "benchmarks" / "results" / "finetuning.csv"
MODEL = "imagenette"
ALL_LAYERS = {"trained": "all", "epochs": "15", "learning_rate": "0.02"}
Right = np.ndarray  # (seeds, photos) bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data" / "hymenoptera")
    parser.add_argument("--runs", type=Path, default=REPOSITORY.parent / "verydeep-runs" / "finetuning")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--folds", type=int, default=5)
    given = parser.parse_args()
    info = read_info(find_model(MODEL))
    network = info.architecture
    scratch = {
        "configuration": network.configuration,
        "batch_norm": str(network.batch_norm).lower(),
        "width": f"{network.width:g}",
        "head": network.head,
        "input_size": str(network.input_size),
        "test_resize": str(info.preprocessing.resize),
        "test_crop": str(info.preprocessing.crop),
        "initialization": "identity",
        "whiten": "true",
        "layer_decay": "1",
        "learning_rate": "0.05",
    }
    kinds = {
        "head of imagenette": (["--from", MODEL], {}),
        "all layers of imagenette": (["--from", MODEL], ALL_LAYERS),
        "from scratch": (["--recipe", "finetune"], ALL_LAYERS | scratch),
    }
    right = {name: _right(given, name, *kind) for name, kind in kinds.items()}
    shares = {name: answers.mean(axis=0) for name, answers in right.items()}  # of the seeds, photo by photo
    for name, each in shares.items():
        _append(given, f"top-1, {name}", each.mean(), bootstrap_interval(each), len(each))
    for name in list(shares)[:2]:
        change = paired_bootstrap(shares["from scratch"], shares[name])
        _append(given, f"top-1 of {name} less that from scratch", *change, len(shares[name]))


def _right(given: argparse.Namespace, name: str, options: Sequence[str], settings: Mapping[str, str]) -> Right:
    """Whether each photo was recognised by the model of its fold, with each seed."""
    rows = []
    for seed in range(given.seeds):
        folder = given.runs / f"{name.replace(' ', '-')}-{seed}"
        answers = folder.with_suffix(".json")
        if not answers.exists():
            fields = [f"--set={field}={value}" for field, value in {**settings, "seed": str(seed)}.items()]
            new = [str(given.data), *options, *fields, "--folds", str(given.folds), "--out", str(folder)]
            known = ["--resume", str(folder)]
            command = ["train", *(known if (folder / RECIPE_FILE).exists() else new), "--json"]
            done = subprocess.run([sys.executable, "-m", "verydeep", *command], check=True, stdout=subprocess.PIPE)  # noqa: S603, our own command
            answers.write_bytes(done.stdout)
        photos = json.loads(answers.read_bytes())["photos"]
        photos.sort(key=lambda photo: photo["path"])
        rows.append([photo["predictions"][0]["label"] == photo["label"] for photo in photos])
        print(f"{name}, seed {seed}: top-1 {np.mean(rows[-1]):.1%} of {len(rows[-1])}", flush=True)
    return np.array(rows)


def _append(given: argparse.Namespace, what: str, value: float, interval: tuple[float, float], photos: int) -> None:
    path = find_model(MODEL)
    row = result_row(
        model=model_label(path),
        architecture=read_info(path).architecture.name,
        engine="torch",
        dtype="float32",
        threads=2,
        batch=32,
        protocol=f"{what}; {given.data.name}, {given.folds} folds, mean of {given.seeds} seeds; interval over photos",
        n=photos,
        value=f"{value:.4f}",
        spread=f"{interval[0]:.4f}..{interval[1]:.4f}",
    )
    append_result(RESULTS, row)
    print(f"{row.protocol}: {row.value} ({row.spread}, n = {row.n})")


if __name__ == "__main__":
    main()
