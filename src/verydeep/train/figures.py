"""The figures of a run's report: SVG to stand inside a page and take its colours. matplotlib draws them.

The page's style sheet gives the colours, by the names in `_COLORS`, so that one drawing serves light and dark. No
text from outside gets into a figure.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from verydeep.errors import MissingExtraError
from verydeep.evaluate.metrics import calibration_bins, wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from verydeep.train.learning_curve import LearningCurve

Rows = Sequence[Mapping[str, float]]

# A drawing is made in these colours, which nothing else has; each becomes the style sheet's variable of that name.
_COLORS = {"ink": "#010203", "faint": "#010204", "training": "#010205", "validation": "#010206", "rate": "#010207"}
_SIZE = (4.2, 2.7)  # inches of 72 px: about a phone's width, and two or three beside each other on a screen
_FEW_EPOCHS = 30  # so many points can be told apart on a curve; a single one is seen only with its mark


def loss_figure(metrics: Rows, floor: float) -> str:
    """The losses by epoch. floor: the least that the training loss can be, in nats."""

    def draw(axes: "Axes") -> None:
        _curve(axes, metrics, "loss", "training")
        _curve(axes, metrics, "validation_loss", "validation")
        if floor:
            axes.axhline(
                floor, color=_COLORS["faint"], linestyle="dashed", linewidth=1, label="lowest possible training"
            )
        axes.legend(frameon=False)

    return _svg(draw, "loss", "Training and validation loss by epoch", "epoch")


def score_figure(metrics: Rows, metric: str, in_words: str, n: int | None) -> str:
    """What validation is judged by, by epoch; where that is a share of n photos, with its 95 % interval.

    metric: "top1" is "validation_top1" in the rows. in_words: what to call it.
    """
    key = f"validation_{metric}"

    def draw(axes: "Axes") -> None:
        if n is not None:
            bounds = [wilson_interval(round(row[key] * n), n) for row in metrics]
            low, high = np.transpose(bounds)
            color, epochs = _COLORS["validation"], [row["epoch"] for row in metrics]
            axes.fill_between(epochs, low, high, color=color, alpha=0.2, linewidth=0, label="95 % interval")
        _curve(axes, metrics, key, "validation")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.legend(frameon=False, loc="lower right")

    return _svg(draw, metric, f"Validation {in_words} by epoch", "epoch")


def rate_figure(metrics: Rows, is_log: bool) -> str:
    """The learning rate at the end of each epoch. is_log: for a schedule that divides it by tens."""

    def draw(axes: "Axes") -> None:
        _curve(axes, metrics, "learning_rate", "rate")
        axes.set_yscale("log" if is_log and all(row["learning_rate"] > 0 for row in metrics) else "linear")

    return _svg(draw, "rate", "Learning rate by epoch", "epoch")


def learning_curve_figure(curve: "LearningCurve") -> str:
    """Top-1 by the number of photos trained on, a point a draw, and the line through their means."""

    def draw(axes: "Axes") -> None:
        for photos, values in zip(curve.photos, curve.top1, strict=True):
            axes.plot([photos] * len(values), values, "o", color=_COLORS["validation"], markersize=3, alpha=0.5)
        axes.plot(curve.photos, [np.mean(values) for values in curve.top1], color=_COLORS["validation"], linewidth=1.6)
        axes.set_xscale("log", base=2)
        axes.set_xticks(curve.photos, [f"{photos:,}" for photos in curve.photos])
        axes.minorticks_off()
        axes.yaxis.set_major_formatter("{x:.0%}")

    return _svg(draw, "learning-curve", "Validation top-1 by photos", "photos trained on")


def reliability_figure(posteriors: np.ndarray, labels: np.ndarray, reject_below: float) -> str:
    """Accuracy by confidence, with 95 % intervals; the photos of each point are one interval of the confidence.

    posteriors: (n, classes). labels: (n,). reject_below: the confidence under which no class is named; 0 for none.
    """
    counts, right, confidence = calibration_bins(posteriors, labels)
    used = np.flatnonzero(counts)
    accuracy, confidence = right[used] / counts[used], confidence[used] / counts[used]
    bounds = np.array([wilson_interval(int(right[i]), int(counts[i])) for i in used])

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=_COLORS["faint"], linestyle="dashed", linewidth=1, label="honest")
        if reject_below:
            axes.axvspan(0, reject_below, color=_COLORS["faint"], alpha=0.15, linewidth=0, label="no class is named")
        errors = np.maximum([accuracy - bounds[:, 0], bounds[:, 1] - accuracy], 0)
        axes.errorbar(
            confidence,
            accuracy,
            errors,
            fmt="o",
            markersize=4,
            elinewidth=1,
            color=_COLORS["validation"],
            label="photos",
        )
        axes.set(xlim=(0, 1.02), ylim=(0, 1.03), ylabel="accuracy")
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.yaxis.set_major_formatter("{x:.0%}")
        axes.figure.legend(frameon=False, loc="outside lower center", ncols=3)

    return _svg(draw, "reliability", "Accuracy by confidence", "confidence")


def _curve(axes: "Axes", metrics: Rows, name: str, color: str) -> None:
    """A column of the metrics by epoch."""
    marker = "o" if len(metrics) < _FEW_EPOCHS else ""
    epochs, values = [row["epoch"] for row in metrics], [row[name] for row in metrics]
    axes.plot(epochs, values, color=_COLORS[color], marker=marker, markersize=2.5, linewidth=1.6, label=color)


def _svg(draw: Callable[["Axes"], None], name: str, title: str, x_label: str) -> str:
    """A figure as an <svg> element. name: unlike that of any other figure of the page. Raises MissingExtraError."""
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator
    except ImportError as error:
        raise MissingExtraError(
            "the figures of a report need matplotlib, which is not installed.", "pip install 'verydeep[train]'"
        ) from error
    with mpl.rc_context(_style(name)):
        figure = Figure(figsize=_SIZE, layout="constrained")
        axes = figure.subplots()
        draw(axes)
        axes.set_title(title, loc="left")
        axes.set_xlabel(x_label)
        if x_label == "epoch":
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(visible=True)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _for_page(file.getvalue(), name, title)


def _style(name: str) -> dict[Any, Any]:
    """matplotlib's settings, none of the user's. The salt makes the same drawing the same text."""
    ink, faint = _COLORS["ink"], _COLORS["faint"]
    return {
        "svg.fonttype": "none",  # text stays text, in the page's font
        "svg.hashsalt": name,
        "savefig.transparent": True,
        "font.size": 10,
        "axes.titlesize": 11,
        "text.color": ink,
        "axes.labelcolor": ink,
        "axes.titlecolor": ink,
        "axes.edgecolor": faint,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": faint,
        "ytick.color": faint,
        "xtick.labelcolor": ink,
        "ytick.labelcolor": ink,
        "grid.color": faint,
        "grid.alpha": 0.25,
        "grid.linewidth": 0.7,
        "legend.fontsize": 9,
    }


def _for_page(svg: str, name: str, title: str) -> str:
    """matplotlib's file -> an element for HTML: no prologue, ids of its own, the page's font and colours."""
    svg = svg[svg.index("<svg") :]
    view = re.search(r'viewBox="[^"]*"', svg)
    assert view  # matplotlib always writes one
    body = re.sub(r"^<svg[^>]*>\s*<defs>\s*<style.*?</style>\s*</defs>", "", svg, flags=re.DOTALL)
    body = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", body)
    body = re.sub(r" font-family: [^;]*;", "", body)
    for variable, color in _COLORS.items():
        body = body.replace(color, f"var(--{variable})")
    return f'<svg {view[0]} role="img" aria-label="{title}">{body.strip()}'
