"""Medians, percentiles and ratios, against numbers that can be checked by hand."""

import numpy as np
import pytest

from verydeep.bench.figures import by_group, figure, ratio
from verydeep.bench.rows import block_of


def test_a_figure_is_the_median_with_its_percentiles_and_its_count() -> None:
    made = figure([float(value) for value in range(101)])
    assert (made.value, made.low, made.high, made.n) == (50, 5, 95, 101)


def test_a_ratio_is_between_medians_and_its_spread_holds_it() -> None:
    random = np.random.default_rng(1)
    made = ratio(list(random.normal(3, 0.3, (20, 10))), list(random.normal(2, 0.2, (20, 15))))
    assert made.value == pytest.approx(1.5, rel=0.05)
    assert made.low < made.value < made.high
    assert made.high - made.low < 0.15  # 200 runs say more than one
    assert made.n == 20


def test_runs_of_a_chunk_that_are_alike_say_no_more_than_one() -> None:
    random = np.random.default_rng(1)
    levels = random.normal(3, 0.3, 20)  # of the machine, in each round
    one, many = (ratio([[level] * runs for level in levels], [[1.0]] * 20) for runs in (1, 100))
    assert (many.low, many.value, many.high) == (one.low, one.value, one.high)


def test_a_slow_minute_that_hits_both_makes_no_spread() -> None:
    made = ratio([[4.0], [40.0], [4.0], [4.0]], [[2.0, 2.0], [20.0], [2.0], [2.0]])
    assert (made.low, made.value, made.high) == (2, 2, 2)


def test_layers_belong_to_the_block_that_their_names_say() -> None:
    seconds = {"conv1_1": 1.0, "lrn1": 2.0, "pool1": 4.0, "conv2_1": 8.0, "pool2": 16.0, "gap": 32.0, "fc8": 64.0}
    assert by_group(seconds, block_of) == {"conv1": 7, "conv2": 24, "head": 96}
    assert block_of("logits") == "head"
    assert (block_of("unpool3"), block_of("conv3_2_D"), block_of("score")) == ("conv3_D", "conv3_D", "head")
