"""The search for a learning rate: on curves whose lowest point is known, and on photos that are truly learnt."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verydeep.data.datasets import open_splits
from verydeep.data.loader import batch_random, load_batches
from verydeep.errors import NonFiniteError, TrainingError
from verydeep.train import find_rate as module
from verydeep.train.find_rate import find_rate, suggest
from verydeep.train.guards import prior_entropy
from verydeep.train.interrupt import Interruption
from verydeep.train.loop import begin
from verydeep.train.step import learn_batch

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("lowest", "suggestion"), [(0.4, 0.1), (10.0, 2.5), (0.3, 0.075), (0.123, 0.031), (4e-5, 1e-5), (0.0444, 0.011)]
)
def test_a_quarter_of_the_rate_with_the_lowest_loss_is_suggested_to_two_digits(lowest, suggestion):
    rates = sorted([*np.geomspace(1e-5, 10, 50), lowest])
    losses = [5 + math.log10(rate / lowest) ** 2 for rate in rates]  # a parabola over the rate's logarithm
    assert suggest(rates, losses) == suggestion


@given(lowest=st.floats(1e-5, 10), height=st.floats(1e-3, 1e3))
def test_the_suggestion_is_that_quarter_up_to_rounding_whatever_the_height_of_the_losses(lowest, height):
    rates = [1e-6, lowest, 100.0]
    suggestion = suggest(rates, [2 * height, height, 3 * height])
    assert suggestion == pytest.approx(lowest / 4, rel=0.05)  # half of the second digit: 0.5 in 10
    assert suggestion == float(f"{suggestion:.1e}")


def test_a_loss_that_vanishes_on_the_way_is_followed_no_further_than_to_a_twentieth():
    """Photos that are learnt give no gradients, so that the loss goes on falling at rates that no start survives."""
    rates = [0.001, 0.01, 0.1, 1.0, 10.0]
    assert suggest(rates, [2.0, 1.5, 0.11, 0.1, 0.001]) == 0.25
    assert suggest(rates, [2.0, 1.5, 0.101, 0.102, 2.0]) == 0.025


@pytest.mark.parametrize(
    "losses",
    [
        [],
        [1.0],
        [1.0, 1.0, 1.0],
        [1.0, 1.5, 9.0],
        [1.0, 0.985, 2.0],  # chance does that
    ],
)
def test_where_no_rate_made_the_loss_fall_it_says_so_with_what_may_help(losses):
    with pytest.raises(TrainingError, match="the loss did not fall at any learning rate from 1e-05 to 10") as caught:
        suggest([0.001, 0.01, 0.1][: len(losses)], losses)
    assert "class folders" in caught.value.hint
    assert "batch_norm=true" in caught.value.hint


def search(monkeypatch, photos, recipe, loss_at, **options):
    """find_rate of a network whose loss is a function of the step and the rate; NaN ends the step as it does."""
    splits = open_splits(photos)
    state = begin(recipe, splits, CPU)

    def learn(state, batch, recipe, *, rate, random, interruption):
        loss = loss_at(len(state.progress.losses), rate)
        if math.isnan(loss):
            raise NonFiniteError("the loss is not finite")
        state.progress = replace(state.progress, losses=[*state.progress.losses, loss])

    monkeypatch.setattr(module, "learn_batch", learn)
    return find_rate(recipe, splits, state, None, **options), state.progress.losses


def test_rates_rise_by_the_same_factor_from_1e_5_to_10_and_each_step_is_told(monkeypatch, photos, small_recipe):
    told = []
    found, _ = search(
        monkeypatch,
        photos,
        small_recipe,
        lambda step, rate: 1 / (2 + step),
        steps=25,
        on_step=lambda done, steps: told.append((done, steps)),
    )
    assert (found.rates[0], found.rates[-1]) == (1e-5, 10)
    np.testing.assert_allclose(np.diff(np.log10(found.rates)), 6 / 24)  # six decades in 24 strides
    assert told == [(step, 25) for step in range(1, 26)]
    assert found.suggestion == 2.5  # the loss never rose: a quarter of the last
    assert found.to_dict() == {"rates": found.rates, "losses": found.losses, "suggestion": 2.5}


def test_the_losses_are_means_in_which_each_step_counts_nine_tenths_of_the_next(monkeypatch, photos, small_recipe):
    noise = 1 + 0.3 * np.random.default_rng(0).standard_normal(40) - 0.01 * np.arange(40)
    found, seen = search(monkeypatch, photos, small_recipe, lambda step, rate: float(noise[step]), steps=40)
    assert seen == noise.tolist()
    weights = 0.9 ** np.arange(40)[::-1]
    expected = [np.average(noise[: step + 1], weights=weights[-1 - step :]) for step in range(40)]
    np.testing.assert_allclose(found.losses, expected)


def test_the_search_ends_at_the_step_whose_mean_loss_is_twice_the_lowest(monkeypatch, photos, small_recipe):
    """Steps of loss 1, then of 4: the mean is about 1 + 3 * (1 - 0.9^n), beyond 2 at the fourth of them."""
    found, seen = search(monkeypatch, photos, small_recipe, lambda step, rate: 1.0 if 0 < step < 50 else 4.0)
    assert len(seen) == len(found.losses) < 100
    assert found.losses[-1] > 2 * min(found.losses) >= found.losses[-2]
    assert len(seen) == 50 + 4  # a single bad batch ends nothing
    assert min(found.losses) == found.losses[49]


def test_a_step_that_is_not_finite_ends_the_search_and_counts_for_nothing(monkeypatch, photos, small_recipe):
    def loss_at(step, rate):
        return math.nan if 0.11 < rate < 0.13 else max(0.4, 1 - 5 * rate)

    found, _ = search(monkeypatch, photos, small_recipe, loss_at, steps=61)  # ten steps a decade, 0.1 is the 41st
    assert len(found.rates) == len(found.losses) == 41
    assert found.rates[-1] == pytest.approx(0.1)
    assert found.suggestion == 0.025


def test_a_network_whose_first_step_is_not_finite_has_no_rate(monkeypatch, photos, small_recipe):
    with pytest.raises(TrainingError, match="did not fall"):
        search(monkeypatch, photos, small_recipe, lambda step, rate: math.nan)


def losses_at(rate, recipe, splits, steps):
    """Of each step of a training from the start at one rate; it ends early where a step is not finite."""
    state = begin(recipe, splits, CPU)
    batches = load_batches(
        splits.training, [recipe.augmentation] * steps, batch_size=recipe.batch_size, seed=1, start=(0, 0)
    )
    losses = []
    for step in range(steps):
        random = batch_random(1, 0, step)
        try:
            learn_batch(state, next(batches), recipe, rate=rate, random=random, interruption=Interruption())
        except NonFiniteError:
            break
        losses.append(state.progress.losses[-1])
    return losses


@pytest.mark.slow
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_the_rate_that_is_found_learns_from_the_start_and_the_last_one_blows_up(label_smoothing, photos, small_recipe):
    recipe = replace(small_recipe, batch_norm=False, cutmix=0.0, label_smoothing=label_smoothing)
    splits = open_splits(photos)
    found = find_rate(recipe, splits, begin(recipe, splits, CPU), None)
    ignorant, knowing = math.log(2), prior_entropy([1, 0], label_smoothing)  # losses
    losses = losses_at(found.suggestion, recipe, splits, 50)
    assert len(losses) == 50
    assert max(losses) < 2 * ignorant
    assert np.mean(losses[-20:]) < (ignorant + knowing) / 2
    assert np.mean(losses_at(found.rates[0], recipe, splits, 50)[-20:]) > ignorant - 0.1
    blown = losses_at(2 * found.rates[-1], recipe, splits, 50)
    assert len(blown) < 50 or max(blown) > 4 * ignorant
    if label_smoothing:  # without it, nothing is left to learn before the rate is too high
        assert len(found.rates) < 100


def test_the_same_photos_and_seed_give_the_same_search(photos, small_recipe):
    splits = open_splits(photos)
    first, second = (find_rate(small_recipe, splits, begin(small_recipe, splits, CPU), None, steps=12) for _ in "12")
    assert first == second
