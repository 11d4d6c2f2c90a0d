"""One step of training: a batch in, the state a step further, whole or not at all."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from verydeep.architecture import Architecture
from verydeep.data.loader import Batch
from verydeep.data.mix import cutmix, mixup
from verydeep.network import Network, Tail
from verydeep.train.checkpoint import Progress, State
from verydeep.train.features import FeatureBatch
from verydeep.train.guards import KeptBuffers, checked_loss, find_nonfinite, nonfinite_error, spread_of
from verydeep.train.interrupt import Interruption
from verydeep.train.memory import explain_memory, is_out_of_memory
from verydeep.train.optimize import set_rate
from verydeep.train.precision import autocast
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import task_of


def learn_batch(
    state: State,
    batch: Batch | FeatureBatch,
    recipe: Recipe,
    *,
    rate: float,
    random: np.random.Generator,
    interruption: Interruption,
    alive: Callable[[], None] = lambda: None,
) -> float:
    """One step: forward and backward, in parts where the batch does not fit into memory, then update and average.

    rate: the learning rate. random: for mixing the photos. alive: is called after each part. Returns
    `guards.spread_of` the answers, 0 where these are no scores of classes. The step is taken whole or not at all: where
    it raises, the state is as before. Only an error in the midst of the update leaves it half done; the interruption
    raises no Stopped after that, so that it is not saved. Raises NonFiniteError where the loss or a gradient is not
    finite, TrainingError where memory is short.
    """
    optimizer, progress, architecture = state.optimizer, state.progress, state.network.architecture
    task = task_of(recipe)
    loss_of = partial(task.loss, recipe=recipe, class_weights=state.class_weights, proxies=state.proxies)
    network = state.network.after(batch.layer) if isinstance(batch, FeatureBatch) else state.network
    device = next(network.parameters()).device
    set_rate(optimizer, rate)
    kept = KeptBuffers(network)
    try:
        prepared = _prepare(batch, recipe, architecture, device)
        images, targets = _mix(*prepared, recipe, random, has_pixels=isinstance(batch, Batch))
        parts = list(zip(images.split(progress.micro_batch), targets.split(progress.micro_batch), strict=True))
        optimizer.zero_grad()
        _seed_dropout(recipe, progress)
        loss, logits = torch.zeros((), device=device), []
        weight = task.weight(targets, state.class_weights)
        for part in parts:
            share = task.weight(part[1], state.class_weights) / weight
            part_loss, part_logits = _backward(network, part, share, progress.precision, loss_of)
            loss += part_loss
            logits += [part_logits] if architecture.task == "classify" else []
            alive()
        if not math.isfinite(value := checked_loss(loss, network)):
            kept.restore()
            _seed_dropout(recipe, progress)
            what = find_nonfinite(network, optimizer, parts, float(loss), progress.precision)
            raise nonfinite_error(what, recipe, progress.precision, progress.step, progress.epoch, rate)
        interruption.check()  # what swallowed a Stopped may have spoilt the step
        with interruption.deferred():
            optimizer.step()
            state.average.update(state.network, progress.step)
            state.progress = replace(
                progress, batch=progress.batch + 1, step=progress.step + 1, losses=[*progress.losses, value]
            )
    except BaseException as error:
        if state.progress is progress:  # batch norm has seen the batch already
            with interruption.deferred():
                kept.restore()
        if is_out_of_memory(error):
            raise explain_memory(recipe, architecture, progress, device) from error
        raise
    return float(spread_of(torch.cat(logits))) if logits else 0.0


def _seed_dropout(recipe: Recipe, progress: Progress) -> None:
    torch.manual_seed(recipe.seed * 1_000_003 + progress.step)


def _backward(
    network: Network | Tail,
    part: tuple[Tensor, Tensor],
    share: float | Tensor,
    precision: str,
    loss_of: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """Adds the gradients of a part of a batch, whose loss is this share of it; its part of the loss, and its logits."""
    images, targets = part
    with autocast(images.device, precision):
        logits = network(images)
    loss = share * loss_of(logits.float(), targets)
    loss.backward()
    return loss.detach(), logits.detach()


def _prepare(
    batch: Batch | FeatureBatch, recipe: Recipe, architecture: Architecture, device: torch.device
) -> tuple[Tensor, Tensor]:
    """A batch as what learns takes it: (n, 3, H, W) normalised pixels, channels last in memory, and the targets.

    Features are as they were, in float32.
    """
    taught = None if batch.targets is None else batch.targets.to(device, non_blocking=True)
    labels = batch.labels.to(device, non_blocking=True)
    targets = task_of(recipe).targets(labels, taught, architecture)
    if isinstance(batch, FeatureBatch):
        return batch.features.to(device).float(), targets
    preprocessing = recipe.preprocessing
    mean = torch.tensor(preprocessing.mean, device=device) * 255
    std = torch.tensor(preprocessing.std, device=device) * 255
    images = (batch.images.to(device, non_blocking=True).float() - mean) / std
    return images.permute(0, 3, 1, 2), targets


def _mix(
    images: Tensor, targets: Tensor, recipe: Recipe, random: np.random.Generator, has_pixels: bool = True
) -> tuple[Tensor, Tensor]:
    if random.random() < recipe.cutmix and has_pixels:
        return cutmix(images, targets, random)
    if recipe.mixup:
        return mixup(images, targets, random, recipe.mixup)
    return images, targets
