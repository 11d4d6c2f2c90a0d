"""Cards and sheets: whatever the photo and the labels, something readable of a bounded size."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from verydeep.image import annotate, contact_sheet
from verydeep.image.draw import _DOUBT, _shortened, _writable, draw_filters
from verydeep.nouns import Box, ClassScore, Prediction


def prediction(*labels: str, is_known: bool = True) -> Prediction:
    scores = tuple(ClassScore(label, 0.9 / (place + 1)) for place, label in enumerate(labels))
    return Prediction("photo.jpg", scores, is_known)


@pytest.mark.parametrize("shape", [(1, 1), (28, 28), (1, 5000), (5000, 1), (480, 640), (2000, 3000)])
def test_a_card_is_readable_at_any_size_of_the_photo(shape):
    card = annotate(np.full((*shape, 3), 99, np.uint8), prediction("tench", "church", "golf ball"))
    assert 360 <= card.width <= 1280
    assert card.height <= 1280 + 300


def test_the_photo_is_on_the_card_unchanged_where_its_size_fits():
    photo = np.random.default_rng(0).integers(0, 256, (500, 600, 3), dtype=np.uint8)
    card = np.asarray(annotate(photo, prediction("tench")))
    assert np.array_equal(card[:500], photo)


def test_the_longer_the_bar_the_likelier_the_class():
    card = np.asarray(annotate(np.zeros((480, 480, 3), np.uint8), prediction("a", "b", "c"))).astype(int)
    below = card[480:]
    colourful = (below.max(axis=2) - below.min(axis=2) > 30).sum(axis=1)  # pixels in each line
    lengths = [int(length) for length, previous in zip(colourful[1:], colourful[:-1], strict=True) if length > previous]
    assert sorted(lengths, reverse=True)[0] == colourful.max() == colourful[: len(colourful) // 3].max()
    assert colourful[-len(colourful) // 3 :].max() < colourful.max() / 2


def test_a_photo_of_none_of_the_classes_is_marked():
    photo = np.zeros((480, 480, 3), np.uint8)
    for is_known in (True, False):
        card = np.asarray(annotate(photo, prediction("a", "b", is_known=is_known)))
        assert (card == _DOUBT).all(axis=2).any() == (not is_known)


@pytest.mark.parametrize("box", [(-50, -50, 9000, 9000), (30, 20, 30, 20), (40, 30, 40, 30), (10, 25, 30, 26)])
def test_any_box_can_be_drawn(box):
    scores = (ClassScore("tench", 0.9, Box(*box)),)
    card = np.asarray(annotate(np.zeros((30, 40, 3), np.uint8), Prediction("", scores)))
    assert card.shape[1] == 480


def test_a_long_label_ends_in_an_ellipsis_inside_its_room():
    font = ImageFont.load_default(20)
    short = _shortened("a label that goes on and on", font, 100)
    assert short.endswith("…")
    assert font.getlength(short) <= 100
    assert _shortened("short", font, 100) == "short"


def test_letters_that_no_font_has_do_not_become_boxes(monkeypatch):
    monkeypatch.setattr("verydeep.image.draw._WIDE_FONTS", ())
    monkeypatch.setattr("verydeep.image.draw._wide_fonts", lambda size: ())
    assert _writable("café", 20)[0] == "cafe"
    assert _writable("日本 a", 20)[0] == "?? a"


@pytest.mark.parametrize("label", ["", " ", "two\nlines\x1b[31m", "🐈", "مرحبا", "日本語", "x" * 5000, "\udcff"])
def test_any_label_can_be_drawn(label):
    assert annotate(np.zeros((30, 40, 3), np.uint8), prediction(label, "other")).mode == "RGB"


def test_a_sheet_holds_all_cards_at_the_same_width():
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    cards = [Image.new("RGB", (width, 300), colour) for width, colour in zip((400, 500, 600), colours, strict=True)]
    sheet = np.asarray(contact_sheet(cards, columns=2))
    for colour in colours:
        rows, columns = np.nonzero((sheet == colour).all(axis=2))
        assert np.ptp(columns) + 1 == 400
        assert np.ptp(rows) + 1 in (300, 240, 200)
    assert contact_sheet(cards[:1]).width < 450


def test_a_kernel_is_drawn_enlarged_about_mid_grey():
    kernels = np.zeros((17, 3, 3, 3), np.float32)
    kernels[0, 0, 0, 0], kernels[0, 0, 2, 2] = 2.0, -2.0  # red: light in one corner, dark in the other
    picture = np.asarray(draw_filters(kernels))
    assert picture.shape == (92, 792, 4)  # two rows of 16 kernels of 42 pixels, 8 between
    assert picture[0, 0].tolist() == [255, 128, 128, 255]
    assert picture[41, 41].tolist() == [0, 128, 128, 255]
    assert picture[20, 20].tolist() == [128, 128, 128, 255]
    assert picture[20, 45, 3] == 0  # between two kernels
    assert picture[91, 41].tolist() == [128, 128, 128, 255]
    assert picture[91, 100, 3] == 0  # there is no eighteenth


def test_a_kernel_of_one_channel_is_drawn_in_grey():
    picture = np.asarray(draw_filters(np.linspace(-1, 1, 9, dtype=np.float32).reshape(1, 1, 3, 3)))
    assert picture.shape == (42, 42, 4)
    assert (picture[..., 0] == picture[..., 2]).all()
    assert picture[0, 0, 0] == 0
    assert picture[41, 41, 0] == 255
