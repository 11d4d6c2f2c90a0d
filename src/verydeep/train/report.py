"""The report of a run, `report.html`: how it went, what the model can and cannot do, and what to try, on one page.

The page holds all that it shows: it opens without a network, from any folder, light or dark. Every text from outside
passes `_text`; should one slip by, the page forbids itself to run scripts or to load anything.
"""

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from itertools import pairwise
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from verydeep.accounting import account_layers, total
from verydeep.architecture import Architecture
from verydeep.errors import ImageError, printable
from verydeep.evaluate import Report
from verydeep.evaluate.report import ClassRow, Proportion
from verydeep.files import atomic_write
from verydeep.image.decode import name_of
from verydeep.image.draw import data_uri, draw_filters
from verydeep.nouns import Weights
from verydeep.train.card import begun_from, confidence, share
from verydeep.train.figures import (
    learning_curve_figure,
    loss_figure,
    rate_figure,
    reliability_figure,
    top1_figure,
)
from verydeep.train.gallery import (
    MOST_PHOTOS,
    mistaken,
    surest_right,
    surest_wrong,
    thumbnail,
)
from verydeep.train.recipe import Recipe
from verydeep.train.verdict import loss_floor, verdict
from verydeep.weights import ModelInfo

if TYPE_CHECKING:
    from verydeep.train.learning_curve import LearningCurve

REPORT_FILE = "report.html"
Rows = Sequence[Mapping[str, float]]

LARGEST_MATRIX = 20  # classes: a larger one fits on no screen
MOST_PAIRS = 20  # of classes in the list that takes its place
PICTURED_PAIRS = 3  # with photos
SHOWN_CLASSES = 20  # in the open; where there are more, the weakest ones, and all in a list to unfold
NEARLY_ZERO = 0.01  # of the strongest kernel's norm: batch norm aside, such a kernel passes nothing on
MOST_UNREAD = 10  # unreadable photos that are named


def write_report(
    folder: Path,
    info: ModelInfo,
    report: Report,
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
    report: Report,
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
    parts = [
        *_head(info, report, recipe, metrics),
        *_verdict(info, report, recipe, metrics, curve, notes),
        *_curves(report, recipe, metrics),
        *_learning_curve(curve),
        *_classes(report),
        *_confusion(report),
        *_photos(info, report),
        *_calibration(info, report),
        *_filters(weights),
        *_time(metrics),
        *_settings(info, recipe),
        *_commands(info),
    ]
    page = resources.files("verydeep.train").joinpath(REPORT_FILE).read_text(encoding="utf-8")
    return Template(page).substitute(title=_title(info), body="\n".join(parts))


def _text(text: object) -> str:
    """A text from outside, for the page: on one line, no control characters, nothing that HTML takes for its own."""
    return html.escape(printable(str(text)))


def _prose(sentence: str) -> str:
    """A sentence, in which `backquotes` mark what is to be typed; what stands before a colon is its gist."""
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", _text(sentence))
    return re.sub(r"^([\w ,-]{1,50}):", r"<strong>\1:</strong>", marked)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """Cells are HTML; the first of each row is its name."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    lines = [f'<tr><th scope="row">{first}</th>{"".join(f"<td>{c}</td>" for c in rest)}</tr>' for first, *rest in rows]
    return (
        f'<div class="scroll"><table class="{kind}">'
        f"{f'<thead><tr>{top}</tr></thead>' if head else ''}<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _title(info: ModelInfo) -> str:
    data = info.origin.get("data", "photos")
    return f"{_network(info.architecture)}, trained on {_text(data)}"


def _network(architecture: Architecture) -> str:
    """ "VGG-A (batch norm, 0.5 times as wide)" """
    traits = ["batch norm"] if architecture.batch_norm else []
    traits += [f"{architecture.width:g} times as wide"] if architecture.width != 1 else []
    return f"VGG-{architecture.configuration}" + (f" ({', '.join(traits)})" if traits else "")


def _head(info: ModelInfo, report: Report, recipe: Recipe, metrics: Rows) -> Iterable[str]:
    low, high = report.top1.interval
    crop = info.preprocessing.crop
    totals = total(account_layers(info.architecture, (crop, crop)))
    trained = [f"{info.origin['photos']:,} photos"] if "photos" in info.origin else []
    trained += [f"{metrics[-1]['epoch']:.0f} epochs", _duration(metrics[-1]["seconds"])] if metrics else []
    yield f"<h1>{_title(info)}</h1>"
    yield (
        f'<p class="lead"><strong>{report.top1.value:.1%}</strong> of {report.n:,} validation photos recognised '
        f"(top-1; 95 % interval {low:.1%} to {high:.1%})</p>"
    )
    yield (
        f'<p class="faint">{len(info.classes):,} classes. Protocol: {_text(report.protocol)}. Trained at '
        f"{recipe.sizes_in_words}: {', '.join(trained) or 'how long was not recorded'}. "
        f"{totals.parameters:,} parameters, {totals.macs:,} multiply-adds a photo.</p>"
    )


def _verdict(  # noqa: PLR0917, all that it looks at
    info: ModelInfo,
    report: Report,
    recipe: Recipe,
    metrics: Rows,
    curve: "LearningCurve | None",
    notes: Sequence[str],
) -> Iterable[str]:
    sentences = verdict(metrics, report, recipe, is_fine_tuned="start" in info.origin)
    sentences += [curve.sentence] if curve else []
    yield "<h2>Verdict</h2>"
    yield f"<ul>{''.join(f'<li>{_prose(sentence)}</li>' for sentence in sentences)}</ul>"
    unread = [f"{failure.path}: {failure.reason}" for failure in report.failures]
    told = [*notes, *(f"Not in any figure, as it cannot be read: {failure}" for failure in unread[:MOST_UNREAD])]
    told += [f"{len(unread) - MOST_UNREAD:,} more photos cannot be read."] if len(unread) > MOST_UNREAD else []
    if told:
        yield f"<h3>To know beside it</h3><ul>{''.join(f'<li>{_prose(sentence)}</li>' for sentence in told)}</ul>"


def _curves(report: Report, recipe: Recipe, metrics: Rows) -> Iterable[str]:
    if not metrics:
        return
    floor = loss_floor(recipe, len(report.classes))
    yield "<h2>How it learnt</h2>"
    yield '<div class="curves">'
    yield f"<figure>{loss_figure(metrics, floor)}</figure>"
    yield f"<figure>{top1_figure(metrics, report.n)}</figure>"
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
    yield f'<div class="columns"><div><p>{_prose(curve.sentence)}</p>'
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


def _classes(report: Report) -> Iterable[str]:
    rows = sorted(report.class_rows, key=lambda row: (row.recall.value is None, row.recall.value or 0.0))
    head = ["class", "recognised", "95 % interval", "of photos said to be it, right"]
    yield "<h2>Class by class</h2>"
    shown = rows if len(rows) <= SHOWN_CLASSES else rows[:SHOWN_CLASSES]
    yield f'<p class="faint">The weakest {f"{SHOWN_CLASSES} classes" if len(rows) > len(shown) else "class"} first.</p>'
    yield _table(head, map(_class_row, shown), "classes")
    if len(rows) > len(shown):
        everything = _table(head, map(_class_row, report.class_rows), "classes")
        yield f"<details><summary>All {len(rows):,} classes</summary>{everything}</details>"


def _class_row(row: ClassRow) -> Sequence[str]:
    low, high = row.recall.interval
    return [
        _text(row.label),
        _bar(row.recall),
        f"<small>{low:.0%} to {high:.0%}</small>" if row.recall.n else "",
        _counted(row.precision),
    ]


def _bar(proportion: Proportion) -> str:
    width = 100 * (proportion.value or 0.0)
    return f'<span class="bar"><i style="width:{width:.1f}%"></i></span>{_counted(proportion)}'


def _counted(proportion: Proportion) -> str:
    percent = f"{proportion.value:.0%} " if proportion.value is not None else ""
    return f"{percent}<small>{share(proportion)}</small>"


def _confusion(report: Report) -> Iterable[str]:
    yield "<h2>What it takes for what</h2>"
    if len(report.classes) <= LARGEST_MATRIX:
        yield '<p class="faint">Rows: the class of the photos. Columns: the class that was named. Blue: right.</p>'
        yield _matrix(report)
    elif pairs := report.top_confusions(MOST_PAIRS):
        yield '<p class="faint">The most frequent mistakes.</p>'
        rows = [(_text(pair.label), _text(pair.taken_for), f"{pair.photos:,}") for pair in pairs]
        yield _table(["class of the photos", "taken for", "photos"], rows)
    else:
        yield "<p>It made no mistake.</p>"


def _matrix(report: Report) -> str:
    """The confusion matrix as a table; a cell is the darker, the larger its share of the row."""
    names = [_text(label) for label in report.classes]
    top = "".join(f'<th scope="col">{name}</th>' for name in names)
    lines = []
    for i, (name, row) in enumerate(zip(names, report.confusion, strict=True)):
        cells = [_cell(int(count), count / max(1, row.sum()), is_hit=i == j) for j, count in enumerate(row)]
        lines.append(f'<tr><th scope="row">{name}</th>{"".join(cells)}</tr>')
    return (
        f'<div class="scroll"><table class="matrix"><thead><tr><td></td>{top}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(count: int, part: float, is_hit: bool) -> str:
    # The square root lets a mistake of 1 % of the photos be seen; no cell is so dark that its number is hard to read.
    tint = 0.65 * float(np.sqrt(part))
    kind = ' class="hit"' if is_hit else ""
    return f'<td{kind} style="--share:{tint:.2f}">{f"{count:,}" if count else ""}</td>'


def _photos(info: ModelInfo, report: Report) -> Iterable[str]:
    rows = [("Surest and right", surest_right(report)), ("Surest and wrong", surest_wrong(report))]
    rows += [
        (f"{pair.label} taken for {pair.taken_for}: {_photos_in_words(pair.photos)}", positions)
        for pair in report.top_confusions(PICTURED_PAIRS)
        if (positions := mistaken(report, pair.label, pair.taken_for))
    ]
    yield "<h2>Photos</h2>"
    yield (
        f'<p class="faint">Validation photos as the network sees them: the middle, at {info.preprocessing.crop} x '
        f"{info.preprocessing.crop} pixels. Below each: what it is, and what the model says, how sure. "
        f"At most {MOST_PHOTOS} of a kind. This page holds these copies; mind to whom you give it.</p>"
    )
    for title, positions in rows:
        figures = "".join(_photo(info, report, position) for position in positions)
        yield f"<h3>{_text(title)}</h3>"
        yield f'<div class="photos">{figures}</div>' if figures else "<p>None.</p>"


def _photos_in_words(count: int) -> str:
    return f"{count:,} photo{'s' if count > 1 else ''}"


def _photo(info: ModelInfo, report: Report, position: int) -> str:
    path, scores = report.paths[position], report.posteriors[position]
    true, said = report.classes[report.labels[position]], report.classes[int(scores.argmax())]
    sure = f"{scores.max():.1%}"
    told = (
        f'<span class="right">{_text(said)}</span> {sure}'
        if said == true
        else f'{_text(true)}: <span class="wrong">{_text(said)}</span> {sure}'
    )
    name = _text("/".join(Path(name_of(path)).parts[-2:]))
    try:
        picture = f'<img alt="{_text(true)}" src="{thumbnail(path, info.preprocessing)}">'
    except ImageError as error:
        picture = f'<div class="gone">The photo can no longer be shown. {_text(error.message)}</div>'
    return f'<figure>{picture}<figcaption>{told}<small title="{name}">{name}</small></figcaption></figure>'


def _calibration(info: ModelInfo, report: Report) -> Iterable[str]:
    figure = reliability_figure(report.posteriors, report.labels, info.calibration.reject_below)
    # The sentences on a calibrated model say it already.
    error = f" Expected calibration error: {report.calibration_error:.3f} (n = {report.n:,})."
    measured = "" if info.calibration.photos else error
    yield "<h2>How sure it is</h2>"
    yield f'<div class="columns"><div><p>{_text(confidence(info, report))}</p>'
    yield (
        '<p class="faint">Each point: the photos of one of 15 intervals of confidence, with its 95 % interval. On the '
        "dashed line, a model that is 80 % sure is right in 80 of 100 cases; below it the model is too sure, above it "
        f"too modest.{measured}</p></div><figure>{figure}</figure></div>"
    )


def _filters(weights: Weights) -> Iterable[str]:
    kernels = weights["conv1_1.weight"]
    norms = np.sqrt((kernels**2).sum(axis=(1, 2, 3)))
    order = np.argsort(-norms, kind="stable")
    picture = draw_filters(kernels[order])
    dead = int((norms < NEARLY_ZERO * norms.max()).sum())
    yield "<h2>First filters</h2>"
    yield (
        f"<p>The {len(kernels)} kernels of conv1_1, the strongest first: 3 x 3 weights each, for red, green and blue. "
        f"Mid-grey is zero. A kernel light on one side and dark on the other answers to edges, one with two colours to "
        f"where they meet, an even one to brightness or to a colour. If all looked like random dots, the first layer "
        f"would hardly have learnt.{f' {dead} are nearly zero and answer to nothing.' if dead else ''}</p>"
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
    yield _table([], rows, "parts")
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
    yield f'<div class="columns">{_table([], rows[:half])}{_table([], rows[half:])}</div>'
    facts = [(name, _text(info.origin[name])) for name in _FACTS if name in info.origin]
    versions = info.origin.get("versions", {})
    facts += [("fine-tuned from", _text(told)) for told in begun_from(info.origin)]
    facts += [("versions", _text(", ".join(f"{name} {version}" for name, version in versions.items())))]
    yield f"<h3>Machine and versions</h3>{_table([], facts)}"


_FACTS = ("program", "date", "machine", "precision", "source", "licence")


def _setting(name: str, value: object, default: object) -> Sequence[str]:
    if value == default:
        return f"<code>{name}</code>", _text(_as_set(value))
    changed = f'<span class="changed">{_text(_as_set(value))}</span> <small>default {_text(_as_set(default))}</small>'
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
        ("Use the model, in the folder of this page:", "verydeep predict PHOTO --model model.safetensors"),
        ("Measure it on other photos:", "verydeep evaluate model.safetensors DATA"),
    ):
        if command:
            yield f"<p>{told}</p><pre><code>{_text(command)}</code></pre>"
