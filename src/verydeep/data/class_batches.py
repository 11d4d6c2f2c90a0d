"""Batches of P classes with K photos of each, as losses on triplets need them: a pure function of (seed, epoch, step).

In a batch drawn from all photos alike, most would be alone of their class. Here every class comes equally often,
however many photos it has, and an epoch has as many batches as one that shows every photo once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from verydeep.data.augment import random_generator
from verydeep.errors import DatasetError

_ORDER = 1  # the stream of random numbers of an epoch's order: see `loader`
_KEPT = 2  # epochs: the one that is loaded, and the one before


def class_batches(labels: np.ndarray, classes: int, photos: int, seed: int, epoch: int) -> np.ndarray:
    """The positions of the photos of each batch of an epoch: (steps, classes * photos) int64, read-only.

    `photos` of one class stand together, then those of the next. labels: (N,) int from 0, of all photos. classes,
    photos: P and K, of a batch. The classes go round in random orders: no batch has a class twice, and none comes twice
    before each has come once. So do the photos of each class: in a batch none comes twice, unless its class has fewer
    than K. Raises DatasetError where there are fewer than P classes.
    """
    members = [own for own in _places(labels) if len(own)]
    if classes > len(members):
        raise DatasetError(
            f"batches of {classes} classes, and photos of {len(members)}; expected at least as many classes.",
            f"Take {len(members)} classes a batch, or add photos of other classes.",
        )
    random = random_generator(seed, epoch, _ORDER)
    turns = -(-len(labels) // (classes * photos)) * classes  # of a class, in the epoch
    order = _rounds(np.arange(len(members)), turns, classes, random)
    positions = np.empty((turns, photos), np.int64)
    for number, its_turns in enumerate(_places(order)):
        queue = _rounds(members[number], len(its_turns) * photos, photos, random)
        positions[its_turns] = queue.reshape(-1, photos)
    batches = positions.reshape(-1, classes * photos)
    batches.flags.writeable = False
    return batches


def _places(numbers: np.ndarray) -> list[np.ndarray]:
    """Of each number from 0 to the largest: where it stands."""
    ends = np.cumsum(np.bincount(numbers))
    return np.split(np.argsort(numbers, kind="stable"), ends[:-1])


def _rounds(items: np.ndarray, count: int, group: int, random: np.random.Generator) -> np.ndarray:
    """`count` of the items, all of them in a random order again and again; in each group of so many none comes twice.

    So far as there are enough items. Where a group goes over the end of a round, those that it already has are put last
    in the next.
    """
    found = np.empty(0, np.int64)
    parts: list[np.ndarray] = []
    length = 0
    while length < count:
        shuffled = random.permutation(items)
        if begun := length % group:
            is_there = np.isin(shuffled, found[-begun:])
            shuffled = np.concatenate([shuffled[~is_there], shuffled[is_there]])
        parts.append(shuffled)
        found = np.concatenate([found[-group:], shuffled])
        length += len(items)
    return np.concatenate([*parts, found[:0]])[:count]


@dataclass(frozen=True, eq=False)
class ClassBatches:
    """The batches of all epochs. Any step of any epoch is there at once: nothing is replayed to get to it."""

    labels: np.ndarray  # (N,) int, of all photos
    classes: int  # of a batch
    photos: int  # of each class in a batch
    seed: int
    _known: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return -(-len(self.labels) // (self.classes * self.photos))

    def places(self, step: int) -> range:
        """Of a batch in its epoch."""
        size = self.classes * self.photos
        return range(step * size, (step + 1) * size)

    def positions(self, epoch: int, step: int) -> Sequence[int]:
        """The positions of the photos of a batch. Raises DatasetError as `class_batches` does."""
        if epoch not in self._known:
            while len(self._known) >= _KEPT:
                self._known.pop(next(iter(self._known)))
            self._known[epoch] = class_batches(self.labels, self.classes, self.photos, self.seed, epoch)
        row: list[int] = self._known[epoch][step].tolist()
        return row
