"""Tables of figures, coloured on a terminal and plain elsewhere. Names come from outside: no markup."""

import os
from collections.abc import Sequence
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from verydeep.errors import printable

PIPED_COLUMNS = 140  # where there is no terminal whose width could be asked for
INTERVAL = "95 % interval"
LONG_NAME = 24  # columns; a longer name is folded before a column is left out for it
MEASURED = 1000  # columns, as if there were no end of them

Rows: TypeAlias = "Sequence[Sequence[str | Text]]"


def make_console() -> Console:
    """Standard output."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    return console


def print_heading(console: Console, model: str, data: str, protocol: str) -> None:
    """What was measured, on what, and how."""
    for what, text in (("model", model), ("data", data), ("protocol", protocol)):
        console.print(Text.assemble((f"  {what:<9} ", "bright_black"), printable(text)), soft_wrap=True)


def fitting(console: Console, headers: Sequence[str], rows: Rows, optional: list[list[int]]) -> Table:
    """The table without as many of the `optional` groups of columns as there is no room for, the first one first."""
    kept = list(range(len(headers)))
    for group in [[], *optional]:
        kept = [i for i in kept if i not in group]
        table = make_table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])
        if fits(table, console):
            break
    return table


def fits(table: Table, console: Console) -> bool:
    """Whether every figure is seen whole; a very long name may be folded."""
    table.columns[0].max_width = LONG_NAME
    width = Measurement.get(console, console.options.update(max_width=MEASURED), table).maximum
    table.columns[0].max_width = None
    return width <= console.width


def make_table(headers: Sequence[str], rows: Rows, names: int = 1) -> Table:
    """Names to the left, folded where there is no room for them; figures to the right, never cut."""
    table = Table(box=SIMPLE_HEAD)
    for i, header in enumerate(headers):
        if i < names:
            table.add_column(header, overflow="fold")
        else:
            table.add_column(header, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def percent(value: float | None) -> str:
    """A dash where there is no figure."""
    return "-" if value is None else f"{100 * value:.1f} %"
