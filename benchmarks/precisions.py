"""What whole numbers cost in accuracy: each precision of the native engine beside float32, photo by photo.

    python benchmarks/precisions.py MODEL FOLDER...

Appends two rows for each precision to benchmarks/results/accuracy.csv: the share of photos that keep their class, and
how much top-1 changes, both over all photos of the folders (DATA/<class>/<photo>).
"""

import argparse
from pathlib import Path

import numpy as np

from verydeep.data.datasets import Dataset, open_folder
from verydeep.evaluate.metrics import paired_change, wilson_interval
from verydeep.evaluate.protocols import PROTOCOLS
from verydeep.evaluate.results import append_result, model_label, result_row
from verydeep.image.stream import batches, stream
from verydeep.runtime import open_model
from verydeep.runtime.open import OpenedModel

RESULTS = Path(__file__).parent / "results" / "accuracy.csv"
BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures what whole numbers cost in accuracy.")
    parser.add_argument("model")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--precisions", default="fast,int8")
    arguments = parser.parse_args()
    precisions = ["float32", *arguments.precisions.split(",")]
    models = [open_model(arguments.model, engine="native", precision=precision) for precision in precisions]
    sets = [open_folder(folder).relabeled(models[0].info.classes) for folder in arguments.folders]
    labels = np.concatenate([dataset.labels for dataset in sets])
    named = np.concatenate([classes_named(models, dataset) for dataset in sets], axis=1)
    data = " and ".join(str(Path(*folder.resolve().parts[-2:])) for folder in arguments.folders)
    for model, precision, row in zip(models[1:], precisions[1:], named[1:], strict=True):
        add_rows(model, precision, data, labels=labels, exact=named[0], rounded=row)


def classes_named(models: list[OpenedModel], dataset: Dataset) -> np.ndarray:
    """(models, photos): the class that each model names."""
    rows = []
    for batch in batches(stream(dataset.paths, models[0].info.preprocessing, ahead=2 * BATCH), BATCH):
        images = np.stack([image for _, image in batch if isinstance(image, np.ndarray)])
        if len(images) < len(batch):
            raise SystemExit("a photo cannot be read; `verydeep evaluate` says which.")
        rows.append([model.engine.run(images)["logits"].argmax(axis=1) for model in models])
    return np.concatenate(rows, axis=1)


def add_rows(
    model: OpenedModel, precision: str, data: str, *, labels: np.ndarray, exact: np.ndarray, rounded: np.ndarray
) -> None:
    n = len(labels)
    kept = int((exact == rounded).sum())
    change, of_change = paired_change(exact == labels, rounded == labels)
    protocol = f"{data}, {PROTOCOLS['center'].describe(model.info.preprocessing)}"
    for what, value, interval in (
        (f"top-1 agreement of {precision} with float32", kept / n, wilson_interval(kept, n)),
        (f"top-1 of {precision} less that of float32, paired", change, of_change),
    ):
        row = result_row(
            architecture=model.info.architecture.name,
            engine="native",
            dtype=precision,
            threads=model.engine.threads,
            batch=BATCH,
            model=model_label(model.path),
            protocol=f"{what}: {protocol}",
            n=n,
            value=f"{value:.5f}",
            spread=f"{interval[0]:.5f}..{interval[1]:.5f}",
        )
        append_result(RESULTS, row)
        print(f"{row.protocol}: {value:.2%} ({interval[0]:.2%} to {interval[1]:.2%}, n = {n})")


if __name__ == "__main__":
    main()
