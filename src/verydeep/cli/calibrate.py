"""`verydeep calibrate MODEL PHOTO...`: what the precisions of whole numbers have to know, into the model file."""

from dataclasses import replace
from pathlib import Path

import click

from verydeep.cli.options import formats_option, photos_argument
from verydeep.errors import DataError, UsageError

MOST_PHOTOS = 64  # are looked at: the largest values hardly rise with more


@click.command(
    epilog="Example: `verydeep calibrate flowers.safetensors flowers/train`, then "
    "`verydeep predict PHOTO --model flowers.safetensors --precision fast`."
)
@click.argument("model")
@photos_argument
@click.option("--out", metavar="FILE", help="Where to write the model.  [MODEL itself]")
@formats_option
def calibrate(model: str, photos: tuple[str, ...], out: str | None, wanted: str | None) -> int:
    """Measure on photos how large the numbers in a network get, for --precision fast and int8.

    `verydeep train` has done so for its own models. Photos like those to come are best; 64 are looked at, from all
    that are given. The file's weights stay as they are, to the bit.
    """
    if not photos:
        raise UsageError("no photo was given.", "verydeep calibrate MODEL PHOTO, or a folder or a pattern")
    from verydeep.cli.failures import tell_failures  # --help does without all of these
    from verydeep.cli.photos import STANDARD_INPUT, find_photos, parse_formats
    from verydeep.errors import ImageError
    from verydeep.image.stream import stream
    from verydeep.nouns import Failure
    from verydeep.runtime import built_in_models, find_model, open_model
    from verydeep.runtime.ranges import measure_ranges
    from verydeep.weights import write_model

    if STANDARD_INPUT in photos:
        raise UsageError("photos come from files here, not from standard input.", "verydeep calibrate MODEL FOLDER")
    path = find_model(model)
    if out is None and model in built_in_models() and not Path(model).exists():
        raise UsageError(f"{model} is a built-in model, which stays as it is.", "Write another file: --out FILE")
    formats = parse_formats(wanted)
    found = find_photos(photos, formats)
    count = min(MOST_PHOTOS, len(found.paths))
    paths = [found.paths[number * len(found.paths) // count] for number in range(count)]  # of all folders alike
    opened = open_model(path)
    failures, images = list(found.failures), []
    for position, loaded in stream(paths, opened.info.preprocessing, formats=formats):
        if isinstance(loaded, ImageError):
            failures.append(Failure(paths[position], loaded.message, loaded.hint))
        else:
            images.append(loaded)
    if images:
        ranges = measure_ranges(opened.info.architecture, opened.engine, images)
        dtype = str(next(iter(opened.weights.values())).dtype)
        write_model(out or path, replace(opened.info, ranges=ranges), opened.weights, dtype)
        click.echo(f"{out or path} knows its ranges now, from {len(images)} photos.")
    tell_failures(failures, len(paths) + len(found.failures), what="photos, folders and patterns")
    return DataError.exit_code if failures or not images else 0
