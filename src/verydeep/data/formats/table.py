"""Tables of photos: CSV, TSV, JSON lines or Parquet, with the path of a photo in each row and its label.

    path,label,split,xmin,ymin,xmax,ymax        columns are told by their names: `rows` lists those that are understood
    photos/1.jpg,cat;pet,train,,,,              two classes of the photo as a whole
    photos/2.jpg,dog,val,10,20,110,120          an object; a photo with several has several rows

Paths go from the table's folder on, or from the root on. Of several tables in a folder, such as boxes_train.csv and
boxes_val.csv, the names tell the split. A table without a header has two columns, path and label. Some tables end a box
with its last pixel instead of the edge behind; that is found out from all boxes of a table, told, and set right.
Numbers of classes get their names from a list beside the table or at the root: see `class_names`.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet, Box, Instance, Problem
from verydeep.data.class_names import read_class_names
from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.formats.find import PhotoFinder
from verydeep.data.formats.splits import settle_splits
from verydeep.data.rows import LABELS, PATHS, Columns, Gathered, find_columns, read_facts, with_names
from verydeep.data.tabular import TABLE_SUFFIXES, Problems, Table, column_name, is_empty, is_parquet, open_table
from verydeep.data.untrusted import Root
from verydeep.data.walk import split_name
from verydeep.errors import DatasetError, ImageError, MissingExtraError, printable
from verydeep.image.decode import upright_size

_NAMED = 3  # tables that are named, of several
_LOOKED_AT = 2000  # photos that tell whether ends are inclusive
_PARQUET_TRIES = 3  # tables, behind which files of Parquet are not looked into: each takes half a second
_FEW = 10  # boxes, which may end there by chance, and
_SHARE_AT_LAST_PIXEL = 0.02  # of the boxes, which may, too


def detect(data: Path, root: Root) -> str | None:
    """Tables in the folder itself; a file that the user names is one by its suffix."""
    return _words(_tables(data, root))


def read(data: Path, root: Root) -> AnnotatedSet:
    """All rows of all tables; those that are wrong are told by file and line."""
    gathered, finder = Gathered(), PhotoFinder(root)
    problems: list[Problem] = []
    tables = _tables(data, root)
    told_by_size = False
    for path in tables:
        of_rows = Problems(path)
        try:
            if path != data:
                root.check(path)
            split = split_name(path, data if data.is_dir() else data.parent)
            told_by_size |= _read_table(path, root, finder, gathered, of_rows, split=split)
        except DatasetError as error:
            of_rows.add(error)
        problems += of_rows.all()
    passed_over = Counter[str]()
    known = gathered.photos()
    photos, named = settle_splits(known, passed_over), frozenset(each.photo for each in known)
    told = (tuple(problems), passed_over)
    found = AnnotatedSet("table", root.folder, photos, _words(tables) or "no table", *told, named=named)
    return found if told_by_size or not ends_look_inclusive(found) else shift_ends(found)


def _words(tables: Sequence[Path]) -> str | None:
    if not tables:
        return None
    named = ", ".join(printable(path.name) for path in tables[:_NAMED]) + (", ..." if len(tables) > _NAMED else "")
    return f"{len(tables)} tables: {named}" if len(tables) > 1 else f"the table {named}"


def _tables(data: Path, root: Root) -> list[Path]:
    """The tables at the top of a folder. Beside one that certainly is, those that may be are read, too, to be told."""
    if data.is_file():
        return [data] if data.suffix.lower() in TABLE_SUFFIXES else []
    try:
        files = sorted(path for path in data.iterdir() if path.suffix.lower() in TABLE_SUFFIXES and path.is_file())
    except OSError:
        return []
    certain: dict[Path, bool | None] = {}
    for path in (path for path in files if not path.name.startswith(".")):
        is_parquet_of_many = path.suffix.lower() == ".parquet" and len(certain) >= _PARQUET_TRIES
        certain[path] = None if is_parquet_of_many or not root.holds(path) else _is_table(path, root)
    return [path for path, is_one in certain.items() if is_one is not False] if True in certain.values() else []


def _is_table(path: Path, root: Root) -> bool | None:
    """Whether its first rows name photos that are there. None: it has the columns but no photos, or is damaged."""
    if path.suffix.lower() == ".parquet" and not is_parquet(path):
        return None
    try:
        table = open_table(path, Problems(path), _has_no_header, only_head=True)
    except DatasetError:
        return None
    except MissingExtraError:
        return True  # reading it says what to install
    if not table.columns:
        return None
    columns = find_columns(table.columns, [row.cells for row in table.head])
    if columns.path is None or (columns.label is None and not columns.box):
        return False
    named = [name for row in table.head if isinstance(name := row.cells.get(columns.path), str)]
    return any(_is_photo(name, folder, root) for name in named for folder in (path.parent, root.folder)) or None


def _is_photo(named: str, folder: Path, root: Root) -> bool:
    try:
        found = root.path(folder, named, "")
    except DatasetError:
        return False
    return found.name.lower().endswith(PHOTO_SUFFIXES) and os.path.isfile(found)  # noqa: PTH113, as in Root


def _has_no_header(cells: Sequence[str]) -> bool:
    """No name of a column ends as that of a photo does."""
    names = {column_name(cell) for cell in cells}
    return not names & {*PATHS, *LABELS} and cells[0].lower().endswith(PHOTO_SUFFIXES)


def _read_table(
    path: Path,
    root: Root,
    finder: PhotoFinder,
    gathered: Gathered,
    problems: Problems,
    *,
    split: str | None,
) -> bool:
    """Whether boxes are told by their size. Raises DatasetError where it is no table of photos."""
    table = open_table(path, problems, _has_no_header)
    columns = find_columns(table.columns, [row.cells for row in table.head])
    _check(table, columns)
    folders = (path.parent, root.folder)
    names = read_class_names(folders, root, problems.add)
    found: dict[object, Path] = {}
    for row in table.rows():
        origin = f"{path}:{row.line}"
        try:
            named = row.cells.get(columns.path or "")
            facts = read_facts(row.cells, columns, origin, table.is_text)
            facts = with_names(facts, names, origin, columns.label or "")
            if not isinstance(named, str) or named not in found:
                found[named] = find_photo(named, folders, finder, origin)  # one that is no text is refused there
            gathered.add(found[named], facts, origin, split)
        except DatasetError as error:
            problems.add(error)
    return columns.has_size


def find_photo(named: object, folders: Sequence[Path], finder: PhotoFinder, origin: str) -> Path:
    """The photo that a cell names from one of the folders on. Raises DatasetError."""
    if isinstance(named, str):
        return finder.find(folders, [named], origin)
    if is_empty(named):
        raise DatasetError(f"{origin} names no photo.", "Name it, or take the row out.")
    raise DatasetError(f"{origin} has {printable(str(named))[:40]!r} for the path of a photo.", "Write it as text.")


def _check(table: Table, columns: Columns) -> None:
    if not table.columns:
        raise DatasetError(f"{table.path} has no row that can be read.", "Check the file.")
    has = f"{table.path} has the columns {printable(', '.join(table.columns))[:200]}"
    if columns.path is None:
        raise DatasetError(f"{has}; expected one with paths of photos: {', '.join(PATHS)}.", "Rename a column.")
    if columns.label is None:
        raise DatasetError(f"{has}; expected one with labels: {', '.join(LABELS)}.", "Add a column of that name.")


def ends_look_inclusive(annotated: AnnotatedSet) -> bool:
    """Whether the right and the bottom of boxes are their last pixels, as some tables have it, not the edges behind.

    So it looks where no box of whole numbers ends at the edge of its photo, but many one pixel before. Of a photo whose
    size the annotations do not tell, the header is read.
    """
    with_boxes = [photo for photo in annotated.photos if any(each.shape is None for each in photo.instances)]
    boxes = at_last_pixel = 0
    for photo in with_boxes[:: max(1, len(with_boxes) // _LOOKED_AT)]:
        if (size := photo.size or _upright_size(photo)) is None:
            continue
        for box in (instance.box for instance in photo.instances if instance.shape is None):
            if any(edge % 1 for edge in box) or box.right >= size[0] or box.bottom >= size[1]:
                return False
            boxes += 1
            at_last_pixel += box.right == size[0] - 1 or box.bottom == size[1] - 1
    return at_last_pixel > max(_FEW, _SHARE_AT_LAST_PIXEL * boxes)


def _upright_size(photo: AnnotatedPhoto) -> tuple[int, int] | None:
    try:
        return upright_size(photo.photo.read(), photo.photo.name)
    except ImageError:
        return None


def shift_ends(annotated: AnnotatedSet) -> AnnotatedSet:
    """The same with boxes a pixel wider and higher, of a set whose ends are inclusive. Shapes are left as they are."""

    def shifted(instance: Instance) -> Instance:
        if instance.shape is not None:
            return instance
        left, top, right, bottom = instance.box
        return replace(instance, box=Box(left, top, right + 1, bottom + 1))

    photos = (replace(photo, instances=tuple(map(shifted, photo.instances))) for photo in annotated.photos)
    return replace(annotated, photos=tuple(photos), found=f"{annotated.found}; its boxes end with their last pixel")
