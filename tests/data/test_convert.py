"""`data convert`: what a format holds comes back from it as it was; what it does not hold is told."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image
from planted import annotated, box, circle, clean_set, photo, photo_file, polygon, problem

from verydeep.data.annotations import (
    BACKGROUND,
    IGNORE,
    AnnotatedPhoto,
    AnnotatedSet,
    Bitmap,
    Circle,
    Instance,
    PhotoPart,
    Polygons,
)
from verydeep.data.convert import check_target, convert
from verydeep.data.formats import read_annotations
from verydeep.data.pictured import bitmap_of, instance_mask
from verydeep.data.targets import class_mask
from verydeep.data.writers import WRITERS, writer
from verydeep.data.writers.names import Names, folder_names, safe_name
from verydeep.errors import DatasetError, UsageError


def bitmap(label: str) -> Instance:
    mask = np.zeros((40, 60), bool)
    mask[10:30, 20:45] = np.random.default_rng(0).random((20, 25)) > 0.4
    mask[10, 20] = mask[29, 44] = True
    shape = bitmap_of(mask)
    return Instance(label, shape.box(), shape)


@pytest.fixture
def everything(tmp_path: Path) -> AnnotatedSet:
    """Photos with labels, boxes, polygons, circles and bitmaps on two sides; a photo of nothing."""
    root = tmp_path / "from"
    shapes = (polygon("a b", (1.5, 2), (20, 3.25), (9, 30)), circle("dog", 30.5, 20, 7.25), bitmap("dog"))
    boxes = (box("a b", 1, 2, 30.5, 20.25), box("d<&>'\"", 0, 0, 60, 40))
    photos = (
        photo(photo_file(root, "shapes.png"), split="train", instances=shapes),
        photo(photo_file(root, "boxes.jpg"), split="val", instances=boxes),
        photo(photo_file(root, "labels.png"), "cat", split="train"),
        photo(photo_file(root, "sub/nothing.png"), split="val"),
    )
    return annotated(root, *photos)


def known(photos: Iterable[AnnotatedPhoto], *what: str) -> dict[str, tuple]:
    """What is told of each photo, by its stem; boxes rounded to a thousandth of a pixel."""

    def of(one: AnnotatedPhoto) -> dict[str, object]:
        return {
            "labels": one.labels,
            "split": one.split,
            "boxes": [(each.label, tuple(round(edge, 3) for edge in each.box)) for each in one.instances],
            "shapes": [each.shape for each in one.instances],
        }

    found = {Path(one.photo.name.rpartition(":")[2]).stem: tuple(of(one)[name] for name in what) for one in photos}
    assert found
    return found


def back(found: AnnotatedSet, to: str, out: Path, **options: str) -> AnnotatedSet:
    """Written as `to` and read again."""
    converted = convert(found, out, to, **options)
    assert converted.failures == ()
    read = read_annotations(out, to)
    assert read.problems == ()
    return read


def without(found: AnnotatedSet, *stems: str) -> AnnotatedSet:
    return replace(found, photos=tuple(one for one in found.photos if one.photo.path.stem not in stems))


# There and back


def test_labelme_holds_labels_boxes_and_shapes(everything, tmp_path):
    read = back(everything, "labelme", tmp_path / "to")
    assert known(read.photos, "labels", "split", "boxes") == known(everything.photos, "labels", "split", "boxes")
    shapes = known(read.photos, "shapes")["shapes"][0]
    assert [type(shape) for shape in shapes] == [Polygons, Circle, Bitmap]
    assert shapes == [instance.shape for instance in everything.photos[0].instances]
    assert all(one.size == (60, 40) for one in read.photos)


def test_coco_holds_boxes_and_shapes(everything, tmp_path):
    converted = convert(everything, tmp_path / "to", "coco")
    assert converted.losses == ("coco holds no labels of whole photos: those of 1 photo are lost",)
    read = read_annotations(tmp_path / "to", "coco")
    assert known(read.photos, "split", "boxes") == known(everything.photos, "split", "boxes")
    polygons, disc, bits = known(read.photos, "shapes")["shapes"][0]
    shape, circled, bitmapped = everything.photos[0].instances
    assert polygons == shape.shape
    assert len(disc.rings[0]) == 64
    same = replace(everything.photos[0], instances=(replace(circled, shape=disc),))
    covered = class_mask(same, ("dog", BACKGROUND), (60, 40)) == 0
    assert abs(int(covered.sum()) - np.pi * 7.25**2) < 0.2 * np.pi * 7.25**2  # with the outline
    assert isinstance(bits, Bitmap)
    assert bitmap_of(instance_mask(same, replace(bitmapped, shape=bits), (60, 40))) == bitmapped.shape


@pytest.mark.parametrize("to", ["voc", "table", "imagefolder", "webdataset"])
def test_these_hold_boxes(to, everything, tmp_path):
    left_out = () if to != "voc" else ("labels",)
    given = without(everything, *left_out)
    converted = convert(given, tmp_path / "to", to)
    assert f"{to} holds no polygons: 3 shapes become boxes" in converted.losses
    read = read_annotations(tmp_path / "to", to)
    assert read.problems == ()
    assert known(read.photos, "labels", "split", "boxes") == known(given.photos, "labels", "split", "boxes")


def test_voc_tells_that_labels_are_lost(everything, tmp_path):
    assert convert(everything, tmp_path / "to", "voc").losses[0].startswith("voc holds no labels of whole photos")
    tree = ElementTree.parse(tmp_path / "to" / "Annotations" / "boxes.xml")  # noqa: S314, our own
    assert [name.text for name in tree.iter("name")] == ["a b", "d<&>'\""]


@pytest.mark.parametrize("to", ["labelme", "table", "imagefolder", "webdataset"])
def test_these_hold_several_labels(to, tmp_path):
    root = tmp_path / "from"
    photos = (photo(photo_file(root, "a.png"), "cat", "dog"), photo(photo_file(root, "b.png"), "emu"))
    read = back(annotated(root, *photos), to, tmp_path / "to")
    assert known(read.photos, "labels", "split") == {"a": (("cat", "dog"), None), "b": (("emu",), None)}


@pytest.mark.parametrize("to", ["labelme", "table", "imagefolder", "webdataset"])
def test_these_hold_a_label_beside_boxes(to, tmp_path):
    root = tmp_path / "from"
    found = annotated(root, photo(photo_file(root, "a.png"), "kitchen", instances=(box("cup", 1, 2, 30, 20),)))
    read = back(found, to, tmp_path / "to")
    assert known(read.photos, "labels", "boxes") == known(found.photos, "labels", "boxes")


def test_class_folders_come_back_whatever_the_classes_are_called(tmp_path):
    root = tmp_path / "from"
    labels = ("cat", "Cat", "a/b", "..", "con", "x" * 300, "-rf", "猫", "=1+1", "tab\there")
    photos = [
        photo(photo_file(root, f"{number}.png"), label, split="val" if number % 2 else "train")
        for number, label in enumerate((*labels, *labels[1:], labels[0]))
    ]
    read = back(annotated(root, *photos), "folders", tmp_path / "to")
    assert {path.parent.parent for path in (tmp_path / "to").rglob("*.png")} == {
        tmp_path / "to" / side for side in ("train", "val")
    }
    lines = (tmp_path / "to" / "folders.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split("\t") for line in lines)
    original = {names.get(label, label) for one in read.photos for label in one.labels}
    assert original == {label.replace("\t", "\\t") for label in labels}


def test_objects_of_one_class_make_a_class_folder(tmp_path):
    clean = clean_set(tmp_path / "from")
    photos = tuple(replace(one, labels=(), instances=(box(one.labels[0], 1, 1, 9, 9),)) for one in clean.photos)
    converted = convert(replace(clean, photos=photos), tmp_path / "to", "folders")
    assert converted.losses == ("folders holds no boxes: 12 boxes are lost",)
    assert len(list((tmp_path / "to" / "val" / "dog").iterdir())) == 2


def test_photos_of_several_classes_are_left_out_of_folders_and_told(tmp_path):
    clean = clean_set(tmp_path / "from")
    both = photo(photo_file(tmp_path / "from", "both.png"), "cat", "dog")
    converted = convert(replace(clean, photos=(*clean.photos, both)), tmp_path / "to", "folders")
    assert converted.photos == 12
    assert "both.png shows cat, dog; a folder is for photos of one class. Give it one label" in converted.failures[0]


def test_shapes_become_masks_that_teach_the_same(everything, tmp_path):
    given = without(everything, "labels", "boxes")
    converted = convert(given, tmp_path / "to", "masks")
    read = read_annotations(tmp_path / "to", "masks")
    assert converted.losses == ()
    assert read.mask_classes == (BACKGROUND, "a b", "dog")
    assert known(read.photos, "split") == known(given.photos, "split")
    by_stem = {one.photo.path.stem: one for one in read.photos}
    names = ("dog", BACKGROUND, "a b")
    for one in given.photos:
        again = class_mask(by_stem[one.photo.path.stem], names, (60, 40), read)
        assert (again == class_mask(one, names, (60, 40))).all()


@pytest.mark.parametrize("to", ["masks", "labelme", "coco"])
def test_masks_come_back(to, tmp_path):
    root = tmp_path / "from"
    random = np.random.default_rng(0)
    photos = []
    for name in "abc":
        numbers = np.kron(random.integers(0, 4, (4, 6)), np.ones((10, 10))).astype(np.uint8)
        if to == "masks":
            numbers[numbers == 3] = 255
        Image.fromarray(numbers).save(root.mkdir(exist_ok=True) or root / f"{name}-mask.png")
        photos.append(photo(photo_file(root, f"{name}.png"), mask=root / f"{name}-mask.png"))
    classes = ("sky", BACKGROUND, "road", "car") if to != "masks" else ("sky", BACKGROUND, "road")
    found = annotated(root, *photos, mask_classes=classes)
    read = back(found, to, tmp_path / "to")
    by_stem = {Path(one.photo.name).stem: one for one in read.photos}
    known_names = list(dict.fromkeys((*classes, BACKGROUND)))
    for one in photos:
        expected = class_mask(one, known_names, (60, 40), found)
        again = class_mask(by_stem[one.photo.path.stem], known_names, (60, 40), read)
        assert (again == expected).all()


@pytest.mark.parametrize("to", [name for name in WRITERS if name not in ("masks", "folders")])
def test_birds_come_back_from_every_format_that_holds_boxes(to, shared_data, tmp_path):
    folder = shared_data / "cub-birds-loc"
    found = read_annotations(folder / "labelme", "labelme", folder)
    found = replace(found, photos=found.photos[::40])
    read = back(found, to, tmp_path / "to", photos="link")
    assert known(read.photos, "boxes") == known(found.photos, "boxes")
    assert {one.size for one in read.photos} <= {one.size for one in found.photos} | {None}


def test_coco_photos_come_back_from_coco_with_the_same_pixels(shared_data, tmp_path):
    found = read_annotations(shared_data / "coco128" / "labelme", "labelme", shared_data / "coco128")
    found = replace(found, photos=found.photos[:10])
    for to in ("labelme", "coco"):
        read = back(found, to, tmp_path / to)
        classes = (*found.classes, BACKGROUND)
        again = {Path(one.photo.name).stem: one for one in read.photos}
        for one in found.photos:
            other = again[Path(one.photo.name).stem]
            assert one.size is not None
            assert (class_mask(one, classes, one.size) == class_mask(other, classes, one.size)).all()


# Photos


def test_photos_are_copied_linked_or_left_where_they_are(everything, tmp_path):
    source = everything.photos[0].photo.path
    convert(everything, tmp_path / "copied", "labelme", "copy")
    convert(everything, tmp_path / "linked", "labelme", "link")
    copied, linked = (tmp_path / name / "train" / "shapes.png" for name in ("copied", "linked"))
    assert copied.read_bytes() == linked.read_bytes() == source.read_bytes()
    assert linked.samefile(source)
    assert not copied.samefile(source)


def test_where_no_link_can_be_made_photos_are_copied(everything, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    convert(everything, tmp_path / "to", "labelme", "link")
    assert (tmp_path / "to" / "train" / "shapes.png").is_file()


@pytest.mark.parametrize("to", ["labelme", "coco", "table", "voc"])
def test_annotations_alone_name_the_photos_where_they_are(to, everything, tmp_path):
    given = without(everything, "labels")
    converted = convert(given, tmp_path / "deep" / "to", to, "none")
    assert "--root" in converted.losses[-1]
    assert not [path for path in (tmp_path / "deep").rglob("*") if path.suffix in (".png", ".jpg")]
    out = tmp_path / "deep" / "to"
    out = out / "annotations.csv" if to == "table" else out  # which no photo beside it marks as one
    read = read_annotations(out, to, tmp_path)
    assert read.problems == ()
    assert {one.photo.path.resolve() for one in read.photos} == {one.photo.path for one in given.photos}
    assert read_annotations(out, to).problems  # outside of what they may name


@pytest.mark.parametrize("to", ["labelme", "voc"])
def test_annotations_alone_of_photos_of_one_name_are_all_there(to, tmp_path):
    paths = [photo_file(tmp_path / "from", name) for name in ("cat/1.png", "dog/1.png", "dog/1.JPG")]
    objects = [box(label, 1, 2, 30, 20) for label in ("cat", "dog", "fox")]
    given = annotated(tmp_path, *(photo(path, instances=(one,)) for path, one in zip(paths, objects, strict=True)))
    assert convert(given, tmp_path / "to", to, "none").photos == 3
    read = read_annotations(tmp_path / "to", to, tmp_path)
    found = {one.photo.path.resolve(): one.instances[0].label for one in read.photos}
    assert found == dict(zip(paths, ("cat", "dog", "fox"), strict=True))


@pytest.mark.parametrize("to", ["folders", "imagefolder", "webdataset", "masks"])
def test_formats_that_are_folders_of_photos_want_them(to, everything, tmp_path):
    with pytest.raises(UsageError, match="photos in its own folder"):
        convert(everything, tmp_path / "to", to, "none")


def test_photos_within_files_are_written_as_files(shared_data, tmp_path):
    root = tmp_path / "from"
    data = photo_file(root, "a.png").read_bytes()
    (root / "b.tar").write_bytes(b"x" * 10 + data)
    part = PhotoPart(root / "b.tar", "0001.png", 10, len(data))
    found = annotated(root, AnnotatedPhoto(part, "b.tar:0001", ("cat",)))
    assert convert(found, tmp_path / "to", "labelme").photos == 1
    assert (tmp_path / "to" / "0001.png").read_bytes() == data
    embedded = read_annotations(shared_data / "labelme-examples" / "tutorial", "labelme")
    assert convert(embedded, tmp_path / "other", "coco").failures == ()


@pytest.mark.parametrize("photos", ["copy", "none"])
def test_a_label_that_a_table_would_take_for_several_is_left_out_and_told(tmp_path, photos):
    paths = [photo_file(tmp_path / "from", name) for name in ("a.png", "b.png", "c.png")]
    given = annotated(
        tmp_path,
        photo(paths[0], "cat", "dog"),
        photo(paths[1], "cat;dog"),
        photo(paths[2], instances=(box("a|b", 1, 2, 3, 4),)),
    )
    converted = convert(given, tmp_path / "to", "table", photos)
    assert converted.photos == 1
    assert [
        f"the label {label!r}, which a table would take for several" in told
        for label, told in zip(("cat;dog", "a|b"), converted.failures, strict=True)
    ] == [True, True]
    read = read_annotations(tmp_path / "to" / "annotations.csv", "table", tmp_path)
    assert [one.labels for one in read.photos] == [("cat", "dog")]
    assert convert(given, tmp_path / "other", "labelme", photos).failures == ()


def test_photos_of_one_name_get_names_of_their_own(tmp_path):
    root = tmp_path / "from"
    paths = [photo_file(root, name, seed) for seed, name in enumerate(("a/x.png", "b/x.png", "c/X.PNG", "d/x.jpg"))]
    read = back(annotated(root, *(photo(path, "cat") for path in paths)), "table", tmp_path / "to")
    names = sorted(path.name for path in (tmp_path / "to" / "images").iterdir())
    assert names == ["X-3.PNG", "x-2.png", "x-4.jpg", "x.png"]
    assert len(read.photos) == 4


def test_a_photo_on_its_side_keeps_its_tag_and_its_boxes(tmp_path):
    root = tmp_path / "from"
    path = photo_file(root, "lying.jpg", size=(90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    as_stored = annotated(root, photo(path, instances=(box("dog", 0, 50, 30, 60),), size=(90, 60)))
    read = back(as_stored, "coco", tmp_path / "to")
    assert read.photos[0].size == (60, 90)
    assert tuple(read.photos[0].instances[0].box) == (0, 0, 10, 30)


# What goes wrong


def test_what_cannot_be_read_is_left_out_and_told(tmp_path):
    clean = clean_set(tmp_path / "from")
    (tmp_path / "from" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    bad = (photo(tmp_path / "from" / "gone.png", "cat"), photo(tmp_path / "from" / "cut.png", "cat"))
    found = replace(clean, photos=(*clean.photos, *bad), problems=(problem(tmp_path / "a.json"),))
    converted = convert(found, tmp_path / "to", "table")
    assert (converted.photos, len(converted.failures)) == (12, 3)
    assert "a.json" in converted.failures[0]
    only_bad = replace(clean, photos=bad)
    with pytest.raises(DatasetError, match="no photo could be written as table") as caught:
        convert(only_bad, tmp_path / "other", "table")
    assert "another format" in caught.value.hint
    assert not (tmp_path / "other").exists()
    assert not list(tmp_path.glob(".verydeep*"))


def test_a_folder_that_is_not_empty_is_refused_and_an_empty_one_taken(tmp_path):
    clean = clean_set(tmp_path / "from")
    with pytest.raises(UsageError, match="not empty"):
        convert(clean, tmp_path / "from", "table")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="there already"):
        check_target(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert convert(clean, tmp_path / "empty", "table").photos == 12


def test_a_conversion_that_fails_leaves_nothing(tmp_path, monkeypatch):
    clean = clean_set(tmp_path / "from")
    monkeypatch.setattr("verydeep.data.writers.table.atomic_write", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        convert(clean, tmp_path / "to", "table")
    assert list(tmp_path.iterdir()) == [tmp_path / "from"]


@pytest.mark.parametrize("to", ["masks", "voc", "coco"])
def test_formats_that_would_keep_nothing_are_refused(to, tmp_path):
    with pytest.raises(DatasetError, match="nothing would be left.*there are labels"):
        convert(clean_set(tmp_path / "from"), tmp_path / "to", to)


def test_more_classes_than_a_mask_has_numbers_are_refused(tmp_path):
    root = tmp_path / "from"
    many = tuple(polygon(f"class {number}", (1, 1), (9, 1), (5, 9)) for number in range(255))
    found = annotated(root, photo(photo_file(root, "a.png"), instances=many))
    with pytest.raises(UsageError, match="256 classes"):
        convert(found, tmp_path / "to", "masks")


def test_an_unknown_format_is_told_with_those_that_there_are():
    with pytest.raises(UsageError, match="labelme, voc, coco"):
        writer("yolo")


# Names


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("a\\b:c*?", "a_b_c__"),
        ("..", "_"),
        ("", "_"),
        (" .x. ", "x"),
        ("nul", "_nul"),
        ("COM1.txt", "_COM1.txt"),
        ("-rf", "_rf"),
        ("a\x1b[31mb\n", "a_[31mb_"),
        ("caf\u0065\u0301", "café"),
        ("\ud800", "_"),
    ],
)
def test_names_are_safe(text, name):
    assert safe_name(text) == name


def test_a_long_name_is_cut_between_letters():
    assert len(safe_name("猫" * 100).encode()) == 120
    assert len(safe_name("x" * 500)) == 120


def test_names_are_given_once_whatever_letters_are_capitals():
    names = Names()
    assert [names.take(name) for name in ("cat", "Cat", "cat", "cat-2")] == ["cat", "Cat-2", "cat-3", "cat-2-2"]
    assert len(set(map(str.casefold, folder_names(["a/b", "a_b", "a:b", "A_B"]).values()))) == 4


def test_what_teaches_nothing_stays_so(tmp_path):
    root = tmp_path / "from"
    shapes = (polygon(IGNORE, (0, 0), (9, 0), (9, 9)), polygon("dog", (20, 5), (50, 5), (50, 30)))
    read = back(annotated(root, photo(photo_file(root, "a.png"), instances=shapes)), "masks", tmp_path / "to")
    assert read.mask_classes == (BACKGROUND, "dog")
    assert 255 in class_mask(read.photos[0], ("dog", BACKGROUND), (60, 40), read)


def test_json_is_what_it_was_done_with(tmp_path):
    converted = convert(clean_set(tmp_path / "from"), tmp_path / "to", "table")
    assert json.loads(json.dumps(converted.to_dict()))["photos"] == 12
