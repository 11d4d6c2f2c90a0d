"""`verydeep predict`: what it prints, draws and says of photos, and of everything that is not one."""

import csv
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
    scores = Predictor(toy_model, engine="reference").predict(photo, 2).scores
    predictions = [{"label": score.label, "probability": score.probability} for score in scores]
    assert document["model"] == str(toy_model)
    assert document["photos"] == [{"path": str(photo), "is_known": True, "predictions": predictions}] * 2
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["bad.jpg", "missing.jpg"]
    assert "is empty" in document["failures"][0]["reason"]


def test_json_of_nothing_but_bad_photos_is_still_a_document(predict: Run, tmp_path: Path) -> None:
    document = json.loads(predict(tmp_path / "missing.jpg", "--json").out)
    assert (document["photos"], len(document["failures"])) == ([], 1)


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
    assert "'=1+1.png" in {row["path"] for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]


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
        (("PHOTO", "--engine", "caffe"), 2, "'caffe' is not one of 'auto', 'torch', 'reference'"),
        (("PHOTO", "--device", "tpu"), 2, "'tpu' is not one of 'auto', 'cpu'"),
        (("PHOTO", "--precision", "float8"), 2, "'float8' is not one of 'float32'"),
        (("PHOTO", "--engine", "reference", "--device", "cuda"), 2, "runs on the cpu only"),
        (("PHOTO", "--engine", "reference", "--threads", "2"), 2, "OPENBLAS_NUM_THREADS=2"),
        (("PHOTO", "--colour"), 2, "No such option"),
        (("-", "-"), 2, "more than once"),
        (("PHOTO", "--model", "no-such-model"), 3, "there is no model 'no-such-model'"),
        (("PHOTO", "--model", "PHOTO"), 3, "is not a model file"),
        (("FOLDER",), 3, "there is no photo in"),
        (("FOLDER/*.jpg",), 3, "no file matches"),
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
