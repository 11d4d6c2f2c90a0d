"""Hugging Face's metadata beside photos: labels, objects, splits, and names for the numbers of classes."""

import json
from pathlib import Path

import numpy as np
import pytest
from mutations import mutated
from PIL import Image

from verydeep.data.annotations import Box, Instance
from verydeep.data.formats import detect, imagefolder, read_annotations
from verydeep.data.untrusted import Root
from verydeep.errors import VerydeepError


def make_photos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30)).save(folder / name)


def write_lines(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)))


def labels(annotated):
    return {Path(photo.photo.name).name: photo.labels for photo in annotated.photos}


def test_a_metadata_csv_names_photos_and_labels(tmp_path):
    make_photos(tmp_path, "1.png", "deep/2.png", "3.png")
    (tmp_path / "metadata.csv").write_text("file_name,label\n1.png,cat\ndeep/2.png,dog\n")
    annotated = read_annotations(tmp_path)
    assert (annotated.format, annotated.found) == ("imagefolder", "the photos that metadata.csv name")
    assert labels(annotated) == {"1.png": ("cat",), "2.png": ("dog",)}
    assert annotated.photos[1].origin == f"{tmp_path / 'metadata.csv'}:3"
    assert labels(read_annotations(tmp_path / "metadata.csv")) == labels(annotated)


def test_the_folders_of_splits_have_metadata_of_their_own(tmp_path):
    for split, name in (("train", "1.png"), ("validation", "2.png"), ("test", "3.png")):
        make_photos(tmp_path / split, name)
        write_lines(tmp_path / split / "metadata.jsonl", {"file_name": name, "label": "cat"})
    annotated = read_annotations(tmp_path)
    assert [(Path(photo.photo.name).name, photo.split) for photo in annotated.photos] == [
        ("1.png", "train"),
        ("2.png", "val"),
    ]
    assert annotated.passed_over == {"photo to test on": 1}
    found = {str(Path(split) / "metadata.jsonl") for split in ("train", "validation", "test")}
    assert all(name in annotated.found for name in found)


def test_one_file_of_metadata_may_name_photos_of_all_splits(tmp_path):
    make_photos(tmp_path, "train/1.png", "validation/2.png")
    write_lines(
        tmp_path / "metadata.jsonl",
        {"file_name": "train/1.png", "label": "cat"},
        {"file_name": "validation/2.png", "label": "dog"},
    )
    assert [photo.split for photo in read_annotations(tmp_path).photos] == ["train", "val"]


OBJECTS = [
    {"bbox": [[1, 2, 10, 20], [0.5, 0, 5, 5]], "category": [0, "dog"]},
    {"bbox": [[1, 2, 10, 20], [0.5, 0, 5, 5]], "categories": [0, "dog"], "area": [200, 25]},
    [{"bbox": [1, 2, 10, 20], "category": 0}, {"bbox": [0.5, 0, 5, 5], "label": "dog"}],
]


@pytest.mark.parametrize("objects", OBJECTS)
@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_objects_have_a_corner_and_a_size(tmp_path, objects, suffix):
    make_photos(tmp_path, "1.png", "2.png")
    if suffix == "csv":
        quoted = json.dumps(objects).replace('"', '""')
        (tmp_path / "metadata.csv").write_text(f'file_name,objects\n1.png,"{quoted}"\n2.png,\n')
    else:
        empty = {"bbox": [], "category": []}
        write_lines(
            tmp_path / "metadata.jsonl",
            {"file_name": "1.png", "objects": objects, "width": 40, "height": 30},
            {"file_name": "2.png", "objects": empty},
        )
    annotated = read_annotations(tmp_path)
    assert annotated.problems == ()
    assert [photo.instances for photo in annotated.photos] == [
        (Instance("0", Box(1, 2, 11, 22)), Instance("dog", Box(0.5, 0, 5.5, 5))),
        (),
    ]


def test_parquet_holds_the_same(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    make_photos(tmp_path, "1.png", "2.png")
    objects = [{"bbox": [[1.0, 2.0, 10.0, 20.0]], "category": [0]}, {"bbox": [], "category": []}]
    parquet.write_table(
        pyarrow.table({"file_name": ["1.png", "2.png"], "label": ["cat", None], "objects": objects}),
        tmp_path / "metadata.parquet",
    )
    annotated = read_annotations(tmp_path)
    assert annotated.format == "imagefolder"
    assert [(photo.labels, photo.instances) for photo in annotated.photos] == [
        (("cat",), (Instance("0", Box(1, 2, 11, 22)),)),
        ((), ()),
    ]


CARD = """---
license: mit
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '1': "big dog"
  - name: objects
    sequence:
    - name: bbox
      sequence: float32
    - name: category
      dtype:
        class_label:
          names:
            0: ear
  splits:
  - name: train
    num_examples: 2
---
# A dataset
"""
INFO = {
    "features": {
        "image": {"_type": "Image"},
        "label": {"names": ["cat", "big dog"], "_type": "ClassLabel"},
        "objects": {"feature": {"category": {"names": ["ear"], "_type": "ClassLabel"}}, "_type": "Sequence"},
    }
}


@pytest.mark.parametrize("described_in", ["README.md", "dataset_info.json"])
def test_numbers_get_the_names_that_the_features_have(tmp_path, described_in):
    make_photos(tmp_path, "train/1.png", "train/2.png", "train/3.png")
    (tmp_path / described_in).write_text(CARD if described_in == "README.md" else json.dumps(INFO))
    objects = {"bbox": [[1, 2, 10, 20]], "category": [0]}
    write_lines(
        tmp_path / "train" / "metadata.jsonl",
        {"file_name": "1.png", "label": 1, "objects": objects},
        {"file_name": "2.png", "label": 0},
        {"file_name": "3.png", "label": 2},
    )
    annotated = read_annotations(tmp_path)
    assert labels(annotated) == {"1.png": ("big dog",), "2.png": ("cat",)}
    assert annotated.photos[0].instances == (Instance("ear", Box(1, 2, 11, 22)),)
    (problem,) = annotated.problems
    assert f"metadata.jsonl:3: the class 2 has no name in {tmp_path / described_in}" in problem.message


@pytest.mark.parametrize("text", ["cat\nbig dog\n", "0 cat\n1 big dog\n", "0: cat\r\n1: big dog\r\n"])
def test_numbers_get_the_names_of_a_list(tmp_path, text):
    make_photos(tmp_path, "1.png")
    (tmp_path / "classes.txt").write_text(text, newline="")
    write_lines(tmp_path / "metadata.jsonl", {"file_name": "1.png", "label": [1, "0"]})
    assert labels(read_annotations(tmp_path)) == {"1.png": ("big dog", "cat")}


def test_numbers_without_names_stay_numbers_and_a_damaged_description_is_told(tmp_path):
    make_photos(tmp_path, "1.png")
    write_lines(tmp_path / "metadata.jsonl", {"file_name": "1.png", "label": 1})
    (tmp_path / "README.md").write_text("# Photos\n")
    assert labels(read_annotations(tmp_path)) == {"1.png": ("1",)}
    (tmp_path / "dataset_info.json").write_text("{")
    annotated = read_annotations(tmp_path)
    assert labels(annotated) == {"1.png": ("1",)}
    assert "dataset_info.json is not JSON" in annotated.problems[0].message


def test_short_texts_are_labels_and_captions_are_not(tmp_path):
    make_photos(tmp_path, "1.png")
    write_lines(tmp_path / "metadata.jsonl", {"file_name": "1.png", "text": "cat"})
    assert labels(read_annotations(tmp_path)) == {"1.png": ("cat",)}
    write_lines(
        tmp_path / "metadata.jsonl", {"file_name": "1.png", "text": "A cat asleep in the sun, on a very red sofa."}
    )
    annotated = read_annotations(tmp_path, "imagefolder")
    assert annotated.photos == ()
    assert "has the columns file_name, text; expected one with labels or objects" in annotated.problems[0].message


@pytest.mark.parametrize(
    "row",
    [
        {"image_file_name": "1.png", "mask_file_name": "none.png", "label": "cat"},
        {"file_names": ["1.png", "2.png"], "label": "cat"},
        {"frames_file_names": ["1.png"], "label": "cat"},
    ],
)
def test_other_columns_of_names_are_understood(tmp_path, row):
    make_photos(tmp_path, "1.png", "2.png")
    write_lines(tmp_path / "metadata.jsonl", row)
    annotated = read_annotations(tmp_path)
    assert set(labels(annotated)) == {name for key in row for name in ("1.png", "2.png") if name in row[key]}
    assert annotated.classes == ("cat",)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"file_name": "../1.png", "label": "cat"}, "is outside"),
        ({"file_name": "none.png", "label": "cat"}, "names none.png, which is not there"),
        ({"file_name": 3, "label": "cat"}, "has '3' for the path of a photo"),
        ({"label": "cat"}, "names no photo"),
        ({"file_name": "1.png", "objects": 3}, "has the objects '3'"),
        ({"file_name": "1.png", "objects": {"bbox": [[1, 2, 3, 4]]}}, "has 1 boxes and 0 categories"),
        ({"file_name": "1.png", "objects": {"bbox": [[1, 2, 3]], "category": [1]}}, "expected four numbers"),
        ({"file_name": "1.png", "objects": {"bbox": [[1, 2, -3, 4]], "category": [1]}}, "expected x, y, size"),
        ({"file_name": "1.png", "objects": {"bbox": [[1, 2, "x", 4]], "category": [1]}}, "expected a number"),
        ({"file_name": "1.png", "objects": {"bbox": [[0.5, 0, 10**400, 5]], "category": [1]}}, "no photo is so large"),
        ({"file_name": "1.png", "objects": {"bbox": [[1, 2, True, 4]], "category": [1]}}, "expected a number"),
        ({"file_name": "1.png", "objects": {"bbox": [[0.1, 0.2, 0.5, 0.5]], "category": [1]}}, "parts of the photo"),
        ({"file_name": "1.png", "objects": {"bbox": [[1, 2, True, None]], "category": [1]}}, "expected four numbers"),
        ({"file_name": "1.png", "objects": {"bbox": 7, "category": [1]}}, "expected four numbers"),
        ({"file_name": "1.png", "label": {"a": 1}}, "has the label"),
    ],
)
def test_a_row_that_is_wrong_is_told_and_the_others_are_read(tmp_path, row, message):
    folder = tmp_path / "data"
    make_photos(tmp_path, "1.png", "data/1.png", "data/2.png")
    write_lines(folder / "metadata.jsonl", {"file_name": "2.png", "label": "cat", "objects": None}, row)
    annotated = read_annotations(folder)
    assert labels(annotated) == {"2.png": ("cat",)}
    (problem,) = annotated.problems
    assert message in problem.message
    assert f"{folder / 'metadata.jsonl'}:2" in problem.message


@pytest.mark.parametrize(("name", "text"), [("metadata.csv", "name,label\n1.png,cat\n"), ("other.csv", "file_name\n")])
def test_other_tables_are_no_metadata(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert imagefolder.detect(tmp_path, Root(tmp_path)) is None
    assert imagefolder.detect(tmp_path / name, Root(tmp_path)) is None


def test_metadata_come_before_class_folders(tmp_path):
    make_photos(tmp_path, "cat/1.png")
    write_lines(tmp_path / "metadata.jsonl", {"file_name": "cat/1.png", "label": "tabby"})
    assert detect(tmp_path).format == "imagefolder"
    assert read_annotations(tmp_path).classes == ("tabby",)


JSONL = json.dumps({"file_name": "1.png", "label": 1, "objects": OBJECTS[0]}) + "\n"
JSONL += json.dumps({"file_name": "2.png", "label": None, "split": "val", "objects": OBJECTS[2]})
CSV = 'file_name,label,objects,bbox\n1.png,1;0,"' + json.dumps(OBJECTS[1]).replace('"', '""') + '",1 2 3 4\n2.png,0,,\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("metadata.jsonl", JSONL), ("metadata.csv", CSV)),
        *(("README.md", CARD), ("dataset_info.json", json.dumps(INFO)), ("classes.txt", "0 cat\n1 dog\n")),
    ],
)
def test_mutated_metadata_end_in_our_errors_and_name_no_file_outside(tmp_path, name, text):
    folder = tmp_path / "data"
    make_photos(folder, "1.png", "2.png")
    (folder / "metadata.jsonl").write_text(JSONL)
    random = np.random.default_rng(6)
    for _ in range(300 if name.startswith("metadata") else 100):
        (folder / name).write_bytes(mutated(text.encode(), random))
        imagefolder.detect(folder, Root(folder))
        try:
            annotated = imagefolder.read(folder, Root(folder))
        except VerydeepError as error:
            pytest.fail(f"{error!r} of {(folder / name).read_bytes()!r}")
        assert all(photo.photo.path.resolve().is_relative_to(folder.resolve()) for photo in annotated.photos)
