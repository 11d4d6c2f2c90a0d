"""Augmentation: sizes, boxes, determinism, and that pixels are what plain resizing and cropping makes."""

import math

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from verydeep.data.augment import (
    COLOR_EIGENVALUES,
    COLOR_EIGENVECTORS,
    Augmentation,
    _area_box,
    _cut,
    _scale_box,
    augment,
    picture_numbers,
    random_generator,
    view_of,
)
from verydeep.data.mix import cutmix, mixup

RANDOM = np.random.default_rng(0)
PHOTO = np.asarray(Image.fromarray(RANDOM.integers(0, 256, (6, 9, 3), np.uint8)).resize((270, 180)))


def numbers(count: int, seed: int = 0) -> list[list[float]]:
    return picture_numbers(seed, 0, range(count))


def test_a_picture_is_a_pure_function_of_seed_epoch_and_place():
    spec = Augmentation(64, areas=(0.2, 1.0), color_shift=0.1)

    def picture(seed: int, epoch: int, place: int) -> np.ndarray:
        return augment(PHOTO, spec, picture_numbers(seed, epoch, range(place, place + 1))[0])

    first = picture(7, 3, 11)
    assert np.array_equal(first, picture(7, 3, 11))
    for other in ((8, 3, 11), (7, 4, 11), (7, 3, 12)):
        assert not np.array_equal(first, picture(*other))


def test_the_numbers_of_a_picture_do_not_depend_on_the_batch_that_it_is_in():
    rows = picture_numbers(7, 3, range(50))
    assert len({tuple(row) for row in rows}) == 50
    for start, stop in ((0, 1), (13, 20), (49, 50), (20, 20)):
        assert picture_numbers(7, 3, range(start, stop)) == rows[start:stop]


def test_pictures_share_no_numbers_with_order_and_batches():
    streams = [random_generator(0, 0, stream).random(4000).tolist() for stream in range(4)]
    assert len({number for stream in streams for number in stream}) == 4 * 4000
    assert streams[0][:8] == picture_numbers(0, 0, range(1))[0]


@pytest.mark.parametrize(
    ("spec", "side"),
    [
        (Augmentation(32), 32),
        (Augmentation(224, scales=(256, 512)), 512),
        (Augmentation(128, areas=(0.25, 1.0)), 256),
        (Augmentation(128, areas=(0.35, 1.0)), 217),
    ],
)
def test_the_reading_side_is_where_crops_begin_to_be_magnified(spec, side):
    assert spec.reading_side == side
    box = _area_box if spec.areas else _scale_box
    for size, is_enough in ((side, True), (side - 1, False)):
        smallest = [0.0 if spec.areas else 1 - 2**-53, 0.5, 0, 0]  # the smallest area, or the largest scale
        left, _, right, _ = box(size, size, spec, smallest)
        assert (right - left >= spec.crop) is is_enough


@pytest.mark.parametrize("shape", [(180, 270), (270, 180), (64, 64), (1, 500), (500, 1), (1, 1)])
@pytest.mark.parametrize("spec", [Augmentation(32, scales=(32, 64)), Augmentation(32, areas=(0.1, 1.0))])
def test_any_photo_becomes_a_square_picture(shape, spec):
    photo = np.broadcast_to(np.uint8([10, 200, 30]), (*shape, 3)).copy()
    for row in numbers(20):
        picture = augment(photo, spec, row)
        assert picture.shape == (32, 32, 3)
        assert picture.dtype == np.uint8
        assert (picture == [10, 200, 30]).all()


@pytest.mark.slow
def test_scale_jitter_is_a_crop_of_the_resized_photo():
    """With the shorter side fixed at 120, the picture stands somewhere in the photo resized to 180 x 120."""
    spec = Augmentation(64, scales=(120, 120), flip=False)
    resized = np.asarray(Image.fromarray(PHOTO).resize((180, 120), Image.Resampling.BILINEAR)).astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(resized, (64, 64), axis=(0, 1))
    for row in numbers(5):
        picture = augment(PHOTO, spec, row).astype(int).transpose(2, 0, 1)
        nearest = np.abs(windows - picture).mean(axis=(2, 3, 4)).min()
        assert nearest < 3, "the crop starts between two pixels, so it differs a little from each window"


def test_a_photo_of_the_scale_is_cut_at_whole_pixels_which_are_all_equally_likely():
    spec = Augmentation(178, scales=(180, 180), flip=False)
    windows = np.lib.stride_tricks.sliding_window_view(PHOTO, (178, 178), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    places = []
    for row in numbers(400):
        picture = augment(PHOTO, spec, row)
        top, left = int(row[3] * 3), int(row[2] * 93)
        assert np.array_equal(picture, windows[top, left])
        places.append((top, left))
    tops, lefts = np.array(places).T
    assert np.bincount(tops, minlength=3).min() > 100
    assert stats.kstest((lefts + 0.5) / 93, stats.uniform(0, 1).cdf).pvalue > 0.01


@pytest.mark.parametrize("spec", [Augmentation(180, scales=(180, 180)), Augmentation(100, scales=(100, 400))])
def test_a_box_never_leaves_the_photo(spec):
    for row in [*numbers(300), [0.0] * 8, [1 - 2**-53] * 8]:
        left, top, right, bottom = _scale_box(270, 180, spec, row)
        assert 0 <= left < right <= 270
        assert 0 <= top < bottom <= 180


def test_a_border_is_the_photo_run_back_from_its_sides():
    """A crop as large as the photo then stands at any of (2 * 15 + 1)^2 places of the photo padded as NumPy pads it."""
    photo = PHOTO[:120, :120]
    padded = np.pad(photo, ((15, 15), (15, 15), (0, 0)), mode="reflect")
    spec = Augmentation(120, border=0.125, flip=False)
    places = set()
    for row in [*numbers(60), [0.0] * 8, [1 - 2**-53] * 8]:
        top, left = int(row[3] * 31), int(row[2] * 31)
        places.add((top, left))
        assert np.array_equal(augment(photo, spec, row), padded[top : top + 120, left : left + 120])
    assert {(0, 0), (30, 30)} <= places
    assert len(places) > 50


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (2, 3), (3, 2), (40, 31), (180, 270)])
@pytest.mark.parametrize("border", [0.125, 0.5])
def test_a_border_around_any_photo_is_the_crop_of_the_padded_one(shape, border):
    height, width = shape
    photo = PHOTO[:height, :width]
    margin = round(border * min(shape))
    padded = np.pad(photo, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    for scales in ((32, 32), (32, 48)):
        spec = Augmentation(32, scales=scales, border=border, flip=False)
        for row in numbers(20):
            box = _scale_box(width, height, spec, row)
            assert 0 <= box[0] < box[2] <= padded.shape[1]
            assert 0 <= box[1] < box[3] <= padded.shape[0]
            side = min(shape) * 32 / (scales[0] + int(row[0] * (scales[1] - scales[0] + 1)))
            assert (box[2] - box[0], box[3] - box[1]) == pytest.approx((side, side))
            assert np.array_equal(augment(photo, spec, row), _cut(padded, box, 32))


@pytest.mark.parametrize("spec", [Augmentation(20, areas=(0.1, 1.0)), Augmentation(150, scales=(150, 500))])
def test_cutting_before_resampling_changes_no_pixel_by_more_than_rounding(spec):
    choose = _area_box if spec.areas else _scale_box
    for row in numbers(60):
        box = choose(270, 180, spec, row)
        whole = Image.fromarray(PHOTO).resize((spec.crop, spec.crop), Image.Resampling.BILINEAR, box=box)
        assert np.abs(_cut(PHOTO, box, spec.crop).astype(int) - np.asarray(whole)).max() <= 1


def test_a_flipped_picture_is_the_mirror_image_of_the_unflipped_one():
    plain, flipping = Augmentation(40, areas=(0.3, 1.0), flip=False), Augmentation(40, areas=(0.3, 1.0))
    mirrored = 0
    for row in numbers(40):
        one, other = augment(PHOTO, plain, row), augment(PHOTO, flipping, row)
        is_mirrored = row[4] < 0.5
        mirrored += is_mirrored
        assert np.array_equal(one[:, ::-1] if is_mirrored else one, other)
    assert 5 < mirrored < 35


def test_a_picture_is_written_where_it_is_to_go():
    for spec in (Augmentation(64, scales=(180, 180)), Augmentation(64, areas=(0.3, 1.0), color_shift=0.5)):
        for row in numbers(6):
            out = np.zeros((64, 64, 3), np.uint8)
            assert augment(PHOTO, spec, row, out=out) is out
            assert np.array_equal(out, augment(PHOTO, spec, row))


def test_scales_are_uniform_over_the_range_and_half_of_the_pictures_are_flipped():
    ramp = np.broadcast_to(np.linspace(0, 255, 400)[None, :, None], (100, 400, 3)).astype(np.uint8)
    spec = Augmentation(50, scales=(50, 200))
    slopes = []
    for row in numbers(400, seed=1):
        picture = augment(ramp, spec, row).astype(float)
        slopes.append(picture[25, 40, 0] - picture[25, 10, 0])
    assert 0.42 < np.mean(np.array(slopes) < 0) < 0.58
    # 30 columns of the picture cover 30 * 100 / S of the photo's columns; S is uniform in [50, 200]
    scales = 30 * 100 / (np.abs(slopes) * 400 / 255)
    assert scales.mean() == pytest.approx(125, rel=0.05)
    assert scales.min() < 60
    assert scales.max() > 180


def test_areas_and_aspects_of_the_crop_cover_their_ranges():
    spec = Augmentation(64, areas=(0.1, 0.4))
    boxes = np.array([_area_box(300, 200, spec, row) for row in numbers(3000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 300
    assert boxes[:, 3].max() <= 200
    areas, aspects = width * height / 60_000, width / height
    assert stats.kstest(areas, stats.uniform(0.1, 0.3).cdf).pvalue > 0.01  # so small that none is cut at the border
    assert stats.kstest(np.log(aspects), stats.uniform(-np.log(4 / 3), 2 * np.log(4 / 3)).cdf).pvalue > 0.01
    places = boxes[:, 0] / (300 - width)
    assert stats.kstest(places, stats.uniform(0, 1).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(180, 270), (270, 180), (90, 90), (1, 500), (500, 3)])
@pytest.mark.parametrize("settings", [{"areas": (0.1, 1.0)}, {"scales": (32, 90)}, {}])
def test_a_letterboxs_crop_shows_all_of_a_side_of_the_photo_or_nothing_beside_it(shape, settings):
    height, width = shape
    spec = Augmentation(32, fit="letterbox", fill=(1, 2, 3), **settings)
    photo = np.full((height, width, 3), 200, np.uint8)
    for row in numbers(60):
        view = view_of(width, height, spec, row)
        for start, end, length in ((view.left, view.right, width), (view.top, view.bottom, height)):
            is_whole, is_within = start <= 0 and end >= 1, start >= 0 and end <= 1
            assert is_whole or is_within
            assert (end - start) * length <= max(shape) + 1e-9
        picture = augment(photo, spec, row)
        is_photo = (picture == 200).all(axis=2)
        assert (picture[~is_photo] == (1, 2, 3)).all()
        shown = [max(1, 32 / (end - start)) for start, end in ((view.top, view.bottom), (view.left, view.right))]
        expected = [min(32.0, side) for side in shown]
        assert (is_photo.any(axis=1).sum(), is_photo.any(axis=0).sum()) == pytest.approx(expected, abs=1.001)


@pytest.mark.parametrize("shape", [(180, 270), (120, 360), (90, 90)])
def test_the_proportions_of_a_squashed_photos_crop_vary_about_the_photos(shape):
    height, width = shape
    spec = Augmentation(32, areas=(0.2, 0.5), fit="squash")
    views = [view_of(width, height, spec, row) for row in numbers(2000)]
    across, down = (
        np.array([end - start for start, end in edges])
        for edges in ([(v.left, v.right) for v in views], [(v.top, v.bottom) for v in views])
    )
    spread = stats.uniform(-np.log(4 / 3), 2 * np.log(4 / 3))  # so small that none is cut at the border
    assert stats.kstest(np.log(across / down), spread.cdf).pvalue > 0.01
    assert stats.kstest(across * down, stats.uniform(0.2, 0.3).cdf).pvalue > 0.01


@pytest.mark.parametrize("shape", [(180, 270), (120, 360), (90, 90)])
def test_a_squashed_photo_has_both_its_sides_scaled_alike(shape):
    height, width = shape
    whole = Image.fromarray(PHOTO).crop((0, 0, width, height))
    photo = np.asarray(whole)
    assert np.array_equal(
        augment(photo, Augmentation(32, fit="squash", flip=False), numbers(1)[0]),
        whole.resize((32, 32), Image.Resampling.BILINEAR),
    )
    for row in numbers(50):
        view = view_of(width, height, Augmentation(32, scales=(40, 80), fit="squash"), row)
        sides = view.right - view.left, view.bottom - view.top
        assert sides == pytest.approx([32 / (40 + int(row[0] * 41))] * 2)


def test_the_colour_shift_moves_all_pixels_along_the_papers_directions():
    grey = np.full((40, 40, 3), 128, np.uint8)
    spec = Augmentation(40, areas=(1.0, 1.0), flip=False, color_shift=0.1)
    shifts = []
    for row in numbers(2000):
        picture = augment(grey, spec, row).astype(float)
        assert (picture == picture[0, 0]).all()
        shifts.append((picture[0, 0] - 128) / 255)
    covariance = np.cov(np.array(shifts).T)
    expected = COLOR_EIGENVECTORS @ np.diag((0.1 * COLOR_EIGENVALUES) ** 2) @ COLOR_EIGENVECTORS.T
    assert np.allclose(covariance, expected, atol=0.1 * expected.max())


def test_the_colour_shift_is_the_papers_formula_to_the_bit():
    spec, plain = Augmentation(64, scales=(180, 180), color_shift=0.3), Augmentation(64, scales=(180, 180))
    for row in [*numbers(20), [0.0] * 8]:
        alpha = 0.3 * stats.norm.ppf(np.maximum(row[5:], 2.0**-54))
        shift = 255 * COLOR_EIGENVECTORS @ (alpha * COLOR_EIGENVALUES)
        exact = np.clip(augment(PHOTO, plain, row) + shift, 0, 255)
        got = augment(PHOTO, spec, row)
        assert np.abs(got - exact).max() <= 0.5 + 1e-9
        assert math.dist(shift, (0, 0, 0)) > 0


def test_the_directions_of_colour_are_perpendicular_units():
    assert np.allclose(COLOR_EIGENVECTORS.T @ COLOR_EIGENVECTORS, np.eye(3), atol=1e-3)


def test_cutmix_gives_each_label_the_share_of_its_pixels():
    images = torch.arange(8.0)[:, None, None, None].expand(8, 3, 20, 30).clone()  # photo i is all i
    targets = torch.eye(8)
    for position in range(50):
        mixed, shares = cutmix(images, targets, random_generator(0, 0, position))
        assert mixed.shape == images.shape
        assert torch.allclose(shares.sum(1), torch.ones(8))
        for i in range(8):
            for j in range(8):
                assert (mixed[i, 0] == j).float().mean().item() == pytest.approx(shares[i, j].item(), abs=1e-6)


def test_mixup_weighs_pixels_and_labels_alike():
    images = torch.arange(8.0)[:, None, None, None].expand(8, 3, 4, 4).clone()
    mixed, shares = mixup(images, torch.eye(8), random_generator(0, 0, 1), alpha=0.4)
    assert torch.allclose(mixed[:, 0, 0, 0], shares @ torch.arange(8.0), atol=1e-5)
