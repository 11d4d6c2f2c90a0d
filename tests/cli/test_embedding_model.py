"""The commands with an embedding model: what they measure, print and refuse."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verydeep.predict import Embedder

Run = Callable[..., Any]
REFERENCE = ("--engine", "reference")


@pytest.fixture
def model(make_toy: Callable[..., Path], tmp_path: Path) -> Path:
    return make_toy(tmp_path / "embedding.safetensors", ("here", "there"), head="embedding", dimensions=6)


def test_evaluate_says_how_well_photos_find_their_class(run: Run, model: Path, class_folders: Path) -> None:
    done = run("evaluate", model, class_folders, *REFERENCE)
    assert done.code == 0
    for name in ("recall@1", "recall@2", "recall@4", "recall@8", "MAP@R"):
        assert f"  {name} " in done.out
    assert "each photo asks all others, by cosine" in done.out
    assert "most often nearest to another class, n = 24" in done.out
    found = json.loads(run("evaluate", model, class_folders, "--json", *REFERENCE).out)
    assert found["architecture"]["head"] == "embedding"
    assert found["n"] == 24
    assert found["recall@1"]["interval_95"][0] < found["recall@1"]["value"] < 1


def test_append_adds_recall_at_1(run: Run, model: Path, class_folders: Path, tmp_path: Path) -> None:
    run("evaluate", model, class_folders, "--append", tmp_path / "results.csv", *REFERENCE)
    (row,) = csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
    assert row["protocol"].startswith("recall@1 on photos: centre crop 32")
    assert 0 < float(row["value"]) < 1


def test_predict_prints_vectors_to_programs(run: Run, model: Path, class_folders: Path) -> None:
    photos = [class_folders / "cat" / "0.png", class_folders / "dog" / "1.png"]
    expected = np.stack(list(Embedder(model, engine="reference").embed_many(photos)))
    done = run("predict", *photos, class_folders / "gone.png", "--model", model, "--json", *REFERENCE)
    assert done.code == 3
    document = json.loads(done.out)
    assert document["dimensions"] == 6
    np.testing.assert_allclose([photo["embedding"] for photo in document["photos"]], expected, atol=1e-6)
    assert [Path(failure["path"]).name for failure in document["failures"]] == ["gone.png"]
    done = run("predict", *photos, class_folders / "gone.png", "--model", model, "--csv", *REFERENCE)
    header, *rows, failed = csv.reader(done.out.splitlines())
    assert header == ["path", "e1", "e2", "e3", "e4", "e5", "e6", "error"]
    np.testing.assert_allclose([[float(cell) for cell in row[1:7]] for row in rows], expected, atol=1e-6)
    assert [row[7] for row in rows] == ["", ""]
    assert failed[1:7] == [""] * 6
    assert "gone.png cannot be read" in failed[7]
    assert "embedded: 24 of 24" in run("predict", class_folders, "--model", model, "--csv", *REFERENCE).err


def test_predict_refuses_boxes(run: Run, model: Path, class_folders: Path) -> None:
    done = run("predict", class_folders, "--model", model, "--csv", "--boxes", *REFERENCE)
    assert (done.code, done.out) == (2, "")
    assert "--boxes is for classifiers; this model makes a vector of each photo." in done.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("predict", "{photo}", "--model", "{model}"), "by which photos are compared, and tells no classes."),
        (("predict", "{photo}", "--model", "{model}", "--json", "--out", "x"), "and draws nothing."),
        (("evaluate", "{model}", "{folder}", "--protocol", "dense"), "is evaluated by center."),
        (("explain", "{photo}", "--model", "{model}"), "an embedding names no class"),
    ],
)
def test_what_an_embedding_cannot_is_one_line_with_what_to_do(
    arguments: tuple[str, ...], told: str, run: Run, model: Path, class_folders: Path
) -> None:
    names = {"photo": class_folders / "cat" / "0.png", "model": model, "folder": class_folders}
    done = run(*(argument.format(**names) for argument in arguments))
    assert done.code == 2
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert told in error
    assert hint.startswith("hint: ")
    assert not done.out


def test_search_finds_by_it(run: Run, model: Path, class_folders: Path) -> None:
    photo = class_folders / "cat" / "0.png"
    done = run("search", photo, "--in", class_folders, "--model", model, "--json", "-k", "3", *REFERENCE)
    document = json.loads(done.out)
    assert (document["layer"], len(document["photos"][0]["alike"])) == ("logits", 3)
