"""`verydeep bench` as a person runs it: on tiny networks, with real processes, and with what goes wrong."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from verydeep.bench.contestants import has_native, missing_for, named
from verydeep.errors import VerydeepError

Run = Callable[..., Any]

QUICK = ("--architecture", "toy-gap", "--size", 32, "--classes", 5, "--threads", 1, "--rounds", 1)
IS_NATIVE = has_native()


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a quiet processor: tests run beside one another. Tables have the width of a file's."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr("verydeep.bench.turns.CHUNK_S", 0.01)
    monkeypatch.setattr("verydeep.bench.turns.QUIET_S", 0.0)
    monkeypatch.setattr("verydeep.bench.peaks._TRIES", 1)
    monkeypatch.setattr("verydeep.bench.peaks._MEMORY_FLOATS", 1 << 20)


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only those that start at once."""
    names = ("native", "native-fast", "native-int8", "reference")
    quick = tuple(one for one in map(named, names) if not missing_for(one))
    monkeypatch.setattr("verydeep.bench.contestants.CONTESTANTS", quick)


@pytest.mark.slow
@pytest.mark.usefixtures("few")
def test_tables_rows_and_picture_come_from_one_run(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    csv_file, picture = tmp_path / "results.csv", tmp_path / "roofline.svg"
    done = run("bench", *QUICK, "--batches", "1,2", "--starts", 1, "--append", csv_file, "--picture", picture)
    assert done.code == 0, done.err
    for title in ("prediction, batch 1", "prediction, batch 2", "cold start, batch 1"):
        assert title in done.out
    assert re.search(r"\n +reference +float32 +~?[\d.]+ .* \d\.\de-0[678] ", done.out)
    assert re.search(r"peaks +float32 [\d,]+ GFLOP/s", done.out)
    assert done.err.index("batch 2: round 1 of 1") < done.err.index("batch 1: round 1 of 1")  # the largest first
    rows = read_rows(csv_file)
    assert all(row["architecture"] == "toy-gap" and float(row["value"]) > 0 for row in rows)
    assert f"added {len(rows)} rows" in done.err
    if IS_NATIVE:
        for precision in ("float32", "fast", "int8"):
            assert f"layers of native in {precision}, batch 1" in done.out
        assert "conv2_1" in picture.read_text()
    else:
        assert "there is no picture" in done.err


@pytest.mark.usefixtures("few")
def test_json_holds_every_figure(run: Run) -> None:
    done = run("bench", *QUICK, "--starts", 0, "--layers", "--json")
    assert done.code == 0, done.err
    fields = json.loads(done.out)
    assert fields["network"]["name"] == "toy-gap"
    (group,) = fields["groups"]
    reference = next(one for one in group["contestants"] if one["name"] == "reference")
    assert reference["error"] < 1e-6
    assert reference["latency_ms"]["n"] >= 1
    assert fields["starts"] == []
    if IS_NATIVE:
        assert list(group["layers"]) == ["float32", "fast", "int8"]
        for rows in group["layers"].values():
            assert [row["name"] for row in rows] == ["conv1_1", "conv1_2", "pool1", "conv2_1", "pool2", "gap", "fc8"]


def read_rows(path: Path) -> list[dict[str, str]]:
    """None where the file was not made: on a busy machine no figure may be clean."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.usefixtures("few")
def test_a_model_file_is_measured_and_named(run: Run, toy_model: Path) -> None:
    done = run("bench", toy_model, "--threads", 1, "--rounds", 1, "--starts", 0)
    assert done.code == 0, done.err
    assert re.search(r"network +toy-bn-gap, 32 x 32 pixels, toy sha256:\w{12}", done.out)


def test_a_rival_that_is_not_installed_is_told_in_a_line_and_left_out(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    rivals = (named("reference"), named("ncnn"))
    monkeypatch.setattr("verydeep.bench.contestants.CONTESTANTS", rivals)
    monkeypatch.setattr("verydeep.bench.measure.missing_for", lambda one: ["ncnn"] if one.name == "ncnn" else [])
    done = run("bench", *QUICK, "--starts", 0)
    assert done.code == 0, done.err
    assert done.err.count("note: ncnn is left out: ncnn is not installed.\n") == 1
    assert "ncnn" not in done.out


def test_a_rival_that_fails_is_named_and_the_others_go_on(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = replace(named("ncnn"), name="no-such-contestant", needs=())
    monkeypatch.setattr("verydeep.bench.contestants.CONTESTANTS", (named("reference"), broken))
    done = run("bench", *QUICK, "--starts", 0)
    assert done.code == 0, done.err
    assert re.search(r"note: no-such-contestant has ended: exit code 1, .*; it is left out\.\n", done.err)
    assert "reference" in done.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--rivals", "caffe"), 2, "no rival 'caffe'; there are torch, "),
        (("--precisions", "int3"), 2, "the native engine has no precision 'int3'"),
        (("--batches", "1,none"), 2, "--batches is '1,none'; expected numbers"),
        (("--architecture", "F"), 2, "no architecture 'F'; expected a configuration"),
        (("--architecture", "D", "--size", 16), 2, "an input size of 16 is too small"),
        (("imagenette", "--architecture", "D"), 2, "got the model 'imagenette' and the architecture 'D'"),
        (("nowhere.safetensors",), 3, "there is no model 'nowhere.safetensors'"),
        (("--picture", "roofline.gif"), 2, "neither SVG nor PNG"),
        (("--photos", "nowhere"), 3, "nowhere"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_sentence_with_a_hint(
    *, run: Run, arguments: tuple[object, ...], code: int, said: str
) -> None:
    done = run("bench", *arguments)
    assert done.code == code, done.err
    assert said in done.err
    assert len(re.findall(r"^(?:error|hint): ", done.err, re.MULTILINE)) == 2
    assert done.out == ""


def test_results_that_could_not_be_added_to_are_refused_at_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("apples,pears\n1,2\n")
    done = run("bench", *QUICK, "--append", tmp_path / "prices.csv")
    assert done.code == 3
    assert "has the columns apples, pears" in done.err


@pytest.mark.usefixtures("few")
def test_too_little_memory_for_all_at_once_is_told_before_the_system_kills(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("verydeep.machine.available_memory_bytes", lambda: 100_000_000)
    done = run("bench", *QUICK, "--starts", 0)
    assert done.code == VerydeepError.exit_code
    assert "there is not enough memory for" in done.err
    assert "hint: Name fewer with --rivals" in done.err


@pytest.mark.usefixtures("few")
def test_two_measurements_at_a_time_would_measure_each_other(run: Run) -> None:
    from verydeep.bench.measure import work_folder

    with work_folder() as folder:
        done = run("bench", *QUICK)
        assert done.code == 2
        assert "in use by another process" in done.err
    assert not folder.exists()
