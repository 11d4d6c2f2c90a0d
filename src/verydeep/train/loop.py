"""The training loop, top to bottom: photos and a recipe in, a run folder with a model out.

A step is a pure function of the state before it: order, augmentation, mixing and dropout draw from the seed, the epoch
and the step alone. So a run that was stopped anywhere, by whatever, goes on to the very numbers it would have reached.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from torch import Tensor

from verydeep import machine
from verydeep.data.cache import PhotoCache, open_cache
from verydeep.data.datasets import Splits, check_readable, inputs_of_some
from verydeep.data.loader import (
    Batch,
    batch_random,
    dead_process_as_training_error,
    load_batches,
    steps_per_epoch,
)
from verydeep.data.mix import cutmix, mixup
from verydeep.errors import NonFiniteError, printable
from verydeep.evaluate import Report
from verydeep.files import sole_use
from verydeep.network import Network, initialize, weights_of, whiten
from verydeep.runtime.torch_engine import find_device
from verydeep.train.checkpoint import STATE_FOLDER, Progress, State, load_state, save_state
from verydeep.train.display import Display
from verydeep.train.finish import finish, validate
from verydeep.train.guards import (
    MOST_ROLLBACKS,
    KeptBuffers,
    LossSpike,
    StuckLoss,
    Unreadable,
    checked_loss,
    find_nonfinite,
    nonfinite_error,
    rate_factor,
    spread_of,
)
from verydeep.train.inputs import KeptInputs
from verydeep.train.interrupt import Interruption, Stopped
from verydeep.train.logs import Log, open_logs
from verydeep.train.memory import explain_memory, fitting_micro_batch, has_room_to_keep, is_out_of_memory
from verydeep.train.optimize import AveragedWeights, learning_rate, make_optimizer, plateaus
from verydeep.train.precision import autocast, choose_precision
from verydeep.train.recipe import Recipe
from verydeep.train.run import Run
from verydeep.train.watchdog import STACKS_FILE, Watchdog

MOST_LISTED = 10  # classes that are shown with their number of photos
PHOTOS_TO_WHITEN = 500
COMPUTES = ("torch", "numpy", "pillow")
COST_OF_SAVING = 0.01  # the share of the time that saving may take, so long as the recipe's `checkpoint_minutes` allow


@dataclass
class Session:
    """One process's work on a run."""

    run: Run
    splits: Splits
    display: Display
    device: torch.device
    interruption: Interruption
    watchdog: Watchdog
    state: State
    unreadable: Unreadable  # of the training photos
    unreadable_validation: Unreadable
    validation_inputs: KeptInputs
    cache: PhotoCache | None = None
    saved: float = 0.0  # when the state was last saved, by time.monotonic
    seconds_between_saves: float = 0.0


def train(
    run: Run, splits: Splits, display: Display, device_name: str = "auto", logs: Sequence[str] | None = None
) -> Report:
    """Trains until the recipe's end, from where the run's folder stands, and writes the model into it.

    logs: names of `train.logs` besides metrics.jsonl. Returns the validation of the model as written.
    Raises InterruptedRun at Ctrl-C or another signal of interrupt.py, the state saved; UsageError where another
    process trains this run; TrainingError where it cannot go on; DatasetError where too many photos are unreadable;
    CheckpointError and StorageError.
    """
    recipe, device = run.recipe, find_device(device_name)
    lock = sole_use(run.folder / STATE_FOLDER / "lock", f"the run in {run.folder}")
    with lock, dead_process_as_training_error(), Interruption() as interruption, Watchdog(run.folder) as watchdog:
        check_readable(splits.validation)
        if others := splits.passed_over():
            display.note(others)
        state = begin(recipe, splits, device)
        for sentence in load_state(run.folder, state, splits):
            display.note(sentence)
        if change := _change(state.progress.versions, _versions(device)):
            display.note(change)
        torch.set_num_threads(state.progress.threads)
        run.forget_after(state.progress.epoch)
        session = Session(
            run=run,
            splits=splits,
            display=display,
            device=device,
            interruption=interruption,
            watchdog=watchdog,
            state=state,
            unreadable=Unreadable(len(splits.training), state.progress.unreadable),
            unreadable_validation=Unreadable(
                len(splits.validation), state.progress.unreadable_validation, what="validation photos"
            ),
            validation_inputs=KeptInputs(),
        )
        _save(session)  # what was chosen holds from now on; and a full disk is better noticed now than in an hour
        with watchdog.phase("reading the photos"):
            session.cache = open_training_cache(recipe, splits, display, watchdog.alive)
        steps = steps_per_epoch(len(splits.training), recipe.batch_size)
        epochs_done = state.progress.epoch + state.progress.batch / steps
        costs = [(size / recipe.input_size) ** 2 for size in recipe.sizes]
        display.start(_title(recipe, splits, device, state.progress), costs, epochs_done)
        try:
            with open_logs(logs, run, state.progress.step, display.note) as log:
                _learn(session, log)
                _save(session)
                with watchdog.phase("closing the logs"):  # a server may be slow
                    log.close()
            interruption.check()  # a library may have swallowed a Stopped, as in the last validation
        except Stopped as stopped:
            _save(session)
            stopped.where = f" in {_place(recipe, state.progress)}; all of it is saved in {run.folder}"
            raise
        with watchdog.phase("writing the model"):
            return finish(
                run,
                weights_of(state.average.network),
                splits,
                state.progress,
                device.type,
                inputs=session.validation_inputs,
                on_progress=lambda _: watchdog.alive(),
            )


def begin(recipe: Recipe, splits: Splits, device: torch.device) -> State:
    """The state before the first step. From here on the process keeps what memory it frees, where there is plenty."""
    network = Network(recipe.architecture(len(splits.training.classes)), recipe.dropout)
    initialize(network, recipe.initialization, recipe.seed, recipe.initial_std)
    if recipe.whiten:
        whiten(network, inputs_of_some(splits.training, recipe.preprocessing, PHOTOS_TO_WHITEN))
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks
    precision = choose_precision(recipe.precision, device)
    progress = Progress(
        precision=precision,
        micro_batch=recipe.micro_batch or fitting_micro_batch(recipe, network.architecture, device, precision),
        threads=torch.get_num_threads(),
        versions=_versions(device),
        classes=list(splits.training.classes),
        photos=splits.fingerprint(),
    )
    if has_room_to_keep(recipe, network.architecture, device, precision, progress.micro_batch):
        machine.keep_freed_memory()
    return State(network, make_optimizer(network, recipe), AveragedWeights(network, recipe.ema_decay), progress)


def _learn(session: Session, log: Log) -> None:
    """Epoch after epoch, to the recipe's end."""
    recipe, state = session.run.recipe, session.state
    batches = _batches(session)
    stuck, spike = StuckLoss(recipe, session.splits.training.counts()), LossSpike(recipe)
    while state.progress.epoch < recipe.epochs and not _has_settled(recipe, state.progress):
        try:
            _learn_epoch(session, batches, stuck, spike)
            _end_epoch(session, log)
        except NonFiniteError as error:
            _roll_back(session, error)
            batches, spike = _batches(session), LossSpike(recipe)  # the loss is an older one


def _batches(session: Session) -> Iterator[Batch]:
    """From where the state stands to the recipe's end."""
    recipe, progress = session.run.recipe, session.state.progress
    return load_batches(
        session.splits.training,
        recipe.augmentations,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start=(progress.epoch, progress.batch),
        cache=session.cache,
        pin_memory=session.device.type == "cuda",
        stacks=session.run.folder / STACKS_FILE,
    )


def _learn_epoch(session: Session, batches: Iterator[Batch], stuck: StuckLoss, spike: LossSpike) -> None:
    """Every photo once; one that cannot be read is replaced by its neighbour."""
    recipe, state, display = session.run.recipe, session.state, session.display
    photos = len(session.splits.training)
    steps = steps_per_epoch(photos, recipe.batch_size)
    while (progress := state.progress).batch < steps:
        start = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - start
        session.watchdog.alive()
        for message in session.unreadable.note(batch.failures):
            display.note(f"left out: {message}")
        state.progress = progress = replace(progress, unreadable=session.unreadable.messages)
        session.unreadable.check()

        random = batch_random(recipe.seed, progress.epoch, progress.batch)
        rate = _rate(recipe, progress, steps)
        spread = learn_batch(
            state,
            batch,
            recipe,
            rate=rate,
            random=random,
            interruption=session.interruption,
            alive=session.watchdog.alive,
        )
        session.watchdog.step()

        seconds = time.perf_counter() - start
        state.progress = replace(
            state.progress,
            seconds=progress.seconds + seconds,
            epoch_seconds=progress.epoch_seconds + seconds,
            waiting_seconds=progress.waiting_seconds + waited,
        )
        losses = state.progress.losses
        display.step(progress.epoch, progress.batch, steps, float(np.mean(losses[-50:])), len(batch.labels))
        for advice in (stuck.add(losses[-1], spread), spike.add(progress.step, losses[-1], batch.images.shape[1])):
            if advice:
                display.note(advice)
        if time.monotonic() - session.saved >= session.seconds_between_saves:
            _save(session)


def learn_batch(
    state: State,
    batch: Batch,
    recipe: Recipe,
    *,
    rate: float,
    random: np.random.Generator,
    interruption: Interruption,
    alive: Callable[[], None] = lambda: None,
) -> float:
    """One step: forward and backward, in parts where the batch does not fit into memory, then update and average.

    rate: the learning rate. random: for mixing the photos. alive: is called after each part. Returns
    `guards.spread_of` the answers. The step is taken whole or not at all: where it raises, the state is as before. Only
    an error in the midst of the update leaves it half done; the interruption raises no Stopped after that, so that it
    is not saved. Raises NonFiniteError where the loss or a gradient is not finite, TrainingError where memory is short.
    """
    network, optimizer, progress = state.network, state.optimizer, state.progress
    device = next(network.parameters()).device
    for group in optimizer.param_groups:
        group["lr"] = rate
    kept = KeptBuffers(network)
    try:
        images, targets = _mix(*_prepare(batch, recipe, network.architecture.classes, device), recipe, random)
        parts = list(zip(images.split(progress.micro_batch), targets.split(progress.micro_batch), strict=True))
        optimizer.zero_grad()
        _seed_dropout(recipe, progress)
        loss, logits = torch.zeros((), device=device), []
        for part in parts:
            part_loss, part_logits = _backward(network, part, len(part[0]) / len(images), recipe, progress)
            loss += part_loss
            logits.append(part_logits)
            alive()
        if not math.isfinite(value := checked_loss(loss, network)):
            kept.restore()
            _seed_dropout(recipe, progress)
            what = find_nonfinite(network, optimizer, parts, float(loss), progress.precision)
            raise nonfinite_error(what, recipe, progress.precision, progress.step, progress.epoch, rate)
        interruption.check()  # what swallowed a Stopped may have spoilt the step
        with interruption.deferred():
            optimizer.step()
            state.average.update(network, progress.step)
            state.progress = replace(
                progress, batch=progress.batch + 1, step=progress.step + 1, losses=[*progress.losses, value]
            )
    except BaseException as error:
        if state.progress is progress:  # batch norm has seen the batch already
            with interruption.deferred():
                kept.restore()
        if is_out_of_memory(error):
            raise explain_memory(recipe, network.architecture, progress, device) from error
        raise
    return float(spread_of(torch.cat(logits)))


def _seed_dropout(recipe: Recipe, progress: Progress) -> None:
    torch.manual_seed(recipe.seed * 1_000_003 + progress.step)


def _backward(
    network: Network, part: tuple[Tensor, Tensor], share: float, recipe: Recipe, progress: Progress
) -> tuple[Tensor, Tensor]:
    """Adds the gradients of a part of a batch, of which it is this share; its part of the loss, and its logits."""
    images, targets = part
    with autocast(images.device, progress.precision):
        logits = network(images)
    loss = share * F.cross_entropy(logits.float(), targets, label_smoothing=recipe.label_smoothing)
    loss.backward()
    return loss.detach(), logits.detach()


def _end_epoch(session: Session, log: Log) -> None:
    """Validates the averaged weights, writes down how it went, saves the state where it is time to."""
    recipe, state, photos = session.run.recipe, session.state, session.splits.training
    progress = state.progress
    size = recipe.sizes[progress.epoch]
    start = time.perf_counter()
    with session.watchdog.phase("validation"):
        report = validate(
            recipe.at(size),
            weights_of(state.average.network),
            session.splits.validation,
            session.device.type,
            inputs=session.validation_inputs,
            on_progress=lambda _: session.watchdog.alive(),
        )
    for message in session.unreadable_validation.note(failure.reason for failure in report.failures):
        session.display.note(f"left out: {message}")
    session.unreadable_validation.check()
    top1 = report.top1.successes / report.n
    row = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "image_size": size,
        "learning_rate": _rate(recipe, replace(progress, batch=progress.batch - 1), progress.batch),
        "loss": float(np.mean(progress.losses)),
        "validation_loss": report.loss,
        "validation_top1": top1,
        "photos_per_second": len(photos) / progress.epoch_seconds,
        "seconds": progress.seconds,
        "training_seconds": progress.epoch_seconds,
        "waiting_seconds": progress.waiting_seconds,
        "saving_seconds": progress.saving_seconds,
        "validation_seconds": time.perf_counter() - start,
    }
    session.run.append_metrics(row)
    with session.watchdog.phase("logging"):
        log.row(row)
    state.progress = replace(
        progress,
        epoch=progress.epoch + 1,
        batch=0,
        losses=[],
        top1_history=[*progress.top1_history, top1],
        unreadable_validation=session.unreadable_validation.messages,
        epoch_seconds=0.0,
        waiting_seconds=0.0,
        saving_seconds=0.0,
    )
    session.display.epoch(row)
    if time.monotonic() - session.saved >= session.seconds_between_saves:
        _save(session)


def _save(session: Session) -> None:
    """Saves the state. The next is due when this one has cost COST_OF_SAVING of the time, or in the minutes set."""
    start = time.monotonic()
    with session.watchdog.phase("saving"):
        save_state(session.run.folder, session.state)
    session.saved = time.monotonic()
    seconds = session.saved - start
    session.seconds_between_saves = min(60 * session.run.recipe.checkpoint_minutes, seconds / COST_OF_SAVING)
    progress = session.state.progress
    session.state.progress = replace(progress, saving_seconds=progress.saving_seconds + seconds)


def _roll_back(session: Session, error: NonFiniteError) -> None:
    """To the last state saved, to go on from it at half the learning rate. Raises `error` where that is not wanted."""
    state, recipe = session.state, session.run.recipe
    rollbacks = state.progress.rollbacks + 1
    if recipe.on_nonfinite == "stop" or rollbacks > MOST_ROLLBACKS:
        raise error
    with session.interruption.deferred():
        told = load_state(session.run.folder, state, session.splits)
        state.progress = replace(state.progress, rollbacks=rollbacks)
    for sentence in told:
        session.display.note(sentence)
    _save(session)  # so that a restart goes back to here, and not once more
    session.run.forget_after(state.progress.epoch)
    session.display.note(
        f"{error.message} Back to {_place(recipe, state.progress)}, at half the learning rate "
        f"({rollbacks} of at most {MOST_ROLLBACKS} times)."
    )


def open_training_cache(
    recipe: Recipe, splits: Splits, display: Display, alive: Callable[[], None] = lambda: None
) -> PhotoCache | None:
    """The training photos, decoded once for all epochs; None where they are too many, or nothing can be kept."""
    if not recipe.cache_gib:
        return None
    limit = round(recipe.cache_gib * 2**30)
    side = recipe.augmentation.reading_side

    def progress(done: int, total: int) -> None:
        alive()
        display.reading(done, total)

    return open_cache(splits.training, side, limit_bytes=limit, note=display.note, progress=progress)


def _title(recipe: Recipe, splits: Splits, device: torch.device, progress: Progress) -> str:
    photos = splits.training
    classes = len(photos.classes)
    counts = [f"{printable(name)} {count}" for name, count in zip(photos.classes, photos.counts(), strict=True)]
    listing = ", ".join(counts[:MOST_LISTED]) + (", ..." if classes > MOST_LISTED else "")
    parts = f" in parts of {progress.micro_batch}" if progress.micro_batch < recipe.batch_size else ""
    return (
        f"{len(photos)} photos to train on, of {classes} classes: {listing}; {len(splits.validation)} to validate on\n"
        f"{recipe.architecture(classes).name} at {recipe.sizes_in_words}, {recipe.epochs} epochs; "
        f"{device.type}, {progress.precision}, batch {recipe.batch_size}{parts}"
    )


def _versions(device: torch.device) -> dict[str, str]:
    """What the last digits of every number depend on: the libraries, the processor and the device."""
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return machine.versions(*COMPUTES) | {
        "processor": " ".join([machine.processor(), *machine.instruction_sets()]),
        "device": f"{device.type}{gpu}",
    }


def _change(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What to tell where a run goes on with other `_versions`. What a state of earlier times lacks is not compared."""
    changed = [name for name in before if now.get(name) != before[name]]
    if not changed:
        return None
    old, new = (", ".join(f"{name} {made.get(name, '-')}" for name in changed) for made in (before, now))
    return f"{old} began this run, {new} goes on: the numbers may differ in their last digits."


def _place(recipe: Recipe, progress: Progress) -> str:
    return f"epoch {min(progress.epoch + 1, recipe.epochs)} of {recipe.epochs}, step {progress.batch} of it"


def _rate(recipe: Recipe, progress: Progress, steps: int) -> float:
    """The learning rate of the step that comes next."""
    rate = learning_rate(recipe, progress.epoch + (progress.batch + 1) / steps, progress.top1_history)
    return float(rate * rate_factor(progress.rollbacks))


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


def _has_settled(recipe: Recipe, progress: Progress) -> bool:
    """Whether the plateau schedule is at its end: its last learning rate helps no longer."""
    return recipe.schedule == "plateau" and plateaus(progress.top1_history, recipe.patience) > recipe.drops
