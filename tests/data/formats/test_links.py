"""Annotations that links lead to: within the root they are read, outside of it they are told."""

import importlib

import pytest
from mutants import SETS, write_sets

from verydeep.data.untrusted import Root

LINKED = {
    "labelme": "json/a.json",
    "voc": "Annotations/a.xml",
    "coco": "instances_train.json",
    "masks": "train.txt",
    "table": "boxes.csv",
    "imagefolder": "photos/metadata.csv",
    "webdataset": "train-0000.tar",
}


def read(name, data, root):
    return importlib.import_module(f"verydeep.data.formats.{name}").read(data, Root(root))


@pytest.mark.parametrize("name", SETS)
def test_an_annotation_that_is_a_link_out_of_the_root_is_told_and_not_read(tmp_path, name):
    write_sets(tmp_path)
    data, outside = tmp_path / "root" / name, tmp_path / "secret" / "annotation"
    linked = data / LINKED[name]
    before = len(read(name, data, data).photos)
    linked.rename(outside)
    linked.symlink_to(outside)
    found = read(name, data, data)
    assert any("leads out of" in problem.message and linked.name in problem.message for problem in found.problems)
    assert not any(photo.origin.startswith(str(linked)) for photo in found.photos)
    assert len(read(name, data, tmp_path).photos) == before


def test_a_mask_that_is_a_link_out_of_the_root_is_told_and_not_opened(tmp_path):
    write_sets(tmp_path)
    data = tmp_path / "root" / "voc"
    (data / "SegmentationClass" / "a.png").unlink()
    (data / "SegmentationClass" / "a.png").symlink_to(tmp_path / "secret" / "secret.png")
    found = read("voc", data, data)
    assert [problem.path for problem in found.problems] == [str(data / "Annotations" / "a.xml")]
    assert "a.png leads out of" in found.problems[0].message


@pytest.mark.parametrize("name", ["labelme", "voc", "coco", "masks", "webdataset"])
def test_annotations_are_not_searched_for_below_a_linked_folder(tmp_path, name):
    write_sets(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "all").symlink_to(tmp_path / "root")
    assert importlib.import_module(f"verydeep.data.formats.{name}").detect(tmp_path / "data") is None
