"""`verydeep predict` with a model of pixels: shares as text, CSV and JSON, drawings, masks."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.image.decode import decode_numbers
from verydeep.predict import Segmenter
from verydeep.weights import ModelInfo, read_model, write_model

Run = Callable[..., Any]


@pytest.fixture
def predict(run: Run, segnet_model: Path) -> Run:
    return lambda *arguments: run("predict", *arguments, "--model", segnet_model)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of several sizes."""
    (tmp_path / "photos").mkdir()
    for number, size in enumerate([(41, 67), (60, 40), (50, 50)]):
        pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
        Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC).save(tmp_path / f"photos/{number}.png")
    return tmp_path / "photos"


def test_a_table_shows_the_share_of_each_class(predict: Run, segnet_model: Path, photos: Path) -> None:
    done = predict(photos)
    assert (done.code, done.err) == (0, "")
    tables = done.out.strip().split("\n\n")
    for table, path in zip(tables, sorted(photos.iterdir()), strict=True):
        title, *rows = table.splitlines()
        assert title == str(path)
        shares = Segmenter(segnet_model).segment(path).shares
        assert [row.split()[:2] for row in rows] == [[one.label, f"{100 * one.share:.1f}"] for one in shares]
    short = predict(photos / "0.png", "--top", 1).out.splitlines()
    assert short[2].startswith("  and ")
    assert short[2].endswith(" together")


def test_many_photos_get_a_line_each(predict: Run, photos: Path) -> None:
    for number in range(3, 12):
        (photos / f"{number}.png").write_bytes((photos / "0.png").read_bytes())
    done = predict(photos)
    assert len(done.out.splitlines()) == 12
    assert done.out.splitlines()[4].endswith(str(photos / "2.png"))  # 0, 1, 10 and 11 are before it
    assert "segmented: 12 of 12" in done.err


def test_csv_has_a_column_for_each_class_and_failures_last(predict: Run, photos: Path) -> None:
    (photos / "broken.png").write_bytes(b"no photo")
    done = predict(photos, "--csv")
    assert done.code == 3
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert list(rows[0]) == ["path", "width", "height", "share of sky", "share of road", "share of car", "error"]
    assert (rows[0]["width"], rows[0]["height"]) == ("67", "41")
    for row in rows[:3]:
        assert sum(float(row[f"share of {name}"]) for name in ("sky", "road", "car")) == pytest.approx(1, abs=1e-5)
    assert rows[3]["path"].endswith("broken.png")
    assert rows[3]["error"]


def test_out_writes_a_drawing_and_a_mask_of_class_numbers(
    predict: Run, segnet_model: Path, photos: Path, tmp_path: Path
) -> None:
    document = json.loads(predict(photos, "--json", "--out", tmp_path / "out").out)
    assert document["classes"] == ["sky", "road", "car"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{number}-predicted{end}" for number in range(3) for end in (".jpg", "-mask.png")
    )
    for one in document["photos"]:
        prediction = Segmenter(segnet_model).segment(one["path"])
        assert one["shares"] == [share.to_dict() for share in prediction.shares]
        assert (one["height"], one["width"]) == prediction.classes.shape
        mask = decode_numbers(Path(one["mask"]).read_bytes(), "mask")
        assert np.array_equal(mask, prediction.classes)
        with Image.open(one["mask"]) as picture, Image.open(one["picture"]) as drawing:
            assert picture.mode == "P"
            assert max(drawing.size) >= 480


def test_drawings_and_masks_are_passed_over(predict: Run, photos: Path) -> None:
    assert predict(photos, "--out", photos).code == 0
    done = predict(photos, "--out", photos)
    assert "note: passed over 6 called *-predicted.jpg, *-predicted-mask.png, " in done.err
    assert len(list(photos.iterdir())) == 9


def test_boxes_are_refused(predict: Run, photos: Path) -> None:
    done = predict(photos, "--boxes")
    assert (done.code, done.err.splitlines()[0].partition(";")[0]) == (2, "error: --boxes is for classifiers")


def test_masks_are_data_to_train_on(predict: Run, run: Run, photos: Path, tmp_path: Path) -> None:
    """What a model says, corrected by hand, is the next data set."""
    predict(photos, "--out", tmp_path / "out")
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "masks").mkdir()
    for path in photos.iterdir():
        path.rename(tmp_path / "data" / "images" / path.name)
        (tmp_path / "out" / f"{path.stem}-predicted-mask.png").rename(tmp_path / "data" / "masks" / path.name)
    (tmp_path / "data" / "classes.txt").write_text("sky\nroad\ncar\n")
    done = run("data", "check", tmp_path / "data")
    assert "3 masks" in done.out + done.err


def test_a_hostile_class_moves_no_cursor_and_is_no_formula(
    run: Run, segnet_model: Path, photos: Path, tmp_path: Path
) -> None:
    info, weights = read_model(segnet_model)
    names = ("=cmd()", "\x1b[2J", "x" * 60)
    write_model(tmp_path / "evil.safetensors", ModelInfo(info.architecture, names, info.preprocessing), weights)
    for style in ((), ("--csv",), ("--json", "--out", tmp_path / "out")):
        done = run("predict", photos / "0.png", "--model", tmp_path / "evil.safetensors", *style)
        assert done.code == 0
        assert "\x1b" not in done.out
    row = run("predict", photos / "0.png", "--model", tmp_path / "evil.safetensors", "--csv").out.splitlines()[0]
    assert "share of =cmd()" in row
    assert ",=cmd()" not in row
