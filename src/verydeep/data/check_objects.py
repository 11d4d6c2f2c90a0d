"""What can be wrong with boxes, shapes and masks: outside of the photo, too small, of another size, without a name."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from verydeep.data.annotations import IGNORE, AnnotatedPhoto, Box, Instance
from verydeep.data.findings import Finding, Place, counted, listed
from verydeep.data.survey import Seen, Survey, Unreadable

SLACK = 1.0  # pixels over the edge that nobody means
SMALLEST = 3.0  # pixels: a narrower box is rather a click than an object


def boxes_outside(survey: Survey) -> Iterator[Finding]:
    """Those with nothing of them in the photo, and those that reach over its edge."""
    outside, partly = [], []
    for photo, instance, seen in _objects(survey):
        (left, top, right, bottom), (width, height) = instance.box, seen.size
        place = _place(survey, photo, instance, f"the photo has {width} x {height} pixels")
        if right <= 0 or bottom <= 0 or left >= width or top >= height:
            outside.append(place)
        elif min(left, top) < -SLACK or right > width + SLACK or bottom > height + SLACK:
            partly.append(place)
    if outside:
        message = f"{counted(len(outside), 'object lies', 'objects lie')} outside of their photo"
        yield Finding("box-outside", "error", message, tuple(outside), "Training leaves them out; correct the boxes.")
    if partly:
        message = f"{counted(len(partly), 'object reaches', 'objects reach')} over the edge of their photo"
        yield Finding("box-partly-outside", "warning", message, tuple(partly), "They are cut off at the edge.")


def boxes_without_area(survey: Survey) -> Iterator[Finding]:
    flat, tiny = [], []
    for photo in survey.set.photos:
        for instance in photo.instances:
            left, top, right, bottom = instance.box
            shorter = min(right - left, bottom - top)
            if shorter <= 0:
                flat.append(_place(survey, photo, instance))
            elif shorter < SMALLEST:
                tiny.append(_place(survey, photo, instance))
    if flat:
        message = f"{counted(len(flat), 'object has', 'objects have')} no area"
        yield Finding("box-without-area", "error", message, tuple(flat), "Training leaves them out; draw them again.")
    if tiny:
        message = f"{counted(len(tiny), 'object is', 'objects are')} less than {SMALLEST:g} pixels wide or high"
        yield Finding("tiny-box", "warning", message, tuple(tiny), "A slip of the hand, or too small to be learnt.")


def other_sizes(survey: Survey) -> Iterator[Finding]:
    """Where the annotations tell another size than the photo has: their boxes are about another picture."""
    with_objects, without, lying = list[Place](), list[Place](), list[Place]()
    for photo in survey.set.photos:
        if (seen := survey.seen(photo)) and photo.size and photo.size != seen.size:
            told, has = ("{} x {}".format(*size) for size in (photo.size, seen.size))
            place = Place((survey.name(photo.photo.name),), f"told {told}, has {has}")
            kinds = lying if photo.size == seen.stored_size else with_objects if photo.instances else without
            kinds.append(place)
    if with_objects:
        message = f"{_photos(with_objects)} another size than the annotations tell"
        action = "Boxes lie in wrong places if the photo was resized after they were drawn: draw or scale them again."
        yield Finding("other-size", "error", message, tuple(with_objects), action)
    if without:
        yield Finding(
            "other-size", "warning", f"{_photos(without)} another size than the annotations tell", tuple(without)
        )
    if lying:
        message = f"{counted(len(lying), 'photo was', 'photos were')} annotated lying on the side, as stored"
        action = "Objects are turned upright with the photo, as its EXIF tag tells."
        yield Finding("annotated-as-stored", "note", message, tuple(lying), action)


def masks_of_other_files(survey: Survey) -> Iterator[Finding]:
    """Masks that cannot be read, or whose size is not the photo's."""
    unreadable, unlike = [], []
    for photo in survey.set.photos:
        found = survey.masks.get(photo.mask) if photo.mask else None
        if isinstance(found, Unreadable):
            unreadable.append(Place((survey.name(str(photo.mask)),), survey.reason(found)))
        elif found and (seen := survey.seen(photo)) and found.size not in (seen.size, seen.stored_size):
            sizes = "the mask has {} x {} pixels, the photo {} x {}".format(*found.size, *seen.size)
            unlike.append(Place((survey.name(str(photo.mask)), survey.name(photo.photo.name)), sizes))
    if unreadable:
        message = f"{counted(len(unreadable), 'mask')} cannot be read"
        yield Finding("unreadable-mask", "error", message, tuple(unreadable), "Training does without these photos.")
    if unlike:
        message = f"{counted(len(unlike), 'mask has', 'masks have')} another size than the photo"
        yield Finding("mask-size", "error", message, tuple(unlike), "Training does without them; save them anew.")


def nameless_numbers(survey: Survey) -> Iterator[Finding]:
    """Numbers or colours in masks that no class has, with their pixels."""
    pixels, masks = Counter[str](), defaultdict[str, list[str]](list)
    for path, found in survey.masks.items():
        if not isinstance(found, Unreadable):
            pixels += found.unnamed
            for number in found.unnamed:
                masks[number].append(survey.name(str(path)))
    if pixels:
        ordered = sorted(pixels, key=lambda number: (len(number), number))
        places = tuple(Place(tuple(masks[one]), f"number {one}: {counted(pixels[one], 'pixel')}") for one in ordered)
        message = f"masks have {counted(len(pixels), 'number')} that no class has: {listed(ordered)}"
        yield Finding("nameless-number", "error", message, places, "Name their classes; until then they teach nothing.")


def classes_without_names(survey: Survey) -> Iterator[Finding]:
    """Masks whose classes are called by their number, since no file tells more."""
    names = [name for name in survey.set.mask_classes if name != IGNORE]
    if names and all(name.isdecimal() for name in names):
        message = f"the classes of the masks have no names: they are called {listed(names)}"
        action = (
            "Write classes.txt beside the photos, a name in each line from number 0 on; void for what teaches nothing."
        )
        yield Finding("classes-without-names", "note", message, (), action)


def _objects(survey: Survey) -> Iterator[tuple[AnnotatedPhoto, Instance, Seen]]:
    """Those in photos that can be read, in coordinates of the upright photo."""
    for photo in survey.set.photos:
        if seen := survey.seen(photo):
            for instance in survey.upright(photo).instances:
                yield photo, instance, seen


def _photos(places: list[Place]) -> str:
    return counted(len(places), "photo has", "photos have")


def _place(survey: Survey, photo: AnnotatedPhoto, instance: Instance, more: str = "") -> Place:
    note = f"{instance.label}: {_edges(instance.box)}" + (f"; {more}" if more else "")
    return Place((survey.name(photo.origin),), note)


def _edges(box: Box) -> str:
    return "left {:g}, top {:g}, right {:g}, bottom {:g}".format(*box)
