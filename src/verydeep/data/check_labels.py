"""What can be wrong with the classes: spelt in two ways, rare, unequal, on one side only, or none at all."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator

from verydeep.data.annotations import BACKGROUND, IGNORE, TRAIN, VALIDATION, AnnotatedPhoto
from verydeep.data.findings import Finding, Place, Severity, counted, listed
from verydeep.data.survey import Survey

FEW = 5  # photos of a class: fewer can hardly be split into some to learn from and some to check with
UNEQUAL, VERY_UNEQUAL = 3.0, 10.0  # times as many photos in the largest class as in the smallest


def similar_labels(survey: Survey) -> Iterator[Finding]:
    forms: dict[str, set[str]] = defaultdict(set)
    for label in survey.set.classes:
        forms[_bare(label)].add(label)
    for form in sorted(forms):
        for plural in (f"{form}s", f"{form}es", f"{form[:-1]}ies"):
            if form and plural != form and plural in forms:
                forms[form] |= forms.pop(plural)
                forms[plural] = set()
    counts = class_counts(survey)
    alike = [sorted(labels) for labels in forms.values() if len(labels) > 1]
    if alike:
        said = (" | ".join(f"{label!r}: {counts[label]}" for label in labels) for labels in alike)
        places = tuple(Place((), spelt) for spelt in said)
        message = f"{counted(len(alike), 'class is', 'classes are')} spelt in several ways, it seems"
        yield Finding("similar-labels", "warning", message, places, "Each spelling becomes a class of its own.")


def rare_classes(survey: Survey) -> Iterator[Finding]:
    counts = class_counts(survey)
    rare = {label: counts[label] for label in survey.set.classes if counts[label] < FEW}
    if rare:
        places = tuple(Place((), f"{label}: {counted(count, 'photo')}") for label, count in rare.items())
        message = f"{counted(len(rare), 'class has', 'classes have')} fewer than {FEW} photos"
        action = "They are hardly learnt, and their accuracy says little."
        yield Finding("rare-class", "warning", message, places, action)


def unequal_classes(survey: Survey) -> Iterator[Finding]:
    counts = Counter({label: count for label, count in class_counts(survey).items() if count})
    if len(counts) < 2:
        return
    (most, largest), (least, smallest) = counts.most_common()[0], counts.most_common()[-1]
    ratio = largest / smallest
    if ratio >= UNEQUAL:
        message = (
            f"the largest class has {ratio:.1f} times as many photos as the smallest: "
            f"{most} {largest:,}, {least} {smallest:,}"
        )
        severity: Severity = "warning" if ratio >= VERY_UNEQUAL else "note"
        action = "A network learns to name the frequent ones: look at each class's own accuracy."
        yield Finding("unequal-classes", severity, message, (), action)


def one_sided_classes(survey: Survey) -> Iterator[Finding]:
    """Only where both sides are told."""
    sides = {side: set[str]() for side in (TRAIN, VALIDATION)}
    for photo in survey.set.photos:
        if photo.split in sides:
            sides[photo.split].update(survey.classes(photo))
    if not (sides[TRAIN] and sides[VALIDATION]):
        return
    untrained, unchecked = sides[VALIDATION] - sides[TRAIN], sides[TRAIN] - sides[VALIDATION]
    if untrained:
        message = f"{counted(len(untrained), 'class is', 'classes are')} in val and not in train"
        places = tuple(Place((), label) for label in sorted(untrained))
        yield Finding("class-only-in-val", "error", message, places, "What was never shown cannot be recognised.")
    if unchecked:
        message = f"{counted(len(unchecked), 'class is', 'classes are')} in train and not in val"
        places = tuple(Place((), label) for label in sorted(unchecked))
        yield Finding("class-only-in-train", "warning", message, places, "Nothing says how well they are learnt.")


def photos_of_no_side(survey: Survey) -> Iterator[Finding]:
    without = [photo for photo in survey.set.photos if photo.split is None]
    if without and len(without) < len(survey.set.photos):
        places = tuple(Place((survey.name(photo.photo.name),)) for photo in without)
        message = f"{counted(len(without), 'photo is', 'photos are')} neither in train nor in val, as the others are"
        yield Finding("no-split", "note", message, places, "Say for all of them on which side they are, or for none.")


def unlabelled_photos(survey: Survey) -> Iterator[Finding]:
    places = tuple(
        Place((survey.name(photo.photo.name),))
        for photo in survey.set.photos
        if not (photo.labels or photo.instances or photo.mask)
    )
    if not places:
        return
    says_objects = survey.set.has("boxes") or survey.set.has("masks")
    message = f"nothing is said of {counted(len(places), 'photo')}"
    action = "They teach that no object is there; a classifier does without them."
    yield Finding(
        "unlabelled-photo",
        "note" if says_objects else "warning",
        message,
        places,
        action if says_objects else "Training does without them.",
    )


def photos_of_several_classes(survey: Survey) -> Iterator[Finding]:
    places = tuple(
        Place((survey.name(photo.photo.name),), ", ".join(photo.labels))
        for photo in survey.set.photos
        if len(photo.labels) > 1
    )
    if places:
        message = f"{counted(len(places), 'photo has', 'photos have')} several labels, of {len(survey.set.photos):,}"
        action = "A classifier learns one class a photo, and refuses them: keep one label of each, or leave them out."
        yield Finding("several-labels", "note", message, places, action)


def ignored_labels(survey: Survey) -> Iterator[Finding]:
    places = tuple(Place((survey.name(photo.photo.name),)) for photo in survey.set.photos if IGNORE in photo.classes)
    if places:
        message = f"{counted(len(places), 'photo has', 'photos have')} the label {IGNORE}"
        yield Finding("ignored", "note", message, places, "It is no class: what has it teaches nothing.")


def mixed_tasks(survey: Survey) -> Iterator[Finding]:
    kinds = Counter(kind for photo in survey.set.photos if (kind := _kind(photo)))
    if len(kinds) > 1:
        said = ", ".join(f"{counted(count, 'photo')} with {kind}" for kind, count in kinds.most_common())
        action = "Each task is trained on the photos that have what it needs."
        yield Finding("mixed-tasks", "note", f"photos are annotated in different ways: {said}", (), action)


def passed_over(survey: Survey) -> Iterator[Finding]:
    if survey.set.passed_over:
        kinds = (f"{counted(count, kind)}" for kind, count in sorted(survey.set.passed_over.items()))
        yield Finding("passed-over", "note", f"of no use here, and passed over: {listed(kinds)}")


def class_counts(survey: Survey) -> Counter[str]:
    """Photos in which each class is, as its label, an object, or pixels of a mask."""
    return Counter(label for photo in survey.set.photos for label in survey.classes(photo))


def _kind(photo: AnnotatedPhoto) -> str:
    """What is told of a photo, in words; empty: nothing."""
    boxes = any(instance.shape is None for instance in photo.instances)
    shapes = any(instance.shape is not None for instance in photo.instances)
    told = {"labels": bool(photo.labels), "boxes": boxes, "shapes": shapes, "a mask": photo.mask is not None}
    return " and ".join(name for name, is_told in told.items() if is_told)


def _bare(label: str) -> str:
    """Without what people spell in different ways: case, spaces and marks between words."""
    if label in (IGNORE, BACKGROUND):
        return label
    return re.sub(r"[\s_\-]+", "", unicodedata.normalize("NFKC", label).casefold())
