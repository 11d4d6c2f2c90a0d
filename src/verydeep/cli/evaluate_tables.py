"""The tables of `verydeep evaluate`."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from verydeep.cli.tables import INTERVAL, fits, fitting, make_console, make_table, percent, print_heading
from verydeep.cli.terminal import can_print
from verydeep.errors import printable
from verydeep.evaluate import Report
from verydeep.evaluate.embedding_report import EmbeddingReport
from verydeep.evaluate.report import Proportion

MATRIX_UP_TO = 12  # classes; more would not fit a screen, and the most frequent confusions are shown
CONFUSIONS = 15


def print_report(report: Report, model: str, data: str) -> None:
    """Prints it to stdout. model, data: as the heading shall call them."""
    console = make_console()
    print_heading(console, model, data, f"{report.protocol_name}: {report.protocol}")
    tables = {"figures": _figures(report, console), "classes": _classes(report, console)}
    matrix = _matrix(report)
    if len(report.classes) <= MATRIX_UP_TO and fits(matrix, console):
        tables[f"what each was taken for, n = {report.n}"] = matrix
    elif report.top1.successes < report.n:
        tables[f"most often confused, n = {report.n}"] = _confusions(report)
    _print_tables(console, tables, report.protocol_name)


def print_embedding_report(report: EmbeddingReport, model: str, data: str) -> None:
    """As `print_report`."""
    console = make_console()
    print_heading(console, model, data, f"center: {report.protocol}")
    rows = [
        (name, percent(one.value), f"{100 * one.interval[0]:.1f} to {100 * one.interval[1]:.1f} %", f"{report.n}")
        for name, one in report.figures.items()
    ]
    rows.append(("loss (nats)", f"{report.loss:.4f}", "", f"{report.n}"))
    classes = [(printable(label), *_share(share), f"{share.n}") for label, share in report.class_rows]
    tables = {
        "figures": fitting(console, ("figure", "value", INTERVAL, "n"), rows, [[2]]),
        "classes": fitting(console, ("class", "recall@1", INTERVAL, "n"), classes, [[2]]),
    }
    tables["figures"].rows[0].style = "bold"
    if pairs := report.top_confusions(CONFUSIONS):
        confused = [(printable(pair.label), printable(pair.taken_for), f"{pair.photos}") for pair in pairs]
        tables[f"most often nearest to another class, n = {report.n}"] = make_table(
            ("class", "nearest", "photos"), confused, names=2
        )
    _print_tables(console, tables, "center")


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
        ("calibration error", percent(report.calibration_error), "", f"{report.n}"),
    ]
    table = fitting(console, ("figure", "value", INTERVAL, "n"), rows, [[2]])
    table.rows[0].style = "bold"
    return table


def _classes(report: Report, console: Console) -> Table:
    headers = ("class", "recognised", INTERVAL, "n", "of those named so", "n")
    rows = [
        (
            printable(row.label),
            *_share(row.recall),
            f"{row.recall.n}",
            percent(row.precision.value),
            f"{row.precision.n}",
        )
        for row in report.class_rows
    ]
    return fitting(console, headers, rows, [[4, 5], [2]])


def _matrix(report: Report) -> Table:
    """Rows: the class it is; columns: what it was taken for, in the same order."""
    letters = [chr(ord("a") + i) for i in range(len(report.classes))]
    rows: list[Sequence[str | Text]] = []
    for i, (letter, label) in enumerate(zip(letters, report.classes, strict=True)):
        cells = [_cell(int(count), i == j) for j, count in enumerate(report.confusion[i])]
        rows.append((printable(label), letter, *cells))
    return make_table(("class", "", *letters), rows)


def _confusions(report: Report) -> Table:
    rows = [
        (printable(mistake.label), printable(mistake.taken_for), f"{mistake.photos}")
        for mistake in report.top_confusions(CONFUSIONS)
    ]
    return make_table(("class", "taken for", "photos"), rows, names=2)


def _cell(count: int, is_right: bool) -> Text:
    if count:
        return Text(f"{count}", "green" if is_right else "red")
    return Text("·" if can_print("·") else ".", "bright_black")


def _share(share: Proportion) -> Sequence[str]:
    if share.value is None:
        return ("-", "-")
    low, high = share.interval
    return (percent(share.value), f"{100 * low:.1f} to {100 * high:.1f} %")
