"""The photos that a run's report shows: which of the validated ones, and small copies that stand in the page itself."""

import math

import numpy as np
from PIL import Image

from verydeep.evaluate import Report
from verydeep.image import fit, read_image
from verydeep.image.draw import data_uri
from verydeep.nouns import Preprocessing, StoredPhoto

MOST_PHOTOS = 8  # in a row of the report
_SIDE = 160  # pixels of a copy: 5 to 10 kB
_QUALITY = 85  # of JPEG: a little blur about edges, seen only beside the original


def surest_right(report: Report) -> list[int]:
    """Positions of the photos it recognised most surely, of as many classes as there are places for."""
    most = math.ceil(MOST_PHOTOS / len(report.classes))  # of one class, or the easiest would fill the row
    chosen: list[int] = []
    for position in _by_confidence(report, is_right=True):
        own = report.labels[position]
        if sum(report.labels[other] == own for other in chosen) < most:
            chosen.append(int(position))
        if len(chosen) == MOST_PHOTOS:
            break
    return chosen


def surest_wrong(report: Report) -> list[int]:
    """Positions of the photos that it took for something else most surely."""
    return [int(position) for position in _by_confidence(report, is_right=False)[:MOST_PHOTOS]]


def mistaken(report: Report, label: str, taken_for: str) -> list[int]:
    """Positions of the photos of the class `label` that it took for `taken_for` most surely."""
    true, said = report.classes.index(label), report.classes.index(taken_for)
    wrong = _by_confidence(report, is_right=False)
    is_pair = (report.labels[wrong] == true) & (report.posteriors[wrong].argmax(axis=1) == said)
    return [int(position) for position in wrong[is_pair][:MOST_PHOTOS]]


def thumbnail(path: StoredPhoto, preprocessing: Preprocessing) -> str:
    """What the network saw of a photo, as a data URI: the square it was cut to, at most 160 pixels wide.

    Only pixels are copied, none of the file's EXIF data. Raises ImageError where the photo can no longer be read.
    """
    picture = Image.fromarray(fit(read_image(path), preprocessing))
    picture.thumbnail((_SIDE, _SIDE))
    return data_uri(picture, "JPEG", quality=_QUALITY)


def _by_confidence(report: Report, is_right: bool) -> np.ndarray:
    """Positions of the photos that it recognised, or did not, the surest first."""
    order = np.argsort(-report.posteriors.max(axis=1), kind="stable")
    recognised = report.posteriors.argmax(axis=1) == report.labels
    chosen: np.ndarray = order[recognised[order] == is_right]
    return chosen
