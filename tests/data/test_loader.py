"""The batches: the same to the bit for any number of processes, with a cache and without, and from any start."""

import errno
import hashlib
import multiprocessing
import os
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.data import loader
from verydeep.data.augment import Augmentation
from verydeep.data.cache import open_cache
from verydeep.data.class_batches import ClassBatches
from verydeep.data.datasets import Dataset
from verydeep.data.loader import (
    Batch,
    batch_places,
    dead_process_as_training_error,
    epoch_order,
    load_batches,
    steps_per_epoch,
)
from verydeep.errors import DatasetError, ImageError, StorageError, TrainingError

SPEC = Augmentation(16, areas=(0.3, 1.0))
STEPS = 5  # of an epoch of 37 photos, 8 at once
CAN_FORK = pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="no processes by fork here")
MORE_PROCESSES_THAN_CORES = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture
def photos(tmp_path) -> Dataset:
    """37 photos of noise, some of them larger than training reads them."""
    random = np.random.default_rng(0)
    paths = []
    for i in range(37):
        paths.append(tmp_path / f"{i}.png")
        pixels = random.integers(0, 256, (20, 24, 3) if i % 3 else (50, 40, 3), np.uint8)
        Image.fromarray(pixels).save(paths[-1])
    return Dataset(("a", "b"), tuple(paths), tuple(i % 2 for i in range(37)))


def batches(photos: Dataset, epochs: int, start: tuple[int, int] = (0, 0), **options) -> Iterator[Batch]:
    options = {"workers": 0, **options}
    return load_batches(photos, [SPEC] * epochs, batch_size=8, seed=5, start=start, **options)


def load(photos: Dataset, epochs: int, start: tuple[int, int] = (0, 0), **options) -> list[Batch]:
    return list(batches(photos, epochs, start, **options))


def digest(batch: Batch) -> str:
    content = batch.images.numpy().tobytes() + batch.labels.numpy().tobytes() + repr(batch.failures).encode()
    return hashlib.sha256(content).hexdigest()


def digests(*args, **options) -> list[str]:
    return [digest(batch) for batch in load(*args, **options)]


@pytest.mark.parametrize(("photos", "batch_size"), [(1, 8), (8, 8), (37, 8), (1000, 64), (1025, 64), (3, 1)])
def test_an_epoch_has_every_photo_once_in_batches_of_nearly_equal_size(photos, batch_size):
    steps = steps_per_epoch(photos, batch_size)
    places = [batch_places(photos, batch_size, step) for step in range(steps)]
    assert [place for batch in places for place in batch] == list(range(photos))
    sizes = [len(batch) for batch in places]
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    assert Counter(epoch_order(photos, seed=1, epoch=4).tolist()) == Counter(range(photos))


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(epoch_order(100, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_a_batch_is_the_photos_and_labels_of_its_places(photos):
    for path, shade in zip(photos.paths, range(0, 37 * 6, 6), strict=True):
        Image.new("RGB", (20, 20), (shade, shade, shade)).save(path)
    shown = []
    for batch in load(photos, epochs=1):
        assert batch.images.shape == (len(batch.labels), 16, 16, 3)
        assert batch.images.dtype == torch.uint8
        positions = batch.images[:, 8, 8, 0].long() // 6
        assert torch.equal(batch.labels, positions % 2)
        shown += positions.tolist()
    assert shown == epoch_order(37, seed=5, epoch=0).tolist()


def test_a_picture_does_not_depend_on_the_size_of_the_batch(photos):
    one, other = (
        torch.cat([batch.images for batch in load_batches(photos, [SPEC] * 2, batch_size=size, seed=5, start=(0, 0))])
        for size in (8, 3)
    )
    assert torch.equal(one, other)


def test_a_run_that_starts_at_any_step_sees_the_same_batches(photos):
    whole = digests(photos, epochs=3)
    assert len(set(whole)) == 3 * STEPS
    for first in range(3 * STEPS):
        assert digests(photos, 3, start=divmod(first, STEPS)) == whole[first:]
    assert digests(photos, 3, start=(3, 0)) == []


def test_pictures_have_the_size_of_their_epoch_from_any_start(photos):
    specs = [Augmentation(8, areas=SPEC.areas)] * 2 + [SPEC]
    whole = list(load_batches(photos, specs, batch_size=8, seed=5, start=(0, 0), workers=0))
    assert [batch.images.shape[1:] for batch in whole] == [(8, 8, 3)] * 2 * STEPS + [(16, 16, 3)] * STEPS
    assert [digest(batch) for batch in whole[2 * STEPS :]] == digests(photos, 3, start=(2, 0))
    rest = load_batches(photos, specs, batch_size=8, seed=5, start=(1, 3), workers=0)
    assert [digest(batch) for batch in rest] == [digest(batch) for batch in whole[STEPS + 3 :]]


def test_the_order_of_a_million_photos_takes_two_seconds_at_most():
    start = time.process_time()
    order = epoch_order(1_000_000, seed=3, epoch=77)
    batch = order[list(batch_places(1_000_000, 256, 3000))]
    assert time.process_time() - start < 2
    assert len(set(batch.tolist())) == 256


def test_a_few_photos_get_processes_of_their_own_where_a_gpu_would_wait_for_them(photos, monkeypatch):
    asked = []
    monkeypatch.setattr(loader, "DataLoader", lambda *_, num_workers, **__: asked.append(num_workers) or [])
    monkeypatch.setattr(loader.machine, "cores", lambda: 4)
    many = Dataset(photos.classes, photos.paths * 14, photos.labels * 14)
    for dataset, is_for_gpu in ((photos, False), (photos, True), (many, False), (many, True)):
        load(dataset, epochs=1, workers=None, pin_memory=is_for_gpu)
    assert asked == [0, 3, 3, 3]


@pytest.mark.slow
@MORE_PROCESSES_THAN_CORES
@pytest.mark.parametrize("is_cached", [False, True])
@pytest.mark.parametrize("workers", [1, 2, 4])
def test_batches_are_bit_identical_for_any_number_of_processes_with_a_cache_and_without(
    photos, tmp_path, workers, is_cached
):
    photos.paths[4].write_bytes(b"not a picture")
    alone = digests(photos, epochs=2)
    cache = open_cache(photos, SPEC.reading_side, folder=tmp_path / "cache") if is_cached else None
    assert (cache is not None) is is_cached
    assert digests(photos, epochs=2, workers=workers, cache=cache) == alone


def test_batches_are_bit_identical_with_a_cache(photos, tmp_path):
    photos.paths[4].write_bytes(b"not a picture")
    plain = digests(photos, epochs=2)
    cache = open_cache(photos, SPEC.reading_side, folder=tmp_path / "cache")
    assert cache is not None
    for path in photos.paths:
        path.unlink()  # whatever comes now comes from the cache
    assert digests(photos, epochs=2, cache=cache) == plain


@pytest.mark.slow
def test_processes_that_are_started_anew_load_the_same(photos, tmp_path, monkeypatch):
    """As on macOS and Windows: nothing is inherited, everything is pickled."""
    cache = open_cache(photos, SPEC.reading_side, folder=tmp_path / "cache")
    monkeypatch.setattr(
        multiprocessing.context._default_context, "_actual_context", multiprocessing.get_context("spawn")
    )
    assert digests(photos, epochs=1, workers=1, cache=cache) == digests(photos, epochs=1)


def load_and_record(photos: Dataset, folder: Path, epochs: int, options: dict) -> None:
    """What a run that is killed does: goes on from the last batch that it has written down."""
    record = folder / "digests"
    done = len(record.read_text().split()) if record.exists() else 0
    for batch in batches(photos, epochs, divmod(done, STEPS), **options):
        with record.open("a") as file:
            file.write(digest(batch) + "\n")


@pytest.mark.slow
@CAN_FORK
def test_after_twenty_kills_in_mid_epoch_the_batches_are_the_same(photos, tmp_path):
    epochs = 200  # far more than twenty kills let pass
    cache = open_cache(photos, SPEC.reading_side, folder=tmp_path / "cache")
    record = tmp_path / "digests"
    record.touch()
    random = np.random.default_rng(1)
    context = multiprocessing.get_context("fork")
    kills = 0
    while kills < 20:
        options = {"workers": kills % 3, "cache": cache if kills % 2 else None}
        stop_at = len(record.read_text().split()) + int(random.integers(1, 2 * STEPS))
        process = context.Process(target=load_and_record, args=(photos, tmp_path, epochs, options))
        process.start()
        while process.is_alive() and len(record.read_text().split()) < stop_at:
            time.sleep(0.001)
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert len(record.read_text().split()) < epochs * STEPS
    load_and_record(photos, tmp_path, epochs, {"workers": 0})
    assert record.read_text().split() == digests(photos, epochs)


def children_of(process: int) -> list[int]:
    paths = Path(f"/proc/{process}/task").glob("*/children")
    return [int(child) for path in paths for child in path.read_text().split()]


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def load_slowly(photos: Dataset) -> None:
    for _ in batches(photos, epochs=1000, workers=2):
        time.sleep(0.1)


@pytest.mark.slow
@CAN_FORK
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="processes are counted in /proc")
def test_no_process_stays_behind_where_the_main_one_is_killed(photos):
    process = multiprocessing.get_context("fork").Process(target=load_slowly, args=(photos,))
    process.start()
    deadline = time.monotonic() + 120
    while len(children := children_of(process.pid)) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(children) == 2
    process.kill()
    process.join()
    while any(map(is_running, children)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(is_running, children))


@pytest.mark.slow
@CAN_FORK
@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="signals do not tell here who sent them")
def test_loader_processes_leave_signals_that_end_a_run_to_the_main_one(photos):
    plain = digests(photos, epochs=4)
    loading = batches(photos, epochs=4, workers=1)
    seen = [digest(batch) for batch in islice(loading, 3)]
    (child,) = multiprocessing.active_children()
    for name in ("INT", "HUP", "TERM", "TERM"):
        subprocess.run(["kill", f"-{name}", str(child.pid)], check=True)  # by another process, as of a whole job
    assert seen + [digest(batch) for batch in loading] == plain


LEFT_OPEN: list[Iterator[Batch]] = []


def load_and_end(photos: Dataset) -> None:
    LEFT_OPEN.append(batches(photos, epochs=1000, workers=2))
    next(LEFT_OPEN[0])


@pytest.mark.slow
@CAN_FORK
def test_a_program_that_ends_in_mid_epoch_ends(photos):
    process = multiprocessing.get_context("fork").Process(target=load_and_end, args=(photos,))
    process.start()
    process.join(timeout=120)
    assert process.exitcode == 0


@pytest.mark.slow
@CAN_FORK
@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal here")
def test_a_loader_process_tells_where_it_is(photos, tmp_path):
    loading = batches(photos, epochs=4, workers=1, stacks=tmp_path / "stacks.txt")
    next(loading)
    (child,) = multiprocessing.active_children()
    os.kill(child.pid, signal.SIGUSR1)
    list(loading)
    assert "_worker_loop" in (tmp_path / "stacks.txt").read_text()


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_photo_that_cannot_be_read_is_replaced_by_its_neighbour_and_named(photos, workers):
    photos.paths[4].write_bytes(b"not a picture")
    loaded = load(photos, epochs=1, workers=workers)
    (failures,) = [batch.failures for batch in loaded if batch.failures]
    assert list(failures) == [4]
    assert "4.png" in failures[4]
    assert sum(len(batch.labels) for batch in loaded) == 37


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("cause", [MemoryError(), OSError(errno.EMFILE, "Too many open files")])
def test_a_photo_that_cannot_be_read_at_the_moment_stops_the_run_and_is_not_replaced(
    photos, workers, cause, monkeypatch
):
    """A run that goes on with a neighbour ends otherwise than one that reads the photo later."""
    read = loader.read_training_photo

    def fail(path, side):
        if path == photos.paths[4]:
            raise ImageError(f"{path} cannot be read: {cause}.") from cause
        return read(path, side)

    monkeypatch.setattr(loader, "read_training_photo", fail)
    with pytest.raises(StorageError, match=r"4\.png cannot be read: .*; that may pass") as caught:
        load(photos, epochs=1, workers=workers)
    assert "open files" in caught.value.hint


def test_a_folder_of_nothing_but_damaged_photos_stops_the_run(photos):
    for path in photos.paths:
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DatasetError, match="neither a photo nor any of its neighbours can be read: .*png"):
        load(photos, epochs=1)


def test_a_long_row_of_damaged_photos_is_soon_left_for_readable_ones(tmp_path):
    """60,000 of 1,281,167 are fewer than what stops a run."""
    good = tmp_path / "good.png"
    Image.new("RGB", (40, 40), "red").save(good)
    paths = tuple(tmp_path / f"{n}.png" if 500 <= n < 60_500 else good for n in range(1_281_167))
    photos = Dataset(("a",), paths, (0,) * len(paths))
    asked = [0, 499, 500, 30_000, 60_499]
    (batch,) = load_batches(photos, [SPEC], batch_size=5, seed=0, start=(0, 0), order=Given(asked), workers=0)
    assert set(asked[2:]) <= set(batch.failures) <= set(range(500, 60_500))
    assert len(batch.failures) < 3 * 40
    assert (batch.images.numpy() == [255, 0, 0]).all()


@dataclass(frozen=True)
class Given:
    """An order of one batch, of these photos."""

    photos: list[int]
    steps: int = 1

    def places(self, step: int) -> range:
        return range(len(self.photos))

    def positions(self, epoch: int, step: int) -> list[int]:
        return self.photos


@pytest.mark.slow
def test_the_error_of_a_process_arrives_as_the_sentence_that_it_is(photos):
    """torch would put the traceback of the process into its message."""
    for path in photos.paths:
        path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DatasetError) as caught:
        load(photos, epochs=1, workers=1)
    assert "nor any of its neighbours can be read" in caught.value.message
    assert "Traceback" not in str(caught.value)
    assert caught.value.hint.startswith("Replace them under the same names and go on with --resume, or ")


@pytest.mark.slow
@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="a new process knows nothing of the change")
def test_a_process_that_the_system_ends_is_told_with_what_may_help(photos, monkeypatch):
    monkeypatch.setattr(
        "verydeep.data.loader.read_training_photo", lambda path, side: os.kill(os.getpid(), signal.SIGKILL)
    )
    with pytest.raises(TrainingError, match="that loads photos has ended") as caught:
        load(photos, epochs=1, workers=1)
    assert "--shm-size" in caught.value.hint


@pytest.mark.slow
@CAN_FORK
def test_a_process_that_ends_while_the_main_one_computes_is_told_the_same(photos):
    """torch interrupts the main process at once, wherever it is."""
    others = multiprocessing.active_children()  # that another test has left, and that are about to end
    loading = batches(photos, epochs=100, workers=1)
    next(loading)
    (child,) = [process for process in multiprocessing.active_children() if process not in others]
    threading.Timer(0.5, child.kill).start()
    with pytest.raises(TrainingError, match="that loads photos has ended"), dead_process_as_training_error():
        time.sleep(60)


def test_other_errors_are_left_as_they_are():
    with pytest.raises(RuntimeError, match="^mat1 and mat2$"), dead_process_as_training_error():
        raise RuntimeError("mat1 and mat2")


def test_batches_of_another_order_are_the_same_for_any_number_of_processes_and_from_any_start(photos):
    labels = np.array(photos.labels)
    order = ClassBatches(labels, 2, 3, seed=5)
    options = {"batch_size": 64, "seed": 5, "order": order}
    whole = list(load_batches(photos, [SPEC] * 2, start=(0, 0), workers=0, **options))
    assert len(whole) == 2 * order.steps
    for number, batch in enumerate(whole):
        assert batch.labels.tolist() == labels[order.positions(*divmod(number, order.steps))].tolist()
    rest = list(load_batches(photos, [SPEC] * 2, start=(1, 2), workers=1, **options))
    for one, other in zip(whole[order.steps + 2 :], rest, strict=True):
        assert torch.equal(one.images, other.images)
    assert not torch.equal(whole[0].images, whole[order.steps].images)
