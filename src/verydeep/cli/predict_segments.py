"""Of `verydeep predict`, what it does with a model of pixels: shares of classes as text, CSV or JSON, and masks.

Paths and labels come from outside: none can move the cursor of a terminal or become a formula in a spreadsheet.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from verydeep.cli.answers import TABLES_UP_TO, Output, tell_answers
from verydeep.cli.document import JsonDocument
from verydeep.cli.photos import DRAWN, MASKED, Found, PictureFiles, read_sources
from verydeep.cli.predict_output import LONGEST_LABEL
from verydeep.cli.spreadsheet import csv_row
from verydeep.cli.terminal import bar, columns, padded, shortened
from verydeep.errors import printable
from verydeep.files import atomic_write
from verydeep.image.draw_segments import annotate_segments, palette_mask
from verydeep.image.stream import Source, load
from verydeep.nouns import Failure, SegmentationPrediction
from verydeep.predict import Segmenter


def predict_segments(
    segmenter: Segmenter,
    found: Found,
    formats: Sequence[str],
    style: str,
    *,
    top: int,
    out: str | None,
    precision: str,
    batch_size: int,
) -> int:
    """The exit code. style: json, csv or text. top: classes in a table."""
    masks = Masks(out, formats) if out else None
    output: Output[SegmentationPrediction]
    if style == "json":
        output = Json(segmenter, precision, masks)
    elif style == "csv":
        output = Csv(segmenter.classes)
    else:
        output = Lines(segmenter.classes) if len(found.paths) > TABLES_UP_TO else Tables(top)
    answers = _answers(segmenter, found.paths, batch_size)
    return tell_answers(found, answers, output, masks.write if masks else None, "segmented")


def _answers(
    segmenter: Segmenter, paths: Sequence[str], batch_size: int
) -> Iterator[tuple[Source, SegmentationPrediction | Failure]]:
    """Each photo as it is loaded, and its answer with the path as it was given."""
    sources = read_sources(paths)
    answers = segmenter.segment_many([source for _, source in sources], batch_size)
    for (path, source), answer in zip(sources, answers, strict=True):
        yield source, replace(answer, path=path)


class Tables:
    """A small table with bars for each photo, the largest share first."""

    def __init__(self, most: int) -> None:
        self.most = most

    def write(self, prediction: SegmentationPrediction, picture: Path | None = None) -> None:
        click.echo(click.style(printable(prediction.path), bold=True))
        shown, others = prediction.shares[: self.most], prediction.shares[self.most :]
        labels = [_label(share.label) for share in shown]
        width = max(map(columns, labels))
        for label, share in zip(labels, shown, strict=True):
            click.echo(f"  {padded(label, width)}  {_percent(share.share)}  {bar(share.share)}".rstrip())
        if others:
            click.echo(f"  and {len(others)} more, {_percent(sum(share.share for share in others)).strip()} together")
        click.echo()

    def close(self, failures: Sequence[Failure]) -> None:
        """They are told on stderr."""


class Lines:
    """One line for each photo: the largest share, its class, the path."""

    def __init__(self, classes: Iterable[str]) -> None:
        self.width = max(columns(_label(label)) for label in classes)

    def write(self, prediction: SegmentationPrediction, picture: Path | None = None) -> None:
        label = padded(_label(prediction.label), self.width)
        click.echo(f"{_percent(prediction.shares[0].share)}  {label}  {printable(prediction.path)}")

    def close(self, failures: Sequence[Failure]) -> None:
        """They are told on stderr."""


class Csv:
    """A header and one row for each photo, with a column for each class; those that could not be read last."""

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = classes
        self._row(["path", "width", "height", *(f"share of {label}" for label in classes), "error"])

    def write(self, prediction: SegmentationPrediction, picture: Path | None = None) -> None:
        height, width = prediction.classes.shape
        shares = {share.label: share.share for share in prediction.shares}
        cells = [f"{shares.get(label, 0.0):.6f}" for label in self.classes]
        self._row([prediction.path, str(width), str(height), *cells, ""])

    def close(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            blank = [""] * (2 + len(self.classes))
            self._row([failure.path, *blank, f"{failure.reason} {failure.hint}".rstrip()])

    def _row(self, cells: list[str]) -> None:
        click.echo(csv_row(cells))


class Json:
    """One document: which model answers and how, its classes in the order of a mask's numbers, and "photos"."""

    def __init__(self, segmenter: Segmenter, precision: str, masks: "Masks | None") -> None:
        self._document = JsonDocument(segmenter.model, precision, {"classes": segmenter.classes})
        self._masks = masks

    def write(self, prediction: SegmentationPrediction, picture: Path | None = None) -> None:
        files = {}
        if picture and self._masks:
            files = {"picture": str(picture), "mask": str(self._masks.last)}
        self._document.add(prediction.to_dict() | files)

    def close(self, failures: Sequence[Failure]) -> None:
        self._document.close(failures)


class Masks:
    """Each photo with its classes drawn on it, and beside it the mask, in FOLDER.

    Raises StorageError where the folder cannot be written to, and ImageError where the photo can no longer be read.
    """

    def __init__(self, folder: str, formats: Sequence[str]) -> None:
        self._drawings = PictureFiles(folder, DRAWN, ".jpg")
        self._masks = PictureFiles(folder, MASKED, ".png")
        self.formats = formats
        self.last: Path | None = None  # the mask that was written last

    def write(self, photo: Source, prediction: SegmentationPrediction) -> Path:
        """The path of the drawing."""
        drawing, self.last = self._drawings.path(prediction.path), self._masks.path(prediction.path)
        image = load(photo, self.formats)
        file = io.BytesIO()
        annotate_segments(image, prediction).save(file, "JPEG", quality=90)
        atomic_write(drawing, file.getvalue(), is_durable=False)  # it can be drawn again
        file = io.BytesIO()
        palette_mask(prediction).save(file, "PNG")
        atomic_write(self.last, file.getvalue(), is_durable=False)
        return drawing


def _percent(share: float) -> str:
    return f"{100 * share:5.1f} %"


def _label(label: str) -> str:
    return shortened(printable(label), LONGEST_LABEL)
