"""Photos that are alike -> lines or JSON on standard output, and sheets of pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import click
from PIL import Image

from verydeep.cli.document import JsonDocument
from verydeep.cli.photos import ALIKE, PictureFiles
from verydeep.errors import ImageError, printable
from verydeep.image.draw import contact_sheet
from verydeep.image.draw_objects import object_card
from verydeep.image.stream import Source, load
from verydeep.nouns import Failure
from verydeep.runtime import OpenedModel


@dataclass(frozen=True)
class Alike:
    """A photo of the folder, and how much it is like the one that was asked about."""

    path: str
    similarity: float  # the cosine


@dataclass(frozen=True)
class Answer:
    """The photos most like one, the best first."""

    path: str  # of the photo that was asked about, as it was given; "-" for standard input
    source: Source  # what that is loaded from
    alike: tuple[Alike, ...]


class Output(Protocol):
    """What is done with each answer, and with the failures at the end."""

    def write(self, answer: Answer, picture: Path | None = None) -> None:
        """picture: the sheet that was drawn."""

    def close(self, failures: Sequence[Failure]) -> None: ...


class Lines:
    """The path of each photo, and below it a line for each that is like it."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def write(self, answer: Answer, picture: Path | None = None) -> None:
        click.echo(click.style(printable(answer.path), bold=True))
        for one in answer.alike:
            click.echo(f"  {one.similarity:.3f}  {printable(one.path)}")
        if not answer.alike:
            click.echo(f"  there is no other photo in {printable(self.folder)}")
        if picture:
            click.echo(f"  {printable(str(picture))}")
        click.echo()

    def close(self, failures: Sequence[Failure]) -> None:
        """They are told on stderr."""


class Json:
    """One document: which model answers and how, where it looked, and "photos"."""

    def __init__(self, model: OpenedModel, precision: str, facts: Mapping[str, object]) -> None:
        self._document = JsonDocument(model, precision, facts)

    def write(self, answer: Answer, picture: Path | None = None) -> None:
        alike = [{"path": one.path, "similarity": one.similarity} for one in answer.alike]
        self._document.add({"path": answer.path, "alike": alike}, {"picture": picture} if picture else {})

    def close(self, failures: Sequence[Failure]) -> None:
        self._document.close(failures)


class Sheets:
    """Each photo and those most like it on one sheet, in FOLDER. Raises StorageError where that cannot be written."""

    def __init__(self, folder: str, formats: Sequence[str]) -> None:
        self.files = PictureFiles(folder, ALIKE, ".jpg")
        self.formats = formats

    def write(self, answer: Answer) -> tuple[Path | None, list[Failure]]:
        """The sheet's file, and the photos that can be read no more; without the one that was asked about no sheet."""
        sources: list[tuple[str, Source, str]] = [(answer.path, answer.source, "the photo")]
        sources += [(one.path, one.path, f"{one.similarity:.3f}") for one in answer.alike]
        cards: list[Image.Image] = []
        failures: list[Failure] = []
        for path, source, aside in sources:
            try:
                cards.append(object_card(load(source, self.formats), (), {}, Path(path).name, aside))
            except ImageError as error:
                failures.append(Failure(path, error.message, error.hint))
        if failures and failures[0].path == answer.path:
            return None, failures
        return self.files.write(answer.path, contact_sheet(cards)), failures
