"""The tables of `verydeep evaluate`, coloured on a terminal and plain elsewhere. Names come from outside: no markup."""

import os
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from verydeep.cli.terminal import can_print
from verydeep.errors import printable
from verydeep.evaluate import Report
from verydeep.evaluate.report import Proportion

PIPED_COLUMNS = 140  # where there is no terminal whose width could be asked for
MATRIX_UP_TO = 12  # classes; more would not fit a screen, and the most frequent confusions are shown
CONFUSIONS = 15


def print_report(report: Report, protocol: str, model: str, data: str) -> None:
    """Prints it to stdout. protocol: its short name. model, data: as the heading shall call them."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    for what, text in (("model", model), ("data", data), ("protocol", f"{protocol}: {report.protocol}")):
        console.print(Text.assemble((f"  {what:<9} ", "bright_black"), printable(text)), soft_wrap=True)
    console.print(_figures(report, protocol))
    console.print(_classes(report, protocol))
    if len(report.classes) <= MATRIX_UP_TO:
        console.print(_matrix(report, protocol))
    elif report.top1.successes < report.n:
        console.print(_confusions(report, protocol))


def _figures(report: Report, protocol: str) -> Table:
    table = _table("figure", "value", "95 % interval", "n", "protocol")
    shares = [("top-1", report.top1), ("top-5", report.top5)]
    threshold = report.calibration.reject_below
    if threshold > 0:
        shares += [
            (f"named: at least {threshold:.1%} sure", report.answered),
            ("top-1 of those named", report.right_when_answered),
        ]
    for name, share in shares:
        if share is not None:
            table.add_row(name, *_share(share), f"{share.n}", protocol, style="bold" if share is report.top1 else "")
    table.add_row("loss (nats)", f"{report.loss:.4f}", "", f"{report.n}", protocol)
    table.add_row("calibration error", _percent(report.calibration_error), "", f"{report.n}", protocol)
    return table


def _classes(report: Report, protocol: str) -> Table:
    table = _table("class", "recognised", "95 % interval", "n", "of those named so", "n", "protocol")
    for row in report.class_rows:
        table.add_row(
            printable(row.label),
            *_share(row.recall),
            f"{row.recall.n}",
            _percent(row.precision.value),
            f"{row.precision.n}",
            protocol,
        )
    return table


def _matrix(report: Report, protocol: str) -> Table:
    """Rows: the class it is; columns: what it was taken for, in the same order."""
    letters = [chr(ord("a") + i) for i in range(len(report.classes))]
    table = _table("", f"is \\ taken for  (n = {report.n}, {protocol})", *letters)
    table.columns[1].justify = "left"
    for i, (letter, label) in enumerate(zip(letters, report.classes, strict=True)):
        cells = [_cell(int(count), i == j) for j, count in enumerate(report.confusion[i])]
        table.add_row(letter, printable(label), *cells)
    return table


def _confusions(report: Report, protocol: str) -> Table:
    table = _table("most often confused", "taken for", "photos", "n", "protocol")
    table.columns[1].justify = "left"
    for mistake in report.top_confusions(CONFUSIONS):
        labels = (printable(mistake.label), printable(mistake.taken_for))
        table.add_row(*labels, f"{mistake.photos}", f"{report.n}", protocol)
    return table


def _table(*headers: str) -> Table:
    """Names to the left, figures to the right; folded rather than cut off where the terminal is narrow."""
    table = Table(box=SIMPLE_HEAD)
    table.add_column(headers[0], overflow="fold")
    for header in headers[1:]:
        table.add_column(header, justify="right", overflow="fold")
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
