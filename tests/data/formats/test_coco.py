"""COCO's JSON: real files, the same objects as Labelme's of the same photos, runs of pixels, what files get wrong."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from verydeep.data import annotations
from verydeep.data.annotations import IGNORE, Bitmap, Box, Instance, PhotoFile, Polygons
from verydeep.data.formats import coco, labelme
from verydeep.data.formats.runs import bitmap, runs_of_text
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError

CATEGORIES = [{"id": 1, "name": "cat"}, {"id": 7, "name": "dog"}]
RING = [2, 3, 12, 3, 12, 9]


def read(folder, root=None):
    return coco.read(folder, Root(root or folder))


def photo_file(path, size=(20, 10)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size).save(path)
    return path


def image(key=1, name="a.jpg", **fields):
    return {"id": key, "file_name": name, "width": 20, "height": 10} | fields


def thing(key=1, photo=1, category=1, **fields):
    return {"id": key, "image_id": photo, "category_id": category, "bbox": [2, 3, 10, 6], "iscrowd": 0} | fields


def write(folder, images=None, objects=(), categories=CATEGORIES, name="instances.json"):
    """With the photo a.jpg of 20 x 10 pixels beside it."""
    photo_file(folder / "a.jpg")
    document = {"info": {}, "images": [image()] if images is None else images, "annotations": list(objects)}
    (folder / name).write_text(json.dumps(document | ({} if categories is None else {"categories": categories})))
    return folder


def instances(found):
    return {photo.photo.path.name: photo.instances for photo in found.photos}


def outline(instance):
    """Its points, to a hundredth of a pixel."""
    return sorted(tuple(round(float(edge), 2) for edge in point) for ring in instance.shape.rings for point in ring)


def test_labelmes_own_export_to_coco_has_the_same_objects_as_its_files(shared_data, tmp_path):
    example = shared_data / "labelme-examples" / "instance_segmentation"
    shutil.copytree(example / "data_dataset_coco", tmp_path, dirs_exist_ok=True)
    shutil.copytree(example / "data_annotated", tmp_path / "JPEGImages", ignore=shutil.ignore_patterns("*.json"))
    of_coco, of_labelme = read(tmp_path), labelme.read(example, Root(example))
    assert of_coco.problems == ()
    for name, drawn in instances(of_labelme).items():
        expected = sorted((each for each in drawn if each.label != IGNORE), key=outline)  # that export leaves it out
        found = sorted(instances(of_coco)[name], key=outline)
        assert [(each.label, outline(each)) for each in found] == [(each.label, outline(each)) for each in expected]
        edges = np.array([each.box for each in found]) - np.array([each.box for each in expected])
        assert np.abs(edges).max() < 2  # there those of the pixels that an outline covers


def test_boxes_of_coco128_are_around_its_polygons_of_labelme(shared_data):
    folder = shared_data / "coco128"
    found = read(folder)
    assert (found.problems, len(found.photos), found.found) == ((), 128, "COCO's instances_train.json")
    assert sum(len(photo.instances) for photo in found.photos) == 929
    assert {photo.split for photo in found.photos} == {"train"}
    outlines = labelme.read(folder / "labelme", Root(folder))
    of_coco = instances(found)
    assert (len(outlines.photos), outlines.problems) == (98, ())
    off = []
    for name, drawn in instances(outlines).items():
        for each in drawn:
            boxes = np.array([one.box for one in of_coco[name] if one.label == each.label])
            off.append(np.abs(boxes - each.box).max(axis=1).min())
    assert len(off) == 746
    assert np.mean(np.array(off) < 2) > 0.94  # points were rounded there, and parts of one object drawn by themselves


def test_boxes_are_told_by_their_size_and_outlines_have_parts(tmp_path):
    parts = [RING, [0, 0, 4, 0, 4, 4, 0, 4]]
    (photo,) = read(write(tmp_path, objects=[thing(category=7, segmentation=parts)])).photos
    shape = Polygons((((2, 3), (12, 3), (12, 9)), ((0, 0), (4, 0), (4, 4), (0, 4))))
    assert photo.instances == (Instance("dog", Box(2, 3, 12, 9), shape),)
    assert (photo.size, photo.photo) == ((20, 10), PhotoFile(tmp_path / "a.jpg"))


def test_an_outline_without_a_box_has_its_own(tmp_path):
    (photo,) = read(write(tmp_path, objects=[thing(bbox=[], segmentation=[RING])])).photos
    assert photo.instances[0].box == Box(2, 3, 12, 9)


def test_a_crowd_teaches_nothing_and_comes_first(tmp_path):
    runs = {"size": [10, 20], "counts": [10, 20, 170]}
    objects = [thing(1, segmentation=[RING]), thing(2, iscrowd=1, segmentation=runs)]
    (photo,) = read(write(tmp_path, objects=objects)).photos
    assert [each.label for each in photo.instances] == [IGNORE, "cat"]
    assert photo.instances[0].shape == Bitmap(1, 0, 2, 10, np.packbits(np.ones((10, 2), bool)).tobytes())


def test_runs_as_numbers_and_as_text_are_the_same_mask():
    mask = np.zeros((4, 5), bool)
    mask[1:3, 2:4] = mask[0, 4] = True  # column after column: 9 outside, 2 inside, 2, 2, 1, 1, 3
    as_numbers = bitmap({"size": [4, 5], "counts": [9, 2, 2, 2, 1, 1, 3]}, (5, 4), "a")
    as_text = bitmap({"size": [4, 5], "counts": encode([9, 2, 2, 2, 1, 1, 3])}, (5, 4), "a")
    assert as_numbers == as_text == Bitmap(2, 0, 3, 3, np.packbits(mask[:3, 2:]).tobytes())


def test_a_text_of_runs_is_read_as_pycocotools_wrote_it():
    """By its version 2.0.11: a pixel in each corner and a rectangle; a bar in a large photo and a pixel beside."""
    small = np.zeros((6, 9), bool)
    small[1:4, 2:5] = small[5, 8] = small[0, 0] = True
    found = bitmap({"size": [6, 9], "counts": "01<2G000f0N"}, (9, 6), "a")
    assert found == Bitmap(0, 0, 9, 6, np.packbits(small).tobytes())
    runs = runs_of_text("Tag0X6h800000000000000000SQm7iIm]eH", "a")
    assert runs.tolist() == [24_100, *[200, 280] * 9, 200, 259_387, 1, 19_192]


def encode(runs):
    """As maskApi.c's rleToString, number by number."""
    letters = []
    for place, run in enumerate(runs):
        rest = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            digit = rest & 31
            rest >>= 5
            more = rest != (-1 if digit & 16 else 0)
            letters.append(chr((digit | 32 * more) + 48))
    return "".join(letters)


def test_any_runs_are_the_same_through_text():
    rng = np.random.default_rng(0)
    for _ in range(200):
        runs = rng.integers(0, 10 ** rng.integers(1, 7), rng.integers(1, 40)).tolist()
        assert runs_of_text(encode(runs), "a").tolist() == runs


def test_runs_agree_with_pycocotools():
    oracle = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for _ in range(50):
        height, width = rng.integers(1, 60, 2)
        mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
        mask[rng.integers(height), rng.integers(width)] = 1
        told = oracle.encode(np.asfortranarray(mask))
        found = bitmap({"size": told["size"], "counts": told["counts"].decode()}, (int(width), int(height)), "a")
        drawn = np.zeros((height, width), np.uint8)
        bits = np.unpackbits(np.frombuffer(found.bits, np.uint8), count=found.width * found.height)
        drawn[found.top : found.top + found.height, found.left : found.left + found.width] = bits.reshape(
            found.height, found.width
        )
        np.testing.assert_array_equal(drawn, mask)


@pytest.mark.parametrize(
    "wrong",
    [
        {"size": [10, 20], "counts": [10, 20]},
        {"size": [10, 20], "counts": [-10, 210]},
        {"size": [10, 20], "counts": [1.5, 198.5]},
        {"size": [10, 20], "counts": [200]},
        {"size": [10, 20], "counts": []},
        {"size": [10, 20], "counts": ""},
        {"size": [10, 20], "counts": "oooooooooooooooo"},
        {"size": [10, 20], "counts": "é"},
        {"size": [10, 20], "counts": None},
        {"size": [20, 10], "counts": [10, 190]},
        {"size": [10**6, 10**6], "counts": [1, 10**12 - 1]},
        {"size": 5, "counts": [10, 190]},
        {"size": [10], "counts": [10, 190]},
        {"counts": [10, 190]},
        "runs",
        7,
    ],
)
def test_runs_that_are_none_are_told(tmp_path, wrong):
    found = read(write(tmp_path, objects=[thing(segmentation=wrong)]))
    (problem,) = found.problems
    assert "annotation 1: the runs of its mask" in problem.message
    assert found.photos == ()


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("annotations/b.jpg", "instances_train2017.json"),
        ("images/b.jpg", "instances_train2017.json"),
        ("train2017/b.jpg", "instances_train2017.json"),
        ("images/train2017/b.jpg", "instances_train2017.json"),
        ("train/b.jpg", "instances_train2017.json"),
        ("val/images/b.jpg", "val.json"),
        ("b.jpg", "instances.json"),
        ("images/b.png", "instances.json"),
    ],
)
def test_photos_lie_in_folders_that_are_called_as_the_json(tmp_path, place, name):
    photo = photo_file(tmp_path / place)
    write(tmp_path / "annotations", [image(name="b.jpg")], [thing()], name=name)
    assert [each.photo for each in read(tmp_path).photos] == [PhotoFile(photo)]


def test_several_files_are_splits_by_their_names(tmp_path):
    for name in ("train", "val", "test"):
        photo_file(tmp_path / f"{name}2017" / f"{name}.jpg")
        write(tmp_path / "annotations", [image(name=f"{name}.jpg")], [thing()], name=f"instances_{name}2017.json")
    found = read(tmp_path)
    assert [(photo.photo.path.stem, photo.split) for photo in found.photos] == [("train", "train"), ("val", "val")]
    assert (found.passed_over, found.found) == ({"photo to test on": 1}, "3 COCO files")


def test_files_that_lie_beside_instances_are_passed_over_and_alone_are_refused_in_words(tmp_path):
    captions = {"images": [image()], "annotations": [{"id": 1, "image_id": 1, "caption": "a cat"}]}
    photo_file(tmp_path / "a.jpg")
    (tmp_path / "captions_train2017.json").write_text(json.dumps(captions))
    (problem,) = read(tmp_path).problems
    assert "no list of categories, it is of captions" in problem.message
    write(tmp_path, objects=[thing()], name="instances_train2017.json")
    found = read(tmp_path)
    assert (len(found.photos), found.problems, found.passed_over) == (1, (), {"file of captions": 1})


def test_photos_in_two_files_are_told(tmp_path):
    write(tmp_path, objects=[thing()], name="a.json")
    write(tmp_path, objects=[thing()], name="b.json")
    found = read(tmp_path)
    assert len(found.photos) == 1
    assert "b.json: image 1 is" in found.problems[0].message


@pytest.mark.parametrize(
    ("images", "objects", "told", "photos"),
    [
        ([image(), image()], [thing()], "two images have the id 1", 1),
        ([image(), image(name="b.jpg")], [thing()], "two images have the id 1", 0),
        ([image(), {"file_name": "b.jpg"}], [thing()], "has no id", 1),
        ([image()], [thing(), thing(2, photo=5), thing(3, photo=[])], "2 annotations of images that are not listed", 1),
        ([image()], [thing(), thing()], "1 annotations with an id that another one has", 1),
        ([image()], [thing(category=5)], "of the category 5, which is not listed", 0),
        ([image()], [thing(bbox=None)], "no bbox", 0),
        ([image()], [thing(bbox=[1, 1, "x", 4])], "expected a number", 0),
        ([image()], [thing(bbox=[1, 1, -2, 4])], "-2 x 4", 0),
        ([image()], [thing(bbox=[1, 1, 10**400, 4])], "no photo is so large", 0),
        ([image()], [thing(segmentation=[[1, 2, 3]])], "x and y", 0),
        ([image()], [thing(segmentation=[[1, 2, 3, 4]])], "three or more", 0),
        ([image(name=5)], [thing()], "no file_name", 0),
        ([image(name="b.jpg")], [thing()], "names b.jpg, which is not there", 0),
        ([image(name="../../b.jpg")], [thing()], "which is not there", 0),
    ],
)
def test_what_does_not_fit_is_told_with_the_file(tmp_path, images, objects, told, photos):
    found = read(write(tmp_path / "set", images, objects))
    assert [told in problem.message for problem in found.problems] == [True]
    assert str(tmp_path / "set" / "instances.json") in found.problems[0].message
    assert len(found.photos) == photos


def test_what_stands_there_twice_is_one_object(tmp_path):
    (photo,) = read(write(tmp_path, objects=[thing(), thing(), thing(bbox=[0, 0, 4, 4])])).photos
    assert [each.box for each in photo.instances] == [Box(2, 3, 12, 9), Box(0, 0, 4, 4)]


@pytest.mark.parametrize(
    "document",
    [
        [],
        {"images": {}, "annotations": [], "categories": []},
        {"images": [1], "annotations": [], "categories": []},
        {"images": [], "annotations": [], "categories": [{"id": 1}]},
        {"images": [], "annotations": [], "categories": [{"id": [], "name": "a"}]},
        {"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]},
    ],
)
def test_a_file_that_is_none_is_told(tmp_path, document):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    found = coco.read(path, Root(tmp_path)) if isinstance(document, dict) else read(tmp_path)
    assert found.photos == ()
    assert len(found.problems) == (1 if isinstance(document, dict) else 0)


def test_a_file_that_is_cut_off_is_found_and_told(tmp_path):
    write(tmp_path, objects=[thing(number) for number in range(50)])
    path = tmp_path / "instances.json"
    path.write_bytes(path.read_bytes()[:1000])
    assert coco.detect(tmp_path, Root(tmp_path)) == "COCO's instances.json"
    assert "not JSON" in read(tmp_path).problems[0].message


def test_labelmes_files_and_others_are_none(tmp_path):
    (tmp_path / "a.json").write_text('{"version": "5", "flags": {}, "shapes": [], "imagePath": "a.jpg"}')
    (tmp_path / "b.json").write_text('{"annotations": true}')
    assert coco.detect(tmp_path, Root(tmp_path)) is None


def test_many_files_are_looked_into_only_where_they_are_called_so(tmp_path):
    for number in range(100):
        (tmp_path / f"a{number:03}.json").write_text("{}")
    write(tmp_path, objects=[thing()], name="a050_instances_train2017.json")
    assert coco.detect(tmp_path, Root(tmp_path)) == "COCO's a050_instances_train2017.json"


def test_masks_that_would_fill_the_memory_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "_MASK_BYTES", 20)
    runs = {"size": [10, 20], "counts": [0, 200]}
    found = read(write(tmp_path, objects=[thing(segmentation=runs), thing(key=2, segmentation=runs)]))
    assert "annotation 2: the masks before have more than" in found.problems[0].message


def test_small_masks_in_many_pixels_are_counted_as_what_they_unpack_to(tmp_path, monkeypatch):
    monkeypatch.setattr(coco, "_MASK_PIXELS", 399)
    runs = {"size": [10, 20], "counts": [0, 1, 199]}
    found = read(write(tmp_path, objects=[thing(key, segmentation=runs) for key in (1, 2, 3)]))
    assert "annotation 3: the masks before" in found.problems[0].message


def test_outlines_of_so_many_points_that_drawing_would_take_minutes_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "_DRAWING_STEPS", 35)
    found = read(write(tmp_path, objects=[thing(key, segmentation=[RING]) for key in (1, 2)]))
    assert "6 points in 2 outlines are too many" in found.problems[0].message
    assert found.photos == ()


def test_a_number_too_large_for_a_run_is_told():
    with pytest.raises(DatasetError, match="too large"):
        runs_of_text("o" * 20 + "0", "a")
