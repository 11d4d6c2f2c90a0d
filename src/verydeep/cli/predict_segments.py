"""Of `verydeep predict`, what it does with a model of pixels: shares of classes, and masks.

Paths and labels come from outside: none can move the cursor of a terminal or become a formula in a spreadsheet.
"""

from collections.abc import Sequence
from functools import partial

import click

from verydeep.cli.answers import Asked, Csv, Files, Json, Output, Text, percent, short, tell_answers
from verydeep.cli.document import JsonDocument
from verydeep.cli.photos import DRAWN, MASKED, PictureFiles
from verydeep.cli.spreadsheet import csv_row
from verydeep.cli.terminal import bar, columns, padded
from verydeep.errors import printable
from verydeep.image.draw_segments import annotate_segments, palette_mask
from verydeep.image.stream import Source, load
from verydeep.nouns import SegmentationPrediction
from verydeep.predict import Segmenter


def predict_segments(segmenter: Segmenter, asked: Asked) -> int:
    """The exit code."""
    draw = None
    if asked.out:
        drawings, masks = PictureFiles(asked.out, DRAWN, ".jpg"), PictureFiles(asked.out, MASKED, ".png")
        draw = partial(_draw, drawings, masks, asked.formats)
    output = _output(segmenter, asked)
    return tell_answers(
        asked, lambda photos: segmenter.segment_many(photos, asked.batch_size), output, "segmented", draw
    )


def _output(segmenter: Segmenter, asked: Asked) -> Output[SegmentationPrediction]:
    classes = segmenter.classes
    if asked.style == "json":
        document = JsonDocument(segmenter.model, asked.precision, {"classes": classes})
        return Json(document, SegmentationPrediction.to_dict)
    if asked.style == "csv":
        shares = [f"share of {label}" for label in classes]
        return Csv(["width", "height", *shares], partial(_csv_line, classes=classes))
    if asked.is_long:
        return Text(partial(_print_line, width=max(columns(short(label)) for label in classes)))
    return Text(partial(_print_table, top=asked.top))


def _print_table(prediction: SegmentationPrediction, top: int) -> None:
    """A small table with bars, the largest share first."""
    click.echo(click.style(printable(prediction.path), bold=True))
    shown, others = prediction.shares[:top], prediction.shares[top:]
    labels = [short(share.label) for share in shown]
    width = max(map(columns, labels))
    for label, share in zip(labels, shown, strict=True):
        click.echo(f"  {padded(label, width)}  {percent(share.share)}  {bar(share.share)}".rstrip())
    if others:
        click.echo(f"  and {len(others)} more, {percent(sum(share.share for share in others)).strip()} together")
    click.echo()


def _print_line(prediction: SegmentationPrediction, width: int) -> None:
    """The largest share, its class, the path."""
    label = padded(short(prediction.label), width)
    click.echo(f"{percent(prediction.shares[0].share)}  {label}  {printable(prediction.path)}")


def _csv_line(prediction: SegmentationPrediction, classes: Sequence[str]) -> str:
    height, width = prediction.classes.shape
    shares = {share.label: share.share for share in prediction.shares}
    return csv_row([str(width), str(height), *(f"{shares.get(label, 0.0):.6f}" for label in classes)])


def _draw(
    drawings: PictureFiles,
    masks: PictureFiles,
    formats: Sequence[str],
    photo: Source,
    prediction: SegmentationPrediction,
) -> Files:
    """The classes on the photo, and the mask beside it."""
    picture = drawings.write(prediction.path, annotate_segments(load(photo, formats), prediction))
    return {"picture": picture, "mask": masks.write(prediction.path, palette_mask(prediction))}
