"""The part of a run's report that is about an embedding: what photos find, and some of them with what they found."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from verydeep.errors import printable
from verydeep.evaluate.embedding_report import SHOWN, EmbeddingReport
from verydeep.image.decode import name_of
from verydeep.train.gallery import thumbnail
from verydeep.train.losses import MARGIN
from verydeep.train.page import bar, figure, table, text
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import Rows
from verydeep.weights import ModelInfo

MOST_CLASSES = 20  # in the table; where there are more, the weakest
MOST_PAIRS = 10  # of classes that are found for one another
QUERIES = 5  # photos that are shown with what they found, of each kind
WEAK = 0.7  # of recall@1: a class below it stands out
MOST_NAMED = 3
COLLAPSED = 0.95  # of the margin: a training loss above it is that of photos which all lie at one point
BEGIN_FROM = (
    "It began at random: from a network that knows photos already, `--from imagenette`, embeddings are mostly better."
)


def result(report: EmbeddingReport) -> str:
    """The first sentence of the verdict."""
    low, high = (100 * bound for bound in report.figures["recall@1"].interval)
    return (
        f"Of 100 new photos like these about {100 * report.score:.0f} ({low:.0f} to {high:.0f}) would find one of "
        f"their own class first among so many; MAP@R {report.figures['MAP@R'].value:.1%} tells how far all of the "
        f"class come first."
    )


def collapsed(metrics: Rows, recipe: Recipe) -> Iterator[str]:
    """A sentence where triplets have drawn all photos to one point: there the loss is the margin, and stays it."""
    margin = MARGIN if recipe.margin is None else recipe.margin
    if metrics and recipe.embedding_loss == "triplet" and metrics[-1]["loss"] > COLLAPSED * margin:
        yield (
            f"It has collapsed: a triplet loss of {metrics[-1]['loss']:.3f}, about the margin, is that of photos which "
            f"all lie at one point. Try `--set embedding_loss=softmax`, or `--set "
            f"learning_rate={recipe.learning_rate / 4:.3g}`."
        )


def weak(report: EmbeddingReport) -> Iterator[str]:
    """The classes that stand out, in a sentence; none where none does."""
    known = [(label, share.value, share.n) for label, share in report.class_rows if share.value is not None]
    found = sorted((one for one in known if one[1] < WEAK * report.score), key=lambda one: one[1])[:MOST_NAMED]
    if found:
        named = ", ".join(f"'{printable(label)}' {value:.0%} of {n}" for label, value, n in found)
        yield f"Weakest classes: {named}. More photos of them would help most."


def sections(info: ModelInfo, report: EmbeddingReport) -> Iterable[str]:
    """HTML. It reads those validation photos that it shows; one that has gone is shown as such."""
    yield from _figures(report)
    yield from _classes(report)
    yield from _confusions(report)
    yield from _queries(info, report)


def _figures(report: EmbeddingReport) -> Iterable[str]:
    rows = [(name, f"{one.value:.1%}", _interval(one.interval)) for name, one in report.figures.items()]
    left_out = f" {report.found.left_out:,} photos have no other of their class, and only answer."
    yield "<h2>What photos find</h2>"
    yield table(["figure", "value", "95 % interval"], rows, "classes")
    yield (
        f'<p class="faint">Each of {report.n:,} photos asks all others for the most alike ones. recall@4: of so many '
        f"photos one of their class is among the first four. MAP@R: all of the class should come first (Musgrave et "
        f"al. 2020).{left_out if report.found.left_out else ''} The validation loss above is the mean of -log of the "
        f"share of a photo's class, where each other photo counts exp(cosine / 0.05); the training loss is another, "
        f"so compare each with itself alone.</p>"
    )


def _interval(interval: tuple[float, float]) -> str:
    low, high = interval
    return f"<small>{low:.1%} to {high:.1%}</small>"


def _classes(report: EmbeddingReport) -> Iterable[str]:
    rows = sorted(
        ((label, share) for label, share in report.class_rows if share.value is not None),
        key=lambda row: row[1].value or 0.0,
    )
    more = f", of {len(rows):,}" if len(rows) > MOST_CLASSES else ""
    yield "<h2>Class by class</h2>"
    yield f'<p class="faint">The weakest first{more}.</p>'
    cells = [(text(label), bar(share), _interval(share.interval)) for label, share in rows[:MOST_CLASSES]]
    yield table(["class", "most like one of it", "95 % interval"], cells, "classes")


def _confusions(report: EmbeddingReport) -> Iterable[str]:
    yield "<h2>What is found in its place</h2>"
    if pairs := report.top_confusions(MOST_PAIRS):
        rows = [(text(pair.label), text(pair.taken_for), f"{pair.photos:,}") for pair in pairs]
        yield table(["photos of", "most like one of", "photos"], rows)
    else:
        yield "<p>Nothing: each photo is most like one of its class.</p>"


def _queries(info: ModelInfo, report: EmbeddingReport) -> Iterable[str]:
    yield "<h2>Photos</h2>"
    yield (
        f'<p class="faint">Validation photos, and beside each the {SHOWN} most like it, with the cosine. Of the right '
        "ones those of which most is found, of the wrong ones those most like a photo of another class. This page "
        "holds these copies; mind to whom you give it.</p>"
    )
    for title, queries in (("Found", _best(report)), ("Not found", _worst(report))):
        yield f"<h3>{title}</h3>"
        if not queries:
            yield "<p>None.</p>"
        for position in queries:
            yield f'<div class="photos">{"".join(_row(info, report, position))}</div>'


def _best(report: EmbeddingReport) -> list[int]:
    """Positions of the photos that find most of their class, of as many classes as there are places for."""
    order = np.argsort(-report.found.precisions, kind="stable")
    right = [int(report.found.queries[i]) for i in order if report.found.ranks[i] == 0]
    firsts = {int(report.labels[position]): position for position in reversed(right)}  # of each class the best
    others = [position for position in right if position not in firsts.values()]
    return [*sorted(firsts.values(), key=right.index), *others][:QUERIES]


def _worst(report: EmbeddingReport) -> list[int]:
    wrong = report.found.queries[report.found.ranks > 0]
    order = np.argsort(-report.nearest[1][wrong, 0], kind="stable")
    return [int(position) for position in wrong[order][:QUERIES]]


def _row(info: ModelInfo, report: EmbeddingReport, position: int) -> Iterator[str]:
    """The photo that asks, and those that answer."""
    own = report.classes[report.labels[position]]
    yield _photo(info, report, position, f"<strong>{text(own)}</strong>")
    for at, cosine in zip(*(rows[position].tolist() for rows in report.nearest), strict=True):
        found = report.classes[report.labels[at]]
        kind = "right" if found == own else "wrong"
        yield _photo(info, report, at, f'<span class="{kind}">{text(found)}</span> {cosine:.3f}')


def _photo(info: ModelInfo, report: EmbeddingReport, position: int, told: str) -> str:
    path = report.paths[position]
    name = "/".join(Path(name_of(path)).parts[-2:])
    return figure(lambda: f'<img alt="" src="{thumbnail(path, info.preprocessing)}">', told, name)
