"""`verydeep predict PHOTO...`: what is on photos, as tables, lines, JSON, CSV or annotated pictures."""

from typing import TYPE_CHECKING

import click

from verydeep.cli.options import EngineOptions, engine_options, formats_option, model_option, photos_argument
from verydeep.errors import UsageError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from verydeep.cli.answers import Style

_WITHOUT_BOXES = {"segment": "tells what each pixel shows", "embed": "makes a vector of each photo"}


@click.command(
    epilog="Examples: `verydeep predict cat.jpg`, `verydeep predict photos --csv > answers.csv`, "
    "`verydeep predict 'photos/**/*.png' --out annotated`."
)
@photos_argument
@model_option
@click.option("-k", "--top", type=click.IntRange(min=1), default=5, metavar="K", help="How many classes to show.  [5]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print a table for spreadsheets; a cell that begins with = + - @ or ' gets a ' before it.",
)
@click.option("--boxes", is_flag=True, help="Say where each class is; a model that has learnt boxes always does.")
@click.option("--out", metavar="FOLDER", help="Also write each photo with its classes drawn on it into FOLDER.")
@formats_option
@engine_options
def predict(
    photos: tuple[str, ...],
    *,
    model: str | None,
    top: int,
    as_json: bool,
    as_csv: bool,
    boxes: bool,
    out: str | None,
    wanted: str | None,
    batch_size: int,
    **options: "Unpack[EngineOptions]",
) -> int:
    """Classify photos, and say where in them things are, or what each pixel is: by what the model was trained for.

    A FOLDER stands for all photos below it, a PATTERN for the photos that match it, - for an image on standard input.
    Photos that cannot be read are told at the end, with exit code 3; the others are classified all the same. What
    --out has drawn, here or by `verydeep explain`, is passed over in folders and patterns. Boxes are in pixels of the
    upright photo; those that --boxes asks a classifier for enclose what speaks for the class, and are rough. Of a model
    of pixels the share of each class is told, and --out writes a mask beside each drawing: a PNG whose pixels hold the
    number of their class, 0 for the first one. Of an embedding model, --json and --csv print the vector of each photo;
    `verydeep search` compares them.
    """
    if not photos:
        raise UsageError(
            "no photo was given.", "verydeep predict PHOTO, or a folder, a pattern, or - for standard input"
        )
    if as_json and as_csv:
        raise UsageError("--json and --csv exclude each other.", "Choose one of the two.")
    from verydeep.cli.answers import Asked  # --help does without all of these
    from verydeep.cli.photos import find_photos, parse_formats, tell_drawn
    from verydeep.cli.predict_classes import predict_classes
    from verydeep.cli.predict_embeddings import check_embeds, predict_embeddings
    from verydeep.cli.predict_segments import predict_segments
    from verydeep.predict import Embedder, Predictor, Segmenter
    from verydeep.runtime import task_of

    style: Style = "json" if as_json else "csv" if as_csv else "text"
    task = task_of(model)
    if task == "embed":
        check_embeds(style, out)
    if boxes and task in _WITHOUT_BOXES:
        raise UsageError(f"--boxes is for classifiers; this model {_WITHOUT_BOXES[task]}.", "Leave it out.")
    formats = parse_formats(wanted)
    found = find_photos(photos, formats)
    tell_drawn(found.drawn)
    asked = Asked(found, formats, style, top, out, options["precision"], batch_size)
    count = len(found.paths)
    if task == "embed":
        return predict_embeddings(Embedder(model, **options, photos=count, formats=formats), asked)
    if task == "segment":
        return predict_segments(Segmenter(model, **options, photos=count, formats=formats), asked)
    return predict_classes(Predictor(model, **options, photos=count, formats=formats, boxes=boxes), asked)
