"""A survey -> the trainings that would take these photos, the one that their annotations are for first.

Training refuses a set as a whole, or takes it: this asks the functions that it asks.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from verydeep.architecture import Task
from verydeep.data.annotated import sides_of, stored
from verydeep.data.annotations import AnnotatedPhoto
from verydeep.data.check_labels import FEW
from verydeep.data.datasets import Splits, splits_of
from verydeep.data.findings import counted
from verydeep.data.picture_targets import BoxTargets
from verydeep.data.reading import refusal_of_unreadable
from verydeep.data.survey import Survey
from verydeep.errors import DatasetError
from verydeep.runtime import BUILT_IN

MANY = 5000  # photos to train on, from which on a network begins at random; recipes/ says what each is for
SMALL = 48  # pixels, the median of the shorter sides: nearer to CIFAR-10's 32 than to what photos have
LEARNERS: dict[Task, str] = {
    "segment": "a segmenter",
    "localize": "a localiser",
    "classify": "a classifier",
    "embed": "an embedding",
}


@dataclass(frozen=True)
class Training:
    """One that `verydeep train` would begin."""

    task: Task
    recipe: str  # of `recipes.RECIPES`
    model: str  # built in, that it begins from; empty: it begins at random
    classes: int
    photos: int  # to train on
    validation_photos: int
    is_drawn: bool  # whether these were drawn, since nothing says which validate
    told: int  # of all of them, the photos that tell what is to be learnt
    reason: str  # why this recipe, a clause

    @property
    def has_small_classes(self) -> bool:
        """Whether they are too small to be learnt by themselves."""
        return self.photos < FEW * self.classes

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Prospect:
    """What could be trained, and what could not."""

    trainings: tuple[Training, ...]
    refusals: tuple[str, ...]  # sentences: "would train no classifier: ..."


def prospect(survey: Survey) -> Prospect:
    """The trainings that take the photos; of those that the annotations seem to be for, why they do not."""
    trainings: list[Training] = []
    refused: dict[str, list[str]] = {}  # the reason, and what is not trained for it
    wanted = _wanted(survey)
    for task in LEARNERS:
        try:
            splits = _splits(survey, task)
        except DatasetError as error:
            if task in wanted:
                refused.setdefault(survey.name(error.message).rstrip("."), []).append(f"no {LEARNERS[task].split()[1]}")
        else:
            if task != "embed" or _is_retrievable(splits):
                trainings.append(_training(survey, task, splits))
    most = max((each.told for each in trainings), default=0)
    trainings.sort(key=lambda each: (2 * each.told < most, each.task == "classify" and each.has_small_classes))
    sentences = (f"would train {' and '.join(what)}: {reason}" for reason, what in refused.items())
    return Prospect(tuple(trainings), tuple(sentences))


def _wanted(survey: Survey) -> set[Task]:
    """What the annotations seem to be for."""
    photos = survey.set.photos
    wanted: set[Task] = set()
    if any(one.has_mask for one in photos):
        wanted.add("segment")
    if any(instance.shape is None for one in photos for instance in one.instances):
        wanted.add("localize")
    if not wanted or any(one.labels for one in photos):
        wanted.add("classify")
    return wanted


def _splits(survey: Survey, task: Task) -> Splits:
    """The photos to train on and to validate on. Raises DatasetError where a training would stop."""
    annotated = survey.set
    if annotated.format == "folders" and annotated.problems:  # each is of all class folders of a side
        raise DatasetError(annotated.problems[0].message, annotated.problems[0].hint)
    splits = splits_of(sides_of(annotated, annotated.root, lambda _: None, task), annotated.root)
    unreadable = {stored(photo.photo) for photo in annotated.photos if not _is_readable(survey, photo, task)}
    for side, what in ((splits.training, "photos to train on"), (splits.validation, "photos to validate on")):
        count = len(unreadable & set(side.paths))
        if refusal := refusal_of_unreadable(count, len(side), what):
            raise DatasetError(refusal)
    return splits


def _is_readable(survey: Survey, photo: AnnotatedPhoto, task: Task) -> bool:
    """With its mask, where that is what is learnt."""
    seen = survey.seen(photo)
    if seen is None or task != "segment" or photo.mask is None:
        return seen is not None
    mask = survey.seen_mask(photo)
    return mask is not None and mask.size in (seen.size, seen.stored_size)


def _is_retrievable(splits: Splits) -> bool:
    """Whether photos to validate on can find another of their class."""
    return max(splits.validation.counts()) > 1


def _training(survey: Survey, task: Task, splits: Splits) -> Training:
    sides = (splits.training, splits.validation)
    told = sum(map(len, sides))
    recipe: str = task  # each has one of its name, but for classes
    model = BUILT_IN
    if task == "segment":
        reason = f"{counted(told, 'photo has', 'photos have')} masks or outlines"
    elif task == "localize":
        boxes = [len(found) for side in sides if isinstance(side.targets, BoxTargets) for found in side.targets.boxes]
        told = sum(count > 0 for count in boxes)
        where = "one in each" if sum(boxes) == told else f"{boxes.count(1):,} with one alone"
        reason = f"{counted(sum(boxes), 'box', 'boxes')} in {counted(told, 'photo')}, {where}"
    elif task == "embed":
        reason = "photos of a class become alike for `verydeep search`, also those of other classes"
    else:
        recipe, model, reason = _for_classes(survey, len(splits.training))
    classes, photos, validation = len(splits.training.classes), len(splits.training), len(splits.validation)
    return Training(task, recipe, model, classes, photos, validation, splits.is_drawn, told, reason)


def _for_classes(survey: Survey, photos: int) -> tuple[str, str, str]:
    """The recipe of a classifier, the model that it begins from, and why."""
    sides = [min(seen.size) for seen in map(survey.seen, survey.set.photos) if seen]
    side = round(float(np.median(sides)))
    if photos < MANY:
        model = BUILT_IN if side > SMALL else "cifar10"
        return "finetune", model, "few photos, of which a trained network learns more than a new one"
    if side <= SMALL:
        return "small", "", f"{photos:,} photos are enough to begin at random, and they are small, {side} pixels"
    return "modern", "", f"{photos:,} photos are enough to begin at random"
