"""`verydeep evaluate` with a model of boxes: its tables, its JSON, its rows of results, and what it refuses."""

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from verydeep.data.datasets import open_validation
from verydeep.evaluate.localization import evaluate_localization
from verydeep.evaluate.localization_report import LocalizationReport
from verydeep.evaluate.results import model_label
from verydeep.image import crop_box
from verydeep.nouns import Preprocessing
from verydeep.runtime import open_model
from verydeep.weights import read_model, write_model

Run = Callable[..., Any]
REFERENCE = ("--engine", "reference")


@pytest.fixture(scope="module")
def data(make_boxed_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_boxed_photos(tmp_path_factory.mktemp("boxed") / "things", train=2, val=6)


@pytest.fixture(scope="module")
def make_model(make_localizer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function (*classes, **fields) -> a model file of boxes."""

    def make(*classes: str, **fields: Any) -> Path:
        path = make_localizer(tmp_path_factory.mktemp("models") / "boxes.safetensors", classes=len(classes), **fields)
        info, weights = read_model(path)
        write_model(path, type(info)(info.architecture, classes, info.preprocessing), weights)
        return path

    return make


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Path]) -> Path:
    return make_model("red", "nowhere", "blue")


@pytest.fixture(scope="module")
def report(model: Path, data: Path) -> LocalizationReport:
    """What the command ought to say: the same evaluation in Python."""
    return evaluate_localization([open_model(model, engine="reference")], photos_of(data))


def photos_of(data: Path) -> Any:
    return open_validation(data, task="localize")[0]


def test_the_tables_show_every_figure(run: Run, model: Path, data: Path, report: LocalizationReport) -> None:
    done = run("evaluate", model, data, *REFERENCE)
    assert done.code == 0
    for name, share in (
        ("class and box, first answer", report.top1),
        ("class and box, one of 3 answers", report.top5),
        ("the box, its class told", report.given_class),
        ("the class, first answer", report.class_top1),
    ):
        low, high = share.interval
        assert re.search(rf"{name} +{100 * share.value:.1f} % +{100 * low:.1f} to {100 * high:.1f} %", done.out)
    low, high = report.mean_iou.interval
    assert re.search(rf"mean IoU, the class told +{report.mean_iou.value:.3f} +{low:.3f} to {high:.3f}", done.out)
    assert "the photos that are told to validate on" in done.out
    assert "centre crop 32 of shorter side 36" in done.out
    assert re.search(r"nowhere +- +- +- +- +0", done.out)
    assert re.search(rf"red .* {report.class_rows[0].mean_iou:.3f} +3", done.out)


def test_json_has_every_figure_and_each_photo(run: Run, model: Path, data: Path, report: LocalizationReport) -> None:
    found = json.loads(run("evaluate", model, data, *REFERENCE, "--json").out)
    expected = report.to_dict()
    for name in ("n", "localization_error", "localization_error_class_given", "mean_iou", "classes", "photos"):
        assert found[name] == expected[name]
    assert len(found["photos"][0]["predictions"]) == 3
    assert found["architecture"]["boxes"] == "single"
    assert (found["protocol"]["name"], found["engine"]) == ("center", "reference")


@pytest.mark.parametrize("head", ["fc", "gap"])
def test_dense_looks_at_whole_photos(
    head: str, run: Run, make_model: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    model = make_model("red", "blue", head=head, boxes="class", box=None, width=0.0625)
    done = run("evaluate", model, data, "--protocol", "dense", *REFERENCE, "--json")
    assert done.code == 0
    opened = open_model(model, engine="reference", is_dense=True)
    expected = evaluate_localization([opened], photos_of(data), "dense").to_dict()
    found = json.loads(done.out)
    assert found["photos"] == expected["photos"]
    assert found["protocol"]["description"].startswith("whole photo at shorter side 36")


def test_scales_are_those_of_dense(run: Run, make_model: Callable[..., Path], data: Path) -> None:
    model = make_model("red", "blue", head="fc", box=None, width=0.0625)
    done = run("evaluate", model, data, "--protocol", "dense", "--scales", "36, 44", *REFERENCE, "--json")
    opened = open_model(model, engine="reference", is_dense=True)
    expected = evaluate_localization([opened], photos_of(data), "dense", scales=(36, 44)).to_dict()
    found = json.loads(done.out)
    assert found["photos"] == expected["photos"]
    assert found["protocol"]["description"].startswith("whole photo at shorter side 36, 44, bilinear")


@pytest.mark.parametrize("protocol", ["center", "dense"])
def test_a_classifier_names_the_classes_and_is_told_everywhere(
    *,
    protocol: str,
    run: Run,
    make_model: Callable[..., Path],
    make_toy: Callable[..., Path],
    data: Path,
    tmp_path: Path,
) -> None:
    model = make_model("red", "blue", head="fc", box=None, width=0.0625)
    names = make_toy(tmp_path / "names.safetensors", ("red", "blue"), Preprocessing(40, 32), batch_norm=True)
    arguments = (model, data, "--classifier", names, "--protocol", protocol, *REFERENCE)
    found = json.loads(run("evaluate", *arguments, "--json", "--append", tmp_path / "results.csv").out)
    both = [open_model(path, engine="reference", is_dense=protocol == "dense") for path in (model, names)]
    expected = evaluate_localization(both[:1], photos_of(data), protocol, classifier=both[1]).to_dict()
    alone = evaluate_localization(both[:1], photos_of(data), protocol).to_dict()
    assert found["photos"] == expected["photos"] != alone["photos"]
    seen = "whole photo at shorter side 40" if protocol == "dense" else "centre crop 32 of shorter side 40"
    assert f"; classes named by toy-bn-gap, {seen}, bilinear" in found["protocol"]["description"]
    assert (found["model"], found["classifier"]["model"], found["fused_with"]) == (str(model), str(names), [])
    with (tmp_path / "results.csv").open(newline="") as file:
        assert {row["model"] for row in csv.DictReader(file)} == {f"{model_label(model)} + {model_label(names)}"}
    assert str(names) in run("evaluate", *arguments).out.replace("\n", "").replace("  ", "")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--scales", "36,x"), "--scales is '36,x'; expected numbers from 1 to 4096, like 160,192,224."),
        (("--scales", ""), "--scales is ''; expected numbers"),
        (("--scales", "0"), "--scales is '0'; expected numbers"),
        (("--scales", "4097"), "--scales is '4097'; expected numbers"),
        (("--scales", "40"), "the protocol center has no scales."),
        (("--scales", "40,31", "--protocol", "dense"), "a scale of 31 pixels; expected at least 32, the crop of the"),
        (("--classifier", "nothing"), "there is no model 'nothing'."),
        (("--classifier", "{toy}"), "knows 'nowhere' where"),
        (("--classifier", "{embedding}"), "names no class of a photo."),
    ],
)
def test_scales_and_classifiers_that_do_not_fit_are_refused_in_a_line(
    *,
    arguments: tuple[str, ...],
    told: str,
    run: Run,
    make_model: Callable[..., Path],
    make_toy: Callable[..., Path],
    data: Path,
    tmp_path: Path,
) -> None:
    models = {
        "toy": make_toy(tmp_path / "toy.safetensors", ("red", "green", "blue")),
        "embedding": make_toy(tmp_path / "embedding.safetensors", ("here", "there"), head="embedding"),
    }
    model = make_model("red", "nowhere", "blue", head="fc", width=0.0625)
    done = run("evaluate", model, data, *(part.format(**models) for part in arguments), *REFERENCE)
    assert done.code == (3 if "nothing" in arguments else 2)
    assert re.search(f"^error: .*{re.escape(told)}", done.err, re.MULTILINE)


@pytest.mark.parametrize("option", ["--scales", "--classifier"])
def test_a_classifier_alone_has_no_options_of_boxes(
    option: str, run: Run, toy_model: Path, class_folders: Path
) -> None:
    done = run("evaluate", toy_model, class_folders, option, {"--scales": "40", "--classifier": toy_model}[option])
    assert done.code == 2
    assert f"{option} is for models with boxes; {toy_model} is one to classify with." in done.err.splitlines()[0]


def test_rows_of_results_are_class_and_box_and_the_box_alone(
    run: Run, model: Path, data: Path, report: LocalizationReport, tmp_path: Path
) -> None:
    run("evaluate", model, data, *REFERENCE, "--append", tmp_path / "results.csv")
    with (tmp_path / "results.csv").open(newline="") as file:
        both, box = csv.DictReader(file)
    low, high = report.top1.interval
    assert (both["value"], both["spread"], both["n"]) == (f"{report.score:.4f}", f"{low:.4f}..{high:.4f}", "6")
    assert both["protocol"].startswith("class and box on things: centre crop 32 of shorter side 36")
    assert box["value"] == f"{report.given_class.value:.4f}"
    assert box["protocol"].startswith("the box, its class told, on things: centre crop")
    assert both["architecture"] == "toy-bn-gap-0.5x-box"


def test_fused_models_average_classes_and_boxes(
    run: Run, make_model: Callable[..., Path], data: Path, tmp_path: Path, say: Callable[..., Path]
) -> None:
    """Boxes of the whole crop, and of its middle: their mean, for they match well enough to be merged."""
    one = say(make_model("red", "blue", box=(0.5, 0.5, 1, 1)), "one", 0.9, 0.1)
    other = say(make_model("red", "blue", box=(0.5, 0.5, 0.8, 0.6)), "other", 0.3, 0.7)
    arguments = (one, data, "--with", other, *REFERENCE, "--json", "--append", tmp_path / "results.csv")
    found = json.loads(run("evaluate", *arguments).out)
    photos = photos_of(data)
    for path, photo in zip(photos.paths, found["photos"], strict=True):
        first, second = photo["predictions"]
        assert (first["label"], second["label"]) == ("red", "blue")
        assert (first["probability"], second["probability"]) == pytest.approx((0.6, 0.4), abs=1e-6)
        with Image.open(path) as image:
            left, top, right, bottom = crop_box(image.size[::-1], Preprocessing(resize=36, crop=32))
        width, height = right - left, bottom - top
        expected = [left + 0.05 * width, top + 0.1 * height, right - 0.05 * width, bottom - 0.1 * height]
        assert list(first["box"].values()) == pytest.approx(expected, abs=0.0051)  # told to hundredths
    assert [entry["model"] for entry in (found, *found["fused_with"])] == [str(one), str(other)]
    assert "the box of each class, 2 models fused, float32" in found["protocol"]["description"]
    with (tmp_path / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [f"{model_label(one)} + {model_label(other)}"] * 2


def test_localisers_of_other_classes_are_refused_in_a_line(
    run: Run, model: Path, make_model: Callable[..., Path], data: Path
) -> None:
    for classes, told in ((("red", "green", "blue"), "knows 'nowhere' where"), (("red", "blue"), "knows 3 classes")):
        done = run("evaluate", model, data, "--with", make_model(*classes))
        assert done.code == 2
        assert told in done.err.splitlines()[0]


def test_photos_without_a_box_are_counted_and_in_no_figure(run: Run, model: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "images", tmp_path / "images")
    lines = (data / "boxes.csv").read_text().splitlines()
    lines[-1] = ",".join([*lines[-1].split(",")[:3], "", "", "", ""])
    (tmp_path / "boxes.csv").write_text("\n".join(lines))
    done = run("evaluate", model, tmp_path, *REFERENCE)
    assert "n = 5 photos, and 1 without a box" in done.out


def test_photos_without_boxes_and_unknown_protocols_are_refused_in_a_line(
    run: Run, model: Path, data: Path, class_folders: Path
) -> None:
    done = run("evaluate", model, class_folders)
    assert done.code == 3
    assert re.search(r"^error: .*\bbox\b", done.err, re.MULTILINE)
    done = run("evaluate", model, data, "--protocol", "ten-crop")
    assert done.code == 2
    assert done.err.startswith("error: no protocol 'ten-crop'")
