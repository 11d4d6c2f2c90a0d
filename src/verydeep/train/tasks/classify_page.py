"""The part of a run's report that is about a classifier: its classes, its mistakes, and how sure it is."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from verydeep.evaluate import Report
from verydeep.evaluate.report import ClassRow
from verydeep.image.decode import name_of
from verydeep.train.card import confidence
from verydeep.train.figures import reliability_figure
from verydeep.train.gallery import MOST_PHOTOS, mistaken, surest_right, surest_wrong, thumbnail
from verydeep.train.page import bar, counted, figure, table, text
from verydeep.weights import ModelInfo

LARGEST_MATRIX = 20  # classes: a larger one fits on no screen
MOST_PAIRS = 20  # of classes in the list that takes its place
PICTURED_PAIRS = 3  # with photos
SHOWN_CLASSES = 20  # in the open; where there are more, the weakest ones, and all in a list to unfold


def sections(info: ModelInfo, report: Report) -> Iterable[str]:
    """HTML. It reads those validation photos that it shows; one that has gone is shown as such."""
    yield from _classes(report)
    yield from _confusion(report)
    yield from _photos(info, report)
    yield from _calibration(info, report)


def _classes(report: Report) -> Iterable[str]:
    rows = sorted(report.class_rows, key=lambda row: (row.recall.value is None, row.recall.value or 0.0))
    head = ["class", "recognised", "95 % interval", "of photos said to be it, right"]
    yield "<h2>Class by class</h2>"
    shown = rows if len(rows) <= SHOWN_CLASSES else rows[:SHOWN_CLASSES]
    yield f'<p class="faint">The weakest {f"{SHOWN_CLASSES} classes" if len(rows) > len(shown) else "class"} first.</p>'
    yield table(head, map(_class_row, shown), "classes")
    if len(rows) > len(shown):
        everything = table(head, map(_class_row, report.class_rows), "classes")
        yield f"<details><summary>All {len(rows):,} classes</summary>{everything}</details>"


def _class_row(row: ClassRow) -> Sequence[str]:
    low, high = row.recall.interval
    return [
        text(row.label),
        bar(row.recall),
        f"<small>{low:.0%} to {high:.0%}</small>" if row.recall.n else "",
        counted(row.precision),
    ]


def _confusion(report: Report) -> Iterable[str]:
    yield "<h2>What it takes for what</h2>"
    if len(report.classes) <= LARGEST_MATRIX:
        yield '<p class="faint">Rows: the class of the photos. Columns: the class that was named. Blue: right.</p>'
        yield _matrix(report)
    elif pairs := report.top_confusions(MOST_PAIRS):
        yield '<p class="faint">The most frequent mistakes.</p>'
        rows = [(text(pair.label), text(pair.taken_for), f"{pair.photos:,}") for pair in pairs]
        yield table(["class of the photos", "taken for", "photos"], rows)
    else:
        yield "<p>It made no mistake.</p>"


def _matrix(report: Report) -> str:
    """The confusion matrix as a table; a cell is the darker, the larger its share of the row."""
    names = [text(label) for label in report.classes]
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
        f'<p class="faint">Validation photos as the network sees them: {info.preprocessing.in_words}. Below each: '
        f"what it is, and what the model says, how sure. "
        f"At most {MOST_PHOTOS} of a kind. This page holds these copies; mind to whom you give it.</p>"
    )
    for title, positions in rows:
        figures = "".join(_photo(info, report, position) for position in positions)
        yield f"<h3>{text(title)}</h3>"
        yield f'<div class="photos">{figures}</div>' if figures else "<p>None.</p>"


def _photos_in_words(count: int) -> str:
    return f"{count:,} photo{'s' if count > 1 else ''}"


def _photo(info: ModelInfo, report: Report, position: int) -> str:
    path, scores = report.paths[position], report.posteriors[position]
    true, said = report.classes[report.labels[position]], report.classes[int(scores.argmax())]
    sure = f"{scores.max():.1%}"
    told = (
        f'<span class="right">{text(said)}</span> {sure}'
        if said == true
        else f'{text(true)}: <span class="wrong">{text(said)}</span> {sure}'
    )
    name = "/".join(Path(name_of(path)).parts[-2:])
    return figure(lambda: f'<img alt="{text(true)}" src="{thumbnail(path, info.preprocessing)}">', told, name)


def _calibration(info: ModelInfo, report: Report) -> Iterable[str]:
    reliability = reliability_figure(report.posteriors, report.labels, info.calibration.reject_below)
    # The sentences on a calibrated model say it already.
    error = f" Expected calibration error: {report.calibration_error:.3f} (n = {report.n:,})."
    measured = "" if info.calibration.photos else error
    yield "<h2>How sure it is</h2>"
    yield f'<div class="columns"><div><p>{text(confidence(info, report))}</p>'
    yield (
        '<p class="faint">Each point: the photos of one of 15 intervals of confidence, with its 95 % interval. On the '
        "dashed line, a model that is 80 % sure is right in 80 of 100 cases; below it the model is too sure, above it "
        f"too modest.{measured}</p></div><figure>{reliability}</figure></div>"
    )
