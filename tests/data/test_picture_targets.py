"""What a picture cut out of a photo teaches: its box and its mask lie where its pixels show the object."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet, PhotoFile
from verydeep.data.augment import Augmentation, View, augment, picture_numbers, view_of
from verydeep.data.cache import open_cache
from verydeep.data.datasets import Dataset, Splits, open_splits
from verydeep.data.loader import Batch, load_batches
from verydeep.data.picture_targets import BoxTargets, MaskTargets, box_in_view
from verydeep.data.targets import IGNORED
from verydeep.errors import DatasetError

SIZE = (90, 60)
OBJECT = (20, 15, 60, 45)  # left, top, right, bottom in pixels
CROPS = [
    Augmentation(32, areas=(0.3, 1.0)),
    Augmentation(32, scales=(40, 70)),
    Augmentation(60, scales=(60, 60), flip=False),  # whole pixels
    Augmentation(48, scales=(48, 60), border=0.2),
    Augmentation(32, areas=(0.3, 1.0), fit="letterbox"),
    Augmentation(32, scales=(32, 60), fit="letterbox"),
    Augmentation(32, fit="letterbox"),
    Augmentation(32, areas=(0.3, 1.0), fit="squash"),
    Augmentation(32, scales=(32, 60), fit="squash"),
]


def picture() -> np.ndarray:
    """Black, with a white object."""
    pixels = np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    left, top, right, bottom = OBJECT
    pixels[top:bottom, left:right] = 255
    return pixels


def shares() -> np.ndarray:
    return np.array(OBJECT) / (*SIZE, *SIZE)


def bright_box(pixels: np.ndarray) -> np.ndarray:
    """The (x, y, width, height) of what is bright, in sides of the picture."""
    rows, columns = np.nonzero(pixels[..., 0] >= 128)
    low, high = np.array([columns.min(), rows.min()]), np.array([columns.max(), rows.max()]) + 1
    return np.concatenate([(low + high) / 2, high - low]) / len(pixels)


@pytest.mark.parametrize("augmentation", CROPS, ids=lambda crop: f"{crop.fit}-{crop.areas}-{crop.scales}-{crop.border}")
def test_the_box_is_where_the_picture_shows_the_object(augmentation: Augmentation) -> None:
    photo, seen_mirrored = picture(), 0
    for numbers in picture_numbers(0, 0, range(40)):
        view = view_of(*SIZE, augmentation, numbers)
        box = box_in_view(shares(), view)
        pixels = augment(photo, augmentation, numbers)
        if not box.any() or augmentation.border:  # which shows the object twice
            continue
        low, high = np.clip(box[:2] - box[2:] / 2, 0, 1), np.clip(box[:2] + box[2:] / 2, 0, 1)
        seen = np.concatenate([(low + high) / 2, high - low])
        assert seen == pytest.approx(bright_box(pixels), abs=1.5 / augmentation.crop)
        seen_mirrored += view.is_mirrored
    assert seen_mirrored or not augmentation.flip or augmentation.border


def test_a_box_reaches_beyond_the_picture_and_is_zero_where_hardly_any_of_it_is_shown() -> None:
    half, box = View(0.0, 0.0, 0.5, 1.0), np.array([0.25, 0.25, 0.75, 0.75])
    assert box_in_view(box, half) == pytest.approx([1.0, 0.5, 1.0, 0.5])
    assert box_in_view(box, View(0.0, 0.0, 0.5, 1.0, is_mirrored=True)) == pytest.approx([0.0, 0.5, 1.0, 0.5])
    assert box_in_view(np.array([0.4, 0.0, 0.79, 1.0]), half).any()
    assert not box_in_view(np.array([0.4, 0.0, 0.81, 1.0]), half).any()
    assert not box_in_view(np.array([0.6, 0.25, 0.75, 0.75]), half).any()


def test_a_picture_teaches_the_largest_box() -> None:
    targets = BoxTargets((np.array([[0, 0, 0.1, 0.1], [0.5, 0.5, 1, 1]]), np.zeros((0, 4))))
    assert targets.of(0, View(), 8) == pytest.approx([0.75, 0.75, 0.5, 0.5])
    assert not targets.take([1]).of(0, View(), 8).any()


def write_masks(folder: Path, count: int = 3) -> MaskTargets:
    """Photos whose object has class 1 among zeros, and a stripe that teaches nothing."""
    photos = []
    for number in range(count):
        mask = (picture()[..., 0] > 0).astype(np.uint8)
        mask[:, -5:] = IGNORED
        Image.fromarray(picture()).save(folder / f"{number}.png")
        Image.fromarray(mask).save(folder / f"{number}_mask.png")
        photo = PhotoFile(folder / f"{number}.png")
        photos.append(AnnotatedPhoto(photo, "test", mask=folder / f"{number}_mask.png"))
    found = AnnotatedSet("masks", folder, tuple(photos), "masks", mask_classes=("road", "car"))
    return MaskTargets(tuple(photos), (SIZE,) * count, ("road", "car"), found)


@pytest.mark.parametrize("augmentation", CROPS[:3], ids=["areas", "scales", "pixels"])
def test_the_mask_is_of_the_pixels_that_the_picture_shows(augmentation: Augmentation, tmp_path: Path) -> None:
    targets, photo = write_masks(tmp_path, 1), picture()
    for numbers in picture_numbers(0, 0, range(20)):
        mask = targets.of(0, view_of(*SIZE, augmentation, numbers), augmentation.crop)
        pixels = augment(photo, augmentation, numbers)[..., 0]
        assert mask.shape == pixels.shape
        is_sure = (pixels < 16) | (pixels > 239)
        is_sure &= mask != IGNORED
        assert np.array_equal(mask[is_sure], pixels[is_sure] > 128)


def test_masks_are_renumbered_for_a_model_with_other_numbers(tmp_path: Path) -> None:
    mask = write_masks(tmp_path, 1).relabeled(("tree", "car", "road")).mask(0)
    assert np.unique(mask).tolist() == [1, 2, IGNORED]


def test_batches_have_their_targets_whatever_loads_them(tmp_path: Path) -> None:
    targets = write_masks(tmp_path, 3)
    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    dataset = Dataset(("road", "car"), paths, (0, 0, 0), targets=targets)
    cache = open_cache(dataset, 40, limit_bytes=1 << 30)

    def load(**options: object) -> list[Batch]:
        chosen = {"batch_size": 2, "seed": 3, "start": (0, 0), **options}
        return list(load_batches(dataset, [CROPS[0]] * 2, **chosen))  # type: ignore[arg-type]

    plain, cached, apart = load(workers=0), load(workers=0, cache=cache), load(workers=1)
    for one, other, third in zip(plain, cached, apart, strict=True):
        assert one.targets is not None
        assert other.targets is not None
        assert third.targets is not None
        assert one.targets.shape == (len(one.labels), 32, 32)
        assert one.targets.equal(other.targets)
        assert one.targets.equal(third.targets)
    rest = load(workers=0, start=(1, 1))
    assert len(rest) == 1
    assert rest[0].targets is not None
    assert rest[0].targets.equal(plain[-1].targets)


def test_a_mask_that_cannot_be_read_is_told_and_its_photo_replaced(tmp_path: Path) -> None:
    targets = write_masks(tmp_path, 3)
    (tmp_path / "1_mask.png").write_bytes(b"no picture")
    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    dataset = Dataset(("road", "car"), paths, (0, 0, 0), targets=targets)
    (batch,) = load_batches(dataset, [CROPS[0]], batch_size=3, seed=0, start=(0, 0), workers=0)
    assert list(batch.failures) == [1]
    assert "1_mask.png" in batch.failures[1]


def labelme(path: Path, label: str, size: tuple[int, int], shape: str = "rectangle") -> None:
    points = [[OBJECT[0], OBJECT[1]], [OBJECT[2], OBJECT[3]]]
    if shape == "polygon":
        points = [[OBJECT[0], OBJECT[1]], [OBJECT[2], OBJECT[1]], [OBJECT[2], OBJECT[3]], [OBJECT[0], OBJECT[3]]]
    content = {
        "version": "5.0.0",
        "flags": {},
        "shapes": [{"label": label, "points": points, "shape_type": shape, "flags": {}, "group_id": None}],
        "imagePath": path.with_suffix(".png").name,
        "imageData": None,
        "imageWidth": size[0],
        "imageHeight": size[1],
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    Image.fromarray(picture()).save(path.with_suffix(".png"))


@pytest.mark.usefixtures("all_formats")
def test_boxes_of_annotations_are_taught_beside_the_class(tmp_path: Path) -> None:
    for number in range(8):
        labelme(tmp_path / f"{number}.json", "cat" if number % 2 else "dog", SIZE)
    splits = open_splits(tmp_path, task="localize")
    assert splits.training.classes == ("cat", "dog")
    assert isinstance(splits.training.targets, BoxTargets)
    for boxes in splits.training.targets.boxes:
        assert boxes == pytest.approx(shares()[None], abs=1e-6)
    assert splits.fingerprint() != open_splits(tmp_path).fingerprint()
    assert len(splits.validation) == 2
    assert isinstance(splits.validation.targets, BoxTargets)


@pytest.mark.usefixtures("all_formats")
def test_outlines_are_drawn_into_masks_and_the_rest_is_background(tmp_path: Path) -> None:
    for number in range(5):
        labelme(tmp_path / f"{number}.json", "cat" if number % 2 else "dog", SIZE, "polygon")
    splits: Splits = open_splits(tmp_path, task="segment")
    targets = splits.training.targets
    assert isinstance(targets, MaskTargets)
    assert splits.training.classes == ("_background_", "cat", "dog")
    assert (len(splits.training), len(splits.validation)) == (4, 1)
    assert set(np.unique(targets.mask(0)).tolist()) in ({0, 1}, {0, 2})
    assert open_splits(tmp_path, task="segment").fingerprint() == splits.fingerprint()
    corrected = json.loads((tmp_path / "0.json").read_text())
    corrected["shapes"][0]["points"][0][0] += 0.25
    (tmp_path / "0.json").write_text(json.dumps(corrected))
    assert open_splits(tmp_path, task="segment").fingerprint() != splits.fingerprint()


def test_of_many_boxes_each_counts_in_what_is_told() -> None:
    boxes = np.random.default_rng(0).random((400, 4))
    changed = boxes.copy()
    changed[200, 1] += 0.1
    assert BoxTargets((boxes,)).told(0) != BoxTargets((changed,)).told(0)


@pytest.mark.usefixtures("all_formats")
def test_annotations_of_another_picture_are_left_out(tmp_path: Path) -> None:
    for number in range(30):
        labelme(tmp_path / f"{number}.json", "cat" if number % 2 else "dog", SIZE if number else (600, 400))
    told: list[str] = []
    splits = open_splits(tmp_path, note=told.append, task="localize")
    assert len(splits.training) + len(splits.validation) == 29
    assert any("0.json" in line for line in told)


@pytest.mark.parametrize("task", ["localize", "segment"])
def test_class_folders_teach_neither_boxes_nor_masks(task: str, photos: Path) -> None:
    with pytest.raises(DatasetError, match=r"no annotations|class folders|no mask"):
        open_splits(photos, task=task)  # type: ignore[arg-type]


@pytest.mark.usefixtures("all_formats")
def test_camvid_has_masks_of_eleven_classes(shared_data: Path) -> None:
    splits = open_splits(shared_data / "camvid", task="segment")
    assert (len(splits.training), len(splits.validation)) == (367, 101)
    mask = splits.training.targets.of(0, View(), 96)  # type: ignore[union-attr]
    assert mask.shape == (96, 96)
    assert mask.max() <= 11
