"""What a training will take, before it starts: ten steps measured on this machine, and the accounts of its memory."""

import itertools
import time
from collections.abc import Iterator
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
from verydeep.train.memory import available_bytes, needed_bytes
from verydeep.train.recipe import Recipe

MOST_EPOCHS = 100_000  # of a recipe
_WARM_UP_STEPS = 3  # the first ones allocate memory and choose algorithms
_STEPS = 10
_VALIDATION_PHOTOS = 64
_WARM_UP_SHARE = 0.1  # of a schedule that was fitted into a time, at most


@dataclass(frozen=True)
class Plan:
    """What a run will take. Seconds are measured, bytes are the accounts'."""

    photos: int
    epochs: int
    micro_batch: int
    precision: str
    photos_per_second: float  # at the full size, where pictures grow
    waiting_share: float  # of the time of a step, for photos
    epoch_seconds: float  # of training, the mean of all; validation comes on top
    validation_seconds: float  # after each epoch
    epoch_macs: int  # multiply-adds: of the forward pass, and twice as many of the backward
    memory_bytes: int  # of a step
    free_bytes: int | None  # None where it is not known
    checkpoint_bytes: int  # two of these are kept in the run's folder

    @property
    def total_seconds(self) -> float:
        """Every epoch with its validation, and the validation of the model as written."""
        return self.epochs * (self.epoch_seconds + self.validation_seconds) + self.validation_seconds

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"total_seconds": self.total_seconds}


def measure(recipe: Recipe, splits: Splits, state: State, cache: PhotoCache | None) -> Plan:
    """Takes ten steps and a part of a validation. state: of `begin`; it is worthless afterwards."""
    steps = steps_per_epoch(len(splits.training), recipe.batch_size)
    device = next(state.network.parameters()).device
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
    rate = sum(photos) / sum(seconds)  # no median: a loader may stall in a few steps only
    progress = state.progress
    architecture = state.network.architecture
    photo_macs = {size: total(account_layers(architecture, (size, size))).macs for size in set(recipe.sizes)}
    mean_macs = sum(photo_macs[size] for size in recipe.sizes) / recipe.epochs
    return Plan(
        photos=len(splits.training),
        epochs=recipe.epochs,
        micro_batch=progress.micro_batch,
        precision=progress.precision,
        photos_per_second=rate,
        waiting_share=sum(waiting) / sum(seconds),
        epoch_seconds=len(splits.training) / rate * mean_macs / photo_macs[recipe.input_size],
        validation_seconds=_validation_seconds(recipe, splits, state, device),
        epoch_macs=round(3 * mean_macs * len(splits.training)),
        memory_bytes=needed_bytes(recipe, architecture, progress.precision, progress.micro_batch),
        free_bytes=available_bytes(device),
        checkpoint_bytes=sum(array.nbytes for array in state.arrays().values()),
    )


def fit_into(recipe: Recipe, plan: Plan, minutes: float) -> Recipe:
    """The recipe with as many epochs as the minutes hold. Raises UsageError where not even one does."""
    left = 60 * minutes - plan.validation_seconds
    epoch = plan.epoch_seconds + plan.validation_seconds
    if not left >= epoch:  # nor is NaN
        raise UsageError(
            f"one epoch takes about {epoch:.3g} seconds here, {max(0.0, 60 * minutes):.3g} seconds are left for it.",
            "Give it more minutes, or take a narrower network, --set width=0.25, or smaller pictures: input_size=64.",
        )
    epochs = int(min(left / epoch, MOST_EPOCHS))
    return replace(recipe, epochs=epochs, warmup_epochs=min(recipe.warmup_epochs, _WARM_UP_SHARE * epochs))


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
