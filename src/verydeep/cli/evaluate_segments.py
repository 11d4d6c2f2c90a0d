"""Of `verydeep evaluate`, the tables of a model of pixels."""

import math
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from verydeep.cli.tables import INTERVAL, fits, fitting, make_console, make_table, percent, print_heading
from verydeep.cli.terminal import can_print
from verydeep.errors import UsageError, printable
from verydeep.evaluate.segmentation_report import SegmentationReport

MATRIX_UP_TO = 12  # classes; more would not fit a screen
CONFUSIONS = 15


def check_protocol(protocol: str) -> None:
    """Raises UsageError on one of classifiers."""
    if protocol != "center":
        raise UsageError(
            f"the protocol {protocol} is for classifiers; of a model of pixels the whole photo is looked at.",
            "Leave --protocol out.",
        )


def print_segmentation(report: SegmentationReport, model: str, data: str) -> None:
    """Prints it to stdout. model, data: as the heading shall call them."""
    console = make_console()
    print_heading(console, model, data, report.protocol)
    tables = {
        f"figures, n = {report.n} photos, {int(report.scores.confusion.sum()):,} pixels": _figures(report, console),
        "classes, the best first": _classes(report, console),
    }
    matrix = _matrix(report)
    if len(report.classes) <= MATRIX_UP_TO and fits(matrix, console):
        tables["what each was taken for, in % of its pixels"] = matrix
    elif (confusions := _confusions(report)).row_count:
        tables["most often confused"] = confusions
    for title, table in tables.items():
        console.print(Text(f"\n  {title}", "bright_black"))
        console.print(table)


def _figures(report: SegmentationReport, console: Console) -> Table:
    scores = report.scores
    low, high = scores.mean_iou_interval
    rows = [
        ("mean IoU", _share(scores.mean_iou), f"{100 * low:.1f} to {100 * high:.1f} %"),
        ("global accuracy", _share(scores.global_accuracy), ""),
        ("class average", _share(scores.class_average), ""),
        ("boundary F1", _share(scores.boundary_f1), ""),
        ("loss (nats)", f"{report.loss:.4f}", ""),
    ]
    table = fitting(console, ("figure", "value", INTERVAL), rows, [[2]])
    table.rows[0].style = "bold"
    return table


def _classes(report: SegmentationReport, console: Console) -> Table:
    scores = report.scores
    pixels = scores.confusion.sum(axis=1)
    figures = list(zip(report.classes, scores.ious, scores.class_accuracies, scores.boundary_f1s, pixels, strict=True))
    figures.sort(key=lambda row: math.inf if math.isnan(row[1]) else -row[1])
    total = max(1, int(pixels.sum()))
    rows = [
        (printable(label), *map(_share, (iou, accuracy, contour)), percent(count / total))
        for label, iou, accuracy, contour, count in figures
    ]
    return fitting(console, ("class", "IoU", "found", "boundary F1", "of all pixels"), rows, [[4], [3]])


def _matrix(report: SegmentationReport) -> Table:
    """Rows: the class it is; columns: what its pixels were taken for, in the same order."""
    letters = [chr(ord("a") + i) for i in range(len(report.classes))]
    shares = _taken_for(report)
    rows: list[Sequence[str | Text]] = []
    for i, (letter, label) in enumerate(zip(letters, report.classes, strict=True)):
        rows.append((printable(label), letter, *(_cell(float(share), i == j) for j, share in enumerate(shares[i]))))
    return make_table(("class", "", *letters), rows)


def _confusions(report: SegmentationReport) -> Table:
    wrong = report.scores.confusion.copy()
    np.fill_diagonal(wrong, 0)
    shares = _taken_for(report)
    most = [divmod(int(at), len(wrong)) for at in np.argsort(-wrong, axis=None, kind="stable")[:CONFUSIONS]]
    rows = [
        (printable(report.classes[i]), printable(report.classes[j]), percent(float(shares[i, j])))
        for i, j in most
        if wrong[i, j]
    ]
    return make_table(("class", "taken for", "of its pixels"), rows, names=2)


def _taken_for(report: SegmentationReport) -> np.ndarray:
    """(classes, classes): the share of the pixels of each class, by row, that each was taken for; 0 without pixels."""
    confusion = report.scores.confusion
    shares: np.ndarray = confusion / np.maximum(1, confusion.sum(axis=1, keepdims=True))
    return shares


def _cell(share: float, is_right: bool) -> Text:
    if share == 0:
        return Text("·" if can_print("·") else ".", "bright_black")
    shown = f"{100 * share:.0f}" if share >= 0.005 else "<1"
    return Text(shown, "green" if is_right else "red" if share >= 0.005 else "bright_black")


def _share(value: float) -> str:
    return percent(None if math.isnan(value) else float(value))
