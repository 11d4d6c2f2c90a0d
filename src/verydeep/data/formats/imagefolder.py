"""Hugging Face's imagefolder: a metadata.csv, metadata.jsonl or metadata.parquet beside the photos.

Its column file_name (or one that ends so, or file_names with a list) names photos from the metadata's folder on. The
other columns are those of tables; `objects` holds lists of boxes, as x, y, width and height, and of their categories.
Numbers of classes get their names from dataset_info.json, from the header of README.md, or from classes.txt.
Source: https://huggingface.co/docs/datasets/image_dataset
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verydeep.data.annotations import AnnotatedSet, Instance, Problem
from verydeep.data.class_names import ClassNames, read_class_names
from verydeep.data.formats.find import PhotoFinder
from verydeep.data.formats.splits import settle_splits
from verydeep.data.formats.table import find_photo
from verydeep.data.rows import (
    Columns,
    Facts,
    Gathered,
    find_columns,
    pair,
    read_boxes,
    read_facts,
    read_labels,
    with_names,
)
from verydeep.data.tabular import TABLE_SUFFIXES, Problems, Table, is_empty, is_parquet, open_table
from verydeep.data.untrusted import Root, parse_json
from verydeep.data.walk import split_name
from verydeep.errors import DatasetError, MissingExtraError, printable

LONGEST_NAME = 40  # characters; a longer text tells of a photo, but is not the name of a class
_FILE = "metadata"
_BOXES = ("bbox", "bboxes", "box", "boxes")
_CATEGORIES = ("category", "categories", "label", "labels", "class", "name", "category_id")


@dataclass(frozen=True)
class _Layout:
    """Which columns of the metadata say what."""

    photos: str
    columns: Columns
    objects: str | None


def detect(data: Path, root: Root) -> str | None:
    """Metadata in the folder, or in the folders in it, such as train and validation."""
    return _words([path for path in _metadata(data, root) if path == data or root.holds(path)], data)


def read(data: Path, root: Root) -> AnnotatedSet:
    """One photo for each that the metadata name; those that they do not name are left out."""
    gathered = Gathered()
    problems: list[Problem] = []
    files = _metadata(data, root)
    folder = data if data.is_dir() else data.parent
    for path in files:
        of_rows = Problems(path)
        try:
            if path != data:
                root.check(path)
            _read_metadata(path, folder, root, gathered, of_rows)
        except DatasetError as error:
            of_rows.add(error)
        problems += of_rows.all()
    passed_over = Counter[str]()
    known = gathered.photos()
    photos, named = settle_splits(known, passed_over), frozenset(each.photo for each in known)
    words = _words(files, data) or "no metadata"
    return AnnotatedSet("imagefolder", root.folder, photos, words, tuple(problems), passed_over, named=named)


def _words(files: list[Path], data: Path) -> str | None:
    if not files:
        return None
    named = [printable(str(path.relative_to(data)) if path != data else path.name) for path in files[:3]]
    return f"the photos that {', '.join(named)}{', ...' if len(files) > len(named) else ''} name"


def _metadata(data: Path, root: Root) -> list[Path]:
    """The files of metadata; one that is damaged, or that a link leads out to, is told where it is read."""
    if data.is_file():
        return [data] if _is_metadata(data) else []
    try:
        visible = sorted(path for path in data.iterdir() if not path.name.startswith("."))
        folders = [data, *(path for path in visible if root.holds(path) and path.is_dir())]
    except OSError:
        return []
    return [path for folder in folders for path in _in_folder(folder, root)]


def _in_folder(folder: Path, root: Root) -> Iterator[Path]:
    for suffix in TABLE_SUFFIXES:
        path = folder / f"{_FILE}{suffix}"
        if path.is_file() and (not root.holds(path) or _is_metadata(path)):
            yield path


def _is_metadata(path: Path) -> bool:
    """By its name, and the column with the names of photos. Never raises."""
    if path.stem.lower() != _FILE or path.suffix.lower() not in TABLE_SUFFIXES:
        return False
    if path.suffix.lower() == ".parquet" and not is_parquet(path):
        return False
    try:
        return _photo_column(open_table(path, Problems(path), only_head=True)) is not None
    except DatasetError:
        return False
    except MissingExtraError:
        return True  # reading it says what to install


def _photo_column(table: Table) -> str | None:
    """file_name first, then image_file_name and whatever ends so; then those with lists of names."""
    ending = [name for name in table.columns if name.endswith(("_file_name", "_file_names"))]
    wanted = ("file_name", "image_file_name", *sorted(ending, key=lambda name: name.endswith("s")), "file_names")
    return next((name for name in wanted if name in table.columns), None)


def _layout(table: Table) -> _Layout:
    photos = _photo_column(table)
    if photos is None:
        raise DatasetError(f"{table.path} has no column file_name.", "Name the photos in a column of that name.")
    examples = [row.cells for row in table.head]
    columns = find_columns([name for name in table.columns if name != photos], examples)
    if columns.label is None and "text" in table.columns and all(_is_name(cells.get("text")) for cells in examples):
        columns = replace(columns, label="text")
    if len(columns.box) == 1:
        columns = replace(columns, has_size=True)
    return _Layout(photos, columns, "objects" if "objects" in table.columns else None)


def _is_name(cell: object) -> bool:
    return is_empty(cell) or (isinstance(cell, str) and len(cell) <= LONGEST_NAME)


def _read_metadata(path: Path, data: Path, root: Root, gathered: Gathered, problems: Problems) -> None:
    """Raises DatasetError where it cannot be read at all."""
    table = open_table(path, problems)
    layout = _layout(table)
    if layout.columns.label is None and layout.objects is None and not layout.columns.box:
        raise DatasetError(
            f"{path} has the columns {printable(', '.join(table.columns))[:200]}; expected one with labels or objects.",
            "Add a column label.",
        )
    names = read_class_names((path.parent, data), root, problems.add)
    finder = PhotoFinder(root)
    for row in table.rows():
        origin = f"{path}:{row.line}"
        try:
            facts = _facts(row.cells, layout, names, origin, table.is_text)
            for named in _photos(row.cells.get(layout.photos)):
                photo = find_photo(named, (path.parent,), finder, origin)
                gathered.add(photo, facts, origin, split_name(photo, data, by_name=False) or split_name(path, data))
        except DatasetError as error:
            problems.add(error)


def _photos(cell: object) -> list[object]:
    """The names in a cell: one, or a list of them."""
    return cell if isinstance(cell, list) and cell else [cell]


def _facts(cells: Mapping[str, Any], layout: _Layout, names: ClassNames, origin: str, is_text: bool) -> Facts:
    facts = read_facts(cells, layout.columns, origin, is_text)
    facts = with_names(facts, names, origin, layout.columns.label or "")
    objects = _objects(cells.get(layout.objects), names, origin) if layout.objects else ()
    return replace(facts, instances=(*facts.instances, *objects))


def _objects(cell: object, names: ClassNames, origin: str) -> list[Instance]:
    """Of lists of boxes and categories, or of a list of objects that have one each. Raises DatasetError."""
    if isinstance(cell, str) and cell.strip():  # in CSV
        cell = parse_json(cell.encode("utf-8", "surrogatepass"), f"{origin}: objects")
    if isinstance(cell, list):
        return [instance for item in cell for instance in _objects_of_one(item, names, origin)]
    return [] if is_empty(cell) else _objects_of_one(cell, names, origin)


def _objects_of_one(cell: object, names: ClassNames, origin: str) -> list[Instance]:
    if not isinstance(cell, dict):
        raise DatasetError(
            f"{origin} has the objects {printable(str(cell))[:40]!r}; expected bbox and category.",
            'Write {"bbox": [[x, y, width, height]], "categories": ["cat"]}.',
        )
    boxes_key = next((key for key in _BOXES if key in cell), "")
    label_key = next((key for key in _CATEGORIES if key in cell), "")
    boxes = read_boxes(cell.get(boxes_key), True, origin)
    labels = [names.name(label, origin, label_key) for label in read_labels(cell.get(label_key), origin)]
    if len(boxes) != len(labels):
        raise DatasetError(
            f"{origin} has {len(boxes)} boxes and {len(labels)} categories in its objects; expected one each.",
            "Correct the row.",
        )
    return list(pair(labels, boxes, origin)) if boxes else []
