"""Photos -> batches for training, in an order that is a pure function of (seed, epoch).

One loader serves all epochs of a run, so that its processes start once. It can start at any epoch at no cost: nothing
is replayed to get there.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Sampler
from torch.utils.data import Dataset as TorchDataset

from verydeep import machine
from verydeep.data.augment import Augmentation, augment, random_generator
from verydeep.data.datasets import Dataset
from verydeep.errors import DatasetError, ImageError, TrainingError
from verydeep.image import read_image

_SIGNS_OF_A_DEAD_PROCESS = ("is killed by signal", "exited unexpectedly", "bootstrapping phase")
_MOST_NEIGHBOURS = 100  # photos tried in place of one that cannot be read, before the run is stopped


@dataclass(frozen=True)
class Batch:
    """What one step of training sees."""

    images: Tensor  # (n, crop, crop, 3) uint8 RGB
    labels: Tensor  # (n,) int64
    failures: tuple[str, ...]  # what is wrong with each photo that could not be read

    def pin_memory(self) -> "Batch":
        """The loader calls it where the batch goes to a GPU: from pinned memory it travels beside the computing."""
        return replace(self, images=self.images.pin_memory(), labels=self.labels.pin_memory())


def steps_per_epoch(photos: int, batch_size: int) -> int:
    return -(-photos // batch_size)


def batch_random(photos: int, seed: int, epoch: int, step: int) -> np.random.Generator:
    """The random numbers of a whole batch, for `mix`: no photo and no order uses them."""
    return random_generator(seed, epoch, photos + 1 + step)


def epoch_order(photos: int, batch_size: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The positions of each batch of an epoch: every photo once, the sizes of two batches differ by one at most."""
    order = random_generator(seed, epoch, photos).permutation(photos)  # the photos themselves use 0 to photos - 1
    return np.array_split(order, steps_per_epoch(photos, batch_size))


def load_batches(
    dataset: Dataset,
    augmentation: Augmentation,
    *,
    batch_size: int,
    seed: int,
    epochs: range,
    workers: int | None = None,
    pin_memory: bool = False,
) -> Iterator[Batch]:
    """The batches of these epochs, one after the other, decoded and augmented by `workers` processes.

    A photo that cannot be read is replaced by its next neighbour in the data set that can, and named in the batch.
    Raises DatasetError where a hundred neighbours cannot be read either, and TrainingError where a process ends.
    """
    loader = DataLoader(
        _Pictures(dataset, augmentation, seed),
        batch_sampler=_Order(len(dataset), batch_size, seed, epochs),
        num_workers=_worker_count(len(dataset)) if workers is None else workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
    )
    try:
        for batch in loader:
            if isinstance(batch, DatasetError):
                raise batch
            yield batch
    except RuntimeError as error:
        if not any(sign in str(error) for sign in _SIGNS_OF_A_DEAD_PROCESS):
            raise
        raise TrainingError(
            "a process that loads photos has ended: memory, or the shared memory in /dev/shm, may have run out.",
            "Close other programs, or make the batch smaller; a container needs more shared memory (--shm-size). In a "
            "script of your own, start the training under `if __name__ == '__main__':`.",
        ) from error


def _worker_count(photos: int) -> int:
    """One core is left to the network; a few photos are not worth the start of a process."""
    return 0 if photos < 500 else max(1, min(8, machine.cores() - 1))


_Key = tuple[int, int]  # epoch, position of the photo in the data set
_Picture = tuple[np.ndarray, int, tuple[str, ...]]


class _Order(Sampler[list[_Key]]):
    """The keys of every batch of every epoch."""

    def __init__(self, photos: int, batch_size: int, seed: int, epochs: range) -> None:
        self.photos, self.batch_size, self.seed, self.epochs = photos, batch_size, seed, epochs

    def __iter__(self) -> Iterator[list[_Key]]:
        for epoch in self.epochs:
            for positions in epoch_order(self.photos, self.batch_size, self.seed, epoch):
                yield [(epoch, int(position)) for position in positions]


class _Pictures(TorchDataset[_Picture | DatasetError]):
    """The augmented picture of a key, or why there is none: raised in a worker, it would come with a traceback."""

    def __init__(self, dataset: Dataset, augmentation: Augmentation, seed: int) -> None:
        self.dataset, self.augmentation, self.seed = dataset, augmentation, seed

    def __getitem__(self, key: _Key) -> _Picture | DatasetError:
        epoch, position = key
        failures: list[str] = []
        for neighbour in range(min(len(self.dataset), _MOST_NEIGHBOURS)):
            chosen = (position + neighbour) % len(self.dataset)
            try:
                image = read_image(self.dataset.paths[chosen])
            except ImageError as error:
                failures.append(str(error))
                continue
            picture = augment(image, self.augmentation, random_generator(self.seed, epoch, position))
            return picture, self.dataset.labels[chosen], tuple(failures)
        return DatasetError(f"{len(failures)} photos in a row cannot be read: {failures[0]}", "Replace them.")


def _collate(pictures: list[_Picture | DatasetError]) -> Batch | DatasetError:
    good = [picture for picture in pictures if not isinstance(picture, DatasetError)]
    if len(good) < len(pictures):
        return next(picture for picture in pictures if isinstance(picture, DatasetError))
    images, labels, failures = zip(*good, strict=True)
    return Batch(
        torch.from_numpy(np.stack(images)),
        torch.tensor(labels),
        tuple(message for messages in failures for message in messages),
    )
