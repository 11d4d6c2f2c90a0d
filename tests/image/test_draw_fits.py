"""What each fit costs a photo, in numbers and as a picture."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.image import fit
from verydeep.image.draw_fits import TYPICAL, Cost, cost_of, fit_card
from verydeep.nouns import FITS, Fit

SIDE = TYPICAL.crop
NONE = pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "shape", "words"),
    [
        ("crop", (400, 600), "49 % cut away"),  # 1 - (7/8)^2 / 1.5
        ("crop", (600, 400), "49 % cut away"),
        ("crop", (256, 256), "23 % cut away"),
        ("letterbox", (400, 600), "33 % filled up"),
        ("letterbox", (500, 500), "as it is"),
        ("squash", (400, 600), "1.5 times as narrow"),
        ("squash", (600, 400), "1.5 times as flat"),
        ("squash", (500, 500), "as it is"),
    ],
)
def test_the_cost_in_words(name: Fit, shape: tuple[int, int], words: str) -> None:
    assert cost_of(shape, replace(TYPICAL, fit=name)).in_words == words


@given(st.integers(100, 3000), st.integers(100, 3000))
def test_each_fit_costs_one_thing(height: int, width: int) -> None:
    cut, filled, narrowed = (cost_of((height, width), replace(TYPICAL, fit=name)) for name in FITS)
    length = max(height, width) / min(height, width)
    if length <= 16:
        assert cut == Cost(pytest.approx(1 - (SIDE / 256) ** 2 / length, abs=0.02), NONE, pytest.approx(1, rel=0.02))
    assert filled == Cost(NONE, pytest.approx(1 - 1 / length, abs=0.02), pytest.approx(1, rel=0.5 * length / 100))
    assert narrowed == Cost(NONE, NONE, pytest.approx(width / height))


@pytest.mark.parametrize("shape", [(60, 90), (300, 200), (1, 1), (2, 900), (900, 2)])
def test_a_card_shows_the_photo_and_the_square_of_each_fit(shape: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    card = np.asarray(fit_card(photo))
    assert card.shape == np.asarray(fit_card(np.zeros((7, 5, 3), np.uint8))).shape  # whatever the photo
    for number, name in enumerate(FITS, start=1):
        left = 12 + number * (SIDE + 12)
        assert np.array_equal(card[12 : 12 + SIDE, left : left + SIDE], fit(photo, replace(TYPICAL, fit=name)))
