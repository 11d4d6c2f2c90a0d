"""The end of a run: the weights become a model file, calibrated and evaluated, with its card beside it."""

import json
import shlex
import time
from collections.abc import Callable

import numpy as np

import verydeep
from verydeep import machine
from verydeep.data.datasets import Dataset, Splits, inputs_of_some
from verydeep.errors import ModelFileError
from verydeep.files import atomic_write
from verydeep.nouns import Weights
from verydeep.runtime.ranges import measure_ranges
from verydeep.runtime.torch_engine import TorchEngine
from verydeep.train.card import model_card
from verydeep.train.checkpoint import Progress
from verydeep.train.inputs import KeptInputs
from verydeep.train.learning_curve import CURVE_FILE, LearningCurve
from verydeep.train.recipe import Recipe
from verydeep.train.report import write_report
from verydeep.train.run import RECIPE_FILE, Run
from verydeep.train.tasks import Validation, task_of
from verydeep.weights import ModelInfo, write_model
from verydeep.weights.files import MODEL_FILE

CARD_FILE = "README.md"
PHOTOS_FOR_RANGES = 16


def validate(
    recipe: Recipe,
    weights: Weights,
    photos: Dataset,
    device: str,
    *,
    inputs: KeptInputs | None = None,
    in_full: bool = False,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> Validation:
    """What `verydeep evaluate` would say of these weights: the same engine, preprocessing and protocol.

    in_full: with every figure; otherwise with those that an epoch needs, its loss and its score among them.
    """
    architecture = recipe.architecture(len(photos.classes))
    engine = TorchEngine(architecture, weights, device=device)
    info = ModelInfo(architecture, photos.classes, recipe.preprocessing)
    task = task_of(recipe)
    validation: Validation = task.validate(
        engine, info, photos, inputs=inputs, in_full=in_full, on_progress=on_progress
    )
    return validation


def finish(
    run: Run,
    weights: Weights,
    splits: Splits,
    progress: Progress,
    device: str,
    *,
    curve: LearningCurve | None = None,
    validation: Validation | None = None,
    inputs: KeptInputs | None = None,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> Validation:
    """Writes the model, its card and its report; returns the validation of the very numbers that are in the file.

    curve: what fewer photos would have taught it. validation: that of the folds, where `splits` has no photos for one.
    Raises StorageError, and ModelFileError where a weight does not fit the recipe's `save_as`.
    """
    recipe, classes = run.recipe, splits.training.classes
    kept = _as_saved(run, weights)
    if validation is None:
        validation = validate(
            recipe, kept, splits.validation, device, inputs=inputs, in_full=True, on_progress=on_progress
        )
    task = task_of(recipe)
    report: Validation = task.calibrated(validation)
    origin = {
        "program": f"verydeep {verydeep.__version__}, {machine.commit()}",
        "command": shlex.join(run.command),
        "date": time.strftime("%Y-%m-%d"),
        "data": run.data.resolve().name if run.data else "a list of photos",
        **run.notes,
        **({"start": run.start.origin_of_made} if run.start else {}),
        "photos": len(splits.training),
        **({"folds": run.folds} if run.folds else {}),
        "drawn_validation_seed": recipe.seed if splits.is_drawn else None,
        "validation": report.summary(),
        "precision": progress.precision,
        "machine": f"{machine.processor()}, {machine.cores()} cores, {device}",
        "versions": machine.versions("torch", "numpy", "pillow"),
        "recipe": recipe.to_dict(),
    }
    ranges = _ranges(recipe, kept, splits.validation if len(splits.validation) else splits.training, device)
    architecture = recipe.architecture(len(classes))
    info = ModelInfo(architecture, classes, recipe.preprocessing, report.calibration, origin, ranges)
    write_model(run.folder / MODEL_FILE, info, kept, recipe.save_as)
    atomic_write(run.folder / CARD_FILE, model_card(info, report, recipe, run.metrics(), task.card(info, report)))
    notes = [f"left out: {message}" for message in progress.unreadable.values()]
    if progress.rollbacks:
        notes.append(f"went back to a saved state {progress.rollbacks} times, at half the learning rate each time")
    if curve:
        atomic_write(run.folder / CURVE_FILE, json.dumps(curve.to_dict(), indent=2) + "\n")
    write_report(run.folder, info, report, recipe, metrics=run.metrics(), weights=kept, curve=curve, notes=notes)
    return report


def _ranges(recipe: Recipe, weights: Weights, photos: Dataset, device: str) -> dict[str, tuple[float, ...]]:
    """What the precisions `fast` and `int8` have to know, from some of the photos."""
    architecture = recipe.architecture(len(photos.classes))
    engine = TorchEngine(architecture, weights, device=device)
    return measure_ranges(architecture, engine, inputs_of_some(photos, recipe.preprocessing, PHOTOS_FOR_RANGES))


def _as_saved(run: Run, weights: Weights) -> Weights:
    """The numbers that the file will hold, as float32. Raises ModelFileError where one is too large for `save_as`."""
    with np.errstate(over="ignore"):  # told below, by name
        kept = {name: array.astype(run.recipe.save_as).astype(np.float32) for name, array in weights.items()}
    if too_large := [name for name, array in kept.items() if not np.isfinite(array).all()]:
        raise ModelFileError(
            f"{too_large[0]} holds a number too large for {run.recipe.save_as}.",
            f'Write "save_as": "float32" into {run.folder / RECIPE_FILE}, and resume the run.',
        )
    return kept
