"""How far a long command is: a bar on a terminal, a line at every tenth elsewhere; always on stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

import click


@contextmanager
def progress(what: str, total: int, *, is_printing: bool = False) -> Iterator[Callable[[int], None]]:
    """Yields the function to call with the number of photos done so far.

    is_printing: data is written to stdout meanwhile. On a terminal it is the progress: a bar would stand in its way.
    """
    if is_printing and _is_terminal(sys.stdout):
        yield lambda done: None
    elif _is_terminal(sys.stderr):
        with _bar(what, total) as show:
            yield show
    else:
        yield _lines(what, total)


@contextmanager
def _bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    from rich.console import Console  # not needed without a terminal
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done: bar.update(task, completed=done)


def _is_terminal(stream: TextIO | None) -> bool:
    """None: the stream was closed before the program began."""
    return stream is not None and stream.isatty()


def _lines(what: str, total: int) -> Callable[[int], None]:
    told = 0

    def show(done: int) -> None:
        nonlocal told
        if (tenth := 10 * done // max(1, total)) > told:
            told = tenth
            click.echo(f"{what}: {done} of {total}", err=True)

    return show
