"""Labelme's files: real ones of every kind, and what people's files get wrong."""

import base64
import io
import json

import numpy as np
import pytest
from PIL import Image

from verydeep.data import annotations
from verydeep.data.annotations import Bitmap, Box, Circle, EmbeddedPhoto, PhotoFile, Polygons
from verydeep.data.formats import labelme
from verydeep.data.untrusted import Root


def read(folder, root=None):
    return labelme.read(folder, Root(root or folder))


def png(pixels):
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def write(folder, shapes=(), name="a", **fields):
    """A photo of 20 x 10 pixels and its file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.png").write_bytes(png(np.zeros((10, 20, 3), np.uint8)))
    document = {"version": "5.5.0", "flags": {}, "shapes": list(shapes), "imagePath": f"{name}.png", "imageData": None}
    document |= {"imageHeight": 10, "imageWidth": 20} | fields
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder


def shape(kind, points, label="cat", **fields):
    return {"label": label, "points": points, "shape_type": kind, "flags": {}, "group_id": None} | fields


@pytest.fixture
def examples(shared_data):
    return shared_data / "labelme-examples"


def test_flags_that_are_set_are_classes_of_the_photo(examples):
    found = read(examples / "classification")
    assert [(photo.photo.path.name, photo.labels) for photo in found.photos] == [
        ("0001.jpg", ("cat",)),
        ("0002.jpg", ("dog",)),
    ]
    assert (found.classes, found.problems, found.has("labels"), found.has("boxes")) == (("cat", "dog"), (), True, False)


def test_rectangles_are_boxes_and_polygons_shapes(examples):
    boxes, shapes = read(examples / "bbox_detection"), read(examples / "semantic_segmentation")
    assert boxes.photos[0].instances[0].box == Box(191.0, 107.36900369003689, 313.0, 329.36900369003695)
    assert (boxes.has("boxes"), boxes.has("shapes"), shapes.has("shapes")) == (True, False, True)
    assert shapes.classes == ("bottle", "bus", "car", "chair", "person", "sofa")  # without __ignore__
    assert boxes.photos[0].size == (500, 338)


def test_every_primitive_of_the_tool_is_read_or_told(examples):
    found = read(examples / "primitives")
    assert found.problems == ()
    (photo,) = found.photos
    kinds = {type(instance.shape) for instance in photo.instances}
    assert {Polygons, Circle, Bitmap, type(None)} == kinds
    assert set(found.passed_over) == {"line", "linestrip", "point"}


def test_a_file_that_names_itself_finds_the_photo_beside_it(examples):
    found = read(examples / "tutorial")
    assert [photo.photo for photo in found.photos] == [PhotoFile(examples / "tutorial" / "apc2016_obj3.jpg")]


def test_an_embedded_photo_is_read_where_there_is_no_other(tmp_path):
    picture = png(np.zeros((10, 20, 3), np.uint8))
    write(tmp_path, imageData=base64.b64encode(picture).decode(), imagePath="elsewhere.jpg")
    (tmp_path / "a.png").unlink()
    (photo,) = read(tmp_path).photos
    assert photo.photo == EmbeddedPhoto(tmp_path / "a.json", "imageData")
    assert photo.photo.read() == picture


@pytest.mark.parametrize("named", ["a.png", "C:\\Users\\me\\a.png", "\\\\server\\share\\a.png", "/home/me/a.png", ""])
def test_a_photo_that_lies_beside_is_found_whatever_machine_it_was_named_on(tmp_path, named):
    found = read(write(tmp_path, imagePath=named))
    assert [photo.photo for photo in found.photos] == [PhotoFile(tmp_path / "a.png")]


def test_a_path_out_of_the_folder_is_good_within_the_root_only(tmp_path):
    write(tmp_path / "images", name="b")
    (tmp_path / "images" / "b.json").unlink()
    annotations = write(tmp_path / "json", imagePath="../images/b.png")
    (annotations / "a.png").unlink()
    assert read(annotations, root=tmp_path).photos[0].photo == PhotoFile(tmp_path / "images" / "b.png")
    (problem,) = read(annotations).problems
    assert "outside" in problem.message
    assert "--root" in problem.hint


@pytest.mark.parametrize("named", ["..", ".", "../", "a\0b", "x" * 5000, "\ud800.png", "../" * 300 + "etc/passwd"])
def test_names_that_are_none_are_told_or_passed_by(tmp_path, named):
    found = read(write(tmp_path, imagePath=named))
    assert [photo.photo for photo in found.photos] == [PhotoFile(tmp_path / "a.png")]
    (tmp_path / "a.png").unlink()
    (problem,) = read(tmp_path).problems
    assert problem.path == str(tmp_path / "a.json")


def test_a_circle_is_its_centre_and_a_point_on_its_edge(tmp_path):
    (photo,) = read(write(tmp_path, [shape("circle", [[10, 5], [13, 9]])])).photos
    assert (photo.instances[0].shape, photo.instances[0].box) == (Circle((10, 5), 5), Box(5, 0, 15, 10))


def test_a_mask_is_a_picture_from_its_first_point_on(tmp_path):
    pixels = np.array([[0, 255, 255], [255, 0, 0]], np.uint8)
    mask = base64.b64encode(png(pixels)).decode()
    (photo,) = read(write(tmp_path, [shape("mask", [[4, 3], [6, 4]], mask=mask)])).photos
    assert photo.instances[0].shape == Bitmap(4, 3, 3, 2, np.packbits(pixels > 0).tobytes())
    assert photo.instances[0].box == Box(4, 3, 7, 5)


def test_the_masks_of_all_files_are_limited_together(tmp_path, monkeypatch):
    monkeypatch.setattr(labelme, "_MASK_PIXELS", 3)
    picture = base64.b64encode(png(np.full((2, 2), 255, np.uint8))).decode()
    for name in ("a", "b"):
        write(tmp_path, [shape("mask", [[1, 1], [2, 2]], mask=picture)], name)
    found = read(tmp_path)
    assert len(found.photos) == 1
    assert "b.json: shape 1: the masks before have more than 3 pixels" in found.problems[0].message


def test_outlines_of_more_points_than_can_be_drawn_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "_DRAWING_STEPS", 7)
    found = read(write(tmp_path, [shape("polygon", [[1, 1], [2, 2], [3, 1], [2, 0]])]))
    assert "4 points in 1 outlines are too many" in found.problems[0].message


def test_circles_that_cannot_be_drawn_in_a_minute_are_refused(tmp_path, monkeypatch):
    """Each counts as four points, over the rows that it has."""
    circles = [shape("circle", [[0, 0], [0, 9_000]])] * 3
    assert not read(write(tmp_path, circles)).problems
    monkeypatch.setattr(annotations, "_DRAWING_STEPS", 3 * 4 * 18_000 - 1)
    assert "12 points in 3 outlines are too many" in read(write(tmp_path, circles)).problems[0].message


def test_outlines_of_one_group_and_label_are_parts_of_one_object(tmp_path):
    one, two = [[0, 0], [4, 0], [4, 4]], [[10, 2], [14, 2], [14, 6]]
    shapes = [
        shape("polygon", one, group_id=1),
        shape("polygon", one, "dog", group_id=1),
        shape("rectangle", two[::2], group_id=1),
        shape("polygon", two, group_id=1),
        shape("polygon", two, group_id=None),
        shape("polygon", two, group_id=[2]),
    ]
    (photo,) = read(write(tmp_path, shapes)).photos
    assert [(each.label, each.box) for each in photo.instances] == [
        ("cat", Box(0, 0, 14, 6)),
        ("dog", Box(0, 0, 4, 4)),
        *[("cat", Box(10, 2, 14, 6))] * 3,
    ]
    assert len(photo.instances[0].shape.rings) == 2


def test_a_rectangle_of_four_corners_and_a_shape_of_version_3_without_a_type_are_read(tmp_path):
    corners = shape("rectangle", [[1, 2], [8, 2], [8, 6], [1, 6]])
    (photo,) = read(write(tmp_path, [corners, shape(None, [[0, 0], [5, 0], [5, 5]])])).photos
    assert [(each.box, type(each.shape)) for each in photo.instances] == [
        (Box(1, 2, 8, 6), type(None)),
        (Box(0, 0, 5, 5), Polygons),
    ]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (shape("rectangle", [[1, 1]]), "1 points"),
        (shape("polygon", [[1, 1], [2, 2]]), "three or more"),
        (shape("polygon", [[1, 1], [2, "x"], [3, 3]]), "expected a number"),
        (shape("polygon", [[1, 1], [2, 10**400], [3, 3]]), "no photo is so large"),
        (shape("polygon", "abc"), "list of points"),
        (shape("spline", [[1, 1], [2, 2], [3, 3]]), "spline"),
        (shape("mask", [[0, 0], [2, 2]], mask="AAAA"), "without a picture"),
        (shape("polygon", [[1, 1], [2, 2], [3, 5]], label=None), "no label"),
        ("shape", "no label"),
    ],
)
def test_a_shape_that_is_none_is_told_with_its_number_and_the_file(tmp_path, wrong, told):
    found = read(write(tmp_path, [shape("rectangle", [[0, 0], [4, 4]]), wrong]))
    (problem,) = found.problems
    assert told in problem.message
    assert f"{tmp_path / 'a.json'}: shape 2" in problem.message
    assert problem.hint
    assert found.photos == ()


def test_a_damaged_file_among_others_is_told_not_missed(tmp_path):
    write(tmp_path, name="a")
    write(tmp_path, name="b")
    (tmp_path / "b.json").write_text('{"shapes": [')
    found = read(tmp_path)
    assert (len(found.photos), len(found.problems)) == (1, 1)
    assert labelme.detect(tmp_path, Root(tmp_path)) == "2 Labelme files"


def test_the_folder_tells_the_split_but_not_the_name_of_a_photo(tmp_path):
    write(tmp_path / "train", name="a")
    write(tmp_path / "valid", name="b")
    write(tmp_path / "more", name="steam_train")
    assert [photo.split for photo in read(tmp_path).photos] == [None, "train", "val"]


def test_other_json_is_none(tmp_path):
    (tmp_path / "package.json").write_text('{"name": "a"}')
    assert labelme.detect(tmp_path, Root(tmp_path)) is None
    assert read(tmp_path).photos == ()
