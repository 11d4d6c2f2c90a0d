"""Annotations are data that somebody else wrote: read within limits, and never a way to a file outside the folder.

XML may hold no document type, so no entities; JSON no NaN; both only so many bytes and levels.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.parsers import expat

import numpy as np

from verydeep.errors import DatasetError, printable

DEEPEST = 32
XML_BYTES = 10 << 20
TABLE_BYTES = 1 << 30
JSON_BYTES = 1 << 30  # COCO's instances of 118,287 photos are 450 MB
_XML_ELEMENTS = 100_000
_PIECE = 1 << 22
_MOST_VALUES = 100_000_000  # of JSON: with 30 to 60 bytes each a few GiB; COCO's instances have about 60 million
_MOST_LINES = 20_000_000  # of a table: with 100 bytes each 2 GiB
_TEXTS = re.compile(rb'"[^"]*"')
_STEPS = np.zeros(256, np.int64)
_STEPS[[ord("["), ord("{")]] = 1
_STEPS[[ord("]"), ord("}")]] = -1


def read_bytes(path: Path, most: int) -> bytes:
    """The content of a regular file. Raises DatasetError."""
    try:
        if not path.is_file():
            raise DatasetError(f"{printable(str(path))} is no file.", "Check the path.")
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"{printable(str(path))} cannot be read: {reason}.", "Check its permissions.") from error
    if len(data) > most:
        raise DatasetError(f"{printable(str(path))} has more than {most >> 20} MiB.", "Split it into several files.")
    return data


def read_ends(path: Path, length: int) -> tuple[bytes, bytes]:
    """The first and the last bytes of a file, to see what it is; nothing where it cannot be read. Never raises."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return b"", b""
        with path.open("rb") as file:
            first = file.read(length)
            file.seek(max(0, path.stat().st_size - length))
            return first, file.read(length)
    except (OSError, ValueError):
        return b"", b""


def read_text(path: Path, most: int = TABLE_BYTES) -> str:
    """UTF-8, with its mark at the start or without; UTF-16 where its mark says so. Raises DatasetError."""
    data = read_bytes(path, most)
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{printable(str(path))} is no text in UTF-8: byte {error.start} is not.", "Save it as UTF-8."
        ) from error


def lines_of(text: str, name: str) -> list[str]:
    """Whatever ends them. name: for the error. Raises DatasetError where they are too many."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.count("\n") > _MOST_LINES:
        raise DatasetError(f"{printable(name)} has over {_MOST_LINES:,} lines.", "Split it into several files.")
    return text.split("\n")


def read_json(path: Path, most: int = JSON_BYTES) -> Any:
    """Raises DatasetError."""
    return parse_json(read_bytes(path, most), str(path))


def parse_json(data: bytes, name: str) -> Any:
    """name: for errors. Raises DatasetError where it is no JSON, nested too deep, too many values, or holds NaN."""
    bare, texts = _TEXTS.subn(b"", data.replace(rb"\\", b"").replace(rb"\"", b"") if b"\\" in data else data)
    if texts + bare.count(b",") + 4 * (bare.count(b"[") + bare.count(b"{")) > _MOST_VALUES:  # lists cost more
        raise DatasetError(f"{printable(name)} has over {_MOST_VALUES:,} values.", "Split it into several files.")
    depth = 0
    for start in range(0, len(bare), _PIECE):
        levels = depth + np.cumsum(_STEPS[np.frombuffer(bare[start : start + _PIECE], np.uint8)])
        if levels.max() > DEEPEST:
            raise DatasetError(f"{printable(name)} is nested more than {DEEPEST} levels deep.", "It is no annotation.")
        depth = int(levels[-1])
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{printable(name)} is not JSON: {error}.", "Save it again.") from error


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


@dataclass
class Element:
    """An element of XML."""

    tag: str
    attributes: Mapping[str, str]
    children: "list[Element]" = field(default_factory=list)
    text: str = ""

    def find(self, *tags: str) -> "Element | None":
        """The first element down a path of tags."""
        found: Element | None = self
        for tag in tags:
            found = next((child for child in found.children if child.tag == tag), None) if found else None
        return found

    def value(self, *tags: str) -> str:
        """Its text, stripped; empty where there is none."""
        found = self.find(*tags)
        return found.text.strip() if found else ""


def read_xml(path: Path) -> Element:
    """The outermost element. Raises DatasetError."""
    return parse_xml(read_bytes(path, XML_BYTES), str(path))


def parse_xml(data: bytes, name: str) -> Element:
    """name: for errors. Raises DatasetError where it is no XML, has a document type or too many levels or elements."""
    parser = expat.ParserCreate()
    top = Element("", {})
    stack = [top]
    texts: list[list[str]] = [[]]  # of each element in the stack, in pieces
    count = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal count
        count += 1
        if len(stack) > DEEPEST or count > _XML_ELEMENTS:
            raise DatasetError(f"{printable(name)} has too many elements or levels.", "It is no annotation.")
        element = Element(tag, attributes)
        stack[-1].children.append(element)
        stack.append(element)
        texts.append([])

    def end(_: str) -> None:
        stack.pop().text = "".join(texts.pop())

    def no_document_type(*_: object) -> None:
        raise DatasetError(
            f"{printable(name)} has a document type, which may name entities and files.", "Take the <!DOCTYPE> out."
        )

    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = lambda letters: texts[-1].append(letters)  # noqa: PLW0108, the last one changes
    parser.StartDoctypeDeclHandler = no_document_type
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the latter two: an encoding nobody knows
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{printable(name)} is not XML: {error}.", "Save it again.") from error
    return top.children[0]


class Root:
    """The folder that annotations may name files in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._inside = _with_end(os.path.realpath(folder))
        self._real_folders: dict[str, str] = {}  # of those that files were looked for in: many files lie in few

    def path(self, base: Path, named: str, origin: str) -> Path:
        """`named`, from the folder `base` on, whether it is there or not. Raises DatasetError where it leads out.

        A path from Windows is understood. Absolute paths are good where they lead in here; links are followed.
        """
        if not named or "\0" in named:
            raise DatasetError(f"{origin} names no file: {printable(named)!r}.", "Correct the path.")
        plain = named.replace("\\", "/")
        found = Path(os.path.normpath(os.path.join(base, plain)))  # noqa: PTH118, as everything here: thrice as fast
        if plain.startswith("//") or not self.holds(found):  # Windows would ask the server of that name
            raise DatasetError(
                f"{origin} names {printable(named)[:200]}, which is outside {self.folder}.",
                "Name the folder that holds both, photos and annotations: --root FOLDER",
            )
        return found

    def check(self, path: Path) -> None:
        """Of a file that was found in here. Raises DatasetError where a link leads out."""
        if not self.holds(path):
            raise DatasetError(
                f"{printable(str(path))} leads out of {self.folder}.", "Copy it there, or name a folder: --root FOLDER"
            )

    def ends(self, path: Path, length: int) -> tuple[bytes, bytes]:
        """As `read_ends`, of a file that was found in here; nothing of one that a link leads out to."""
        return read_ends(path, length) if self.holds(path) else (b"", b"")

    def holds(self, path: Path) -> bool:
        """Whether it is in here, links followed."""
        folder, name = os.path.split(path)
        try:
            if name in ("", ".", "..") or os.path.islink(path):  # noqa: PTH114
                real = os.path.realpath(path)
            else:
                if folder not in self._real_folders:
                    self._real_folders[folder] = os.path.realpath(folder)
                real = os.path.join(self._real_folders[folder], name)  # noqa: PTH118
        except (OSError, ValueError):
            return False
        return _with_end(real).startswith(self._inside)


def _with_end(folder: str) -> str:
    """Ends with a separator; in lower case where the system does not tell cases apart."""
    return os.path.join(os.path.normcase(folder), "")  # noqa: PTH118
