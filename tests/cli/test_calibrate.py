"""`verydeep calibrate`: a model that lacks ranges gets them from photos, and keeps its weights."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verydeep.runtime.ranges import sources
from verydeep.weights import read_info, read_model, write_model

Run = Callable[..., Any]


@pytest.fixture
def model(toy_model: Path, tmp_path: Path) -> Path:
    """In float16, without ranges."""
    info, weights = read_model(toy_model)
    path = tmp_path / "without.safetensors"
    write_model(path, replace(info, ranges={}), weights, "float16")
    return path


def test_a_model_gets_the_ranges_of_its_layers_and_keeps_its_weights(
    run: Run, model: Path, make_photos: Callable[..., None], tmp_path: Path
) -> None:
    make_photos(tmp_path / "photos", each=3)
    (tmp_path / "photos" / "broken.png").write_bytes(b"nothing")
    before, weights, size = read_info(model), read_model(model)[1], model.stat().st_size
    done = run("calibrate", model, tmp_path / "photos", "--out", tmp_path / "with.safetensors")
    assert (done.code, read_info(model)) == (3, before)
    assert "broken.png" in done.err
    assert run("calibrate", model, tmp_path / "photos" / "red").code == 0
    for path in (model, tmp_path / "with.safetensors"):
        info, now = read_model(path)
        assert set(info.ranges) == set(sources(info.architecture))
        assert all(max(values) > 0 for values in info.ranges.values())
        assert replace(info, ranges={}) == before
        assert all(np.array_equal(now[name], weights[name]) for name in weights)
    assert abs(model.stat().st_size - size) < 40_000, "the weights are in float16 still"


def test_photos_of_all_folders_are_looked_at(
    run: Run, model: Path, make_photos: Callable[..., None], tmp_path: Path
) -> None:
    """Red ones come last; there are more of all than are looked at, and not twice as many."""
    make_photos(tmp_path / "photos", each=50)
    for path in (tmp_path / "photos" / "red").iterdir():
        path.write_bytes(b"nothing")
    done = run("calibrate", model, tmp_path / "photos")
    assert done.code == 3
    assert "from 32 photos" in done.out


def test_then_whole_numbers_predict(run: Run, model: Path, make_photos: Callable[..., None], tmp_path: Path) -> None:
    pytest.importorskip("verydeep.runtime._native")
    make_photos(tmp_path / "photos", each=2)
    predict = ("predict", tmp_path / "photos", "--model", model, "--precision", "fast")
    refused = run(*predict)
    assert refused.code != 0
    assert "verydeep calibrate" in refused.err
    assert run("calibrate", model, tmp_path / "photos").code == 0
    assert run(*predict).code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imagenette"], "no photo was given"),
        (["imagenette", "photos"], "imagenette is a built-in model, which stays as it is"),
        (["MODEL", "-"], "photos come from files here"),
        (["nobody", "photos"], "nobody"),
    ],
)
def test_misuse_is_told(run: Run, model: Path, arguments: list[str], said: str) -> None:
    done = run("calibrate", *(model if word == "MODEL" else word for word in arguments))
    assert done.code in (2, 3)
    assert said in done.err


def test_where_no_photo_can_be_read_the_model_stays(run: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"nothing")
    copy = tmp_path / "copy.safetensors"
    shutil.copy(model, copy)
    assert run("calibrate", copy, tmp_path / "broken.png").code == 3
    assert copy.read_bytes() == model.read_bytes()
