"""`verydeep explain PHOTO...`: what in photos the answers come from, as pictures, JSON or a page."""

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from verydeep.cli.options import EngineOptions, formats_option, model_option, photos_argument, single_photo_options
from verydeep.errors import DataError, UsageError

if TYPE_CHECKING:
    from typing_extensions import Unpack

# As explain/methods.py has them, which would import numpy: --help does without. LAYER_VIEWS look at no answer.
METHODS = ("gradcam", "gradient", "guided", "deconvnet", "integrated", "occlusion")
BOX_EDGES = ("left", "top", "right", "bottom", "all")
LAYER_VIEWS = ("activations", "patches", "filters", "inversion")
SHOWS_PROGRESS_FROM = 10  # photos


@click.command(
    epilog="Examples: `verydeep explain cat.jpg`, `verydeep explain cat.jpg --class dog`, "
    "`verydeep explain cat.jpg --similar-to lion.jpg`, "
    "`verydeep explain cat.jpg --method gradient,guided,deconvnet`, `verydeep explain photos --grid why.html`, "
    "`verydeep explain photos --method patches --layer relu4_2`."
)
@photos_argument
@model_option
@click.option(
    "--method",
    "names",
    default="gradcam",
    metavar="NAMES",
    help=f"One, or several side by side: {', '.join(METHODS)}; or one of {', '.join(LAYER_VIEWS)}.  [gradcam]",
)
@click.option("--class", "label", metavar="NAME", help="The class to explain.  [the best one]")
@click.option(
    "--similar-to",
    metavar="OTHER",
    help="Explain what makes PHOTO like this photo, in place of a class; not by occlusion.",
)
@click.option(
    "--layer",
    metavar="LAYER",
    help="The layer to look at, such as relu4_2; gradient, guided and deconvnet explain its strongest unit in place of "
    "a class.  [the last convolution; theirs: none]",
)
@click.option("--channel", type=click.IntRange(min=0), metavar="N", help="The channel of that layer.  [the strongest]")
@click.option(
    "--box-edge",
    type=click.Choice(BOX_EDGES),
    help="Of a model with boxes: explain how far the box reaches there, in place of the class; not by occlusion.",
)
@click.option("--whole", is_flag=True, help="Take the whole photo, by the dense view, not a square of it.")
@click.option(
    "--steps", type=click.IntRange(1, 10_000), default=50, metavar="N", help="Of integrated and of inversion.  [50]"
)
@click.option("--window", type=click.IntRange(1, 10_000), metavar="PIXELS", help="Of occlusion.  [a fifth of the crop]")
@click.option("--stride", type=click.IntRange(1, 10_000), metavar="PIXELS", help="Of occlusion.  [a quarter of that]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with the numbers.")
@click.option("--out", metavar="FOLDER", help="Write a picture of each photo into FOLDER.  [.]")
@click.option("--svg", is_flag=True, help="Pictures as SVG, not PNG.")
@click.option("--grid", metavar="FILE.html", help="Write all pictures as one page, which opens without a network.")
@formats_option
@single_photo_options
def explain(
    photos: tuple[str, ...],
    *,
    model: str | None,
    names: str,
    label: str | None,
    similar_to: str | None,
    layer: str | None,
    channel: int | None,
    box_edge: str | None,
    whole: bool,
    steps: int,
    window: int | None,
    stride: int | None,
    as_json: bool,
    out: str | None,
    svg: bool,
    grid: str | None,
    wanted: str | None,
    **options: "Unpack[EngineOptions]",
) -> int:
    """Show what in a photo the answer comes from.

    Each photo becomes a picture in --out: what the network saw, and a panel for each method. --json and --grid write
    pictures only where --out is given, too. The method filters takes no photo; patches makes one picture of all.
    Of a model of pixels the score of a class is explained: the mean of its logit over the pixels that are taken for it.
    """
    methods = _parse_methods(names)
    if not photos and methods != ("filters",):
        raise UsageError(
            "no photo was given.", "verydeep explain PHOTO, or a folder, a pattern, or - for standard input"
        )
    if photos and methods == ("filters",):
        raise UsageError("filters shows the network and looks at no photo.", "Leave the photos out.")
    from verydeep.cli.explain_answers import Request, answers, check_request, read_other
    from verydeep.cli.explain_output import Outputs
    from verydeep.cli.failures import tell_failures
    from verydeep.cli.photos import Found, find_photos, parse_formats, read_sources, tell_drawn
    from verydeep.cli.progress import progress
    from verydeep.explain import Settings
    from verydeep.nouns import Failure
    from verydeep.runtime import open_model

    formats = parse_formats(wanted)
    found = find_photos(photos, formats) if photos else Found(())
    tell_drawn(found.drawn)
    opened = open_model(
        model,
        **options,
        is_dense=whole,
        photos=len(found.paths),
    )
    settings = Settings(steps, window or 0, stride or 0)
    request = Request(methods, label, layer, channel, box_edge, whole, settings, formats)
    check_request(opened, request, similar_to)
    if similar_to is not None:
        request = replace(request, other=read_other(opened, similar_to, whole, formats))
    is_long = len(found.paths) >= SHOWS_PROGRESS_FROM
    sources = read_sources(found.paths)
    outputs = Outputs(opened, request, precision=options["precision"], as_json=as_json, out=out, svg=svg, grid=grid)
    failures = list(found.failures)
    bar = progress("explained", len(found.paths), is_printing=True) if is_long else nullcontext(lambda done: None)
    try:
        with bar as show:
            for answer in answers(opened, request, sources, show):
                if isinstance(answer, Failure):
                    failures.append(answer)
                else:
                    outputs.write(answer)
    finally:  # whatever ended it, a full disk or Ctrl-C: JSON is closed, and what is known is told
        outputs.close(failures)
        what = "photos, folders and patterns" if found.failures else "photos"
        tell_failures(failures, len(found.paths) + len(found.failures), what=what)
    return DataError.exit_code if failures else 0


def _parse_methods(names: str) -> tuple[str, ...]:
    """ "gradient,guided" -> ("gradient", "guided"), each once. Raises UsageError."""
    methods = tuple(dict.fromkeys(name.strip().lower() for name in names.split(",")))
    if unknown := [name for name in methods if name not in (*METHODS, *LAYER_VIEWS)]:
        raise UsageError(
            f"no method {unknown[0]!r}; there are {', '.join((*METHODS, *LAYER_VIEWS))}.", "Separate them by commas."
        )
    if len(methods) > 1 and (views := [name for name in methods if name in LAYER_VIEWS]):
        raise UsageError(f"{views[0]} looks at a layer and stands beside no other method.", "Name it alone.")
    return methods
