"""Class folders as annotations: what `open_folder` finds there, with the split."""

from collections import Counter

import pytest

from verydeep.data.datasets import open_folder
from verydeep.data.formats import detect, folders, read_annotations
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError


def make(folder, *paths):
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def test_each_photo_has_the_name_of_its_folder(tmp_path):
    make(tmp_path, "n02102040_English_springer/1.jpg", "tench/2.PNG", "tench/deep/3.webp", "tench/notes.txt")
    (tmp_path / "empty").mkdir()
    annotated = read_annotations(tmp_path)
    assert annotated.format == "folders"
    assert annotated.found == "2 class folders"
    assert [(photo.photo.path.name, photo.labels, photo.split) for photo in annotated.photos] == [
        ("1.jpg", ("English springer",), None),
        ("2.PNG", ("tench",), None),
        ("3.webp", ("tench",), None),
    ]
    assert annotated.passed_over == {".txt": 1}
    assert annotated.problems == ()


def test_the_split_is_that_of_the_folder(tmp_path):
    make(tmp_path, "train/a/1.jpg", "train/b/2.jpg", "valid/a/3.jpg", "test/a/4.jpg")
    annotated = read_annotations(tmp_path)
    assert annotated.found == "2 class folders in train and 1 class folder in val"
    assert [(photo.photo.path.name, photo.split) for photo in annotated.photos] == [
        ("1.jpg", "train"),
        ("2.jpg", "train"),
        ("3.jpg", "val"),
    ]


def test_a_side_that_cannot_be_read_is_a_problem(tmp_path):
    make(tmp_path, "train/a/1.jpg", "val/a/2.jpg")
    for i in range(120):  # more than are looked at
        make(tmp_path, f"val/a{i:03}/1.jpg")
    make(tmp_path, "val/zebra/film.mov")
    annotated = read_annotations(tmp_path)
    assert [photo.split for photo in annotated.photos] == ["train"]
    assert "zebra has no photo" in annotated.problems[0].message


@pytest.mark.parametrize(
    "paths",
    [
        ("a.jpg", "b.jpg"),  # no folder
        ("train/1.jpg", "trainannot/1.png"),  # as CamVid's
        ("images/1.jpg", "annotations/1.xml"),  # as VOC's
        ("docs/1.txt",),
    ],
)
def test_other_folders_are_no_class_folders(tmp_path, paths):
    assert folders.detect(make(tmp_path, *paths), Root(tmp_path)) is None


def test_a_folder_with_nothing_that_is_known_is_refused_with_the_list(tmp_path):
    with pytest.raises(DatasetError, match=r"is none of the formats that are known: imagefolder .*; folders \("):
        detect(tmp_path)


def test_ants_and_bees_are_those_that_training_sees(shared_data):
    folder = shared_data / "hymenoptera"
    annotated = read_annotations(folder)
    assert (annotated.format, annotated.classes, annotated.problems) == ("folders", ("ants", "bees"), ())
    assert Counter(photo.split for photo in annotated.photos) == {"train": 244, "val": 76}
    training = open_folder(folder / "train")
    ours = [(photo.photo.path, photo.labels) for photo in annotated.photos if photo.split == "train"]
    expected = [(path, (training.classes[label],)) for path, label in zip(training.paths, training.labels, strict=True)]
    assert ours == expected


def test_imagenette_has_names_without_wordnet_ids(shared_data):
    annotated = read_annotations(shared_data / "imagenette-144")
    assert annotated.format == "folders"
    assert {"tench", "English springer"} <= set(annotated.classes)
    assert not [name for name in annotated.classes if name.startswith("n0")]
