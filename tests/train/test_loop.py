"""Whole trainings on small photos: they learn, resume where they stopped, and validate as evaluate and predict do."""

import contextlib
import hashlib
import json
import os
import runpy
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from trainings import MOMENTS, Listen, Stop, arrays, break_off, end_of, go

from verydeep import files
from verydeep.data.datasets import open_splits
from verydeep.data.loader import Batch, load_batches
from verydeep.errors import (
    CheckpointError,
    DatasetError,
    InterruptedRun,
    ModelFileError,
    NonFiniteError,
    UsageError,
)
from verydeep.evaluate import evaluate
from verydeep.image import normalize, read_image
from verydeep.predict import Predictor
from verydeep.runtime import open_model
from verydeep.train import finish, logs, loop, step, words
from verydeep.train.checkpoint import load_state, save_state, state_files
from verydeep.train.display import Display
from verydeep.train.guards import checked_loss
from verydeep.train.interrupt import Interruption, Stopped
from verydeep.train.loop import begin, train
from verydeep.train.run import Run, create_run, open_run
from verydeep.train.step import _prepare, learn_batch

GOLDEN = Path(__file__).parent / "golden_traces.json"


@pytest.mark.whole_report
def test_a_run_learns_and_writes_model_card_recipe_and_measurements(start, tmp_path):
    run = start(tmp_path / "run")
    report = go(run)
    assert report.top1.value == 1.0
    assert report.n == 12
    rows = [json.loads(line) for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert rows[-1]["loss"] < rows[0]["loss"]
    card = (run.folder / "README.md").read_text()
    assert "centre crop 16 of shorter side 18" in card
    assert "100.0% (95 % interval 75.8% to 100.0%, n = 12;" in card  # Wilson's for 12 of 12
    info = open_model(run.folder, engine="reference").info
    assert info.classes == ("blue", "red")
    assert info.origin["validation"]["n"] == 12


@pytest.mark.parametrize(
    ("fit", "words"), [("crop", "centre"), ("letterbox", "filled up"), ("squash", "squashed to 16")]
)
def test_training_evaluation_and_prediction_agree_to_the_last_photo(fit, words, start, photos, tmp_path):
    run = start(tmp_path / "run", epochs=1, learning_rate=0.01, fit=fit)
    report = go(run)
    assert words in (run.folder / "README.md").read_text()
    assert open_model(run.folder, engine="reference").info.preprocessing.fit == fit
    validation = open_splits(photos, run.recipe.seed).validation
    for engine in ("torch", "reference"):
        opened = open_model(run.folder, engine=engine)
        again = evaluate(opened.engine, opened.info, validation)
        np.testing.assert_allclose(again.posteriors, report.posteriors, atol=1e-6)
        assert again.paths == report.paths
        predictor = Predictor(run.folder, engine=engine)
        for path, row in zip(report.paths, report.posteriors, strict=True):
            prediction = predictor.predict(path, k=2)
            assert prediction.label == report.classes[row.argmax()]
            assert prediction.probability == pytest.approx(row.max(), abs=1e-5)


def test_a_run_whose_pictures_grow_says_so_and_validates_each_epoch_at_its_own_size(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", first_size=8, epochs=4)
    started, validated, guarded = [], [], []

    class Listen(Display):
        def start(self, title, costs, epochs_done, metric):
            started.append((title.splitlines()[1], costs))

    class Guard(loop.LossSpike):
        def add(self, step, loss, size):
            guarded.append(size)
            return super().add(step, loss, size)

    def note_and_validate(recipe, *arguments, **named):
        validated.append((recipe.input_size, recipe.test_resize, recipe.test_crop))
        return finish.validate(recipe, *arguments, **named)

    monkeypatch.setattr(loop, "LossSpike", Guard)
    monkeypatch.setattr(loop, "validate", note_and_validate)
    train(run, open_splits(run.data), Listen(), "cpu")
    ((title, costs),) = started
    assert title.startswith("toy-bn-gap at 8 to 16 pixels, 4 epochs; ")
    assert costs == [1 / 4, 9 / 16, 1, 1]
    assert validated == [(8, 9, 8), (12, 14, 12), (16, 18, 16), (16, 18, 16)]  # the shorter side, and the crop
    assert [row["image_size"] for row in run.metrics()] == [8, 12, 16, 16]
    assert guarded == [8] * 6 + [12] * 6 + [16] * 12  # at each step
    card = (run.folder / "README.md").read_text()
    assert "| trained on | 48 photos of photos, at 8 to 16 pixels |" in card


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"head": "fc", "width": 1 / 64, "batch_norm": False, "mixup": 0.2},  # with dropout, which draws random numbers
        {"first_size": 12, "epochs": 4},  # of 12, 12, 16 and 16 pixels: it stops before they grow
    ],
)
def test_a_resumed_run_ends_with_the_same_state_as_an_uninterrupted_one(fields, start, tmp_path):
    go(whole := start(tmp_path / "whole", **fields))
    for moment in MOMENTS:
        broken = start(tmp_path / moment, **fields, checkpoint_minutes=0)
        break_off(broken, moment, epoch=2)
        go(open_run(broken.folder))
        assert end_of(whole) == end_of(broken), moment


def test_a_step_that_is_stopped_half_way_leaves_the_state_as_it_was(photos, tmp_path, small_recipe, monkeypatch):
    """Batch norm has seen the batch by then."""
    splits = open_splits(photos)
    state = begin(small_recipe, splits, torch.device("cpu"))
    before = {name: array.clone() for name, array in state.arrays().items()}
    batches = load_batches(splits.training, [small_recipe.augmentation], batch_size=8, seed=0, start=(0, 0))

    def stop(*arguments):
        assert not torch.equal(state.network.bn1_1.running_mean, before["network.bn1_1.running_mean"])
        raise Stopped

    monkeypatch.setattr(step, "checked_loss", stop)
    with pytest.raises(Stopped):
        learn_batch(
            state, next(batches), small_recipe, rate=0.1, random=np.random.default_rng(0), interruption=Interruption()
        )
    assert state.progress.step == 0
    assert all(torch.equal(array, before[name]) for name, array in state.arrays().items())


@pytest.mark.parametrize("moment", ["in the step", "in mid-epoch"])
def test_a_signal_stops_the_run_with_all_of_its_work_saved(moment, start, photos, tmp_path, monkeypatch):
    run = start(tmp_path / "run", checkpoint_minutes=1000)
    saved = []

    class Send(Display):
        def step(self, epoch, step, steps, loss, photos):
            if (epoch, step, moment) == (1, 2, "in mid-epoch"):
                signal.raise_signal(signal.SIGTERM)

    def update(self, network, step):
        if (step, moment) == (8, "in the step"):
            signal.raise_signal(signal.SIGTERM)
            saved.append(step)  # the step is finished first

    monkeypatch.setattr(loop.AveragedWeights, "update", update)
    before = signal.getsignal(signal.SIGTERM)
    expected = r"stopped by SIGTERM in epoch 2 of 3, step 3 of it; all of it is saved"
    with pytest.raises(InterruptedRun, match=expected) as caught:
        train(run, open_splits(photos), Send(), "cpu")
    assert caught.value.exit_code == 143
    assert saved == ([8] if moment == "in the step" else [])
    assert signal.getsignal(signal.SIGTERM) is before
    state = begin(run.recipe, open_splits(photos), torch.device("cpu"))
    load_state(run.folder, state, open_splits(photos))
    assert (state.progress.epoch, state.progress.batch) == (1, 3)


@pytest.mark.slow
def test_a_signal_in_the_last_save_loses_nothing(start, photos, tmp_path, monkeypatch):
    run = start(tmp_path / "run", checkpoint_minutes=1000)
    sent = []

    def send_and_save(folder, state):
        if state.progress.epoch == 3 and not sent:
            sent.append(state.progress)
            signal.raise_signal(signal.SIGTERM)
        save_state(folder, state)

    monkeypatch.setattr(loop, "save_state", send_and_save)
    with pytest.raises(InterruptedRun, match="all of it is saved"):
        go(run)
    state = begin(run.recipe, open_splits(photos), torch.device("cpu"))
    load_state(run.folder, state, open_splits(photos))
    assert state.progress.epoch == 3


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["validate", "write_model", "atomic_write", "write_report"])
def test_a_signal_while_the_model_is_written_loses_nothing(moment, number, start, tmp_path, monkeypatch):
    """In each function that `finish` calls for it: before a file has its name, or at the end where none is written."""
    broken = start(tmp_path / "broken", epochs=1)
    call = getattr(finish, moment)

    def call_and_send(*arguments, **named):
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(files, "_flush", lambda path: signal.raise_signal(number))
            call(*arguments, **named)
        signal.raise_signal(number)

    with monkeypatch.context() as patched:
        patched.setattr(finish, moment, call_and_send)
        stopped_by(number, broken)
    assert (broken.folder / "model.safetensors").exists() == (moment in ("atomic_write", "write_report"))
    assert_goes_on_to_the_end(broken, start(tmp_path / "whole", epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_logs_are_closed_loses_nothing_and_closes_the_others(number, start, tmp_path, monkeypatch):
    """A server may be slow to answer, so that a user loses patience."""
    closed = []

    class Slow:
        def __init__(self, run, first_step):
            pass

        def row(self, row):
            pass

        def close(self):
            closed.append("begun")
            if len(closed) == 1:
                signal.raise_signal(number)
            closed.append("ended")

    broken = start(tmp_path / "broken", epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(logs, "LOGS", {"tensorboard": Slow, "wandb": Slow})
        patched.setattr(logs, "_is_installed", lambda module: True)
        message = stopped_by(number, broken, ["tensorboard", "wandb"])
    assert "all of it is saved" in message
    assert closed == ["begun", "begun", "ended"]
    assert not (broken.folder / "model.safetensors").exists()
    assert_goes_on_to_the_end(broken, start(tmp_path / "whole", epochs=1))


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["validate", "save_state"])
def test_a_signal_that_a_library_swallows_after_the_last_step_still_stops_the_run(moment, start, tmp_path, monkeypatch):
    broken = start(tmp_path / "broken", epochs=1)
    call, sent = getattr(loop, moment), []

    def swallow_and_call(*arguments, **named):
        if not sent and (moment == "validate" or broken.metrics()):
            sent.append(moment)
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        return call(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(loop, moment, swallow_and_call)
        assert "all of it is saved" in stopped_by(signal.SIGINT, broken)
    assert not (broken.folder / "model.safetensors").exists()
    assert_goes_on_to_the_end(broken, start(tmp_path / "whole", epochs=1))


def stopped_by(number: int, run: Run, logs: Sequence[str] = ()) -> str:
    """Trains until a signal comes; what is said then."""
    before = signal.getsignal(number)
    with pytest.raises(InterruptedRun, match=f"stopped by {signal.Signals(number).name}") as caught:
        train(run, open_splits(run.data), Display(), "cpu", logs)
    assert caught.value.exit_code == 128 + number  # as of a command that the signal ended
    assert signal.getsignal(number) is before
    assert not list(run.folder.rglob(".*"))  # no temporary file is left
    return caught.value.message


def assert_goes_on_to_the_end(run: Run, whole: Run) -> None:
    """run: stopped with all of its epochs done. whole: the same, which nothing happens to."""

    class NoStep(Display):
        def step(self, epoch, step, steps, loss, photos):
            raise AssertionError("what was learnt is learnt once more")

    rows = run.metrics()
    train(open_run(run.folder), open_splits(run.data), NoStep(), "cpu")
    assert run.metrics() == rows
    go(whole)
    assert sha256_of_weights(run) == sha256_of_weights(whole)
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in whole.folder.iterdir()}


def sha256_of_weights(run: Run) -> str:
    digest = hashlib.sha256()
    for name, content in sorted(arrays(run.folder / "model.safetensors").items()):
        digest.update(name.encode() + content)
    return digest.hexdigest()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("began", "told"),
    [
        ({"torch": "1.0"}, "torch 1.0 began this run, torch 2 goes on"),
        ({"processor": "80486 fma"}, "processor 80486 fma began this run, processor 68040 fma avx2 goes on"),
        ({"processor": "68040 fma"}, "processor 68040 fma began this run, processor 68040 fma avx2 goes on"),
        ({"device": "cuda (NVIDIA H100)"}, "device cuda (NVIDIA H100) began this run, device cpu goes on"),
        (
            {"torch": "1.0", "device": "mps"},
            "torch 1.0, device mps began this run, torch 2, device cpu goes on",
        ),
        ({}, None),
    ],
)
def test_what_computes_otherwise_than_when_a_run_began_is_told_in_one_line(began, told, start, tmp_path, monkeypatch):
    monkeypatch.setattr(loop.machine, "versions", lambda *packages: {"torch": "2"})
    monkeypatch.setattr(loop.machine, "processor", lambda: "68040")
    monkeypatch.setattr(loop.machine, "instruction_sets", lambda: ("fma", "avx2"))
    run = start(tmp_path / "run", epochs=1)
    with monkeypatch.context() as patched:
        now = words.versions_of(torch.device("cpu"))
        patched.setattr(loop, "versions_of", lambda device: now | began)
        go(run)
    heard = notes_of(open_run(run.folder))
    assert [note for note in heard if "began this run" in note] == (
        [f"{told}: the numbers may differ in their last digits."] if told else []
    )


def test_what_was_chosen_for_the_machine_holds_when_a_run_goes_on(start, photos, tmp_path, monkeypatch):
    """From before the photos are decoded, which may take long."""
    run = start(tmp_path / "run", epochs=1)
    threads = torch.get_num_threads()

    def stop(*arguments):
        raise KeyboardInterrupt

    try:
        with monkeypatch.context() as patched:
            torch.set_num_threads(1)
            patched.setattr(loop, "fitting_micro_batch", lambda *arguments: 4)
            patched.setattr(loop, "open_training_cache", stop)
            with pytest.raises(KeyboardInterrupt):
                go(run)
        torch.set_num_threads(2)
        monkeypatch.setattr(loop, "choose_precision", lambda *arguments: "bfloat16")
        monkeypatch.setattr(loop, "fitting_micro_batch", lambda *arguments: 8)
        go(open_run(run.folder))
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
    state = begin(run.recipe, open_splits(photos), torch.device("cpu"))
    load_state(run.folder, state, open_splits(photos))
    assert (state.progress.precision, state.progress.micro_batch, state.progress.threads) == ("float32", 4, 1)


@pytest.mark.slow
def test_a_state_from_before_processor_and_device_were_kept_is_gone_on_with(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(loop, "versions_of", lambda device: loop.machine.versions(*words.COMPUTES))
        go(run)
    assert not any("began this run" in note for note in notes_of(open_run(run.folder)))


@pytest.mark.slow
def test_a_run_that_goes_on_in_mid_epoch_says_so_and_counts_the_time_left_from_there(start, photos, tmp_path):
    run = start(tmp_path / "run", checkpoint_minutes=0)

    class Listen(Display):
        def start(self, title, costs, epochs_done, metric):
            begun.append(epochs_done)

    begun = []
    with pytest.raises(Stopped):
        go(run, Stop(in_step=(1, 3)))
    train(open_run(run.folder), open_splits(photos), Listen(), "cpu")
    assert begun == [1 + 4 / 6]  # four of the six steps


def notes_of(run: Run) -> list[str]:
    """What is told of a training that goes on."""
    heard: list[str] = []

    class Listen(Display):
        def note(self, message):
            heard.append(message)

    train(run, open_splits(run.data), Listen(), "cpu")
    return heard


@pytest.mark.slow
def test_parts_of_a_batch_make_the_step_of_the_whole(start, tmp_path):
    """Without batch norm, whose statistics are those of a part; up to rounding."""
    fields = {"batch_norm": False, "cutmix": 0.5, "learning_rate": 0.01}
    whole = trained(start(tmp_path / "whole", **fields))
    parts = trained(start(tmp_path / "parts", **fields, micro_batch=3))
    for name, array in whole.items():
        np.testing.assert_allclose(parts[name], array, rtol=1e-3, atol=1e-5)


def trained(run: Run) -> dict[str, np.ndarray]:
    go(run)
    return load_file(state_files(run.folder)[0])


def test_a_run_in_use_is_refused(start, photos, tmp_path):
    run = start(tmp_path / "run")

    class Again(Display):
        def epoch(self, row):
            with pytest.raises(UsageError, match="the run in .*run is in use by another process"):
                go(run)

    train(run, open_splits(photos), Again(), "cpu")


@pytest.mark.slow
def test_rolling_back_halves_the_learning_rate_and_goes_on(start, photos, tmp_path, monkeypatch):
    run = start(tmp_path / "run", on_nonfinite="roll back")
    spoilt = []

    def spoil(loss, network):
        if len(spoilt) < 2 and float(loss) < 0.6:
            spoilt.append(loss)
            return float("nan")
        return checked_loss(loss, network)

    monkeypatch.setattr(step, "checked_loss", spoil)
    notes = []

    class Listen(Display):
        def note(self, message):
            notes.append(message)

    train(run, open_splits(photos), Listen(), "cpu")
    assert sum("at half the learning rate" in note for note in notes) == 2
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]
    assert run.metrics()[0]["learning_rate"] <= 0.1 / 2
    assert Predictor(run.folder).classes == ("blue", "red")


@pytest.mark.slow
def test_where_a_run_rolls_back_to_does_not_depend_on_when_it_was_saved(start, photos, tmp_path, monkeypatch):
    ends = []
    for minutes in (0, 1000):
        run = start(tmp_path / f"run{minutes}", on_nonfinite="roll back", checkpoint_minutes=minutes)
        steps = len(open_splits(photos).training) // 8 + 1
        seen, after = [], []

        def spoil(loss, network, seen=seen, steps=steps):
            seen.append(loss)
            return float("nan") if len(seen) == steps + 2 else checked_loss(loss, network)  # in the second epoch

        class Look(Display):
            def note(self, message, run=run, after=after):
                if "at half the learning rate" in message:
                    after.append(state_files(run.folder)[0].stem)

        with monkeypatch.context() as patched:
            patched.setattr(step, "checked_loss", spoil)
            train(run, open_splits(photos), Look(), "cpu")
        assert after == ["state-000001-000000000"]
        ends.append(sha256_of_weights(run))
    assert ends[0] == ends[1]


def test_a_recipe_that_was_changed_is_not_gone_on_with(start, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    go(run)
    text = (run.folder / "recipe.json").read_text()
    (run.folder / "recipe.json").write_text(text.replace('"learning_rate": 0.1', '"learning_rate": 0.2'))
    with pytest.raises(CheckpointError, match=r"changed after the training began: learning_rate was 0\.1, is 0\.2"):
        go(open_run(run.folder))
    (run.folder / "recipe.json").write_text(text.replace('"checkpoint_minutes": ', '"checkpoint_minutes": 1'))
    go(open_run(run.folder))


def test_a_lock_that_a_killed_process_left_is_nothing_and_a_held_one_refuses(start, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    (run.folder / "recipe.json").unlink()  # as it is when a process has come as far as the lock
    (run.folder / ".verydeep-0011223344556677.tmp").write_bytes(b"half")
    with run.sole_use(), pytest.raises(UsageError, match="in use by another process"):
        create_run(run.folder, run.recipe, run.data, (), {})
    create_run(run.folder, run.recipe, run.data, (), {})
    with pytest.raises(UsageError, match="is not empty; expected a new or empty folder"):
        create_run(run.folder, run.recipe, run.data, (), {})


def test_a_run_that_another_process_begins_meanwhile_is_left_alone(start, tmp_path, monkeypatch):
    lock = Run.sole_use

    def begin_another_first(run):
        monkeypatch.setattr(Run, "sole_use", lock)
        start(tmp_path / "run", epochs=7)
        return lock(run)

    monkeypatch.setattr(Run, "sole_use", begin_another_first)
    with pytest.raises(UsageError, match="Go on with the run in it|is not empty"):
        start(tmp_path / "run", epochs=1)
    assert open_run(tmp_path / "run").recipe.epochs == 7


def test_what_a_killed_writer_left_is_removed(start, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    left = run.folder / ".verydeep-0011223344556677.tmp"
    left.write_bytes(b"half")
    go(run)
    assert not left.exists()


def test_a_photo_that_cannot_be_read_counts_once_where_the_photos_have_moved(start, photos, tmp_path):
    for folder in photos.iterdir():
        next(folder.iterdir()).write_bytes(b"no picture")
    splits = open_splits(photos)
    run = start(tmp_path / "run", epochs=3)
    break_off(run, "in mid-epoch")
    moved = tmp_path / "elsewhere"
    photos.rename(moved)
    heard = Listen()
    train(replace(open_run(run.folder), data=moved), open_splits(moved), heard, "cpu")
    assert not [note for note in heard.heard if "elsewhere" in note and "left out" in note]
    state = begin(run.recipe, open_splits(moved), torch.device("cpu"))
    load_state(run.folder, state, open_splits(moved))
    known = [*state.progress.unreadable.values(), *state.progress.unreadable_validation.values()]
    assert len(known) == 2
    assert all(str(photos) in message for message in known)  # as it was said the first time
    assert splits.fingerprint() == open_splits(moved).fingerprint()


def test_a_validation_that_overflows_rolls_back_like_a_step(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", on_nonfinite="roll back", checkpoint_minutes=1000)
    overflowed, notes = [], []

    def overflow_once(recipe, weights, *arguments, **named):
        if not overflowed:
            overflowed.append("once")
            weights = dict(weights) | {"fc8.bias": np.float32([np.inf, 0])}
        return finish.validate(recipe, weights, *arguments, **named)

    class Listen(Display):
        def note(self, message):
            notes.append(message)

    monkeypatch.setattr(loop, "validate", overflow_once)
    train(run, open_splits(run.data), Listen(), "cpu")
    assert sum("NaN or infinity" in note and "at half the learning rate" in note for note in notes) == 1
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]


@pytest.mark.slow
def test_a_run_that_rolls_back_for_ever_stops(start, photos, tmp_path, monkeypatch):
    run = start(tmp_path / "run", on_nonfinite="roll back")
    monkeypatch.setattr(step, "checked_loss", lambda loss, network: float("nan"))
    with pytest.raises(NonFiniteError):
        go(run)
    state = begin(run.recipe, open_splits(photos), torch.device("cpu"))
    load_state(run.folder, state, open_splits(photos))
    assert state.progress.rollbacks == 3


@pytest.mark.parametrize("name", ["cutmix", "mixup"])
def test_a_short_training_follows_the_recorded_trace(name, start, tmp_path):
    """The losses of two epochs and the validation of the averaged weights: a change here changes every training.

    Recorded on x86-64 with torch 2.13; `python tests/train/test_loop.py` records them anew.
    """
    expected = json.loads(GOLDEN.read_text(encoding="utf-8"))[name]
    np.testing.assert_allclose(trace(start(tmp_path / "run", **traced(name))), expected, rtol=2e-3)


def traced(name: str) -> dict[str, object]:
    """What differs from the small recipe. name: of the way in which photos are mixed."""
    return {"head": "fc", "width": 1 / 64, "epochs": 2, "learning_rate": 0.02, "cutmix": 0.0, name: 0.7}


def trace(run: Run) -> list[float]:
    """The mean loss after each step, then the loss of validation after each epoch and of the written model."""
    losses: list[float] = []

    class Listen(Display):
        def step(self, epoch, step, steps, loss, photos):
            losses.append(loss)

    report = train(run, open_splits(run.data), Listen(), "cpu")
    return [*losses, *(row["validation_loss"] for row in run.metrics()), report.loss]


def test_pictures_are_normalized_in_training_as_in_prediction(photos, small_recipe):
    picture = read_image(next(photos.glob("red/*.png")))[:16, :16]
    batch = Batch(torch.from_numpy(picture[np.newaxis].copy()), torch.tensor([1]), ())
    images, targets = _prepare(batch, small_recipe, small_recipe.architecture(2), torch.device("cpu"))
    np.testing.assert_allclose(images[0].numpy(), normalize(picture, small_recipe.preprocessing), atol=1e-6)
    assert targets.tolist() == [[0, 1]]


def test_a_state_of_other_photos_is_not_gone_on_with(start, photos, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    go(run)
    (photos / "red" / "0.png").rename(photos / "red" / "100.png")
    with pytest.raises(CheckpointError, match="other photos than are there now"):
        go(open_run(run.folder))


def test_a_finished_run_can_be_resumed_and_writes_its_model_again(start, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    first = go(run)
    (run.folder / "model.safetensors").unlink()
    second = go(open_run(run.folder))
    assert np.array_equal(first.posteriors, second.posteriors)


def test_the_last_rate_of_the_plateau_schedule_ends_the_run(start, tmp_path):
    run = start(tmp_path / "run", epochs=50, schedule="plateau", patience=1, drops=1, learning_rate=1e-6)
    go(run)
    assert len(run.metrics()) < 20


def test_a_diverging_loss_stops_the_run_at_the_step(start, tmp_path):
    run = start(tmp_path / "run", learning_rate=1000.0, batch_norm=False, warmup_epochs=0)
    with pytest.raises(NonFiniteError, match=r"is not finite at step \d+"):
        go(run)
    assert not (run.folder / "model.safetensors").exists()


def test_a_few_damaged_photos_are_named_and_many_stop_the_run(start, photos, tmp_path, capsys):
    (photos / "red" / "3.png").write_bytes(b"damaged")
    (photos / "red" / "4.png").write_bytes(b"damaged")
    go(start(tmp_path / "run", epochs=2))
    told = capsys.readouterr().err
    assert told.count("left out: ") == 2
    for i in range(5, 15):
        (photos / "red" / f"{i}.png").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="photos cannot be read, more than 5%"):
        go(start(tmp_path / "other"))


def test_a_damaged_state_is_refused_with_its_name(start, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    go(run)
    for path in state_files(run.folder):
        path.write_bytes(b"\x10\0\0\0\0\0\0\0{broken")
    with pytest.raises(CheckpointError, match=r"state-.* is damaged .*no other is there"):
        go(open_run(run.folder))


def test_a_run_never_starts_in_a_folder_that_holds_something(start, photos, tmp_path):
    with pytest.raises(UsageError, match=r"not empty.*Choose another folder"):
        start(photos)
    start(tmp_path / "run")
    with pytest.raises(UsageError, match="--resume"):
        start(tmp_path / "run")


def test_a_folder_that_is_no_run_cannot_be_resumed(photos):
    with pytest.raises(CheckpointError, match=r"no recipe\.json"):
        open_run(photos)
    (photos / "recipe.json").write_text('{"recipe": 3}')
    with pytest.raises(CheckpointError, match="damaged"):
        open_run(photos)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epochs", 2.5), ("epochs", "many"), ("flip", 3), ("train_scales", [16]), ("schedule", "linear")],
)
def test_a_recipe_with_a_value_of_another_type_is_damaged(field, value, start, tmp_path):
    run = start(tmp_path / "run")
    content = json.loads((run.folder / "recipe.json").read_text())
    content["recipe"][field] = value
    (run.folder / "recipe.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=rf"recipe\.json is damaged: {field} is "):
        open_run(run.folder)


@pytest.mark.slow
@pytest.mark.parametrize("line", ["{", "3", '{"epoch": "one", "seconds": 1}', "{}", "[]", "\xff"])
def test_damaged_measurements_are_told_with_the_way_round_them(line, start, tmp_path):
    run = start(tmp_path / "run", epochs=1)
    (run.folder / "metrics.jsonl").write_bytes(line.encode("latin-1"))
    with pytest.raises(CheckpointError, match=r"metrics\.jsonl is damaged.* Move it elsewhere"):
        go(run)
    (run.folder / "metrics.jsonl").unlink()
    go(run)


def test_a_damaged_validation_photo_is_named_once_and_many_stop_the_run(small_recipe, make_photos, tmp_path, capsys):
    data = make_photos(tmp_path / "many", each=50)
    validation = open_splits(data).validation
    validation.paths[0].write_bytes(b"damaged")
    report = go(create_run(tmp_path / "run", small_recipe.with_fields({"epochs": 2}), data, ("test",), {}))
    assert report.n == len(validation) - 1 == 19
    assert capsys.readouterr().err.count(f"left out: {validation.paths[0]}") == 1

    broken = create_run(tmp_path / "broken", small_recipe, data, ("test",), {})
    content = validation.paths[1].read_bytes()
    validation.paths[1].write_bytes(b"damaged")
    with pytest.raises(DatasetError, match="2 of 20 validation photos cannot be read, more than 5%") as caught:
        go(broken)
    assert "under the same names" in caught.value.hint
    validation.paths[1].write_bytes(content)
    go(open_run(broken.folder))
    assert [row["epoch"] for row in broken.metrics()] == [1, 2, 3]


@pytest.mark.parametrize("micro_batch", [None, 3])
def test_the_spread_of_a_step_is_that_of_all_its_photos_and_each_part_shows_a_sign_of_life(
    micro_batch, photos, small_recipe
):
    recipe = small_recipe.with_fields({"micro_batch": micro_batch, "batch_norm": False, "learning_rate": 0.01})
    splits = open_splits(photos)
    state = begin(recipe, splits, torch.device("cpu"))
    batch = next(load_batches(splits.training, [recipe.augmentation], batch_size=8, seed=0, start=(0, 0)))
    images, _ = _prepare(batch, recipe, recipe.architecture(2), torch.device("cpu"))
    recipe = recipe.with_fields({"cutmix": 0.0})
    with torch.no_grad():
        expected = float(state.network(images).std(dim=0, correction=0).mean())
    random = np.random.default_rng(0)
    signs = []
    spread = learn_batch(
        state, batch, recipe, rate=0.1, random=random, interruption=Interruption(), alive=lambda: signs.append("alive")
    )
    assert spread == pytest.approx(expected, rel=1e-4)
    assert len(signs) == (3 if micro_batch else 1)  # for the watchdog: each part shows that the step goes on


def test_a_class_may_be_named_by_a_folder_whose_name_is_no_text(start, photos, tmp_path):
    if sys.platform != "linux":
        pytest.skip("other systems do not allow such names")
    name = os.fsdecode(b"caf\xe9")
    (photos / "red").rename(photos / name)
    go(start(tmp_path / "run", epochs=1))
    assert Predictor(tmp_path / "run").classes == ("blue", name)
    assert r"| caf\udce9 | 6 of 6 |" in (tmp_path / "run" / "README.md").read_text()


def test_a_weight_too_large_for_float16_is_told_with_the_way_to_keep_it(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", epochs=1)
    weights_of = loop.weights_of
    monkeypatch.setattr(loop, "weights_of", lambda network: weights_of(network) | {"fc8.bias": np.float32([1e6, 0])})
    with pytest.raises(ModelFileError, match=r"fc8\.bias holds a number too large for float16.*recipe\.json"):
        go(run)
    text = (run.folder / "recipe.json").read_text()
    (run.folder / "recipe.json").write_text(text.replace('"save_as": "float16"', '"save_as": "float32"'))
    go(open_run(run.folder))
    assert open_model(run.folder, engine="reference").engine.weights["fc8.bias"][0] == 1e6


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_run_learns_on_a_gpu(start, photos, tmp_path):
    run = start(tmp_path / "run", precision="auto")
    assert train(run, open_splits(photos), Display(), "cuda").top1.value == 1.0


if __name__ == "__main__":
    shared = runpy.run_path(str(Path(__file__).parents[1] / "conftest.py"))
    with tempfile.TemporaryDirectory() as temporary:
        data = shared["_make_photos"](Path(temporary) / "photos")
        traces = {}
        for way in ("cutmix", "mixup"):
            recipe = shared["_small_recipe"]().with_fields(traced(way))
            traces[way] = trace(create_run(Path(temporary) / way, recipe, data, ("test_loop.py",), {}))
    GOLDEN.write_text(json.dumps(traces, indent=1) + "\n", encoding="utf-8")
