"""Of `verydeep evaluate`, the tables of a model with boxes."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from verydeep.cli.tables import INTERVAL, fitting, make_console, percent, print_heading
from verydeep.errors import printable
from verydeep.evaluate.localization_report import OVERLAP, TOP, LocalizationReport
from verydeep.evaluate.report import Proportion


def print_localization(report: LocalizationReport, model: str, data: str) -> None:
    """Prints it to stdout. model, data: as the heading shall call them."""
    console = make_console()
    print_heading(console, model, data, f"{report.protocol_name}: {report.protocol}")
    without = f", and {report.without_box} without a box, which are in none of them" if report.without_box else ""
    tables = {
        f"figures, n = {report.n} photos{without}; a box is right with an IoU over {OVERLAP}": _figures(
            report, console
        ),
        "classes": _classes(report, console),
    }
    for title, table in tables.items():
        console.print(Text(f"\n  {title}", "bright_black"))
        console.print(table)


def _figures(report: LocalizationReport, console: Console) -> Table:
    top = min(TOP, len(report.classes))
    shares = {
        "class and box, first answer": report.top1,
        f"class and box, one of {top} answers": report.top5,
        "the box, its class told": report.given_class,
        "the class, first answer": report.class_top1,
        f"the class, one of {top} answers": report.class_top5,
    }
    low, high = report.mean_iou.interval
    rows = [(name, *_share(share)) for name, share in shares.items()]
    rows.append(("mean IoU, the class told", f"{report.mean_iou.value:.3f}", f"{low:.3f} to {high:.3f}"))
    table = fitting(console, ("figure", "value", INTERVAL), rows, [[2]])
    table.rows[0].style = "bold"
    return table


def _classes(report: LocalizationReport, console: Console) -> Table:
    headers = ("class", "class and box", INTERVAL, "box", "mean IoU", "n")
    rows = [
        (
            printable(row.label),
            *_share(row.right),
            percent(row.placed.value),
            "-" if row.mean_iou is None else f"{row.mean_iou:.3f}",
            f"{row.right.n}",
        )
        for row in report.class_rows
    ]
    return fitting(console, headers, rows, [[2], [4]])


def _share(share: Proportion) -> tuple[str, str]:
    if share.value is None:
        return "-", "-"
    low, high = share.interval
    return percent(share.value), f"{100 * low:.1f} to {100 * high:.1f} %"
