"""Annotations -> arrays that a network is taught with: masks of class numbers, and boxes.

Shapes are drawn as Labelme draws them: one over the other in the order of the objects, each with its outline. The
coordinates and the pictures of masks are turned as the photo is, where they were made of it as it is stored.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from verydeep.data.annotations import (
    BACKGROUND,
    IGNORE,
    AnnotatedPhoto,
    AnnotatedSet,
    Bitmap,
    Box,
    Circle,
    Color,
    Instance,
    Point,
    Polygons,
    Shape,
)
from verydeep.errors import DatasetError
from verydeep.image.decode import decode, decode_numbers, is_colored, read_file, stored_orientation, stored_size
from verydeep.image.orientation import UPRIGHT

IGNORED = 255  # the number of pixels that teach nothing

LARGEST_ELLIPSE = 10_000.0  # pixels of radius: of far larger ones Pillow's numbers overflow, and it does not return

Size = tuple[int, int]  # width and height


def class_mask(
    photo: AnnotatedPhoto, classes: Sequence[str], size: Size, annotated: AnnotatedSet | None = None
) -> np.ndarray:
    """The class of each pixel, (height, width) uint8: its position in `classes`, or IGNORED.

    classes: at most 255; pixels without an object are of BACKGROUND where that is among them, otherwise IGNORED.
    size: of the upright photo; its coordinates are those of `upright`. annotated: the set that the photo is of, which
    knows what the numbers in a mask's file mean; without it they are positions in `classes`. A number that has no name
    is IGNORED, `unnamed` tells of it. Raises DatasetError and ImageError.
    """
    if len(classes) > IGNORED:
        raise DatasetError(f"there are {len(classes)} classes; a mask has {IGNORED} at most.", "Merge some.")
    numbers = {name: number for number, name in enumerate(classes)}
    numbers.setdefault(BACKGROUND, IGNORED)
    numbers[IGNORE] = IGNORED
    if photo.mask is None:
        return _drawn(photo, numbers, size)
    names, colors = (annotated.mask_classes, annotated.mask_colors) if annotated else (classes, {})
    return _renumbered(_fitting_mask(photo, photo.mask, colors, size), names, numbers, str(photo.mask))


def boxes(photo: AnnotatedPhoto, size: Size | None = None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Of each object the left, top, right and bottom edge in pixels, (objects, 4) float32, and its label.

    size: of the upright photo, which boxes end with; by default the one that the annotations tell. Objects outside of
    it are left out (`outside` tells of them), and so are those without area and those that teach nothing.
    """
    size = size or photo.size
    kept = [(_clipped(each.box, size), each.label) for each in photo.instances if each.label != IGNORE]
    kept = [(box, label) for box, label in kept if _has_area(box)]
    edges = np.array([box for box, _ in kept], np.float32).reshape(-1, 4)
    return edges, tuple(label for _, label in kept)


def outside(photo: AnnotatedPhoto, size: Size | None = None) -> tuple[Instance, ...]:
    """The objects of which nothing is in the photo. size: as for `boxes`."""
    clipped = ((each, _clipped(each.box, size or photo.size)) for each in photo.instances)
    return tuple(each for each, box in clipped if _has_area(each.box) and not _has_area(box))


def unnamed(photo: AnnotatedPhoto, annotated: AnnotatedSet) -> Counter[str]:
    """What the pixels of a mask's file hold that no class has: numbers or colours, each with its pixels.

    Raises ImageError.
    """
    if photo.mask is None:
        return Counter()
    data = read_file(photo.mask)
    if annotated.mask_colors and is_colored(data, str(photo.mask)):
        codes, counts = np.unique(_codes(decode(data, str(photo.mask), formats=("PNG",))), return_counts=True)
        known = {_code(color) for color in annotated.mask_colors}
        pairs = zip(codes.tolist(), counts.tolist(), strict=True)
        return Counter({f"#{code:06x}": count for code, count in pairs if code not in known})
    counts = np.bincount(decode_numbers(data, str(photo.mask)).ravel(), minlength=256)
    first = len(annotated.mask_classes)
    return Counter({str(number): int(counts[number]) for number in range(first, IGNORED) if counts[number]})


def read_mask(path: Path, colors: Mapping[Color, int]) -> np.ndarray:
    """The numbers in a mask's file, (height, width) uint8, or those of its colours. Raises ImageError."""
    data = read_file(path)
    if not colors or not is_colored(data, str(path)):
        return decode_numbers(data, str(path))
    codes = _codes(decode(data, str(path), formats=("PNG",)))
    known = np.array(sorted((_code(color), number) for color, number in colors.items()), np.int32)
    places = np.minimum(np.searchsorted(known[:, 0], codes), len(known) - 1)
    return np.where(known[places, 0] == codes, known[places, 1], IGNORED).astype(np.uint8)


def upright(photo: AnnotatedPhoto, data: bytes | None = None) -> AnnotatedPhoto:
    """The photo with the coordinates of the upright picture.

    Tools that know nothing of orientation tags see a photo as it is stored. That shows where the size they tell is the
    stored one, and the upright one differs; a photo turned by half, mirrored or square does not show it and is taken
    for one that was seen upright. data: the photo's file, where it is at hand. Raises ImageError, and DatasetError
    where the annotations are of a picture of another size.
    """
    if photo.size is None:
        return photo
    data = photo.photo.read() if data is None else data
    stored = stored_size(data, photo.photo.name)
    turn = stored_orientation(data, photo.photo.name) if stored[0] != stored[1] else 1
    if photo.size == (stored[::-1] if turn > 4 else stored):
        return photo
    if photo.size == stored:
        return turned(photo, turn)
    raise DatasetError(
        f"{photo.origin} is of a picture of {photo.size[0]} x {photo.size[1]} pixels; {photo.photo.name} has "
        f"{stored[0]} x {stored[1]}.",
        "Put the photo there that was annotated, or scale the annotations as the photo was.",
    )


def turned(photo: AnnotatedPhoto, turn: int) -> AnnotatedPhoto:
    """The objects of a photo, turned as the photo itself is by the orientation `turn`, 2 to 8.

    Its size is told, and is that of the picture as it is stored.
    """
    assert photo.size is not None
    width, height = photo.size
    place = _PLACES[turn]

    def move(point: Point) -> Point:
        return place(*point, width, height)

    instances = tuple(
        replace(each, box=_moved_box(each.box, move), shape=each.shape and _moved(each.shape, move, turn))
        for each in photo.instances
    )
    return replace(photo, instances=instances, size=(height, width) if turn > 4 else (width, height))


# Where a point of the stored picture (x, y, its width, its height) lies in the upright one; compare `UPRIGHT`.
_PLACES: Mapping[int, Callable[[float, float, int, int], Point]] = {
    2: lambda x, y, w, h: (w - x, y),
    3: lambda x, y, w, h: (w - x, h - y),
    4: lambda x, y, w, h: (x, h - y),
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


def _moved_box(box: Box, move: Callable[[Point], Point]) -> Box:
    (x, y), (u, v) = move((box.left, box.top)), move((box.right, box.bottom))
    return Box(min(x, u), min(y, v), max(x, u), max(y, v))


def _moved(shape: Shape, move: Callable[[Point], Point], turn: int) -> Shape:
    if isinstance(shape, Polygons):
        return Polygons(tuple(tuple(move(point) for point in ring) for ring in shape.rings))
    if isinstance(shape, Circle):
        return Circle(move(shape.center), shape.radius)
    pixels = np.asarray(_picture(shape).transpose(UPRIGHT[turn]))
    part = _moved_box(shape.box(), move)
    return Bitmap(int(part.left), int(part.top), pixels.shape[1], pixels.shape[0], np.packbits(pixels > 0).tobytes())


def _picture(bitmap: Bitmap) -> Image.Image:
    """0 and 255."""
    pixels = np.unpackbits(np.frombuffer(bitmap.bits, np.uint8), count=bitmap.width * bitmap.height)
    return Image.fromarray(255 * pixels.reshape(bitmap.height, bitmap.width))


def _drawn(photo: AnnotatedPhoto, numbers: Mapping[str, int], size: Size) -> np.ndarray:
    canvas = Image.new("L", size, numbers[BACKGROUND])
    for each in photo.instances:
        if each.label not in numbers:
            raise _unknown(photo.origin, each.label, numbers)
        if each.shape is not None:
            _draw(canvas, each.shape, numbers[each.label])
    return np.array(canvas)


def _draw(canvas: Image.Image, shape: Shape, number: int) -> None:
    draw = ImageDraw.Draw(canvas)
    if isinstance(shape, Polygons):
        for ring in shape.rings:
            draw.polygon(ring, fill=number, outline=number)
    elif isinstance(shape, Circle) and shape.radius <= LARGEST_ELLIPSE:
        draw.ellipse(shape.box(), fill=number, outline=number)
    elif isinstance(shape, Circle):
        canvas.paste(number, mask=_disc(shape, canvas.size))
    else:
        canvas.paste(number, (shape.left, shape.top), _picture(shape))


def _disc(circle: Circle, size: Size) -> Image.Image:
    """The pixels within it; as Pillow has it, a pixel is the point of its two numbers."""
    (x, y), (width, height) = circle.center, size
    across = circle.radius**2 - (np.arange(height)[:, None] - y) ** 2  # below 0: no part of it is in that row
    half = np.where(across >= 0, np.sqrt(np.maximum(across, 0)), -1)
    columns = np.arange(width)
    return Image.fromarray((columns >= x - half) & (columns <= x + half))


def _fitting_mask(photo: AnnotatedPhoto, path: Path, colors: Mapping[Color, int], size: Size) -> np.ndarray:
    """The numbers of the mask's file, turned as the photo is where it was made of it as it is stored."""
    found = read_mask(path, colors)
    if found.shape == (size[1], size[0]):
        return found
    turn = stored_orientation(photo.photo.read(), photo.photo.name) if found.shape == size else 1
    if turn > 4:
        return np.array(Image.fromarray(found).transpose(UPRIGHT[turn]))
    raise DatasetError(
        f"{path} has {found.shape[1]} x {found.shape[0]} pixels; the photo {photo.photo.name} has "
        f"{size[0]} x {size[1]}.",
        "Make both of the same size: masks by the nearest pixel.",
    )


def _renumbered(found: np.ndarray, names: Sequence[str], numbers: Mapping[str, int], path: str) -> np.ndarray:
    """names: of the numbers in `found`; numbers: that they get."""
    table = np.full(256, IGNORED, np.uint8)
    unknown = {}
    for number, name in enumerate(names):
        table[number] = numbers.get(name, IGNORED)
        if name not in numbers:
            unknown[number] = name
    if unknown and (there := [unknown[number] for number in np.unique(found).tolist() if number in unknown]):
        raise _unknown(path, there[0], numbers)
    mask: np.ndarray = table[found]
    return mask


def _unknown(origin: str, label: str, numbers: Mapping[str, int]) -> DatasetError:
    known = ", ".join(name for name, number in numbers.items() if number != IGNORED)
    return DatasetError(f"{origin} has the class {label!r}, which is not one of {known}.", "Add it, or rename it.")


def _clipped(box: Box, size: Size | None) -> Box:
    if size is None:
        return box
    width, height = size
    return Box(max(box.left, 0), max(box.top, 0), min(box.right, width), min(box.bottom, height))


def _has_area(box: Box) -> bool:
    return box.right > box.left and box.bottom > box.top


def _codes(pixels: np.ndarray) -> np.ndarray:
    """Colours, (..., 3) uint8 -> one number for each."""
    return pixels.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)


def _code(color: Color) -> int:
    return color[0] << 16 | color[1] << 8 | color[2]
