"""Of `verydeep predict`, what it does with a classifier or a localiser: classes, and where they are.

Paths and labels come from outside: none can move the cursor of a terminal or become a formula in a spreadsheet.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import click

from verydeep.cli.answers import Asked, Csv, Files, Json, Output, Text, percent, short, tell_answers
from verydeep.cli.document import JsonDocument
from verydeep.cli.photos import DRAWN, PictureFiles
from verydeep.cli.spreadsheet import csv_row
from verydeep.cli.terminal import bar, columns, padded
from verydeep.errors import printable
from verydeep.image.draw import annotate
from verydeep.image.stream import Source, load
from verydeep.nouns import Box, Prediction
from verydeep.predict import Predictor

WIDEST_EDGES = len("9999-9999 x 9999-9999")
UNKNOWN = "probably none of the model's classes"


def predict_classes(predictor: Predictor, asked: Asked) -> int:
    """The exit code."""
    top = min(asked.top, len(predictor.classes))
    draw = partial(_draw, PictureFiles(asked.out, DRAWN, ".jpg"), asked.formats) if asked.out else None
    output = _output(predictor, asked, top)
    return tell_answers(
        asked, lambda photos: predictor.predict_many(photos, top, asked.batch_size), output, "classified", draw
    )


def _output(predictor: Predictor, asked: Asked, top: int) -> Output[Prediction]:
    if asked.style == "json":
        return Json(JsonDocument(predictor.model, asked.precision), _fields)
    if asked.style == "csv":
        names = ("label", "probability", *(Box._fields if predictor.has_boxes else ()))
        return Csv(["is_known", *(f"{name}_{place}" for place in range(1, top + 1) for name in names)], _csv_line)
    if asked.is_long:
        return Text(partial(_print_line, width=max(columns(short(label)) for label in predictor.classes)))
    return Text(partial(_print_table, threshold=predictor.model.info.calibration.reject_below))


def _print_table(prediction: Prediction, threshold: float) -> None:
    """A small table with bars."""
    click.echo(click.style(printable(prediction.path), bold=True))
    labels = [short(score.label) for score in prediction.scores]
    width = max(map(columns, labels))
    for place, (label, score) in enumerate(zip(labels, prediction.scores, strict=True)):
        row = f"  {padded(label, width)}  {percent(score.probability)}  {bar(score.probability)}".rstrip()
        click.echo(click.style(row, fg="green") if prediction.is_known and place == 0 else row)
    if prediction.box is not None:
        left, top, right, bottom = (round(edge) for edge in prediction.box)
        click.echo(f"  {labels[0]} is at {left} to {right} across, {top} to {bottom} down, in pixels")
    if not prediction.is_known:
        sentence = f"{UNKNOWN}: the best of them is less probable than {percent(threshold).strip()}"
        click.echo(click.style(f"  {sentence}", fg="yellow"))
    click.echo()


def _print_line(prediction: Prediction, width: int) -> None:
    """The probability, the best class, where it is, if the model says so, the path."""
    place = f"{_edges(prediction.box):<{WIDEST_EDGES}}  " if prediction.box is not None else ""
    label = padded(short(prediction.label), width)
    line = f"{percent(prediction.probability)}  {label}  {place}{printable(prediction.path)}"
    click.echo(line if prediction.is_known else click.style(f"{line}  ({UNKNOWN})", fg="yellow"))


def _csv_line(prediction: Prediction) -> str:
    scores = [
        cell
        for score in prediction.scores
        for cell in (score.label, f"{score.probability:.6f}", *(f"{edge:.2f}" for edge in score.box or ()))
    ]
    return csv_row([str(prediction.is_known).lower(), *scores])


def _fields(prediction: Prediction) -> Mapping[str, object]:
    scores = [score.to_dict() for score in prediction.scores]
    return {"path": prediction.path, "predictions": scores, "is_known": prediction.is_known}


def _draw(pictures: PictureFiles, formats: Sequence[str], photo: Source, prediction: Prediction) -> Files:
    return {"picture": pictures.write(prediction.path, annotate(load(photo, formats), prediction))}


def _edges(box: Box) -> str:
    """Across and down, in whole pixels: "12-140 x 30-200"."""
    left, top, right, bottom = (round(edge) for edge in box)
    return f"{left}-{right} x {top}-{bottom}"
