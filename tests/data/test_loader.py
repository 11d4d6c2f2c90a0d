"""The order of the data: every photo once, the same for any number of processes and from any epoch."""

import multiprocessing
import os
import signal
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.data.augment import Augmentation
from verydeep.data.datasets import Dataset
from verydeep.data.loader import epoch_order, load_batches, steps_per_epoch
from verydeep.errors import DatasetError, TrainingError

SPEC = Augmentation(16, areas=(0.3, 1.0))


@pytest.fixture
def photos(tmp_path) -> Dataset:
    """37 photos of noise."""
    random = np.random.default_rng(0)
    paths = []
    for i in range(37):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(random.integers(0, 256, (20, 24, 3), np.uint8)).save(paths[-1])
    return Dataset(("a", "b"), tuple(paths), tuple(i % 2 for i in range(37)))


def load(photos: Dataset, epochs: range, workers: int = 0):
    return list(load_batches(photos, SPEC, batch_size=8, seed=5, epochs=epochs, workers=workers))


@pytest.mark.parametrize(("photos", "batch_size"), [(1, 8), (8, 8), (37, 8), (1000, 64), (1025, 64), (3, 1)])
def test_an_epoch_has_every_photo_once_in_batches_of_nearly_equal_size(photos, batch_size):
    batches = epoch_order(photos, batch_size, seed=1, epoch=4)
    assert Counter(np.concatenate(batches).tolist()) == Counter(range(photos))
    assert len(batches) == steps_per_epoch(photos, batch_size)
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(np.concatenate(epoch_order(100, 10, seed, epoch))) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_a_run_that_starts_at_a_later_epoch_sees_the_same_batches(photos):
    whole, rest = load(photos, range(4)), load(photos, range(2, 4))
    assert len(whole) == 4 * 5
    for one, other in zip(whole[10:], rest, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


@pytest.mark.slow
def test_batches_are_bit_identical_for_any_number_of_processes(photos):
    alone = load(photos, range(2))
    for workers in (1, 2):
        for one, other in zip(alone, load(photos, range(2), workers), strict=True):
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.labels, other.labels)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_photo_that_cannot_be_read_is_replaced_by_its_neighbour_and_named(photos, workers):
    photos.paths[4].write_bytes(b"not a picture")
    batches = load(photos, range(1), workers)
    messages = [message for batch in batches for message in batch.failures]
    assert len(messages) == 1
    assert "4.png" in messages[0]
    assert sum(len(batch.labels) for batch in batches) == 37


def test_a_folder_of_nothing_but_damaged_photos_stops_the_run(photos):
    for path in photos.paths:
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DatasetError, match="37 photos in a row cannot be read"):
        load(photos, range(1))


@pytest.mark.slow
def test_the_error_of_a_process_arrives_as_the_sentence_that_it_is(photos):
    """torch would put the traceback of the process into its message."""
    for path in photos.paths:
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DatasetError) as caught:
        load(photos, range(1), workers=1)
    assert "37 photos in a row cannot be read" in caught.value.message
    assert "Traceback" not in str(caught.value)
    assert caught.value.hint == "Replace them."


@pytest.mark.slow
@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="a new process knows nothing of the change")
def test_a_process_that_the_system_ends_is_told_with_what_may_help(photos, monkeypatch):
    monkeypatch.setattr("verydeep.data.loader.read_image", lambda path: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(TrainingError, match="that loads photos has ended") as caught:
        load(photos, range(1), workers=1)
    assert "--shm-size" in caught.value.hint
