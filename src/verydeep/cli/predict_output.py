"""Predictions -> text, CSV or JSON on standard output, and pictures; one photo at a time, so memory stays flat.

Paths and labels come from outside: none can move the cursor of a terminal or become a formula in a spreadsheet.
"""

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from verydeep.cli.document import JsonDocument
from verydeep.cli.photos import DRAWN, PictureFiles
from verydeep.cli.spreadsheet import csv_row
from verydeep.cli.terminal import bar, columns, padded, shortened
from verydeep.errors import printable
from verydeep.files import atomic_write
from verydeep.image.draw import annotate
from verydeep.image.stream import Source, load
from verydeep.nouns import Box, Calibration, Failure, Prediction
from verydeep.runtime import OpenedModel

LONGEST_LABEL = 40  # columns of a terminal
WIDEST_EDGES = len("9999-9999 x 9999-9999")
UNKNOWN = "probably none of the model's classes"


class Tables:
    """A small table with bars for each photo."""

    def __init__(self, calibration: Calibration) -> None:
        self.threshold = calibration.reject_below

    def write(self, prediction: Prediction, picture: Path | None = None) -> None:
        click.echo(click.style(printable(prediction.path), bold=True))
        labels = [_label(score.label) for score in prediction.scores]
        width = max(map(columns, labels))
        for place, (label, score) in enumerate(zip(labels, prediction.scores, strict=True)):
            row = f"  {padded(label, width)}  {_percent(score.probability)}  {bar(score.probability)}".rstrip()
            click.echo(click.style(row, fg="green") if prediction.is_known and place == 0 else row)
        if prediction.box is not None:
            left, top, right, bottom = (round(edge) for edge in prediction.box)
            click.echo(f"  {labels[0]} is at {left} to {right} across, {top} to {bottom} down, in pixels")
        if not prediction.is_known:
            sentence = f"{UNKNOWN}: the best of them is less probable than {_percent(self.threshold).strip()}"
            click.echo(click.style(f"  {sentence}", fg="yellow"))
        click.echo()

    def close(self, failures: Sequence[Failure]) -> None:
        """They are told on stderr."""


class Lines:
    """One line for each photo: the probability, the best class, where it is, if the model says so, the path."""

    def __init__(self, classes: Iterable[str]) -> None:
        self.width = max(columns(_label(label)) for label in classes)

    def write(self, prediction: Prediction, picture: Path | None = None) -> None:
        label = padded(_label(prediction.label), self.width)
        place = f"{_edges(prediction.box):<{WIDEST_EDGES}}  " if prediction.box is not None else ""
        line = f"{_percent(prediction.probability)}  {label}  {place}{printable(prediction.path)}"
        click.echo(line if prediction.is_known else click.style(f"{line}  ({UNKNOWN})", fg="yellow"))

    def close(self, failures: Sequence[Failure]) -> None:
        """They are told on stderr."""


class Csv:
    """A header and one row for each photo, those that could not be read last."""

    def __init__(self, k: int, *, has_boxes: bool = False) -> None:
        names = ("label", "probability", *(Box._fields if has_boxes else ()))
        numbered = [f"{name}_{place}" for place in range(1, k + 1) for name in names]
        self.blank = [""] * len(numbered)
        self._row(["path", "is_known", *numbered, "error"])

    def write(self, prediction: Prediction, picture: Path | None = None) -> None:
        scores = [
            cell
            for score in prediction.scores
            for cell in (score.label, f"{score.probability:.6f}", *(f"{edge:.2f}" for edge in score.box or ()))
        ]
        self._row([prediction.path, str(prediction.is_known).lower(), *scores, ""])

    def close(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            self._row([failure.path, "", *self.blank, f"{failure.reason} {failure.hint}".rstrip()])

    def _row(self, cells: list[str]) -> None:
        click.echo(csv_row(cells))


class Json:
    """One document: which model answers and how, and "photos"."""

    def __init__(self, model: OpenedModel, precision: str) -> None:
        self._document = JsonDocument(model, precision)

    def write(self, prediction: Prediction, picture: Path | None = None) -> None:
        scores = [score.to_dict() for score in prediction.scores]
        photo = {"path": prediction.path, "predictions": scores, "is_known": prediction.is_known}
        self._document.add(photo | ({"picture": str(picture)} if picture else {}))

    def close(self, failures: Sequence[Failure]) -> None:
        self._document.close(failures)


class Pictures:
    """Each photo with its classes drawn on it, in FOLDER.

    Raises StorageError where the folder cannot be written to, and ImageError where the photo can no longer be read.
    """

    def __init__(self, folder: str, formats: Sequence[str]) -> None:
        self.files = PictureFiles(folder, DRAWN, ".jpg")
        self.formats = formats

    def write(self, photo: Source, prediction: Prediction) -> Path:
        path = self.files.path(prediction.path)
        file = io.BytesIO()
        annotate(load(photo, self.formats), prediction).save(file, "JPEG", quality=90)
        atomic_write(path, file.getvalue(), is_durable=False)  # it can be drawn again
        return path


def _edges(box: Box) -> str:
    """Across and down, in whole pixels: "12-140 x 30-200"."""
    left, top, right, bottom = (round(edge) for edge in box)
    return f"{left}-{right} x {top}-{bottom}"


def _percent(probability: float) -> str:
    return f"{100 * probability:5.1f} %"


def _label(label: str) -> str:
    return shortened(printable(label), LONGEST_LABEL)
