"""The part of a run's report that is about boxes: how far they fit, and photos with theirs."""

from collections.abc import Iterable, Sequence

import numpy as np

from verydeep.evaluate.localization_report import OVERLAP, LocalizationReport
from verydeep.evaluate.report import Proportion
from verydeep.image import read_image
from verydeep.image.decode import name_of
from verydeep.image.draw import data_uri
from verydeep.image.draw_objects import Drawn, draw_objects
from verydeep.train.page import bar, figure, table, text

SHOWN = 8  # photos of the best boxes, and as many of the worst
BINS = 10  # of the IoU, in the table of how far boxes fit
_SIDE = 240  # pixels, the longer side of a photo on the page
_QUALITY = 80
_SAID, _TRUE = (66, 133, 244), (52, 168, 83)


def result(report: LocalizationReport) -> list[str]:
    """The first sentences of the verdict."""
    low, high = (100 * bound for bound in report.judged.interval)
    if not report.are_classes_judged:
        return [
            f"Of 100 new photos like these it would find about {100 * report.score:.0f} ({low:.0f} to {high:.0f}), "
            "their class told: a box that overlaps the true one by more than half.",
            "It learnt boxes alone, and the layers below its class scores changed without regard to these. Let a "
            "classifier name the classes: `verydeep evaluate MODEL DATA --classifier CLASSIFIER`.",
        ]
    sentences = [
        f"Of 100 new photos like these it would name and find about {100 * report.score:.0f} ({low:.0f} to "
        f"{high:.0f}): their class, and a box that overlaps the true one by more than half."
    ]
    named, found = report.class_top1.value or 0.0, report.given_class.value or 0.0
    weaker = "the class is what fails more often" if named < found else "the box is what fails more often"
    sentences.append(f"It names {named:.0%} of them right, and puts {found:.0%} of the boxes right: {weaker}.")
    return sentences


def sections(report: LocalizationReport) -> Iterable[str]:
    """HTML. It reads those validation photos that it shows; one that has gone is shown as such."""
    rows = [
        ("class and box, first answer", report.top1),
        ("class and box, one of five answers", report.top5),
        ("the box, its class told", report.given_class),
        ("the class, wherever its box is", report.class_top1),
    ]
    low, high = report.mean_iou.interval
    yield "<h2>Class and box</h2>"
    yield table(["", "right", "95 % interval"], [(name, bar(each), _interval(each)) for name, each in rows], "classes")
    yield (
        f'<p class="faint">A box is right where its intersection with a true one is more than {OVERLAP} of their '
        f"union (IoU). The mean IoU, the class told, is {report.mean_iou.value:.3f} ({low:.3f} to {high:.3f}).</p>"
    )
    yield "<h2>How far the boxes fit</h2>"
    yield table(["IoU", "photos"], _bins(report.own_ious), "classes")
    yield "<h2>Photos</h2>"
    yield (
        f'<p class="faint">Validation photos: the box of the model <span class="key" style="background:rgb{_SAID}">'
        f'</span>and the true one <span class="key" style="background:rgb{_TRUE}"></span>. This page holds these '
        "copies; mind to whom you give it.</p>"
    )
    order = np.argsort(-report.own_ious, kind="stable")
    for title, chosen in (("Best boxes", order[:SHOWN]), ("Worst boxes", order[SHOWN:][::-1][:SHOWN])):
        if len(chosen):
            figures = "".join(_photo(report, int(position)) for position in chosen)
            yield f'<h3>{title}</h3><div class="photos">{figures}</div>'


def _interval(proportion: Proportion) -> str:
    low, high = proportion.interval
    return f"<small>{low:.0%} to {high:.0%}</small>"


def _bins(ious: np.ndarray) -> Iterable[Sequence[str]]:
    counts, _ = np.histogram(ious, bins=BINS, range=(0, 1))
    for number, count in enumerate(counts.tolist()):
        yield f"{number / BINS:.1f} to {(number + 1) / BINS:.1f}", bar(Proportion(count, len(ious)))


def _photo(report: LocalizationReport, position: int) -> str:
    own = report.classes[report.labels[position]]
    said = report.classes[report.top_classes[position, 0]]
    kind = "right" if said == own else "wrong"
    told = f'{text(own)}: <span class="{kind}">{text(said)}</span>, IoU {report.own_ious[position]:.2f}'
    name = name_of(report.paths[position]).rpartition("/")[2]
    return figure(lambda: _drawn(report, position, own), told, name)


def _drawn(report: LocalizationReport, position: int, label: str) -> str:
    image = read_image(report.paths[position])
    boxes = [Drawn("true", tuple(edges)) for edges in report.true_boxes[position].tolist()]
    boxes.append(Drawn("model", tuple(report.own_boxes[position].tolist())))
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    picture = draw_objects(image, boxes, {"true": _TRUE, "model": _SAID}, scale)
    return f'<img alt="{text(label)}" style="aspect-ratio:auto" src="{data_uri(picture, "JPEG", quality=_QUALITY)}">'
