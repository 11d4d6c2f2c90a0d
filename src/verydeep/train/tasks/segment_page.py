"""The part of a run's report that is about masks: the classes, what they are taken for, and photos with their masks."""

import math
from collections.abc import Iterable, Mapping

import numpy as np
from PIL import Image

from verydeep.data.targets import IGNORED
from verydeep.errors import printable
from verydeep.evaluate.segmentation_report import SegmentationReport, Shown
from verydeep.image import read_image
from verydeep.image.decode import name_of
from verydeep.image.draw import Colour, data_uri
from verydeep.image.draw_objects import Drawn, class_colours, draw_objects
from verydeep.train.page import figure, table, text
from verydeep.train.recipe import Recipe

MOST_PAIRS = 10  # of classes that are taken for one another
WEAK = 0.7  # of the mean IoU: a class below it stands out
MOST_NAMED = 3
_SIDE = 320  # pixels, the longer side of a photo on the page
_QUALITY = 80


def result(report: SegmentationReport) -> str:
    """The first sentence of the verdict."""
    scores = report.scores
    return (
        f"Of the pixels of new photos like these it would label about {100 * scores.global_accuracy:.0f} of 100 right, "
        f"and of a pixel of each class on average {100 * scores.class_average:.0f}; mean IoU {share(report.score)}."
    )


def weak(report: SegmentationReport, recipe: Recipe) -> list[str]:
    """The classes that stand out, in a sentence; none where none does."""
    ious = report.scores.ious
    order = [i for i in np.argsort(ious, kind="stable") if ious[i] < WEAK * report.score][:MOST_NAMED]
    if not order:
        return []
    named = ", ".join(f"'{printable(report.classes[i])}' {share(float(ious[i]))}" for i in order)
    other = "" if recipe.class_weights == "balanced" else ", or try `--set class_weights=balanced`"
    return [f"Weakest classes: {named}. Annotate more photos that show them{other}."]


def share(value: float) -> str:
    """ "47.7 %"; a dash for a class that is nowhere."""
    return "-" if math.isnan(value) else f"{100 * value:.1f} %"


def sections(report: SegmentationReport) -> Iterable[str]:
    """HTML. It reads those validation photos that it shows; one that has gone is shown as such."""
    yield from _classes(report)
    yield from _confusions(report)
    yield from _photos(report)


def _classes(report: SegmentationReport) -> Iterable[str]:
    scores = report.scores
    figures = zip(report.classes, scores.ious, scores.class_accuracies, scores.boundary_f1s, strict=True)
    rows = sorted(figures, key=lambda row: (math.isnan(row[1]), row[1]))
    cells = [(text(label), _bar(iou), share(accuracy), share(contour)) for label, iou, accuracy, contour in rows]
    yield "<h2>Class by class</h2>"
    yield (
        '<p class="faint">The weakest class first. IoU: the pixels that have the class in both masks, of those that '
        "have it in one. Boundary F1: how well the contours fit, to 0.75 % of the photo's diagonal.</p>"
    )
    yield table(["class", "IoU", "pixels that are found", "boundary F1"], cells, "classes")


def _bar(iou: float) -> str:
    width = 0.0 if math.isnan(iou) else 100 * iou
    return f'<span class="bar"><i style="width:{width:.1f}%"></i></span>{share(iou)}'


def _confusions(report: SegmentationReport) -> Iterable[str]:
    confusion = report.scores.confusion
    wrong = np.where(np.eye(len(confusion), dtype=bool), 0, confusion)
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_PAIRS]
    pairs = [(i, j) for i, j in (divmod(int(flat), len(wrong)) for flat in order) if wrong[i, j]]
    yield "<h2>What it takes for what</h2>"
    if not pairs:
        yield "<p>It made no mistake.</p>"
        return
    rows = [
        (text(report.classes[i]), text(report.classes[j]), share(wrong[i, j] / confusion[i].sum())) for i, j in pairs
    ]
    yield table(["pixels of", "taken for", "of the class's pixels"], rows)


def _photos(report: SegmentationReport) -> Iterable[str]:
    colours = class_colours(report.classes)
    yield "<h2>Photos</h2>"
    yield (
        '<p class="faint">Validation photos, with what the model says on the left and what was annotated on the '
        "right. This page holds these copies; mind to whom you give it.</p>"
    )
    yield f"<p>{' '.join(_key(label, colours[label]) for label in report.classes)}</p>"
    for title, photos in (("Best", report.best), ("Worst", report.worst)):
        if photos:
            figures = "".join(_photo(one, report.classes, colours) for one in photos)
            yield f'<h3>{title}</h3><div class="photos wide">{figures}</div>'


def _key(label: str, colour: Colour) -> str:
    return f'<span class="class"><span class="key" style="background:rgb{colour}"></span>{text(label)}</span>'


def _photo(one: Shown, classes: tuple[str, ...], colours: Mapping[str, Colour]) -> str:
    def pictures() -> str:
        image = read_image(one.path)
        drawn = [_drawn(image, mask, classes, colours) for mask in (one.predicted, one.true)]
        return "".join(f'<img alt="" src="{data_uri(picture, "JPEG", quality=_QUALITY)}">' for picture in drawn)

    return figure(pictures, f"mean IoU {share(one.mean_iou)}", name_of(one.path).rpartition("/")[2])


def _drawn(image: np.ndarray, mask: np.ndarray, classes: tuple[str, ...], colours: Mapping[str, Colour]) -> Image.Image:
    there = [number for number in np.unique(mask).tolist() if number != IGNORED]
    scale = min(1.0, _SIDE / max(image.shape[:2]))
    return draw_objects(image, [Drawn(classes[i], mask=mask == i) for i in there], colours, scale)
