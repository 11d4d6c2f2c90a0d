"""The report of a run, `report.html`: how it went, what the model can and cannot do, and what to try, on one page.

The page holds all that it shows: it opens without a network, from any folder, light or dark. Every text from outside
passes `page.text`; should one slip by, the page forbids itself to run scripts or to load anything.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from verydeep.accounting import account_layers, total
from verydeep.architecture import Architecture
from verydeep.files import atomic_write
from verydeep.image.draw import data_uri, draw_filters
from verydeep.nouns import Weights
from verydeep.train.card import begun_from, use
from verydeep.train.figures import learning_curve_figure, loss_figure, rate_figure, score_figure
from verydeep.train.page import prose, table, text
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import Task, Validation, task_of
from verydeep.weights import ModelInfo

if TYPE_CHECKING:
    from verydeep.train.learning_curve import LearningCurve

REPORT_FILE = "report.html"
Rows = Sequence[Mapping[str, float]]

NEARLY_ZERO = 0.01  # of the strongest kernel's norm: batch norm aside, such a kernel passes nothing on
MOST_UNREAD = 10  # unreadable photos that are named


def write_report(
    folder: Path,
    info: ModelInfo,
    report: Validation,
    recipe: Recipe,
    *,
    metrics: Rows,
    weights: Weights,
    curve: "LearningCurve | None" = None,
    notes: Sequence[str] = (),
) -> Path:
    """Writes REPORT_FILE into the run's folder; see `render_report`. Raises StorageError and MissingExtraError."""
    path = folder / REPORT_FILE
    page = render_report(info, report, recipe, metrics=metrics, weights=weights, curve=curve, notes=notes)
    atomic_write(path, page)
    return path


def render_report(
    info: ModelInfo,
    report: Validation,
    recipe: Recipe,
    *,
    metrics: Rows,
    weights: Weights,
    curve: "LearningCurve | None" = None,
    notes: Sequence[str] = (),
) -> str:
    """The page, HTML. It reads those validation photos that it shows; one that has gone is shown as such.

    report: the validation of the finished model. metrics: the rows of METRICS_FILE, maybe none. curve: what fewer
    photos teach. notes: sentences to stand with the verdict. Raises MissingExtraError where matplotlib is missing.
    """
    task = task_of(recipe)
    parts = [
        *_head(info, report, recipe, metrics),
        *_verdict(info, report, recipe, metrics, curve, notes),
        *_curves(task, report, recipe, metrics),
        *_learning_curve(curve),
        *task.sections(info, report),
        *_filters(weights),
        *_time(metrics),
        *_settings(info, recipe),
        *_commands(info),
    ]
    page = resources.files("verydeep.train").joinpath(REPORT_FILE).read_text(encoding="utf-8")
    return Template(page).substitute(title=_title(info), body="\n".join(parts))


def _title(info: ModelInfo) -> str:
    data = info.origin.get("data", "photos")
    return f"{_network(info.architecture)}, trained on {text(data)}"


def _network(architecture: Architecture) -> str:
    """ "VGG-A (batch norm, 0.5 times as wide)", "VGG-D with SegNet's decoder", "SegNet-Basic" """
    name = f"VGG-{architecture.configuration}"
    if architecture.head == "segnet":
        is_basic = architecture.configuration == "SegNet-Basic"
        name = architecture.configuration if is_basic else f"{name} with SegNet's decoder"
    traits = ["batch norm"] if architecture.batch_norm else []
    traits += [f"{architecture.width:g} times as wide"] if architecture.width != 1 else []
    return name + (f" ({', '.join(traits)})" if traits else "")


def _head(info: ModelInfo, report: Validation, recipe: Recipe, metrics: Rows) -> Iterable[str]:
    crop = info.preprocessing.crop
    totals = total(account_layers(info.architecture, (crop, crop)))
    trained = [f"{info.origin['photos']:,} photos"] if "photos" in info.origin else []
    trained += [f"{metrics[-1]['epoch']:.0f} epochs", _duration(metrics[-1]["seconds"])] if metrics else []
    yield f"<h1>{_title(info)}</h1>"
    result, *rest = report.lead
    yield f'<p class="lead"><strong>{text(result)}</strong> {text(" ".join(rest))}</p>'
    yield (
        f'<p class="faint">{len(info.classes):,} classes. Protocol: {text(report.protocol)}. Trained at '
        f"{recipe.sizes_in_words}: {', '.join(trained) or 'how long was not recorded'}. "
        f"{totals.parameters:,} parameters, {totals.macs:,} multiply-adds a photo.</p>"
    )


def _verdict(  # noqa: PLR0917, all that it looks at
    info: ModelInfo,
    report: Validation,
    recipe: Recipe,
    metrics: Rows,
    curve: "LearningCurve | None",
    notes: Sequence[str],
) -> Iterable[str]:
    task = task_of(recipe)
    sentences = task.verdict(metrics, report, recipe, is_fine_tuned="start" in info.origin)
    sentences += [curve.sentence] if curve else []
    yield "<h2>Verdict</h2>"
    yield f"<ul>{''.join(f'<li>{prose(sentence)}</li>' for sentence in sentences)}</ul>"
    unread = [f"{failure.path}: {failure.reason}" for failure in report.failures]
    told = [*notes, *(f"Not in any figure, as it cannot be read: {failure}" for failure in unread[:MOST_UNREAD])]
    told += [f"{len(unread) - MOST_UNREAD:,} more photos cannot be read."] if len(unread) > MOST_UNREAD else []
    if told:
        yield f"<h3>To know beside it</h3><ul>{''.join(f'<li>{prose(sentence)}</li>' for sentence in told)}</ul>"


def _curves(task: Task[Any], report: Validation, recipe: Recipe, metrics: Rows) -> Iterable[str]:
    if not metrics:
        return
    floor = task.loss_floor(recipe, len(report.classes))
    yield "<h2>How it learnt</h2>"
    yield '<div class="curves">'
    yield f"<figure>{loss_figure(metrics, floor)}</figure>"
    photos = report.n if task.is_share else None
    yield f"<figure>{score_figure(metrics, task.metric, task.metric_in_words, photos)}</figure>"
    yield f"<figure>{rate_figure(metrics, is_log=recipe.schedule == 'plateau')}</figure>"
    yield "</div>"
    if growths := _growths(metrics):
        yield (
            f'<p class="faint">The pictures grew {", ".join(growths)}; each epoch is validated at a size in '
            f"proportion, so a dip there is no failure.</p>"
        )
    if floor:
        yield (
            f'<p class="faint">The two losses are not of the same task: in training, label smoothing and mixed photos '
            f"make targets that nothing can match exactly, so that it cannot come below {floor:.2f}. Validation is of "
            f"plain photos, with the averaged weights where the recipe has an average.</p>"
        )


def _learning_curve(curve: "LearningCurve | None") -> Iterable[str]:
    if curve is None:
        return
    yield "<h2>How much more photos would help</h2>"
    yield f'<div class="columns"><div><p>{prose(curve.sentence)}</p>'
    yield (
        f'<p class="faint">Each point: the same head, trained anew on a part of the photos of each class, drawn '
        f"{len(curve.top1[0])} times; its top-1 on the {curve.n:,} validation photos. Compare the points with each "
        f"other, not with the model, which had mixed photos and averaged weights, too, if its recipe has them.</p>"
        f"</div><figure>{learning_curve_figure(curve)}</figure></div>"
    )


def _growths(metrics: Rows) -> list[str]:
    """ "after epoch 19 from 32 to 64 pixels", wherever it is recorded that the pictures grew."""
    sized = [row for row in metrics if "image_size" in row]
    return [
        f"after epoch {row['epoch']:.0f} from {row['image_size']:.0f} to {following['image_size']:.0f} pixels"
        for row, following in pairwise(sized)
        if row["image_size"] != following["image_size"]
    ]


def _filters(weights: Weights) -> Iterable[str]:
    kernels = weights["conv1_1.weight"]
    norms = np.sqrt((kernels**2).sum(axis=(1, 2, 3)))
    order = np.argsort(-norms, kind="stable")
    picture = draw_filters(kernels[order])
    side = kernels.shape[-1]
    dead = int((norms < NEARLY_ZERO * norms.max()).sum())
    yield "<h2>First filters</h2>"
    yield (
        f"<p>The {len(kernels)} kernels of conv1_1, the strongest first: {side} x {side} weights each, for red, green "
        f"and blue. Mid-grey is zero. A kernel light on one side and dark on the other answers to edges, one with two "
        f"colours to where they meet, an even one to brightness or to a colour. If all looked like random dots, the "
        f"first layer would hardly have learnt.{f' {dead} are nearly zero and answer to nothing.' if dead else ''}</p>"
    )
    yield f'<img class="filters" alt="The kernels of the first layer" src="{data_uri(picture, "PNG")}">'


def _time(metrics: Rows) -> Iterable[str]:
    if not metrics:
        return
    yield "<h2>Where the time went</h2>"
    measured = [row for row in metrics if "training_seconds" in row and "waiting_seconds" in row]
    if not measured:
        yield (
            f"<p>Training took {_duration(metrics[-1]['seconds'])}, validation not counted, at "
            f"{np.median([row['photos_per_second'] for row in metrics]):,.0f} photos a second. What it was spent "
            f"on was not measured in this run.</p>"
        )
        return
    sums = {
        name: sum(row.get(f"{name}_seconds", 0.0) for row in measured)
        for name in ("training", "waiting", "validation", "saving")
    }
    parts = [
        ("network", "computing: forward, backward, update", sums["training"] - sums["waiting"]),
        ("waiting", "waiting for photos", sums["waiting"]),
        ("validating", "validation", sums["validation"]),
        ("saving", "saving", sums["saving"]),
    ]
    whole = sum(seconds for _, _, seconds in parts) or 1.0
    bars = "".join(f'<i class="{kind}" style="width:{100 * seconds / whole:.2f}%"></i>' for kind, _, seconds in parts)
    yield f'<div class="time">{bars}</div>'
    rows = [
        (f'<span class="key {kind}"></span>{name}', f"{seconds / whole:.1%}", _duration(seconds))
        for kind, name, seconds in parts
    ]
    yield table([], rows, "parts")
    if len(measured) < len(metrics):
        yield f'<p class="faint">Of {len(measured)} of the {len(metrics)} epochs; the others were not measured.</p>'


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _settings(info: ModelInfo, recipe: Recipe) -> Iterable[str]:
    defaults = Recipe().to_dict()
    rows = [_setting(name, value, defaults[name]) for name, value in recipe.to_dict().items()]
    half = (len(rows) + 1) // 2
    yield "<h2>Settings</h2>"
    yield '<p class="faint">The recipe. In bold: other than the default, which stands beside it.</p>'
    yield f'<div class="columns">{table([], rows[:half])}{table([], rows[half:])}</div>'
    facts = [(name, text(info.origin[name])) for name in _FACTS if name in info.origin]
    versions = info.origin.get("versions", {})
    facts += [("fine-tuned from", text(told)) for told in begun_from(info.origin)]
    facts += [("versions", text(", ".join(f"{name} {version}" for name, version in versions.items())))]
    yield f"<h3>Machine and versions</h3>{table([], facts)}"


_FACTS = ("program", "date", "machine", "precision", "source", "licence")


def _setting(name: str, value: object, default: object) -> Sequence[str]:
    if value == default:
        return f"<code>{name}</code>", text(_as_set(value))
    changed = f'<span class="changed">{text(_as_set(value))}</span> <small>default {text(_as_set(default))}</small>'
    return f'<code class="changed">{name}</code>', changed


def _as_set(value: object) -> str:
    """A field's value as `--set` takes it."""
    if isinstance(value, tuple | list):
        return ",".join(f"{part:g}" for part in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _commands(info: ModelInfo) -> Iterable[str]:
    yield "<h2>Again</h2>"
    for told, command in (
        ("This run:", info.origin.get("command", "")),
        ("Use the model, in the folder of this page:", use(info.architecture, "model.safetensors")),
        ("Measure it on other photos:", "verydeep evaluate model.safetensors DATA"),
    ):
        if command:
            yield f"<p>{told}</p><pre><code>{text(command)}</code></pre>"
