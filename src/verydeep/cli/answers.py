"""Answers photo by photo, as they come: drawn, printed as text, CSV or JSON, and at the end what could not be read."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

import click
import numpy as np

from verydeep.cli.document import JsonDocument
from verydeep.cli.failures import tell_failures
from verydeep.cli.photos import Found, read_sources
from verydeep.cli.progress import progress
from verydeep.cli.spreadsheet import csv_row
from verydeep.cli.terminal import shortened
from verydeep.errors import DataError, ImageError, printable
from verydeep.image.stream import Source
from verydeep.nouns import Failure, Prediction, SegmentationPrediction

TABLES_UP_TO = 10  # photos; more get one line each
LONGEST_LABEL = 40  # columns of a terminal

Style: TypeAlias = Literal["text", "csv", "json"]
Files: TypeAlias = Mapping[str, Path]
"""What was drawn of a photo: {"picture": path}."""


@dataclass(frozen=True)
class Asked:
    """The photos that a person names, and how the answers shall be told."""

    found: Found
    formats: Sequence[str]  # of picture files that are accepted
    style: Style
    top: int  # how many classes are shown
    out: str | None  # the folder to draw into
    precision: str
    batch_size: int

    @property
    def is_long(self) -> bool:
        return len(self.found.paths) > TABLES_UP_TO


@dataclass(frozen=True)
class Embedding:
    """What an embedding model makes of one photo."""

    path: str  # as those of `Prediction`
    vector: np.ndarray  # (d,) float32


P = TypeVar("P", bound=Prediction | SegmentationPrediction | Embedding)
P_contra = TypeVar("P_contra", contravariant=True)


class Output(Protocol[P_contra]):
    """What is done with each answer, in the order of the photos, and with the failures at the end."""

    def write(self, prediction: P_contra, files: Files) -> None: ...

    def close(self, failures: Sequence[Failure]) -> None: ...


class Text(Generic[P]):
    """For people, who are told of failures on stderr."""

    def __init__(self, show: Callable[[P], None]) -> None:
        self._show = show

    def write(self, prediction: P, files: Files) -> None:
        self._show(prediction)

    def close(self, failures: Sequence[Failure]) -> None:
        pass


class Csv(Generic[P]):
    """A header and one row for each photo, those that could not be read last.

    columns, line: their names and their cells, without those of path and error, which all tasks have.
    """

    def __init__(self, columns: Sequence[str], line: Callable[[P], str]) -> None:
        self._columns, self._line = columns, line
        click.echo(csv_row(["path", *columns, "error"]))

    def write(self, prediction: P, files: Files) -> None:
        click.echo(f"{csv_row([prediction.path])},{self._line(prediction)},")

    def close(self, failures: Sequence[Failure]) -> None:
        for failure in failures:
            click.echo(csv_row([failure.path, *[""] * len(self._columns), f"{failure.reason} {failure.hint}".rstrip()]))


class Json(Generic[P]):
    """An entry of the document for each photo."""

    def __init__(self, document: JsonDocument, fields: Callable[[P], Mapping[str, object]]) -> None:
        self._document, self._fields = document, fields

    def write(self, prediction: P, files: Files) -> None:
        self._document.add(self._fields(prediction), files)

    def close(self, failures: Sequence[Failure]) -> None:
        self._document.close(failures)


def tell_answers(
    asked: Asked,
    answer: Callable[[list[Source]], Iterator[P | Failure]],
    output: Output[P],
    what: str,
    draw: Callable[[Source, P], Files] | None = None,
) -> int:
    """The exit code. answer: asks the model. what: is done with photos: "classified".

    draw: raises ImageError where a photo is no longer what was looked at.
    """
    found = asked.found
    failures = list(found.failures)
    bar = progress(what, len(found.paths), is_printing=True) if asked.is_long else nullcontext(lambda done: None)
    try:
        with bar as show:
            sources = read_sources(found.paths)
            answers = answer([source for _, source in sources])
            for done, ((path, source), one) in enumerate(zip(sources, answers, strict=True), start=1):
                if failure := _record(source, replace(one, path=path), output, draw):
                    failures.append(failure)
                show(done)
    finally:  # whatever ended it, a full disk or Ctrl-C: JSON is closed, and what is known is told
        output.close(failures)
        named = "photos, folders and patterns" if found.failures else "photos"
        tell_failures(failures, len(found.paths) + len(found.failures), what=named)
    return DataError.exit_code if failures else 0


def percent(share: float) -> str:
    """So that all have the same width."""
    return f"{100 * share:5.1f} %"


def short(label: str) -> str:
    """A label that leaves room beside it on a terminal."""
    return shortened(printable(label), LONGEST_LABEL)


def _record(
    source: Source, answer: P | Failure, output: Output[P], draw: Callable[[Source, P], Files] | None
) -> Failure | None:
    """Draws and prints an answer; returns what could not be read."""
    if isinstance(answer, Failure):
        return answer
    try:
        files = draw(source, answer) if draw else {}
    except ImageError as error:
        output.write(answer, {})
        return Failure(answer.path, error.message, error.hint)
    output.write(answer, files)
    return None
