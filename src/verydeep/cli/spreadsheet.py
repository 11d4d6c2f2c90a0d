"""Rows of CSV in which nothing is a formula."""

import csv
import io
from collections.abc import Iterable

from verydeep.errors import printable


def csv_row(cells: Iterable[str]) -> str:
    """The cells as a line, each harmless and on one line."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(harmless(cell) for cell in cells)
    return line.getvalue()


def harmless(cell: str) -> str:
    """A quote before what a spreadsheet would take for a formula: such a cell can send the sheet to a stranger.

    One also before a quote, so that whoever takes the first one off has the cell as it was. "-" alone is none.
    """
    cell = printable(cell)
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "'")) and cell != "-" else cell
