"""Annotations -> photos as a network is taught with them: `AnnotatedSet` -> `Dataset`. No torch.

The class of a photo is its label; where it has none, that of the objects in it, which is one and the same. A network
that localises is taught their boxes, too; one that segments is taught masks, and photos have no class. Photos are
put in the order that they would have in class folders, whatever the order of the annotations: the same photos, of the
same names and classes, are the same data set in every format, and train to the same weights.
"""

import os
import stat
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from verydeep.architecture import Task
from verydeep.data import formats
from verydeep.data.annotations import (
    BACKGROUND,
    IGNORE,
    VALIDATION,
    AnnotatedPhoto,
    AnnotatedSet,
    PhotoFile,
    Problem,
)
from verydeep.data.datasets import Dataset
from verydeep.data.formats import SUFFIXES, Detection
from verydeep.data.picture_targets import BoxTargets, MaskTargets
from verydeep.data.targets import Size, boxes, upright
from verydeep.data.walk import walk
from verydeep.errors import DatasetError, ImageError, printable
from verydeep.image.decode import name_of, stored_orientation, stored_size
from verydeep.nouns import Photo, StoredPhoto

MOST_PROBLEMS = 0.05  # the share of annotations that cannot be read, from which on nothing is trained
MOST_TOLD = 5  # problems that are told one by one
MOST_EXAMPLES = 3
WITHOUT_CLASSES = ("folders", "masks")  # formats without annotations of whole photos or of objects


class Sides(NamedTuple):
    """The photos to train on, and those to validate on, where the annotations tell these."""

    training: Dataset
    validation: Dataset | None


@dataclass(frozen=True)
class _Shown:
    """A photo, and what it shows."""

    photo: StoredPhoto
    origins: tuple[str, ...]
    classes: frozenset[str]
    splits: frozenset[str]
    is_ignored: bool
    annotated: AnnotatedPhoto  # with all objects that are told of it
    size: Size = (0, 0)  # of the upright photo, where `_upright` has looked


def open_sides(
    data: Path, wanted: str | None, root: str | Path | None, note: Callable[[str], None], task: Task = "classify"
) -> Sides | None:
    """The photos that annotations give a class, or masks; None where no annotations do, but class folders.

    wanted: a name of `formats.FORMATS`; None: it is found out. note: is told what is read and what is left out.
    Raises DatasetError where too much cannot be read or photos show several classes; UsageError on `wanted` and `root`.
    """
    detection = _detect(data, wanted, root, task, note)
    if detection is None:
        return None
    note(printable(detection.line()))
    found = formats.read_detected(detection, data, root)
    for remark in found.remarks:
        note(remark)
    return sides_of(found, data, note, task)


def sides_of(found: AnnotatedSet, data: Path, note: Callable[[str], None], task: Task = "classify") -> Sides:
    """The photos of a set that was read from `data`. Raises and notes as `open_sides`."""
    _check_problems(found.problems, len(found.photos), data, note)
    shown = _shown(found.photos)
    if task == "segment":
        return _masked_sides(shown, found, data, note)
    _check_one_class(shown, found.root)
    taught = [one for one in shown if one.classes]
    _tell_passed_over(shown, found, note)
    if not taught:
        raise DatasetError(
            f"no photo of {data} has a class: {found.found} tell none, neither of a photo nor of an object in it.",
            "Label the photos, or name another format: --format NAME",
        )
    if task == "localize":
        return _boxed_sides(taught, found, data, note)
    training, validation = _by_side(taught)
    return Sides(_dataset(training, found.format), _dataset(validation, found.format) if validation else None)


def _boxed_sides(taught: Sequence[_Shown], found: AnnotatedSet, data: Path, note: Callable[[str], None]) -> Sides:
    """Photos of one class each, with the boxes of that class. Raises DatasetError where no photo has a box."""
    upright = _upright(taught, data, note) if any(one.annotated.instances for one in taught) else []
    without = sum(not len(_shares(one)) for one in upright)
    if without == len(upright):
        raise DatasetError(
            f"no photo of {data} has a box around what it shows: {found.found}.",
            "Draw boxes, or train a classifier: leave the recipe or its fields out.",
        )
    if without:
        note(f"{without} of {len(upright)} photos have no box of their class: they teach the class alone")

    def dataset(shown: Iterable[_Shown]) -> Dataset:
        targets = BoxTargets(tuple(_shares(one) for one in _in_order(shown)))
        return replace(_dataset(shown, found.format), targets=targets)

    training, validation = _by_side(upright)
    if validation and not any(len(_shares(one)) for one in validation):
        raise DatasetError(
            f"none of the {len(validation)} photos to validate on has a box of its class; expected one at least.",
            "Draw boxes in them, or name no photos to validate on: some are drawn then.",
        )
    return Sides(dataset(training), dataset(validation) if validation else None)


def _masked_sides(shown: Sequence[_Shown], found: AnnotatedSet, data: Path, note: Callable[[str], None]) -> Sides:
    """Photos with masks, or with outlines that masks are drawn from. Raises DatasetError where none has any."""
    masked = [one for one in shown if one.annotated.has_mask and IGNORE not in one.annotated.labels]
    if not masked:
        raise DatasetError(
            f"no photo of {data} has a mask or an outline: {found.found}.",
            "Draw outlines, for example with Labelme, or train a classifier: leave the recipe or its fields out.",
        )
    if passed := len(shown) - len(masked):
        note(f"passed over: {passed} photos without a mask or an outline")
    classes = _mask_classes(found, masked)

    def dataset(shown: Sequence[_Shown]) -> Dataset:
        photos, sizes = tuple(one.annotated for one in shown), tuple(one.size for one in shown)
        targets = MaskTargets(photos, sizes, classes, found)
        return Dataset(
            classes, tuple(one.photo for one in shown), (0,) * len(shown), format=found.format, targets=targets
        )

    training, validation = _by_side(_upright(masked, data, note))
    return Sides(dataset(training), dataset(validation) if validation else None)


def _mask_classes(found: AnnotatedSet, masked: Sequence[_Shown]) -> tuple[str, ...]:
    """Those that pixels can have. What no outline encloses is the background."""
    if found.mask_classes:
        return tuple(name for name in found.mask_classes if name != IGNORE)
    labels = {each.label for one in masked for each in one.annotated.instances if each.shape is not None}
    return (BACKGROUND, *sorted(labels - {IGNORE, BACKGROUND}))


def _upright(shown: Sequence[_Shown], data: Path, note: Callable[[str], None]) -> list[_Shown]:
    """Those whose annotations fit their photos, turned as the photos are, with the photos' sizes.

    Notes the others. Raises DatasetError where they are too many.
    """
    fitting: list[_Shown] = []
    problems: list[Problem] = []
    for one in shown:
        photo = one.annotated
        try:
            file = photo.photo.read()
            turned = upright(photo, file)
            stored_sides = stored_size(file, photo.photo.name)
            is_turned = stored_orientation(file, photo.photo.name) > 4
        except (ImageError, DatasetError) as error:
            problems.append(Problem(photo.origin, error.message, error.hint))
            continue
        size = stored_sides[::-1] if is_turned else stored_sides
        fitting.append(replace(one, annotated=turned, size=size))
    _check_problems(problems, len(fitting), data, note)
    return fitting


def _shares(one: _Shown) -> np.ndarray:
    """The boxes of the photo's class as shares of its sides, (objects, 4) float64."""
    edges, labels = boxes(one.annotated, one.size)
    own = [unicodedata.normalize("NFC", label) in one.classes for label in labels]
    shares: np.ndarray = edges[np.array(own, bool)].astype(np.float64) / np.array([*one.size, *one.size])
    return shares


def _by_side(shown: Sequence[_Shown]) -> tuple[list[_Shown], list[_Shown]]:
    """Those to train on, and those to validate on."""
    return (
        [one for one in shown if VALIDATION not in one.splits],
        [one for one in shown if VALIDATION in one.splits],
    )


def _detect(
    data: Path, wanted: str | None, root: str | Path | None, task: Task, note: Callable[[str], None]
) -> Detection | None:
    """The annotations to read; None where there are none, or the classes are told by folders.

    Where no file has the suffix of annotations no format is asked, most of which would open files to find out.
    """
    if wanted is not None:
        return None if wanted == "folders" else formats.detect(data, wanted, root)
    is_folder = stat.S_ISDIR(data.stat().st_mode)
    if task == "segment":
        return formats.detect(data, root=root)
    if not (_has_annotations(data) if is_folder else data.name.lower().endswith(SUFFIXES)):
        return None
    try:
        detection = formats.detect(data, root=root)
    except DatasetError:
        if is_folder:
            return None  # what is wrong with it is told as of class folders, which most people have
        raise
    if detection.format not in WITHOUT_CLASSES:
        return detection
    if detection.outside:
        note(printable(detection.outside))
    return None


def _has_annotations(folder: Path) -> bool:
    return any(name.lower().endswith(SUFFIXES) for _, names in walk(folder) for name in names)


def _check_problems(problems: Sequence[Problem], fine: int, data: Path, note: Callable[[str], None]) -> None:
    """Tells the problems. Raises DatasetError where they are too many beside `fine` annotations without one."""
    for problem in problems[:MOST_TOLD]:
        note(printable(f"left out: {problem.message}"))
    if len(problems) > MOST_TOLD:
        note(f"left out: {len(problems) - MOST_TOLD} more; all of them: verydeep data check {printable(str(data))}")
    total = len(problems) + fine
    if len(problems) > MOST_PROBLEMS * total:
        raise DatasetError(
            f"{len(problems)} of {total} annotations cannot be read, more than {MOST_PROBLEMS:.0%}: "
            f"{problems[0].message}",
            problems[0].hint or f"All of them: verydeep data check {data}",
        )


def _shown(photos: Iterable[AnnotatedPhoto]) -> list[_Shown]:
    """Each photo once, with all that is said of it, in the order of folders."""
    found: dict[tuple[tuple[bool, str], ...], _Shown] = {}
    for annotated in photos:
        one = _one_shown(annotated)
        place = _place(one.photo)
        known = found.get(place)
        found[place] = one if known is None else _joined(known, one)
    return [found[place] for place in sorted(found)]


def _one_shown(annotated: AnnotatedPhoto) -> _Shown:
    classes = frozenset(unicodedata.normalize("NFC", name) for name in annotated.shown) - {""}
    is_ignored = IGNORE in annotated.classes and not classes
    splits = frozenset([annotated.split] if annotated.split else [])
    return _Shown(stored(annotated.photo), (annotated.origin,), classes, splits, is_ignored, annotated)


def stored(photo: Photo) -> StoredPhoto:
    """As a data set has it: a file of its own is its path."""
    return photo.path if isinstance(photo, PhotoFile) else photo


def _joined(one: _Shown, other: _Shown) -> _Shown:
    """Of a photo that is named twice. Raises DatasetError where it would be trained on and validate, too."""
    origins, splits = (*one.origins, *other.origins), one.splits | other.splits
    if len(splits) > 1:
        raise DatasetError(
            f"{name_of(one.photo)} is on both sides, to train on and to validate on: {', '.join(origins)}.",
            "Leave it on one of them.",
        )
    is_ignored = one.is_ignored or other.is_ignored
    classes = frozenset() if is_ignored else one.classes | other.classes
    objects = (*one.annotated.instances, *(each for each in other.annotated.instances))
    annotated = replace(
        one.annotated,
        labels=tuple(dict.fromkeys((*one.annotated.labels, *other.annotated.labels))),
        instances=tuple(dict.fromkeys(objects)),
        mask=one.annotated.mask or other.annotated.mask,
        size=one.annotated.size or other.annotated.size,
    )
    return _Shown(one.photo, origins, classes, splits, is_ignored, annotated)


def _place(photo: StoredPhoto) -> tuple[tuple[bool, str], ...]:
    """Where it lies, and sorts as `walk` goes: a folder's files come before those of the folders in it."""
    *folders, name = Path(os.path.abspath(name_of(photo))).parts  # noqa: PTH100, which would follow links
    return (*((True, folder) for folder in folders), (False, name))


def _check_one_class(shown: Sequence[_Shown], root: Path) -> None:
    """Raises DatasetError with examples where photos show several classes."""
    several = [one for one in shown if len(one.classes) > 1]
    if not several:
        return
    examples = [f"{_short(one.photo, root)}: {', '.join(sorted(one.classes))}" for one in several[:MOST_EXAMPLES]]
    more = "; ..." if len(several) > MOST_EXAMPLES else ""
    raise DatasetError(
        f"{len(several)} of {len(shown)} photos show several classes ({'; '.join(examples)}{more}): "
        "a classifier takes one a photo.",
        f"Give each photo one label, or the label {IGNORE} to leave it out.",
    )


def _tell_passed_over(shown: Sequence[_Shown], found: AnnotatedSet, note: Callable[[str], None]) -> None:
    """In one line, if there is anything."""
    ignored = sum(one.is_ignored for one in shown)
    unknown = sum(not one.classes and not one.is_ignored for one in shown)
    counts = [
        (unknown, f"photo{'s' * (unknown != 1)} without a class"),
        (ignored, f"marked {IGNORE}"),
        *((count, what) for what, count in found.passed_over.items()),
    ]
    if told := [f"{count} {what}" for count, what in counts if count]:
        note(printable(f"passed over: {', '.join(told)}"))


def _dataset(shown: Iterable[_Shown], format: str) -> Dataset:
    """The photos class by class, as in class folders."""
    named = [(label, one.photo) for one in _in_order(shown) for label in one.classes]
    classes = tuple(sorted({label for label, _ in named}))
    positions = {label: position for position, label in enumerate(classes)}
    return Dataset(
        classes,
        tuple(photo for _, photo in named),
        tuple(positions[label] for label, _ in named),
        format=format,
    )


def _in_order(shown: Iterable[_Shown]) -> list[_Shown]:
    """By their class, of which each has one; within a class, the order stays."""
    return sorted(shown, key=lambda one: tuple(one.classes))


def _short(photo: StoredPhoto, root: Path) -> str:
    """Its name from the root on."""
    name = Path(name_of(photo))
    return str(name.relative_to(root)) if name.is_relative_to(root) else str(name)
