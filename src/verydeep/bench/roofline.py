"""The roofline as a picture: every layer a point below, or by Winograd above, what the machine can do. matplotlib."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verydeep.bench.layers import LayerFigure
from verydeep.bench.report import Group, Report
from verydeep.bench.rows import block_of
from verydeep.errors import MissingExtraError, UsageError
from verydeep.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg")
_INK, _FAINT, _ABOVE, _GREEN = "#262d38", "#707986", "#eef4ec", "#4d7a43"
# From the first block, on large maps, to the last, on small ones; the head apart.
_COLORS = {
    "conv1": "#f2b138",
    "conv2": "#e7825a",
    "conv3": "#cf5b74",
    "conv4": "#8c57a5",
    "conv5": "#4a66b0",
    "head": "#3c8f6b",
}
_TITLES = {"float32": "float32", "fast": "fast: 16-bit whole numbers", "int8": "int8"}


def check_picture(path: str) -> None:
    """Raises UsageError on a name that ends otherwise, and MissingExtraError where matplotlib is not installed."""
    if Path(path).suffix.lower() not in FORMATS:
        raise UsageError(f"cannot draw into {path}: it is neither SVG nor PNG.", "Let its name end in .svg or .png.")
    try:
        import matplotlib  # noqa: F401, asked before an hour of measuring
    except ImportError as error:
        raise MissingExtraError(
            "a picture needs matplotlib, which is not installed.", "pip install 'verydeep[bench]', or leave it out."
        ) from error


def draw_roofline(report: Report, path: str) -> None:
    """The layers of the first batch, a panel for each precision. Raises StorageError."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    group = report.groups[0]
    panels = list(group.layers)
    settings: dict[str, Any] = {"font.size": 10, "svg.fonttype": "none", "text.color": _INK, "axes.labelcolor": _INK}
    with mpl.rc_context(settings):  # type: ignore[arg-type]  # its keys are literals
        figure = Figure(figsize=(6.1 * len(panels) + 0.4, 6.0), layout="constrained")
        all_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        limits = _limits(report, group)
        for axes, precision in zip(all_axes, panels, strict=True):
            _draw_panel(axes, report, group.layers[precision], precision, limits)
        all_axes[0].set_ylabel("GFLOP/s of the direct convolution")
        height, width = report.subject.image_size
        figure.suptitle(
            f"VGG {report.network} layer by layer: {height} x {width} pixels, batch {group.batch}, "
            f"{report.threads} {'thread' if report.threads == 1 else 'threads'}",
            fontsize=14,
            fontweight="bold",
        )
        buffer = io.BytesIO()
        form = Path(path).suffix[1:].lower()
        figure.savefig(buffer, format=form, dpi=160, metadata={"Date": None} if form == "svg" else None)
    atomic_write(path, buffer.getvalue())


def _limits(report: Report, group: Group) -> tuple[tuple[float, float], tuple[float, float]]:
    """Of both axes, the same for all panels: every point and every roof with room around."""
    points = [row for rows in group.layers.values() for row in rows if row.gflops]
    roofs = [report.peaks.gflops[precision] for precision in group.layers if precision in report.peaks.gflops]
    intensities = [row.intensity for row in points]
    speeds = [row.gflops for row in points if row.gflops] + roofs
    return (min(intensities) / 2, max(intensities) * 3), (min(speeds) / 2.2, max(speeds) * 2.2)


def _draw_panel(
    axes: "Axes",
    report: Report,
    rows: Sequence[LayerFigure],
    precision: str,
    limits: tuple[tuple[float, float], tuple[float, float]],
) -> None:
    peak, bandwidth = report.peaks.gflops.get(precision, report.peaks.gflops["float32"]), report.peaks.bandwidth_gbs
    axes.set(xscale="log", yscale="log", xlim=limits[0], ylim=limits[1])
    _draw_roofs(axes, peak, bandwidth, limits)
    points = [row for row in rows if row.gflops]
    for row in points:
        axes.scatter(
            row.intensity, row.gflops or 0, s=62, color=_COLORS[block_of(row.name)], edgecolor="white", zorder=3
        )
    _label(axes, points, lambda x: np.minimum(x * bandwidth, peak))
    axes.set_title(_TITLES.get(precision, precision), loc="left", fontsize=11, color=_INK)
    axes.set_xlabel("FLOP for each byte between memory and processor")
    axes.grid(which="major", color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=_FAINT, which="both")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _draw_roofs(
    axes: "Axes", peak: float, bandwidth: float, limits: tuple[tuple[float, float], tuple[float, float]]
) -> None:
    (left, right), (bottom, top) = limits
    ridge = peak / bandwidth  # FLOP/byte, from where on the processor is the limit
    x = np.array([left, ridge, right])
    axes.plot(x, np.minimum(x * bandwidth, peak), color=_INK, linewidth=1.8, zorder=2)
    axes.fill_between([ridge, right], peak, top, color=_ABOVE, linewidth=0, zorder=0)
    axes.text(right / 1.08, peak / 1.06, f"{peak:,.0f} GFLOP/s, measured", ha="right", va="top")
    start = max(left, bottom / bandwidth) ** 0.35 * ridge**0.65  # on the slope, where the head's points do not lie
    axes.text(
        start,
        start * bandwidth,
        f"{bandwidth:.0f} GB/s, measured\n",  # the empty line keeps it off the slope
        ha="center",
        va="center",
        rotation=float(np.degrees(np.arctan(bandwidth))),  # in the data; on the paper as the axes have it
        rotation_mode="anchor",
        transform_rotates_text=True,
    )
    said = "above the roof: Winograd multiplies less\nthan the direct convolution that is counted"
    axes.text(right / 1.08, top / 1.1, said, ha="right", va="top", color=_GREEN, fontsize=9)


def _label(axes: "Axes", points: Sequence[LayerFigure], roof: Callable[[np.ndarray], np.ndarray]) -> None:
    """One label for points that lie together, beside them where it covers no point, no roof and no other label."""
    places = {row.name: _on_paper(axes, row.intensity, row.gflops or 1.0) for row in points}
    x = np.geomspace(*axes.get_xlim(), 60)
    taken = list(places.values()) + [_on_paper(axes, *point) for point in zip(x, roof(x), strict=True)]
    boxes: list[tuple[float, float, float, float]] = [(0.42, 0.88, 1.0, 1.0)]  # the words about Winograd
    for names in _together(places):
        text = ", ".join([names[0], *(name.removeprefix("conv") for name in names[1:])])
        middle = np.mean([places[name] for name in names], axis=0)
        box = _free_box(middle, (0.0125 * len(text), 0.034), taken, boxes)
        boxes.append(box)
        center = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        is_far = np.hypot(*(np.array(center) - middle)) > 0.035 + (box[2] - box[0]) / 2
        axes.annotate(
            text,
            tuple(middle),
            center,
            xycoords="axes fraction",
            fontsize=8.5,
            color=_darker(_COLORS[block_of(names[0])]),
            ha="center",
            va="center",
            arrowprops={"arrowstyle": "-", "color": "#aab2bc", "linewidth": 0.7} if is_far else None,
            zorder=4,
        )


def _darker(color: str) -> tuple[float, ...]:
    """For letters, which are thinner than points."""
    from matplotlib.colors import to_rgb

    return tuple(0.7 * part for part in to_rgb(color))


def _on_paper(axes: "Axes", intensity: float, gflops: float) -> tuple[float, float]:
    """A point as a share of the axes' width and height."""
    limits = (axes.get_xlim(), axes.get_ylim())
    x, y = (
        float(np.log(value / low) / np.log(high / low))
        for value, (low, high) in zip((intensity, gflops), limits, strict=True)
    )
    return x, y


def _together(places: Mapping[str, tuple[float, float]]) -> list[list[str]]:
    """Names of points of a block that lie nearly on one another, in their order."""
    groups: list[list[str]] = []
    for name, (x, y) in places.items():
        for group in groups:
            other_x, other_y = places[group[0]]
            if block_of(group[0]) == block_of(name) and abs(x - other_x) < 0.025 and abs(y - other_y) < 0.045:
                group.append(name)
                break
        else:
            groups.append([name])
    return groups


def _free_box(
    middle: np.ndarray,
    size: tuple[float, float],
    points: Sequence[tuple[float, float]],
    boxes: Sequence[tuple[float, float, float, float]],
) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of the nearest place for a label around a point that covers nothing."""
    width, height = size
    for distance in (0.0, 0.03, 0.06, 0.1, 0.15, 0.2):
        sideways, upwards = width / 2 + 0.016 + distance, height / 2 + 0.02 + distance
        for dx, dy in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)):
            x, y = middle[0] + dx * sideways, middle[1] + dy * upwards
            box = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            is_inside = min(box) > 0 and max(box) < 1
            is_free = not any(box[0] < px < box[2] and box[1] < py < box[3] for px, py in points) and not any(
                box[0] < right and left < box[2] and box[1] < top and bottom < box[3]
                for left, bottom, right, top in boxes
            )
            if is_inside and is_free:
                return box
    return box
