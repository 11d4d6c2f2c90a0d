"""The photos of a report are the right ones, and the filters are drawn as they are."""

from pathlib import Path

import numpy as np

from verydeep.evaluate import Report
from verydeep.nouns import Calibration
from verydeep.train.gallery import mistaken, surest_right, surest_wrong


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
