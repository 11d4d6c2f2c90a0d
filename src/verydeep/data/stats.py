"""A set of annotated photos in numbers: photos a class and side, their sizes, objects, pixels of each class."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from math import sqrt
from statistics import median
from typing import Any

import numpy as np

from verydeep.data.annotations import BACKGROUND, IGNORE, AnnotatedPhoto, AnnotatedSet
from verydeep.data.fits import FitCosts, fit_costs
from verydeep.data.many import in_threads
from verydeep.data.targets import IGNORED, Size, boxes, class_mask, upright
from verydeep.errors import DataError, ImageError
from verydeep.image.decode import upright_size
from verydeep.image.draw_fits import TYPICAL
from verydeep.image.preprocess import crop_box
from verydeep.outputs.boxes import area, common_area

NO_SPLIT = "all"  # what the side is called of photos that belong to none
_BOX_SHARES = (0.01, 0.1, 0.5)  # of the photo's area: between them lie small, middle-sized and large objects
BOX_SIZES = ("under 1 %", "1 to 10 %", "10 to 50 %", "over 50 %")


@dataclass(frozen=True)
class Spread:
    """Of a number over all photos or objects."""

    smallest: float
    median: float
    largest: float


@dataclass(frozen=True)
class ClassRow:
    """What there is of a class."""

    label: str
    photos: Mapping[str, int]  # on each side
    objects: int
    pixel_share: float | None  # of the pixels in masks and shapes that have a class; None where there are none


@dataclass(frozen=True)
class Statistics:
    """All of it; a photo that cannot be read is in the counts and in no size."""

    format: str
    photos: Mapping[str, int]  # on each side
    unreadable: int
    classes: tuple[ClassRow, ...]  # by name
    width: Spread | None  # pixels; None: no photo can be read
    height: Spread | None
    shorter_side: Spread | None
    aspect: Spread | None  # width over height
    fits: (
        FitCosts | None
    )  # as squares; None: none can be read, or all have masks, and networks of pixels see whole photos
    objects: int
    objects_per_photo: Spread | None  # of the photos that have any
    box_side: Spread | None  # pixels, the root of a box's area
    box_sizes: Mapping[str, int]  # boxes by their share of the photo's area, as BOX_SIZES names it
    ignored_pixels: float | None  # the share of the masks' pixels that teach nothing
    uncounted: int  # photos whose masks or shapes are in no share of pixels, since something is wrong with them

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class _Measured:
    """What one photo's files tell."""

    size: Size | None
    pixels: Counter[str] = field(default_factory=Counter)  # of each class, in its mask and shapes
    is_uncounted: bool = False  # there are such, and something is wrong with them
    shown: list[float] = field(default_factory=list)  # of each box the share that a central crop shows


def measure(
    annotated: AnnotatedSet, on_progress: Callable[[int], None] = lambda done: None, threads: int | None = None
) -> Statistics:
    """Reads the header of every photo, and every mask. on_progress: is told how many photos are done."""

    def work(photo: AnnotatedPhoto) -> _Measured:
        return _measure(photo, annotated)

    measured = list(in_threads(annotated.photos, work, on_progress, threads))
    pixels = sum((one.pixels for one in measured), Counter[str]())
    sizes = [one.size for one in measured if one.size]
    shown = [share for one in measured for share in one.shown]
    boxes = [
        (sqrt(area), area / (one.size[0] * one.size[1]) if one.size else None)
        for photo, one in zip(annotated.photos, measured, strict=True)
        for area in _areas(photo)
    ]
    return Statistics(
        format=annotated.format,
        photos=_by_side(annotated.photos),
        unreadable=len(measured) - len(sizes),
        classes=_class_rows(annotated, measured, pixels),
        width=_spread(width for width, _ in sizes),
        height=_spread(height for _, height in sizes),
        shorter_side=_spread(min(size) for size in sizes),
        aspect=_spread(width / height for width, height in sizes),
        fits=None if all(photo.mask for photo in annotated.photos) else fit_costs(sizes, shown),
        objects=len(boxes),
        objects_per_photo=_spread(len(photo.instances) for photo in annotated.photos if photo.instances),
        box_side=_spread(side for side, _ in boxes),
        box_sizes=_box_sizes(share for _, share in boxes if share is not None),
        ignored_pixels=pixels[IGNORE] / pixels.total() if pixels else None,
        uncounted=sum(one.is_uncounted for one in measured),
    )


def _measure(photo: AnnotatedPhoto, annotated: AnnotatedSet) -> _Measured:
    try:
        data = photo.photo.read()
        measured = _Measured(upright_size(data, photo.photo.name))
    except ImageError:
        return _Measured(None)
    if measured.size and photo.instances:
        with contextlib.suppress(DataError):  # as below
            measured.shown = _shown(upright(photo, data), measured.size)
    if measured.size and (photo.mask or any(instance.shape for instance in photo.instances)):
        try:
            measured.pixels += _pixels(upright(photo, data), annotated, measured.size)
        except DataError:  # `data check` tells what is wrong with a mask
            measured.is_uncounted = True
    return measured


def _shown(photo: AnnotatedPhoto, size: Size) -> list[float]:
    edges, _ = boxes(photo, size)
    crop = np.array(crop_box(size[::-1], TYPICAL))
    shares: list[float] = (common_area(edges, crop) / area(edges)).tolist()
    return shares


def _pixels(photo: AnnotatedPhoto, annotated: AnnotatedSet, size: Size) -> Counter[str]:
    """Of each class, as a network is taught them. Raises DataError.

    Only the classes that this photo may show take a number: a mask has 255, and the set may have more classes.
    """
    told = annotated.mask_classes if photo.mask else (*(each.label for each in photo.instances), BACKGROUND)
    names = [name for name in dict.fromkeys(told) if name != IGNORE]
    counts = np.bincount(class_mask(photo, names, size, annotated).ravel(), minlength=IGNORED + 1)
    return +Counter({**dict(zip(names, counts.tolist(), strict=False)), IGNORE: int(counts[IGNORED])})


def _class_rows(annotated: AnnotatedSet, measured: list[_Measured], pixels: Counter[str]) -> tuple[ClassRow, ...]:
    objects = Counter(instance.label for photo in annotated.photos for instance in photo.instances)
    with_class: dict[str, list[AnnotatedPhoto]] = {label: [] for label in annotated.classes}
    known = frozenset(with_class)
    for photo, one in zip(annotated.photos, measured, strict=True):
        for label in known & (photo.classes | set(one.pixels)):
            with_class[label].append(photo)
    told = pixels.total() - pixels[IGNORE]
    return tuple(
        ClassRow(label, _by_side(with_class[label]), objects[label], pixels[label] / told if told else None)
        for label in annotated.classes
    )


def _by_side(photos: Iterable[AnnotatedPhoto]) -> dict[str, int]:
    return dict(sorted(Counter(photo.split or NO_SPLIT for photo in photos).items()))


def _areas(photo: AnnotatedPhoto) -> Iterable[float]:
    for instance in photo.instances:
        left, top, right, bottom = instance.box
        yield max(0.0, right - left) * max(0.0, bottom - top)


def _box_sizes(shares: Iterable[float]) -> dict[str, int]:
    found = Counter(BOX_SIZES[sum(share >= limit for limit in _BOX_SHARES)] for share in shares)
    return {name: found[name] for name in BOX_SIZES} if found else {}


def _spread(numbers: Iterable[float]) -> Spread | None:
    values = list(numbers)
    return Spread(min(values), median(values), max(values)) if values else None
