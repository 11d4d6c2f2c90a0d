"""The tables of `verydeep describe`, coloured on a terminal and plain elsewhere.

Written by hand: importing and running rich would double the time of the command.
"""

import shutil
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import click

from verydeep.accounting.layers import LayerAccount
from verydeep.accounting.summary import Summary
from verydeep.accounting.why3x3 import Stack
from verydeep.cli.terminal import can_print
from verydeep.errors import printable

if TYPE_CHECKING:
    from verydeep.cli.describe import ModelFile

COLORS = {
    **{"input": "bright_black", "conv": "blue", "pool": "red", "unpool": "red", "lrn": "yellow"},
    **{"fc": "green", "gap": "magenta", "unit": "magenta"},
}
PIPED_COLUMNS = 110  # where there is no terminal whose width could be asked for
BAR = 10  # characters of the longest

DEFINITIONS = """\
MAC: a multiplication and its addition. FLOP: a floating-point operation; 1 MAC = 2 FLOP. Both are counted for \
convolutions and fully connected layers; biases, ReLU, batch norm, LRN and pools are left out. Activations: the values \
in a layer's output for one image. Field: the receptive field, the side in pixels of the square of the image that one \
unit sees. Stride: the pixels from that square to its neighbour's."""
ABOVE_UNPOOLS = " Above an unpool they differ from unit to unit: the largest field, the mean stride."
PURPOSES = {"classify": "classify", "localize": "classify and locate", "segment": "segment", "embed": "embed"}
_JUDGED_BY = {  # names of figures that a training notes: what to call them
    "top1": "top-1",
    "class_and_box": "class and box",
    "mean_iou": "mean IoU",
    "recall1": "recall@1",
    "recall@1": "recall@1",  # in the first embedding models
}


Fact: TypeAlias = "tuple[str, str]"  # a subject, and what is said of it


@dataclass(frozen=True)
class Row:
    """The cells of one line, and what kind of layer it is about: that colours it.

    A pool ends a block, an unpool begins one.
    """

    cells: Sequence[str]
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """Columns of text under their headers; a column without a header holds bars."""

    headers: Sequence[str]
    rows: Sequence[Row]
    footer: Sequence[str] = ()
    left: Sequence[str] = ("layer", "stack", "set by", "")  # headers of the columns that are not figures

    def fitting(self, columns: int, *optional: str) -> "Table":
        """The table without as many of the columns named as there is no room for, the first one first."""
        table = self
        for header in optional:
            if 2 * len(table.headers) + sum(table._widths()) <= columns:
                break
            table = table._without(header)
        return table

    def lines(self) -> Iterator[str]:
        """The table line by line, with ANSI colours."""
        widths = self._widths()
        rule = "  " + _rule() * (sum(widths) + 2 * len(widths) - 2)
        yield from (click.style(self._line(self.headers, widths), bold=True), click.style(rule, dim=True))
        before = ""
        for row in self.rows:
            if before in ("input", "pool") or row.kind == "unpool":
                yield ""
            yield self._line(row.cells, widths, row.kind)
            before = row.kind
        if self.footer:
            yield from (click.style(rule, dim=True), click.style(self._line(self.footer, widths), bold=True))

    def _without(self, header: str) -> "Table":
        kept = [i for i, name in enumerate(self.headers) if name != header]
        return Table(
            [self.headers[i] for i in kept],
            [Row([row.cells[i] for i in kept], row.kind) for row in self.rows],
            [self.footer[i] for i in kept] if self.footer else (),
        )

    def _widths(self) -> list[int]:
        return [max(map(len, column)) for column in zip(*self._all_cells(), strict=True)]

    def _all_cells(self) -> list[Sequence[str]]:
        return [self.headers, *(row.cells for row in self.rows), *([self.footer] if self.footer else [])]

    def _line(self, cells: Sequence[str], widths: Sequence[int], kind: str = "") -> str:
        padded = []
        for header, cell, width in zip(self.headers, cells, widths, strict=True):
            text = cell.ljust(width) if header in self.left else cell.rjust(width)
            padded.append(click.style(text, fg=COLORS[kind]) if kind and header in ("layer", "") else text)
        return "  " + "  ".join(padded).rstrip()


def print_summary(summary: Summary, title: str, model: "ModelFile | None", stacks: Sequence[Stack]) -> None:
    """Prints it to stdout. model: None for a configuration. stacks: of why 3x3, empty where not asked for."""
    columns = shutil.get_terminal_size((PIPED_COLUMNS, 24)).columns
    lines = [*_heading(title, _subtitle(summary), columns), ""]
    layers = _layers(summary).fitting(columns, "", "biases", "activations", "stride", "field")
    lines += [*layers.lines(), ""]
    lines += _paragraphs(_facts(summary, model), columns)
    if model:
        lines += ["", *_paragraphs(_model_facts(model), columns)]
    has_unpools = any(account.kind == "unpool" for account in summary.layers)
    definitions = DEFINITIONS + (ABOVE_UNPOOLS if has_unpools else "")
    lines += ["", *(click.style(line, dim=True) for line in _wrap(definitions, columns)), ""]
    if summary.times:
        lines += [*_heading("Predicted time", f"{_batch(summary)}, by the roofline model", columns), ""]
        lines += [*_times(summary).fitting(columns, "traffic ms", "compute ms").lines(), ""]
    if stacks:
        channels, side = stacks[0].channels, stacks[0].map_size
        subtitle = f"stacks that see the same, {channels} channels on a map of {side}x{side}"
        lines += [
            *_heading("Why 3x3", subtitle, columns),
            "",
            *_stacks(stacks).fitting(columns, "ReLUs").lines(),
            "",
        ]
    click.echo("\n".join(lines))


def _heading(title: str, subtitle: str, columns: int) -> list[str]:
    """One line, or more where there is no room for it."""
    if len(title) + 2 + len(subtitle) <= columns:
        return [f"{click.style(title, bold=True)}  {subtitle}"]
    return [click.style(title, bold=True), *_wrap(subtitle, columns)]


def _subtitle(summary: Summary) -> str:
    architecture, (height, width) = summary.architecture, summary.image_size
    image = f"{height}x{width}x{architecture.input_channels}"
    classes = "1 class" if architecture.classes == 1 else f"{architecture.classes:,} classes"
    answer = f"{architecture.dimensions:,} dimensions" if architecture.task == "embed" else classes
    return f"{summary.totals.weight_layers} weight layers, image {image}, {answer}, {architecture.head} head"


def _layers(summary: Summary) -> Table:
    most = max(account.macs for account in summary.layers)
    totals = summary.totals
    sums = (totals.weights, totals.biases, totals.macs, totals.activations)
    weights, biases, macs, activations = (f"{number:,}" for number in sums)
    return Table(
        ["layer", "output", "weights", "biases", "MACs", "", "activations", "field", "stride"],
        [Row(_layer_cells(account, most), account.kind) for account in summary.layers],
        ["total", "", weights, biases, macs, "", activations, "", ""],
    )


def _layer_cells(account: LayerAccount, most: int) -> list[str]:
    channels, height, width = account.output_shape
    return [
        account.name,
        f"{height}x{width}x{channels}",
        _or_blank(account.weights),
        _or_blank(account.biases),
        _or_blank(account.macs),
        _bar(account.macs / most),
        f"{account.activations:,}",
        str(account.receptive_field),
        str(account.stride),
    ]


def _facts(summary: Summary, model: "ModelFile | None") -> list[Fact]:
    """What follows from the layers."""
    totals = summary.totals
    batch_norm = f" + {totals.batch_norm_parameters:,} of batch norm" if totals.batch_norm_parameters else ""
    twin = "" if totals.batch_norm_parameters else f"; with batch norm {totals.parameters_with_batch_norm:,}"
    parts, shares = f"convolutions {totals.conv_parameters:,}", "all of convolutions"
    if totals.fc_parameters:
        parts += f", fully connected {totals.fc_parameters:,} ({totals.fc_parameters / totals.parameters:.1%})"
        conv_share, fc_share = totals.conv_macs / totals.macs, totals.fc_macs / totals.macs
        shares = f"convolutions {conv_share:.1%}, fully connected {fc_share:.1%}"
    in_float32 = f"{totals.file_mb:,.2f} MB = {totals.file_mib:,.2f} MiB in float32"
    return [
        ("parameters", f"{totals.parameters:,} = {totals.weights:,} weights + {totals.biases:,} biases{batch_norm}"),
        ("", f"{parts}{twin}"),
        ("operations", f"{totals.macs:,} MACs = {totals.flops / 1e9:,.2f} GFLOP an image; {shares}"),
        (
            "activations",
            f"{totals.activations:,} values, {totals.weight_layer_activations:,} of them of layers with weights",
        ),
        ("model file", in_float32 if model is None else f"{model.bytes / 1e6:,.2f} MB; {in_float32}"),
        *_memory(summary),
    ]


def _model_facts(model: "ModelFile") -> list[Fact]:
    """What the file says beside the network. All of it comes from outside."""
    info = model.info
    preprocessing, calibration = info.preprocessing, info.calibration
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (preprocessing.mean, preprocessing.std))
    calibrated = (
        f"logits divided by {calibration.temperature:.3g}; under {calibration.reject_below:.1%} probably none of the "
        f"classes; fitted on {calibration.photos:,} photos"
    )
    return [
        ("classes", printable(", ".join(info.classes))),
        (
            "photos",
            f"{preprocessing.in_words}; less the mean {mean}, divided by {std}",
        ),
        ("confidence", calibrated if calibration.photos else "not calibrated"),
        *((printable(name), printable(_origin(value))) for name, value in info.origin.items()),
    ]


def _origin(value: object) -> str:
    """What the training noted: a text, an accuracy with its terms, or anything else that JSON holds."""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        for name, in_words in _JUDGED_BY.items():
            match value | {"judged": value.get(name)}:
                case {
                    "protocol": str(protocol),
                    "n": int(n),
                    "judged": {"value": float(found), "interval_95": [float() | int() as low, float() | int() as high]},
                }:
                    return f"{in_words} {found:.1%} (95 % interval {low:.1%} to {high:.1%}, n = {n:,}): {protocol}"
    import json  # most often there is nothing of the kind

    return json.dumps(value)


def _paragraphs(facts: Sequence[Fact], columns: int) -> Iterator[str]:
    """A paragraph a subject."""
    for subject, text in facts:
        first, *more = _wrap(text, columns, indent=15) or [""]
        yield "  " + click.style(f"{subject:13}", bold=True) + first.lstrip()
        yield from more


def _memory(summary: Summary) -> list[tuple[str, str]]:
    inference, training = summary.inference, summary.training
    parts = {"weights": inference.weights_bytes, "maps": inference.activations_bytes}
    purpose = PURPOSES[summary.architecture.task]
    lines = [("memory", f"to {purpose} {_batch(summary)}: {_sum_of_bytes(parts)}")]
    if training:
        parts = {
            "weights": training.weights_bytes + training.cast_weights_bytes,
            "gradients": training.gradients_bytes,
            "momentum": training.momentum_bytes,
            "EMA": training.ema_bytes,
            "maps": training.activations_bytes + training.activation_gradients_bytes,
        }
        lines.append(("", f"to train on {_batch(summary)}: {_sum_of_bytes(parts)}"))
    return lines


def _times(summary: Summary) -> Table:
    slowest = max(time.time_ms for time in summary.times)
    rows = []
    for account, time in zip(summary.layers[1:], summary.times, strict=True):
        compute = f"{time.compute_ms:,.3f}" if time.flops else ""
        milliseconds = [compute, f"{time.traffic_ms:,.3f}", f"{time.time_ms:,.3f}"]
        bound = "compute" if time.is_compute_bound else "memory"
        rows.append(Row([time.name, *milliseconds, _bar(time.time_ms / slowest), bound], account.kind))
    compute_ms = sum(time.compute_ms for time in summary.times)
    traffic_ms = sum(time.traffic_ms for time in summary.times)
    sums = [f"{total:,.3f}" for total in (compute_ms, traffic_ms, summary.time_ms)]
    rate = f"{1e3 * summary.batch_size / summary.time_ms:,.1f} images/s"
    return Table(["layer", "compute ms", "traffic ms", "time ms", "", "set by"], rows, ["total", *sums, rate, ""])


def _stacks(stacks: Sequence[Stack]) -> Table:
    rows = []
    for stack in stacks:
        weights = f"{stack.weights_per_square_channel} C^2 = {stack.weights:,}"
        figures = [str(stack.receptive_field), weights, f"{stack.macs:,}", str(stack.nonlinearities)]
        rows.append(Row([stack.name, *figures]))
    return Table(["stack", "field", "weights", "MACs", "ReLUs"], rows)


def _batch(summary: Summary) -> str:
    images = "1 image" if summary.batch_size == 1 else f"{summary.batch_size:,} images"
    return f"{images} in {summary.precision}"


def _sum_of_bytes(parts: dict[str, int]) -> str:
    terms = " + ".join(f"{name} {_bytes(size)}" for name, size in parts.items() if size)
    return f"{_bytes(sum(parts.values()))} = {terms}"


def _bytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _or_blank(number: int) -> str:
    return f"{number:,}" if number else ""


def _bar(share: float) -> str:
    return ("━" if can_print("━") else "=") * round(BAR * share)


def _rule() -> str:
    return "─" if can_print("─") else "-"


def _wrap(text: str, columns: int, indent: int = 2) -> list[str]:
    """Lines that fit, at most PIPED_COLUMNS wide: longer ones are hard to read."""
    width = max(40, min(columns, PIPED_COLUMNS) - 2)
    return textwrap.wrap(text, width, initial_indent=" " * indent, subsequent_indent=" " * indent)
