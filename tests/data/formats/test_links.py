"""Annotations that links lead to: within the root they are read, outside of it they are told."""

import importlib
import re

import pytest
from mutants import SETS, write_sets

from verydeep.data.datasets import open_splits
from verydeep.data.formats import detect, imagefolder
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError

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
    assert importlib.import_module(f"verydeep.data.formats.{name}").detect(tmp_path / "data", Root(tmp_path)) is None


@pytest.mark.parametrize("name", SETS)
def test_what_links_lead_out_to_is_not_looked_at_to_find_the_format(tmp_path, name):
    """It would be found by its content."""
    written = write_sets(tmp_path)[name]
    data, outside = tmp_path / "root" / name, tmp_path / "secret" / "annotation"
    for path in written.keys() - {LINKED[name]}:
        (data / path).unlink()
    (data / LINKED[name]).rename(outside)
    (data / LINKED[name]).symlink_to(outside)
    module = importlib.import_module(f"verydeep.data.formats.{name}")
    assert module.detect(data, Root(data)) is None
    assert module.detect(data, Root(tmp_path)) is not None


def test_metadata_below_a_folder_that_a_link_leads_out_to_are_not_looked_at(tmp_path):
    write_sets(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train").symlink_to(tmp_path / "root" / "imagefolder" / "photos")
    assert imagefolder.detect(tmp_path / "data", Root(tmp_path / "data")) is None
    assert imagefolder.detect(tmp_path / "data", Root(tmp_path)) is not None


def test_links_that_lead_out_are_told_with_what_to_do(tmp_path):
    (tmp_path / "labels.csv").write_text("path,label\ncat/1.png,lion\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "labels.csv").symlink_to(tmp_path / "labels.csv")
    for wanted in (None, "table"):
        with pytest.raises(DatasetError) as caught:
            detect(data, wanted)
        assert "labels.csv leads out of" in caught.value.hint
        assert "--root FOLDER" in caught.value.hint
    for name in ("cat/1.png", "dog/1.png", "cat/2.png", "dog/2.png"):
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).touch()
    assert re.fullmatch("reads folders: 2 class folders; .*labels.csv leads out of .*", detect(data).line())
    assert detect(data, root=tmp_path).format == "table"
    told = []
    open_splits(data, note=told.append)
    assert [line for line in told if "labels.csv leads out of" in line]
