"""What a training is said to take: against a clock that is set, sums made by hand, and files that are truly saved."""

import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.data.datasets import Dataset, Splits, open_splits
from verydeep.errors import UsageError
from verydeep.train import plan as module
from verydeep.train.checkpoint import state_files
from verydeep.train.display import Display
from verydeep.train.loop import begin, train
from verydeep.train.plan import MOST_EPOCHS, Pace, Plan, fit_into, measure
from verydeep.train.recipe import Recipe

CPU = torch.device("cpu")
PLAN = Plan(
    photos=1000,
    sizes=(32,) * 7,
    paces=(Pace(size=32, photos_per_second=20.0, waiting_share=0.0, validation_seconds=10.0, photo_macs=1),),
    micro_batch=8,
    precision="float32",
    memory_bytes=1,
    free_bytes=None,
    checkpoint_bytes=1,
    checkpoints=2,
)


@pytest.fixture
def recipe(small_recipe) -> Recipe:
    return replace(small_recipe, input_size=32, test_resize=36, test_crop=32, train_scales=(32, 40))


def plan_of(recipe: Recipe, splits: Splits) -> Plan:
    return measure(recipe, splits, begin(recipe, splits, CPU), None)


def pace_of(recipe: Recipe, splits: Splits) -> Pace:
    """Of a recipe whose pictures have one size."""
    (pace,) = plan_of(recipe, splits).paces
    return pace


# What is measured


class Clock:
    """Stands still, but for the seconds that a test lets pass."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def around(self, batches: Iterator, seconds: float) -> Iterator:
        for batch in batches:
            self.now += seconds
            yield batch


def test_speed_and_waiting_are_those_of_ten_steps_after_three_to_warm_up(recipe, photos, monkeypatch):
    clock, load, done = Clock(monkeypatch), module.load_batches, []

    def learn(state, batch, recipe, **options):
        done.append(len(batch.labels))
        clock.now += 100.0 if len(done) <= 3 else 0.3

    monkeypatch.setattr(module, "learn_batch", learn)
    monkeypatch.setattr(module, "load_batches", lambda *args, **named: clock.around(load(*args, **named), 0.1))
    plan = plan_of(replace(recipe, batch_size=10), open_splits(photos))
    assert plan.photos == 48
    assert done == [10, 10, 10, 9, 9, 10, 10, 10, 9, 9, 10, 10, 10]  # 48 photos are five batches
    (pace,) = plan.paces
    assert pace.photos_per_second == pytest.approx(96 / 4)  # of the last ten steps, 0.4 s each
    assert pace.waiting_share == pytest.approx(0.1 / 0.4)
    assert plan.epoch_seconds(pace) == pytest.approx(48 / 24)


def test_pictures_that_grow_are_measured_at_each_of_their_sizes(recipe, photos, monkeypatch):
    clock = Clock(monkeypatch)

    def learn(state, batch, recipe, **options):
        clock.now += {28: 0.25, 32: 0.5}[batch.images.shape[1]]

    def validate(recipe, weights, photos, device):
        clock.now += {28: 1.0, 32: 2.0}[recipe.test_crop]

    monkeypatch.setattr(module, "learn_batch", learn)
    monkeypatch.setattr(module, "validate", validate)
    plan = plan_of(replace(recipe, first_size=28), open_splits(photos))
    assert plan.sizes == (28, 32, 32)
    assert [(p.size, p.photos_per_second, p.validation_seconds) for p in plan.paces] == [(28, 32, 1.0), (32, 16, 2.0)]
    assert plan.total_seconds == pytest.approx(48 / 32 + 1 + 2 * (48 / 16 + 2) + 2)


@pytest.mark.parametrize("photos_to_validate_on", [1, 12, 100, 130, 1000])
def test_the_time_of_a_validation_is_told_from_a_sample_of_each_class(
    photos_to_validate_on, recipe, photos, monkeypatch
):
    clock, samples = Clock(monkeypatch), []
    paths = open_splits(photos).validation.paths
    labels = sorted(np.arange(photos_to_validate_on) % 2)  # as in folders, class after class
    many = Dataset(("blue", "red"), (paths * 100)[: len(labels)], tuple(map(int, labels)))

    def validate(recipe, weights, photos, device):
        samples.append(photos)
        clock.now += 0.05 * len(photos)

    def learn(state, batch, recipe, **options):
        clock.now += 1.0

    monkeypatch.setattr(module, "validate", validate)
    monkeypatch.setattr(module, "learn_batch", learn)
    pace = pace_of(recipe, replace(open_splits(photos), validation=many))
    assert pace.validation_seconds == pytest.approx(0.05 * photos_to_validate_on)
    assert len(samples) == 1
    assert len(samples[0]) <= 2 * 64
    assert set(samples[0].labels) == set(many.labels)


def test_what_is_measured_agrees_with_itself(recipe, photos):
    plan = plan_of(recipe, open_splits(photos))
    (pace,) = plan.paces
    assert plan.epoch_seconds(pace) * pace.photos_per_second == pytest.approx(plan.photos) == 48
    assert 0 <= pace.waiting_share < 1
    assert pace.validation_seconds > 0
    assert (plan.sizes, plan.micro_batch, plan.precision) == ((32, 32, 32), 8, "float32")
    assert plan.free_bytes is None or plan.free_bytes > 0
    assert plan.total_seconds == pytest.approx(3 * plan.epoch_seconds(pace) + 4 * pace.validation_seconds)
    assert plan.to_dict()["total_seconds"] == plan.total_seconds


# What is accounted


def test_the_multiply_adds_of_a_training_are_those_counted_by_hand(recipe, photos):
    forward = (
        32 * 32 * (3 * 3 * 3) * 8  # conv1_1, on 32 x 32 pixels
        + 32 * 32 * (3 * 3 * 8) * 8  # conv1_2
        + 16 * 16 * (3 * 3 * 8) * 16  # conv2_1, after a pool
        + 16 * 2  # fc8, of the mean
    )
    backward = 2 * forward  # by the inputs and by the weights
    assert plan_of(recipe, open_splits(photos)).total_macs == 3 * 48 * (forward + backward)
    growing = plan_of(replace(recipe, first_size=28), open_splits(photos))  # the first epoch of three at 28 x 28 pixels
    less = (1 - (28 / 32) ** 2) * (forward - 32)  # but for fc8
    assert growing.total_macs == 48 * 3 * (3 * forward - less)


def test_memory_grows_by_the_same_for_each_photo_computed_at_once(recipe, photos):
    splits = open_splits(photos)
    two, four, eight = (plan_of(replace(recipe, micro_batch=n), splits).memory_bytes for n in (2, 4, 8))
    assert eight - four == 2 * (four - two) > 0
    outputs = 4 * (2 * 8 * 32 * 32 + 16 * 16 * 16)  # bytes of a photo's three convolutions, kept for the way back
    assert outputs < (four - two) / 2 < 10 * outputs  # of the batch norms, ReLUs and pools, and their gradients, too


def test_the_bytes_of_a_checkpoint_are_those_of_the_file_that_a_training_saves(recipe, start, photos, tmp_path):
    fields = {"width": 4.0, "input_size": 16, "test_resize": 18, "test_crop": 16, "train_scales": (16, 20)}
    run = start(tmp_path / "run", epochs=1, **fields)  # wide, so that names and progress weigh little
    train(run, open_splits(photos), Display(), "cpu")
    saved = state_files(run.folder)[0].stat().st_size
    assert plan_of(run.recipe, open_splits(photos)).checkpoint_bytes == pytest.approx(saved, rel=0.04)


@pytest.mark.parametrize(
    ("fields", "copies"),
    [
        ({"ema_decay": 0.0, "momentum": 0.0}, 1),
        ({"ema_decay": 0.0, "momentum": 0.9}, 2),
        ({"ema_decay": 0.9, "momentum": 0.9}, 3),
    ],
)
def test_a_checkpoint_holds_the_weights_their_average_and_their_momentum(fields, copies, recipe, photos):
    weights = (27 * 8 + 8) + (72 * 8 + 8) + (72 * 16 + 16) + (16 * 2 + 2)  # with biases
    plan = plan_of(replace(recipe, batch_norm=False, learning_rate=1e-3, **fields), open_splits(photos))
    assert plan.checkpoint_bytes == 4 * weights * copies


# How many epochs fit into a time


@pytest.mark.parametrize(
    ("minutes", "epochs"),
    [
        (70 / 60, 1),  # an epoch, its validation and that of the model as written
        (129 / 60, 1),
        (131 / 60, 2),
        (10, 9),  # 590 s for epochs of 60 s
        (60, 59),
        (1e6, MOST_EPOCHS),
        (math.inf, MOST_EPOCHS),
    ],
)
def test_as_many_epochs_fit_as_there_is_time_for_with_their_validations(minutes, epochs, recipe):
    assert fit_into(recipe, PLAN, minutes).epochs == epochs


@pytest.mark.parametrize("minutes", [69 / 60, 1 / 60, 0.0, -3.0, -math.inf, math.nan])
def test_less_than_an_epoch_is_refused_with_what_it_takes_and_what_there_is(minutes, recipe):
    with pytest.raises(UsageError, match=r"one epoch takes about 60 seconds here, \d+ seconds are left") as caught:
        fit_into(recipe, PLAN, minutes)
    assert "--set width=" in caught.value.hint


@pytest.mark.slow
@settings(deadline=None)  # the first example may wait for an import, any for another program
@given(minutes=st.floats(0, 1e5), epoch_seconds=st.floats(1e-3, 1e5), validation_seconds=st.floats(0, 1e4))
def test_the_whole_training_is_within_the_time_and_one_more_epoch_is_not(minutes, epoch_seconds, validation_seconds):
    rate = PLAN.photos / epoch_seconds
    pace = replace(PLAN.paces[0], photos_per_second=rate, validation_seconds=validation_seconds)
    plan = replace(PLAN, paces=(pace,))
    try:
        epochs = fit_into(Recipe(input_size=32), plan, minutes).epochs
    except UsageError:
        epochs = 0
    limit = 60 * minutes * (1 + 1e-9)  # rounding
    if epochs:
        assert plan.seconds_of([32] * epochs) <= limit
    if epochs < MOST_EPOCHS:
        assert plan.seconds_of([32] * (epochs + 1)) * (1 + 1e-9) >= 60 * minutes


@settings(deadline=None)  # the first example may wait for an import, any for another program
@given(minutes=st.floats(1, 200), share=st.floats(0.2, 1))
def test_of_pictures_that_grow_as_many_epochs_fit_as_have_the_time_with_their_own_sizes(minutes, share):
    full = PLAN.paces[0]
    small = replace(full, size=28, photos_per_second=20 / share, validation_seconds=10 * share)
    plan = replace(PLAN, paces=(small, full))
    growing = replace(Recipe(configuration="toy", input_size=32, test_resize=36, test_crop=32), first_size=28)
    try:
        fitted = fit_into(growing, plan, minutes)
    except UsageError:
        assert 60 * minutes < 70  # one epoch, at the full size, and its validation twice
        return
    longer = replace(fitted, epochs=fitted.epochs + 1)
    assert plan.seconds_of(fitted.sizes) <= 60 * minutes < plan.seconds_of(longer.sizes)


@pytest.mark.parametrize(
    ("asked", "minutes", "warmup"),
    [(5.0, 10, 0.9), (5.0, 70 / 60, 0.1), (0.5, 10, 0.5), (0.0, 10, 0.0), (5.0, 100, 5.0)],
)
def test_the_warm_up_is_a_tenth_of_what_was_fitted_at_most(asked, minutes, warmup, recipe):
    recipe = replace(recipe, epochs=40, warmup_epochs=asked)
    fitted = fit_into(recipe, PLAN, minutes)
    assert fitted.warmup_epochs == pytest.approx(warmup)
    assert replace(fitted, epochs=40, warmup_epochs=asked) == recipe  # nothing else has changed
