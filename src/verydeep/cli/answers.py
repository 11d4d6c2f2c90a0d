"""Answers photo by photo, as they come: drawn, printed, and at the end what could not be read."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol, TypeVar

from verydeep.cli.failures import tell_failures
from verydeep.cli.photos import Found
from verydeep.cli.progress import progress
from verydeep.errors import DataError, ImageError
from verydeep.image.stream import Source
from verydeep.nouns import Failure

TABLES_UP_TO = 10  # photos; more get one line each


class Answered(Protocol):
    """What a model says of a photo."""

    @property
    def path(self) -> str:
        """Of the photo, as it was given."""


P = TypeVar("P", bound=Answered)
P_contra = TypeVar("P_contra", contravariant=True)


class Output(Protocol[P_contra]):
    """What is done with each answer, in the order of the photos, and with the failures at the end."""

    def write(self, prediction: P_contra, picture: Path | None = None) -> None:
        """picture: the file that the photo was drawn into."""

    def close(self, failures: Sequence[Failure]) -> None: ...


def tell_answers(
    found: Found,
    answers: Iterable[tuple[Source, P | Failure]],
    output: Output[P],
    draw: Callable[[Source, P], Path] | None,
    what: str,
) -> int:
    """The exit code. found: the photos. answers: of each, with what it was loaded from. what: was done: "classified".

    draw: draws a photo, and says where; raises ImageError where it is no longer what was looked at.
    """
    is_long = len(found.paths) > TABLES_UP_TO
    failures = list(found.failures)
    bar = progress(what, len(found.paths), is_printing=True) if is_long else nullcontext(lambda done: None)
    try:
        with bar as show:
            for done, (source, answer) in enumerate(answers, start=1):
                if failure := _record(source, answer, output, draw):
                    failures.append(failure)
                show(done)
    finally:  # whatever ended it, a full disk or Ctrl-C: JSON is closed, and what is known is told
        output.close(failures)
        named = "photos, folders and patterns" if found.failures else "photos"
        tell_failures(failures, len(found.paths) + len(found.failures), what=named)
    return DataError.exit_code if failures else 0


def _record(
    source: Source, answer: P | Failure, output: Output[P], draw: Callable[[Source, P], Path] | None
) -> Failure | None:
    """Draws and prints an answer; returns what could not be read."""
    if isinstance(answer, Failure):
        return answer
    try:
        picture = draw(source, answer) if draw else None
    except ImageError as error:
        output.write(answer)
        return Failure(answer.path, error.message, error.hint)
    output.write(answer, picture)
    return None
