"""Drawings of numbers: the points of a curve lie as its numbers do, and the colours are the page's."""

import re
import sys

import numpy as np
import pytest

from verydeep.errors import MissingExtraError
from verydeep.train.figures import loss_figure, rate_figure, reliability_figure, score_figure

pytestmark = [pytest.mark.slow, pytest.mark.whole_report]  # whole pages, more than test-fast has time for

ROWS = [
    {
        "epoch": epoch,
        "learning_rate": 0.1 / epoch,
        "loss": 2 / epoch,
        "validation_loss": 1.5 / epoch + 0.2,
        "validation_top1": 0.9 - 0.5 / epoch,
    }
    for epoch in range(1, 41)  # so many that the points bear no marks
]


def points(svg: str, color: str) -> np.ndarray:
    """(n, 2): the coordinates of the longest line of that colour."""
    lines = re.findall(rf'<path d="([^"]*)"[^>]*style="fill: none; stroke: var\(--{color}\)', svg)
    line = max(lines, key=len)
    return np.array(re.findall(r"[ML] ([\d.]+) ([\d.]+)", line), dtype=float)


@pytest.mark.parametrize(
    ("svg", "color", "column"),
    [
        (loss_figure(ROWS, 0.6), "training", "loss"),
        (loss_figure(ROWS, 0.6), "validation", "validation_loss"),
        (score_figure(ROWS, "top1", "top-1", 100), "validation", "validation_top1"),
        (rate_figure(ROWS, is_log=False), "rate", "learning_rate"),
    ],
)
def test_a_curve_goes_through_the_numbers(svg, color, column):
    xy = points(svg, color)
    values = np.array([[row["epoch"], row[column]] for row in ROWS])
    for axis in (0, 1):
        assert abs(np.corrcoef(xy[:, axis], values[:, axis])[0, 1]) == pytest.approx(1, abs=1e-9)


def test_a_rate_that_falls_by_tens_is_drawn_by_its_logarithm():
    rows = [{"epoch": epoch, "learning_rate": 10.0 ** -(epoch // 15)} for epoch in range(1, 41)]
    heights = np.unique(points(rate_figure(rows, is_log=True), "rate")[:, 1])
    assert np.diff(heights) == pytest.approx(np.diff(heights)[0])  # equal steps


def test_each_point_of_the_reliability_is_the_accuracy_of_an_interval():
    confidence = np.repeat([0.55, 0.7, 0.9], [20, 20, 60])
    is_right = np.concatenate([np.arange(20) < 8, np.arange(20) < 14, np.arange(60) < 57])
    posteriors = np.stack([confidence, 1 - confidence], axis=1)
    svg = reliability_figure(posteriors, np.where(is_right, 0, 1), reject_below=0.6)
    marks = re.findall(r'<use xlink:href="#reliability-\w+" x="([\d.]+)" y="([\d.]+)" style="fill: var\(--valid', svg)
    xy = np.array(marks, dtype=float)[:3]
    expected = np.array([[0.55, 0.4], [0.7, 0.7], [0.9, 0.95]])
    for axis in (0, 1):
        assert abs(np.corrcoef(xy[:, axis], expected[:, axis])[0, 1]) == pytest.approx(1, abs=1e-9)


def test_a_single_epoch_can_be_seen():
    assert "<use" in rate_figure(ROWS[:1], is_log=False).split("rate-line2d_")[-1]


def test_without_matplotlib_the_command_to_get_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingExtraError, match=r"matplotlib, which is not installed.*verydeep\[train\]"):
        rate_figure(ROWS, is_log=False)
