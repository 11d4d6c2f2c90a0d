"""What is known of photos: their classes, the objects in them, masks. Every format is read into these types.

Coordinates are in pixels of the upright photo, x to the right and y down, and run from edge to edge: the whole photo
is the box (0, 0, width, height), and its first pixel the box (0, 0, 1, 1).
"""

import base64
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

from verydeep.data.untrusted import read_json
from verydeep.errors import DataError, DatasetError, ImageError, printable
from verydeep.image.decode import Limits, read_file
from verydeep.nouns import Box as Box  # noqa: PLC0414, the formats take it from here
from verydeep.nouns import Photo

IGNORE = "__ignore__"  # the label of pixels, and of photos, that teach nothing (Labelme's name for it)
BACKGROUND = "_background_"  # the label of pixels that show no object (Labelme's name for it)
TRAIN, VALIDATION = "train", "val"
EMBEDDING_BYTES = 100 << 20  # of a JSON file with a photo in it

Point = tuple[float, float]
Color = tuple[int, int, int]  # red, green, blue: 0 to 255


@dataclass(frozen=True)
class PhotoFile:
    """A photo in a file of its own."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    @property
    def file_name(self) -> str:
        return self.path.name

    def read(self) -> bytes:
        return read_file(self.path)


@dataclass(frozen=True)
class PhotoPart:
    """A photo that stands as it is within a larger file, such as a tar shard."""

    path: Path
    member: str
    offset: int  # bytes
    length: int

    @property
    def name(self) -> str:
        return f"{self.path}:{self.member}"

    @property
    def file_name(self) -> str:
        return self.member.rpartition("/")[2]

    def read(self) -> bytes:
        name = printable(self.name)
        if not 0 < self.length <= Limits().file_bytes:
            raise ImageError(
                f"{name} has {self.length} bytes; expected 1 to {Limits().file_bytes}.", "Save it smaller."
            )
        try:
            with self.path.open("rb") as file:
                file.seek(self.offset)
                data = file.read(self.length)
        except OSError as error:
            raise ImageError(f"{name} cannot be read: {error.strerror}.", "Check path and permissions.") from error
        if len(data) < self.length:
            raise ImageError(f"{name} is cut off.", "Copy the file again.")
        return data


@dataclass(frozen=True)
class EmbeddedPhoto:
    """A photo in base64 within a JSON file, as Labelme's imageData."""

    path: Path
    key: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.key}"

    @property
    def file_name(self) -> str:
        return self.path.name

    def read(self) -> bytes:
        name = printable(self.name)
        try:
            return base64.b64decode(read_json(self.path, EMBEDDING_BYTES)[self.key], validate=True)
        except DataError as error:
            raise ImageError(f"{name} cannot be read: {error.message}", error.hint) from error
        except (ValueError, KeyError, TypeError) as error:
            raise ImageError(f"{name} is not base64 of a photo.", "Save the annotation again.") from error


@dataclass(frozen=True)
class Polygons:
    """Outlines that are filled; an object in several parts has several."""

    rings: tuple[tuple[Point, ...], ...]  # each of three points or more

    def box(self) -> Box:
        xs, ys = zip(*(point for ring in self.rings for point in ring), strict=True)
        return Box(min(xs), min(ys), max(xs), max(ys))


@dataclass(frozen=True)
class Circle:
    """A disc."""

    center: Point
    radius: float

    def box(self) -> Box:
        (x, y), r = self.center, self.radius
        return Box(x - r, y - r, x + r, y + r)


@dataclass(frozen=True)
class Bitmap:
    """Single pixels of a part of the photo, as bits: rows from the top, each from the left, without gaps."""

    left: int
    top: int
    width: int
    height: int
    bits: bytes  # as `numpy.packbits` packs them

    def box(self) -> Box:
        """Of the part, not of the pixels in it."""
        return Box(self.left, self.top, self.left + self.width, self.top + self.height)


Shape = Polygons | Circle | Bitmap


@dataclass(frozen=True)
class Instance:
    """One object in a photo: where it is, as a box, a shape, or both."""

    label: str
    box: Box
    shape: Shape | None = None  # what a mask is drawn from; a box alone makes none


@dataclass(frozen=True)
class AnnotatedPhoto:
    """A photo and what is known of it."""

    photo: Photo
    origin: str  # the file that says so, and the line where it has lines: for messages
    labels: tuple[str, ...] = ()  # of the photo as a whole; several: all of them hold
    instances: tuple[Instance, ...] = ()
    mask: Path | None = None  # a picture of the photo's size whose pixels are numbers of classes
    split: str | None = None  # TRAIN or VALIDATION, where that is told
    size: tuple[int, int] | None = None  # width and height as the annotations tell them, to be compared

    @property
    def has_mask(self) -> bool:
        """Whether it tells classes of pixels: by a mask, or by shapes that one is drawn from."""
        return self.mask is not None or any(instance.shape is not None for instance in self.instances)

    @property
    def classes(self) -> frozenset[str]:
        """Of the photo and of the objects in it."""
        return frozenset(self.labels) | {instance.label for instance in self.instances}

    @property
    def shown(self) -> frozenset[str]:
        """What a classifier is told: the labels, or where there are none, those of the objects; none if ignored."""
        named = self.labels or tuple(instance.label for instance in self.instances)
        return frozenset() if IGNORE in self.labels else frozenset(named) - {IGNORE, BACKGROUND}


@dataclass(frozen=True)
class Problem:
    """A file that could not be read as an annotation, and why."""

    path: str
    message: str
    hint: str = ""


@dataclass(frozen=True)
class AnnotatedSet:
    """All photos of a folder, with what a format's files say of them."""

    format: str  # its name in `formats.FORMATS`
    root: Path  # no file outside this folder is read
    photos: tuple[AnnotatedPhoto, ...]
    found: str  # in words: "450 VOC files in annotations"
    problems: tuple[Problem, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)  # what has no use here, by its kind: "point"
    mask_classes: tuple[str, ...] = ()  # the class of each number in the masks; IGNORE for those that teach nothing
    mask_colors: Mapping[Color, int] = field(default_factory=dict)  # their numbers, where masks are colour pictures
    remarks: tuple[str, ...] = ()  # sentences on how it was read that the user should know
    named: frozenset[Photo] = frozenset()  # all photos that annotations name, where others may lie beside them

    @property
    def classes(self) -> tuple[str, ...]:
        """All of them, sorted; without IGNORE and BACKGROUND."""
        named = set(self.mask_classes).union(*(photo.classes for photo in self.photos))
        return tuple(sorted(named - {IGNORE, BACKGROUND}))

    def counts(self) -> Counter[str]:
        """Photos in which each class is told, of the whole or of an object."""
        return Counter(label for photo in self.photos for label in photo.classes)

    def has(self, what: str) -> bool:
        """what: "labels", "boxes", "shapes" or "masks": whether a photo has any."""
        return any(_HAS[what](photo) for photo in self.photos)


_HAS = {
    "labels": lambda photo: bool(photo.labels),
    "boxes": lambda photo: bool(photo.instances),
    "shapes": lambda photo: any(instance.shape is not None for instance in photo.instances),
    "masks": lambda photo: photo.mask is not None,
}


def make_label(value: object, origin: str) -> str:
    """The name of a class. Numbers are taken as text. Raises DatasetError."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and abs(value) < 1 << 63:
        return str(value)
    text = unicodedata.normalize("NFC", value).strip() if isinstance(value, str) else ""
    if not text or len(text) > _LONGEST_LABEL or any(unicodedata.category(c) in ("Cc", "Cs") for c in text):
        raise DatasetError(
            f"{origin} has the label {printable(repr(value)[:40])}; expected a name of up to {_LONGEST_LABEL} letters.",
            "Correct the label.",
        )
    return text


def make_box(left: float, top: float, right: float, bottom: float, origin: str) -> Box:
    """The box, however its corners are ordered; it may have no area. Raises DatasetError where an edge is no number."""
    edges = [make_number(edge, origin) for edge in (left, top, right, bottom)]
    return Box(min(edges[0], edges[2]), min(edges[1], edges[3]), max(edges[0], edges[2]), max(edges[1], edges[3]))


def make_polygon(points: Sequence[object], origin: str) -> tuple[Point, ...]:
    """points: pairs of numbers, three or more. Raises DatasetError."""
    ring: list[Point] = []
    for point in points:
        if not isinstance(point, (list, tuple)) or len(point) != 2:
            raise DatasetError(f"{origin}: a point is {str(point)[:40]!r}; expected two numbers.", "Draw it again.")
        ring.append((make_number(point[0], origin), make_number(point[1], origin)))
    if len(ring) < 3:
        raise DatasetError(f"{origin}: a polygon has {len(ring)} points; expected three or more.", "Draw it again.")
    return tuple(ring)


def check_outlines(instances: Iterable[Instance], origin: str) -> None:
    """Raises DatasetError where the outlines in a photo are so many, or so large, that drawing them takes minutes."""
    shapes = [each.shape for each in instances]
    rings = [ring for shape in shapes if isinstance(shape, Polygons) for ring in shape.rings]
    circles = [shape for shape in shapes if isinstance(shape, Circle)]
    steps = sum(len(ring) * _height(ring) for ring in rings)
    steps += sum(_CIRCLE_POINTS * 2 * circle.radius for circle in circles)
    if steps > _DRAWING_STEPS:
        points = sum(map(len, rings)) + _CIRCLE_POINTS * len(circles)
        outlines = len(rings) + len(circles)
        raise DatasetError(f"{origin}: {points:,} points in {outlines} outlines are too many.", "Draw it with fewer.")


def _height(ring: Sequence[Point]) -> float:
    heights = [y for _, y in ring]
    return max(heights) - min(heights)


def make_size(width: object, height: object) -> tuple[int, int] | None:
    """A photo's size as a file tells it; None where it does not, or nonsense."""
    if not _is_side(width) or not _is_side(height):
        return None
    return int(width), int(height)


def _is_side(value: object) -> TypeGuard[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return 0 < value <= _FARTHEST and value == int(value)


_DRAWING_STEPS = 50_000_000  # rows of pixels in an outline, times its points: each row looks at all of them
_CIRCLE_POINTS = 4  # that a circle counts as
_LONGEST_LABEL = 200  # characters
_FARTHEST = 1_000_000  # pixels: no photo is so large


def make_number(value: object, origin: str) -> float:
    """A coordinate or a length. Raises DatasetError."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise DatasetError(f"{origin}: a coordinate is {str(value)[:40]!r}; expected a number.", "Correct the file.")
    if not abs(value) <= _FARTHEST:  # NaN is not, either
        raise DatasetError(f"{origin}: a coordinate is {str(value)[:40]}; no photo is so large.", "Correct the file.")
    return float(value)
