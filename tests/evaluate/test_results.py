"""Rows of results: complete, readable by anyone's CSV reader, and never half written."""

import csv
import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from verydeep.errors import DataError, StorageError
from verydeep.evaluate.results import COLUMNS, Result, append_result, check_results, model_label, result_row

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


def test_a_gpu_is_part_of_the_machine() -> None:
    made = result_row(
        **dict.fromkeys(("architecture", "engine", "dtype", "protocol", "value", "spread"), "-"),
        **dict.fromkeys(("threads", "batch", "n"), 1),
        gpu="NVIDIA H100",
    )
    assert made.machine.endswith(" cores, NVIDIA H100")


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_row_says_when_where_and_with_what() -> None:
    made = row()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", made.date)
    assert re.fullmatch(r"[0-9a-f]{10}\+?|v\d.*", made.commit)
    assert re.search(r"\w, \d+ cores$", made.machine)
    assert made.model == "-"
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

    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        append_result(path, row())
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_programs_that_add_rows_at_the_same_time_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    program = (
        "import sys; sys.path.insert(0, sys.argv[3]); from test_results import append_result, row\n"
        "made = row()\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "for _ in range(100): append_result(sys.argv[1], __import__('dataclasses').replace(made, protocol=sys.argv[2]))"
    )
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", program, path, name, Path(__file__).parent],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in ("one", "other")
    ]
    for writer in writers:
        assert writer.stdout is not None
        writer.stdout.readline()
    for writer in writers:
        writer.communicate("go\n", timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    assert sorted(r["protocol"] for r in read(path)) == ["one"] * 100 + ["other"] * 100


def test_a_model_is_named_with_what_is_in_its_file(tmp_path: Path) -> None:
    for name in ("flowers/model.safetensors", "small.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"abc")
    assert model_label(tmp_path / "flowers" / "model.safetensors") == "flowers sha256:ba7816bf8f01"
    assert model_label(tmp_path / "small.safetensors") == "small sha256:ba7816bf8f01"


def test_every_column_is_explained_in_benchmarks() -> None:
    page = (REPOSITORY / "benchmarks" / "README.md").read_text("utf-8").partition("## Trainings")[0]
    explained = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    assert tuple(explained) == COLUMNS


def test_every_published_file_has_these_columns() -> None:
    for path in (REPOSITORY / "benchmarks" / "results").glob("*.csv"):
        if path.name not in ("training.csv", "soak.csv"):  # made by programs of their own
            check_results(path)
