"""`verydeep predict PHOTO...`: what is on photos, as tables, lines, JSON, CSV or annotated pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from verydeep.cli.options import engine_options, formats_option, model_option, photos_argument
from verydeep.errors import UsageError

if TYPE_CHECKING:
    from verydeep.cli.answers import Output
    from verydeep.image.stream import Source
    from verydeep.nouns import Failure, Prediction
    from verydeep.predict import Predictor


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
    engine: str,
    device: str,
    precision: str,
    threads: int | None,
    batch_size: int,
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
    from verydeep.cli.answers import TABLES_UP_TO, tell_answers  # --help does without all of these
    from verydeep.cli.photos import find_photos, parse_formats, tell_drawn
    from verydeep.cli.predict_embeddings import check_embeds, print_embeddings
    from verydeep.cli.predict_output import Pictures
    from verydeep.cli.predict_segments import predict_segments
    from verydeep.image import PHOTO_FORMATS
    from verydeep.predict import Embedder, Predictor, Segmenter
    from verydeep.runtime import task_of

    task = task_of(model)
    if task == "embed":
        check_embeds(as_json or as_csv, out)
    formats = parse_formats(wanted) if wanted else PHOTO_FORMATS
    found = find_photos(photos, formats)
    tell_drawn(found.drawn)
    if task == "embed":
        embedder = Embedder(
            model,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            photos=len(found.paths),
            formats=formats,
        )
        return print_embeddings(embedder, found, precision, batch_size, as_csv=as_csv)
    if task == "segment":
        if boxes:
            raise UsageError("--boxes is for classifiers; this model tells what each pixel shows.", "Leave it out.")
        segmenter = Segmenter(
            model,
            engine=engine,
            device=device,
            precision=precision,
            threads=threads,
            photos=len(found.paths),
            formats=formats,
        )
        style = "json" if as_json else "csv" if as_csv else "text"
        return predict_segments(
            segmenter, found, formats, style, top=top, out=out, precision=precision, batch_size=batch_size
        )
    predictor = Predictor(
        model,
        engine=engine,
        device=device,
        precision=precision,
        threads=threads,
        photos=len(found.paths),
        formats=formats,
        boxes=boxes,
    )
    top = min(top, len(predictor.classes))
    is_long = len(found.paths) > TABLES_UP_TO
    pictures = Pictures(out, formats) if out else None
    output = _output(predictor, precision, is_long, top, as_json, as_csv)
    answers = _answers(predictor, found.paths, top, batch_size)
    return tell_answers(found, answers, output, pictures.write if pictures else None, "classified")


def _answers(
    predictor: "Predictor", paths: Sequence[str], k: int, batch_size: int
) -> Iterator[tuple["Source", "Prediction | Failure"]]:
    """Each photo as the predictor takes it, and its answer with the path as it was given."""
    from verydeep.cli.photos import read_sources

    sources = read_sources(paths)
    answers = predictor.predict_many([source for _, source in sources], k, batch_size)
    for (path, source), answer in zip(sources, answers, strict=True):
        yield source, replace(answer, path=path)


def _output(
    predictor: "Predictor", precision: str, is_long: bool, k: int, as_json: bool, as_csv: bool
) -> "Output[Prediction]":
    from verydeep.cli.predict_output import Csv, Json, Lines, Tables

    if as_json:
        return Json(predictor.model, precision)
    if as_csv:
        return Csv(k, has_boxes=predictor.has_boxes)
    if is_long:
        return Lines(predictor.classes)
    return Tables(predictor.model.info.calibration)
