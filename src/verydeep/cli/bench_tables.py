"""The tables of `verydeep bench`, coloured on a terminal and plain elsewhere."""

import os
from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from verydeep.bench.comparisons import Comparison
from verydeep.bench.contestants import Contestant
from verydeep.bench.figures import Figure
from verydeep.bench.layers import LayerFigure, worst_block
from verydeep.bench.report import Group, Report
from verydeep.errors import printable

PIPED_COLUMNS = 140  # where there is no terminal whose width could be asked for
SPREAD = "5th to 95th percentile"

DEFINITIONS = """\
Medians of n runs, taken in turns; runs during which other programs used the processor are not counted. A ~ marks a \
figure of which no run was undisturbed. Error: the largest of a logit, over the largest logit, against the reference \
in float64. Memory: the most that the process ever held (VmHWM), files counted where they were touched; of starts, \
that any held, the first one, too. Start: a fresh process to its first prediction, its files in memory already; the \
first start has nothing kept by an earlier one. Times as fast: its percentiles are those of rounds drawn anew."""
PREDICTION = """\
Predicted: the longer of the direct convolution's operations at the measured peak, and of moving its weights and the \
maps, which are float32, once at the measured bandwidth. Winograd multiplies less, and may be faster than predicted."""


def print_report(report: Report) -> None:
    """Prints it to stdout."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPED_COLUMNS
    for what, text in _heading(report):
        console.print(Text.assemble((f"  {what:<9} ", "bright_black"), printable(text)), soft_wrap=True)
    for group in report.groups:
        _print_group(console, report, group)
    if report.starts:
        _show(console, "cold start, batch 1", _starts(report))
    console.print(Text(DEFINITIONS, "bright_black"))
    if any(group.layers for group in report.groups):
        console.print(Text(PREDICTION, "bright_black"))


def _heading(report: Report) -> Iterable[tuple[str, str]]:
    weights = "random weights" if report.subject.label == "-" else report.subject.label
    yield "network", f"{report.network}, {report.inputs}, {weights}"
    yield "threads", f"{report.threads} of each engine"
    peaks = ", ".join(f"{precision} {gflops:,.0f} GFLOP/s" for precision, gflops in report.peaks.gflops.items())
    yield "peaks", f"{peaks}, memory {report.peaks.bandwidth_gbs:.1f} GB/s ({report.peaks.how})"


def _print_group(console: Console, report: Report, group: Group) -> None:
    _show(console, f"prediction, batch {group.batch}", _contestants(group))
    if group.comparisons:
        _show(console, f"native beside the best rivals, batch {group.batch}", _comparisons(group.comparisons))
    for precision, rows in group.layers.items():
        _show(console, f"layers of native in {precision}, batch {group.batch}", _layers(rows))
    if len(group.blocks) > 0:
        _show(console, f"blocks in ms, batch {group.batch}", _blocks(group))
        for ours, rival in (("native", "ncnn"), ("native-fast", "ncnn-bf16"), ("native-int8", "ncnn-int8")):
            worst = worst_block(group.blocks, ours, rival)
            if worst:
                console.print(f"  {ours} takes at most {worst[1]:.2f} of the time of {rival}, in {worst[0]}.")


def _contestants(group: Group) -> Table:
    headers = ("engine", "precision", "ms a batch", SPREAD, "n", "disturbed", "images a second", "error", "memory")
    table = _table(headers, names=2)
    for one in sorted(group.measured, key=lambda one: one.latency_ms.value):
        cells = (
            *_names(one.contestant),
            _value(one.latency_ms),
            _spread(one.latency_ms),
            str(one.latency_ms.n),
            str(one.disturbed),
            f"{1e3 * group.batch / one.latency_ms.value:.1f}",
            f"{one.error:.1e}",
            _megabytes(one.memory_bytes),
        )
        table.add_row(*cells, style="bold" if one.contestant.is_ours else "")
    return table


def _comparisons(comparisons: Sequence[Comparison]) -> Table:
    table = _table(("engine", "precision", "class", "best rival", "times as fast", SPREAD), names=4)
    for one in comparisons:
        is_its_own = one.number_class == one.ours.number_class
        cells = (*_names(one.ours), one.number_class, one.best_rival, _value(one.times), _spread(one.times))
        table.add_row(*cells, style="bold" if is_its_own else "")
    return table


def _layers(rows: Sequence[LayerFigure]) -> Table:
    headers = ("layer", "measured ms", SPREAD, "predicted ms", "bound by", "FLOP/byte", "GFLOP/s")
    table = _table(headers)
    for row in rows:
        bound = "processor" if row.predicted.is_compute_bound else "memory"
        predicted = (f"{row.predicted.time_ms:.3f}", bound, f"{row.intensity:.1f}")
        if row.measured_ms:
            speed = f"{row.gflops:,.0f}" if row.gflops else "-"
            table.add_row(row.name, _value(row.measured_ms), _spread(row.measured_ms), *predicted, speed)
        else:
            table.add_row(row.name, "with the one above", "", *predicted, "")
    measured = sum(row.measured_ms.value for row in rows if row.measured_ms)
    table.add_row("sum", f"{measured:.4g}", "", f"{sum(row.predicted.time_ms for row in rows):.3f}", style="bold")
    return table


def _blocks(group: Group) -> Table:
    names = list(dict.fromkeys(name for block in group.blocks for name in block.measured_ms))
    table = _table(("block", *names))
    for block in group.blocks:
        cells = (_value(block.measured_ms[name]) if name in block.measured_ms else "-" for name in names)
        table.add_row(block.name, *cells)
    return table


def _starts(report: Report) -> Table:
    table = _table(("engine", "precision", "first start s", "later starts s", SPREAD, "n", "memory"), names=2)
    for start in sorted(report.starts, key=lambda start: start.second_s.value):
        cells = (
            *_names(start.contestant),
            f"{start.first_s:.3f}",
            _value(start.second_s),
            _spread(start.second_s),
            str(start.second_s.n),
            _megabytes(start.memory_bytes),
        )
        table.add_row(*cells, style="bold" if start.contestant.is_ours else "")
    return table


def _show(console: Console, title: str, table: Table) -> None:
    console.print(Text(f"\n  {title}", "bright_black"))
    console.print(table)


def _table(headers: Sequence[str], names: int = 1) -> Table:
    """Names to the left; figures to the right, never cut."""
    table = Table(box=SIMPLE_HEAD)
    for i, header in enumerate(headers):
        if i < names:
            table.add_column(header, overflow="fold")
        else:
            table.add_column(header, justify="right", no_wrap=header != SPREAD)
    return table


def _names(contestant: Contestant) -> tuple[str, str]:
    return contestant.name, contestant.precision


def _value(figure: Figure) -> str:
    return f"{'' if figure.is_clean else '~'}{figure.value:.4g}"


def _spread(figure: Figure) -> str:
    return f"{figure.low:.4g} to {figure.high:.4g}"


def _megabytes(size: int | None) -> str:
    return "-" if size is None else f"{size / 1e6:,.0f} MB"
