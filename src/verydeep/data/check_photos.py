"""What can be wrong with the photos themselves: unreadable, missing, doubled, tiny, not annotated."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from verydeep.data.annotations import AnnotatedPhoto, PhotoFile
from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.duplicates import near_groups
from verydeep.data.findings import Finding, Place, Severity, counted
from verydeep.data.survey import Survey, Unreadable

TINY = 32  # pixels: below that a photo shows little more than a colour, and the five pools of a VGG leave nothing
_MOST_SAID = 8  # of a group of photos, one by one; of a larger one how often each is said


def unreadable_annotations(survey: Survey) -> Iterator[Finding]:
    problems = survey.set.problems
    if problems:
        places = tuple(
            Place((survey.name(problem.path),), survey.name(f"{problem.message} {problem.hint}".strip()))
            for problem in problems
        )
        message = f"{counted(len(problems), 'annotation')} cannot be used"
        action = "Training does without them; where they are more than one in twenty, it does not begin."
        yield Finding("unreadable-annotation", "error", message, places, action)


def unreadable_photos(survey: Survey) -> Iterator[Finding]:
    missing, damaged = [], []
    for photo in survey.set.photos:
        found = survey.photos[photo.photo]
        if isinstance(found, Unreadable) and found.is_missing:
            missing.append(Place((survey.name(photo.photo.name),), f"named in {survey.name(photo.origin)}"))
        elif isinstance(found, Unreadable):
            damaged.append(Place((survey.name(photo.photo.name),), survey.reason(found)))
    if missing:
        message = f"{counted(len(missing), 'photo is', 'photos are')} missing"
        yield Finding("missing-photo", "error", message, tuple(missing), "Put them there, or remove what names them.")
    if damaged:
        message = f"{counted(len(damaged), 'photo')} cannot be read"
        action = "Training takes a neighbour in the place of each; get them again, or remove them."
        yield Finding("unreadable-photo", "error", message, tuple(damaged), action)


def tiny_photos(survey: Survey) -> Iterator[Finding]:
    places = []
    for photo in survey.set.photos:
        if (seen := survey.seen(photo)) and min(seen.size) < TINY:
            width, height = seen.size
            places.append(Place((survey.name(photo.photo.name),), f"{width} x {height} pixels"))
    if places:
        message = f"{counted(len(places), 'photo is', 'photos are')} less than {TINY} pixels wide or high"
        yield Finding("tiny-photo", "warning", message, tuple(places), "They are enlarged, which shows nothing more.")


def unnamed_photos(survey: Survey) -> Iterator[Finding]:
    """In the folders of those that annotations name; several ways may lead to one folder."""
    by_way: dict[Path, set[str]] = defaultdict(set)
    for photo in survey.set.named:
        if isinstance(photo, PhotoFile):
            by_way[photo.path.parent].add(photo.path.name)
    ways: dict[str, Path] = {}
    named: dict[str, set[str]] = defaultdict(set)
    for way, names in sorted(by_way.items()):
        folder = os.path.realpath(way)
        ways.setdefault(folder, way)
        named[folder] |= names
    others = [way / name for folder, way in ways.items() for name in _photos_in(way) if name not in named[folder]]
    if others:
        places = [Place((survey.name(str(path)),)) for path in others]
        message = f"no annotation that can be read names {counted(len(others), 'photo')} beside the others"
        action = "Training does without them; annotate them if they were forgotten."
        yield Finding("unnamed-photo", "note", message, tuple(places), action)


def _photos_in(folder: Path) -> list[str]:
    try:
        found = os.listdir(folder)  # noqa: PTH208, names are wanted
    except OSError:
        return []
    return sorted(name for name in found if name.lower().endswith(PHOTO_SUFFIXES) and not name.startswith("."))


def exact_duplicates(survey: Survey) -> Iterator[Finding]:
    groups: dict[bytes, list[AnnotatedPhoto]] = defaultdict(list)
    for photo in survey.set.photos:
        if seen := survey.seen(photo):
            groups[seen.digest].append(photo)
    doubled = [group for group in groups.values() if len(group) > 1]
    yield from _told(survey, doubled, "the same to the byte", "duplicate", "error")


def near_duplicates(survey: Survey) -> Iterator[Finding]:
    """Of photos that are the same to the byte only the first is compared."""
    firsts: dict[bytes, AnnotatedPhoto] = {}
    for photo in survey.set.photos:
        if (seen := survey.seen(photo)) and seen.fingerprint:
            firsts.setdefault(seen.digest, photo)
    photos = list(firsts.values())
    prints = [seen.fingerprint for photo in photos if (seen := survey.seen(photo)) and seen.fingerprint]
    groups = [[photos[i] for i in group] for group in near_groups(prints)]
    yield from _told(survey, groups, "nearly the same", "near-duplicate", "warning")


def _told(
    survey: Survey, groups: Sequence[Sequence[AnnotatedPhoto]], alike: str, kind: str, worst: Severity
) -> Iterator[Finding]:
    """Groups of photos that are alike: those on both sides, those of different classes, the others."""
    leaking, contradicting, plain = [], [], []
    for group in groups:
        splits = {photo.split for photo in group if photo.split}
        classes = {photo.shown for photo in group} - {frozenset()}
        if kind == "near-duplicate" and any(len(shown) > 1 for shown in classes):
            classes = set()  # of frames of one scene not all show the same objects
        if len(splits) > 1:
            leaking.append(_place(survey, group, [photo.split or "no split" for photo in group]))
        if len(classes) > 1:
            said = [", ".join(sorted(photo.shown)) or "nothing" for photo in group]
            contradicting.append(_place(survey, group, said))
        if len(splits) < 2 and len(classes) < 2:
            plain.append(_place(survey, group, []))
    if leaking:
        message = f"{_groups(leaking)} {alike} and on both sides, in train and in val"
        action = "What is validated has been learnt by heart: accuracy comes out too high. Keep each on one side."
        yield Finding(f"leak-{kind}", worst, message, tuple(leaking), action)
    if contradicting:
        message = f"{_groups(contradicting)} {alike} and of different classes"
        yield Finding(
            f"contradiction-{kind}", worst, message, tuple(contradicting), "Training is told both. Keep the right one."
        )
    if plain:
        message = f"{_groups(plain)} {alike}"
        yield Finding(kind, "warning", message, tuple(plain), "They count double in training; one of each is enough.")


def _groups(places: Sequence[Place]) -> str:
    total = sum(len(place.files) for place in places)
    if all(len(place.files) == 2 for place in places):
        return f"{counted(len(places), 'pair')} of photos {_is(places)}"
    return f"{counted(total, 'photo')} in {counted(len(places), 'group')} are"


def _place(survey: Survey, group: Sequence[AnnotatedPhoto], said: Sequence[str]) -> Place:
    """said: of each of the photos."""
    names = tuple(survey.name(photo.photo.name) for photo in group)
    if len(set(names)) < len(names):  # one photo that is named several times: what tells them apart is who names it
        names = tuple(f"{name} by {survey.name(photo.origin)}" for name, photo in zip(names, group, strict=True))
    if len(said) <= _MOST_SAID:
        return Place(names, " | ".join(said))
    return Place(names, " | ".join(f"{count:,} {word}" for word, count in Counter(said).most_common()))


def _is(places: Sequence[Place]) -> str:
    return "is" if len(places) == 1 else "are"
