"""PASCAL VOC's XML, one file a photo, as annotation tools write it and as PASCAL VOC itself has it.

The photo is looked for beside the XML, in the folders JPEGImages and images beside the XML's own and in the one that
<folder> names; where no file has the name told, one of the same stem is taken. Tools write the edges of a box as
Labelme does; in PASCAL VOC's own files, which say so in <source>, pixels are counted from 1 and a box ends with its
last pixel. Beside the folder of the XML there may be ImageSets/Main/{train,val,trainval,test}.txt, which tell the
split, and SegmentationClass/<stem>.png, pictures of class numbers; class_names.txt names these.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from verydeep.data.annotations import (
    BACKGROUND,
    AnnotatedPhoto,
    AnnotatedSet,
    Instance,
    PhotoFile,
    Problem,
    make_box,
    make_label,
    make_size,
)
from verydeep.data.formats.find import PhotoFinder, links_out, tails
from verydeep.data.formats.mask_names import name_masks
from verydeep.data.formats.splits import image_sets, settle_splits
from verydeep.data.untrusted import Element, Root, read_ends, read_xml
from verydeep.data.walk import split_name, walk
from verydeep.errors import DatasetError, printable

CLASSES = (  # PASCAL VOC's own: the number of each in its masks is its position
    *(BACKGROUND, "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
_ITS_OWN = re.compile(r"PASCAL VOC|The VOC ?\d{4} Database", re.IGNORECASE)
_HEAD_BYTES = 4096
_TRIES = 20  # files of a folder that are looked into before it is taken for one without annotations


@dataclass(frozen=True)
class _Beside:
    """What lies beside a folder of XML files."""

    words: Mapping[str, str]  # that tell the split: stem -> "train"
    masks: Path
    root: Root

    def mask(self, stem: str) -> Path | None:
        """Raises DatasetError where it is a link out of the root."""
        found = self.masks / f"{stem}.png"
        if not found.is_file():
            return None
        self.root.check(found)
        return found


def detect(data: Path, root: Root) -> str | None:
    """XML files in the folders where one has the element <annotation>."""
    files = list(_files(data, root))
    return _found(files, data) if files else None


def read(data: Path, root: Root) -> AnnotatedSet:
    """One photo a file."""
    photos: list[AnnotatedPhoto] = []
    problems: list[Problem] = []
    passed_over = Counter[str]()
    finder = PhotoFinder(root)
    beside: dict[Path, _Beside] = {}
    files = list(_files(data, root))
    for path in dict.fromkeys([*files, *links_out(data, root, (".xml",))]):
        try:
            if path != data:
                root.check(path)
            if path.parent not in beside:
                beside[path.parent] = _look_beside(path.parent.parent, root, problems)
            photos.append(_photo(path, data, beside[path.parent], finder, passed_over))
        except DatasetError as error:
            problems.append(Problem(str(path), error.message, error.hint))
    kept = settle_splits(photos, passed_over)
    is_its_own = any(photo.mask and _is_its_own(read_xml(Path(photo.origin))) for photo in kept[:1])
    names = name_masks([photo.mask for photo in kept if photo.mask], data, root, CLASSES if is_its_own else ())
    problems += names.problems
    told = (tuple(problems), passed_over, names.classes, names.colors, names.remarks)
    named = frozenset(each.photo for each in photos)
    return AnnotatedSet("voc", root.folder, kept, _found(files, data), *told, named=named)


def _files(data: Path, root: Root) -> Iterator[Path]:
    """All XML files of the folders in which one looks like VOC's, so that a damaged one is told, not missed."""
    if data.is_file():
        yield from [data] if data.suffix.lower() == ".xml" and _is_voc(read_ends(data, _HEAD_BYTES)[0]) else []
        return
    for folder, names in walk(data, follow=False):
        files = [folder / name for name in names if name.lower().endswith(".xml")]
        if any(_is_voc(root.ends(file, _HEAD_BYTES)[0]) for file in files[:_TRIES]):
            yield from files


def _is_voc(head: bytes) -> bool:
    return b"<annotation" in head.replace(b"\0", b"")  # in UTF-16, too


def _found(files: list[Path], data: Path) -> str:
    folders = {path.parent for path in files[:1] + files[-1:]} - {data, data.parent}
    where = f" in {folders.pop().name}" if len(folders) == 1 else ""
    return f"{len(files)} VOC file{'s' * (len(files) > 1)}{where}"


def _look_beside(base: Path, root: Root, problems: list[Problem]) -> _Beside:
    return _Beside(image_sets(base, root, problems), base / "SegmentationClass", root)


def _photo(path: Path, data: Path, beside: _Beside, finder: PhotoFinder, passed_over: Counter[str]) -> AnnotatedPhoto:
    origin = str(path)
    top = read_xml(path)
    if top.tag != "annotation":
        raise DatasetError(
            f"{origin} is XML of <{printable(top.tag)[:40]}>; expected <annotation>.", "Save it in the form PASCAL VOC."
        )
    first = 1 if _is_its_own(top) else 0
    things = [child for child in top.children if child.tag == "object"]
    instances = tuple(_instance(thing, first, f"{origin}: object {n}") for n, thing in enumerate(things, start=1))
    if parts := sum(child.tag == "part" for thing in things for child in thing.children):
        passed_over["part"] += parts
    photo = PhotoFile(_find(path, top, finder))
    return AnnotatedPhoto(
        photo,
        origin,
        instances=instances,
        mask=beside.mask(path.stem),
        split=beside.words.get(path.stem) or split_name(path, data, by_name=False),
        size=make_size(_side(top, "width"), _side(top, "height")),
    )


def _is_its_own(top: Element) -> bool:
    """Whether it is a file of PASCAL VOC itself."""
    source = top.find("source")
    texts = [child.text for child in source.children if child.tag in ("annotation", "database")] if source else []
    return any(_ITS_OWN.search(text) for text in texts)


def _find(path: Path, top: Element, finder: PhotoFinder) -> Path:
    base, folder, named = path.parent.parent, top.value("folder"), top.value("filename")
    folders = [path.parent, base / "JPEGImages", base / "images"]
    if folder not in ("", ".", "..") and not set("/\\") & set(folder):
        folders.append(base / folder)
    last = top.value("path").replace("\\", "/").rpartition("/")[2]
    return finder.find(folders, [*tails(named), last, path.with_suffix(".jpg").name], str(path))


def _instance(thing: Element, first: int, where: str) -> Instance:
    """first: the number of a photo's first pixel."""
    label, bounds = thing.value("name"), thing.find("bndbox")
    if not label:
        raise DatasetError(f"{where} has no <name>.", "Name it.")
    if bounds is None:
        raise DatasetError(f"{where} has no <bndbox>.", "Draw its box.")
    left, top, right, bottom = (_edge(bounds, tag, where) for tag in ("xmin", "ymin", "xmax", "ymax"))
    return Instance(make_label(label, where), make_box(left - first, top - first, right, bottom, where))


def _edge(bounds: Element, tag: str, where: str) -> float:
    if (edge := _to_number(text := bounds.value(tag))) is None:
        raise DatasetError(f"{where}: <{tag}> is {printable(text)[:40]!r}; expected a number.", "Correct the file.")
    return edge


def _side(top: Element, tag: str) -> float | None:
    return _to_number(top.value("size", tag))


def _to_number(text: str) -> float | None:
    try:
        return float(text) if "_" not in text else None  # Python would take 1_0 for 10
    except ValueError:
        return None
