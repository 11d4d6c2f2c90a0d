"""`verydeep train`: photos with their classes become a model."""

import importlib.util
import json
import os
import shlex
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verydeep import machine
from verydeep.cli.options import annotation_options
from verydeep.cli.train_plan import make_plan, search_rate, show_plan, show_rates
from verydeep.errors import (
    CheckpointError,
    DatasetError,
    DeadProcessError,
    InterruptedRun,
    MissingExtraError,
    RecipeError,
    StorageError,
    UsageError,
    printable,
)
from verydeep.files import is_folder

if TYPE_CHECKING:
    from verydeep.data.datasets import Splits
    from verydeep.train.held_out import HeldOut
    from verydeep.train.recipe import Recipe
    from verydeep.train.run import Run
    from verydeep.train.start import Start
    from verydeep.train.tasks import Validation


_MOST_MISSED = 20  # photos that are named


@click.command(
    epilog="Examples: `verydeep train flowers`, `verydeep train flowers --set epochs=80 --out long`, "
    "`verydeep train --resume long`, `verydeep train flowers --from imagenette`."
)
@click.argument("data", required=False, type=click.Path(path_type=Path))
@annotation_options
@click.option(
    "--recipe",
    "recipe_name",
    metavar="NAME",
    help="modern, paper, small, finetune, localize, segment or embed.  [modern; finetune with --from]",
)
@click.option(
    "--from", "model", metavar="MODEL", help="Begin from a trained model: built in, a file or a run's folder."
)
@click.option("--folds", metavar="K", type=click.IntRange(2, 100), help="Validate on every photo, in K trainings.")
@click.option("--out", metavar="FOLDER", type=click.Path(path_type=Path), help="Of the run.  [trained/DATA-RECIPE]")
@click.option("--resume", metavar="FOLDER", type=click.Path(path_type=Path), help="Go on with the run in FOLDER.")
@click.option("--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change the recipe; may be repeated.")
@click.option("--show-recipe", is_flag=True, help="Print every field of the recipe, and do nothing.")
@click.option("--minutes", metavar="N", type=click.FloatRange(0, 1e6, min_open=True), help="As many epochs as fit in.")
@click.option("--plan", "is_planned", is_flag=True, help="Say what it will take, from ten steps; do nothing else.")
@click.option("--find-lr", "finds_rate", is_flag=True, help="Find a learning rate in a hundred steps; do nothing else.")
@click.option("--device", metavar="NAME", default="auto", help="auto, cpu, cuda or mps.  [auto]")
@click.option("--threads", metavar="N", type=click.IntRange(1, 1024), help="Of the processor.  [one a core]")
@click.option("--log-to", "logs", multiple=True, metavar="NAME", help="tensorboard, wandb or mlflow; may be repeated.")
@click.option("--source", metavar="TEXT", help="Where the photos come from, for the model card.")
@click.option("--licence", metavar="TEXT", help="On what terms they may be used, for the model card.")
@click.option("--json", "as_json", is_flag=True, help="Print the final validation as JSON.")
def train(
    data: Path | None,
    wanted: str | None,
    root: Path | None,
    recipe_name: str | None,
    model: str | None,
    folds: int | None,
    out: Path | None,
    resume: Path | None,
    settings: tuple[str, ...],
    show_recipe: bool,
    minutes: float | None,
    is_planned: bool,
    finds_rate: bool,
    device: str,
    threads: int | None,
    logs: tuple[str, ...],
    source: str | None,
    licence: str | None,
    as_json: bool,
) -> None:
    """Train a network on the photos in DATA: DATA/<class>/<photo>, or DATA/train/... and DATA/val/...

    Or photos with annotations: CSV and other tables, Labelme, VOC, COCO, WebDataset. What is found is told; --format
    names another that is there. A photo's class is its label, or that of all objects in it.

    The run's folder gets model.safetensors, its card README.md, report.html, recipe.json, metrics.jsonl and the state
    to resume from. Where nothing says which photos validate, a fifth of each class is drawn for it. Ctrl-C saves a
    run and stops it; --resume goes on with it to the same weights, and takes DATA and --root where the photos have
    moved. --from fine-tunes a trained model: its network and its preprocessing are taken over, the head is new where
    the classes are others. --folds is for few photos: K models, each trained on all but a K-th and asked about that,
    say how good the one is that is trained on all of them, and kept.
    """
    started = time.monotonic()
    _require_extra()
    from verydeep.data.datasets import open_splits
    from verydeep.runtime.torch_engine import find_device
    from verydeep.train.folds import check_folds
    from verydeep.train.logs import check_names
    from verydeep.train.run import create_run

    chosen = (wanted, recipe_name, model, folds, settings, out, source, licence, minutes, threads)
    fixed = (*chosen, is_planned, finds_rate)
    if resume is not None and any(fixed):
        raise UsageError(
            "--resume goes on as it was begun: only DATA, --root, --device, --log-to and --json go with it.",
            "Leave the others out, or begin another run.",
        )
    _check_purpose(show_recipe, is_planned, finds_rate, minutes)
    _check_folds(folds, is_planned, finds_rate, minutes)
    run = _open_run(resume, data, root) if resume is not None else None
    recipe_name = recipe_name or ("finetune" if model else "modern")
    recipe, start = (run.recipe, run.start) if run else _choose_recipe(recipe_name, model, settings)
    if show_recipe:
        click.echo(json.dumps(recipe.to_dict(), indent=2))
        return
    find_device(device)  # before a folder is made, as what follows
    if folds:
        check_folds(recipe)
    check_names(logs)
    if run:
        data, wanted, root = run.data, run.format, run.root
    if data is None:
        raise UsageError("no folder of photos was given.", "verydeep train DATA, or verydeep train --resume FOLDER")
    _set_threads(threads)
    splits = open_splits(data, recipe.seed, wanted, root, lambda line: click.echo(line, err=True), task=recipe.task)
    if finds_rate:
        show_rates(search_rate(recipe, splits, device, start), as_json)
        return
    if is_planned or minutes is not None:
        recipe, plan = make_plan(recipe, splits, device, minutes, started, start)
        if is_planned:
            show_plan(plan, as_json)
            return
    if run is None:
        out = out or Path("trained") / f"{_name_of(data)}-{recipe_name}"
        notes = {name: text for name, text in (("source", source), ("licence", licence)) if text}
        command = ("verydeep", *sys.argv[1:])
        form = splits.training.format
        run = create_run(out, recipe, data, command, notes, format=form, root=root, start=start, folds=folds or 0)
    report, folds_found = _train(run, splits, device, logs)
    if as_json:
        shares = {"folds": [top1.to_dict() for top1 in folds_found.top1]} if folds_found else {}
        click.echo(json.dumps(report.to_dict() | shares))
        return
    _print_result(run, report)
    if folds_found:
        _print_folds(folds_found)


def _choose_recipe(name: str, model: str | None, settings: tuple[str, ...]) -> "tuple[Recipe, Start | None]":
    """The recipe of a new run, and the model that it begins from. Raises RecipeError and ModelFileError."""
    from verydeep.recipes import load_recipe
    from verydeep.train.start import begin_from, check_start, open_start

    fields = _parse_settings(settings)
    if model is None:
        recipe = load_recipe(name).with_settings(fields)
        check_start(recipe)
        return recipe, None
    recipe = load_recipe(name)
    start, info = open_start(model)
    return begin_from(recipe, info, recipe.parsed(fields)), start


def _check_purpose(show_recipe: bool, is_planned: bool, finds_rate: bool, minutes: float | None) -> None:
    """Raises UsageError on options that ask for two things at once."""
    purposes = {"--show-recipe": show_recipe, "--plan": is_planned, "--find-lr": finds_rate}
    asked = [name for name, is_asked in purposes.items() if is_asked]
    if len(asked) > 1:
        raise UsageError(
            f"{' and '.join(asked)} were given; expected one of them: each does one thing and nothing else.",
            "Run them one after the other.",
        )
    if minutes is not None and (finds_rate or show_recipe):
        raise UsageError(
            f"{asked[0]} and --minutes were given; expected one of them: minutes are for a training or its --plan.",
            f"Run {asked[0]} without --minutes, then the training with them.",
        )


def _check_folds(folds: int | None, is_planned: bool, finds_rate: bool, minutes: float | None) -> None:
    """Raises UsageError on options that are for a single training."""
    single = {"--plan": is_planned, "--find-lr": finds_rate, "--minutes": minutes is not None}
    if folds and (asked := [name for name, is_asked in single.items() if is_asked]):
        raise UsageError(
            f"--folds and {asked[0]} were given; expected one of them: {asked[0]} is about a single training.",
            f"Run {asked[0]} without --folds: with them it takes {folds + 1} times as long, at most.",
        )


def _set_threads(threads: int | None) -> None:
    """As many as were asked for, or one a core: torch itself does not know the quota of a container."""
    import torch

    torch.set_num_threads(threads or min(torch.get_num_threads(), machine.cores()))


def _require_extra() -> None:
    """What is needed at the end only is better missed now than after a night."""
    try:
        if importlib.util.find_spec("matplotlib") is None:
            raise ModuleNotFoundError(name="matplotlib")
        import verydeep.network  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"training needs {(error.name or 'torch').split('.')[0]}, which is not installed.",
            "pip install 'verydeep[train]'",
        ) from error


def _name_of(data: Path) -> str:
    """Of a folder, or of a file without its suffix."""
    path = data.resolve()
    return path.name if is_folder(path) else path.stem


def _open_run(folder: Path, data: Path | None, root: Path | None) -> "Run":
    """The run, with its photos where they are now."""
    from verydeep.train.run import open_run

    run = open_run(folder)
    if run.data is None:
        raise CheckpointError(
            f"{folder} was trained on a list of photos given in Python; no folder to resume from is known.",
            "Fit it again in a new folder.",
        )
    if data is None and not os.path.exists(run.data):  # noqa: PTH110, Path.exists raises where it may not be looked up
        raise DatasetError(
            f"the photos of this run were in {run.data}; there is no such folder now.",
            f"Say where they are: verydeep train DATA --resume {shlex.quote(str(folder))}",
        )
    return replace(run, data=data or run.data, root=root or run.root)


def _train(run: "Run", splits: "Splits", device: str, logs: tuple[str, ...]) -> "tuple[Validation, HeldOut | None]":
    """The training, its errors completed by how to go on; and what the folds found, where there are any."""
    from verydeep.train.display import Display
    from verydeep.train.folds import train_folds
    from verydeep.train.loop import train as run_training

    go_on = f"verydeep train --resume {shlex.quote(str(run.folder))}"
    display = Display()
    try:
        if run.folds:
            return train_folds(run, splits, Display, device, logs)
        return run_training(run, splits, display, device, logs), None
    except InterruptedRun as error:
        error.hint = f"Go on with: {go_on}"
        raise
    except (StorageError, DeadProcessError) as error:
        raise type(error)(error.message, f"{error.hint} Then go on with: {go_on}") from error
    finally:
        display.close()


def _print_result(run: "Run", report: "Validation") -> None:
    from verydeep.evaluate import Report
    from verydeep.train.card import uncalibrated, use

    click.echo(report.headline)
    if isinstance(report, Report) and not report.calibration.photos:
        click.echo(uncalibrated(report, has_folds=bool(run.folds)), err=True)
    click.echo(f"model: {printable(str(run.folder / 'model.safetensors'))}")
    folder = printable(shlex.quote(str(run.folder)))
    click.echo(f"how it went, and how good it is: {printable(str(run.folder / 'report.html'))}", err=True)
    click.echo(f"use it: {use(run.recipe.architecture(classes=2), folder)}", err=True)


def _print_folds(found: "HeldOut") -> None:
    """Each fold's share, and the photos that were missed, the surest mistakes first."""
    from verydeep.image.decode import name_of

    shares = [top1.value or 0.0 for top1 in found.top1]
    spread = f"; standard deviation {100 * statistics.stdev(shares):.1f} points"
    click.echo(f"of each fold: {', '.join(f'{share:.1%}' for share in shares)}{spread}")
    report = found.report
    said = report.posteriors.argmax(axis=1)
    missed = sorted((said != report.labels).nonzero()[0], key=lambda at: -report.posteriors[at].max())
    if missed:
        click.echo(f"missed, {len(missed)} photos of {report.n}:", err=True)
    for at in missed[:_MOST_MISSED]:
        path, taken_for = report.paths[at], report.classes[said[at]]
        name = printable("/".join(Path(name_of(path)).parts[-2:]))
        click.echo(f"  {name} taken for {printable(taken_for)}, {report.posteriors[at].max():.0%} sure", err=True)
    if len(missed) > _MOST_MISSED:
        click.echo("  ...: --json lists them all", err=True)


def _parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """("epochs=3",) -> {"epochs": "3"}"""
    if bad := [text for text in settings if "=" not in text]:
        raise RecipeError(f"--set {bad[0]} is not FIELD=VALUE.", "Example: --set epochs=30")
    return dict(text.split("=", 1) for text in settings)
