"""Augmentation: sizes, boxes, determinism, and that pixels are what plain resizing and cropping makes."""

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
    augment,
    random_generator,
)
from verydeep.data.mix import cutmix, mixup

RANDOM = np.random.default_rng(0)
PHOTO = np.asarray(Image.fromarray(RANDOM.integers(0, 256, (6, 9, 3), np.uint8)).resize((270, 180)))


def test_a_picture_is_a_pure_function_of_seed_epoch_and_position():
    spec = Augmentation(64, areas=(0.2, 1.0), color_shift=0.1)
    first = augment(PHOTO, spec, random_generator(7, 3, 11))
    assert np.array_equal(first, augment(PHOTO, spec, random_generator(7, 3, 11)))
    for other in ((8, 3, 11), (7, 4, 11), (7, 3, 12)):
        assert not np.array_equal(first, augment(PHOTO, spec, random_generator(*other)))


@pytest.mark.parametrize("shape", [(180, 270), (270, 180), (64, 64), (1, 500), (500, 1), (1, 1)])
@pytest.mark.parametrize("spec", [Augmentation(32, scales=(32, 64)), Augmentation(32, areas=(0.1, 1.0))])
def test_any_photo_becomes_a_square_picture(shape, spec):
    photo = np.broadcast_to(np.uint8([10, 200, 30]), (*shape, 3)).copy()
    for position in range(20):
        picture = augment(photo, spec, random_generator(0, 0, position))
        assert picture.shape == (32, 32, 3)
        assert picture.dtype == np.uint8
        assert (picture == [10, 200, 30]).all()


def test_scale_jitter_is_a_crop_of_the_resized_photo():
    """With the shorter side fixed at 120, the picture stands somewhere in the photo resized to 180 x 120."""
    spec = Augmentation(64, scales=(120, 120), flip=False)
    resized = np.asarray(Image.fromarray(PHOTO).resize((180, 120), Image.Resampling.BILINEAR)).astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(resized, (64, 64), axis=(0, 1))
    for position in range(5):
        picture = augment(PHOTO, spec, random_generator(0, 0, position)).astype(int).transpose(2, 0, 1)
        nearest = np.abs(windows - picture).mean(axis=(2, 3, 4)).min()
        assert nearest < 3, "the crop starts between two pixels, so it differs a little from each window"


def test_scales_are_uniform_over_the_range_and_half_of_the_pictures_are_flipped():
    ramp = np.broadcast_to(np.linspace(0, 255, 400)[None, :, None], (100, 400, 3)).astype(np.uint8)
    spec = Augmentation(50, scales=(50, 200))
    slopes = []
    for position in range(400):
        picture = augment(ramp, spec, random_generator(1, 0, position)).astype(float)
        slopes.append(picture[25, 40, 0] - picture[25, 10, 0])
    assert 0.42 < np.mean(np.array(slopes) < 0) < 0.58
    # 30 columns of the picture cover 30 * 100 / S of the photo's columns; S is uniform in [50, 200]
    scales = 30 * 100 / (np.abs(slopes) * 400 / 255)
    assert scales.mean() == pytest.approx(125, rel=0.05)
    assert scales.min() < 60
    assert scales.max() > 180


def test_areas_and_aspects_of_the_crop_cover_their_ranges():
    spec = Augmentation(64, areas=(0.1, 0.4))
    boxes = np.array([_area_box(300, 200, spec, random_generator(0, 0, i)) for i in range(3000)])
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 300
    assert boxes[:, 3].max() <= 200
    areas, aspects = width * height / 60_000, width / height
    assert stats.kstest(areas, stats.uniform(0.1, 0.3).cdf).pvalue > 0.01  # so small that none is cut at the border
    assert stats.kstest(np.log(aspects), stats.uniform(-np.log(4 / 3), 2 * np.log(4 / 3)).cdf).pvalue > 0.01
    places = boxes[:, 0] / (300 - width)
    assert stats.kstest(places, stats.uniform(0, 1).cdf).pvalue > 0.01


def test_the_colour_shift_moves_all_pixels_along_the_papers_directions():
    grey = np.full((40, 40, 3), 128, np.uint8)
    spec = Augmentation(40, areas=(1.0, 1.0), flip=False, color_shift=0.1)
    shifts = []
    for position in range(2000):
        picture = augment(grey, spec, random_generator(0, 0, position)).astype(float)
        assert (picture == picture[0, 0]).all()
        shifts.append((picture[0, 0] - 128) / 255)
    covariance = np.cov(np.array(shifts).T)
    expected = COLOR_EIGENVECTORS @ np.diag((0.1 * COLOR_EIGENVALUES) ** 2) @ COLOR_EIGENVECTORS.T
    assert np.allclose(covariance, expected, atol=0.1 * expected.max())


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
