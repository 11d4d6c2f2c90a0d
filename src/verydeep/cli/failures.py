"""What could not be read, told on stderr; `predict` and `evaluate` tell it in the same words."""

from collections.abc import Sequence

import click

from verydeep.errors import printable
from verydeep.nouns import Failure


def tell_failures(failures: Sequence[Failure], total: int, consequence: str = "", what: str = "photos") -> None:
    """One line for each, and below them what to do, each advice once. Prints nothing where nothing failed.

    total: how many there were of `what`, the failures among them. consequence: the rest of the list's heading.
    """
    if not failures:
        return
    lines = [_line(failure) for failure in failures]
    if total == 1:
        lines = [f"error: {lines[0]}"]
    else:
        heading = f"error: {len(failures)} of {total} {what} could not be read{consequence}:"
        lines = [heading, *(f"  {line}" for line in lines)]
    hints = dict.fromkeys(failure.hint for failure in failures if failure.hint)
    for line in (*lines, *(f"hint: {printable(hint)}" for hint in hints)):
        click.echo(line, err=True)


def _line(failure: Failure) -> str:
    """The reason, which most often names the file itself."""
    path, reason = printable(failure.path), printable(failure.reason)
    if path == "-":
        return f"standard input: {reason}"
    return reason if path in reason else f"{path}: {reason}"
