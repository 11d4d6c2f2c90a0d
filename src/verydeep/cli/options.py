"""The arguments and options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict

import click

from verydeep.errors import UsageError

# As runtime/open.py has them, which would import numpy: --help does without.
ENGINES = ("auto", "native", "torch", "reference")
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16", "fast", "int8")

photos_argument = click.argument("photos", nargs=-1, metavar="PHOTO|FOLDER|PATTERN|-...")
model_option = click.option(
    "-m", "--model", metavar="MODEL", help="A model file, a folder with one, or a name.  [the built-in one]"
)
root_option = click.option(
    "--root", metavar="FOLDER", type=click.Path(path_type=Path), help="That annotations may name photos in.  [DATA]"
)
formats_option = click.option("--formats", "wanted", metavar="NAMES", help="Picture formats, or all.  [jpeg,png,webp]")

_OPTIONS = (
    click.option("--engine", type=click.Choice(ENGINES), default="auto", help="What runs the network.  [auto]"),
    click.option("--device", type=click.Choice(DEVICES), default="auto", help="Where it runs.  [auto]"),
    click.option("--precision", type=click.Choice(PRECISIONS), default="float32", help="Of the values.  [float32]"),
    click.option("--threads", type=click.IntRange(min=1), metavar="N", help="For decoding and computing.  [all cores]"),
)
_BATCH_SIZE = click.option(
    "--batch-size", type=click.IntRange(min=1), default=32, metavar="N", help="Photos at once.  [32]"
)


class EngineOptions(TypedDict):
    """What `single_photo_options` and `engine_options` add to a command's arguments, as `open_model` takes it."""

    engine: str
    device: str
    precision: str
    threads: int | None


def whole_numbers(option: str, text: str, example: str, most: int) -> tuple[int, ...]:
    """ "1,16" -> (1, 16), each once. Raises UsageError on anything but numbers from 1 to `most`."""
    words = [word.strip() for word in text.split(",")]
    short = [word for word in words if word.isascii() and word.isdigit() and len(word) <= len(str(most))]
    if len(short) < len(words) or not all(1 <= int(word) <= most for word in short):
        raise UsageError(
            f"{option} is {text!r}; expected numbers from 1 to {most}, like {example}.", "Separate them by commas."
        )
    return tuple(dict.fromkeys(map(int, words)))


def annotation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --format, as the argument `wanted`, and --root to a command."""
    wanted = click.option("--format", "wanted", metavar="NAME", help="Read DATA as folders, table, labelme, voc, ...")
    return wanted(root_option(command))


def engine_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds --engine, --device, --precision, --threads and --batch-size to a command."""
    return single_photo_options(_BATCH_SIZE(command))


def single_photo_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The same without --batch-size, for a command that takes one photo after the other."""
    for option in reversed(_OPTIONS):  # a decorator adds its option before those below it
        command = option(command)
    return command
