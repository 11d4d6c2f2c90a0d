"""Photos with annotations as a data set: their classes, sides and order, what is left out, and what is refused."""

import base64
import json
import pickle
import random
import tarfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from verydeep.data import formats
from verydeep.data.annotations import (
    AnnotatedPhoto,
    AnnotatedSet,
    Box,
    EmbeddedPhoto,
    Instance,
    PhotoFile,
    PhotoPart,
    Problem,
)
from verydeep.data.cache import open_cache
from verydeep.data.datasets import Dataset, check_readable, file_name, open_folder, open_splits, open_validation
from verydeep.data.formats import Detection
from verydeep.data.reading import check_lasting, read_training_photo
from verydeep.errors import DatasetError, ImageError, StorageError, UsageError
from verydeep.image import read_image
from verydeep.image.stream import stream
from verydeep.nouns import Preprocessing

DATA = "labels.csv"
BOX = Box(0, 0, 5, 5)
Give = Callable[..., Path]


@pytest.fixture
def give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Give:
    """A function (photos, **fields of the set) -> a file that is read as these photos, whatever is in it."""

    def given(photos: Sequence[AnnotatedPhoto], **fields: object) -> Path:
        found = AnnotatedSet("table", tmp_path, tuple(photos), "1 CSV file", **fields)  # type: ignore[arg-type]
        detection = Detection("table", {"table": "1 CSV file", "voc": "3 XML files"})
        monkeypatch.setattr(formats, "detect", lambda data, wanted=None, root=None: detection)
        monkeypatch.setattr(formats, "read_detected", lambda detection, data, root=None: found)
        (tmp_path / DATA).touch()
        return tmp_path / DATA

    return given


def annotated(path: Path, *labels: str, split: str | None = None, objects: Sequence[str] = ()) -> AnnotatedPhoto:
    instances = tuple(Instance(label, BOX) for label in objects)
    return AnnotatedPhoto(PhotoFile(path), f"{DATA}: {path.name}", labels, instances, split=split)


def of_folders(folder: Path, split: str | None = None) -> list[AnnotatedPhoto]:
    """What annotations say of the photos in class folders, in any order."""
    photos = [annotated(path, path.parent.name, split=split) for path in folder.glob("*/*.png")]
    random.Random(1).shuffle(photos)
    return photos


def named(dataset: Dataset) -> dict[str, str]:
    return {file_name(path): dataset.classes[label] for path, label in zip(dataset.paths, dataset.labels, strict=True)}


def test_the_class_is_the_label_else_that_of_all_objects(tmp_path: Path, give: Give) -> None:
    data = give(
        [
            annotated(tmp_path / "1.jpg", "cat"),
            annotated(tmp_path / "2.jpg", "cat", objects=("dog", "tree")),
            annotated(tmp_path / "3.jpg", objects=("dog", "dog", "__ignore__")),
            annotated(tmp_path / "4.jpg", unicodedata.normalize("NFD", "café")),
            annotated(tmp_path / "5.jpg", objects=(unicodedata.normalize("NFC", "café"), "_background_")),
        ]
    )
    photos, which = open_validation(data)
    assert named(photos) == {"1.jpg": "cat", "2.jpg": "cat", "3.jpg": "dog", "4.jpg": "café", "5.jpg": "café"}
    assert photos.classes == ("café", "cat", "dog")
    assert which == "all photos with a class"
    assert photos.format == "table"


def test_photos_of_several_classes_are_refused_with_examples(tmp_path: Path, give: Give) -> None:
    photos = [annotated(tmp_path / "images" / f"{i}.jpg", "cat" if i % 2 else "dog") for i in range(10)]
    photos[3] = annotated(tmp_path / "images" / "3.jpg", objects=("orange", "bowl"))
    with pytest.raises(DatasetError) as caught:
        open_splits(give(photos))
    assert caught.value.message == (
        "1 of 10 photos show several classes (images/3.jpg: bowl, orange): a classifier takes one a photo."
    )
    assert "__ignore__" in caught.value.hint
    photos[:4] = [annotated(tmp_path / f"{i}.jpg", "cat", "dog") for i in range(4)]
    with pytest.raises(DatasetError, match=r"4 of 10 .* \(0.jpg: cat, dog; 1.jpg: cat, dog; 2.jpg: cat, dog; \.\.\.\)"):
        open_splits(give(photos))


def test_photos_without_a_class_are_passed_over_and_counted_in_a_line(tmp_path: Path, give: Give) -> None:
    photos = [annotated(tmp_path / f"{i}.jpg", "cat" if i % 2 else "dog") for i in range(20)]
    photos += [annotated(tmp_path / f"{name}.jpg", *labels) for name, labels in (("a", ()), ("b", ()), ("c", ("",)))]
    photos += [
        annotated(tmp_path / "d.jpg", "cat", "__ignore__"),
        annotated(tmp_path / "e.jpg", objects=("__ignore__",)),
    ]
    told: list[str] = []
    splits = open_splits(give(photos, passed_over={"point": 7}, remarks=("a remark",)), note=told.append)
    assert len(splits.training) + len(splits.validation) == 20
    assert told == [
        "reads table: 1 CSV file; there are also 3 XML files (--format voc)",
        "a remark",
        "passed over: 3 photos without a class, 2 marked __ignore__, 7 point",
    ]


def test_a_localiser_of_photos_without_any_box_is_refused_before_one_is_read(tmp_path: Path, give: Give) -> None:
    """There are none to be read."""
    photos = [annotated(tmp_path / f"{i}.jpg", "cat" if i % 2 else "dog") for i in range(20)]
    with pytest.raises(DatasetError, match="has a box around what it shows: 1 CSV file"):
        open_splits(give(photos), task="localize")


def test_problems_are_told_and_too_many_stop_the_run(tmp_path: Path, give: Give) -> None:
    photos = [annotated(tmp_path / f"{i}.jpg", "cat" if i % 2 else "dog") for i in range(200)]
    problems = tuple(Problem(f"{i}.json", f"{i}.json\n is cut off.", "Copy it.") for i in range(7))
    told: list[str] = []
    data = give(photos, problems=problems)
    open_splits(data, note=told.append)
    assert told[1:6] == [rf"left out: {i}.json\n is cut off." for i in range(5)]
    assert told[6:] == [f"left out: 2 more; all of them: verydeep data check {data}"]
    with pytest.raises(DatasetError, match="7 of 107 annotations cannot be read, more than 5%: 0.json") as caught:
        open_splits(give(photos[:100], problems=problems))
    assert caught.value.hint == "Copy it."


def test_no_class_at_all_is_told_with_what_was_read(tmp_path: Path, give: Give) -> None:
    with pytest.raises(DatasetError, match="no photo of .* has a class: 1 CSV file tell none"):
        open_validation(give([annotated(tmp_path / "1.jpg")]))


def test_the_sides_that_are_told_are_taken(tmp_path: Path, give: Give) -> None:
    photos = [annotated(tmp_path / f"{i}.jpg", "cat" if i % 2 else "dog", split="train") for i in range(8)]
    photos[0] = annotated(tmp_path / "0.jpg", "dog")  # of no side: to train on
    photos += [annotated(tmp_path / "v.jpg", "cat", split="val")]
    splits = open_splits(give(photos))
    assert (len(splits.training), named(splits.validation), splits.is_drawn) == (8, {"v.jpg": "cat"}, False)
    assert splits.validation.classes == ("cat", "dog")
    validation, which = open_validation(give(photos), drawn_seed=0)
    assert (named(validation), which) == ({"v.jpg": "cat"}, "the photos that are told to validate on")
    photos[8] = annotated(tmp_path / "v.jpg", "wolf", split="val")
    with pytest.raises(DatasetError, match="train lacks: wolf. Train has cat, dog"):
        open_splits(give(photos))
    with pytest.raises(DatasetError, match="all photos on the side to validate on"):
        open_splits(give(photos[8:]))


def test_a_photo_that_is_named_twice_is_one_and_never_on_both_sides(tmp_path: Path, give: Give) -> None:
    photos = [annotated(tmp_path / f"{i}.jpg", "cat" if i % 2 else "dog") for i in range(8)]
    assert len(open_validation(give([*photos, *photos]))[0]) == 8
    with pytest.raises(DatasetError, match="0.jpg: cat, dog"):
        open_validation(give([*photos, annotated(tmp_path / "0.jpg", "cat")]))
    both = [annotated(tmp_path / "0.jpg", "dog", split=side) for side in ("train", "val")]
    with pytest.raises(DatasetError, match=r"0\.jpg is on both sides.*: labels.csv: 0.jpg, labels.csv: 0.jpg"):
        open_validation(give([*photos[1:], *both]))


def test_the_same_photos_are_the_same_data_set_as_in_class_folders(
    make_photos: Give, tmp_path: Path, give: Give
) -> None:
    """Whatever the order of the annotations: the order, the drawn fifth and the fingerprint, so the weights, too."""
    folder = make_photos(tmp_path / "photos")
    (folder / "red" / "a").mkdir()
    for number in (3, 11):
        (folder / "red" / f"{number}.png").rename(folder / "red" / "a" / f"{number}.png")
    expected = open_splits(folder, seed=5)
    photos = of_folders(folder) + [annotated(path, "red") for path in folder.glob("red/a/*.png")]
    splits = open_splits(give(photos), seed=5)
    assert splits == expected
    assert splits.fingerprint() == expected.fingerprint()
    assert open_validation(give(photos), drawn_seed=5)[0] == expected.validation


def test_class_folders_are_read_as_ever_and_no_format_is_asked(
    make_photos: Give, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> Detection:
        raise AssertionError("it was asked")

    folder = make_photos(tmp_path / "photos")
    (folder / "red" / "notes.txt").touch()
    monkeypatch.setattr(formats, "detect", refuse)
    told: list[str] = []
    assert open_splits(folder, note=told.append).training.format == "folders"
    assert told == []
    (folder / "sizes.csv").touch()
    assert len(open_splits(folder, format="folders").training) == 48
    with pytest.raises(AssertionError, match="it was asked"):
        open_splits(folder)


@pytest.mark.usefixtures("all_formats")
def test_files_that_annotate_nothing_leave_class_folders_what_they_are(make_photos: Give, tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos")
    expected = open_splits(folder)
    (folder / "red" / "camera.json").write_text('{"lens": "50 mm"}')
    (folder / "prices.csv").write_text("apples,pears\n1,2\n")
    told: list[str] = []
    assert open_splits(folder, note=told.append) == expected
    assert told == []


@pytest.mark.usefixtures("all_formats")
def test_what_there_is_not_is_told(make_photos: Give, tmp_path: Path) -> None:
    folder = make_photos(tmp_path / "photos")
    (tmp_path / "prices.csv").write_text("apples,pears\n1,2\n")
    with pytest.raises(UsageError, match="--format is 'yaml'; there are .*table"):
        open_splits(folder, format="yaml")
    with pytest.raises(DatasetError, match="has nothing of the format voc"):
        open_splits(folder, format="voc")
    with pytest.raises(DatasetError, match="prices.csv"):
        open_splits(tmp_path / "prices.csv")


@pytest.fixture
def files(class_folders: Path) -> Dataset:
    return open_folder(class_folders)


def in_a_shard(files: Dataset, shard: Path) -> Dataset:
    """The same photos as parts of a tar file."""
    with tarfile.open(shard, "w") as tar:
        for path in files.paths:
            tar.add(path, f"{path.parent.name}/{path.name}")  # type: ignore[union-attr]
    with tarfile.open(shard) as tar:
        parts = tuple(PhotoPart(shard, member.name, member.offset_data, member.size) for member in tar)
    return Dataset(files.classes, parts, files.labels)


def in_json(files: Dataset, folder: Path) -> Dataset:
    """The same photos, each within a JSON file."""
    photos = []
    for path in files.paths:
        target = folder / f"{path.parent.name}-{path.stem}.json"  # type: ignore[union-attr]
        content = base64.b64encode(path.read_bytes()).decode()  # type: ignore[union-attr]
        target.write_text(json.dumps({"version": "5.0", "imageData": content}))
        photos.append(EmbeddedPhoto(target, "imageData"))
    return Dataset(files.classes, tuple(photos), files.labels)


@pytest.fixture(params=["shard", "json"])
def within(request: pytest.FixtureRequest, files: Dataset, tmp_path: Path) -> Dataset:
    return in_a_shard(files, tmp_path / "train-0.tar") if request.param == "shard" else in_json(files, tmp_path)


def test_a_photo_within_another_file_is_read_as_one_of_its_own(files: Dataset, within: Dataset) -> None:
    preprocessing = Preprocessing(resize=36, crop=32)
    expected, found = dict(stream(files.paths, preprocessing)), dict(stream(within.paths, preprocessing))
    for i, (path, photo) in enumerate(zip(files.paths, within.paths, strict=True)):
        again = pickle.loads(pickle.dumps(photo))  # noqa: S301, as it goes to a process that loads
        assert np.array_equal(read_image(again), read_image(path))
        assert np.array_equal(read_training_photo(again, 20), read_training_photo(path, 20))
        assert np.array_equal(found[i], expected[i])


def test_the_cache_of_photos_within_files_is_that_of_the_files(files: Dataset, within: Dataset, tmp_path: Path) -> None:
    caches = [open_cache(photos, 20, folder=tmp_path / "cache") for photos in (files, within)]
    assert caches[0] is not None
    assert caches[1] is not None
    assert caches[0].path == caches[1].path  # the name is a key of all their bytes
    assert np.array_equal(caches[1].read(3, within.paths[3]), read_training_photo(files.paths[3], 20))


def test_a_part_of_a_shard_keeps_the_name_that_it_had_in_a_folder(files: Dataset, tmp_path: Path) -> None:
    parts = in_a_shard(files, tmp_path / "train-0.tar")
    assert list(map(file_name, parts.paths)) == list(map(file_name, files.paths))
    assert parts.paths[0].name == f"{tmp_path / 'train-0.tar'}:cat/0.png"


def test_what_is_wrong_with_a_photo_within_a_file_names_both(files: Dataset, tmp_path: Path) -> None:
    part = PhotoPart(tmp_path / "gone.tar", "cat/0.png", 512, 100)
    with pytest.raises(ImageError, match=r"gone\.tar:cat/0\.png cannot be read: No such file"):
        read_image(part)
    (tmp_path / "short.tar").write_bytes(bytes(600))
    with pytest.raises(ImageError, match=r"short\.tar:cat/0\.png is cut off"):
        read_image(PhotoPart(tmp_path / "short.tar", "cat/0.png", 512, 100))
    with pytest.raises(ImageError, match=r"short\.tar:cat/0\.png is not a picture"):
        read_image(PhotoPart(tmp_path / "short.tar", "cat/0.png", 500, 100))
    for content in ("{", "[]", "{}", '{"imageData": 3}', '{"imageData": "no base64"}', '{"imageData": ""}'):
        (tmp_path / "1.json").write_text(content)
        with pytest.raises(ImageError, match=r"^\S+1\.json:imageData "):
            read_image(EmbeddedPhoto(tmp_path / "1.json", "imageData"))
    broken = Dataset(("a",), (part,), (0,))
    with pytest.raises(DatasetError, match=r"none of the 1 photos .*gone\.tar:cat/0\.png"):
        check_readable(broken)
    cache = open_cache(broken, 20, folder=tmp_path / "cache")
    assert cache is not None
    with pytest.raises(ImageError, match=r"^\S+gone\.tar:cat/0\.png cannot be read: No such file"):
        cache.read(0, part)


def test_that_a_json_file_cannot_be_read_may_pass(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails for a moment says nothing about the photo in the file."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "1.json").write_text("{}")
    monkeypatch.setattr(Path, "open", fail)
    with pytest.raises(ImageError) as caught:
        read_image(EmbeddedPhoto(tmp_path / "1.json", "imageData"))
    with pytest.raises(StorageError, match="that may pass"):
        check_lasting(caught.value)


@pytest.mark.usefixtures("all_formats")
def test_the_birds_have_the_sides_of_their_tables(shared_data: Path) -> None:
    folder = shared_data / "cub-birds-loc"
    told: list[str] = []
    splits = open_splits(folder, format="table", note=told.append)
    assert (len(splits.training), splits.training.counts()) == (450, (30,) * 15)
    assert splits.validation.counts() == (6,) * 15
    assert splits.training.classes[0] == "American_Crow"
    assert "--format voc" in told[0]
    assert splits.training.format == "table"
    for other in (None, "voc", "labelme"):  # these tell no sides, but the same classes
        photos = open_splits(folder, format=other)
        if photos.is_drawn:
            assert photos.training.classes == splits.training.classes
            assert len(photos.training) + len(photos.validation) == 540


@pytest.mark.usefixtures("all_formats")
def test_labelmes_own_example_of_classification_is_read_by_its_flags(shared_data: Path) -> None:
    photos, _ = open_validation(shared_data / "labelme-examples" / "classification")
    assert named(photos) == {"0001.jpg": "cat", "0002.jpg": "dog"}
    assert photos.format == "labelme"
    check_readable(photos)


@pytest.mark.usefixtures("all_formats")
def test_photos_of_everyday_scenes_are_refused_since_they_show_several_things(shared_data: Path) -> None:
    with pytest.raises(DatasetError, match=r"of 98 photos show several classes \("):
        open_splits(shared_data / "coco128", format="labelme")
