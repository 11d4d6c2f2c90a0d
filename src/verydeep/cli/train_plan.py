"""`verydeep train --plan`, `--minutes` and `--find-lr`: what is measured before a training starts."""

import json
import time
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from verydeep.data.datasets import Splits
    from verydeep.train.find_rate import RateSearch
    from verydeep.train.plan import Pace, Plan, ViewPace
    from verydeep.train.recipe import Recipe
    from verydeep.train.start import Start

_ROWS = 16  # of the table of learning rates
_BAR = 30  # characters


def make_plan(
    recipe: "Recipe",
    splits: "Splits",
    device: str,
    minutes: float | None,
    started: float,
    start: "Start | None" = None,
) -> tuple["Recipe", "Plan"]:
    """The recipe, its epochs fitted into the minutes where they are given, and what it will take.

    started: when the minutes began, by time.monotonic. start: the model that the run begins from. Raises UsageError
    where the minutes hold not one epoch.
    """
    from verydeep.data.loader import dead_process_as_training_error
    from verydeep.runtime.torch_engine import find_device
    from verydeep.train.display import Display
    from verydeep.train.loop import begin, open_training_cache
    from verydeep.train.plan import fit_into, measure

    display = Display()
    state = begin(recipe, splits, find_device(device), start)
    cache = open_training_cache(recipe, splits, display)
    with dead_process_as_training_error():
        plan = measure(recipe, splits, state, cache)
    if minutes is None:
        return recipe, plan
    recipe = fit_into(recipe, plan, minutes - (time.monotonic() - started) / 60)
    display.note(f"{recipe.epochs} epochs fit into {minutes:g} minutes")
    return recipe, plan.of(recipe, state.network.architecture)


def search_rate(recipe: "Recipe", splits: "Splits", device: str, start: "Start | None" = None) -> "RateSearch":
    """Raises TrainingError where no learning rate makes the loss fall."""
    from verydeep.data.loader import dead_process_as_training_error
    from verydeep.runtime.torch_engine import find_device
    from verydeep.train.display import Display
    from verydeep.train.find_rate import find_rate
    from verydeep.train.loop import begin, open_training_cache

    display = Display()
    cache = open_training_cache(recipe, splits, display)
    display.note("training for a hundred steps, the learning rate rising from step to step")
    with dead_process_as_training_error():
        return find_rate(recipe, splits, begin(recipe, splits, find_device(device), start), cache)


def show_plan(plan: "Plan", as_json: bool) -> None:
    """On stdout."""
    if as_json:
        click.echo(json.dumps(plan.to_dict()))
        return
    free = "" if plan.free_bytes is None else f"; {_gib(plan.free_bytes)} can be had"
    rows = {
        "photos": f"{plan.photos:,} an epoch, {len(plan.sizes) + sum(pace.epochs for pace in plan.views)} epochs",
        **{f"from {pace.layer}": _describe_views(pace) for pace in plan.views},
        **{f"at {pace.size} px": _describe(pace, plan) for pace in plan.paces if plan.sizes},
        "in all": f"{_duration(plan.total_seconds)}, {_tera(plan.total_macs)} multiply-adds in {plan.precision}",
        "memory": f"{_gib(plan.memory_bytes)} a step, {plan.micro_batch} photos at once{free}",
        "disk": f"{_gib(plan.checkpoints * plan.checkpoint_bytes)} for its state, kept {_times(plan.checkpoints)}",
    }
    for name, text in rows.items():
        click.echo(f"{name:12}{text}")


def show_rates(search: "RateSearch", as_json: bool) -> None:
    """On stdout: the loss at some of the rates, and the suggestion."""
    if as_json:
        click.echo(json.dumps(search.to_dict()))
        return
    lowest, highest = min(search.losses), max(search.losses)
    click.echo("learning rate    loss")
    for position in range(0, len(search.rates), max(1, len(search.rates) // _ROWS)):
        rate, loss = search.rates[position], search.losses[position]
        bar = "#" * round(_BAR * (loss - lowest) / max(1e-9, highest - lowest))
        click.echo(f"{rate:13.2g}   {loss:5.3f}  {bar}".rstrip())
    click.echo(f"take --set learning_rate={search.suggestion:g}")


def _describe(pace: "Pace", plan: "Plan") -> str:
    """26 epochs of 110 s, 86 photos a second, 1% of the time waiting for them; 5 s of validation after each"""
    epochs = plan.sizes.count(pace.size)
    return (
        f"{epochs} epoch{'' if epochs == 1 else 's'} of {_duration(plan.epoch_seconds(pace))}, "
        f"{pace.photos_per_second:.0f} photos a second, {pace.waiting_share:.0%} of the time waiting for them; "
        f"{_duration(pace.validation_seconds)} of validation after each"
    )


def _describe_views(pace: "ViewPace") -> str:
    """60 epochs of 0.0213 s on the features of 8 pictures of each photo, which take 12.1 s once"""
    return (
        f"{pace.epochs} epoch{'' if pace.epochs == 1 else 's'} of {_duration(pace.epoch_seconds)} on the features of "
        f"{pace.views} pictures of each photo, which take {_duration(pace.making_seconds)} once"
    )


def _times(count: int) -> str:
    return "twice" if count == 2 else f"up to {count} times"


def _tera(count: int) -> str:
    """1,020 T, to three digits."""
    return f"{float(f'{count / 1e12:.3g}'):,g} T"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _gib(size: int) -> str:
    return f"{size / 2**30:.2g} GiB" if size >= 2**30 else f"{size / 2**20:.3g} MiB"
