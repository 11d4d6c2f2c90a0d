"""A table in a file -> rows: CSV, TSV, JSON lines and Parquet, read within limits, one row at a time.

Columns are known by their names in lower case, with an underscore for a space or a hyphen: "File Name" is file_name.
Text is UTF-8 or UTF-16. A row that cannot be read is one of the file's problems, and the next ones are read.
"""

import codecs
import csv
import importlib.util
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path
from typing import Any

from verydeep.data.annotations import Problem
from verydeep.data.untrusted import TABLE_BYTES, lines_of, parse_json, read_ends, read_text
from verydeep.errors import DatasetError, MissingExtraError, printable

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet")
PATH_AND_LABEL = ("path", "label")  # the columns of a table without a header

_DELIMITERS = ",\t;"
_HEAD_BYTES = 1 << 18
_HEAD_ROWS = 20
_MOST_ROWS = 50_000_000
_LINE_BYTES = 4 << 20  # of a row, as JSON
_MOST_ERRORS = 100  # quotes that are never closed: each costs a look at what follows, up to csv's limit of 128 KiB
_PARQUET_MARK = b"PAR1"
_RUN_FILE = """
import runpy, sys
sys.path[:] = filter(None, sys.path)  # not from the current folder, where anything may lie
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_MOST_PROBLEMS = 1000  # that are told of a file

HasNoHeader = Callable[[Sequence[str]], bool]


class Problems:
    """What is wrong with the rows of a file: the first so many, and how many more there are."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._errors: list[DatasetError] = []
        self._more = 0

    def add(self, error: DatasetError) -> None:
        if len(self._errors) < _MOST_PROBLEMS:
            self._errors.append(error)
        else:
            self._more += 1

    def all(self) -> list[Problem]:
        errors = list(self._errors)
        if self._more:
            errors.append(DatasetError(f"{self._path} has {self._more} more problems.", "Correct those first."))
        return [Problem(str(self._path), error.message, error.hint) for error in errors]


@dataclass(frozen=True)
class Row:
    """A row: text in its cells where the file is CSV or TSV, else what JSON has."""

    line: int  # of the file, from 1; of Parquet, the row
    cells: Mapping[str, Any]


@dataclass(frozen=True)
class Table:
    """A table while it is read."""

    path: Path
    columns: tuple[str, ...]  # of JSON lines, those of the first rows
    head: tuple[Row, ...]  # the first rows
    rest: Iterator[Row]  # those that follow; they can be had once
    is_text: bool  # whether every cell is text

    def rows(self) -> Iterator[Row]:
        """All of them, once. Raises DatasetError where the file ends within what cannot be read at all."""
        yield from self.head
        yield from self.rest


def open_table(
    path: Path, problems: Problems, has_no_header: HasNoHeader = lambda cells: False, only_head: bool = False
) -> Table:
    """The table; what is wrong with its rows is added to `problems` while they are read.

    has_no_header: told the first cells of CSV, whether they are a row already: of a path and a label.
    only_head: no more is read than finds out what columns there are. Raises DatasetError and MissingExtraError.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        columns, rows = _parquet(path, _HEAD_ROWS if only_head else _MOST_ROWS)
    else:
        text = _head_text(path) if only_head else read_text(path)
        if suffix in (".jsonl", ".ndjson"):
            columns, rows = (), _json_rows(path, lines_of(text, str(path)), problems)
        else:
            columns, rows = _delimited(path, text, problems, has_no_header)
    head = list(islice(rows, _HEAD_ROWS))
    if not columns:
        columns = tuple(dict.fromkeys(name for row in head for name in row.cells))
    return Table(path, columns, tuple(head), rows, is_text=suffix in (".csv", ".tsv"))


def is_parquet(path: Path) -> bool:
    """By its first bytes. Never raises."""
    return read_ends(path, len(_PARQUET_MARK))[0] == _PARQUET_MARK


def is_empty(cell: object) -> bool:
    """Whether a cell has nothing in it; pandas writes NaN for that."""
    return cell is None or cell == "" or (isinstance(cell, float) and math.isnan(cell))


@lru_cache(maxsize=1024)
def column_name(name: str) -> str:
    """As columns are known by here."""
    return name.strip().lower().replace(" ", "_").replace("-", "_")


def _head_text(path: Path) -> str:
    """The first whole lines. Never raises."""
    data, _ = read_ends(path, _HEAD_BYTES)
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    text = data.decode("utf-16" if is_wide else "utf-8-sig", errors="replace")
    return text if len(data) < _HEAD_BYTES else text.rpartition("\n")[0]


def _json_rows(path: Path, lines: Sequence[str], problems: Problems) -> Iterator[Row]:
    for line, text in enumerate(lines, start=1):
        if not text.strip():
            continue
        try:
            cells = parse_json(text.encode("utf-8", "surrogatepass"), f"{path}:{line}")
            if not isinstance(cells, dict):
                raise DatasetError(f"{path}:{line} is no JSON object.", 'Write {"path": ..., "label": ...} a line.')
        except DatasetError as error:
            problems.add(error)
        else:
            yield Row(line, _named(cells.items()))


def _named(cells: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """By the columns' names; of two that are called the same, the first."""
    named: dict[str, Any] = {}
    for name, cell in cells:
        named.setdefault(column_name(name), cell)
    return named


def _delimited(
    path: Path, text: str, problems: Problems, has_no_header: HasNoHeader
) -> tuple[tuple[str, ...], Iterator[Row]]:
    lines = lines_of(text, str(path))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(lines)
    rows = _csv_rows(path, lines, delimiter, problems)
    first = next(rows, None)
    if first is None:
        raise DatasetError(f"{path} has no rows.", "Check the file.")
    if has_no_header(first[1]):
        return PATH_AND_LABEL, _fitting(path, PATH_AND_LABEL, chain([first], rows), problems)
    columns = tuple(column_name(name) for name in first[1])
    return columns, _fitting(path, columns, rows, problems)


def _delimiter(lines: Sequence[str]) -> str:
    """The one that makes most columns of the first line."""
    first = next((line for line in lines if line.strip()), "")

    def columns(delimiter: str) -> int:
        try:
            return len(next(csv.reader([first], delimiter=delimiter)))
        except csv.Error:
            return 0

    return max(_DELIMITERS, key=columns)


def _csv_rows(path: Path, lines: Sequence[str], delimiter: str, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Each row that is not blank, with the number of its line.

    A quote that is never closed would take in the rest of the file: its line is left out, and reading goes on below it.
    """
    position = errors = 0

    def following() -> Iterator[str]:
        nonlocal position
        while position < len(lines):
            position += 1
            yield lines[position - 1] + "\n"

    reader = csv.reader(following(), delimiter=delimiter, strict=True)
    while True:
        start = position
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            errors += 1
            if errors > _MOST_ERRORS:
                raise DatasetError(f"{path} has over {_MOST_ERRORS} lines that are no CSV.", "Check it.") from error
            problems.add(DatasetError(f"{path}:{start + 1} is no row of CSV: {error}.", "Correct its quotes."))
            position = start + 1
            reader = csv.reader(following(), delimiter=delimiter, strict=True)
        else:
            if any(cell.strip() for cell in cells):
                yield start + 1, [cell.strip() for cell in cells]


def _fitting(
    path: Path, columns: Sequence[str], rows: Iterable[tuple[int, list[str]]], problems: Problems
) -> Iterator[Row]:
    """Those that have a cell for each column; empty ones behind the last column do not count."""
    for line, cells in rows:
        if len(cells) < len(columns) or any(cells[len(columns) :]):
            problems.add(
                DatasetError(
                    f"{path}:{line} has {len(cells)} cell{'s' * (len(cells) != 1)}; expected {len(columns)}: "
                    f"{printable(', '.join(columns))[:200]}.",
                    "Correct the row; a cell with the delimiter in it goes between quotes.",
                )
            )
        else:
            yield Row(line, _named(zip(columns, cells, strict=False)))


def _parquet(path: Path, most_rows: int) -> tuple[tuple[str, ...], Iterator[Row]]:
    """What `parquet_rows` prints."""
    if importlib.util.find_spec("pyarrow") is None:
        raise MissingExtraError(
            f"reading {path} needs pyarrow, which is not installed.", "pip install 'verydeep[parquet]'"
        )
    messages = _messages(path, most_rows)
    kind, value = next(messages)
    if kind != "columns":
        raise _no_parquet(path, value)

    def rows() -> Iterator[Row]:
        for number, (kind, value) in enumerate(messages):
            if kind == "error":
                raise _no_parquet(path, value, number)
            yield Row(number + 1, _named(value.items()))

    return tuple(dict.fromkeys(column_name(name) for name in value)), rows()


def _no_parquet(path: Path, reason: str, line: int = 0) -> DatasetError:
    behind = f" behind row {line}" if line else ""
    reason = printable(reason)[:200].rstrip(".")
    return DatasetError(f"{path} is not Parquet that can be read{behind}: {reason}.", "Write it again.")


def _messages(path: Path, most_rows: int) -> Iterator[tuple[str, Any]]:
    """From a process of its own. An error is the last one."""
    command = [
        sys.executable,
        "-c",
        _RUN_FILE,
        str(Path(__file__).with_name("parquet_rows.py")),
        str(path),
        str(most_rows),
    ]
    left = TABLE_BYTES
    with subprocess.Popen(  # noqa: S603, our own program
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        try:
            while (line := process.stdout.readline(_LINE_BYTES)).endswith(b"\n") and left > 0:
                kind, *values = json.loads(line)
                if kind == "end":
                    return
                left -= len(line)
                yield kind, *values
                if kind == "error":
                    return
        finally:
            process.kill()
    yield "error", "it unpacks to too much" if left <= 0 or len(line) == _LINE_BYTES else "its reader fails"
