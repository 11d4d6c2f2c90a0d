"""The photos of a report are the right ones, and the filters are drawn as they are."""

from pathlib import Path

import numpy as np

from verydeep.evaluate import Report
from verydeep.nouns import Calibration
from verydeep.train.gallery import draw_filters, mistaken, surest_right, surest_wrong


def report(*answers: tuple[int, int, float]) -> Report:
    """Of three classes; an answer is the class of the photo, the class it was taken for, and how surely."""
    posteriors = np.zeros((len(answers), 3))
    for row, (_, said, sure) in zip(posteriors, answers, strict=True):
        row[:] = (1 - sure) / 2
        row[said] = sure
    labels = np.array([true for true, _, _ in answers])
    paths = tuple(Path(f"{i}.jpg") for i in range(len(answers)))
    return Report("", "center", ("a", "b", "c"), paths, labels, posteriors, None, Calibration())


def test_the_surest_right_ones_come_from_every_class():
    easy = [(0, 0, 0.99 - i / 1000) for i in range(20)]
    found = report(*easy, (1, 1, 0.7), (1, 2, 0.999), (2, 2, 0.6), (2, 2, 0.65))
    assert surest_right(found) == [0, 1, 2, 20, 23, 22]  # three of a class at most: eight places for three classes


def test_the_surest_wrong_ones_are_eight_by_their_confidence():
    wrong = [(0, 1, 0.5 + i / 100) for i in range(10)]
    assert surest_wrong(report((0, 0, 0.999), *wrong)) == [10, 9, 8, 7, 6, 5, 4, 3]


def test_the_photos_of_a_mistake_are_those_of_that_mistake():
    found = report((0, 1, 0.6), (0, 1, 0.9), (1, 0, 0.8), (0, 2, 0.8), (0, 0, 0.9))
    assert mistaken(found, "a", "b") == [1, 0]


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
