"""`verydeep evaluate`: its tables, its JSON, its row of results, and what it says when something is wrong."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from verydeep import machine
from verydeep.data.datasets import open_folder
from verydeep.evaluate import Report, evaluate
from verydeep.evaluate.results import model_label
from verydeep.runtime import open_model
from verydeep.weights import ModelInfo, read_model, write_model

Run = Callable[..., Any]


@pytest.fixture
def report(opinionated_model: Path, class_folders: Path) -> Report:
    """What the command ought to print: the same evaluation in Python."""
    model = open_model(opinionated_model, engine="reference")
    return evaluate(
        model.engine,
        model.info,
        open_folder(class_folders),
        conditions="float32, engine reference; all photos of the folder",
    )


def test_the_tables_show_every_figure_with_its_interval_n_and_protocol(
    run: Run, opinionated_model: Path, class_folders: Path, report: Report
) -> None:
    done = run("evaluate", opinionated_model, class_folders, "--engine", "reference")
    assert done.code == 0
    assert report.protocol in done.out
    value, (low, high) = 100 * report.top1.successes / 24, report.top1.interval
    assert re.search(rf"top-1 +{value:.1f} % +{100 * low:.1f} to {100 * high:.1f} % +24 *\n", done.out)
    assert re.search(r"at least 60.0% sure +\S+ % .* % +24 *\n", done.out)
    assert "top-5" not in done.out  # of three classes
    for row in report.class_rows:
        assert re.search(rf"{row.label} +{100 * row.recall.value:.1f} % .* {row.precision.n} *\n", done.out)
    assert done.out.count(", protocol center") == 3  # in the title of each table
    for row in report.confusion:
        assert re.search(" +".join(str(count) if count else "·" for count in row) + r" *\n", done.out)


@pytest.mark.parametrize("columns", [40, 60, 80, 140])
def test_a_narrow_terminal_gets_fewer_columns_and_no_split_words(
    *,
    columns: int,
    run: Run,
    opinionated_model: Path,
    class_folders: Path,
    monkeypatch: pytest.MonkeyPatch,
    report: Report,
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = run("evaluate", opinionated_model, class_folders, "--engine", "reference")
    tables = done.out.split("figures, protocol center")[1]
    assert max(map(len, tables.splitlines())) <= columns
    for row in report.class_rows:
        assert re.search(rf"{row.label} +{100 * row.recall.value:.1f} %", tables)
    assert ("95 % interval" in tables) == (columns >= 60)
    assert ("of those named so" in tables) == (columns >= 80)


def test_a_terminal_of_ascii_gets_ascii(run: Run, opinionated_model: Path, class_folders: Path) -> None:
    command = [sys.executable, "-m", "verydeep", "evaluate", opinionated_model, class_folders, "--engine", "reference"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, env=environment, check=True)
    assert b"\\x" not in done.stdout
    assert done.stdout.isascii()


def test_the_keys_of_the_json_are_these(run: Run, opinionated_model: Path, class_folders: Path) -> None:
    (class_folders / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    done = run("evaluate", opinionated_model, class_folders, "--engine", "reference", "--json", "--batch-size", "8")
    fields = json.loads(done.out)
    assert list(fields) == [
        *(
            "model",
            "architecture",
            "fused_with",
            "data",
            "engine",
            "device",
            "precision",
            "batch_size",
            "protocol",
            "n",
        ),
        *("top1", "top5", "loss", "expected_calibration_error", "calibration", "answered", "right_when_answered"),
        *("classes", "confusion", "photos", "failures"),
    ]
    assert [fields[key] for key in ("engine", "device", "precision", "batch_size")] == [
        "reference",
        "cpu",
        "float32",
        8,
    ]
    assert fields["architecture"]["name"] == "toy-bn-gap"
    assert list(fields["protocol"]) == ["name", "description"]
    assert list(fields["top1"]) == ["value", "interval_95", "successes", "n"]
    assert list(fields["classes"][0]) == ["label", "recall", "precision"]
    assert list(fields["photos"][0]) == ["path", "label", "predictions", "is_known"]
    assert list(fields["photos"][0]["predictions"][0]) == ["label", "probability"]
    assert list(fields["failures"][0]) == ["path", "reason", "hint"]


def test_json_has_one_line_for_a_class_of_the_matrix_and_one_for_a_photo(
    run: Run, opinionated_model: Path, class_folders: Path, report: Report
) -> None:
    lines = run("evaluate", opinionated_model, class_folders, "--engine", "reference", "--json").out.splitlines()
    assert [line.strip(" ,") for line in lines if line.startswith("    [")] == [
        str(row) for row in report.confusion.tolist()
    ]
    assert len([line for line in lines if line.startswith('    {"path"')]) == 24


def test_json_is_the_report(run: Run, opinionated_model: Path, class_folders: Path, report: Report) -> None:
    done = run("evaluate", opinionated_model, class_folders, "--engine", "reference", "--json")
    printed = json.loads(done.out)
    assert {key: printed[key] for key in report.to_dict()} == report.to_dict()
    assert printed["model"] == str(opinionated_model)
    assert len(printed["photos"]) == 24


def test_the_validation_folder_is_taken_where_there_is_one(
    run: Run, opinionated_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "data" / "train").mkdir(parents=True)
    class_folders.rename(tmp_path / "data" / "val")
    done = run("evaluate", opinionated_model, tmp_path / "data", "--engine", "reference", "--json")
    assert json.loads(done.out)["n"] == 24


def test_dense_evaluates_whole_photos(run: Run, opinionated_model: Path, class_folders: Path) -> None:
    arguments = ("--protocol", "dense", "--engine", "reference", "--json")
    done = run("evaluate", opinionated_model, class_folders, *arguments)
    model = open_model(opinionated_model, engine="reference", is_dense=True)
    report = evaluate(model.engine, model.info, open_folder(class_folders), "dense")
    assert json.loads(done.out)["protocol"]["name"] == "dense"
    assert "whole photo at shorter side 36" in json.loads(done.out)["protocol"]["description"]
    assert json.loads(done.out)["photos"] == report.to_dict()["photos"]


@pytest.mark.parametrize("flags", [(), ("--json",)])
def test_photos_that_cannot_be_read_are_told_at_the_end_with_exit_code_3(
    run: Run, opinionated_model: Path, class_folders: Path, flags: tuple[str, ...]
) -> None:
    (class_folders / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    done = run("evaluate", opinionated_model, class_folders, "--engine", "reference", *flags)
    assert done.code == 3
    assert "error: 1 of 25 photos could not be read and are in no figure:" in done.err
    assert f"{class_folders / 'cat' / 'broken.jpg'}" in done.err.splitlines()[-2]
    assert done.err.splitlines()[-1].startswith("hint: ")
    assert "24" in done.out


def test_append_adds_one_row_with_all_its_conditions(
    run: Run, opinionated_model: Path, class_folders: Path, tmp_path: Path, report: Report
) -> None:
    file = tmp_path / "results" / "accuracy.csv"
    for _ in range(2):
        run("evaluate", opinionated_model, class_folders, "--engine", "reference", "--append", file)
    rows = list(csv.DictReader(file.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == 2
    assert rows[0]["value"] == f"{report.top1.value:.4f}"
    assert rows[0]["protocol"] == f"top-1 on photos: {report.protocol}"
    assert (rows[0]["n"], rows[0]["engine"], rows[0]["architecture"]) == ("24", "reference", "toy-bn-gap")
    assert rows[0]["model"] == model_label(opinionated_model)
    assert all(rows[0].values())


@pytest.fixture
def fused(toy_model: Path, say: Callable[..., Path]) -> tuple[Path, Path, Path]:
    """Three models, and what they say of any photo together: 0.4 0.35 0.25."""
    said = {"one": (0.7, 0.2, 0.1), "two": (0.3, 0.6, 0.1), "three": (0.2, 0.25, 0.55)}
    one, two, three = (say(toy_model, name, *probabilities) for name, probabilities in said.items())
    return one, two, three


def test_fused_models_answer_together_and_all_are_named(
    run: Run, fused: tuple[Path, Path, Path], class_folders: Path, tmp_path: Path
) -> None:
    one, two, three = fused
    file = tmp_path / "results.csv"
    arguments = (one, class_folders, "--with", two, "--with", three, "--engine", "reference")
    printed = json.loads(run("evaluate", *arguments, "--json", "--append", file).out)
    for photo in printed["photos"]:
        assert [answer["label"] for answer in photo["predictions"]] == ["cat", "dog", "rocket"]
        assert [answer["probability"] for answer in photo["predictions"]] == pytest.approx([0.4, 0.35, 0.25], abs=1e-6)
    assert printed["top1"]["value"] == pytest.approx(1 / 3)
    assert printed["model"] == str(one)
    assert [other["model"] for other in printed["fused_with"]] == [str(two), str(three)]
    assert printed["fused_with"][0]["architecture"] == printed["architecture"]
    assert "one crop, 3 models fused, float32, engine reference" in printed["protocol"]["description"]
    (row,) = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert row["model"] == " + ".join(map(model_label, fused))
    assert (row["architecture"], row["engine"], row["value"]) == ("toy-bn-gap", "reference", "0.3333")
    assert "3 models fused" in row["protocol"]
    shown = " ".join(run("evaluate", *arguments).out.split())
    assert " + ".join(f"{path} (toy-bn-gap)" for path in fused) in shown
    assert "3 models fused" in shown


def test_fused_models_of_different_engines_are_told_with_both(
    run: Run, fused: tuple[Path, Path, Path], class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    engines = iter(("reference", "torch"))
    monkeypatch.setattr("verydeep.runtime.open._choose_engine", lambda *_, **__: next(engines))
    file = tmp_path / "results.csv"
    printed = json.loads(run("evaluate", fused[0], class_folders, "--with", fused[1], "--json", "--append", file).out)
    assert printed["engine"] == "reference + torch"
    (row,) = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    assert row["engine"] == "reference + torch"
    assert " torch=" in row["versions"]


def other_classes(info: Any) -> Any:
    return replace(info, classes=("cat", "rocket", "dog"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            other_classes,
            r"knows 'dog' where .*other\.safetensors knows 'rocket'; expected the same classes in the same",
        ),
        ({"classes": 4}, "knows 3 classes, .*other.safetensors 4; expected the same classes"),
        ({"boxes": "single"}, "is a model to classify with, .* one to localize with; expected the same"),
        ({"head": "segnet"}, "is a model to classify with, .* one to segment with; expected the same"),
        (None, "is given twice"),
    ],
)
def test_models_that_cannot_be_fused_are_refused_in_a_line(
    *,
    change: Any,
    message: str,
    run: Run,
    toy_model: Path,
    class_folders: Path,
    tmp_path: Path,
    random_weights: Callable[..., Any],
) -> None:
    info, weights = read_model(toy_model)
    other = tmp_path / "other.safetensors"
    if callable(change):
        write_model(other, change(info), weights)
    elif change:
        architecture = replace(info.architecture, **change)
        names = ("cat", "dog", "rocket", "emu")[: architecture.classes]
        write_model(other, ModelInfo(architecture, names, info.preprocessing), random_weights(architecture))
    done = run("evaluate", toy_model, class_folders, "--with", other if change else toy_model)
    assert done.code == 2
    error, hint = done.err.splitlines()
    assert re.search(message, error)
    assert hint.startswith("hint: ")


def test_models_of_pixels_are_not_fused(run: Run, segnet_model: Path, class_folders: Path, tmp_path: Path) -> None:
    shutil.copy(segnet_model, tmp_path / "other.safetensors")
    done = run("evaluate", segnet_model, class_folders, "--with", tmp_path / "other.safetensors")
    assert done.code == 2
    assert "is a model to segment with; expected classifiers or localisers" in done.err.splitlines()[0]


def test_models_that_validated_on_different_photos_of_the_folder_are_not_fused(
    run: Run, toy_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    info, weights = read_model(toy_model)
    for name, seed in (("one", 3), ("other", 4), ("same", 3)):
        origin = {"data": class_folders.name, "drawn_validation_seed": seed}
        write_model(tmp_path / f"{name}.safetensors", replace(info, origin=origin), weights)
    done = run("evaluate", tmp_path / "one.safetensors", class_folders, "--with", tmp_path / "other.safetensors")
    assert done.code == 2
    assert re.search(r"one.safetensors drew .* by seed 3, .*other.safetensors by 4", done.err.splitlines()[0])
    done = run("evaluate", tmp_path / "one.safetensors", class_folders, "--with", tmp_path / "same.safetensors")
    assert done.code == 0
    assert "(seed 3)" in " ".join(done.out.split())


@pytest.mark.parametrize("part", ["", "val"])
def test_a_model_that_was_trained_on_all_photos_says_so_and_names_the_figure_of_its_folds(
    part: str, run: Run, toy_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    info, weights = read_model(toy_model)
    folder = tmp_path / "flowers"
    (folder / part).parent.mkdir(exist_ok=True)
    shutil.copytree(class_folders, folder / part)
    for origin, is_told in (({"folds": 5}, True), ({}, False), ({"folds": 5, "data": "trees"}, False)):
        write_model(tmp_path / "a.safetensors", replace(info, origin={"data": "flowers"} | origin), weights)
        done = run("evaluate", tmp_path / "a.safetensors", folder / part)
        assert done.code == 0
        assert ("was trained with --folds, on all photos" in done.err) == is_told
        assert ("the folds' figure in its card, README.md" in done.err) == is_told
        assert ("all photos of the folder, on which it was trained" in " ".join(done.out.split())) == is_told


@pytest.mark.parametrize("arguments", [(), ("--threads", "1")])
def test_the_row_says_how_many_threads_the_engine_had(
    arguments: tuple[str, ...], run: Run, opinionated_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    torch = pytest.importorskip("torch")
    for engine, threads in (("reference", machine.cores()), ("torch", torch.get_num_threads())):
        file = tmp_path / f"{engine}.csv"
        run("evaluate", opinionated_model, class_folders, "--engine", engine, "--append", file, *arguments)
        (row,) = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
        assert row["threads"] == ("1" if arguments else str(threads))


@pytest.mark.parametrize("part", ["val", "test", "train"])
def test_the_row_names_the_data_set_not_its_part_alone(
    part: str, run: Run, opinionated_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "flowers").mkdir()
    class_folders.rename(tmp_path / "flowers" / part)
    file = tmp_path / "results.csv"
    run("evaluate", opinionated_model, tmp_path / "flowers" / part, "--engine", "reference", "--append", file)
    assert f"top-1 on flowers/{part}: " in file.read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", ["MODEL", "DATA"])
def test_a_misspelt_path_costs_no_import_of_torch(wrong: str, opinionated_model: Path, class_folders: Path) -> None:
    names = {"MODEL": str(opinionated_model), "DATA": str(class_folders)} | {wrong: "nowhere"}
    code = (
        "import atexit, sys; from verydeep.cli.main import main; "
        f"sys.argv = ['verydeep', 'evaluate', {names['MODEL']!r}, {names['DATA']!r}, '--engine', 'torch']; "
        "atexit.register(lambda: print('torch' in sys.modules)); main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "False\n")


def test_a_file_that_holds_no_results_is_left_alone(
    run: Run, opinionated_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "prices.csv").write_text("apples,pears\n1,2\n", encoding="utf-8")
    done = run("evaluate", opinionated_model, class_folders, "--append", tmp_path / "prices.csv")
    assert done.code == 3
    assert "has the columns apples, pears; expected date, commit" in done.err
    assert (tmp_path / "prices.csv").read_text(encoding="utf-8") == "apples,pears\n1,2\n"


def test_progress_goes_to_stderr_in_lines_where_there_is_no_terminal(
    run: Run, opinionated_model: Path, class_folders: Path
) -> None:
    done = run("evaluate", opinionated_model, class_folders, "--engine", "reference", "--batch-size", "12")
    assert "evaluated: 12 of 24\nevaluated: 24 of 24\n" in done.err
    assert "evaluated" not in done.out


def test_names_from_outside_cannot_move_the_cursor(run: Run, opinionated_model: Path, class_folders: Path) -> None:
    moved = class_folders.with_name("\x1b[2Jphotos[red]")
    class_folders.rename(moved)
    done = run("evaluate", opinionated_model, moved, "--engine", "reference")
    assert "\x1b" not in done.out
    assert "\\x1b[2Jphotos[red]" in done.out


@pytest.mark.parametrize(
    ("change", "arguments", "code", "message", "hint"),
    [
        (None, ["nowhere", "DATA"], 3, "there is no model 'nowhere'", "model file"),
        (None, ["DATA", "DATA"], 3, "there is no model at", "model.safetensors"),
        (None, ["MODEL", "nowhere"], 3, "nowhere does not exist", "Check the path"),
        (None, ["MODEL", "MODEL"], 3, "is a file; expected a folder of class folders", "Check the path"),
        (None, ["MODEL"], 2, "Missing argument 'DATA'", "--help"),
        (None, ["MODEL", "DATA", "--protocol", "centre"], 2, "no protocol 'centre'; there are center", "Choose"),
        (None, ["MODEL", "DATA", "--engine", "caffe"], 2, "'caffe' is not one of 'auto'", "evaluate --help"),
        (None, ["MODEL", "DATA", "--device", "tpu"], 2, "'tpu' is not one of 'auto', 'cpu'", "evaluate --help"),
        (None, ["MODEL", "DATA", "--engine", "reference", "--precision", "bfloat16"], 2, "float32 only", "torch"),
        (None, ["MODEL", "DATA", "--batch-size", "0"], 2, "0 is not in the range", "--help"),
        (None, ["MODEL", "DATA", "--threads", "none"], 2, "'none' is not a valid integer", "--help"),
        ("empty", ["MODEL", "DATA"], 3, "has no folder with photos", "<class>/<photo>.jpg"),
        ("other class", ["MODEL", "DATA"], 3, "the model does not know: wolf", "Rename"),
        ("all broken", ["MODEL", "DATA"], 3, "none of the 24 photos can be read", "Check"),
        ("damaged model", ["MODEL", "DATA"], 3, "is not a", "Give a file that `verydeep train` wrote"),
    ],
)
def test_what_a_user_can_get_wrong_is_one_line_with_its_remedy(
    *,
    run: Run,
    opinionated_model: Path,
    class_folders: Path,
    change: str | None,
    arguments: list[str],
    code: int,
    message: str,
    hint: str,
) -> None:
    if change == "empty":
        class_folders = class_folders.parent / "empty"
        class_folders.mkdir()
    elif change == "other class":
        (class_folders / "cat").rename(class_folders / "wolf")
    elif change == "all broken":
        for photo in class_folders.glob("*/*.png"):
            photo.write_bytes(b"no photo")
    elif change == "damaged model":
        opinionated_model.write_bytes(b"\xff" * 100)
    names = {"MODEL": str(opinionated_model), "DATA": str(class_folders)}
    done = run("evaluate", *(names.get(argument, argument) for argument in arguments))
    assert done.code == code
    error, hint_line = [line for line in done.err.splitlines() if not line.startswith("evaluated")]
    assert error.startswith("error: ")
    assert message in error
    assert hint_line.startswith("hint: ")
    assert hint in hint_line
    assert done.out == ""


def test_results_that_cannot_be_written_are_an_error(
    run: Run, opinionated_model: Path, class_folders: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    done = run("evaluate", opinionated_model, class_folders, "--append", tmp_path / "file" / "results.csv")
    assert done.code == 1
    assert "cannot write" in done.err
    assert "hint: " in done.err


def test_the_command_needs_no_torch(opinionated_model: Path, class_folders: Path) -> None:
    """With the reference engine; and it works where torch cannot be imported at all."""
    code = (
        "import sys; sys.modules['torch'] = None; from verydeep.cli.main import main; "
        f"sys.argv = ['verydeep', 'evaluate', {str(opinionated_model)!r}, {str(class_folders)!r}, "
        "'--engine', 'reference', '--json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["n"] == 24


@pytest.mark.slow
def test_a_set_of_real_photos_is_read_whole(
    run: Run, shared_data: Path, tmp_path: Path, make_toy: Callable[..., Path]
) -> None:
    make_toy(tmp_path / "model.safetensors", ("bees", "ants"))
    done = run("evaluate", tmp_path, shared_data / "hymenoptera", "--engine", "reference", "--json")
    printed = json.loads(done.out)
    assert done.code == 0
    assert [row["recall"]["n"] for row in printed["classes"]] == [41, 35]
