"""What a training will take, before it starts: ten steps measured on this machine, and the accounts of its memory."""

import itertools
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from verydeep.accounting import account_layers, total
from verydeep.architecture import Architecture
from verydeep.data.cache import PhotoCache
from verydeep.data.datasets import Splits
from verydeep.data.loader import Batch, batch_random, load_batches
from verydeep.errors import ImageError, UsageError
from verydeep.network import weights_of
from verydeep.train.checkpoint import State, most_kept
from verydeep.train.features import FeatureBatch, Features, feature_shape, kept_views, rows_of, views_layer
from verydeep.train.finish import validate
from verydeep.train.freezing import freeze
from verydeep.train.interrupt import Interruption
from verydeep.train.memory import available_bytes, held_bytes
from verydeep.train.order import batch_order
from verydeep.train.recipe import Recipe, Stage
from verydeep.train.step import learn_batch

MOST_EPOCHS = 100_000  # of a recipe
_WARM_UP_STEPS = 3  # the first ones allocate memory and choose algorithms
_STEPS = 10
_VALIDATION_PHOTOS = 64
_VIEWED_PICTURES = 64  # whose features are made
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
class ViewPace:
    """How fast a stage is that learns from features of the photos' views. Seconds are measured."""

    layer: str  # whose features they are
    views: int  # of each photo
    epochs: int
    making_seconds: float  # of the features, once
    epoch_seconds: float


@dataclass(frozen=True)
class Plan:
    """What a run will take."""

    photos: int
    sizes: tuple[int, ...]  # of the pictures in each epoch that is learnt from pictures
    paces: tuple[Pace, ...]  # for each of the sizes, the smallest first
    micro_batch: int
    precision: str
    memory_bytes: int  # of a step, as the accounts have it, and what is kept for the next
    free_bytes: int | None  # None where it is not known
    checkpoint_bytes: int
    checkpoints: int  # how many the run's folder holds at most
    views: tuple[ViewPace, ...] = ()  # of the stages that learn from features, in order

    @property
    def total_seconds(self) -> float:
        """Every epoch with its validation, and the validation of the model as written."""
        return self.seconds_of(self.sizes) + sum(
            pace.making_seconds + pace.epochs * pace.epoch_seconds for pace in self.views
        )

    @property
    def total_macs(self) -> int:
        """Multiply-adds of all epochs on pictures, validation not counted."""
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

    def of(self, recipe: Recipe, architecture: Architecture) -> "Plan":
        """This plan for the recipe with another number of epochs."""
        views = [stage for stage in recipe.stages if views_layer(recipe, architecture, self.photos, stage)]
        return replace(
            self,
            sizes=_picture_sizes(recipe, architecture, self.photos),
            views=tuple(
                replace(pace, epochs=stage.end - stage.first) for pace, stage in zip(self.views, views, strict=True)
            ),
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"total_seconds": self.total_seconds, "total_macs": self.total_macs}

    def _pace(self, size: int) -> Pace:
        """The one measured at this size, or at the next larger one, which is slower."""
        return next(pace for pace in self.paces if pace.size >= size)


def measure(recipe: Recipe, splits: Splits, state: State, cache: PhotoCache | None) -> Plan:
    """Takes ten steps and a part of a validation at each size. state: of `begin`; it is worthless afterwards."""
    progress, device, photos = state.progress, next(state.network.parameters()).device, len(splits.training)
    architecture = state.network.architecture
    views = tuple(_measure_views(recipe, splits, state, stage) for stage in recipe.stages)
    freeze(state.network, recipe.trained)
    sizes = _picture_sizes(recipe, architecture, photos)
    measured = sorted(set(sizes or (recipe.input_size,)))
    return Plan(
        photos=photos,
        sizes=sizes,
        paces=tuple(_measure_at(recipe.at(size), splits, state, cache, device) for size in measured),
        views=tuple(pace for pace in views if pace),
        micro_batch=progress.micro_batch,
        precision=progress.precision,
        memory_bytes=held_bytes(recipe, state.network.architecture, device, progress.precision, progress.micro_batch),
        free_bytes=available_bytes(device),
        checkpoint_bytes=sum(array.nbytes for array in state.arrays().values()),
        checkpoints=most_kept(recipe),
    )


def fit_into(recipe: Recipe, plan: Plan, minutes: float) -> Recipe:
    """The recipe with as many epochs as the minutes hold. Raises UsageError where not even one does.

    Where all that learns learns from features, more epochs than the recipe has are of no use, and it keeps its own.
    """
    seconds = 60 * minutes
    if plan.views:
        return _fit_views(recipe, plan, seconds)
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


def _fit_views(recipe: Recipe, plan: Plan, seconds: float) -> Recipe:
    """As `fit_into`; of two stages the last one is fitted."""
    fixed = sum(pace.making_seconds for pace in plan.views) + plan.seconds_of([])
    fixed += plan.views[0].epoch_seconds * recipe.head_epochs
    if plan.sizes:  # pictures have one size, as they do not grow
        each = plan.seconds_of([recipe.input_size]) - plan.seconds_of([])
        most = MOST_EPOCHS - recipe.head_epochs
    else:
        each, most = plan.views[-1].epoch_seconds, recipe.epochs - recipe.head_epochs
    fitting = min((seconds - fixed) / max(1e-9, each), most)
    if not fitting >= 1:  # nor is NaN
        raise UsageError(
            f"the features of the photos and the end take about {fixed:.3g} seconds here, one epoch {each:.3g}; "
            f"{max(0.0, seconds):.3g} seconds are left for them.",
            "Give it more minutes, or fewer pictures of each photo, --set views=2.",
        )
    return _with_epochs(recipe, recipe.head_epochs + int(fitting))


def _picture_sizes(recipe: Recipe, architecture: Architecture, photos: int) -> tuple[int, ...]:
    """The sizes of the pictures in the epochs that are learnt from pictures."""
    return tuple(
        size
        for stage in recipe.stages
        if not views_layer(recipe, architecture, photos, stage)
        for size in recipe.sizes[stage.first : stage.end]
    )


def _with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    return replace(recipe, epochs=epochs, warmup_epochs=min(recipe.warmup_epochs, _WARM_UP_SHARE * epochs))


def _measure_at(recipe: Recipe, splits: Splits, state: State, cache: PhotoCache | None, device: torch.device) -> Pace:
    """recipe: with pictures of one size."""
    steps = batch_order(recipe, splits.training.labels).steps
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


def _measure_views(recipe: Recipe, splits: Splits, state: State, stage: Stage) -> ViewPace | None:
    """The features of a few photos, and some steps on them; None where the stage learns from pictures."""
    network, photos = state.network, splits.training
    layer = views_layer(recipe, network.architecture, len(photos), stage)
    if layer is None:
        return None
    freeze(network, stage.trained)
    views, dtype = kept_views(recipe, network.architecture, layer, len(photos))
    some = photos.take(range(min(len(photos), max(2, _VIEWED_PICTURES // views))))
    start = time.perf_counter()
    rows = list(rows_of(network, layer, some, recipe, views=views, precision=state.progress.precision))
    making = (time.perf_counter() - start) * len(photos) / len(some)
    values = [row.astype(dtype) for row in rows if not isinstance(row, ImageError)]
    shape = feature_shape(network.architecture, layer, recipe.test_crop)
    if not values:
        return ViewPace(layer, views, stage.end - stage.first, making, 0.0)
    features = Features(
        layer, np.stack(values).reshape(len(values), views, *shape), np.array(photos.labels[: len(values)])
    )
    batch = next(features.batches(len(values), recipe.seed, (0, 0), 1))
    full = _repeated(batch, min(recipe.batch_size, len(photos)))
    start = time.perf_counter()
    for step in range(_STEPS):
        random = batch_random(recipe.seed, 0, step)
        learn_batch(state, full, recipe, rate=recipe.learning_rate / 10, random=random, interruption=Interruption())
    seconds = (time.perf_counter() - start) / _STEPS * batch_order(recipe, photos.labels).steps
    return ViewPace(layer, views, stage.end - stage.first, making, seconds)


def _repeated(batch: FeatureBatch, photos: int) -> FeatureBatch:
    """A batch of so many photos, the few there are again and again."""
    places = torch.arange(photos) % len(batch.labels)
    return replace(batch, features=batch.features[places], labels=batch.labels[places])


def _endless(recipe: Recipe, splits: Splits, cache: PhotoCache | None, device: torch.device) -> Iterator[Batch]:
    return load_batches(
        splits.training,
        [recipe.augmentation] * (_WARM_UP_STEPS + _STEPS),  # an epoch has a step at least
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start=(0, 0),
        order=batch_order(recipe, splits.training.labels),
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
