"""COCO's JSON: one file for many photos, with their sizes, the objects in them and the names of the categories.

Boxes are left, top, width and height; outlines are polygons, a ring for each part, or runs of pixels. Crowds teach
nothing: single persons in them are not told. A photo's file name is taken from the JSON's folder on, then from the
folder above; then from the folders images, JPEGImages and the one that the JSON's own name ends with, below both
(instances_train2017.json: train2017, train).
"""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from verydeep.data.annotations import (
    IGNORE,
    AnnotatedPhoto,
    AnnotatedSet,
    Bitmap,
    Box,
    Instance,
    PhotoFile,
    Point,
    Polygons,
    Problem,
    Shape,
    check_outlines,
    make_box,
    make_label,
    make_number,
    make_polygon,
    make_size,
)
from verydeep.data.formats.find import PhotoFinder, links_out, tails
from verydeep.data.formats.runs import bitmap
from verydeep.data.formats.splits import settle_splits
from verydeep.data.untrusted import Root, read_ends, read_json
from verydeep.data.walk import split_name, walk
from verydeep.errors import DatasetError, printable

_END_BYTES = 1 << 16
_TRIES = 25  # JSON files from each end of a folder that are looked into, and those of these names:
_NAMES = re.compile(
    r"_?(?:\w+_)?(?:instances|annotations|train|val|valid|test)(?:_\w+)?(?:\d{4})?(?:\.coco)?\.json|.*coco.*\.json"
)
_OTHERS = ("captions", "person_keypoints", "panoptic", "image_info", "stuff")  # that lie beside COCO's instances
_MASK_BYTES = 2 << 30  # of all masks that are told as runs: what is kept of them,
_MASK_PIXELS = 100_000_000_000  # and what they are unpacked to before: some minutes


@dataclass
class _Reading:
    """What is kept while files are read."""

    data: Path
    finder: PhotoFinder
    photos: list[AnnotatedPhoto] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    seen: dict[Path, str] = field(default_factory=dict)  # photo -> the image that it is of
    mask_bytes: int = 0
    mask_pixels: int = 0

    def tell(self, path: Path, error: DatasetError) -> None:
        self.problems.append(Problem(str(path), error.message, error.hint))


@dataclass(frozen=True)
class _Document:
    """A file whose lists are lists and whose images and categories have ids."""

    path: Path
    images: Mapping[object, Mapping[str, Any]]
    objects: Mapping[object, Sequence[Mapping[str, Any]]]  # by the id of their image
    categories: Mapping[object, str]
    folders: Sequence[Path]  # where its photos may lie
    split: str | None


def detect(data: Path, root: Root) -> str | None:
    """JSON files whose beginning and end look like COCO's."""
    files = list(_files(data, root))
    return _found(files) if files else None


def read(data: Path, root: Root) -> AnnotatedSet:
    """All photos of all files; one with an object that cannot be read is left out."""
    files, passed_over = _set_aside(_files(data, root))
    reading = _Reading(data, PhotoFinder(root))
    for path in [*files, *links_out(data, root, (".json",))]:
        try:
            if path != data:
                root.check(path)
            document = _read_document(path, reading)
        except DatasetError as error:
            reading.tell(path, error)
            continue
        for key, image in document.images.items():
            try:
                reading.photos.append(_photo(document, key, image, reading))
            except DatasetError as error:
                reading.tell(path, error)
    photos = settle_splits(reading.photos, passed_over)
    named = frozenset(each.photo for each in reading.photos)
    problems = tuple(reading.problems)
    return AnnotatedSet("coco", root.folder, photos, _found(files), problems, passed_over, named=named)


def _files(data: Path, root: Root) -> Iterator[Path]:
    if data.is_file():
        yield from [data] if data.suffix.lower() == ".json" and _is_coco(*read_ends(data, _END_BYTES)) else []
        return
    for folder, names in walk(data, follow=False):
        yield from files_in(folder, names, root)


def files_in(folder: Path, names: Iterable[str], root: Root) -> list[Path]:
    """Those of these files that look like COCO's."""
    tried = [name for name in names if name.lower().endswith(".json")]
    if len(tried) > 2 * _TRIES:  # Labelme's, one a photo
        middle = [name for name in tried[_TRIES:-_TRIES] if _NAMES.fullmatch(name.lower())]
        tried = [*tried[:_TRIES], *middle, *tried[-_TRIES:]]
    return [folder / name for name in tried if _is_coco(*root.ends(folder / name, _END_BYTES))]


def _is_coco(first: bytes, last: bytes) -> bool:
    ends = first + last
    if b'"shapes"' in first or not (b'"images"' in ends or b'"annotations"' in ends):
        return False
    return any(mark in ends for mark in (b'"categories"', b'"image_id"', b'"file_name"'))


def _set_aside(files: Iterable[Path]) -> tuple[list[Path], Counter[str]]:
    """Without those that tell the same photos otherwise than the instances beside them."""
    kept, aside = list(files), Counter[str]()
    with_instances = {path.parent for path in kept if path.name.startswith("instances")}
    for path in list(kept):
        kind = next((kind for kind in _OTHERS if path.name.startswith(kind)), None)
        if kind and path.parent in with_instances:
            kept.remove(path)
            aside[f"file of {kind}"] += 1
    return kept, aside


def _found(files: Sequence[Path]) -> str:
    return f"COCO's {files[0].name}" if len(files) == 1 else f"{len(files)} COCO files"


def _read_document(path: Path, reading: _Reading) -> _Document:
    document = read_json(path)
    if not isinstance(document, dict):
        raise DatasetError(f"{path} holds a {type(document).__name__}; expected an object of COCO.", "Export it again.")
    images, objects, categories = (_items(document, name, path) for name in ("images", "annotations", "categories"))
    names: dict[object, str] = {}
    for category in categories:
        key, name = _key(category, "id"), category.get("name")
        label = make_label(name, str(path)) if isinstance(name, str) and name else ""
        if key is None or not label or names.get(key, label) != label:
            raise DatasetError(f"{path}: the category {_short(key)} has no id, no name or two.", "Correct the file.")
        names[key] = label
    listed = {_key(image, "id") for image in images}
    by_image = _objects_by_image(objects, listed, path, reading)
    folders, split = _photo_folders(path), split_name(path, reading.data)
    return _Document(path, _images_by_id(images, path, reading), by_image, names, folders, split)


def _items(document: Mapping[str, Any], name: str, path: Path) -> list[Mapping[str, Any]]:
    """The list of that name. Raises DatasetError."""
    items = document.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        kind = "" if name != "categories" else _kind(document)
        raise DatasetError(
            f"{path} has no list of {name}{kind}; expected images, annotations and categories of objects.",
            "Name the file of the objects, as COCO's instances_train2017.json, or export it again.",
        )
    return items


def _kind(document: Mapping[str, Any]) -> str:
    objects = document.get("annotations")
    first = objects[0] if isinstance(objects, list) and objects and isinstance(objects[0], dict) else {}
    return next((f", it is of {kind}s" for kind in ("caption", "keypoint") if kind in " ".join(first)), "")


def _key(item: Mapping[str, Any], name: str) -> object:
    """None where it is neither a number nor a text."""
    key = item.get(name)
    return key if isinstance(key, (int, float, str)) and not isinstance(key, bool) else None


def _images_by_id(
    images: Sequence[Mapping[str, Any]], path: Path, reading: _Reading
) -> Mapping[object, Mapping[str, Any]]:
    """Where two photos have one id, neither is known to be the one that the objects are of."""
    named: dict[object, Mapping[str, Any]] = {}
    doubled: set[object] = set()
    for image in images:
        key = _key(image, "id")
        if key is None:
            reading.tell(path, DatasetError(f"{path}: an image has no id.", "Number the images."))
        elif key in named:
            doubled |= {key} if image.get("file_name") != named[key].get("file_name") else set()
            reading.tell(path, DatasetError(f"{path}: two images have the id {_short(key)}.", "Number them anew."))
        else:
            named[key] = image
    return {key: image for key, image in named.items() if key not in doubled}


def _objects_by_image(
    objects: Sequence[Mapping[str, Any]], images: Collection[object], path: Path, reading: _Reading
) -> Mapping[object, Sequence[Mapping[str, Any]]]:
    """Those of images that are not listed and those with the id of another are told; doubles are left out."""
    grouped: dict[object, list[Mapping[str, Any]]] = defaultdict(list)
    first: dict[object, Mapping[str, Any]] = {}
    lost, doubled = [], []
    for item in objects:
        image, key = _key(item, "image_id"), _key(item, "id")
        if image is None or image not in images:
            lost.append(item)
        elif key is None or first.setdefault(key, item) is item:
            grouped[image].append(item)
        else:
            doubled.append(item)
            if first[key] != item:
                grouped[image].append(item)
    for items, what in ((lost, "of images that are not listed"), (doubled, "with an id that another one has")):
        if items:
            told = f"{path} has {len(items)} annotations {what}, such as annotation {_short(items[0].get('id'))}."
            reading.tell(path, DatasetError(told, "Export it again."))
    return grouped


def _photo_folders(path: Path) -> list[Path]:
    """Where the photos of this file may lie."""
    word = path.name.split(".")[0].rpartition("_")[2]
    words = ["images", "JPEGImages", *dict.fromkeys(filter(None, (word, re.sub(r"(?:19|20)\d\d$", "", word))))]
    bases = [path.parent, path.parent.parent]
    below = [base / word for base in bases for word in words]
    return [*bases, *filter(Path.is_dir, [*below, *(folder / word for folder in below for word in words)])]


def _photo(document: _Document, key: object, image: Mapping[str, Any], reading: _Reading) -> AnnotatedPhoto:
    origin = f"{document.path}: image {_short(key)}"
    named, size = image.get("file_name"), make_size(image.get("width"), image.get("height"))
    if not isinstance(named, str):
        raise DatasetError(f"{origin} has no file_name.", "Add it.")
    found = reading.finder.find(document.folders, tails(named), origin)
    if found in reading.seen:
        raise DatasetError(f"{origin} is {found}, and so is {reading.seen[found]}.", "Keep one of the two.")
    instances = [_instance(item, document, size, reading) for item in document.objects.get(key, ())]
    check_outlines(instances, origin)
    instances.sort(key=lambda each: each.label != IGNORE)  # crowds first: single objects are drawn over them
    reading.seen[found] = origin
    return AnnotatedPhoto(PhotoFile(found), origin, instances=tuple(instances), split=document.split, size=size)


def _instance(
    item: Mapping[str, Any], document: _Document, size: tuple[int, int] | None, reading: _Reading
) -> Instance:
    where = f"{document.path}: annotation {_short(item.get('id'))}"
    label = document.categories.get(_key(item, "category_id"))
    if label is None:
        raise DatasetError(
            f"{where} is of the category {_short(item.get('category_id'))}, which is not listed.", "Add it to the list."
        )
    shape = _shape(item.get("segmentation"), size, where, reading)
    return Instance(IGNORE if item.get("iscrowd") in (1, True) else label, _box(item.get("bbox"), shape, where), shape)


def _box(bounds: object, shape: Shape | None, where: str) -> Box:
    if not bounds and shape is not None:
        return make_box(*shape.box(), where)
    if not isinstance(bounds, list) or len(bounds) != 4:
        raise DatasetError(f"{where} has no bbox of four numbers.", "Draw its box.")
    left, top, width, height = (make_number(value, where) for value in bounds)
    if width < 0 or height < 0:
        raise DatasetError(f"{where}: the box has the size {width:g} x {height:g}.", "Draw it again.")
    return make_box(left, top, left + width, top + height, where)


def _shape(outline: object, size: tuple[int, int] | None, where: str, reading: _Reading) -> Shape | None:
    if not outline:
        return None
    if not isinstance(outline, list):
        return _bitmap(outline, size, where, reading)
    rings = outline if isinstance(outline[0], list) else [outline]
    return Polygons(tuple(_ring(ring, where) for ring in rings))


def _bitmap(outline: Any, size: tuple[int, int] | None, where: str, reading: _Reading) -> Bitmap:
    if reading.mask_bytes > _MASK_BYTES or reading.mask_pixels > _MASK_PIXELS:
        raise DatasetError(
            f"{where}: the masks before have more than {_MASK_BYTES >> 30} GiB or unpack to more than "
            f"{_MASK_PIXELS:,} pixels.",
            "Split the file.",
        )
    found = bitmap(outline, size, where)
    reading.mask_bytes += len(found.bits)
    reading.mask_pixels += math.prod(outline["size"])
    return found


def _ring(numbers: object, where: str) -> tuple[Point, ...]:
    if not isinstance(numbers, list) or len(numbers) % 2:
        raise DatasetError(f"{where}: a polygon is no list of x and y.", "Draw it again.")
    return make_polygon(list(zip(numbers[::2], numbers[1::2], strict=True)), where)


def _short(value: object) -> str:
    return printable(str(value))[:40]
