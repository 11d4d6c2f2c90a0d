"""Trainings on photos with annotations: to the same weights as on class folders, whatever says what the photos show."""

import base64
import csv
import io
import json
import random
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from verydeep.data.datasets import open_splits
from verydeep.evaluate import Report
from verydeep.files import make_folder
from verydeep.train.display import Display
from verydeep.train.loop import train
from verydeep.train.recipe import Recipe
from verydeep.train.run import create_run, open_run
from verydeep.weights import read_model

pytestmark = pytest.mark.usefixtures("all_formats")


def rows(base: Path) -> list[tuple[Path, str, str]]:
    """Each photo of {train,val}/<class>/<photo>, its class and its side, in any order."""
    found = [(path, path.parent.name, path.parts[-3]) for path in base.glob("*/*/*.png")]
    random.Random(2).shuffle(found)
    return found


def as_table(base: Path, data: Path) -> None:
    """Photos in one tree, and a CSV file beside it."""
    shutil.copytree(base, data / "images")
    with (data / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "label", "split"])
        writer.writerows((f"images/{path.relative_to(base)}", label, side) for path, label, side in rows(base))


def as_flags(base: Path, data: Path) -> None:
    """Labelme's files beside the photos."""
    shutil.copytree(base, data)
    for path, label, _ in rows(data):
        document = {"version": "5.0.1", "flags": flags(label), "shapes": [], "imagePath": path.name, "imageData": None}
        path.with_suffix(".json").write_text(json.dumps(document))


def as_embedded(base: Path, data: Path) -> None:
    """Labelme's files with the photos in them."""
    for path, label, _ in rows(base):
        content = base64.b64encode(path.read_bytes()).decode()
        document = {"version": "5.0.1", "flags": flags(label), "shapes": [], "imagePath": "", "imageData": content}
        target = data / path.relative_to(base).with_suffix(".json")
        make_folder(target.parent)
        target.write_text(json.dumps(document))


def as_voc(base: Path, data: Path) -> None:
    """An XML file beside each photo, with two objects of its class."""
    shutil.copytree(base, data)
    for path, label, _ in rows(data):
        edges = "<xmin>1</xmin><ymin>2</ymin><xmax>9</xmax><ymax>8</ymax>"
        thing = f"<object><name>{label}</name><bndbox>{edges}</bndbox></object>"
        content = f"<annotation><filename>{path.name}</filename>{2 * thing}</annotation>"
        path.with_suffix(".xml").write_text(content)


def as_shards(base: Path, data: Path) -> None:
    """A tar file a side."""
    for side in ("train", "val"):
        (data / side).mkdir(parents=True)
        with tarfile.open(data / side / "0000.tar", "w") as tar:
            for path, label, own in rows(base):
                if own == side:
                    tar.add(path, f"{label}/{path.name}")
                    add_text(tar, f"{label}/{path.stem}.json", json.dumps({"label": label}))


def add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(text)
    tar.addfile(info, io.BytesIO(text.encode()))


def flags(label: str) -> Mapping[str, bool]:
    return {name: name == label for name in ("__ignore__", "blue", "red")}


def go(recipe: Recipe, data: Path, folder: Path) -> Report:
    splits = open_splits(data, recipe.seed)
    run = create_run(folder, recipe, data, ("test",), {}, format=splits.training.format)
    return train(run, splits, Display(), "cpu")


@pytest.fixture(scope="module")
def base(make_photos: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for side, each in (("train", 12), ("val", 3)):
        make_photos(folder / side, each=each)
    return folder


@pytest.fixture(scope="module")
def expected(base: Path, small_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, np.ndarray]:
    """The weights that class folders give."""
    folder = tmp_path_factory.mktemp("runs") / "folders"
    go(small_recipe, base, folder)
    return read_model(folder)[1]


@pytest.mark.parametrize(
    ("make", "format"),
    [
        (as_table, "table"),
        (as_flags, "labelme"),
        (as_embedded, "labelme"),
        (as_voc, "voc"),
        (as_shards, "webdataset"),
    ],
    ids=["table", "flags", "embedded", "voc", "shards"],
)
def test_the_same_photos_train_to_the_same_weights_in_every_format(
    *,
    make: Callable[[Path, Path], None],
    format: str,
    base: Path,
    expected: Mapping[str, np.ndarray],
    small_recipe: Recipe,
    tmp_path: Path,
) -> None:
    """To the bit, however the annotations are ordered.

    Guaranteed where the classes have the same names, and the photos sort alike within each class; where a fifth is
    drawn, the files must have the same names, too, on which the draw depends: `test_annotated` shows it.
    """
    make(base, tmp_path / "data")
    report = go(small_recipe, tmp_path / "data", tmp_path / "run")
    assert open_run(tmp_path / "run").format == format
    assert report.n == 6
    weights = read_model(tmp_path / "run")[1]
    assert weights.keys() == expected.keys()
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)
    page = (tmp_path / "run" / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 6  # every photo is shown, from wherever it is


def test_a_damaged_photo_within_a_file_is_left_out_and_told_once(
    base: Path, small_recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    as_embedded(base, tmp_path / "data")
    for side in ("train", "val"):
        path = tmp_path / "data" / side / "red" / "1.json"
        document = json.loads(path.read_text())
        path.write_text(json.dumps(document | {"imageData": document["imageData"][:64]}))
    report = go(small_recipe, tmp_path / "data", tmp_path / "run")
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert sorted(line.split("data/")[1].split(" ")[0] for line in told) == [
        "train/red/1.json:imageData",
        "val/red/1.json:imageData",
    ]
    assert report.n == 5
    assert [failure.path for failure in report.failures] == [f"{tmp_path}/data/val/red/1.json:imageData"]
