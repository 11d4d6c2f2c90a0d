"""Rows of tables -> what is known of photos: which column says what, what one row says, the rows of a photo together.

Several rows of one photo are several objects in it, or several of its classes. A row with a box is an object, one
without tells a class of the photo as a whole; without a label, too, nothing that was looked for is there.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verydeep.data.annotations import (
    AnnotatedPhoto,
    Box,
    Instance,
    PhotoFile,
    make_box,
    make_label,
    make_number,
    make_size,
)
from verydeep.data.class_names import ClassNames
from verydeep.data.tabular import is_empty
from verydeep.data.walk import SPLIT_NAMES
from verydeep.errors import DatasetError, printable

PATHS = (
    *("path", "file", "filename", "file_name", "file_path", "filepath"),
    *("image", "image_path", "image_file", "img", "img_path", "photo"),
)
LABELS = ("label", "labels", "class", "classes", "class_name", "category", "categories", "category_name", "target")
LABELS_AT_LAST = ("name", "wnid", "synset", "class_id", "category_id", "label_id")  # one of them, where no other is
_SPLITS = ("split", "subset", "partition")
_MAYBE_SPLITS = ("set", "fold", "phase")  # where their words are those of splits
_SIZES = (("image_width", "image_height"), ("img_width", "img_height"), ("width", "height"))
_CORNERS = (
    ("xmin", "ymin", "xmax", "ymax"),
    ("x_min", "y_min", "x_max", "y_max"),
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("left", "top", "right", "bottom"),
)
_CORNER_AND_SIZE = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_LISTS = ("bbox", "box", "bboxes", "boxes")

BETWEEN_LABELS = re.compile(r"[;|]")  # in a cell of text

_CODE = re.compile(r"n?\d+")  # a number, or an id of WordNet's
_BETWEEN_NUMBERS = re.compile(r"[\s,;]+")


@dataclass(frozen=True)
class Columns:
    """The names of the columns that say something."""

    path: str | None = None
    label: str | None = None
    split: str | None = None
    box: tuple[str, ...] = ()  # four of them, or one that has all four numbers
    has_size: bool = False  # whether the box's last two numbers are its width and height
    size: tuple[str, str] | None = None


@dataclass(frozen=True)
class Facts:
    """What a row says of a photo."""

    labels: tuple[str, ...] = ()
    instances: tuple[Instance, ...] = ()
    split: str | None = None  # the word for it, of SPLIT_NAMES
    size: tuple[int, int] | None = None


def find_columns(names: Sequence[str], examples: Sequence[Mapping[str, Any]] = ()) -> Columns:
    """Which column says what, told by its name. examples: the first rows; names of classes are preferred to codes."""
    box, has_size = _box_columns(names)
    size = next((pair for pair in _SIZES if set(pair) <= set(names) - set(box)), None)
    path = next((name for name in PATHS if name in names), None)
    label = _label_column([name for name in names if name != path], examples)
    return Columns(path, label, _split_column(names, examples), box, has_size, size)


def _box_columns(names: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    for candidates, has_size in ((_CORNERS, False), (_CORNER_AND_SIZE, True)):
        for four in candidates:
            if set(four) <= set(names):
                return four, has_size
    return next((((name,), False) for name in _LISTS if name in names), ((), False))


def _label_column(names: Sequence[str], examples: Sequence[Mapping[str, Any]]) -> str | None:
    def rank(name: str) -> int:
        cells = [cells[name] for cells in examples if not is_empty(cells.get(name))]
        return 2 if not cells else 1 if all(_CODE.fullmatch(str(cell)) for cell in cells) else 0

    candidates = [name for name in LABELS if name in names]
    return min(candidates, key=rank) if candidates else next((name for name in LABELS_AT_LAST if name in names), None)


def _split_column(names: Sequence[str], examples: Sequence[Mapping[str, Any]]) -> str | None:
    for name in (*_SPLITS, *_MAYBE_SPLITS):
        cells = [cells.get(name) for cells in examples]
        if name in names and (
            name in _SPLITS or all(is_empty(cell) or str(cell).lower() in SPLIT_NAMES for cell in cells)
        ):
            return name
    return None


def read_facts(cells: Mapping[str, Any], columns: Columns, origin: str, is_text: bool) -> Facts:
    """What a row says. is_text: its cells are text, where ";" and "|" lie between labels. Raises DatasetError."""
    labels = read_labels(_cell(cells, columns.label), origin, is_text)
    boxes = _boxes(cells, columns, origin)
    split = _split(_cell(cells, columns.split), origin)
    size = _size(cells, columns.size)
    if not boxes:
        return Facts(tuple(dict.fromkeys(labels)), (), split, size)
    return Facts((), pair(labels, boxes, origin), split, size)


def _cell(cells: Mapping[str, Any], column: str | None) -> Any:
    return None if column is None else cells.get(column)


def with_names(facts: Facts, names: ClassNames, origin: str, *columns: str) -> Facts:
    """With the names of classes for their numbers. columns: see `ClassNames.name`. Raises DatasetError."""
    return replace(
        facts,
        labels=tuple(names.name(label, origin, *columns) for label in facts.labels),
        instances=tuple(replace(one, label=names.name(one.label, origin, *columns)) for one in facts.instances),
    )


def pair(labels: Sequence[str], boxes: Sequence[Box], origin: str) -> tuple[Instance, ...]:
    """One label for each box, or one for all of them, or all for the only box. Raises DatasetError."""
    if not labels:
        raise DatasetError(f"{origin} has a box without a label.", "Name what it shows, or take the box out.")
    if all(max(box) <= 1 for box in boxes) and any(edge % 1 for box in boxes for edge in box):
        raise DatasetError(f"{origin} has boxes in parts of the photo; expected pixels.", "Multiply by its size.")
    if len(labels) == len(boxes):
        return tuple(Instance(label, box) for label, box in zip(labels, boxes, strict=True))
    if 1 in (len(labels), len(boxes)):
        return tuple(Instance(label, box) for box in boxes for label in labels)
    raise DatasetError(f"{origin} has {len(labels)} labels for {len(boxes)} boxes.", "Write one label for each box.")


def read_labels(cell: object, origin: str, is_text: bool = False) -> list[str]:
    """A label, or a list of labels; in text, those between ";" or "|". Raises DatasetError."""
    if is_empty(cell):
        return []
    if isinstance(cell, list):
        return [make_label(label, origin) for label in cell]
    if isinstance(cell, str) and (is_text or not cell.strip()):
        return [make_label(label, origin) for label in BETWEEN_LABELS.split(cell) if label.strip()]
    return [make_label(cell, origin)]


def _boxes(cells: Mapping[str, Any], columns: Columns, origin: str) -> list[Box]:
    found = [cells.get(name) for name in columns.box]
    if len(found) == 1:
        return read_boxes(found[0], columns.has_size, origin)
    if all(is_empty(cell) for cell in found):
        return []
    return [_box(found, columns.has_size, origin)]


def read_boxes(cell: object, has_size: bool, origin: str) -> list[Box]:
    """Of four numbers, or of several fours; has_size: the last two are width and height. Raises DatasetError."""
    if isinstance(cell, str):
        cell = [number for number in _BETWEEN_NUMBERS.split(cell.strip("[](){} \t\n")) if number]
    if is_empty(cell) or cell == []:
        return []
    if not isinstance(cell, list):
        raise DatasetError(f"{origin} has the box {str(cell)[:40]!r}; expected four numbers.", "Correct the box.")
    fours = cell if isinstance(cell[0], list) else [cell]
    for four in fours if not has_size else ():
        _check_order(four, origin)
    return [_box(four, has_size, origin) for four in fours]


def _check_order(four: object, origin: str) -> None:
    """Raises DatasetError where a list's last two numbers are less than its first, as those of a size may be."""
    if not isinstance(four, list) or len(four) != 4 or any(is_empty(number) for number in four):
        return  # told by `_box`
    left, top, right, bottom = (make_number(_number(number, origin), origin) for number in four)
    if right < left or bottom < top:
        raise DatasetError(
            f"{origin} has the box {printable(str(four))[:80]}; expected left, top, right, bottom.",
            "If it is x, y, width and height, write these into four columns of those names.",
        )


def _box(four: object, has_size: bool, origin: str) -> Box:
    if not isinstance(four, list) or len(four) != 4 or any(is_empty(number) for number in four):
        raise DatasetError(f"{origin} has the box {printable(str(four))[:80]}; expected four numbers.", "Correct it.")
    left, top, right, bottom = (make_number(_number(number, origin), origin) for number in four)
    if not has_size:
        return make_box(left, top, right, bottom, origin)
    if min(right, bottom) < 0:
        raise DatasetError(f"{origin} has the box {printable(str(four))[:80]}; expected x, y, size.", "Correct it.")
    return make_box(left, top, left + right, top + bottom, origin)


def _number(value: object, origin: str) -> Any:
    """As a number where it is text; what it is else, `make_number` looks at."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError as error:
        raise DatasetError(
            f"{origin}: a coordinate is {printable(value)[:40]!r}; expected a number.", "Correct the file."
        ) from error


def _split(cell: object, origin: str) -> str | None:
    if is_empty(cell):
        return None
    word = str(cell).strip().lower()
    if word and word not in SPLIT_NAMES:
        raise DatasetError(
            f"{origin} is of the split {printable(word)[:40]!r}; expected {', '.join(SPLIT_NAMES)}.", "Correct it."
        )
    return word or None


def _size(cells: Mapping[str, Any], columns: tuple[str, str] | None) -> tuple[int, int] | None:
    if columns is None:
        return None
    try:
        width, height = (float(cell) if isinstance(cell, str) else cell for cell in map(cells.get, columns))
    except ValueError:
        return None
    return make_size(width, height)


@dataclass
class _Known:
    """What the rows of a photo have told so far."""

    origin: str
    labels: list[str] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    size: tuple[int, int] | None = None

    def add(self, labels: Iterable[str], instances: Iterable[Instance], size: tuple[int, int] | None) -> None:
        self.labels += labels
        self.instances += instances
        self.size = self.size or size


class Gathered:
    """The rows of photos, brought together."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, str | None], _Known] = {}  # of each photo and split

    def add(self, path: Path, facts: Facts, origin: str, split: str | None = None) -> None:
        """split: of the rows that tell none themselves."""
        known = self._known.setdefault((path, facts.split or split), _Known(origin))
        known.add(facts.labels, facts.instances, facts.size)

    def photos(self) -> list[AnnotatedPhoto]:
        """Each photo once a split; the split is the word for it."""
        splits: dict[Path, list[str]] = {}
        for path, split in self._known:
            if split is not None:
                splits.setdefault(path, []).append(split)
        for path, told in splits.items():  # a table that tells the split may lie beside one that does not
            if untold := self._known.pop((path, None), None):
                for split in told:
                    self._known[path, split].add(untold.labels, untold.instances, untold.size)
        return [_annotated(path, split, known) for (path, split), known in self._known.items()]


def _annotated(path: Path, split: str | None, known: _Known) -> AnnotatedPhoto:
    labels = tuple(dict.fromkeys(known.labels))
    return AnnotatedPhoto(PhotoFile(path), known.origin, labels, tuple(known.instances), split=split, size=known.size)
