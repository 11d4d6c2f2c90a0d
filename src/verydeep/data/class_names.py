"""Names of classes whose labels are numbers, from the files that people keep beside them.

classes.txt, class_names.txt     a name a line, the first for 0; or each line with its number before the name
dataset_info.json                Hugging Face's: features of the type ClassLabel, for each column
README.md                        the same in the header of a dataset's card
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from verydeep.data.annotations import IGNORE
from verydeep.data.untrusted import Root, read_json, read_text
from verydeep.errors import DatasetError, printable

LISTS = ("classes.txt", "class_names.txt", "classnames.txt")
_DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json")
_CARD = "README.md"
_FILE_BYTES = 4 << 20
_NUMBERED = re.compile(r"(\d+)[\s:,]+(\S.*)")
_COLUMN = re.compile(r"\s*-\s*name:\s*(\S.*)")
_NAME_OF_NUMBER = re.compile(r"\s*['\"]?(\d+)['\"]?:\s*(\S.*)")

Names = Mapping[str, str]  # by the number, as text


@dataclass(frozen=True)
class ClassNames:
    """The names, where there are any."""

    source: str = ""
    everywhere: Names = field(default_factory=dict)
    of_column: Mapping[str, Names] = field(default_factory=dict)

    def name(self, label: str, origin: str, *columns: str) -> str:
        """The label itself, unless it is a number: then its name. Raises DatasetError where only others have one.

        origin: for the error. columns: that it may be called by; the first that is described counts.
        """
        names = next((self.of_column[column] for column in columns if column in self.of_column), self.everywhere)
        if not names or not label.isdecimal():
            return label
        if label not in names:
            raise DatasetError(
                f"{origin}: the class {label[:40]} has no name in {self.source}.", "Correct one of the two."
            )
        return names[label]


def read_class_names(folders: Iterable[Path], root: Root, tell: Callable[[DatasetError], None]) -> ClassNames:
    """From the first folder that has any. tell: of a file that is damaged or outside the root."""
    try:
        for path in (folder / name for folder in folders for name in (*LISTS, *_DESCRIPTIONS, _CARD)):
            if path.is_file():
                root.check(path)
                if found := _read(path):
                    return found
    except DatasetError as error:
        tell(error)
    return ClassNames()


def _read(path: Path) -> ClassNames | None:
    if path.name in LISTS:
        return ClassNames(str(path), everywhere=_of_lines(read_text(path, _FILE_BYTES)))
    columns: dict[str, Names] = {}
    if path.name in _DESCRIPTIONS:
        _collect(read_json(path, _FILE_BYTES), "", columns)
    else:
        columns = _from_card(read_text(path, _FILE_BYTES))
    return ClassNames(str(path), of_column=columns) if columns else None


def _of_lines(text: str) -> Names:
    return {str(number): _printable(name) for number, name in names_in_lines(text).items()}


def names_in_lines(text: str) -> dict[int, str]:
    """The name of each number in a list. Labelme's lists begin with a line for -1, __ignore__."""
    lines = [line.strip() for line in text.strip().split("\n")]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = [match.groups() for match in numbered if match]
    if len(pairs) == len(lines):
        return {int(number): name for number, name in pairs if len(number) < 10}
    return {number: name for number, name in enumerate(lines[1:] if lines[0] == IGNORE else lines) if name}


def _printable(name: str) -> str:
    return printable(name)[:200]


def _collect(document: object, column: str, found: dict[str, Names]) -> None:
    """Adds the names of each ClassLabel to `found`, under the column that it stands in."""
    if isinstance(document, list):
        for item in document:
            _collect(item, column, found)
    elif isinstance(document, dict):
        names = document.get("names")
        if document.get("_type") == "ClassLabel" and isinstance(names, list):
            found[column] = {str(number): _printable(str(name)) for number, name in enumerate(names)}
        for key, value in document.items():
            _collect(value, column if key in ("feature", "dtype") else key.lower(), found)


def _from_card(text: str) -> dict[str, Names]:
    """Between two lines of "---": "- name: COLUMN", below it "class_label:", below that "'0': NAME" for each class."""
    found: dict[str, dict[str, str]] = {}
    column, is_inside = "", False
    lines = text.split("\n")
    if lines[0].strip() != "---":
        return {}
    for line in lines[1:]:
        if line.strip() == "---":
            break
        if match := _COLUMN.fullmatch(line.rstrip()):
            column, is_inside = match[1].strip("'\"").lower(), False
        elif line.strip() == "class_label:":
            is_inside = True
        elif is_inside and (match := _NAME_OF_NUMBER.fullmatch(line.rstrip())):
            found.setdefault(column, {})[match[1]] = _printable(match[2].strip("'\""))
    return dict(found)
