"""What a training will take, before it starts: ten steps measured on this machine, and the accounts of its memory."""

import itertools
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from verydeep.accounting import account_layers, total
from verydeep.data.cache import PhotoCache
from verydeep.data.datasets import Splits
from verydeep.data.loader import Batch, batch_random, load_batches, steps_per_epoch
from verydeep.errors import UsageError
from verydeep.network import weights_of
from verydeep.train.checkpoint import State
from verydeep.train.finish import validate
from verydeep.train.interrupt import Interruption
from verydeep.train.loop import learn_batch
from verydeep.train.memory import available_bytes, held_bytes
from verydeep.train.recipe import Recipe

MOST_EPOCHS = 100_000  # of a recipe
_WARM_UP_STEPS = 3  # the first ones allocate memory and choose algorithms
_STEPS = 10
_VALIDATION_PHOTOS = 64
_WARM_UP_SHARE = 0.1  # of a schedule that was fitted into a time, at most


@dataclass(frozen=True)
class Pace:
    """How fast a training is with pictures of one size. Seconds are measured, multiply-adds are the accounts'."""

    size: int  # pixels, the side of the pictures
    photos_per_second: float
    waiting_share: float  # of the time of a step, for photos
    validation_seconds: float  # after an epoch, the photos decoded: later ones may be faster
    photo_macs: int  # multiply-adds: of the forward pass, and twice as many of the backward


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    photos: int
    sizes: tuple[int, ...]  # of the pictures in each epoch
    paces: tuple[Pace, ...]  # for each of the sizes, the smallest first
    micro_batch: int
    precision: str
    memory_bytes: int  # of a step, as the accounts have it, and what is kept for the next
    free_bytes: int | None  # None where it is not known
    checkpoint_bytes: int  # two of these are kept in the run's folder

    @property
    def total_seconds(self) -> float:
        """Every epoch with its validation, and the validation of the model as written."""
        return self.seconds_of(self.sizes)

    @property
    def total_macs(self) -> int:
        """Multiply-adds of all epochs, validation not counted."""
        return self.photos * sum(self._pace(size).photo_macs for size in self.sizes)

    def epoch_seconds(self, pace: Pace) -> float:
        """Of training; validation comes on top."""
        return self.photos / pace.photos_per_second

    def seconds_of(self, sizes: Sequence[int]) -> float:
        """As `total_seconds`, of epochs with these sizes."""
        seconds = self.paces[-1].validation_seconds
        for size, epochs in Counter(sizes).items():
            pace = self._pace(size)
            seconds += epochs * (self.epoch_seconds(pace) + pace.validation_seconds)
        return seconds

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"total_seconds": self.total_seconds, "total_macs": self.total_macs}

    def _pace(self, size: int) -> Pace:
        """The one measured at this size, or at the next larger one, which is slower."""
        return next(pace for pace in self.paces if pace.size >= size)


def measure(recipe: Recipe, splits: Splits, state: State, cache: PhotoCache | None) -> Plan:
    """Takes ten steps and a part of a validation at each size. state: of `begin`; it is worthless afterwards."""
    progress, device = state.progress, next(state.network.parameters()).device
    return Plan(
        photos=len(splits.training),
        sizes=tuple(recipe.sizes),
        paces=tuple(_measure_at(recipe.at(size), splits, state, cache, device) for size in sorted(set(recipe.sizes))),
        micro_batch=progress.micro_batch,
        precision=progress.precision,
        memory_bytes=held_bytes(recipe, state.network.architecture, device, progress.precision, progress.micro_batch),
        free_bytes=available_bytes(device),
        checkpoint_bytes=sum(array.nbytes for array in state.arrays().values()),
    )


def fit_into(recipe: Recipe, plan: Plan, minutes: float) -> Recipe:
    """The recipe with as many epochs as the minutes hold. Raises UsageError where not even one does."""
    seconds = 60 * minutes
    if not plan.seconds_of([recipe.input_size]) <= seconds:  # nor is NaN
        validation = plan.paces[-1].validation_seconds
        epoch, left = plan.seconds_of([recipe.input_size]) - validation, max(0.0, seconds - validation)
        raise UsageError(
            f"one epoch takes about {epoch:.3g} seconds here, {left:.3g} seconds are left for it.",
            "Give it more minutes, or take a narrower network, --set width=0.25, or smaller pictures: input_size=64.",
        )
    most = int(min(MOST_EPOCHS, seconds / (plan.seconds_of([recipe.sizes[0]]) - plan.seconds_of([]))))
    # one epoch more is never faster: of no size are there fewer
    fitting = bisect_right(
        range(1, most + 1), seconds, key=lambda epochs: plan.seconds_of(_with_epochs(recipe, epochs).sizes)
    )
    return _with_epochs(recipe, fitting)


def _with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    return replace(recipe, epochs=epochs, warmup_epochs=min(recipe.warmup_epochs, _WARM_UP_SHARE * epochs))


def _measure_at(recipe: Recipe, splits: Splits, state: State, cache: PhotoCache | None, device: torch.device) -> Pace:
    """recipe: with pictures of one size."""
    steps = steps_per_epoch(len(splits.training), recipe.batch_size)
    batches = _endless(recipe, splits, cache, device)
    seconds, waiting, photos = [], [], []
    for step in range(_WARM_UP_STEPS + _STEPS):
        start = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter()
        random = batch_random(recipe.seed, 0, step % steps)
        learn_batch(state, batch, recipe, rate=recipe.learning_rate / 10, random=random, interruption=Interruption())
        if step >= _WARM_UP_STEPS:
            seconds.append(time.perf_counter() - start)
            waiting.append(waited - start)
            photos.append(len(batch.labels))
    size = recipe.input_size
    return Pace(
        size=size,
        photos_per_second=sum(photos) / sum(seconds),  # no median: a loader may stall in a few steps only
        waiting_share=sum(waiting) / sum(seconds),
        validation_seconds=_validation_seconds(recipe, splits, state, device),
        photo_macs=3 * total(account_layers(state.network.architecture, (size, size))).macs,
    )


def _endless(recipe: Recipe, splits: Splits, cache: PhotoCache | None, device: torch.device) -> Iterator[Batch]:
    return load_batches(
        splits.training,
        [recipe.augmentation] * (_WARM_UP_STEPS + _STEPS),  # an epoch has a step at least
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start=(0, 0),
        cache=cache,
        pin_memory=device.type == "cuda",
    )


def _validation_seconds(recipe: Recipe, splits: Splits, state: State, device: torch.device) -> float:
    """Of all validation photos, from a few of each class."""
    photos = splits.validation
    some = photos.take(itertools.islice(range(0, len(photos), max(1, len(photos) // _VALIDATION_PHOTOS)), len(photos)))
    start = time.perf_counter()
    validate(recipe, weights_of(state.average.network), some, device.type)
    return (time.perf_counter() - start) * len(photos) / len(some)
