"""`data check`: each fault that is planted is found, with its file; a clean set is clean; real sets are as they are."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import annotated, box, clean_set, findings, photo, photo_file, problem

from verydeep.data.annotations import BACKGROUND, IGNORE, AnnotatedSet, EmbeddedPhoto
from verydeep.data.convert import convert
from verydeep.data.duplicates import (
    MOST_BITS,
    Fingerprint,
    correlations,
    fingerprint,
    near_groups,
)
from verydeep.data.findings import counted, listed
from verydeep.data.formats import read_annotations
from verydeep.data.survey import count_files, survey
from verydeep.image import read_image
from verydeep.image.decode import decode_numbers


def only(found: AnnotatedSet) -> set[str]:
    return set(findings(found))


def test_a_clean_set_is_clean(tmp_path):
    assert findings(clean_set(tmp_path)) == {}


# Photos


def test_photos_that_cannot_be_read_and_those_that_are_missing_are_told_apart(tmp_path):
    clean = clean_set(tmp_path)
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (tmp_path / "text.png").write_text("not a picture")
    bad = [photo(tmp_path / name, "cat", split="train") for name in ("cut.jpg", "text.png", "gone.png")]
    found = findings(replace(clean, photos=(*clean.photos, *bad)))
    assert set(found) == {"unreadable-photo", "missing-photo"}
    assert found["unreadable-photo"].files == ("cut.jpg", "text.png")
    assert "first bytes" in found["unreadable-photo"].places[1].note
    assert found["missing-photo"].files == ("gone.png",)
    assert "gone.png.txt" in found["missing-photo"].places[0].note
    assert {finding.severity for finding in found.values()} == {"error"}


def test_annotations_that_cannot_be_read_are_errors(tmp_path):
    clean = clean_set(tmp_path)
    found = findings(replace(clean, problems=(problem(tmp_path / "a.json"),)))
    assert found["unreadable-annotation"].files == ("a.json",)
    assert found["unreadable-annotation"].message == "1 annotation cannot be used"


def test_tiny_photos_are_found(tmp_path):
    clean = clean_set(tmp_path)
    tiny = photo(photo_file(tmp_path, "tiny.png", size=(31, 200)), "cat", split="train")
    found = findings(replace(clean, photos=(*clean.photos, tiny)))
    assert (found["tiny-photo"].severity, found["tiny-photo"].places[0].note) == ("warning", "31 x 200 pixels")


@pytest.mark.parametrize("to", ["labelme", "voc", "coco", "table", "imagefolder"])
def test_photos_that_no_annotation_names_are_told(tmp_path, to):
    boxed = [
        photo(photo_file(tmp_path / "from", f"{number}.png"), split=split, instances=(box("cat", 1, 2, 30, 30),))
        for number, split in enumerate(("train", "train", "val"))
    ]
    convert(annotated(tmp_path, *boxed), tmp_path / "to", to)
    read = read_annotations(tmp_path / "to", to)
    assert "unnamed-photo" not in findings(read)
    forgotten = photo_file(read.photos[0].photo.path.parent, "forgotten.JPG")
    photo_file(forgotten.parent, ".hidden.jpg")
    found = findings(read_annotations(tmp_path / "to", to))["unnamed-photo"]
    assert found.files == (str(forgotten.relative_to(tmp_path / "to")),)
    assert found.message == "no annotation that can be read names 1 photo beside the others"
    assert found.severity == "note"


def test_photos_to_test_on_and_those_that_two_ways_lead_to_are_named(tmp_path):
    for name in ("a.png", "b.png", "c.png", "d.png"):
        photo_file(tmp_path / "photos", name)
    (tmp_path / "again").symlink_to(tmp_path / "photos")
    rows = "photos/a.png,cat,train\nagain/b.png,dog,train\nagain/c.png,dog,val\nphotos/d.png,cat,test\n"
    (tmp_path / "table.csv").write_text(f"path,label,split\n{rows}")
    found = read_annotations(tmp_path, "table")
    assert len(found.photos) == 3
    assert "unnamed-photo" not in findings(found)
    photo_file(tmp_path / "photos", "e.png")
    assert findings(found)["unnamed-photo"].files == ("again/e.png",)


# Duplicates


def test_the_same_bytes_twice_are_a_duplicate(tmp_path):
    clean = clean_set(tmp_path)
    twin = photo(photo_file(tmp_path, "cat0.png"), "cat", split="train").photo.path
    copy = tmp_path / "copy.png"
    copy.write_bytes(twin.read_bytes())
    found = findings(replace(clean, photos=(*clean.photos, photo(copy, "cat", split="train"))))
    assert set(found) == {"duplicate"}
    assert found["duplicate"].places[0].files == ("cat0.png", "copy.png")
    assert found["duplicate"].severity == "warning"


def test_the_same_bytes_on_both_sides_are_a_leak_and_of_two_classes_a_contradiction(tmp_path):
    clean = clean_set(tmp_path)
    (tmp_path / "leak.png").write_bytes((tmp_path / "cat0.png").read_bytes())
    (tmp_path / "liar.png").write_bytes((tmp_path / "dog0.png").read_bytes())
    more = (photo(tmp_path / "leak.png", "cat", split="val"), photo(tmp_path / "liar.png", "cat", split="train"))
    found = findings(replace(clean, photos=(*clean.photos, *more)))
    assert set(found) == {"leak-duplicate", "contradiction-duplicate"}
    assert found["leak-duplicate"].severity == found["contradiction-duplicate"].severity == "error"
    assert found["leak-duplicate"].places[0].note == "train | val"
    assert found["contradiction-duplicate"].places[0].note == "dog | cat"


def test_of_a_large_group_it_is_told_how_many_are_on_each_side(tmp_path):
    """Not one by one: of 1,500 photos that are nearly the same this was a line of 10,000 letters."""
    clean = clean_set(tmp_path)
    copies = []
    for number in range(9):
        copies.append(photo(tmp_path / f"copy{number}.png", "dog", split="train" if number < 3 else "val"))
        copies[-1].photo.path.write_bytes((tmp_path / "cat0.png").read_bytes())
    found = findings(replace(clean, photos=(*clean.photos, *copies)))
    assert found["leak-duplicate"].places[0].note == "6 val | 4 train"
    assert found["contradiction-duplicate"].places[0].note == "9 dog | 1 cat"


def test_one_photo_that_two_files_name_is_told_by_these(tmp_path):
    clean = clean_set(tmp_path)
    again = replace(clean.photos[0], origin=str(tmp_path / "other.json"))
    found = findings(replace(clean, photos=(*clean.photos, again)))
    assert found["duplicate"].files == ("cat0.png by cat0.png.txt", "cat0.png by other.json")


@pytest.mark.parametrize("how", ["saved again", "half as large", "brighter", "in grey", "cut a little"])
def test_a_photo_that_is_nearly_another_is_found(how, tmp_path):
    clean = clean_set(tmp_path)
    picture = Image.open(photo_file(tmp_path, "one.png", seed=5, size=(300, 200)))
    changed = {
        "saved again": lambda: picture,
        "half as large": lambda: picture.resize((150, 100), Image.Resampling.BILINEAR),
        "brighter": lambda: picture.point(lambda value: min(255, value + 25)),
        "in grey": lambda: picture.convert("L"),
        "cut a little": lambda: picture.crop((3, 2, 297, 198)),
    }[how]()
    changed.save(tmp_path / "two.jpg", quality=70)
    more = (photo(tmp_path / "one.png", "cat", split="train"), photo(tmp_path / "two.jpg", "cat", split="val"))
    found = findings(replace(clean, photos=(*clean.photos, *more)))
    assert set(found) == {"leak-near-duplicate"}
    assert (found["leak-near-duplicate"].severity, found["leak-near-duplicate"].files) == (
        "warning",
        ("one.png", "two.jpg"),
    )


def test_pictures_of_one_colour_are_like_no_other(tmp_path):
    for name, level in (("white", 255), ("grey", 128), ("black", 0)):
        Image.new("RGB", (50, 50), (level,) * 3).save(tmp_path / f"{name}.png")
    assert fingerprint(read_image(tmp_path / "grey.png")) is None
    photos = [photo(tmp_path / f"{name}.png", "cat") for name in ("white", "grey", "black")]
    assert "near-duplicate" not in only(annotated(tmp_path, *photos))


def test_bits_and_correlation_have_both_to_agree():
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (32, 36)).astype(np.uint8)
    other = random.integers(0, 256, (32, 36)).astype(np.uint8)
    bits = 0x0123456789ABCDEF
    assert near_groups([Fingerprint(bits, grey), Fingerprint(bits, other)]) == []
    close = Fingerprint(bits ^ (2**MOST_BITS - 1), grey)
    far = Fingerprint(bits ^ (2 ** (MOST_BITS + 1) - 1), grey)
    assert near_groups([Fingerprint(bits, grey), close]) == [[0, 1]]
    assert near_groups([Fingerprint(bits, grey), far]) == []


def test_bits_that_differ_in_seven_different_bytes_are_found():
    grey = np.arange(32 * 36, dtype=np.uint16).reshape(32, 36).astype(np.uint8)
    for spared in range(8):
        differing = sum(1 << (8 * byte + byte) for byte in range(8) if byte != spared)
        assert near_groups([Fingerprint(7, grey), Fingerprint(7 ^ differing, grey)]) == [[0, 1]]


def test_what_is_like_one_of_a_group_belongs_to_it():
    grey = np.arange(32 * 36, dtype=np.uint16).reshape(32, 36).astype(np.uint8)
    prints = [Fingerprint(bits, grey) for bits in (0, 0xFFFF << 40, 0b11111, 0b1111111111)]
    assert near_groups(prints) == [[0, 2, 3]]


def test_correlation_is_blind_to_brightness_and_contrast():
    grey = np.random.default_rng(0).integers(0, 100, (32, 36))
    others = np.stack([2 * grey + 30, 255 - grey])
    np.testing.assert_allclose(correlations(grey[None], others), [[1, -1]], atol=1e-5)


def test_photos_of_one_hash_are_compared_once_and_fast(monkeypatch):
    """A thousand of them, such as scans of text, are half a million pairs in each of eight bytes."""
    made = []

    def counted_correlations(ones, others):
        made.append(len(ones) * len(others))
        return correlations(ones, others)

    monkeypatch.setattr("verydeep.data.duplicates.correlations", counted_correlations)
    greys = np.random.default_rng(0).integers(0, 256, (1000, 32, 36), np.uint8)
    greys[700] = greys[3]
    assert near_groups([Fingerprint(5, grey) for grey in greys]) == [[3, 700]]
    assert sum(made) < 1000**2


def test_photos_of_imagenette_that_are_saved_again_are_found_and_no_others_are_taken_for_them(shared_data):
    """The thresholds: 200 photos, each saved again smaller and worse, among the 400 of them all."""
    paths = sorted((shared_data / "imagenette-144" / "val").glob("*/*.jpg"))[:200]
    images = [read_image(path) for path in paths]
    again = [np.asarray(Image.fromarray(image).resize((120, 100), Image.Resampling.BILINEAR)) for image in images]
    prints = [fingerprint(image) for image in (*images, *again)]
    assert None not in prints
    groups = near_groups(prints)
    together = [group for group in groups if any(position + 200 in group for position in group)]
    assert sum(len(group) for group in together) >= 0.98 * 400
    assert sum(len(group) > 2 for group in groups) <= 2


# Objects


def objects_set(root: Path, *instances, **more) -> AnnotatedSet:
    clean = clean_set(root)
    return replace(clean, photos=(*clean.photos[:-1], replace(clean.photos[-1], instances=instances, **more)))


def test_boxes_outside_and_over_the_edge_are_found(tmp_path):
    found = findings(
        objects_set(
            tmp_path,
            box("dog", 0, 0, 60, 40),
            box("dog", 0.0, 0.0, 60.7, 40.2),
            box("dog", 60, 0, 80, 20),
            box("dog", -9, -9, -1, -2),
            box("dog", -5, 10, 30, 30),
            box("dog", 10, 10, 30, 55),
        )
    )
    assert len(found["box-outside"].places) == len(found["box-partly-outside"].places) == 2
    assert found["box-outside"].files == ("dog5.png.txt",)
    assert found["box-outside"].places[0].note == (
        "dog: left 60, top 0, right 80, bottom 20; the photo has 60 x 40 pixels"
    )


def test_boxes_without_area_and_tiny_ones_are_found(tmp_path):
    found = findings(objects_set(tmp_path, box("dog", 5, 5, 5, 9), box("dog", 5, 5, 7, 30), box("dog", 5, 5, 8, 8)))
    assert len(found["box-without-area"].places) == len(found["tiny-box"].places) == 1
    assert (found["box-without-area"].severity, found["tiny-box"].severity) == ("error", "warning")


def test_a_size_that_is_not_the_photos_is_an_error_where_there_are_boxes(tmp_path):
    found = findings(objects_set(tmp_path, box("dog", 5, 5, 25, 25), size=(120, 80)))
    assert found["other-size"].severity == "error"
    assert found["other-size"].places[0].note == "told 120 x 80, has 60 x 40"
    assert findings(objects_set(tmp_path, size=(120, 80)))["other-size"].severity == "warning"
    assert "other-size" not in only(objects_set(tmp_path, box("dog", 5, 5, 25, 25), size=(60, 40)))


def test_boxes_drawn_on_a_photo_as_it_is_stored_are_turned_with_it(tmp_path):
    path = photo_file(tmp_path, "lying.jpg", size=(90, 60))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    lying = photo(path, instances=(box("dog", 0, 50, 90, 60),), size=(90, 60))
    found = findings(annotated(tmp_path, lying))
    assert found["annotated-as-stored"].severity == "note"
    assert not {"other-size", "box-outside", "box-partly-outside"} & set(found)


def masked_set(root: Path, numbers: np.ndarray, **more) -> AnnotatedSet:
    clean = clean_set(root)
    Image.fromarray(numbers.astype(np.uint8)).save(root / "mask.png")
    last = replace(clean.photos[-1], labels=(), mask=root / "mask.png")
    return replace(clean, photos=(*clean.photos[:-1], last), mask_classes=(BACKGROUND, "dog"), **more)


def test_numbers_in_masks_that_no_class_has_are_counted(tmp_path):
    numbers = np.zeros((40, 60))
    numbers[:10, :10] = 1
    numbers[0, :3] = 7
    numbers[1, :2] = 255
    found = findings(masked_set(tmp_path, numbers))
    assert found["nameless-number"].places[0].note == "number 7: 3 pixels"
    assert found["nameless-number"].files == ("mask.png",)
    assert "rare-class" not in found  # the pixels of class 1 make it the sixth photo with a dog


def test_a_mask_of_numbers_is_decoded_once_and_colours_without_a_class_are_counted(tmp_path, monkeypatch):
    decoded = []
    monkeypatch.setattr(
        "verydeep.data.targets.decode_numbers", lambda *args: decoded.append(args) or decode_numbers(*args)
    )
    numbers = np.zeros((40, 60))
    numbers[0, :3] = 7
    found = masked_set(tmp_path, numbers)
    assert survey(found).masks[tmp_path / "mask.png"].unnamed == {"7": 3}
    assert len(decoded) == 1

    colors = np.zeros((40, 60, 3), np.uint8)
    colors[0, :5] = (1, 2, 3)
    Image.fromarray(colors).save(tmp_path / "mask.png")
    colored = replace(found, mask_colors={(0, 0, 0): 0})
    assert survey(colored).masks[tmp_path / "mask.png"].unnamed == {"#010203": 5}


def test_masks_want_names_for_their_classes(tmp_path):
    found = masked_set(tmp_path, np.ones((40, 60)))
    assert "classes-without-names" not in only(found)
    told = findings(replace(found, mask_classes=("0", "1", IGNORE, "3")))["classes-without-names"]
    assert (told.severity, told.message[-7:]) == ("note", "0, 1, 3")


def test_frames_of_one_scene_with_other_objects_do_not_contradict(tmp_path):
    frames = []
    for quality, labels in ((60, "ab"), (90, "abc")):
        path = tmp_path / f"{quality}.jpg"
        Image.open(photo_file(tmp_path, "scene.png")).save(path, quality=quality)
        frames.append(photo(path, instances=tuple(box(label, 1, 1, 9, 9) for label in labels)))
    assert "contradiction-near-duplicate" not in only(annotated(tmp_path, *frames))
    assert "near-duplicate" in only(annotated(tmp_path, *frames))


def test_a_mask_of_another_size_and_one_that_cannot_be_read_are_found(tmp_path):
    found = masked_set(tmp_path, np.ones((20, 30)))
    assert findings(found)["mask-size"].places[0].note == "the mask has 30 x 20 pixels, the photo 60 x 40"
    (tmp_path / "mask.png").write_text("nothing")
    assert findings(found)["unreadable-mask"].files == ("mask.png",)
    assert count_files(found) == 13


# Classes


def relabelled(found: AnnotatedSet, **names: str) -> AnnotatedSet:
    """names: of a photo's file without its suffix -> its label."""
    photos = (
        replace(one, labels=(names[one.photo.path.stem],)) if one.photo.path.stem in names else one
        for one in found.photos
    )
    return replace(found, photos=tuple(photos))


@pytest.mark.parametrize("spelt", ["Cat", "cat ", "CATS", "c-a_t", "cats", "ｃａｔ"])
def test_a_class_in_two_spellings_is_found(spelt, tmp_path):
    found = findings(relabelled(clean_set(tmp_path), cat0=spelt))
    assert "'cat': 5" in found["similar-labels"].places[0].note
    assert repr(spelt) in found["similar-labels"].places[0].note


def test_plurals_of_other_kinds_are_found_and_different_words_are_not(tmp_path):
    words = ("berry", "berries", "bus", "buses", "glass", "grass", "C", "C++", "s", "es", IGNORE, "")
    photos = [photo(photo_file(tmp_path, f"{number}.png"), word) for number, word in enumerate(words)]
    found = findings(annotated(tmp_path, *photos))["similar-labels"]
    assert sorted(place.note for place in found.places) == ["'berries': 1 | 'berry': 1", "'bus': 1 | 'buses': 1"]


def test_classes_on_one_side_only_are_found(tmp_path):
    found = findings(relabelled(clean_set(tmp_path), cat0="emu", dog5="yak"))
    assert (found["class-only-in-val"].severity, found["class-only-in-val"].places[0].note) == ("error", "yak")
    assert (found["class-only-in-train"].severity, found["class-only-in-train"].places[0].note) == ("warning", "emu")


def test_rare_and_unequal_classes_are_found(tmp_path):
    rare = photo(photo_file(tmp_path, "emu.png"), "emu")
    plenty = [photo(photo_file(tmp_path, f"{label}{i}.png"), label) for label in ("a", "b") for i in range(12)]
    found = findings(annotated(tmp_path, *plenty, rare))
    assert found["rare-class"].places[0].note == "emu: 1 photo"
    assert found["unequal-classes"].severity == "warning"
    assert "12.0 times" in found["unequal-classes"].message
    assert findings(annotated(tmp_path, *plenty[:15]))["unequal-classes"].severity == "note"
    assert "unequal-classes" not in only(annotated(tmp_path, *plenty))


def test_photos_without_a_label_are_a_warning_and_where_objects_are_told_a_note(tmp_path):
    clean = clean_set(tmp_path)
    silent = photo(photo_file(tmp_path, "silent.png"), split="train")
    found = replace(clean, photos=(*clean.photos, silent))
    assert (findings(found)["unlabelled-photo"].severity, findings(found)["unlabelled-photo"].files) == (
        "warning",
        ("silent.png",),
    )
    objects = objects_set(tmp_path, box("dog", 5, 5, 25, 25))
    assert findings(replace(objects, photos=(*objects.photos, silent)))["unlabelled-photo"].severity == "note"


def test_several_labels_mixed_tasks_sides_and_what_is_passed_over_are_noted(tmp_path):
    clean = clean_set(tmp_path)
    several = photo(photo_file(tmp_path, "both.png"), "cat", "dog", split="train")
    boxed = photo(photo_file(tmp_path, "boxed.png"), instances=(box("cat", 5, 5, 25, 25),))
    ignored = photo(photo_file(tmp_path, "ignored.png"), IGNORE, split="train")
    found = findings(replace(clean, photos=(*clean.photos, several, boxed, ignored), passed_over={"point": 12}))
    assert set(found) == {"several-labels", "mixed-tasks", "no-split", "ignored", "passed-over"}
    assert {finding.severity for finding in found.values()} == {"note"}
    assert found["several-labels"].places[0].note == "cat, dog"
    assert "A classifier learns one class a photo, and refuses them" in found["several-labels"].action
    assert found["passed-over"].message == "of no use here, and passed over: 12 points"
    assert found["mixed-tasks"].message.endswith("14 photos with labels, 1 photo with boxes")
    assert found["no-split"].files == ("boxed.png",)


def test_the_worst_comes_first(tmp_path):
    clean = clean_set(tmp_path)
    bad = (photo(tmp_path / "gone.png", "emu", split="train"), photo(photo_file(tmp_path, "x.png"), "cat", "dog"))
    found = findings(replace(clean, photos=(*clean.photos, *bad)))
    severities = [finding.severity for finding in found.values()]
    assert severities == sorted(severities, key=("error", "warning", "note").index)


# Real sets


@pytest.fixture(scope="module")
def birds(shared_data: Path) -> dict:
    return findings(
        read_annotations(shared_data / "cub-birds-loc" / "labelme", "labelme", shared_data / "cub-birds-loc")
    )


def test_cub_has_no_faults(birds):
    assert {kind for kind, finding in birds.items() if finding.severity == "error"} == set()


def test_labelmes_examples_are_doubled_and_read_whole(shared_data):
    annotated_set = read_annotations(shared_data / "labelme-examples", "labelme")
    found = findings(annotated_set)
    assert "unreadable-photo" not in found
    assert "unreadable-annotation" not in found
    places = found["duplicate"].places + found["contradiction-duplicate"].places
    assert [len(place.files) for place in places] == [3, 3, 3]  # three photos in three folders
    assert any(isinstance(one.photo, EmbeddedPhoto) or one.photo.name for one in annotated_set.photos)


def test_every_bad_input_is_found(shared_data):
    """Those that the decoder refuses are told one by one, and nothing else ends the check."""
    paths = sorted(path for path in (shared_data / "bad-inputs" / "files").rglob("*") if path.is_file())[:150]
    found = annotated(shared_data, *(photo(path, "a") for path in paths))
    seen = survey(found)
    unread = [one for one in found.photos if seen.seen(one) is None]
    assert 20 < len(unread) < len(paths)
    told = findings(found)["unreadable-photo"]
    assert len(told.places) == len(unread)


def test_numbers_in_words():
    assert counted(1, "photo") == "1 photo"
    assert counted(1234, "class", "classes") == "1,234 classes"
    assert listed("abc", 2) == "a, b and 1 more"
