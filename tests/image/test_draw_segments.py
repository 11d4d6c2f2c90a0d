"""Segmented photos for people: readable at any size, and the legend names what is there."""

import numpy as np
import pytest

from verydeep.image.draw_objects import class_colours
from verydeep.image.draw_segments import annotate_segments
from verydeep.nouns import SegmentationPrediction
from verydeep.outputs.segments import Segments, segmentation


def prediction(classes: np.ndarray, names: tuple[str, ...]) -> SegmentationPrediction:
    return segmentation(Segments(classes.astype(np.uint8), np.ones(classes.shape, np.float32)), names)


def halves(height: int, width: int) -> np.ndarray:
    return np.broadcast_to(np.arange(width) >= width / 2, (height, width))


@pytest.mark.parametrize("shape", [(1, 1), (30, 40), (1, 3000), (3000, 1), (480, 640), (1500, 2500)])
def test_a_card_is_readable_at_any_size_of_the_photo(shape: tuple[int, int]) -> None:
    card = annotate_segments(np.full((*shape, 3), 99, np.uint8), prediction(halves(*shape), ("sky", "road")))
    assert 360 <= card.width <= 1280
    assert card.height <= 1280 + 100


def test_each_class_is_tinted_with_its_colour_and_outlined() -> None:
    image = np.zeros((480, 640, 3), np.uint8)
    names = ("sky", "road")
    card = np.asarray(annotate_segments(image, prediction(halves(480, 640), names)))
    colours = class_colours(names)
    for name, column in (("sky", 100), ("road", 500)):
        assert np.abs(card[200, column].astype(int) - np.array(colours[name]) // 2).max() <= 2
    outline = card[200, 315:325].astype(int)
    assert any(np.abs(pixel - np.array(colours["sky"])).max() < 20 for pixel in outline)


def test_the_legend_has_the_colours_of_what_is_there_only() -> None:
    names = ("sky", "road", "car")
    card = np.asarray(annotate_segments(np.zeros((480, 640, 3), np.uint8), prediction(halves(480, 640), names)))
    legend = card[480:]
    colours = class_colours(names)
    there = {name for name in names if (legend == colours[name]).all(axis=2).any()}
    assert there == {"sky", "road"}


@pytest.mark.parametrize("width", [100, 640, 2000])
def test_many_classes_with_long_names_have_room(width: int) -> None:
    names = tuple(f"class number {i} with a name that goes on" if i % 3 else f"c{i}" for i in range(60))
    classes = np.arange(40 * width).reshape(40, width) % 60
    card = annotate_segments(np.zeros((40, width, 3), np.uint8), prediction(classes, names))
    assert card.height < 1280


@pytest.mark.parametrize("name", ["", "two\nlines\x1b[31m", "日本語", "x" * 3000])
def test_any_name_can_be_drawn(name: str) -> None:
    annotate_segments(np.zeros((30, 40, 3), np.uint8), prediction(np.zeros((30, 40)), (name,)))
