"""The tables of `verydeep evaluate`, coloured on a terminal and plain elsewhere. Names come from outside: no markup."""

import os
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from verydeep.cli.terminal import can_print
from verydeep.errors import printable
from verydeep.evaluate import Report
from verydeep.evaluate.embedding_report import EmbeddingReport
from verydeep.evaluate.report import Proportion

PIPED_COLUMNS = 140  # where there is no terminal whose width could be asked for
MATRIX_UP_TO = 12  # classes; more would not fit a screen, and the most frequent confusions are shown
CONFUSIONS = 15
INTERVAL = "95 % interval"
LONG_NAME = 24  # columns; a longer name is folded before a column is left out for it
MEASURED = 1000  # columns, as if there were no end of them

Rows: TypeAlias = "Sequence[Sequence[str | Text]]"


def print_report(report: Report, model: str, data: str) -> None:
    """Prints it to stdout. model, data: as the heading shall call them."""
    console = _console(model, data, f"{report.protocol_name}: {report.protocol}")
    tables = {"figures": _figures(report, console), "classes": _classes(report, console)}
    matrix = _matrix(report)
    if len(report.classes) <= MATRIX_UP_TO and _fits(matrix, console):
        tables[f"what each was taken for, n = {report.n}"] = matrix
    elif report.top1.successes < report.n:
        tables[f"most often confused, n = {report.n}"] = _confusions(report)
    _print_tables(console, tables, report.protocol_name)


def print_embedding_report(report: EmbeddingReport, model: str, data: str) -> None:
    """As `print_report`."""
    console = _console(model, data, f"center: {report.protocol}")
    rows = [
        (name, _percent(one.value), f"{100 * one.interval[0]:.1f} to {100 * one.interval[1]:.1f} %", f"{report.n}")
        for name, one in report.figures.items()
    ]
    rows.append(("loss (nats)", f"{report.loss:.4f}", "", f"{report.n}"))
    classes = [(printable(label), *_share(share), f"{share.n}") for label, share in report.class_rows]
    tables = {
        "figures": _fitting(console, ("figure", "value", INTERVAL, "n"), rows, [[2]]),
        "classes": _fitting(console, ("class", "recall@1", INTERVAL, "n"), classes, [[2]]),
    }
    tables["figures"].rows[0].style = "bold"
    if pairs := report.top_confusions(CONFUSIONS):
        confused = [(printable(pair.label), printable(pair.taken_for), f"{pair.photos}") for pair in pairs]
        tables[f"most often nearest to another class, n = {report.n}"] = _table(
            ("class", "nearest", "photos"), confused, names=2
        )
    _print_tables(console, tables, "center")


def _console(model: str, data: str, protocol: str) -> Console:
    """With the heading on it."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    for what, text in (("model", model), ("data", data), ("protocol", protocol)):
        console.print(Text.assemble((f"  {what:<9} ", "bright_black"), printable(text)), soft_wrap=True)
    return console


def _print_tables(console: Console, tables: Mapping[str, Table], protocol: str) -> None:
    for title, table in tables.items():
        console.print(Text(f"\n  {title}, protocol {protocol}", "bright_black"))
        console.print(table)


def _figures(report: Report, console: Console) -> Table:
    shares = [("top-1", report.top1), ("top-5", report.top5)]
    threshold = report.calibration.reject_below
    if threshold > 0:
        shares += [
            (f"named: at least {threshold:.1%} sure", report.answered),
            ("top-1 of those named", report.right_when_answered),
        ]
    rows = [(name, *_share(share), f"{share.n}") for name, share in shares if share is not None]
    rows += [
        ("loss (nats)", f"{report.loss:.4f}", "", f"{report.n}"),
        ("calibration error", _percent(report.calibration_error), "", f"{report.n}"),
    ]
    table = _fitting(console, ("figure", "value", INTERVAL, "n"), rows, [[2]])
    table.rows[0].style = "bold"
    return table


def _classes(report: Report, console: Console) -> Table:
    headers = ("class", "recognised", INTERVAL, "n", "of those named so", "n")
    rows = [
        (
            printable(row.label),
            *_share(row.recall),
            f"{row.recall.n}",
            _percent(row.precision.value),
            f"{row.precision.n}",
        )
        for row in report.class_rows
    ]
    return _fitting(console, headers, rows, [[4, 5], [2]])


def _matrix(report: Report) -> Table:
    """Rows: the class it is; columns: what it was taken for, in the same order."""
    letters = [chr(ord("a") + i) for i in range(len(report.classes))]
    rows: list[Sequence[str | Text]] = []
    for i, (letter, label) in enumerate(zip(letters, report.classes, strict=True)):
        cells = [_cell(int(count), i == j) for j, count in enumerate(report.confusion[i])]
        rows.append((printable(label), letter, *cells))
    return _table(("class", "", *letters), rows)


def _confusions(report: Report) -> Table:
    rows = [
        (printable(mistake.label), printable(mistake.taken_for), f"{mistake.photos}")
        for mistake in report.top_confusions(CONFUSIONS)
    ]
    return _table(("class", "taken for", "photos"), rows, names=2)


def _fitting(console: Console, headers: Sequence[str], rows: Rows, optional: list[list[int]]) -> Table:
    """The table without as many of the `optional` groups of columns as there is no room for, the first one first."""
    kept = list(range(len(headers)))
    for group in [[], *optional]:
        kept = [i for i in kept if i not in group]
        table = _table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])
        if _fits(table, console):
            break
    return table


def _fits(table: Table, console: Console) -> bool:
    """Whether every figure is seen whole; a very long name may be folded."""
    table.columns[0].max_width = LONG_NAME
    width = Measurement.get(console, console.options.update(max_width=MEASURED), table).maximum
    table.columns[0].max_width = None
    return width <= console.width


def _table(headers: Sequence[str], rows: Rows, names: int = 1) -> Table:
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


def _cell(count: int, is_right: bool) -> Text:
    if count:
        return Text(f"{count}", "green" if is_right else "red")
    return Text("·" if can_print("·") else ".", "bright_black")


def _share(share: Proportion) -> Sequence[str]:
    if share.value is None:
        return ("-", "-")
    low, high = share.interval
    return (_percent(share.value), f"{100 * low:.1f} to {100 * high:.1f} %")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"
