"""Photos of a set on one sheet, spread over its classes: with what is said of them drawn on, or as squares."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from PIL import Image

from verydeep.data.annotations import BACKGROUND, IGNORE, AnnotatedPhoto, AnnotatedSet, Box
from verydeep.data.findings import counted
from verydeep.data.many import in_threads
from verydeep.data.pictured import as_upright, instance_mask, mask_classes, shrunk
from verydeep.data.targets import Size
from verydeep.errors import DataError
from verydeep.image.decode import decode, upright_size
from verydeep.image.draw import Colour, contact_sheet
from verydeep.image.draw_fits import TYPICAL, fit_card
from verydeep.image.draw_objects import Drawn, card_scale, class_colours, object_card

SHOWN = 24  # photos on a sheet
_COLUMNS = 6
_MOST_OUTLINES = 200  # of a photo that are drawn: each is a mask of its own, of up to 192 kB
_MOST_IN_A_COLUMN = 8  # of photos beside their squares
_UNSEEN = (160, 160, 160)  # of pixels that teach nothing


def draw_sheet(annotated: AnnotatedSet, shown: int = SHOWN, threads: int | None = None) -> Image.Image | None:
    """None: not one of the chosen photos can be read."""
    colours = {**class_colours(annotated.classes), IGNORE: _UNSEEN, BACKGROUND: _UNSEEN}

    def work(photo: AnnotatedPhoto) -> Image.Image | None:
        return _card(photo, annotated, colours)

    cards = [card for card in in_threads(choose(annotated, shown), work, threads=threads) if card]
    return contact_sheet(cards, min(_COLUMNS, len(cards))) if cards else None


def draw_fits(annotated: AnnotatedSet, shown: int = SHOWN, threads: int | None = None) -> Image.Image | None:
    """The same photos as squares by each fit, the longest photos first. None: not one of them can be read."""

    def work(photo: AnnotatedPhoto) -> tuple[float, Image.Image] | None:
        try:
            data = photo.photo.read()
            size = upright_size(data, photo.photo.name)
            image = decode(data, photo.photo.name, at_most=TYPICAL.resize)
        except DataError:
            return None
        return max(size) / min(size), fit_card(image, size[::-1])

    made = [one for one in in_threads(choose(annotated, shown), work, threads=threads) if one]
    cards = [card for _, card in sorted(made, key=lambda one: one[0], reverse=True)]
    return contact_sheet(cards, 1 if len(cards) <= _MOST_IN_A_COLUMN else 2) if cards else None


def choose(annotated: AnnotatedSet, count: int) -> list[AnnotatedPhoto]:
    """So many photos: of each class in turn, from all over the set; those of no class where room is left."""
    by_class: dict[str, list[AnnotatedPhoto]] = defaultdict(list)
    for photo in annotated.photos:
        for label in sorted(photo.classes) or [""]:
            by_class[label].append(photo)
    nameless = by_class.pop("", [])
    labels = [by_class[label] for label in sorted(by_class)]
    turns = [*_turns([_spread_out(photos) for photos in _spread_out(labels)]), *_spread_out(nameless)]
    chosen = list(dict.fromkeys(turns))[:count]
    return sorted(chosen, key=lambda photo: (sorted(photo.classes), photo.photo.name))


def _turns(queues: Sequence[Sequence[AnnotatedPhoto]]) -> Iterator[AnnotatedPhoto]:
    """The first of each, then the second of each."""
    for place in range(max(map(len, queues), default=0)):
        yield from (queue[place] for queue in queues if place < len(queue))


def _spread_out(items: Sequence) -> list:  # type: ignore[type-arg]
    """All of them, in an order whose every beginning is spread over the whole: the middle first, then the quarters."""
    order: dict[int, None] = {}
    parts = 1
    while len(order) < len(items):
        order.update(dict.fromkeys(int((2 * part + 1) * len(items) / (2 * parts)) for part in range(parts)))
        parts *= 2
    return [items[i] for i in order]


def _card(photo: AnnotatedPhoto, annotated: AnnotatedSet, colours: dict[str, Colour]) -> Image.Image | None:
    """The photo and its objects are shrunk before masks are made of these: each takes a byte a pixel."""
    try:
        data = photo.photo.read()
        size = upright_size(data, photo.photo.name)
        image = decode(data, photo.photo.name, at_most=max(1, round(min(size) * card_scale(*size))))
        upright, left_out = _largest(as_upright(photo, data))
        objects = list(_objects(upright, annotated, size, (image.shape[1], image.shape[0])))
    except DataError:
        return None
    known = {one.label: colours.get(one.label, _UNSEEN) for one in objects}
    told = list(photo.labels)
    if left_out:
        told.append(f"{counted(left_out, 'smaller outline is', 'smaller outlines are')} not drawn")
    return object_card(image, objects, known, ", ".join(told), photo.split or "")


def _largest(photo: AnnotatedPhoto) -> tuple[AnnotatedPhoto, int]:
    """The photo with no more outlines than are drawn, and how many are left out; all its boxes are kept."""
    outlines = [place for place, each in enumerate(photo.instances) if each.shape is not None]
    outlines.sort(key=lambda place: -_area(photo.instances[place].box))
    left_out = set(outlines[_MOST_OUTLINES:])
    kept = tuple(each for place, each in enumerate(photo.instances) if place not in left_out)
    return replace(photo, instances=kept), len(left_out)


def _area(box: Box) -> float:
    return (box.right - box.left) * (box.bottom - box.top)


def _objects(photo: AnnotatedPhoto, annotated: AnnotatedSet, size: Size, drawn: Size) -> Iterator[Drawn]:
    """Those with a box or a shape, and each class of the mask, in a picture of the size `drawn`. Raises DataError."""
    small = shrunk(photo, drawn[0] / size[0])
    for instance in small.instances:
        mask = instance_mask(small, instance, drawn) if instance.shape is not None else None
        yield Drawn(instance.label, instance.box, mask)
    if photo.mask:
        yield from (Drawn(label, mask=pixels) for label, pixels in mask_classes(photo, annotated, size, drawn))
