"""The training loop, top to bottom: photos and a recipe in, a run folder with a model out.

A step is a pure function of the state before it: order, augmentation, mixing and dropout draw from the seed, the epoch
and the step alone. So a run that was stopped anywhere, by whatever, goes on to the very numbers it would have reached.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from verydeep import machine
from verydeep.data.cache import PhotoCache, open_cache
from verydeep.data.datasets import Splits, check_readable, inputs_of_some
from verydeep.data.loader import Batch, Order, batch_random, dead_process_as_training_error, load_batches
from verydeep.errors import NonFiniteError
from verydeep.evaluate import Report
from verydeep.evaluate.report import Proportion
from verydeep.evaluate.retrieval import check_retrievable
from verydeep.files import remove_unfinished
from verydeep.image.decode import name_of
from verydeep.network import Network, Tail, initialize, weights_of, whiten
from verydeep.runtime.torch_engine import find_device
from verydeep.train.checkpoint import Progress, State, forget_newer, load_state, save_state, state_files
from verydeep.train.display import Display
from verydeep.train.features import FeatureBatch, FeatureEngine, Features, KeptFeatures, open_features, views_layer
from verydeep.train.finish import finish, validate
from verydeep.train.freezing import freeze
from verydeep.train.guards import (
    MOST_ROLLBACKS,
    LossSpike,
    StuckLoss,
    Unreadable,
    rate_factor,
)
from verydeep.train.held_out import HeldOut
from verydeep.train.inputs import KeptInputs
from verydeep.train.interrupt import Interruption, Stopped
from verydeep.train.learning_curve import LearningCurve, learning_curve
from verydeep.train.logs import Log, open_logs
from verydeep.train.losses import add_proxies
from verydeep.train.memory import fitting_micro_batch, has_room_to_keep
from verydeep.train.optimize import AveragedWeights, learning_rate, make_optimizer, plateaus
from verydeep.train.order import batch_order
from verydeep.train.precision import choose_precision
from verydeep.train.recipe import Recipe, Stage
from verydeep.train.run import Run
from verydeep.train.start import Start, describe_start, load_start
from verydeep.train.step import learn_batch
from verydeep.train.tasks import Validation, task_of
from verydeep.train.watchdog import STACKS_FILE, Watchdog
from verydeep.train.words import change_in_words, stage_in_words, title, versions_of
from verydeep.weights import ModelInfo

PHOTOS_TO_WHITEN = 500
_COST_OF_FEATURES = 0.01  # an epoch on features, in those on pictures
COST_OF_SAVING = 0.01  # the share of the time that saving may take, so long as the recipe's `checkpoint_minutes` allow


@dataclass
class Session:
    """One process's work on a run."""

    run: Run
    splits: Splits
    order: Order  # of the training photos
    display: Display
    device: torch.device
    interruption: Interruption
    watchdog: Watchdog
    state: State
    unreadable: Unreadable  # of the training photos
    unreadable_validation: Unreadable
    validation_inputs: KeptInputs
    known_features: Features | None = None
    held_out: HeldOut | None = None
    cache: PhotoCache | None = None
    features: Features | None = None  # of the training photos, in a stage that learns from views
    kept_features: KeptFeatures | None = None  # of the validation photos, then
    saved: float = 0.0  # when the state was last saved, by time.monotonic
    seconds_between_saves: float = 0.0


def train(
    run: Run,
    splits: Splits,
    display: Display,
    device_name: str = "auto",
    logs: Sequence[str] | None = None,
    *,
    features: Features | None = None,
    held_out: HeldOut | None = None,
) -> Validation:
    """Trains until the recipe's end, from where the run's folder stands, and writes the model into it.

    logs: names of `train.logs` besides metrics.jsonl. features: of the training photos, for a stage that learns from
    views, where they are known. held_out: the validation, where `splits` has no photos for it.
    Returns the validation of the model as written.
    Raises InterruptedRun at Ctrl-C or another signal of interrupt.py, the state saved; UsageError where another
    process trains this run; TrainingError where it cannot go on; DatasetError where too many photos are unreadable;
    CheckpointError and StorageError.
    """
    recipe, device = run.recipe, find_device(device_name)
    with (
        run.sole_use(),
        dead_process_as_training_error(),
        Interruption() as interruption,
        Watchdog(run.folder) as watchdog,
    ):
        remove_unfinished(run.folder)
        if held_out is None:
            check_readable(splits.validation)
        if recipe.task == "embed":
            check_retrievable(splits.validation.labels)
        if others := splits.passed_over():
            display.note(others)
        is_new = not state_files(run.folder)
        with watchdog.phase("preparing the network"):  # which decodes every mask for their classes' weights
            state = begin(recipe, splits, device, run.start if is_new else None)  # from then on the state has it all
        if run.start and is_new:
            display.note(describe_start(run.start, state.network.architecture, splits.training.classes))
        for sentence in load_state(run.folder, state, splits):
            display.note(sentence)
        if change := change_in_words(state.progress.versions, versions_of(device)):
            display.note(change)
        torch.set_num_threads(state.progress.threads)
        run.forget_after(state.progress.epoch)
        session = Session(
            run=run,
            splits=splits,
            order=batch_order(recipe, splits.training.labels),
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
            known_features=features,
            held_out=held_out,
        )
        _save(session)  # what was chosen holds from now on; and a full disk is better noticed now than in an hour
        if not all(_views_layer(session, stage) for stage in recipe.stages):
            with watchdog.phase("reading the photos"):
                session.cache = open_training_cache(recipe, splits, display, watchdog.alive)
        epochs_done = state.progress.epoch + state.progress.batch / session.order.steps
        costs = _costs(session)
        task = task_of(recipe)
        heading = title(recipe, splits, state.progress, device, session.order)
        display.start(heading, costs, epochs_done, (task.metric, task.metric_in_words))
        try:
            with open_logs(logs, run, state.progress.step, display.note) as log:
                _learn(session, log)
                _save(session)
                curve = _learning_curve(session)
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
                weights_of(state.kept()),
                splits,
                state.progress,
                device.type,
                curve=held_out.curve if held_out else curve,
                validation=held_out.report if held_out else None,
                inputs=session.validation_inputs,
                on_progress=lambda _: watchdog.alive(),
            )


def begin(recipe: Recipe, splits: Splits, device: torch.device, start: Start | None = None) -> State:
    """The state before the first step. From here on the process keeps what memory it frees, where there is plenty.

    start: the model whose weights it begins with. Raises ModelFileError and CheckpointError where that is not there.
    """
    network = Network(recipe.architecture(len(splits.training.classes)), recipe.dropout)
    initialize(network, recipe.initialization, recipe.seed, recipe.initial_std)
    if recipe.whiten:
        whiten(network, inputs_of_some(splits.training, recipe.preprocessing, PHOTOS_TO_WHITEN))
    if start:
        load_start(start, network, splits.training.classes)
    if recipe.task == "embed" and recipe.embedding_loss == "softmax":
        add_proxies(network, network.architecture.classes, recipe.dimensions, recipe.seed)
    freeze(network, recipe.trained)
    network.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks
    precision = choose_precision(recipe.precision, device)
    progress = Progress(
        precision=precision,
        micro_batch=recipe.micro_batch or fitting_micro_batch(recipe, network.architecture, device, precision),
        threads=torch.get_num_threads(),
        versions=versions_of(device),
        classes=list(splits.training.classes),
        photos=splits.fingerprint(),
        recipe=recipe.to_dict(),
    )
    if has_room_to_keep(recipe, network.architecture, device, precision, progress.micro_batch):
        machine.keep_freed_memory()
    weights = task_of(recipe).class_weights(recipe, splits.training)
    return State(
        network,
        make_optimizer(network, recipe, precision),
        AveragedWeights(network, recipe.ema_decay),
        progress,
        class_weights=None if weights is None else torch.tensor(weights, device=device),
    )


def _learn(session: Session, log: Log) -> None:
    """Epoch after epoch, to the recipe's end."""
    recipe, state = session.run.recipe, session.state
    stuck = None
    if recipe.task == "classify":  # of the other losses it is not known what they are where nothing is learnt
        stuck = StuckLoss(recipe, session.splits.training.counts(), is_balanced=state.class_weights is not None)
    while not _is_over(recipe, state.progress):
        stage = recipe.stage_of(state.progress.epoch)
        try:
            batches, spike = _begin_stage(session, stage), LossSpike(recipe)
            while state.progress.epoch < stage.end and not _is_over(recipe, state.progress):
                _learn_epoch(session, batches, stuck, spike)
                _end_epoch(session, log)
        except NonFiniteError as error:
            _roll_back(session, error)  # the loss is an older one then


def _begin_stage(session: Session, stage: Stage) -> Iterator[Batch | FeatureBatch]:
    """Freezes the layers that do not learn; the batches from where the state stands to the stage's end."""
    recipe, state = session.run.recipe, session.state
    freeze(state.network, stage.trained)
    session.features = session.kept_features = None  # those of the stage before are let go first
    layer = _views_layer(session, stage)
    features = _open_features(session, layer) if layer else None
    if len(recipe.stages) > 1 or stage.trained != "all":
        session.display.note(stage_in_words(state.network, stage, session.features))
    start = (state.progress.epoch, state.progress.batch)
    if features:
        return features.batches(recipe.batch_size, recipe.seed, start, stage.end, session.order)
    return load_batches(
        session.splits.training,
        recipe.augmentations[: stage.end],
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start=start,
        order=session.order,
        cache=session.cache,
        pin_memory=session.device.type == "cuda",
        stacks=session.run.folder / STACKS_FILE,
    )


def _views_layer(session: Session, stage: Stage) -> str | None:
    architecture = session.state.network.architecture
    return views_layer(session.run.recipe, architecture, len(session.splits.training), stage)


def _open_features(session: Session, layer: str) -> Features | None:
    """Of the training photos and of those to validate on."""
    recipe, network, start = session.run.recipe, session.state.network, session.run.start
    began = time.monotonic()

    def progress(done: int, total: int) -> None:
        session.watchdog.alive()
        session.display.reading(done, total, "computing the features")

    with session.watchdog.phase("computing the features"):
        session.features = session.known_features or open_features(
            session.run.folder,
            network,
            layer,
            session.splits.training,
            recipe,
            precision=session.state.progress.precision,
            begun_from=start.sha256 if start else f"seed {recipe.seed}",
            progress=progress,
        )
    session.kept_features = KeptFeatures(
        network, layer, session.validation_inputs, session.device.type, recipe.cache_gib * 2**30
    )
    with session.watchdog.phase("computing the features"):
        for _ in session.kept_features(session.splits.validation.paths, recipe.preprocessing):
            session.watchdog.alive()
    session.display.leave_out(time.monotonic() - began)
    return session.features


def _learning_curve(session: Session) -> LearningCurve | None:
    """Where only the head of a classifier has learnt, from features: how it learns from fewer photos."""
    recipe = session.run.recipe
    stage = recipe.stages[-1]
    layer = _views_layer(session, stage)
    if len(recipe.stages) > 1 or stage.trained != "head" or layer is None or session.held_out:
        return None
    if recipe.task != "classify":
        return None
    features = session.features or _open_features(session, layer)  # it was complete when it was gone on with
    if features is None:
        return None
    with session.watchdog.phase("learning from fewer photos"):
        return learning_curve(
            features,
            session.state.network.after(layer),
            recipe,
            lambda head: _top1(_validate_features(session, head)),
            alive=session.watchdog.alive,
        )


def _learn_epoch(
    session: Session, batches: Iterator[Batch | FeatureBatch], stuck: StuckLoss | None, spike: LossSpike
) -> None:
    """Every photo once; one that cannot be read is replaced by a neighbour."""
    recipe, state, display = session.run.recipe, session.state, session.display
    steps, size = session.order.steps, recipe.sizes[state.progress.epoch]
    while (progress := state.progress).batch < steps:
        start = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - start
        session.watchdog.alive()
        for message in session.unreadable.note(batch.failures):
            display.note(f"left out: {message}")
        state.progress = progress = replace(progress, unreadable=session.unreadable.known)
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
        stuck_advice = stuck.add(losses[-1], spread) if stuck else None
        for advice in (stuck_advice, spike.add(progress.step, losses[-1], size)):
            if advice:
                display.note(advice)
        if time.monotonic() - session.saved >= session.seconds_between_saves:
            _save(session)


def _end_epoch(session: Session, log: Log) -> None:
    """Validates the averaged weights, writes down how it went, saves the state where it is time to."""
    recipe, state, photos = session.run.recipe, session.state, session.splits.training
    progress = state.progress
    size = recipe.sizes[progress.epoch]
    start = time.perf_counter()
    task = task_of(recipe)
    loss, score = _validate_epoch(session, size)
    row = {
        "epoch": progress.epoch + 1,
        "step": progress.step,
        "image_size": size,
        "learning_rate": _rate(recipe, replace(progress, batch=progress.batch - 1), progress.batch),
        "loss": float(np.mean(progress.losses)),
        "validation_loss": loss,
        f"validation_{task.metric}": score,
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
    if recipe.early_stopping and loss < min(progress.loss_history, default=math.inf):
        averaged = state.average.network.state_dict()
        state.best = {name: value.detach().cpu().clone() for name, value in averaged.items()}
    state.progress = replace(
        progress,
        epoch=progress.epoch + 1,
        batch=0,
        losses=[],
        top1_history=[*progress.top1_history, score],
        loss_history=[*progress.loss_history, loss],
        unreadable_validation=session.unreadable_validation.known,
        epoch_seconds=0.0,
        waiting_seconds=0.0,
        saving_seconds=0.0,
    )
    session.display.epoch(row)
    is_due = time.monotonic() - session.saved >= session.seconds_between_saves
    if is_due or recipe.on_nonfinite == "roll back":  # to here: what the clock chose would differ from run to run
        _save(session)


def _validate_epoch(session: Session, size: int) -> tuple[float, float]:
    """Loss and score of the averaged weights. size: of the epoch's pictures."""
    recipe, state = session.run.recipe, session.state
    if session.held_out:
        return session.held_out.at(state.progress.epoch + 1)
    with session.watchdog.phase("validation"):
        report: Validation
        if session.features:
            report = _validate_features(session, state.average.network.after(session.features.layer))
        else:
            report = validate(
                recipe.at(size),
                weights_of(state.average.network),
                session.splits.validation,
                session.device.type,
                inputs=session.validation_inputs,
                on_progress=lambda _: session.watchdog.alive(),
            )
    if report.failures:
        positions = {name_of(path): position for position, path in enumerate(session.splits.validation.paths)}
        failures = {positions[failure.path]: failure.reason for failure in report.failures}
        for message in session.unreadable_validation.note(failures):
            session.display.note(f"left out: {message}")
    session.unreadable_validation.check()
    return report.loss, report.score


def _validate_features(session: Session, tail: Tail) -> Validation:
    """As `validate`, from the features of the validation photos; it differs from that in the last digits."""
    recipe, classes = session.run.recipe, session.splits.training.classes
    info = ModelInfo(recipe.architecture(len(classes)), classes, recipe.preprocessing)
    validation: Validation = task_of(recipe).validate(
        FeatureEngine(tail),
        info,
        session.splits.validation,
        inputs=session.kept_features,
        in_full=False,
        on_progress=lambda _: session.watchdog.alive(),
    )
    return validation


def _top1(validation: Validation) -> Proportion:
    assert isinstance(validation, Report)
    return validation.top1


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
    """To the beginning of the epoch, to go on at half the learning rate. Raises `error` where that is not wanted."""
    state, recipe = session.state, session.run.recipe
    rollbacks = state.progress.rollbacks + 1
    if recipe.on_nonfinite == "stop" or rollbacks > MOST_ROLLBACKS:
        raise error
    with session.interruption.deferred():
        told = load_state(session.run.folder, state, session.splits, is_at_epoch=True)
        state.progress = replace(state.progress, rollbacks=max(rollbacks, state.progress.rollbacks))
    for sentence in told:
        session.display.note(sentence)
    _save(session)
    forget_newer(session.run.folder, state.progress)
    session.run.forget_after(state.progress.epoch)
    session.display.note(
        f"{error.message} Back to {_place(recipe, state.progress)}, at half the learning rate "
        f"({state.progress.rollbacks} of at most {MOST_ROLLBACKS} times)."
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


def _costs(session: Session) -> list[float]:
    """How long each epoch takes, of which only the ratios matter."""
    recipe = session.run.recipe
    costs = [(size / recipe.input_size) ** 2 for size in recipe.sizes]
    for stage in recipe.stages:
        if _views_layer(session, stage):
            costs[stage.first : stage.end] = [_COST_OF_FEATURES] * (stage.end - stage.first)
    return costs


def _place(recipe: Recipe, progress: Progress) -> str:
    return f"epoch {min(progress.epoch + 1, recipe.epochs)} of {recipe.epochs}, step {progress.batch} of it"


def _rate(recipe: Recipe, progress: Progress, steps: int) -> float:
    """The learning rate of the step that comes next."""
    rate = learning_rate(recipe, progress.epoch + (progress.batch + 1) / steps, progress.top1_history)
    return float(rate * rate_factor(progress.rollbacks))


def _is_over(recipe: Recipe, progress: Progress) -> bool:
    """Whether a run is at its end: all epochs are done, or those so far have shown that more would not help."""
    return progress.epoch >= recipe.epochs or _has_settled(recipe, progress) or _is_early(recipe, progress)


def _is_early(recipe: Recipe, progress: Progress) -> bool:
    """Whether the validation loss has not fallen for so many epochs that the run ends before its last one.

    Those in which only the head learns do not count: what comes after them is another training.
    """
    if not recipe.early_stopping or not progress.loss_history:
        return False
    best = int(np.argmin(progress.loss_history)) + 1
    return progress.epoch - max(best, recipe.head_epochs) >= recipe.early_stopping


def _has_settled(recipe: Recipe, progress: Progress) -> bool:
    """Whether the plateau schedule is at its end: its last learning rate helps no longer."""
    return recipe.schedule == "plateau" and plateaus(progress.top1_history, recipe.patience) > recipe.drops
