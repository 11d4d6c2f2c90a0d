"""Cross-validation for a set so small that photos to validate on are missed in training.

The photos are dealt into folds. For each a model is trained on the others, and asked about the photos of the fold: so
every photo is validated on once. The model that is kept is trained on all photos by the same recipe; its accuracy and
its calibration are those of the folds' answers. docs/decisions/0011-cross-validation.md says why.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from verydeep.data.datasets import Dataset, Splits, draw, file_name
from verydeep.errors import DatasetError, UsageError
from verydeep.evaluate import Report
from verydeep.files import remove_unfinished, sole_use
from verydeep.runtime.torch_engine import find_device
from verydeep.train.checkpoint import load_state, save_state, state_files
from verydeep.train.display import Display
from verydeep.train.features import Features, open_features, views_layer
from verydeep.train.held_out import HeldOut, pooled
from verydeep.train.learning_curve import CURVE_FILE, LearningCurve
from verydeep.train.loop import begin, train
from verydeep.train.recipe import Recipe
from verydeep.train.run import RECIPE_FILE, Run, create_run, open_run
from verydeep.train.tasks import Validation

FOLDS_FOLDER = "folds"
SHARED_BYTES = 256 << 20  # of features: more are made anew in each fold, not copied for it


def train_folds(
    run: Run,
    splits: Splits,
    make_display: Callable[[], Display],
    device: str = "auto",
    logs: Sequence[str] | None = None,
) -> tuple[Report, HeldOut]:
    """Trains the models of `run.folds` folds and the one that is kept, from where the run's folder stands.

    splits: its photos to validate on are dealt with the others. Raises as `loop.train`, and DatasetError where a class
    has one photo only.
    """
    photos = everything(splits)
    with _sole_use(run):
        found = _ask(run, photos, make_display, device)
        display = make_display()
        display.note(f"the model to keep, trained on all {len(photos)} photos")
        try:
            whole = Splits(photos, photos.take([]), is_drawn=False)
            return _report(train(run, whole, display, device, logs, held_out=found)), found
        finally:
            display.close()


def ask_folds(run: Run, splits: Splits, make_display: Callable[[], Display], device: str = "auto") -> HeldOut:
    """The same without the model that is kept: what the models of the folds say, each of the photos of its fold."""
    with _sole_use(run):
        return _ask(run, everything(splits), make_display, device)


def _sole_use(run: Run) -> AbstractContextManager[None]:
    return sole_use(run.folder / FOLDS_FOLDER / "lock", f"the run in {run.folder}")


def _ask(run: Run, photos: Dataset, make_display: Callable[[], Display], device: str) -> HeldOut:
    positions = deal(photos, run.folds, run.recipe.seed)
    recipe, shared = _prepare(run, Splits(photos, photos.take([]), is_drawn=False), device, make_display)
    reports, metrics, curves = [], [], []
    for number, held_out in enumerate(positions):
        others = np.setdiff1d(np.arange(len(photos)), held_out)
        of_fold = Splits(photos.take(others.tolist()), photos.take(held_out.tolist()), is_drawn=False)
        one = _fold(run, recipe, number)
        display = make_display()
        display.note(f"fold {number + 1} of {run.folds}")
        try:
            reports.append(_report(train(one, of_fold, display, device, features=shared and shared.take(others))))
        finally:
            display.close()
        metrics.append(one.metrics())
        curves.append(_curve(one))
    return pooled(reports, metrics, curves)


def check_folds(recipe: Recipe) -> None:
    """Raises UsageError on what asks the last model for a validation of its own, and on other tasks than classes."""
    if recipe.task != "classify":
        raise UsageError(
            f"--folds is for classifiers; this recipe's network is to {recipe.task}.",
            "Train without --folds: a fifth of the photos validates.",
        )
    if recipe.early_stopping or recipe.schedule == "plateau":
        asked = "early_stopping" if recipe.early_stopping else "schedule=plateau"
        raise UsageError(
            f"{asked} looks at photos that are not trained on; with --folds none are left for the last model.",
            "Set early_stopping=none and schedule=cosine, or train without --folds.",
        )


def everything(splits: Splits) -> Dataset:
    """All photos, those to train on first."""
    training, validation = splits.training, splits.validation
    return Dataset(training.classes, training.paths + validation.paths, training.labels + validation.labels)


def deal(photos: Dataset, folds: int, seed: int) -> list[np.ndarray]:
    """The positions of the photos of each fold, sorted; of each class every fold has as many, but for one.

    Where a photo goes follows from the seed, its class and its name. Raises DatasetError where a class has one photo.
    """
    dealt: list[list[int]] = [[] for _ in range(folds)]
    card = 0
    for label, name in enumerate(photos.classes):
        own = [position for position, found in enumerate(photos.labels) if found == label]
        if len(own) < 2:
            raise DatasetError(
                f"class {name!r} has {len(own)} photo; expected two or more, to train on one and to ask about another.",
                "Add photos of it.",
            )
        for position in sorted(own, key=lambda at: draw(f"{seed}/{name}/{file_name(photos.paths[at])}")):
            dealt[card % folds].append(position)
            card += 1
    if not all(dealt):
        raise DatasetError(f"{len(photos)} photos make no {folds} folds.", "Take fewer folds.")
    return [np.array(sorted(fold)) for fold in dealt]


def _prepare(
    run: Run, whole: Splits, device_name: str, make_display: Callable[[], Display]
) -> tuple[Recipe, Features | None]:
    """The recipe with the precision that was chosen for the run, and the features of all photos where they are small.

    The run's state is saved first: what was chosen holds from now on.
    """
    recipe, device = run.recipe, find_device(device_name)
    with run.sole_use():
        is_new = not state_files(run.folder)
        state = begin(recipe, whole, device, run.start if is_new else None)
        load_state(run.folder, state, whole)
        if is_new:
            save_state(run.folder, state)
    chosen = recipe.with_fields({"precision": state.progress.precision})
    layer = views_layer(recipe, state.network.architecture, len(whole.training), recipe.stages[-1])
    if layer is None or len(recipe.stages) > 1:
        return chosen, None
    display = make_display()
    try:
        features = open_features(
            run.folder,
            state.network,
            layer,
            whole.training,
            recipe,
            precision=state.progress.precision,
            begun_from=run.start.sha256 if run.start else f"seed {recipe.seed}",
            progress=lambda done, total: display.reading(done, total, "computing the features"),
        )
    finally:
        display.close()
    return chosen, features if features and features.values.nbytes <= SHARED_BYTES else None


def _report(validation: Validation) -> Report:
    assert isinstance(validation, Report)  # check_folds has looked
    return validation


def _fold(run: Run, recipe: Recipe, number: int) -> Run:
    folder = run.folder / FOLDS_FOLDER / str(number + 1)
    if (folder / RECIPE_FILE).exists():
        return replace(open_run(folder), data=run.data)
    remove_unfinished(folder)
    return create_run(
        folder, recipe, run.data, run.command, run.notes, format=run.format, root=run.root, start=run.start
    )


def _curve(run: Run) -> LearningCurve | None:
    path = run.folder / CURVE_FILE
    return LearningCurve.from_dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None
