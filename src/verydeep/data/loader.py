"""Photos -> batches for training: a pure function of (seed, epoch, step).

One loader serves all epochs of a run, so that its processes start once. It can start at any step of any epoch at no
cost: nothing is replayed to get there.
"""

import contextlib
import faulthandler
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from verydeep import machine
from verydeep.data.augment import Augmentation, augment, picture_numbers, random_generator, view_of
from verydeep.data.cache import PhotoCache
from verydeep.data.datasets import Dataset
from verydeep.data.reading import REPLACE, check_lasting, read_training_photo
from verydeep.errors import DatasetError, DeadProcessError, ImageError, StorageError

_SIGNS_OF_A_DEAD_PROCESS = ("is killed by signal", "exited unexpectedly", "bootstrapping phase")
_MOST_NEIGHBOURS = 100  # photos tried in place of one that cannot be read, before the run is stopped
_ORDER, _BATCHES = 1, 2  # streams of random numbers; pictures use 0, and step s of an epoch uses _BATCHES + s


@dataclass(frozen=True)
class Batch:
    """What one step of training sees."""

    images: Tensor  # (n, crop, crop, 3) uint8 RGB
    labels: Tensor  # (n,) int64
    failures: Mapping[int, str]  # the position of each photo that could not be read -> what is wrong with it
    targets: Tensor | None = None  # (n, ...): what `Dataset.targets` teach of each picture

    def pin_memory(self) -> "Batch":
        """The loader calls it where the batch goes to a GPU: from pinned memory it travels beside the computing."""
        targets = None if self.targets is None else self.targets.pin_memory()
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory(), targets=targets)


def steps_per_epoch(photos: int, batch_size: int) -> int:
    return -(-photos // batch_size)


def batch_random(seed: int, epoch: int, step: int) -> np.random.Generator:
    """The random numbers of a whole batch, for `mix`: no picture and no order uses them."""
    return random_generator(seed, epoch, _BATCHES + step)


@lru_cache(maxsize=2)  # the epoch that is loaded, and the one before: a loader asks for it at every step
def epoch_order(photos: int, seed: int, epoch: int) -> np.ndarray:
    """The positions of the photos in the order in which an epoch shows them, each once. Read-only."""
    order = random_generator(seed, epoch, _ORDER).permutation(photos)
    order.flags.writeable = False
    return order


def batch_places(photos: int, batch_size: int, step: int) -> range:
    """The places of a batch in the epoch's order: the sizes of two batches differ by one at most."""
    steps = steps_per_epoch(photos, batch_size)
    size, larger = divmod(photos, steps)  # the first `larger` batches have one photo more
    return range(step * size + min(step, larger), (step + 1) * size + min(step + 1, larger))


class Order(Protocol):
    """Which photos each batch shows: any step of any epoch is there at once, and it can be pickled."""

    @property
    def steps(self) -> int:
        """Of an epoch."""

    def places(self, step: int) -> range:
        """Of a batch in its epoch: what the random numbers of its pictures follow from."""

    def positions(self, epoch: int, step: int) -> Sequence[int]:
        """The positions of the photos in these places."""


@dataclass(frozen=True)
class Shuffled:
    """Every photo once an epoch, in `epoch_order`."""

    photos: int
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        return steps_per_epoch(self.photos, self.batch_size)

    def places(self, step: int) -> range:
        return batch_places(self.photos, self.batch_size, step)

    def positions(self, epoch: int, step: int) -> Sequence[int]:
        places = self.places(step)
        found: list[int] = epoch_order(self.photos, self.seed, epoch)[places.start : places.stop].tolist()
        return found


def load_batches(
    dataset: Dataset,
    augmentations: Sequence[Augmentation],
    *,
    batch_size: int,
    seed: int,
    start: tuple[int, int],
    order: Order | None = None,
    cache: PhotoCache | None = None,
    workers: int | None = None,
    pin_memory: bool = False,
    stacks: Path | None = None,
) -> Iterator[Batch]:
    """The batches from `start` = (epoch, step) to the end of the last epoch, made by `workers` processes.

    They are the same for any number of processes, with a cache and without, and from any start. augmentations: of each
    epoch. order: by default `Shuffled`, in batches of `batch_size`, which counts for nothing else. cache: the photos of
    `dataset`, read for the largest `reading_side` of these. workers: by default one for each core but one, at most 8;
    of fewer than 500 photos none, but where the batches go to a GPU. pin_memory: they do. stacks: a file to which a
    process appends where it is when it gets SIGUSR1; standard error unless given.
    A photo that cannot be read is replaced by a near neighbour in the data set that can, and named in the batch.
    Raises DatasetError where a hundred neighbours cannot be read either, StorageError where the reason may pass, and
    DeadProcessError where a process ends.
    """
    order = order or Shuffled(len(dataset), batch_size, seed)
    loader = DataLoader(
        _Batches(dataset, augmentations, order, seed, cache),
        batch_size=None,  # an item is a whole batch
        sampler=_Steps(order.steps, start, len(augmentations)),
        num_workers=_worker_count(len(dataset), is_for_gpu=pin_memory) if workers is None else workers,
        collate_fn=_as_it_is,
        worker_init_fn=partial(_prepare_process, stacks),
        pin_memory=pin_memory,
    )
    with dead_process_as_training_error():
        with _sigterm_blocked():
            loading = iter(loader)  # starts the processes
        for batch in loading:
            if isinstance(batch, _NoBatch):
                raise batch
            yield batch


@contextlib.contextmanager
def _sigterm_blocked() -> Iterator[None]:
    """Processes that start within it have SIGTERM blocked in all threads, also in those that libraries start early."""
    if not hasattr(signal, "sigtimedwait"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)  # one that came meanwhile arrives now


@contextlib.contextmanager
def dead_process_as_training_error() -> Iterator[None]:
    """What torch says of a loading process that has ended, as a DeadProcessError.

    torch says it from a handler of SIGCHLD: anywhere in the main thread, whatever that computes at the moment.
    """
    try:
        yield
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS_OF_A_DEAD_PROCESS):
            raise
        raise DeadProcessError(
            "a process that loads photos has ended: memory, or the shared memory in /dev/shm, may have run out.",
            "Close other programs, or make the batch smaller; a container needs more shared memory (--shm-size). In a "
            "script of your own, start the training under `if __name__ == '__main__':`.",
        ) from error


def _worker_count(photos: int, *, is_for_gpu: bool) -> int:
    """One core is left to the network; on the CPU a few photos are not worth the start of a process.

    A GPU would wait for each of them, and the cores beside it do nothing else.
    """
    return 0 if photos < 500 and not is_for_gpu else max(1, min(8, machine.cores() - 1))


_Key = tuple[int, int]  # epoch, step
_NoBatch = DatasetError | StorageError


@dataclass(frozen=True)
class _Steps:
    """The keys of all batches from `start` on."""

    steps: int  # an epoch
    start: _Key
    epochs: int

    def __iter__(self) -> Iterator[_Key]:
        first_epoch, first_step = self.start
        for epoch in range(first_epoch, self.epochs):
            for step in range(first_step if epoch == first_epoch else 0, self.steps):
                yield epoch, step

    def __len__(self) -> int:
        return max(0, (self.epochs - self.start[0]) * self.steps - self.start[1])


class _Batches(TorchDataset[Batch | _NoBatch]):
    """The batch of a key, or why there is none: raised in a process of its own, it would come with a traceback."""

    def __init__(
        self,
        dataset: Dataset,
        augmentations: Sequence[Augmentation],
        order: Order,
        seed: int,
        cache: PhotoCache | None,
    ) -> None:
        self.dataset, self.augmentations, self.order, self.seed = dataset, augmentations, order, seed
        self.cache = cache
        self.reading_side = max(augmentation.reading_side for augmentation in set(augmentations))

    def __getitem__(self, key: _Key) -> Batch | _NoBatch:
        epoch, step = key
        places, positions = self.order.places(step), self.order.positions(epoch, step)
        augmentation = self.augmentations[epoch]
        images = np.empty((len(places), augmentation.crop, augmentation.crop, 3), np.uint8)
        labels: list[int] = []
        targets: list[np.ndarray] = []
        failures: dict[int, str] = {}
        numbers = picture_numbers(self.seed, epoch, places)
        for position, row, image in zip(positions, numbers, images, strict=True):
            found = self._readable(position, failures, augmentation, row)
            if isinstance(found, _NoBatch):
                return found
            photo, chosen, target = found
            augment(photo, augmentation, row, out=image)
            labels.append(self.dataset.labels[chosen])
            targets += [] if target is None else [target]
        taught = torch.from_numpy(np.stack(targets)) if targets else None
        return Batch(torch.from_numpy(images), torch.tensor(labels), failures, taught)

    def _readable(
        self, position: int, failures: dict[int, str], augmentation: Augmentation, numbers: Sequence[float]
    ) -> tuple[np.ndarray, int, np.ndarray | None] | _NoBatch:
        """The photo at a position or a neighbour that can be read, where that is, and what its picture teaches.

        Notes the others. The neighbours lie ever farther apart: a long row of damaged files is soon left, and not every
        photo of a small set is tried.
        """
        for number in range(min(len(self.dataset), _MOST_NEIGHBOURS)):
            chosen = (position + number**3) % len(self.dataset)
            try:
                photo = self._read(chosen)
                return photo, chosen, self._target(chosen, photo, augmentation, numbers)
            except StorageError as error:
                return error
            except (ImageError, DatasetError) as error:
                failures[chosen] = str(error)
        return DatasetError(f"neither a photo nor any of its neighbours can be read: {failures[position]}", REPLACE)

    def _target(
        self, position: int, photo: np.ndarray, augmentation: Augmentation, numbers: Sequence[float]
    ) -> np.ndarray | None:
        if self.dataset.targets is None:
            return None
        height, width = photo.shape[:2]
        view = view_of(width, height, augmentation, numbers)
        return self.dataset.targets.of(position, view, augmentation.crop)

    def _read(self, position: int) -> np.ndarray:
        path = self.dataset.paths[position]
        if self.cache is not None:
            return self.cache.read(position, path)
        try:
            return read_training_photo(path, self.reading_side)
        except ImageError as error:
            check_lasting(error)
            raise


def _as_it_is(batch: Any) -> Any:
    return batch


def _prepare_process(stacks: Path | None, _number: int) -> None:
    """A process that loads leaves all decisions to the main one, and ends with it.

    Ctrl-C and the SIGHUP of a closed terminal reach all of its processes, and a SIGTERM often all of a job. If one of
    them died of it, torch would interrupt the main process in the middle of a step.
    """
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):  # Windows has no SIGHUP
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, "sigtimedwait"):  # Linux, where SIGTERM is blocked; elsewhere torch's handler ends the process
        threading.Thread(target=_end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    if hasattr(faulthandler, "register"):  # not on Windows
        file = stacks.open("a") if stacks else sys.__stderr__  # open from now on: a process that hangs opens nothing
        if file is not None:
            faulthandler.register(signal.SIGUSR1, file=file)


def _end_with(main: Any) -> None:
    """Ends this process when the main one has ended or tells it to end by SIGTERM.

    torch looks for its end as well, every five seconds, but misses one before its first look.
    """
    while main.is_alive():
        arrived = signal.sigtimedwait({signal.SIGTERM}, 1.0)
        if arrived is not None and arrived.si_pid == main.pid:
            break
    os._exit(0)
