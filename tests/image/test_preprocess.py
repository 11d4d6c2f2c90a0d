"""Resize, crop and normalise, against the plain way: torchvision's arithmetic written with whole-image Pillow calls."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from verydeep.errors import ImageError, UsageError
from verydeep.image import crop_box, denormalize, fill_colour, fit, normalize, preprocess
from verydeep.nouns import FITS, Preprocessing

GREY = {"mean": (0.5,), "std": (0.25,)}


def plain_resize(image: np.ndarray, resize: int) -> Image.Image:
    height, width = image.shape[:2]
    size = (resize, int(resize * height / width)) if width <= height else (int(resize * width / height), resize)
    return Image.fromarray(image).resize(size, Image.Resampling.BILINEAR)


def plain_fit(image: np.ndarray, resize: int, crop: int) -> np.ndarray:
    resized = plain_resize(image, resize)
    left, top = (round((side - crop) / 2.0) for side in resized.size)
    return np.asarray(resized.crop((left, top, left + crop, top + crop)))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 150), st.data())
def test_fit_equals_resizing_the_whole_picture_and_cropping_its_centre(height, width, resize, data):
    crop = data.draw(st.integers(1, resize))
    if max(height, width) <= 16 * min(height, width):
        image = noise(height, width)
        assert np.array_equal(fit(image, Preprocessing(resize, crop)), plain_fit(image, resize, crop))
        dense = fit(image, Preprocessing(resize, crop), is_dense=True)
        assert np.array_equal(dense, np.asarray(plain_resize(image, resize)))


@pytest.mark.parametrize("shape", [(144, 144), (144, 200), (300, 144)])
def test_a_picture_of_the_right_size_is_not_resampled(shape):
    image = noise(*shape)
    top, left = (shape[0] - 128) // 2, (shape[1] - 128) // 2
    assert np.array_equal(fit(image, Preprocessing(144, 128)), image[top : top + 128, left : left + 128])


@pytest.mark.parametrize(("height", "width"), [(1, 30_000), (30_000, 1), (2, 4_001), (3, 5_000), (40, 3_000)])
def test_the_ends_of_a_very_long_picture_are_cut_off_before_the_resize(height, width, monkeypatch):
    """Nothing longer than 16 crops is ever computed, and the middle is that of the plain way to a pixel's shift."""
    ramp = np.linspace(0, 255, max(height, width)).round().astype(np.uint8)
    image = np.broadcast_to(ramp.reshape((1, -1, 1) if width > height else (-1, 1, 1)), (height, width, 3))
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, size, *a: sizes.append(size) or resize(self, size, *a))
    fitted = fit(image, Preprocessing(144, 128)).astype(int)
    assert max(max(size) for size in sizes) <= 17 * 144
    assert fitted.shape == (128, 128, 3)
    middle = 255 / 2
    reach = 255 * 64 / 144 * min(height, width) / max(height, width)  # of the ramp, from the centre of the crop
    assert abs(fitted.mean() - middle) <= 2
    assert np.abs(fitted - middle).max() <= reach + 2


def test_a_very_long_picture_is_refused_where_it_would_be_used_whole():
    with pytest.raises(ImageError, match=r"5000 x 1 pixels is too narrow"):
        preprocess(noise(1, 5000), Preprocessing(144, 128), is_dense=True)
    assert fit(noise(10, 160), Preprocessing(144, 128), is_dense=True).shape == (144, 2304, 3)


def test_normalize_is_the_formula():
    image = noise(5, 7)
    preprocessing = Preprocessing(8, 8, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6))
    numbers = normalize(image, preprocessing)
    assert numbers.dtype == np.float32
    assert numbers.flags.c_contiguous
    expected = (image.transpose(2, 0, 1) / 255 - np.reshape([0.1, 0.2, 0.3], (3, 1, 1))) / np.reshape(
        [0.4, 0.5, 0.6], (3, 1, 1)
    )
    np.testing.assert_allclose(numbers, expected, atol=1e-6)


def test_one_channel_is_the_luma_of_itu_r_601():
    image = noise(6, 6)
    numbers = normalize(image, Preprocessing(8, 8, **GREY))
    luma = np.round(image @ [0.299, 0.587, 0.114])
    assert numbers.shape == (1, 6, 6)
    np.testing.assert_allclose(numbers[0], (luma / 255 - 0.5) / 0.25, atol=1.01 / 255 / 0.25)  # one grey level
    grey = np.repeat(image[..., :1], 3, axis=2)
    np.testing.assert_allclose(
        normalize(grey, Preprocessing(8, 8, **GREY))[0], (grey[..., 0] / 255 - 0.5) / 0.25, atol=1e-6
    )


def test_preprocess_is_fit_and_then_normalize():
    image, preprocessing = noise(90, 70), Preprocessing(64, 48)
    assert np.array_equal(preprocess(image, preprocessing), normalize(fit(image, preprocessing), preprocessing))
    assert preprocess(image, preprocessing).shape == (3, 48, 48)
    assert preprocess(image, preprocessing, is_dense=True).shape == (3, 82, 64)


@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(100, 101),
        Preprocessing(0, 0),
        Preprocessing(10, -1),
        Preprocessing(10, 10, mean=(0.5, 0.5), std=(1.0, 1.0)),
        Preprocessing(10, 10, mean=(0.5,)),
        Preprocessing(10, 10, std=(0.2, 0.0, 0.2)),
        Preprocessing(10, 10, fit="stretch"),
    ],
)
def test_a_preprocessing_that_cannot_be_is_refused(preprocessing):
    with pytest.raises(UsageError):
        preprocess(noise(20, 20), preprocessing)


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
)
def test_an_array_that_is_no_picture_is_refused(image):
    with pytest.raises(UsageError, match="uint8"):
        preprocess(image, Preprocessing(8, 8))


@settings(max_examples=100, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(20, 150), st.data())
def test_the_crop_box_is_what_fit_keeps(height, width, resize, data):
    """Each pixel of the ramps is its place in the picture, in 255ths of it."""
    crop = data.draw(st.integers(10, resize))
    rows, columns = np.mgrid[0.5:height, 0.5:width]
    ramps = np.stack([255 * rows / height, 255 * columns / width, 0 * rows], axis=2).round().astype(np.uint8)
    left, top, right, bottom = crop_box(ramps.shape, Preprocessing(resize, crop))
    kept = fit(ramps, Preprocessing(resize, crop))[..., :2].mean(axis=(0, 1))
    middle = ((top + bottom) / 2 / height, (left + right) / 2 / width)
    assert np.allclose(kept / 255, middle, atol=0.01 + 1 / min(height, width))
    assert (right - left) / crop == pytest.approx(min(height, width) / resize, rel=0.1)


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (64, 64), (500, 31), (1, 30_000), (30_000, 2)])
def test_a_letterbox_is_the_whole_picture_resized_in_a_square_of_the_mean(shape):
    preprocessing = Preprocessing(72, 64, fit="letterbox")
    height, width = (max(1, round(64 * side / max(shape))) for side in shape)
    expected = Image.new("RGB", (64, 64), (124, 116, 104))
    inner = Image.fromarray(noise(*shape)).resize((width, height), Image.Resampling.BILINEAR)
    expected.paste(inner, (round((64 - width) / 2), round((64 - height) / 2)))
    assert np.array_equal(fit(noise(*shape), preprocessing), expected)


@pytest.mark.parametrize("shape", [(90, 60), (60, 90), (64, 64), (1, 30_000)])
def test_a_squashed_picture_is_the_whole_one_with_both_sides_resized(shape):
    expected = Image.fromarray(noise(*shape)).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(fit(noise(*shape), Preprocessing(72, 64, fit="squash")), expected)


@pytest.mark.parametrize("fields", [{}, GREY, {"mean": (-3.0, 0.5, 7.0)}])
def test_what_a_letterbox_is_filled_up_with_is_zero_but_for_the_rounding_to_8_bits(fields):
    preprocessing = Preprocessing(32, 32, fit="letterbox", **fields)
    above = preprocess(noise(10, 40), preprocessing)[:, :8]
    means = np.clip(preprocessing.mean, 0, 1)
    limit = 0.5 / 255 / min(preprocessing.std) + np.abs(means - preprocessing.mean).max() / min(preprocessing.std)
    assert np.abs(above).max() <= limit * 1.0001
    assert max(fill_colour(preprocessing)) <= 255


@pytest.mark.parametrize("fit_name", FITS)
def test_a_dense_view_is_the_same_whatever_the_fit(fit_name):
    image, whole = noise(60, 90), Preprocessing(36, 32)
    assert np.array_equal(fit(image, Preprocessing(36, 32, fit=fit_name), is_dense=True), fit(image, whole, True))
    assert crop_box(image.shape, Preprocessing(36, 32, fit=fit_name), is_dense=True) == (0, 0, 90, 60)


@pytest.mark.parametrize("fit_name", FITS)
@settings(max_examples=60, deadline=None)
@given(st.integers(20, 300), st.integers(20, 300), st.integers(20, 150), st.data())
def test_every_pixel_of_the_square_is_where_the_crop_box_says(fit_name, height, width, resize, data):
    """Each pixel of the ramps is its place in the picture, in 255ths of it; what is filled up is black."""
    crop = data.draw(st.integers(10, resize))
    rows, columns = np.mgrid[0.5:height, 0.5:width]
    ramps = np.stack([255 * rows / height, 255 * columns / width, 0 * rows + 255], axis=2).round().astype(np.uint8)
    preprocessing = Preprocessing(resize, crop, mean=(0.0, 0.0, 0.0), fit=fit_name)
    left, top, right, bottom = crop_box(ramps.shape, preprocessing)
    square = fit(ramps, preprocessing).astype(float)
    places = (np.arange(crop) + 0.5) / crop
    down, across = np.meshgrid(top + (bottom - top) * places, left + (right - left) * places, indexing="ij")
    pixel = max((right - left), (bottom - top)) / crop  # of the square, in the picture
    is_within = (down > 0) & (down < height) & (across > 0) & (across < width)
    assert np.array_equal(square[..., 2] == 255, is_within)
    is_far = (np.minimum(down, height - down) > pixel) & (np.minimum(across, width - across) > pixel) & is_within
    found = square[is_far][:, :2] / 255 * (height, width)
    assert np.abs(found - np.stack([down, across], axis=-1)[is_far]).max(initial=0) <= 1.01 + max(height, width) / 255


@pytest.mark.parametrize("fields", [{}, GREY])
def test_normalised_pixels_become_the_picture_again(fields):
    preprocessing = Preprocessing(8, 8, **fields)
    image = noise(30, 20) if not fields else noise(30, 20)[..., :1].repeat(3, axis=2)
    assert np.array_equal(denormalize(normalize(image, preprocessing), preprocessing), image)


def test_the_crop_box_of_a_very_long_picture_and_of_a_dense_evaluation():
    preprocessing = Preprocessing(resize=32, crop=16)
    assert crop_box((1000, 10, 3), preprocessing) == (2.5, 497.5, 7.5, 502.5)
    assert crop_box((60, 90), preprocessing, is_dense=True) == (0, 0, 90, 60)
