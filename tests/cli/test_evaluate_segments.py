"""`verydeep evaluate` with a model of pixels: its tables, its JSON, its row of results, and what it refuses."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verydeep.data.datasets import open_validation
from verydeep.evaluate.segmentation_report import SegmentationReport, evaluate_segmentation
from verydeep.nouns import Preprocessing
from verydeep.runtime import open_model

Run = Callable[..., Any]
REFERENCE = ("--engine", "reference")


@pytest.fixture(scope="module")
def data(make_masked_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_masked_photos(tmp_path_factory.mktemp("masked") / "scenes", train=2, val=4)


@pytest.fixture(scope="module")
def make_model(make_toy: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function (classes) -> a model file of pixels."""

    def make(*classes: str) -> Path:
        path = tmp_path_factory.mktemp("models") / "pixels.safetensors"
        return make_toy(path, classes, Preprocessing(20, 16), head="segnet", input_size=16, batch_norm=True)

    return make


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Path]) -> Path:
    return make_model("thing", "ground", "nowhere")


@pytest.fixture(scope="module")
def report(model: Path, data: Path) -> SegmentationReport:
    """What the command ought to say: the same evaluation in Python."""
    opened = open_model(model, engine="reference")
    return evaluate_segmentation(opened.engine, opened.info, open_validation(data, task="segment")[0])


def test_the_tables_show_every_figure(run: Run, model: Path, data: Path, report: SegmentationReport) -> None:
    done = run("evaluate", model, data, *REFERENCE)
    assert done.code == 0
    scores = report.scores
    low, high = scores.mean_iou_interval
    assert re.search(rf"mean IoU +{100 * scores.mean_iou:.1f} % +{100 * low:.1f} to {100 * high:.1f} %", done.out)
    assert re.search(rf"global accuracy +{100 * scores.global_accuracy:.1f} %", done.out)
    assert re.search(rf"boundary F1 +{100 * scores.boundary_f1:.1f} %", done.out)
    assert "whole photo at shorter side 20" in done.out
    assert "the photos that are told to validate on" in done.out
    for name, iou, accuracy in zip(report.classes, scores.ious, scores.class_accuracies, strict=True):
        if name != "nowhere":
            assert re.search(rf"{name} +{100 * iou:.1f} % +{100 * accuracy:.1f} % ", done.out)
    assert re.search(r"nowhere +\S+( %)? +- +- +0\.0 %", done.out)
    assert "what each was taken for, in % of its pixels" in done.out


def test_json_has_every_figure_and_each_photo(run: Run, model: Path, data: Path, report: SegmentationReport) -> None:
    found = json.loads(run("evaluate", model, data, *REFERENCE, "--json").out)
    expected = report.to_dict()
    for name in ("n", "loss", "mean_iou", "global_accuracy", "class_average", "classes", "confusion", "photos"):
        assert found[name] == expected[name]
    assert found["architecture"]["head"] == "segnet"
    assert found["engine"] == "reference"


def test_a_row_of_results_is_the_mean_iou_with_its_interval(
    run: Run, model: Path, data: Path, report: SegmentationReport, tmp_path: Path
) -> None:
    run("evaluate", model, data, *REFERENCE, "--append", tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    low, high = report.scores.mean_iou_interval
    assert (row["value"], row["spread"], row["n"]) == (f"{report.score:.4f}", f"{low:.4f}..{high:.4f}", "4")
    assert row["protocol"].startswith("mean IoU on scenes: whole photo at shorter side 20, bilinear")
    assert row["architecture"] == "toy-bn-segnet"


def test_with_many_classes_the_worst_confusions_are_listed(
    run: Run, make_model: Callable[..., Path], data: Path
) -> None:
    many = make_model("ground", "thing", *(f"class {number}" for number in range(12)))
    done = run("evaluate", many, data, *REFERENCE)
    assert "most often confused" in done.out
    assert re.search(r"ground +class \d+ +\d+\.\d %", done.out)


def test_a_damaged_mask_is_told_and_in_no_figure(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "scenes")
    mask = tmp_path / "scenes" / "valannot" / "1.png"
    mask.write_bytes(mask.read_bytes()[:50])
    done = run("evaluate", model, tmp_path / "scenes", *REFERENCE, "--json")
    assert done.code == 3
    assert json.loads(done.out)["n"] == 3
    assert "valannot/1.png" in done.err


def test_a_protocol_of_classifiers_is_refused(run: Run, model: Path, data: Path) -> None:
    done = run("evaluate", model, data, "--protocol", "dense")
    assert done.code == 2
    assert done.err.startswith("error: the protocol dense is for classifiers")


def test_photos_without_masks_and_unknown_classes_are_refused_in_a_line(
    run: Run, model: Path, make_model: Callable[..., Path], data: Path, class_folders: Path
) -> None:
    done = run("evaluate", model, class_folders)
    assert done.code == 3
    assert re.search(r"^error: .*\bmask\b", done.err, re.MULTILINE)
    done = run("evaluate", make_model("ground", "sky"), data)
    assert done.code == 3
    assert "classes that the model does not know: thing" in done.err
