"""Folders of photos: layouts, names of classes, the split, and what is refused."""

import itertools
import os
import unicodedata

import pytest

from verydeep.data.datasets import check_readable, open_folder, open_splits, open_validation, side_folders, split
from verydeep.errors import DatasetError


def make(folder, counts):
    """counts: class folder -> how many empty files called photos."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            (folder / name / f"{i:03}.jpg").touch()
    return folder


def test_a_folder_of_class_folders_is_read_in_the_order_of_names(tmp_path):
    make(tmp_path, {"wasp": 2, "ant": 3, "bee/garden": 1})
    (tmp_path / "ant" / "notes.txt").touch()
    (tmp_path / "ant" / ".hidden.jpg").touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / "empty").mkdir()
    dataset = open_folder(tmp_path)
    assert dataset.classes == ("ant", "bee", "wasp")
    assert dataset.counts() == (3, 1, 2)
    assert [path.relative_to(tmp_path).as_posix() for path in dataset.paths][2:4] == [
        "ant/002.jpg",
        "bee/garden/000.jpg",
    ]


def test_a_wordnet_id_is_dropped_from_the_name_of_a_class(tmp_path):
    make(tmp_path, {"n02102040_English_springer": 1, "n01440764_tench": 1, "my_cat": 1})
    assert open_folder(tmp_path).classes == ("my_cat", "tench", "English springer")


def test_two_folders_that_would_get_the_same_name_keep_their_own(tmp_path):
    make(tmp_path, {"n02012849_crane": 1, "n03126707_crane": 1})  # the bird and the machine, as in ImageNet
    assert open_folder(tmp_path).classes == ("n02012849_crane", "n03126707_crane")


def test_train_and_val_folders_are_taken_as_they_are(tmp_path):
    make(tmp_path / "train", {"a": 4, "b": 4})
    make(tmp_path / "valid", {"a": 1, "b": 2})
    splits = open_splits(tmp_path)
    assert (len(splits.training), len(splits.validation), splits.is_drawn) == (8, 3, False)
    assert open_validation(tmp_path, drawn_seed=0) == (splits.validation, "the photos in valid")


def test_validation_photos_are_labelled_by_name_not_by_position(tmp_path):
    make(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    make(tmp_path / "val", {"b": 1, "c": 1})
    splits = open_splits(tmp_path)
    validation = splits.validation
    assert [validation.classes[label] for label in validation.labels] == ["b", "c"]
    assert validation.classes == splits.training.classes


def test_a_validation_class_that_was_not_trained_on_is_named(tmp_path):
    make(tmp_path / "train", {"a": 2, "b": 2})
    make(tmp_path / "val", {"a": 1, "wolf": 1})
    with pytest.raises(DatasetError, match="train lacks: wolf. Train has a, b"):
        open_splits(tmp_path)


def test_without_validation_folder_a_fifth_of_each_class_is_drawn(tmp_path):
    make(tmp_path, {"a": 50, "b": 10, "c": 2})
    splits = open_splits(tmp_path, seed=1)
    assert splits.is_drawn
    assert splits.validation.counts() == (10, 2, 1)
    assert splits.training.counts() == (40, 8, 1)
    assert not set(splits.training.paths) & set(splits.validation.paths)
    assert open_splits(tmp_path, seed=1) == splits
    assert open_validation(tmp_path, drawn_seed=1)[0] == splits.validation
    assert len(open_validation(tmp_path)[0]) == 62


def test_seeds_draw_independently_whatever_the_names_of_the_photos(tmp_path):
    make(tmp_path, {"a": 1000, "b": 2})
    drawn = [set(open_splits(tmp_path, seed).validation.paths) for seed in range(6)]
    for i, one in enumerate(drawn):
        for other in drawn[:i]:
            assert 0.1 < len(one & other) / 201 < 0.3  # a fifth is expected by chance
    numbers = sorted(int(path.stem) for path in drawn[0] if path.parent.name == "a")
    neighbours = sum(after - before == 1 for before, after in itertools.pairwise(numbers)) / 200
    assert 0.1 < neighbours < 0.3, "a burst of photos is not drawn together"


def test_the_fingerprint_knows_photos_and_sides_but_not_where_the_folder_lies(tmp_path):
    first = open_splits(make(tmp_path / "one", {"a": 10, "b": 10}))
    assert open_splits(make(tmp_path / "two", {"a": 10, "b": 10})).fingerprint() == first.fingerprint()
    assert open_splits(make(tmp_path / "three", {"a": 11, "b": 10})).fingerprint() != first.fingerprint()
    assert open_splits(tmp_path / "one", seed=1).fingerprint() != first.fingerprint()


def test_a_link_to_a_folder_above_is_not_followed_round_in_circles(tmp_path):
    make(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a", target_is_directory=True)
    (tmp_path / "a" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert open_folder(tmp_path).counts() == (6, 3)  # b's photos are seen once more, through a/up


def test_a_class_may_be_called_test_but_class_folders_in_val_need_a_folder_train(tmp_path):
    make(tmp_path / "one", {"blue": 3, "red": 3, "test": 3})
    assert open_splits(tmp_path / "one").training.classes == ("blue", "red", "test")
    assert open_validation(tmp_path / "one")[0].classes == ("blue", "red", "test")
    make(tmp_path / "two", {"blue": 3, "red": 3, "val/blue": 2, "val/red": 2})
    assert len(open_validation(tmp_path / "two")[0]) == 4
    with pytest.raises(DatasetError, match="but no folder train"):
        open_splits(tmp_path / "two")


def test_a_class_may_be_called_train_but_photos_of_no_class_are_not_one(tmp_path):
    make(tmp_path / "one", {"bus": 3, "train": 3, "tram": 3})
    assert open_splits(tmp_path / "one").training.classes == ("bus", "train", "tram")
    assert open_validation(tmp_path / "one")[0].classes == ("bus", "train", "tram")
    assert list(side_folders(tmp_path / "one")) == [""]
    make(tmp_path / "two", {"bus": 3, "train": 3, "val/bus": 2, "val/train": 2})
    with pytest.raises(DatasetError, match="but no folder train"):
        open_splits(tmp_path / "two")
    for name, beside in (("three", "test"), ("four", "trainannot")):  # the latter are CamVid's masks
        make(tmp_path / name, {"train": 3, beside: 3})
        with pytest.raises(DatasetError, match="train has no folder with photos in it"):
            open_splits(tmp_path / name)


def test_a_name_in_two_spellings_of_an_accent_is_one_class(tmp_path):
    make(tmp_path / "train", {unicodedata.normalize("NFD", "café"): 2, "tea": 2})
    make(tmp_path / "val", {unicodedata.normalize("NFC", "café"): 1, "tea": 1})
    assert open_splits(tmp_path).validation.counts() == (1, 1)


def test_photos_of_which_none_can_be_read_are_refused(tmp_path):
    make(tmp_path, {"a": 2, "b": 2})
    with pytest.raises(DatasetError, match="none of the 4 photos to validate on can be read.*000.jpg"):
        check_readable(open_folder(tmp_path))


def test_another_photo_leaves_nearly_all_others_where_they_were(tmp_path):
    make(tmp_path, {"a": 200, "b": 200})
    before = set(open_splits(tmp_path).validation.paths)
    (tmp_path / "a" / "new.jpg").touch()
    assert len(before - set(open_splits(tmp_path).validation.paths)) <= 1


def test_a_class_with_one_photo_cannot_be_split(tmp_path):
    make(tmp_path, {"a": 5, "lonely": 1})
    with pytest.raises(DatasetError, match="'lonely' has 1 photo"):
        split(open_folder(tmp_path), seed=0)


@pytest.mark.parametrize(
    ("counts", "message"),
    [({"a": 3}, "of one class only"), ({}, "no folder with photos"), ({"a": 0}, "no folder with photos")],
)
def test_what_cannot_be_trained_on_is_refused(tmp_path, counts, message):
    make(tmp_path, counts)
    with pytest.raises(DatasetError, match=message):
        open_splits(tmp_path)


def test_a_path_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DatasetError, match="is a file"):
        open_splits(tmp_path / "file")
    with pytest.raises(DatasetError, match="does not exist"):
        open_splits(tmp_path / "nowhere")


def test_files_that_are_no_photos_by_their_suffix_are_counted_and_told(tmp_path):
    make(tmp_path / "drawn", {"cat": 5, "dog/phone": 5})
    for name in ("1.HEIC", "2.heic", "notes.txt", "origin"):
        (tmp_path / "drawn" / "dog" / "phone" / name).touch()
    assert open_splits(tmp_path / "drawn").passed_over() == (
        "passed over, since a photo is a .jpg, .jpeg, .png or .webp: 2 .heic, 1 .txt, 1 without a suffix. "
        "Convert those that are pictures."
    )
    make(tmp_path / "two" / "train", {"cat": 2, "dog": 2})
    make(tmp_path / "two" / "val", {"cat": 1})
    assert open_splits(tmp_path / "two").passed_over() is None
    for side in ("train", "val"):
        (tmp_path / "two" / side / "cat" / "1.jfif").touch()
    assert "webp: 2 .jfif." in open_splits(tmp_path / "two").passed_over()


def test_a_class_that_holds_a_recipe_beside_its_photos_is_no_training(tmp_path):
    make(tmp_path, {"pancake": 2, "waffle": 2})
    (tmp_path / "waffle" / "recipe.json").touch()
    assert open_folder(tmp_path).classes == ("pancake", "waffle")


def test_a_class_folder_of_other_files_only_is_named_not_left_out(tmp_path):
    """Photos of a phone, say: the network would never hear of that class."""
    make(tmp_path, {"cat": 3, "dog": 3, "cow": 0})
    (tmp_path / "cow" / "IMG_1.HEIC").touch()
    with pytest.raises(DatasetError, match=r"cow has no photo .* but other files such as IMG_1\.HEIC"):
        open_splits(tmp_path)


@pytest.mark.parametrize("name", ["n" * 300, "file/inside"])
def test_a_path_that_cannot_be_is_refused(tmp_path, name):
    (tmp_path / "file").touch()
    for opened in (open_folder, open_splits, open_validation):
        with pytest.raises(DatasetError, match="cannot read the folder"):
            opened(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path):
    make(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "b").chmod(0)
    with pytest.raises(DatasetError, match="cannot read the folder"):
        open_splits(tmp_path)


def test_imagenette_has_its_ten_classes(shared_data):
    splits = open_splits(shared_data / "imagenette-144")
    assert (len(splits.training), splits.validation.counts()) == (9469, (40,) * 10)
    assert splits.training.classes[:3] == ("tench", "English springer", "cassette player")
