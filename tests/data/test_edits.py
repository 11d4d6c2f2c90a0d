"""TrivialAugment: each edit against its formula, all equally likely, at every strength and in both directions."""

import math

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from verydeep.data.augment import Augmentation, augment, picture_numbers
from verydeep.data.edits import _EDITS, _FILL, trivial_augment

RANDOM = np.random.default_rng(1)
PICTURE = np.asarray(Image.fromarray(RANDOM.integers(40, 216, (5, 6, 3), np.uint8)).resize((96, 80)))
GREY = PICTURE @ np.array([0.299, 0.587, 0.114])  # ITU-R 601, as Pillow's
(
    SAME, CONTRASTED, EQUALIZED, POSTERIZED, SOLARIZED, COLOR, CONTRAST,
    BRIGHTNESS, SHARPNESS, TURN, SHEAR_X, SHEAR_Y, SHIFT_X, SHIFT_Y,
) = range(14)  # fmt: skip


def edited(which: int, amount: float, picture: np.ndarray = PICTURE) -> np.ndarray:
    """amount: -1 to 1, as the article's tables give it."""
    return trivial_augment(picture, [(which + 0.5) / 14, abs(amount), 0.2 if amount >= 0 else 0.8]).astype(float)


def moved(matrix: tuple[tuple[float, float], tuple[float, float]], shift: tuple[float, float] = (0, 0)) -> np.ndarray:
    """Each pixel from matrix . (x, y) around the centre, less `shift`; outside of the picture NaN."""
    height, width = PICTURE.shape[:2]
    x, y = np.meshgrid(np.arange(width) + 0.5 - width / 2, np.arange(height) + 0.5 - height / 2)
    from_x = matrix[0][0] * x + matrix[0][1] * y - shift[0] + width / 2 - 0.5
    from_y = matrix[1][0] * x + matrix[1][1] * y - shift[1] + height / 2 - 0.5
    channels = [
        ndimage.map_coordinates(PICTURE[..., channel].astype(float), (from_y, from_x), order=1, cval=np.nan)
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1)


@pytest.mark.parametrize("amount", [-1.0, -0.3, 0.4, 1.0])
@pytest.mark.parametrize("which", [TURN, SHEAR_X, SHEAR_Y, SHIFT_X, SHIFT_Y])
def test_what_moves_pixels_is_a_linear_map_around_the_centre(which, amount):
    angle = math.radians(135 * amount)
    expected = {
        TURN: moved(((math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle)))),
        SHEAR_X: moved(((1, 0.99 * amount), (0, 1))),
        SHEAR_Y: moved(((1, 0), (0.99 * amount, 1))),
        SHIFT_X: moved(((1, 0), (0, 1)), shift=(96 / 7 * amount, 0)),
        SHIFT_Y: moved(((1, 0), (0, 1)), shift=(0, 80 / 7 * amount)),
    }[which]
    got = edited(which, amount)
    inside = ~np.isnan(expected).any(axis=-1)
    assert 0.3 < inside.mean() < 0.99
    assert np.abs(got[inside] - expected[inside]).max() < 1.1  # Pillow rounds down
    outside = ndimage.binary_erosion(~inside, iterations=2, border_value=1)
    assert outside.sum() > 50
    assert (got[outside] == _FILL).all()


@pytest.mark.parametrize("amount", [-1.0, -0.5, 0.25, 1.0])
def test_what_changes_colours_blends_with_black_grey_or_the_mean(amount):
    factor = 1 + 0.99 * amount
    plain = PICTURE.astype(float)
    for which, other in ((BRIGHTNESS, 0), (COLOR, GREY[..., None]), (CONTRAST, round(GREY.mean()))):
        expected = (other + factor * (plain - other)).clip(0, 255)
        assert np.abs(edited(which, amount) - expected).max() <= 1.5, which


@pytest.mark.parametrize("amount", [-1.0, -0.5, 0.25, 1.0])
def test_sharpness_blends_with_the_blurred_picture(amount):
    noise = RANDOM.integers(40, 216, (40, 50, 3), np.uint8)
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    blurred = ndimage.convolve(noise.astype(float), kernel[..., None])
    expected = (blurred + (1 + 0.99 * amount) * (noise - blurred)).clip(0, 255)
    got = edited(SHARPNESS, amount, noise)
    assert np.abs(got - expected)[1:-1, 1:-1].max() < 2.1  # Pillow leaves the outermost pixels as they are


def test_fewer_bits_and_inverted_lights():
    for amount, bits in ((0.0, 8), (0.5, 5), (-0.5, 5), (1.0, 2)):
        assert np.array_equal(edited(POSTERIZED, amount), PICTURE >> (8 - bits) << (8 - bits))
    for amount in (0.0, 0.4, -0.4, 1.0):
        threshold = round(255 * (1 - abs(amount)))
        assert np.array_equal(edited(SOLARIZED, amount), np.where(threshold > PICTURE, PICTURE, 255 - PICTURE))


def test_stretched_histograms():
    contrasted, equalized = edited(CONTRASTED, 0.7), edited(EQUALIZED, 0.7)
    for channel in range(3):
        assert (contrasted[..., channel].min(), contrasted[..., channel].max()) == (0, 255)
        counts = np.histogram(equalized[..., channel], bins=4, range=(0, 256))[0] / PICTURE[..., 0].size
        assert np.abs(counts - 0.25).max() < 0.05


def test_no_strength_changes_nothing():
    for which in set(range(14)) - {CONTRASTED, EQUALIZED}:
        assert np.abs(edited(which, 0) - PICTURE).max() <= 1, which
    assert np.array_equal(edited(SAME, 1), PICTURE)


def test_all_edits_happen_at_every_strength_and_in_both_directions(monkeypatch):
    calls = []
    spies = tuple(
        (lambda image, amount, which=which: calls.append((which, amount)) or image) for which in range(len(_EDITS))
    )
    monkeypatch.setattr("verydeep.data.edits._EDITS", spies)
    spec = Augmentation(32, areas=(0.3, 1.0), trivial_augment=True)
    for row in picture_numbers(0, 0, range(2800)):
        augment(PICTURE, spec, row)
    which, amounts = np.array(calls).T
    assert np.bincount(which.astype(int), minlength=14).min() > 140  # 200 expected
    histogram = np.histogram(amounts, bins=10, range=(-1, 1))[0]
    assert histogram.min() > 220  # 280 expected


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 40, 3), (64, 64, 3)])
def test_any_picture_keeps_its_shape(shape):
    picture = RANDOM.integers(0, 256, shape, np.uint8)
    for which in range(14):
        for amount in (-1.0, 0.0, 0.37, 1 - 2**-53):
            assert edited(which, amount, picture).shape == shape


def test_an_edited_picture_is_cut_and_mirrored_first():
    plain = Augmentation(40, areas=(0.3, 0.8))
    spec = Augmentation(40, areas=(0.3, 0.8), trivial_augment=True)
    for row in picture_numbers(3, 1, range(30)):
        expected = trivial_augment(augment(PICTURE, plain, row), row[5:])
        assert np.array_equal(augment(PICTURE, spec, row), expected)
