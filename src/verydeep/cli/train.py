"""`verydeep train`: a folder of class folders becomes a model."""

import json
import shlex
import sys
from pathlib import Path

import click

from verydeep.errors import MissingExtraError, RecipeError, UsageError


@click.command()
@click.argument("data", required=False, type=click.Path(path_type=Path))
@click.option("--recipe", "recipe_name", default="modern", show_default=True, help="modern, paper or small.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run. [default: trained/DATA-RECIPE]")
@click.option("--resume", type=click.Path(path_type=Path), help="Go on with the run in this folder.")
@click.option(
    "--set", "settings", multiple=True, metavar="FIELD=VALUE", help="Change a field of the recipe; repeatable."
)
@click.option("--show-recipe", is_flag=True, help="Print every field of the recipe, and do nothing.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps.")
@click.option("--source", default="", help="Where the photos come from, for the model card.")
@click.option("--licence", default="", help="Under which terms the photos may be used, for the model card.")
@click.option("--json", "as_json", is_flag=True, help="Print the final validation as JSON.")
def train(
    data: Path | None,
    recipe_name: str,
    out: Path | None,
    resume: Path | None,
    settings: tuple[str, ...],
    show_recipe: bool,
    device: str,
    source: str,
    licence: str,
    as_json: bool,
) -> None:
    """Train a network on the photos in DATA: DATA/<class>/<photo>, or DATA/train/... and DATA/val/...

    The run's folder gets model.safetensors, its card README.md, recipe.json, metrics.jsonl and the state to resume
    from. Where there is no folder of validation photos, a fifth of each class is drawn for it.
    """
    try:
        import torch  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "training needs torch, which is not installed.", "pip install 'verydeep[train]'"
        ) from error
    from verydeep.data.datasets import open_splits
    from verydeep.recipes import load_recipe
    from verydeep.train.display import Display
    from verydeep.train.loop import train as run_training
    from verydeep.train.run import create_run, open_run

    if show_recipe:
        recipe = load_recipe(recipe_name).with_settings(_parse_settings(settings))
        click.echo(json.dumps(recipe.to_dict(), indent=2))
        return
    if resume is not None:
        if settings or out is not None:
            raise UsageError(
                "--resume goes on with the run as it was begun; --set and --out do not go with it.", "Leave them out."
            )
        run = open_run(resume)
        photos, validation = open_splits(data or run.data, run.recipe.seed)
    else:
        if data is None:
            raise UsageError("no folder of photos was given.", "verydeep train DATA, or verydeep train --resume RUN")
        recipe = load_recipe(recipe_name).with_settings(_parse_settings(settings))
        photos, validation = open_splits(data, recipe.seed)
        notes = {name: text for name, text in (("source", source), ("licence", licence)) if text}
        command = ("verydeep", *sys.argv[1:])
        run = create_run(out or Path("trained") / f"{data.resolve().name}-{recipe_name}", recipe, data, command, notes)

    display = Display()
    try:
        report = run_training(run, photos, validation, display, device)
    except KeyboardInterrupt:
        display.close()
        click.echo(f"stopped. Go on with: verydeep train --resume {shlex.quote(str(run.folder))}", err=True)
        raise
    finally:
        display.close()
    if as_json:
        click.echo(json.dumps(report.to_dict()))
        return
    low, high = report.top1.interval
    click.echo(
        f"top-1 {report.top1.value:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {report.n}; {report.protocol})"
    )
    click.echo(f"model: {run.folder / 'model.safetensors'}")


def _parse_settings(settings: tuple[str, ...]) -> dict[str, str]:
    """("epochs=3",) -> {"epochs": "3"}"""
    if bad := [text for text in settings if "=" not in text]:
        raise RecipeError(f"--set {bad[0]} is not FIELD=VALUE.", "Example: --set epochs=30")
    return dict(text.split("=", 1) for text in settings)
