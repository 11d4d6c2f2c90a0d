"""Masks: real ones told by lists and by folders, what their numbers are called, and what folders get wrong."""

import shutil

import numpy as np
import pytest
from PIL import Image

from verydeep.data.annotations import BACKGROUND, IGNORE, PhotoFile
from verydeep.data.formats import masks
from verydeep.data.stats import measure
from verydeep.data.survey import survey
from verydeep.data.targets import IGNORED, class_mask
from verydeep.data.untrusted import Root


def read(folder, root=None):
    return masks.read(folder, Root(root or folder))


def picture(path, pixels=None):
    """A photo of 4 x 3 pixels, or these."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((3, 4, 3), np.uint8) if pixels is None else np.array(pixels, np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def pair(folder, photos="images", of_masks="masks", name="a", numbers=((0, 1, 2, 255),) * 3):
    picture(folder / photos / f"{name}.jpg")
    return picture(folder / of_masks / f"{name}.png", numbers)


def test_camvids_lists_tell_photos_masks_and_splits(shared_data):
    folder = shared_data / "camvid"
    found = read(folder)
    assert found.problems == ()
    assert [sum(photo.split == split for photo in found.photos) for split in ("train", "val")] == [367, 101]
    assert found.photos[0].photo == PhotoFile(folder / "train" / "0001TP_006690.jpg")
    assert found.photos[0].mask == folder / "trainannot" / "0001TP_006690.png"
    assert found.mask_classes == tuple(map(str, range(12)))  # nothing there names them, the 11 that is void neither
    assert masks.detect(folder, Root(folder)) == "lists of photos and masks: train.txt, val.txt"


def test_camvids_folders_without_the_lists_tell_the_same(shared_data, tmp_path):
    folder = shared_data / "camvid"
    for name in ("train", "trainannot", "val", "valannot"):
        (tmp_path / name).symlink_to(folder / name)
    by_folders, by_lists = read(tmp_path, root="/"), read(folder)
    names = [[photo.photo.path.name for photo in found.photos] for found in (by_folders, by_lists)]
    assert sorted(names[0]) == sorted(names[1])
    assert {photo.mask.name: photo.split for photo in by_folders.photos} == {
        photo.mask.name: photo.split for photo in by_lists.photos
    }


def test_coco128s_masks_lie_beside_its_photos_and_a_table_names_their_numbers(shared_data):
    found = read(shared_data / "coco128")
    assert (len(found.photos), found.problems) == (100, ())
    assert found.passed_over == {"photo without a mask": 28}
    assert (found.mask_classes[0], found.mask_classes[1], found.mask_classes[200]) == (IGNORE, "person", "rug-merged")
    assert found.mask_classes[12] == IGNORE  # the table leaves it out
    detected = masks.detect(shared_data / "coco128", Root(shared_data))
    assert detected == found.found == "100 masks in semantic beside images"


@pytest.mark.parametrize(
    ("photos", "of_masks"),
    [
        ("images", "masks"),
        ("images", "labels"),
        ("Images", "Masks"),
        ("JPEGImages", "SegmentationClass"),
        ("images/train", "annotations/train"),
        ("train/images", "train/masks"),
        ("train", "trainannot"),
        ("train", "train_labels"),
    ],
)
def test_masks_are_found_by_the_names_of_folders(tmp_path, photos, of_masks):
    mask = pair(tmp_path, photos, of_masks)
    (photo,) = read(tmp_path).photos
    assert (photo.photo, photo.mask) == (PhotoFile(tmp_path / photos / "a.jpg"), mask)
    assert photo.split == ("train" if "train" in photos else None)
    assert masks.detect(tmp_path, Root(tmp_path)).startswith("1 masks in ")


def test_the_stem_of_a_mask_may_end_as_camvids_do(tmp_path):
    mask = pair(tmp_path).rename(tmp_path / "masks" / "a_L.png")
    assert [photo.mask for photo in read(tmp_path).photos] == [mask]


def test_a_mask_without_its_photo_is_told_and_a_photo_without_a_mask_counted(tmp_path):
    pair(tmp_path)
    picture(tmp_path / "masks" / "b.png", [[0]])
    picture(tmp_path / "images" / "c.jpg")
    found = read(tmp_path)
    assert [problem.path for problem in found.problems] == [str(tmp_path / "masks" / "b.png")]
    assert found.passed_over == {"photo without a mask": 1}


def test_image_sets_tell_the_split_of_vocs_folders(tmp_path):
    for name in "ab":
        pair(tmp_path, "JPEGImages", "SegmentationClass", name)
    (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("b\n")
    assert [photo.split for photo in read(tmp_path).photos] == [None, "val"]


@pytest.mark.parametrize(
    "line",
    [
        "train/a.jpg trainannot/a.png",
        "train/a.jpg\ttrainannot/a.png",
        "train/a.jpg,trainannot/a.png",
        '"train/a.jpg", "trainannot/a.png"',
        "/SegNet/CamVid/train/a.png /SegNet/CamVid/trainannot/a.png",
        "C:\\SegNet\\train\\a.jpg C:\\SegNet\\trainannot\\a.png",
        "../somewhere/train/a.jpg ../somewhere/trainannot/a.png",
    ],
)
def test_a_line_of_a_list_is_understood_as_people_write_it(tmp_path, line):
    mask = pair(tmp_path, "train", "trainannot")
    (tmp_path / "train.txt").write_text(f"\n{line}\r\n")
    found = read(tmp_path)
    assert [(photo.photo, photo.mask) for photo in found.photos] == [(PhotoFile(tmp_path / "train" / "a.jpg"), mask)]
    assert (found.photos[0].origin, found.problems) == (f"{tmp_path / 'train.txt'}:2", ())


def test_wrong_lines_are_told_by_their_number(tmp_path):
    pair(tmp_path, "train", "trainannot")
    lines = ["train/a.jpg trainannot/a.png", "train/a.jpg", "train/b.jpg trainannot/a.png", "x" * 5000]
    (tmp_path / "train.txt").write_text("\n".join(lines))
    found = read(tmp_path)
    assert len(found.photos) == 1
    assert [problem.path.rpartition(":")[2] for problem in found.problems] == ["2", "3", "4"]
    assert "names train/b.jpg, which is not there" in found.problems[1].message


def test_photos_of_two_lists_are_taken_once_and_those_to_test_on_left_out(tmp_path):
    for name in "abc":
        pair(tmp_path, "photos", "masks", name)
    for split, names in {"train": "a", "val": "b", "trainval": "ab", "test": "c"}.items():
        lines = [f"photos/{name}.jpg masks/{name}.png" for name in names]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines))
    found = read(tmp_path)
    assert [(photo.photo.path.stem, photo.split) for photo in found.photos] == [("a", "train"), ("b", "val")]
    assert found.passed_over == {"photo to test on": 1}


@pytest.mark.parametrize(
    "line", ["../secret.jpg ../secret.png", "/secret.jpg /secret.png", "//server/a.jpg //server/a.png"]
)
def test_no_line_leads_out_of_the_folder(tmp_path, line):
    picture(tmp_path / "secret.jpg")
    picture(tmp_path / "secret.png", [[0]])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train.txt").write_text(line)
    found = read(tmp_path / "set")
    assert (len(found.photos), len(found.problems)) == (0, 1)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("classes.txt", "sky\nroad\ncar\n", ("sky", "road", "car")),
        ("class_names.txt", "_background_\nroad\ncar", (BACKGROUND, "road", "car")),
        ("classnames.txt", "0 background\n1 road\n2 car", (BACKGROUND, "road", "car")),
        ("labels.txt", "__ignore__\n_background_\nroad\ncar", (BACKGROUND, "road", "car")),
        ("classes.txt", "Background\nroad\nVoid\n", (BACKGROUND, "road", IGNORE)),
        ("ids.csv", "id,name\n2,car\n0,unlabelled\n", (IGNORE, IGNORE, "car")),
        ("ids.csv", "Name;Id\ncar;1\nsky;0", ("sky", "car")),
    ],
)
@pytest.mark.parametrize("place", ["masks", ""])
def test_numbers_are_named_by_files_beside_or_above(tmp_path, name, text, expected, place):
    pair(tmp_path)
    (tmp_path / place / name).write_text(text)
    found = read(tmp_path)
    assert (found.mask_classes, found.problems) == (expected, ())


def test_without_names_the_numbers_that_are_there_are_the_names(tmp_path):
    pair(tmp_path, numbers=[[0, 3, 3, 255]] * 3)
    found = read(tmp_path)
    assert (found.mask_classes, found.classes) == (("0", IGNORE, IGNORE, "3"), ("0", "3"))


def test_masks_of_0_and_255_alone_are_of_background_and_object(tmp_path):
    pair(tmp_path, numbers=[[0, 255, 0, 0]] * 3)
    found = read(tmp_path)
    assert (found.problems, found.classes) == ((), ("object",))
    assert "0 and 255 alone, which are read as background and as the class 'object'" in found.remarks[0]
    assert class_mask(found.photos[0], (BACKGROUND, "object"), (4, 3), found).tolist() == [[0, 1, 0, 0]] * 3
    assert survey(found).classes(found.photos[0]) == {"object"}
    measured = measure(found)
    assert (measured.classes[0].pixel_share, measured.ignored_pixels, measured.uncounted) == (0.25, 0, 0)
    pair(tmp_path, name="b", numbers=[[0, 1, 255, 255]] * 3)
    others = read(tmp_path)  # 255 is beside other numbers
    assert (others.classes, others.remarks) == (("0", "1"), ())
    assert class_mask(others.photos[0], ("0", "1"), (4, 3), others).tolist() == [[0, IGNORED, 0, 0]] * 3


@pytest.mark.parametrize(
    ("names", "expected"), [("nothing\nroad\n", [0, 1, 0, 0]), ("nothing\nroad\nsky\n", [0, IGNORED, 0, 0])]
)
def test_two_names_are_those_of_0_and_255_where_masks_hold_no_others(tmp_path, names, expected):
    pair(tmp_path, numbers=[[0, 255, 0, 0]] * 3)
    (tmp_path / "classes.txt").write_text(names)
    found = read(tmp_path)
    assert (found.remarks, found.classes) == ((), tuple(names.split()))
    assert class_mask(found.photos[0], found.classes, (4, 3), found).tolist() == [expected] * 3
    pair(tmp_path, name="b", numbers=[[0, 1, 1, 255]] * 3)
    both = read(tmp_path)
    assert class_mask(both.photos[0], both.classes, (4, 3), both).tolist() == [[0, IGNORED, 0, 0]] * 3


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_colors.txt", "64 128 64\tAnimal\n0 0 0 Void\n192 0 128\tArchway\n"),
        ("class_dict.csv", "name,r,g,b\nAnimal, 64, 128, 64\nVoid,0,0,0\nArchway,192,0,128"),
    ],
)
def test_colours_are_numbered_by_camvids_file(tmp_path, name, text):
    pair(tmp_path, numbers=[[(64, 128, 64), (0, 0, 0), (192, 0, 128), (1, 2, 3)]] * 3)
    (tmp_path / name).write_text(text)
    found = read(tmp_path)
    assert found.mask_classes == ("Animal", IGNORE, "Archway")
    assert found.mask_colors == {(64, 128, 64): 0, (0, 0, 0): 1, (192, 0, 128): 2}


def test_colours_without_a_file_of_them_are_told(tmp_path):
    pair(tmp_path, numbers=np.zeros((3, 4, 3)))
    (problem,) = read(tmp_path).problems
    assert "is a picture of colours" in problem.message
    assert "label_colors.txt" in problem.hint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "\n".join(map(str, range(300)))),
        ("ids.csv", "id,name\n300,car"),
        ("ids.csv", "id,name\n1"),
        ("ids.csv", "id,name\nx,car"),
    ],
)
def test_wrong_names_are_told_and_the_numbers_taken(tmp_path, name, text):
    pair(tmp_path)
    (tmp_path / name).write_text(text)
    found = read(tmp_path)
    assert [problem.path for problem in found.problems] == [str(tmp_path / name)]
    assert found.mask_classes == ("0", "1", "2")


def test_wrong_colours_are_told(tmp_path):
    pair(tmp_path, numbers=np.zeros((3, 4, 3)))
    (tmp_path / "label_colors.txt").write_text("64 128 animal\n")
    assert "no colour and class" in read(tmp_path).problems[0].message


def test_a_damaged_mask_does_not_keep_the_others_from_being_read(tmp_path):
    pair(tmp_path)
    (tmp_path / "masks" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    pair(tmp_path, name="b")
    assert masks.detect(tmp_path, Root(tmp_path)) == "2 masks in masks beside images"
    assert read(tmp_path).mask_classes == ("0", "1", "2")


def test_other_folders_have_no_masks(tmp_path, shared_data):
    picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1")  # YOLO's
    (tmp_path / "train.txt").write_text("images/a.jpg\n")
    assert masks.detect(tmp_path, Root(tmp_path)) is None
    assert masks.detect(shared_data / "hymenoptera", Root(shared_data)) is None
    assert read(tmp_path).photos == ()


def test_a_list_can_be_named(tmp_path):
    pair(tmp_path)
    (tmp_path / "pairs.txt").write_text("images/a.jpg masks/a.png")
    shutil.copy(tmp_path / "pairs.txt", tmp_path / "other.txt")
    found = masks.read(tmp_path / "pairs.txt", Root(tmp_path))
    assert [photo.split for photo in found.photos] == [None]
