"""Labelme's JSON: flags are classes of the photo, rectangles are boxes, polygons, circles and masks are shapes.

Source: labelme's own files of versions 3 to 5. imagePath is taken from the JSON's folder on. Where it names no photo
(some files name themselves, or a folder of another machine), the photo of that name beside the JSON is taken, then the
one named as the JSON is, then the one embedded in it.
"""

import base64
import math
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.data.annotations import (
    EMBEDDING_BYTES,
    AnnotatedPhoto,
    AnnotatedSet,
    Bitmap,
    Box,
    Circle,
    EmbeddedPhoto,
    Instance,
    PhotoFile,
    Polygons,
    Problem,
    Shape,
    check_outlines,
    make_box,
    make_label,
    make_polygon,
    make_size,
)
from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.formats import coco
from verydeep.data.formats.find import links_out
from verydeep.data.formats.splits import settle_splits
from verydeep.data.untrusted import Root, read_ends, read_json
from verydeep.data.walk import split_name, walk
from verydeep.errors import DatasetError
from verydeep.image import decode
from verydeep.nouns import Photo

_HEAD_BYTES = 1 << 16
_TRIES = 50  # files of a folder that are looked into before it is taken for one without any
_MASK_PIXELS = 16 << 30  # of all masks that are pictures: 2 GiB, as they are kept
_POINTLESS = ("line", "linestrip", "point", "points")  # they enclose nothing


@dataclass
class _Reading:
    """What is kept while files are read."""

    data: Path
    root: Root
    passed_over: Counter[str] = field(default_factory=Counter)
    mask_pixels: int = 0


def detect(data: Path, root: Root) -> str | None:
    """JSON files with shapes."""
    count = sum(1 for _ in _files(data, root))
    return f"{count} Labelme file{'s' * (count > 1)}" if count else None


def read(data: Path, root: Root) -> AnnotatedSet:
    """One photo a file; one without shapes and flags shows nothing of what was looked for."""
    photos: list[AnnotatedPhoto] = []
    problems: list[Problem] = []
    reading = _Reading(data, root)
    for path in dict.fromkeys([*_files(data, root), *links_out(data, root, (".json",))]):
        try:
            if path != data:
                root.check(path)
            photos.append(_photo(path, reading))
        except DatasetError as error:
            problems.append(Problem(str(path), error.message, error.hint))
    found = f"{len(photos) + len(problems)} Labelme files"
    kept = settle_splits(photos, reading.passed_over)
    named = frozenset(each.photo for each in photos)
    return AnnotatedSet("labelme", root.folder, kept, found, tuple(problems), reading.passed_over, named=named)


def _files(data: Path, root: Root) -> Iterator[Path]:
    """All JSON files of the folders in which one looks like Labelme's, so that a damaged one is told, not missed."""
    if data.is_file():
        yield from [data] if data.suffix.lower() == ".json" and _is_labelme(read_ends(data, _HEAD_BYTES)[0]) else []
        return
    for folder, names in walk(data, follow=False):
        files = [folder / name for name in names if name.lower().endswith(".json")]
        if any(_is_labelme(root.ends(file, _HEAD_BYTES)[0]) for file in files[:_TRIES]):
            others = set(coco.files_in(folder, names, root))
            yield from (file for file in files if file not in others)


def _is_labelme(head: bytes) -> bool:
    return b'"shapes"' in head or (b'"flags"' in head and b'"version"' in head)


def _photo(path: Path, reading: _Reading) -> AnnotatedPhoto:
    origin = str(path)
    document = read_json(path, EMBEDDING_BYTES)
    if not isinstance(document, dict) or not isinstance(document.get("shapes"), list):
        raise DatasetError(f"{origin} has no list of shapes; expected a file of Labelme.", "Save it again.")
    flags = document.get("flags") or {}
    told = flags.items() if isinstance(flags, dict) else ()
    labels = sorted(make_label(name, origin) for name, is_set in told if is_set is True)
    instances = _grouped(_instances(document["shapes"], origin, reading))
    check_outlines(instances, origin)
    return AnnotatedPhoto(
        _find(path, document, reading.root),
        origin,
        tuple(labels),
        tuple(instances),
        split=split_name(path, reading.data, by_name=False),
        size=make_size(document.get("imageWidth"), document.get("imageHeight")),
    )


def _grouped(parts: Iterable[tuple[object, Instance]]) -> list[Instance]:
    """Outlines with one label and one group are the parts of one object, which stands where its first part does."""
    instances: dict[object, Instance] = {}
    for place, (group, part) in enumerate(parts):
        if group is None or not isinstance(part.shape, Polygons):
            instances[place] = part
        elif (before := instances.get((group, part.label))) is None:
            instances[group, part.label] = part
        else:
            assert isinstance(before.shape, Polygons)
            outline = Polygons(before.shape.rings + part.shape.rings)
            instances[group, part.label] = Instance(part.label, outline.box(), outline)
    return list(instances.values())


def _instances(shapes: list[Any], origin: str, reading: _Reading) -> Iterator[tuple[object, Instance]]:
    """Each with its group, where it has one."""
    for number, shape in enumerate(shapes, start=1):
        where = f"{origin}: shape {number}"
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise DatasetError(f"{where} has no label.", "Name it.")
        label = make_label(shape["label"], where)
        if shape.get("shape_type") in _POINTLESS:
            reading.passed_over[shape["shape_type"]] += 1
        else:
            if shape.get("shape_type") == "mask" and reading.mask_pixels > _MASK_PIXELS:
                raise DatasetError(
                    f"{where}: the masks before have more than {_MASK_PIXELS:,} pixels.", "Read fewer files at a time."
                )
            box, outline = _shape(shape, where)
            if isinstance(outline, Bitmap):
                reading.mask_pixels += outline.width * outline.height
            group = shape.get("group_id")
            yield group if isinstance(group, (int, str)) else None, Instance(label, box, outline)


def _find(path: Path, document: Mapping[str, Any], root: Root) -> Photo:
    """Raises DatasetError where there is none."""
    outside: DatasetError | None = None
    named = document.get("imagePath")
    tries = []
    if isinstance(named, str) and named:
        for name in (named, named.replace("\\", "/").rpartition("/")[2] or path.name):
            try:
                tries.append(root.path(path.parent, name, str(path)))
            except DatasetError as error:
                outside = outside or error
    tries += [path.with_suffix(suffix) for suffix in (*PHOTO_SUFFIXES, *map(str.upper, PHOTO_SUFFIXES))]
    for found in tries:
        if found.name.lower().endswith(PHOTO_SUFFIXES) and root.holds(found) and os.path.isfile(found):  # noqa: PTH113
            return PhotoFile(found)
    if isinstance(document.get("imageData"), str):
        return EmbeddedPhoto(path, "imageData")
    raise outside or DatasetError(
        f"{path} names the photo {str(named)[:200]!r}, which is not there, and holds none itself.",
        "Put the photo beside it.",
    )


def _shape(shape: Mapping[str, Any], where: str) -> tuple[Box, Shape | None]:
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")  # version 3 tells no type
    if not isinstance(points, list):
        raise DatasetError(f"{where} has no list of points.", "Draw it again.")
    if kind == "rectangle":
        return _bounds(points, where), None
    if kind == "polygon":
        outline: Shape = Polygons((make_polygon(points, where),))
    elif kind == "circle":
        outline = _circle(points, where)
    elif kind == "mask":
        outline = _bitmap(shape, points, where)
    else:
        raise DatasetError(f"{where} is a {str(kind)[:40]!r}; expected a known one.", "Redraw it.")
    return make_box(*outline.box(), where), outline


def _bounds(points: list[Any], where: str) -> Box:
    """Of a rectangle's two corners, or of its four in newer versions."""
    if len(points) not in (2, 4):
        raise DatasetError(f"{where} is a rectangle of {len(points)} points; expected two or four.", "Draw it again.")
    corners = make_polygon([*points, points[0]], where)  # numbers, all of them
    xs, ys = zip(*corners, strict=True)
    return make_box(min(xs), min(ys), max(xs), max(ys), where)


def _circle(points: list[Any], where: str) -> Circle:
    """Its centre and a point on its edge."""
    if len(points) != 2:
        raise DatasetError(f"{where} is a circle of {len(points)} points; expected centre and edge.", "Draw it again.")
    center, edge, _ = make_polygon([*points, points[0]], where)
    return Circle(center, math.dist(center, edge))


def _bitmap(shape: Mapping[str, Any], points: list[Any], where: str) -> Bitmap:
    """A picture in base64 whose first pixel lies at the first point."""
    try:
        data = base64.b64decode(shape["mask"], validate=True)
        (left, top), *_ = make_polygon([*points, *points], where)
        mask = decode(data, where, formats=("PNG",))[..., 0] > 0
    except (KeyError, TypeError, ValueError) as error:  # ValueError: an ImageError, too
        raise DatasetError(f"{where} is a mask without a picture that can be read.", "Draw it again.") from error
    height, width = mask.shape
    return Bitmap(round(left), round(top), width, height, np.packbits(mask).tobytes())
