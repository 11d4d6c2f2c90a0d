"""`verydeep train`: a folder of class folders becomes a model."""

import importlib.util
import json
import shlex
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from verydeep import machine
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
    from verydeep.evaluate import Report
    from verydeep.train.run import Run


@click.command(
    epilog="Examples: `verydeep train flowers`, `verydeep train flowers --set epochs=80 --out long`, "
    "`verydeep train --resume long`."
)
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--recipe", "recipe_name", metavar="NAME", help="modern, paper or small.  [modern]")
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
    recipe_name: str | None,
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

    The run's folder gets model.safetensors, its card README.md, report.html, recipe.json, metrics.jsonl and the state
    to resume from. Where there is no folder of validation photos, a fifth of each class is drawn for it. Ctrl-C saves a
    run and stops it; --resume goes on with it to the same weights, and takes DATA where the photos have moved.
    """
    started = time.monotonic()
    _require_extra()
    from verydeep.data.datasets import open_splits
    from verydeep.recipes import load_recipe
    from verydeep.runtime.torch_engine import find_device
    from verydeep.train.logs import check_names
    from verydeep.train.run import create_run

    fixed = (recipe_name, settings, out, source, licence, minutes, threads, is_planned, finds_rate)
    if resume is not None and any(fixed):
        raise UsageError(
            "--resume goes on as it was begun: DATA, --device, --log-to and --json go with it, and no other option.",
            "Leave the others out, or begin another run.",
        )
    _check_purpose(show_recipe, is_planned, finds_rate, minutes)
    run = _open_run(resume, data) if resume is not None else None
    recipe_name = recipe_name or "modern"
    recipe = run.recipe if run else load_recipe(recipe_name).with_settings(_parse_settings(settings))
    if show_recipe:
        click.echo(json.dumps(recipe.to_dict(), indent=2))
        return
    find_device(device)  # before a folder is made, as what follows
    check_names(logs)
    data = run.data if run else data
    if data is None:
        raise UsageError("no folder of photos was given.", "verydeep train DATA, or verydeep train --resume FOLDER")
    _set_threads(threads)
    splits = open_splits(data, recipe.seed)
    if finds_rate:
        show_rates(search_rate(recipe, splits, device), as_json)
        return
    if is_planned or minutes is not None:
        recipe, plan = make_plan(recipe, splits, device, minutes, started)
        if is_planned:
            show_plan(plan, as_json)
            return
    if run is None:
        out = out or Path("trained") / f"{data.resolve().name}-{recipe_name}"
        notes = {name: text for name, text in (("source", source), ("licence", licence)) if text}
        run = create_run(out, recipe, data, ("verydeep", *sys.argv[1:]), notes)
    report = _train(run, splits, device, logs)
    if as_json:
        click.echo(json.dumps(report.to_dict()))
    else:
        _print_result(run, report)


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


def _open_run(folder: Path, data: Path | None) -> "Run":
    """The run, with its photos where they are now."""
    from verydeep.train.run import open_run

    run = open_run(folder)
    if run.data is None:
        raise CheckpointError(
            f"{folder} was trained on a list of photos given in Python; no folder to resume from is known.",
            "Fit it again in a new folder.",
        )
    if data is not None:
        return replace(run, data=data)
    if not is_folder(run.data):
        raise DatasetError(
            f"the photos of this run were in {run.data}; there is no such folder now.",
            f"Say where they are: verydeep train DATA --resume {shlex.quote(str(folder))}",
        )
    return run


def _train(run: "Run", splits: "Splits", device: str, logs: tuple[str, ...]) -> "Report":
    """The training, its errors completed by how to go on."""
    from verydeep.train.display import Display
    from verydeep.train.loop import train as run_training

    go_on = f"verydeep train --resume {shlex.quote(str(run.folder))}"
    display = Display()
    try:
        return run_training(run, splits, display, device, logs)
    except InterruptedRun as error:
        error.hint = f"Go on with: {go_on}"
        raise
    except (StorageError, DeadProcessError) as error:
        raise type(error)(error.message, f"{error.hint} Then go on with: {go_on}") from error
    finally:
        display.close()


def _print_result(run: "Run", report: "Report") -> None:
    low, high = report.top1.interval
    click.echo(
        f"top-1 {report.top1.value:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {report.n}; {report.protocol})"
    )
    click.echo(f"model: {printable(str(run.folder / 'model.safetensors'))}")
    folder = printable(shlex.quote(str(run.folder)))
    click.echo(f"how it went, and how good it is: {printable(str(run.folder / 'report.html'))}", err=True)
    click.echo(f"use it: verydeep predict PHOTO --model {folder}", err=True)


def _parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """("epochs=3",) -> {"epochs": "3"}"""
    if bad := [text for text in settings if "=" not in text]:
        raise RecipeError(f"--set {bad[0]} is not FIELD=VALUE.", "Example: --set epochs=30")
    return dict(text.split("=", 1) for text in settings)
