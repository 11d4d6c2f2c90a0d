"""The training loop, top to bottom: photos and a recipe in, a run folder with a model out."""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from torch import Tensor

from verydeep.data.datasets import Dataset, Splits, check_readable
from verydeep.data.loader import Batch, batch_random, load_batches, steps_per_epoch
from verydeep.data.mix import cutmix, mixup
from verydeep.errors import DatasetError, TrainingError, printable
from verydeep.evaluate import Report
from verydeep.network import Network, initialize, weights_of
from verydeep.runtime.torch_engine import find_device
from verydeep.train.checkpoint import Progress, load_state, save_state
from verydeep.train.display import Display
from verydeep.train.finish import finish, validate
from verydeep.train.optimize import AveragedWeights, learning_rate, make_optimizer, plateaus
from verydeep.train.precision import autocast, choose_precision
from verydeep.train.recipe import Recipe
from verydeep.train.run import Run

MOST_LISTED = 10  # classes that are shown with their number of photos
MOST_UNREADABLE = 0.05  # the share of photos that may be unreadable before the training stops


def train(run: Run, splits: Splits, display: Display, device_name: str = "auto") -> Report:
    """Trains until the recipe's end, from where the run's folder stands, and writes the model into it.

    Returns the validation of the model as written. Raises TrainingError where the loss is no longer finite,
    DatasetError where too many photos are unreadable, CheckpointError and StorageError.
    """
    recipe, device = run.recipe, find_device(device_name)
    photos, validation = splits.training, splits.validation
    network = Network(recipe.architecture(len(photos.classes)), recipe.dropout)
    initialize(network, recipe.initialization, recipe.seed, recipe.initial_std)
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks
    optimizer = make_optimizer(network, recipe)
    average = AveragedWeights(network, recipe.ema_decay)

    progress = load_state(run.folder, splits, network, optimizer, average)
    if progress is None:
        progress = Progress(epoch=0, step=0, precision=choose_precision(recipe.precision, device))
    progress = replace(progress, classes=list(photos.classes), photos=splits.fingerprint())
    check_readable(validation)
    run.forget_after(progress.epoch)
    steps = steps_per_epoch(len(photos), recipe.batch_size)
    batches = load_batches(
        photos,
        recipe.augmentation,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        epochs=range(progress.epoch, recipe.epochs),
        pin_memory=device.type == "cuda",
    )
    display.start(_title(recipe, photos, validation, device, progress), recipe.epochs, progress.epoch)
    unreadable: set[str] = set()
    unreadable_validation: set[str] = set()

    while progress.epoch < recipe.epochs and not _has_settled(recipe, progress):
        # One epoch: every photo once; one that cannot be read is replaced by its neighbour.
        start, losses, rate = time.perf_counter(), [], 0.0
        for step, batch in _one_epoch(batches, steps):
            rate = learning_rate(recipe, progress.epoch + (step + 1) / steps, progress.top1_history)
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(recipe.seed * 1_000_003 + progress.step)  # dropout: the same after a restart
            images, targets = _prepare(batch, recipe, len(photos.classes), device)
            random = batch_random(len(photos), recipe.seed, progress.epoch, step)
            images, targets = _mix(images, targets, recipe, random)

            # One step: forward, backward, update, average.
            with autocast(device, progress.precision):
                logits = network(images)
            loss = F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            losses.append(_checked(loss, progress, rate))
            optimizer.step()
            average.update(network, progress.step)

            progress = replace(progress, step=progress.step + 1)
            _note_unreadable(batch, unreadable, len(photos), display)
            display.step(progress.epoch, step, steps, float(np.mean(losses[-50:])), len(batch.labels))
        seconds = time.perf_counter() - start

        # The epoch's end: validate the averaged weights, write down how it went, save the state.
        report = validate(recipe, weights_of(average.network), validation, device.type)
        _note_new((failure.reason for failure in report.failures), unreadable_validation, display)
        progress = replace(
            progress,
            epoch=progress.epoch + 1,
            top1_history=[*progress.top1_history, report.top1.successes / report.n],
            seconds=progress.seconds + seconds,
        )
        row = {
            "epoch": progress.epoch,
            "step": progress.step,
            "learning_rate": rate,
            "loss": float(np.mean(losses)),
            "validation_loss": report.loss,
            "validation_top1": progress.top1_history[-1],
            "photos_per_second": len(photos) / seconds,
            "seconds": progress.seconds,
        }
        run.append_metrics(row)
        save_state(run.folder, progress, network, optimizer, average)
        display.epoch(row)

    return finish(run, weights_of(average.network), splits, progress, device.type)


def _title(recipe: Recipe, photos: Dataset, validation: Dataset, device: torch.device, progress: Progress) -> str:
    classes = len(photos.classes)
    counts = [f"{printable(name)} {count}" for name, count in zip(photos.classes, photos.counts(), strict=True)]
    listing = ", ".join(counts[:MOST_LISTED]) + (", ..." if classes > MOST_LISTED else "")
    return (
        f"{len(photos)} photos to train on, of {classes} classes: {listing}; {len(validation)} to validate on\n"
        f"{recipe.architecture(classes).name} at {recipe.input_size} pixels, {recipe.epochs} epochs; "
        f"{device.type}, {progress.precision}"
    )


def _one_epoch(batches: Iterator[Batch], steps: int) -> Iterator[tuple[int, Batch]]:
    return zip(range(steps), batches, strict=False)  # range first: it must not take a batch of the next epoch


def _prepare(batch: Batch, recipe: Recipe, classes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """A batch as the network takes it: (n, 3, H, W) normalised pixels, channels last in memory, and (n, classes)."""
    preprocessing = recipe.preprocessing
    mean = torch.tensor(preprocessing.mean, device=device) * 255
    std = torch.tensor(preprocessing.std, device=device) * 255
    images = (batch.images.to(device, non_blocking=True).float() - mean) / std
    targets = F.one_hot(batch.labels.to(device, non_blocking=True), classes).float()
    return images.permute(0, 3, 1, 2), targets


def _mix(images: Tensor, targets: Tensor, recipe: Recipe, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    if random.random() < recipe.cutmix:
        return cutmix(images, targets, random)
    if recipe.mixup:
        return mixup(images, targets, random, recipe.mixup)
    return images, targets


def _checked(loss: Tensor, progress: Progress, rate: float) -> float:
    value = float(loss.detach())
    if not math.isfinite(value):
        raise TrainingError(
            f"the loss is {value} at step {progress.step} (epoch {progress.epoch + 1}, learning rate {rate:.3g}).",
            "Train anew with a lower learning rate, --set learning_rate=..., or with batch norm: --set batch_norm=true",
        )
    return value


def _has_settled(recipe: Recipe, progress: Progress) -> bool:
    """Whether the plateau schedule is at its end: its last learning rate helps no longer."""
    return recipe.schedule == "plateau" and plateaus(progress.top1_history, recipe.patience) > recipe.drops


def _note_unreadable(batch: Batch, known: set[str], photos: int, display: Display) -> None:
    _note_new(batch.failures, known, display)
    if len(known) > MOST_UNREADABLE * photos:
        raise DatasetError(
            f"{len(known)} of {photos} photos cannot be read, more than {MOST_UNREADABLE:.0%}: see the lines above.",
            "Replace or remove them.",
        )


def _note_new(messages: Iterable[str], known: set[str], display: Display) -> None:
    for message in messages:
        if message not in known:
            known.add(message)
            display.note(f"left out: {message}")
