"""A set of annotated photos -> what is wrong with it, and what training would do with it."""

from collections import Counter
from collections.abc import Callable, Iterator

from verydeep.data import check_labels, check_objects, check_photos
from verydeep.data.annotated import sides_of, stored
from verydeep.data.annotations import TRAIN, VALIDATION, AnnotatedPhoto, AnnotatedSet
from verydeep.data.datasets import Splits, splits_of
from verydeep.data.findings import SEVERITIES, Finding, counted
from verydeep.data.reading import refusal_of_unreadable
from verydeep.data.survey import Survey, Unreadable
from verydeep.errors import DatasetError

FINDERS: tuple[Callable[[Survey], Iterator[Finding]], ...] = (
    check_photos.unreadable_annotations,
    check_photos.unreadable_photos,
    check_objects.masks_of_other_files,
    check_photos.exact_duplicates,
    check_photos.near_duplicates,
    check_photos.tiny_photos,
    check_objects.boxes_outside,
    check_objects.boxes_without_area,
    check_objects.other_sizes,
    check_objects.nameless_numbers,
    check_objects.classes_without_names,
    check_labels.similar_labels,
    check_labels.one_sided_classes,
    check_labels.rare_classes,
    check_labels.unequal_classes,
    check_labels.unlabelled_photos,
    check_labels.photos_of_no_side,
    check_labels.photos_of_several_classes,
    check_labels.ignored_labels,
    check_labels.mixed_tasks,
    check_labels.passed_over,
)


def check(survey: Survey) -> tuple[Finding, ...]:
    """All that is noticed, the worst first."""
    found = [finding for finder in FINDERS for finding in finder(survey)]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def prospect(survey: Survey) -> str:
    """What training would do with the photos, and what else could be learnt from them, in a sentence or two."""
    readable = [photo for photo in survey.set.photos if survey.seen(photo)]
    return "; ".join([_classifier(survey), *_objects(readable), *_masks(survey, readable)]) + "."


def _classifier(survey: Survey) -> str:
    """Training refuses the set as a whole, or takes it: this asks the functions that it asks."""
    try:
        splits = _splits(survey.set)
        _check_readable(survey, splits)
    except DatasetError as error:
        return f"would train no classifier: {survey.name(error.message).rstrip('.')}"
    drawn = ", a fifth of each class, drawn" if splits.is_drawn else ""
    return (
        f"would train a classifier of {len(splits.training.classes)} classes on "
        f"{counted(len(splits.training), 'photo')} and validate on {len(splits.validation):,}{drawn}"
    )


def _splits(annotated: AnnotatedSet) -> Splits:
    """The photos to train on and to validate on. Raises DatasetError."""
    if annotated.format == "folders" and annotated.problems:  # each is of all class folders of a side
        raise DatasetError(annotated.problems[0].message, annotated.problems[0].hint)
    return splits_of(sides_of(annotated, annotated.root, lambda _: None), annotated.root)


def _check_readable(survey: Survey, splits: Splits) -> None:
    """Raises DatasetError where a training would stop, for too many photos cannot be read."""
    unreadable = {stored(photo) for photo, found in survey.photos.items() if isinstance(found, Unreadable)}
    for side, what in ((splits.training, "photos to train on"), (splits.validation, "photos to validate on")):
        count = len(unreadable & set(side.paths))
        if refusal := refusal_of_unreadable(count, len(side), what):
            raise DatasetError(refusal)


def _objects(photos: list[AnnotatedPhoto]) -> Iterator[str]:
    with_boxes = [photo for photo in photos if photo.instances]
    if with_boxes:
        count = sum(len(photo.instances) for photo in with_boxes)
        single = sum(len(photo.instances) == 1 for photo in with_boxes)
        where = "one in each" if single == count else f"{single:,} with one alone"
        yield (
            f"boxes are there: {counted(count, 'object')} in {counted(len(with_boxes), 'photo')}, {where}, "
            "from which it could learn where they are"
        )


def _masks(survey: Survey, photos: list[AnnotatedPhoto]) -> Iterator[str]:
    with_mask = [photo for photo in photos if survey.seen_mask(photo)]
    with_shape = [photo for photo in photos if any(instance.shape for instance in photo.instances)]
    there = with_mask or with_shape
    if there:
        classes = {label for photo in there for label in survey.classes(photo)}
        sides = Counter(photo.split for photo in there)
        split = f" ({sides[TRAIN]:,} to train on, {sides[VALIDATION]:,} to validate on)" if sides[VALIDATION] else ""
        yield (
            f"{'masks' if with_mask else 'shapes'} are there: {counted(len(there), 'photo')}{split} with "
            f"{counted(len(classes), 'class', 'classes')}, from which it could learn that of every pixel"
        )
