"""PASCAL VOC's XML: real files, the same boxes as Labelme's of the same photos, and what people's files get wrong."""

import shutil

import numpy as np
import pytest
from PIL import Image

from verydeep.data.annotations import BACKGROUND, Box, PhotoFile
from verydeep.data.formats import labelme, voc
from verydeep.data.untrusted import Root

BOX = "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>12</xmax><ymax>9</ymax></bndbox>"
CAT = f"<object><name>cat</name><pose>Left</pose><difficult>1</difficult>{BOX}</object>"
OWN = "<source><database>The VOC2007 Database</database><annotation>PASCAL VOC2007</annotation></source>"


def read(folder, root=None):
    return voc.read(folder, Root(root or folder))


def photo_file(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def write(folder, inside=CAT, name="a", filename="a.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    size = "<size><width>20</width><height>10</height><depth>3</depth></size>"
    (folder / f"{name}.xml").write_text(f"<annotation><filename>{filename}</filename>{size}{inside}</annotation>")
    return folder


def facts(found):
    """What is told of each photo, by its name."""
    return {
        photo.photo.path.name: (photo.size, [(each.label, each.box) for each in photo.instances])
        for photo in found.photos
    }


def test_birds_are_the_same_in_voc_and_labelme(shared_data):
    birds = shared_data / "cub-birds-loc"
    of_voc, of_labelme = facts(read(birds)), facts(labelme.read(birds, Root(birds)))
    assert len(of_voc) == 540
    assert of_voc == of_labelme
    assert voc.detect(birds, Root(birds)) == read(birds).found == "540 VOC files in annotations"


def test_labelmes_own_export_to_voc_is_the_same_as_its_files(shared_data, tmp_path):
    example = shared_data / "labelme-examples" / "bbox_detection"
    shutil.copytree(example / "data_dataset_voc", tmp_path, dirs_exist_ok=True)
    shutil.copytree(example / "data_annotated", tmp_path / "JPEGImages", ignore=shutil.ignore_patterns("*.json"))
    found = read(tmp_path)
    assert found.problems == ()
    assert facts(found) == facts(labelme.read(example, Root(example)))


def test_what_boxes_have_beside_their_edges_is_passed_over(tmp_path):
    photo_file(tmp_path / "a.jpg")
    parts = "".join(f"<part><name>{name}</name>{BOX}</part>" for name in ("head", "hand"))
    found = read(write(tmp_path, f"{CAT}<object><name>person</name>{BOX}{parts}</object>"))
    (photo,) = found.photos
    assert [each.label for each in photo.instances] == ["cat", "person"]
    assert photo.instances[0].box == Box(2, 3, 12, 9)
    assert photo.instances[0].shape is None
    assert (photo.size, found.passed_over) == ((20, 10), {"part": 2})


@pytest.mark.parametrize(
    "source",
    [
        OWN,
        "<source><annotation>PASCAL VOC2012</annotation></source>",
        "<source><database>The VOC2008 Database</database></source>",
    ],
)
def test_in_pascal_vocs_own_files_pixels_are_counted_from_1(tmp_path, source):
    photo_file(tmp_path / "a.jpg")
    (photo,) = read(write(tmp_path, source + CAT)).photos
    assert photo.instances[0].box == Box(1, 2, 12, 9)


def test_files_of_a_tool_that_says_unknown_are_not_pascal_vocs(tmp_path):
    photo_file(tmp_path / "a.jpg")
    (photo,) = read(write(tmp_path, "<source><database>Unknown</database></source>" + CAT)).photos
    assert photo.instances[0].box == Box(2, 3, 12, 9)


@pytest.mark.parametrize(
    ("place", "filename", "more"),
    [
        ("Annotations/a.jpg", "a.jpg", ""),
        ("JPEGImages/a.jpg", "a.jpg", ""),
        ("images/a.jpg", "a.jpg", ""),
        ("pictures/a.jpg", "a.jpg", "<folder>pictures</folder>"),
        ("JPEGImages/a.jpg", "a", ""),
        ("JPEGImages/a.png", "a.jpg", ""),
        ("JPEGImages/a.JPG", "a.jpg", ""),
        ("JPEGImages/a.jpg", "C:\\Users\\me\\a.jpg", ""),
        ("JPEGImages/a.jpg", "/home/me/photos/a.jpg", ""),
        ("JPEGImages/sub/a.jpg", "sub/a.jpg", ""),
        ("JPEGImages/a.jpg", "0.jpg", "<path>C:\\Users\\me\\a.jpg</path>"),
        ("JPEGImages/a.jpg", "", ""),  # as the XML is called
    ],
)
def test_the_photo_is_found_where_tools_put_it(tmp_path, place, filename, more):
    photo = photo_file(tmp_path / place)
    found = read(write(tmp_path / "Annotations", more + CAT, filename=filename), root=tmp_path)
    assert [each.photo for each in found.photos] == [PhotoFile(photo)]


@pytest.mark.parametrize(
    "filename", ["../../secret.jpg", "/etc/hosts.jpg", "\\\\server\\share\\secret.jpg", "x" * 5000]
)
def test_no_name_leads_out_of_the_folder(tmp_path, filename):
    photo_file(tmp_path / "secret.jpg")
    found = read(write(tmp_path / "set" / "Annotations", filename=filename), root=tmp_path / "set")
    assert found.photos == ()
    (problem,) = found.problems
    assert "which is not there" in problem.message or "outside" in problem.message
    assert "--root" in problem.hint


def test_a_link_out_of_the_folder_is_not_followed(tmp_path):
    secret = photo_file(tmp_path / "secret.jpg")
    write(tmp_path / "set")
    (tmp_path / "set" / "a.jpg").symlink_to(secret)
    assert read(tmp_path / "set").photos == ()


def test_the_lists_of_image_sets_tell_the_split(tmp_path):
    for name in "abcd":
        photo_file(tmp_path / "JPEGImages" / f"{name}.jpg")
        write(tmp_path / "Annotations", name=name, filename=f"{name}.jpg")
    lists = tmp_path / "ImageSets" / "Main"
    lists.mkdir(parents=True)
    (lists / "trainval.txt").write_text("a\nb\n")
    (lists / "test.txt").write_text("c\n")
    (lists / "cat_train.txt").write_text("a -1\n")
    assert [photo.split for photo in read(tmp_path).photos] == ["train", "train", "val", None]
    (lists / "train.txt").write_text("a  1\n")
    (lists / "val.txt").write_text("b -1\n")
    found = read(tmp_path)
    assert [(photo.photo.path.stem, photo.split) for photo in found.photos] == [
        ("a", "train"),
        ("b", "val"),
        ("d", None),
    ]
    assert found.passed_over == {"photo to test on": 1}


def test_masks_lie_beside_and_class_names_name_their_numbers(shared_data, tmp_path):
    example = shared_data / "labelme-examples" / "semantic_segmentation"
    shutil.copytree(example / "data_dataset_voc", tmp_path, dirs_exist_ok=True)
    for path in sorted((example / "data_annotated").glob("*.jpg")):
        shutil.copy(path, photo_file(tmp_path / "JPEGImages" / path.name))
        write(tmp_path / "Annotations", "", name=path.stem, filename=path.name)
    found = read(tmp_path)
    assert [photo.mask for photo in found.photos] == sorted((tmp_path / "SegmentationClass").iterdir())
    assert (found.mask_classes[0], found.mask_classes[20], len(found.mask_classes)) == (BACKGROUND, "tv/monitor", 21)


def test_pascal_vocs_own_masks_have_its_classes(tmp_path):
    photo_file(tmp_path / "JPEGImages" / "a.jpg")
    write(tmp_path / "Annotations", OWN + CAT)
    (tmp_path / "SegmentationClass").mkdir()
    Image.fromarray(np.full((10, 20), 8, np.uint8)).save(tmp_path / "SegmentationClass" / "a.png")
    found = read(tmp_path)
    assert (found.mask_classes, found.mask_classes[8]) == (voc.CLASSES, "cat")
    assert len(voc.CLASSES) == 21


@pytest.mark.parametrize(
    ("inside", "told"),
    [
        (CAT.replace("<xmin>2<", "<xmin>two<"), "<xmin> is 'two'"),
        (CAT.replace("<xmin>2<", "<xmin>nan<"), "coordinate is nan"),
        (CAT.replace("<xmin>2<", "<xmin>1_0<"), "1_0"),
        (CAT.replace("<xmin>2<", "<xmin>1e300<"), "no photo is so large"),
        (CAT.replace(BOX, ""), "no <bndbox>"),
        (CAT.replace("cat", " "), "no <name>"),
    ],
)
def test_an_object_that_is_none_is_told_with_its_number_and_the_file(tmp_path, inside, told):
    photo_file(tmp_path / "a.jpg")
    found = read(write(tmp_path, inside))
    (problem,) = found.problems
    assert told in problem.message
    assert f"{tmp_path / 'a.xml'}: object 1" in problem.message
    assert found.photos == ()


def test_corners_in_another_order_are_put_right(tmp_path):
    photo_file(tmp_path / "a.jpg")
    (photo,) = read(write(tmp_path, CAT.replace("<xmin>2<", "<xmin>18<"))).photos
    assert photo.instances[0].box == Box(12, 3, 18, 9)


def test_a_photo_without_objects_is_one(tmp_path):
    photo_file(tmp_path / "a.jpg")
    assert [photo.instances for photo in read(write(tmp_path, "")).photos] == [()]


def test_a_damaged_file_among_others_is_told_not_missed(tmp_path):
    photo_file(tmp_path / "b.jpg")
    write(tmp_path, name="a")
    (tmp_path / "a.xml").write_text("<annotation><obj")
    write(tmp_path, name="b", filename="b.jpg")
    (tmp_path / "c.xml").write_text('<!DOCTYPE a [<!ENTITY x SYSTEM "/etc/passwd">]><annotation>&x;</annotation>')
    (tmp_path / "d.xml").write_text("<html/>")
    found = read(tmp_path)
    assert len(found.photos) == 1
    assert [problem.path[-5:] for problem in found.problems] == ["a.xml", "c.xml", "d.xml"]
    assert "document type" in found.problems[1].message
    assert "<html>" in found.problems[2].message
    assert voc.detect(tmp_path, Root(tmp_path)) == "4 VOC files"


def test_other_xml_is_none(tmp_path):
    (tmp_path / "pom.xml").write_text("<project/>")
    assert voc.detect(tmp_path, Root(tmp_path)) is None


def test_one_file_can_be_named(tmp_path):
    photo_file(tmp_path / "a.jpg")
    path = write(tmp_path) / "a.xml"
    assert voc.detect(path, Root(tmp_path)) == "1 VOC file"
    assert len(voc.read(path, Root(tmp_path)).photos) == 1
