"""Batches of P classes and K photos: which photos, in which batch, and the same whenever they are asked for."""

import pickle
import time
from collections import Counter

import numpy as np
import pytest

from verydeep.data.class_batches import ClassBatches, class_batches
from verydeep.errors import DatasetError

EVEN = np.arange(60) % 6  # 10 photos of each of 6 classes
UNEVEN = np.repeat([0, 1, 2, 3, 4], [40, 9, 5, 3, 1])


@pytest.mark.parametrize("labels", [EVEN, UNEVEN], ids=["even", "uneven"])
@pytest.mark.parametrize(("classes", "photos"), [(2, 2), (3, 4), (4, 3), (5, 2), (5, 7)])
def test_a_batch_has_so_many_photos_of_so_many_classes(labels: np.ndarray, classes: int, photos: int) -> None:
    for epoch in range(5):
        batches = class_batches(labels, classes, photos, seed=1, epoch=epoch)
        assert batches.shape == (-(-len(labels) // (classes * photos)), classes * photos)
        for batch in batches:
            rows = labels[batch].reshape(classes, photos)
            assert (rows == rows[:, :1]).all()
            assert len(set(rows[:, 0].tolist())) == classes
            for own in batch.reshape(classes, photos).tolist():
                assert len(set(own)) == min(photos, int((labels == labels[own[0]]).sum()))


@pytest.mark.parametrize("labels", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_classes_come_equally_often_and_the_photos_of_each_too(labels: np.ndarray) -> None:
    for epoch in range(5):
        shown = class_batches(labels, 3, 2, seed=2, epoch=epoch)
        turns = Counter(labels[shown].reshape(-1, 2)[:, 0].tolist())
        assert max(turns.values()) - min(turns[label] for label in set(labels.tolist())) <= 1
        for label in set(labels.tolist()):
            times = np.bincount(shown.ravel(), minlength=len(labels))[labels == label]
            assert times.max() - times.min() <= 1


def test_an_epoch_of_even_classes_shows_every_photo_once() -> None:
    shown = class_batches(EVEN, 3, 2, seed=0, epoch=0)
    assert sorted(shown.ravel().tolist()) == list(range(60))


def test_epochs_and_seeds_have_batches_of_their_own() -> None:
    orders = {class_batches(EVEN, 3, 2, seed, epoch).tobytes() for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_the_numbers_of_the_classes_are_no_matter_nor_are_gaps_between_them() -> None:
    assert np.array_equal(class_batches(EVEN * 7 + 3, 3, 2, 0, 0), class_batches(EVEN, 3, 2, 0, 0))


def test_any_step_is_the_same_from_any_start() -> None:
    batches = ClassBatches(UNEVEN, classes=3, photos=2, seed=9)
    keys = [(epoch, step) for epoch in range(4) for step in range(batches.steps)]
    whole = {key: batches.positions(*key) for key in keys}
    for key in reversed(keys):
        assert ClassBatches(UNEVEN, classes=3, photos=2, seed=9).positions(*key) == whole[key]
        assert batches.positions(*key) == whole[key]
    assert pickle.loads(pickle.dumps(batches)).positions(2, 1) == whole[2, 1]  # noqa: S301, ours


def test_the_batches_are_those_of_today() -> None:
    """A run that is gone on with by a later version sees the same photos."""
    first = class_batches(np.arange(12) % 4, 2, 3, seed=1, epoch=2)
    assert first.tolist() == [[0, 4, 8, 7, 11, 3], [6, 10, 2, 9, 5, 1]]


def test_batches_of_more_classes_than_there_are_are_refused() -> None:
    with pytest.raises(DatasetError, match="batches of 7 classes, and photos of 6; expected at least as many"):
        class_batches(EVEN, 7, 2, seed=0, epoch=0)


def test_a_step_of_a_large_set_comes_at_once() -> None:
    labels = np.random.default_rng(0).integers(0, 1000, 300_000)
    batches = ClassBatches(labels, classes=32, photos=4, seed=0)
    start = time.process_time()
    batches.positions(77, 2000)
    assert time.process_time() - start < 2
