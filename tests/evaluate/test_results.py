"""Rows of results: complete, readable by anyone's CSV reader, and never half written."""

import csv
import re
from pathlib import Path

import pytest

from verydeep.errors import DataError, StorageError
from verydeep.evaluate.results import COLUMNS, Result, append_result, check_results, result_row

REPOSITORY = Path(__file__).parents[2]


def row(protocol: str = "top-1 on toys: centre crop 32") -> Result:
    return result_row(
        architecture="toy",
        engine="reference",
        dtype="float32",
        threads=1,
        batch=32,
        protocol=protocol,
        n=24,
        value="0.5000",
        spread="0.3143..0.6857",
    )


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_says_when_where_and_with_what() -> None:
    made = row()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.date)
    assert re.fullmatch(r"[0-9a-f]{10}\+?|v\d.*", made.commit)
    assert re.search(r"\w, \d+ cores$", made.machine)
    assert re.fullmatch(r"verydeep=\S+ numpy=\S+ pillow=\S+", made.versions)


def test_rows_are_added_below_the_header_in_the_order_they_came(tmp_path: Path) -> None:
    for protocol in ("one", 'two, with a comma and a "quote"', "three"):
        append_result(tmp_path / "new" / "results.csv", row(protocol))
    rows = read(tmp_path / "new" / "results.csv")
    assert [r["protocol"] for r in rows] == ["one", 'two, with a comma and a "quote"', "three"]
    assert tuple(rows[0]) == COLUMNS


def test_a_file_without_a_newline_at_its_end_gets_one(tmp_path: Path) -> None:
    append_result(tmp_path / "results.csv", row())
    text = (tmp_path / "results.csv").read_text(encoding="utf-8")
    (tmp_path / "results.csv").write_text(text.rstrip("\n"), encoding="utf-8")
    append_result(tmp_path / "results.csv", row())
    assert len(read(tmp_path / "results.csv")) == 2


@pytest.mark.parametrize("content", [b"a,b\n1,2\n", ",".join(reversed(COLUMNS)).encode(), b"\xff\xfe\x00", b"\n"])
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"file\.csv"):
        check_results(path)
    with pytest.raises(DataError):
        append_result(path, row())
    assert path.read_bytes() == content


def test_a_file_that_cannot_be_written_keeps_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "results.csv"
    append_result(path, row())
    before = path.read_bytes()

    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="the disk is full"):
        append_result(path, row())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_every_column_is_explained_in_benchmarks() -> None:
    explained = re.findall(
        r"^\| `(\w+)` \|", (REPOSITORY / "benchmarks" / "README.md").read_text("utf-8"), re.MULTILINE
    )
    assert tuple(explained) == COLUMNS


def test_every_published_file_has_these_columns() -> None:
    for path in (REPOSITORY / "benchmarks" / "results").glob("*.csv"):
        check_results(path)
