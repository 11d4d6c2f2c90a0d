"""What the numbers in masks stand for, or their colours: as files tell that lie beside the masks or above them.

classes.txt, class_names.txt   a name a line, as in `class_names`; labels.txt of Labelme, whose first is __ignore__
a CSV                          with the columns id and name; with name, r, g and b for colours
label_colors.txt               "64 128 64 Animal", as CamVid's

Without any of them a class is called by its number. Names such as "void" are of pixels that teach nothing; so is 255,
but where the masks hold 0 and 255 alone, and there are no names or two: then these are background and object.
"""

import csv
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from verydeep.data.annotations import BACKGROUND, IGNORE, Color, Problem
from verydeep.data.class_names import LISTS, names_in_lines
from verydeep.data.targets import IGNORED
from verydeep.data.untrusted import Root, read_ends, read_text
from verydeep.errors import DatasetError, ImageError, printable
from verydeep.image.decode import decode_numbers, is_colored, read_file

_LABELS = "labels.txt"
_COLORS = "label_colors.txt"
_IGNORED_NAMES = (IGNORE, "ignore", "ignored", "void", "unlabelled", "unlabeled", "255")
_BACKGROUND_NAMES = (BACKGROUND, "background", "__background__")
_OBJECT = "object"  # the class of 255 in masks that hold 0 and 255 alone and have no names
_BINARY = {0, IGNORED}
_BYTES = 1 << 20  # of a file of names
_HEAD_BYTES = 4096
_TRIES = 20  # masks that are looked into for whether they are of colours
_COLOR_LINE = re.compile(r"\s*(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\d{1,3})[\s,]+(\S.*)")


@dataclass(frozen=True)
class MaskNames:
    """The class of each number, and the number of each colour where masks are of colours."""

    classes: tuple[str, ...] = ()
    colors: Mapping[Color, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    remarks: tuple[str, ...] = ()  # as AnnotatedSet has them


def name_masks(masks: Sequence[Path], data: Path, root: Root, otherwise: Sequence[str] = ()) -> MaskNames:
    """data: the folder or file that the user named. otherwise: the classes where no file tells them."""
    if not masks:
        return MaskNames()
    folders = _folders(masks[0], data, root)
    problems: list[Problem] = []
    if _are_colored(masks):
        return _named_colors(masks[0], folders, root)
    for path in _files(folders, root):
        try:
            if names := _names(path):
                is_binary = len(names) == 2 and _numbers_of_all(masks) == _BINARY
                return MaskNames(_apart(*names) if is_binary else names)
        except DatasetError as error:
            problems.append(Problem(str(path), error.message, error.hint))
    if otherwise:
        return MaskNames(tuple(otherwise), problems=tuple(problems))
    return _numbered(_numbers_of_all(masks), problems)


def _folders(mask: Path, data: Path, root: Root) -> list[Path]:
    """Where names may be told: the mask's folder and those above it, as far as annotations may name files."""
    above = [folder for folder in mask.parents if root.holds(folder)]
    return list(dict.fromkeys([*above, data if data.is_dir() else data.parent]))


def _files(folders: Sequence[Path], root: Root) -> Iterator[Path]:
    """Those that may tell names, the nearest first."""
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))  # noqa: PTH208, names are wanted
        except OSError:
            continue
        told = [name for name in (*LISTS, _LABELS, _COLORS) if name in names]
        told += [name for name in names if name.lower().endswith(".csv")]
        yield from (folder / name for name in told if root.holds(folder / name))


def _are_colored(masks: Sequence[Path]) -> bool:
    """Told by the first that can be read."""
    for mask in masks[:_TRIES]:
        try:
            return is_colored(read_file(mask), str(mask))
        except ImageError:
            continue
    return False


def _named_colors(mask: Path, folders: Sequence[Path], root: Root) -> MaskNames:
    problems: list[Problem] = []
    for path in _files(folders, root):
        try:
            if pairs := _colors(path):
                colors = {color: number for number, (color, _) in enumerate(pairs)}
                return MaskNames(_checked([name for _, name in pairs], path), colors)
        except DatasetError as error:
            problems.append(Problem(str(path), error.message, error.hint))
    told = f"{mask} is a picture of colours, and no file tells their classes; expected numbers, or {_COLORS}."
    hint = f'Write {_COLORS} beside the masks, a line "64 128 64 animal" for each class: red, green, blue, name.'
    return MaskNames(problems=(*problems, Problem(str(mask), told, hint)))


def _names(path: Path) -> tuple[str, ...] | None:
    """None where the file is not about numbers. Raises DatasetError."""
    if path.name == _COLORS:
        return None
    if path.suffix.lower() == ".csv":
        rows = _rows(path, ("id", "name"))
        return None if rows is None else _by_number(rows, path)
    text = read_text(path, _BYTES)
    if path.name == _LABELS and text.split(maxsplit=1)[:1] != [IGNORE]:
        return None
    return _by_number([(str(number), name) for number, name in names_in_lines(text).items()], path)


def _by_number(rows: Iterable[Sequence[str]], path: Path) -> tuple[str, ...]:
    """A number that the file leaves out teaches nothing."""
    names: dict[int, str] = {}
    for number, name in rows:
        if not re.fullmatch(r"\d{1,3}", number, re.ASCII) or int(number) > IGNORED:
            raise DatasetError(
                f"{path} has the id {printable(number)[:40]!r}; expected 0 to {IGNORED}.", "Number the classes anew."
            )
        names[int(number)] = name
    return _checked([names.get(number, IGNORE) for number in range(max(names, default=-1) + 1)], path)


def _colors(path: Path) -> list[tuple[Color, str]] | None:
    """None where the file is not about colours. Raises DatasetError."""
    if path.name == _COLORS:
        found = [_COLOR_LINE.match(line) for line in read_text(path, _BYTES).splitlines() if line.strip()]
        rows: Sequence[Sequence[str]] | None = [match.groups() if match else () for match in found]
    else:
        rows = _rows(path, ("r", "g", "b", "name")) if path.suffix.lower() == ".csv" else None
    return None if rows is None else [_color(row, path) for row in rows]


def _color(row: Sequence[str], path: Path) -> tuple[Color, str]:
    *parts, name = row or [""]
    if len(parts) != 3 or not all(re.fullmatch(r"\d{1,3}", part, re.ASCII) and int(part) <= 255 for part in parts):
        raise DatasetError(
            f"{path} has a line that is no colour and class; expected as in: 64 128 64 animal.", "Correct the line."
        )
    red, green, blue = map(int, parts)
    return (red, green, blue), name


def _rows(path: Path, columns: Sequence[str]) -> list[list[str]] | None:
    """The values in these columns; None where a CSV has other columns. Raises DatasetError."""
    first, _ = read_ends(path, _HEAD_BYTES)
    head = first.decode(errors="replace").lstrip("\ufeff").lower().partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    header = [cell.strip().strip('"') for cell in head.split(delimiter)]
    if not set(columns) <= set(header):
        return None
    places = [header.index(column) for column in columns]
    try:
        rows = list(csv.reader(read_text(path, _BYTES).splitlines()[1:], delimiter=delimiter))
        return [[row[place].strip() for place in places] for row in rows if row]
    except (csv.Error, IndexError) as error:
        raise DatasetError(f"{path} has a line without {', '.join(columns)}.", "Correct the line.") from error


def _checked(names: Sequence[str], path: Path) -> tuple[str, ...]:
    if len(names) > IGNORED + 1:
        raise DatasetError(
            f"{path} names {len(names)} classes; masks of 8 bits have {IGNORED} at most.", "Merge some of them."
        )
    return tuple(_class_name(name) for name in names)[:IGNORED]


def _class_name(name: str) -> str:
    plain = name.lower()
    if not plain or plain in _IGNORED_NAMES:
        return IGNORE
    return BACKGROUND if plain in _BACKGROUND_NAMES else name


def _numbered(found: set[int], problems: Sequence[Problem]) -> MaskNames:
    """The numbers that are there as the names of the classes."""
    if found == _BINARY:
        told = (
            f"the masks hold 0 and {IGNORED} alone, which are read as background and as the class {_OBJECT!r}; to name "
            "it otherwise, write both names into classes.txt beside the masks, a line each"
        )
        return MaskNames(_apart(BACKGROUND, _OBJECT), problems=tuple(problems), remarks=(told,))
    named = found - {IGNORED}
    names = [str(number) if number in named else IGNORE for number in range(max(named, default=-1) + 1)]
    return MaskNames(tuple(names), problems=tuple(problems))


def _apart(background: str, of_object: str) -> tuple[str, ...]:
    """The classes of masks that hold 0 and 255 alone."""
    return (background, *[IGNORE] * (IGNORED - 1), of_object)


def _numbers_of_all(masks: Sequence[Path]) -> set[int]:
    with ThreadPoolExecutor(max_workers=4) as pool:
        return set().union(*pool.map(_numbers, masks))


def _numbers(mask: Path) -> set[int]:
    """Nothing where it cannot be read, which whoever needs the mask will be told."""
    try:
        return set(np.unique(decode_numbers(read_file(mask), str(mask))).tolist())
    except ImageError:
        return set()
