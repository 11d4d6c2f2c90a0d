"""`verydeep predict`: what it prints, draws and says of photos, and of everything that is not one."""

import csv
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.cells import cell_len

from verydeep.errors import ImageError
from verydeep.image.stream import load
from verydeep.nouns import Calibration
from verydeep.predict import Predictor
from verydeep.weights import read_model, write_model

Run = Callable[..., Any]
REFERENCE = ("--engine", "reference")


@pytest.fixture
def predict(run: Run, toy_model: Path) -> Run:
    """`verydeep predict` with the toy model."""
    return lambda *arguments: run("predict", *arguments, "--model", toy_model, *REFERENCE)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    return save(tmp_path / "photo.png")


@pytest.fixture
def free_photos() -> list[Path]:
    """Photos of people, animals and things that scikit-image ships."""
    found = importlib.util.find_spec("skimage")
    if found is None or not found.submodule_search_locations:
        pytest.skip("needs scikit-image, for its photos")
    folder = Path(found.submodule_search_locations[0]) / "data"
    return [folder / name for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")]


def save(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def with_threshold(model: Path, threshold: float, path: Path) -> Path:
    info, weights = read_model(model)
    write_model(path, replace(info, calibration=Calibration(1.0, threshold, 100)), weights)
    return path


# What is printed


def test_a_table_shows_each_photo_with_its_best_classes(predict: Run, toy_model: Path, free_photos: list[Path]) -> None:
    done = predict(*free_photos, "--top", 2)
    assert (done.code, done.err) == (0, "")
    tables = done.out.strip().split("\n\n")
    assert len(tables) == 4
    predictor = Predictor(toy_model, engine="reference")
    for table, path in zip(tables, free_photos, strict=True):
        title, *rows = table.splitlines()
        assert title == str(path)
        for row, score in zip(rows, predictor.predict(path, 2).scores, strict=True):
            assert row.split()[:3] == [score.label, f"{100 * score.probability:.1f}", "%"]
            assert row.count("█") == int(24 * score.probability)


def test_json_is_one_document_of_photos_and_failures(
    predict: Run, toy_model: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    done = predict(photo, tmp_path / "bad.jpg", tmp_path / "missing.jpg", photo, "--json", "-k", 2)
    assert done.code == 3
    document = json.loads(done.out)
    predictor = Predictor(toy_model, engine="reference")
    scores = predictor.predict(photo, 2).scores
    predictions = [{"label": score.label, "probability": score.probability} for score in scores]
    assert list(document) == [
        "model", "architecture", "engine", "precision", "calibration", "photos", "failures",
    ]  # fmt: skip
    assert document["model"] == str(toy_model)
    assert document["architecture"] == predictor.model.info.architecture.to_dict()
    assert (document["engine"], document["precision"]) == ("reference", "float32")
    assert document["calibration"] == {"temperature": 1.0, "reject_below": 0.0, "photos": 0}
    assert [list(failure) for failure in document["failures"]] == [["path", "reason", "hint"]] * 2
    assert document["photos"] == [{"path": str(photo), "is_known": True, "predictions": predictions}] * 2
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["bad.jpg", "missing.jpg"]
    assert "is empty" in document["failures"][0]["reason"]


def test_json_of_nothing_but_bad_photos_is_still_a_document(predict: Run, tmp_path: Path) -> None:
    document = json.loads(predict(tmp_path / "missing.jpg", "--json").out)
    assert (document["photos"], len(document["failures"])) == ([], 1)


def test_json_names_the_picture_of_each_photo(predict: Run, photo: Path, tmp_path: Path) -> None:
    done = predict(photo, photo, "--json", "--out", tmp_path / "out")
    pictures = [entry["picture"] for entry in json.loads(done.out)["photos"]]
    assert pictures == [str(tmp_path / "out" / name) for name in ("photo-predicted.jpg", "photo-predicted-2.jpg")]
    assert all(Path(picture).is_file() for picture in pictures)


def test_csv_has_a_row_for_every_photo_the_failures_last(predict: Run, photo: Path, tmp_path: Path) -> None:
    done = predict(tmp_path / "missing.jpg", photo, "--csv")
    header, good, bad = csv.reader(io.StringIO(done.out))
    assert header[:4] == ["path", "is_known", "label_1", "probability_1"]
    assert len(header) == len(good) == len(bad) == 2 + 2 * 3 + 1
    assert good[:2] == [str(photo), "true"]
    assert sum(float(cell) for cell in good[3::2]) == pytest.approx(1, abs=1e-5)
    assert "No such file" in bad[-1]
    assert done.code == 3


def test_many_photos_get_a_line_each_and_progress_goes_to_stderr(predict: Run, toy_model: Path, tmp_path: Path) -> None:
    paths = [save(tmp_path / "photos" / f"{seed:02}.png", seed) for seed in range(12)]
    done = predict(tmp_path / "photos")
    predictor = Predictor(toy_model, engine="reference")
    for line, path in zip(done.out.splitlines(), paths, strict=True):
        best = predictor.predict(path)
        assert line.split() == [f"{100 * best.probability:.1f}", "%", best.label, str(path)]
    assert done.err.splitlines()[-1] == "classified: 12 of 12"
    assert len(done.err.splitlines()) <= 10


@pytest.mark.parametrize("photos", [1, 11], ids=["table", "lines"])
def test_a_photo_that_is_none_of_the_classes_is_said_to_be_so(
    photos: int, run: Run, toy_model: Path, photo: Path, tmp_path: Path
) -> None:
    model = with_threshold(toy_model, 0.995, tmp_path / "shy.safetensors")
    done = run("predict", *[photo] * photos, "--model", model, *REFERENCE)
    assert done.out.count("probably none of the model's classes") == photos
    assert ("less probable than 99.5 %" in done.out) is (photos == 1)
    assert (
        json.loads(run("predict", photo, "--model", model, *REFERENCE, "--json").out)["photos"][0]["is_known"] is False
    )


def test_photos_of_a_real_collection_get_the_predictors_answers(
    predict: Run, toy_model: Path, shared_data: Path
) -> None:
    folder = shared_data / "hymenoptera" / "val" / "bees"
    done = predict(f"{folder}/1*.jpg", "--csv", "--batch-size", 5)
    rows = list(csv.DictReader(io.StringIO(done.out)))
    answers = Predictor(toy_model, engine="reference").predict_many(sorted(folder.glob("1*.jpg")))
    assert len(rows) >= 10
    for row, answer in zip(rows, answers, strict=True):
        assert (row["path"], row["label_1"]) == (answer.path, answer.label)
        assert float(row["probability_1"]) == pytest.approx(answer.probability, abs=1e-6)


# Where things are


@pytest.fixture
def localizer(make_localizer: Callable[..., Path], tmp_path: Path) -> Path:
    """A model that sees the left half of the crop of every photo."""
    return make_localizer(tmp_path / "localizer.safetensors", (0.25, 0.5, 0.5, 1))


def test_a_localiser_says_where_things_are(run: Run, localizer: Path, photo: Path, tmp_path: Path) -> None:
    """The crop of 40 x 50 pixels is 7 to 42 across, 2 to 38 down."""
    command = ("predict", "--model", localizer, *REFERENCE)
    best = Predictor(localizer, engine="reference").predict(photo).label
    assert f"  {best} is at 7 to 24 across, 2 to 38 down, in pixels\n" in run(*command, photo).out
    assert run(*command, *[photo] * 11).out.count("  7-24 x 2-38  ") == 11
    scores = json.loads(run(*command, photo, "--json").out)["photos"][0]["predictions"]
    assert len(scores) == 3
    for score in scores:
        assert list(score) == ["label", "probability", "box"]
        assert score["box"] == pytest.approx({"left": 6.67, "top": 2.22, "right": 24.44, "bottom": 37.78}, abs=0.02)
    rows = list(csv.DictReader(io.StringIO(run(*command, photo, tmp_path / "missing.jpg", "--csv").out)))
    assert [float(rows[0][f"{edge}_3"]) for edge in scores[2]["box"]] == list(scores[2]["box"].values())
    assert rows[0]["label_1"] == best
    assert rows[1]["left_1"] == ""
    assert "No such file" in rows[1]["error"]


def test_the_box_is_drawn_on_the_photo(run: Run, localizer: Path, tmp_path: Path) -> None:
    Image.new("RGB", (480, 480), (0, 0, 90)).save(tmp_path / "photo.png")
    run("predict", tmp_path / "photo.png", "--model", localizer, *REFERENCE, "--out", tmp_path / "out")
    with Image.open(tmp_path / "out" / "photo-predicted.jpg") as picture:
        green = np.asarray(picture)[:480, :, 1] > 120
    rows, columns = np.flatnonzero(green.any(axis=1)), np.flatnonzero(green.any(axis=0))
    crop = 480 * 32 / 36  # the central part
    assert columns[[0, -1]] == pytest.approx([240 - crop / 2, 240], abs=4)
    assert rows[[0, -1]] == pytest.approx([240 - crop / 2, 240 + crop / 2], abs=4)
    assert not green[200:280, 60:200].any()


def test_a_classifier_is_asked_for_boxes(predict: Run, photo: Path) -> None:
    assert "is at" not in predict(photo).out
    assert "is at" in predict(photo, "--boxes").out
    for score in json.loads(predict(photo, "--boxes", "--json").out)["photos"][0]["predictions"]:
        assert 0 <= score["box"]["left"] < score["box"]["right"] <= 50


# Which photos are meant


def test_a_folder_stands_for_all_photos_below_it_in_order(predict: Run, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    expected = [save(root / name) for name in ("a.PNG", "b/c.jpg", "b/d/e.webp", "z.jpeg")]
    for name in (".hidden.png", ".folder/x.png"):
        save(root / name)
    (root / "notes.txt").write_text("not a photo")
    (root / "b" / "loop").symlink_to(root)
    for _ in range(2):  # what the first run draws is no photo for the second
        document = json.loads(predict(root, "--json", "--out", root / "out").out)
    assert [entry["path"] for entry in document["photos"]] == [str(path) for path in expected]
    assert document["failures"] == []


def test_a_pattern_is_expanded_where_the_shell_did_not(predict: Run, tmp_path: Path) -> None:
    expected = [save(tmp_path / name) for name in ("a/1.png", "a/b/2.png")]
    save(tmp_path / "a/3.jpg")
    document = json.loads(predict(tmp_path / "**" / "*.png", "--json").out)
    assert [entry["path"] for entry in document["photos"]] == [str(path) for path in expected]


def test_a_pattern_gives_each_photo_once_and_nothing_else(predict: Run, tmp_path: Path) -> None:
    root = tmp_path / "photos"
    expected = [save(root / name) for name in ("a/1.png", "a/b/2.PNG", "b.jpg")]
    (root / "notes.txt").write_text("not a photo")
    (root / "a" / "loop").symlink_to(root)
    done = predict(root / "**", "--json")
    assert done.code == 0
    assert [entry["path"] for entry in json.loads(done.out)["photos"]] == [str(path) for path in expected]


def test_a_pattern_that_ends_in_a_kind_of_picture_asks_for_that_kind(predict: Run, tmp_path: Path) -> None:
    save(tmp_path / "1.bmp")
    save(tmp_path / "2.png")
    document = json.loads(predict(tmp_path / "*.bmp", tmp_path / "*.*", "--json").out)
    assert [Path(entry["path"]).name for entry in document["photos"]] == ["2.png"]
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["1.bmp"]
    assert "BMP" in document["failures"][0]["reason"]


def test_what_out_has_drawn_is_passed_over_and_said_to_be(predict: Run, tmp_path: Path) -> None:
    folder = save(tmp_path / "photos" / "photo.png").parent
    assert predict(folder, folder, "--out", folder).err == ""
    for options in (("--out", folder), ("--out", tmp_path / "elsewhere"), ()):
        done = predict(folder if options else folder / "**", "--json", *options)
        assert [Path(entry["path"]).name for entry in json.loads(done.out)["photos"]] == ["photo.png"]
        assert done.err.startswith("note: passed over 2 called *-predicted.jpg")
    named = predict(folder / "photo-predicted.jpg", "--json")
    assert (len(json.loads(named.out)["photos"]), named.err) == (1, "")
    (folder / "photo.png").unlink()
    refused = predict(folder)
    assert refused.code == 3
    assert "*-predicted.jpg" in refused.err


def test_arguments_without_a_photo_are_told_at_the_end_and_the_others_classified(
    predict: Run, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    done = predict(tmp_path / "empty", tmp_path / "*.webp", photo, "--json")
    assert done.code == 3
    document = json.loads(done.out)
    assert [entry["path"] for entry in document["photos"]] == [str(photo)]
    assert [failure["path"] for failure in document["failures"]] == [str(tmp_path / "empty"), str(tmp_path / "*.webp")]
    assert done.err.splitlines()[0] == "error: 2 of 3 photos, folders and patterns could not be read:"


def test_a_folder_that_cannot_be_read_does_not_stop_the_others(
    predict: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> Any:  # permissions would not stop the superuser
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = predict(tmp_path, "--json")
    assert done.code == 3
    assert [entry["path"] for entry in json.loads(done.out)["photos"]] == [str(photo)]
    [failure] = json.loads(done.out)["failures"]
    assert (failure["path"], failure["hint"]) == (str(tmp_path / "locked"), "Check its permissions.")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(predict: Run, tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    path = save(tmp_path / "[1].png")
    assert [entry["path"] for entry in json.loads(predict(path, "--json").out)["photos"]] == [str(path)]


def test_an_image_is_read_from_standard_input(predict: Run, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    piped = json.loads(predict("-", "--json").out)["photos"][0]
    named = json.loads(predict(photo, "--json").out)["photos"][0]
    assert piped == named | {"path": "-"}


def test_other_formats_are_taken_where_asked_for(predict: Run, tmp_path: Path) -> None:
    folder = save(tmp_path / "photos" / "photo.bmp").parent
    refused = predict(folder)
    assert refused.code == 3
    assert "--formats" in refused.err
    assert predict(folder, "--formats", "jpg,bmp").code == 0
    assert predict(folder, "--formats", "all").code == 0


# Annotated pictures


def test_annotated_pictures_of_photos_of_one_name_do_not_replace_each_other(predict: Run, tmp_path: Path) -> None:
    photos = [save(tmp_path / folder / name, seed) for seed, (folder, name) in enumerate(
        [("a", "photo.png"), ("b", "photo.png"), ("b", "Photo.jpg"), ("c", "other.png")]
    )]  # fmt: skip
    done = predict(*photos, "--out", tmp_path / "new" / "out")
    assert done.code == 0
    written = sorted((tmp_path / "new" / "out").iterdir())
    assert [path.name for path in written] == [
        "Photo-predicted-3.jpg", "other-predicted.jpg", "photo-predicted-2.jpg", "photo-predicted.jpg",
    ]  # fmt: skip
    for path in written:
        with Image.open(path) as picture:
            assert picture.width >= 360
            picture.load()
    assert len({path.read_bytes() for path in written}) == 4


@pytest.mark.parametrize("option", ["--json", "--csv"])
def test_a_photo_that_is_gone_before_it_is_drawn_is_one_failure(
    option: str, predict: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = [save(tmp_path / f"{name}.png") for name in "abc"]

    def load_others(source: str, formats: Sequence[str]) -> np.ndarray:
        if source == str(photos[1]):
            raise ImageError(f"{source} is gone.", "Get it again.")
        return load(source, formats)

    monkeypatch.setattr("verydeep.cli.predict_classes.load", load_others)
    done = predict(*photos, "--out", tmp_path / "out", option)
    assert done.code == 3
    assert "b.png is gone" in done.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a-predicted.jpg", "c-predicted.jpg"}
    if option == "--json":
        document = json.loads(done.out)
        assert ["picture" in entry for entry in document["photos"]] == [True, False, True]
        assert [failure["path"] for failure in document["failures"]] == [str(photos[1])]


def test_annotating_leaves_the_photo_beside_it_alone(predict: Run, photo: Path) -> None:
    before = photo.read_bytes()
    assert predict(photo, "--out", photo.parent).code == 0
    assert photo.read_bytes() == before
    assert (photo.parent / "photo-predicted.jpg").is_file()


def test_a_folder_that_cannot_be_written_to_is_told_before_the_work(predict: Run, photo: Path) -> None:
    done = predict(photo, "--out", photo)
    assert (done.code, done.out) == (1, "")
    assert "a file of that name is in the way" in done.err


def test_a_very_long_name_still_gets_its_picture(predict: Run, tmp_path: Path) -> None:
    done = predict(save(tmp_path / ("ü" * 120 + ".png")), "--out", tmp_path / "out")
    assert done.code == 0
    assert len(list((tmp_path / "out").iterdir())) == 1


# A run that ends early


def test_json_is_a_document_also_where_a_picture_cannot_be_written(predict: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "photo-predicted-2.jpg").mkdir(parents=True)
    done = predict(tmp_path / "missing.jpg", photo, photo, photo, "--json", "--out", tmp_path / "out")
    document = json.loads(done.out)
    assert (len(document["photos"]), len(document["failures"])) == (1, 1)
    assert done.code == 1
    assert "missing.jpg" in done.err
    assert "cannot write" in done.err


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_json_is_a_document_also_where_the_network_overflows(
    run: Run, toy_model: Path, photo: Path, tmp_path: Path
) -> None:
    info, weights = read_model(toy_model)
    huge = {name: array * np.float32(1e15) for name, array in weights.items()}
    write_model(tmp_path / "huge.safetensors", info, huge)
    done = run("predict", photo, "--json", "--model", tmp_path / "huge.safetensors", *REFERENCE)
    assert json.loads(done.out)["photos"] == []
    assert "NaN or infinity" in done.err


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_json_is_a_document_also_after_ctrl_c(toy_model: Path, photo: Path, tmp_path: Path) -> None:
    photos = [tmp_path / "missing.jpg", *[photo] * 5000]
    command = [sys.executable, "-m", "verydeep", "predict", *photos, "--json", "--batch-size", "1", *REFERENCE]
    with subprocess.Popen(
        [*command, "--model", toy_model],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509, a shell may have it ignored
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        begin = process.stdout.readline() + process.stdout.readline()
        process.send_signal(signal.SIGINT)
        document = json.loads(begin + process.stdout.read())
        told = process.stderr.read()
    assert process.returncode == 130
    assert 1 <= len(document["photos"]) < 5000
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["missing.jpg"]
    assert "missing.jpg" in told
    assert told.splitlines()[-2] == "error: interrupted."


# Photos that cannot be read


def test_bad_photos_are_told_at_the_end_and_the_others_classified(predict: Run, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    (tmp_path / "half.png").write_bytes(photo.read_bytes()[: photo.stat().st_size // 2])
    done = predict(tmp_path / "text.jpg", photo, tmp_path / "half.png", tmp_path / "missing.jpg")
    assert done.code == 3
    assert str(photo) in done.out
    title, *lines = done.err.splitlines()
    assert title == "error: 3 of 4 photos could not be read:"
    for line, name in zip(lines, ("text.jpg", "half.png", "missing.jpg"), strict=False):
        assert name in line
    hints = lines[3:]
    assert len(hints) == len(set(hints)) >= 1
    assert all(hint.startswith("hint: ") for hint in hints)


def test_the_one_photo_that_is_bad_is_told_with_a_hint(predict: Run, tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("hello")
    done = predict(tmp_path / "text.jpg")
    assert (done.code, done.out) == (3, "")
    message, hint = done.err.splitlines()
    assert message.startswith("error: ")
    assert "text.jpg is not a picture" in message
    assert hint.startswith("hint: ")


# Names from outside


@pytest.fixture
def hostile(tmp_path: Path) -> list[bytes]:
    """Photos whose names try to move the cursor, to break the line, to be a formula, to be no text at all."""
    if sys.platform != "linux":
        pytest.skip("other systems do not allow such names")
    source = save(tmp_path / "source.png")
    names = [b"\x1b[2Jred.png", b"a\nb.png", b"=1+1.png", b"\xff\xfe.png", b"-.png", "\u202egnp.png".encode()]
    for name in names:
        shutil.copy(source, os.fsencode(tmp_path) + b"/" + name)
    source.unlink()
    return names


def test_hostile_names_print_harmlessly(
    hostile: list[bytes], predict: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for options in ((), ("--csv",), ("--json",)):
        done = predict(".", *options, "--out", "out")
        assert done.code == 0
        assert all(character.isprintable() or character == "\n" for character in done.out)
    paths = {entry["path"] for entry in json.loads(done.out)["photos"]}
    assert paths == {os.fsdecode(b"./" + name) for name in hostile}


def test_hostile_names_are_no_formulas_in_a_spreadsheet(
    hostile: list[bytes], run: Run, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = run("predict", "--csv", "--model", toy_model, *REFERENCE, "--", *map(os.fsdecode, hostile))
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert len(rows) == len(hostile)
    assert {"'=1+1.png", "'-.png"} < {row["path"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


def test_every_path_in_a_table_can_be_had_back(
    run: Run, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = ["=1.png", "'=1.png", "''.png", "plain.png", "@1.png"]
    for name in names:
        save(tmp_path / name)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(names[0]).read_bytes())))
    done = run("predict", "--csv", "--model", toy_model, *REFERENCE, *names, "-")
    cells = [row["path"] for row in csv.DictReader(io.StringIO(done.out))]
    assert [cell.removeprefix("'") for cell in cells] == [*names, "-"]
    assert cells[-1] == "-"


@pytest.mark.parametrize("photos", [1, 11], ids=["table", "lines"])
def test_columns_stay_in_line_whatever_the_letters(photos: int, run: Run, toy_model: Path, tmp_path: Path) -> None:
    info, weights = read_model(toy_model)
    classes = ("猫" * 3, "dog" * 30, "cafe\u0301")
    write_model(tmp_path / "wide.safetensors", replace(info, classes=classes), weights)
    paths = [save(tmp_path / f"{seed}.png", seed) for seed in range(photos)]
    done = run("predict", *paths, "--model", tmp_path / "wide.safetensors", *REFERENCE)
    if photos == 1:
        ends = {cell_len(line[: line.index("%")]) for line in done.out.splitlines()[1:] if "%" in line}
        assert ends == {2 + 40 + 2 + len("100.0 ")}
        assert f"  {'dog' * 13}…  " in done.out
    else:
        starts = {cell_len(line[: line.index(str(tmp_path))]) for line in done.out.splitlines()}
        assert starts == {len("100.0 %  ") + 40 + 2}


def test_hostile_class_names_print_harmlessly(run: Run, toy_model: Path, photo: Path, tmp_path: Path) -> None:
    info, weights = read_model(toy_model)
    classes = ("\x1b]0;title\x07", "=2+2", "dog\r")
    write_model(tmp_path / "hostile.safetensors", replace(info, classes=classes), weights)
    for options in ((), ("--csv",), ("--json",)):
        done = run("predict", photo, "--model", tmp_path / "hostile.safetensors", *REFERENCE, *options)
        assert all(character.isprintable() or character == "\n" for character in done.out)


def test_a_terminal_of_few_letters_gets_substitutes(toy_model: Path, tmp_path: Path) -> None:
    path = save(tmp_path / "Größe 猫.png")
    command = [sys.executable, "-m", "verydeep", "predict", path, "--model", toy_model, *REFERENCE]
    environment = os.environ | {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = subprocess.run(command, capture_output=True, encoding="latin-1", env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert r"Größe \u732b.png" in done.stdout
    assert "####" in done.stdout


# Misuse


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "no photo was given"),
        (("PHOTO", "--json", "--csv"), 2, "exclude each other"),
        (("PHOTO", "--top", "0"), 2, "0 is not in the range"),
        (("PHOTO", "--top", "many"), 2, "'many' is not a valid integer"),
        (("PHOTO", "--batch-size", "0"), 2, "0 is not in the range"),
        (("PHOTO", "--threads", "-1"), 2, "-1 is not in the range"),
        (("PHOTO", "--formats", "pcx"), 2, "no picture format 'pcx'; there are JPEG"),
        (("PHOTO", "--engine", "caffe"), 2, "'caffe' is not one of 'auto', 'native', 'torch', 'reference'"),
        (("PHOTO", "--device", "tpu"), 2, "'tpu' is not one of 'auto', 'cpu'"),
        (("PHOTO", "--precision", "float8"), 2, "'float8' is not one of 'float32'"),
        (("PHOTO", "--engine", "reference", "--device", "cuda"), 2, "runs on the cpu only"),
        (("PHOTO", "--colour"), 2, "No such option"),
        (("-", "-"), 2, "more than once"),
        (("PHOTO", "--model", "no-such-model"), 3, "there is no model 'no-such-model'"),
        (("PHOTO", "--model", "PHOTO"), 3, "is not a model file"),
        (("FOLDER",), 3, "there is no photo in"),
        (("FOLDER/*.jpg",), 3, "no photo matches"),
    ],
)
def test_misuse_is_told_in_a_line_with_its_remedy(  # noqa: PLR0917, three of them from the list above
    arguments: tuple[str, ...], code: int, message: str, run: Run, toy_model: Path, photo: Path
) -> None:
    empty = photo.parent / "empty"
    empty.mkdir()
    given = [word.replace("PHOTO", str(photo)).replace("FOLDER", str(empty)) for word in arguments]
    model = () if "--model" in given else ("--model", toy_model)
    done = run("predict", *given, *model)
    assert (done.code, done.out) == (code, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert message in done.err
    assert hint.startswith("hint: ")


def test_a_keyboard_is_no_image(predict: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    done = predict("-")
    assert done.code == 2
    assert "no image on standard input" in done.err


def test_a_photo_alone_is_not_worth_loading_torch(run: Run, toy_model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (40, 40)).save(tmp_path / "photo.png")
    done = run("predict", tmp_path / "photo.png", "--model", toy_model, "--json")
    assert json.loads(done.out)["engine"] in ("native", "reference")
