"""Troubles planted into whole trainings: each ends as described, with the state before it intact on the disk."""

import contextlib
import errno
import math
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
import trainings
from trainings import Listen, arrays

from verydeep.data import loader
from verydeep.data.datasets import open_splits
from verydeep.errors import DatasetError, InterruptedRun, NonFiniteError, StorageError, TrainingError
from verydeep.train import checkpoint, loop, step
from verydeep.train.checkpoint import load_state
from verydeep.train.guards import checked_loss
from verydeep.train.loop import begin, train
from verydeep.train.run import Run, open_run

pytestmark = pytest.mark.slow  # whole trainings or pages, more than test-fast has time for

AT = 5  # the step at which the trouble begins


@pytest.fixture
def start(start):
    """That of all tests, with a state saved after each step."""
    return partial(start, learning_rate=0.05, cutmix=0.0, checkpoint_minutes=0)


def go(run: Run) -> Listen:
    display = Listen()
    trainings.go(run, display)
    return display


def saved_steps(run: Run) -> int:
    splits = open_splits(run.data, run.recipe.seed)
    state = begin(run.recipe, splits, torch.device("cpu"))
    assert load_state(run.folder, state, splits) == []
    assert all(torch.isfinite(array).all() for array in state.arrays().values())
    return state.progress.step


def in_prepare(change):
    """Changes the images and targets of the step AT, as the network gets them."""
    prepare, steps = step._prepare, iter(range(1000))

    def prepare_and_change(*arguments):
        images, targets = prepare(*arguments)
        if next(steps) >= AT:
            change(images, targets)
        return images, targets

    return {(step, "_prepare"): prepare_and_change}


def in_network(change):
    """Changes the state before the step AT."""
    learn = loop.learn_batch

    def change_and_learn(state, *arguments, **named):
        if state.progress.step >= AT:
            with torch.no_grad():
                change(state)
        learn(state, *arguments, **named)

    return {(loop, "learn_batch"): change_and_learn}


def plant_in_gradient(state):
    state.network.conv2_1.weight.requires_grad_(True).register_hook(lambda gradient: gradient * math.nan)


def plant_in_momentum(state):
    state.optimizer.state[state.network.conv1_1.weight]["momentum_buffer"][0] = math.inf
    state.network.conv1_1.weight[0] = math.inf  # as the step before would have made it


TROUBLES = {
    "a pixel": (lambda: in_prepare(lambda images, targets: images[0, 0].fill_(math.nan)), "a pixel of the batch"),
    "an infinite pixel": (
        lambda: in_prepare(lambda images, targets: images[3].fill_(math.inf)),
        "a pixel of the batch",
    ),
    "a target": (lambda: in_prepare(lambda images, targets: targets[2].fill_(math.nan)), "a target of the batch"),
    "a weight": (
        lambda: in_network(lambda state: state.network.conv2_1.weight[0].fill_(math.nan)),
        "conv2_1.weight",
    ),
    "a weight so large that the output overflows": (
        lambda: in_network(lambda state: state.network.conv2_1.weight.fill_(3e38)),
        "the output of conv2_1",
    ),
    "a running variance": (
        lambda: in_network(lambda state: state.network.bn1_1.running_var.fill_(math.nan)),
        "bn1_1.running_var",
    ),
    "a gradient": (lambda: in_network(plant_in_gradient), "the gradient of conv2_1.weight"),
    "the momentum": (lambda: in_network(plant_in_momentum), "the momentum of conv1_1.weight"),
    "the loss": (
        lambda: in_network(lambda state: state.network.fc8.bias.copy_(torch.tensor([3e38, -3e38]))),
        "the loss",
    ),
}


@pytest.mark.parametrize("name", TROUBLES)
def test_what_is_not_finite_is_named_at_its_step_and_never_saved(name, start, tmp_path, monkeypatch):
    plant, expected = TROUBLES[name]
    run = start(tmp_path / "run")
    with monkeypatch.context() as patched:
        for (module, attribute), value in plant().items():
            patched.setattr(module, attribute, value)
        with pytest.raises(NonFiniteError) as caught:
            go(run)
    message = caught.value.message
    assert message.startswith(f"{expected} is not finite at step {AT + 1} (epoch 1, learning rate 0.0"), message
    assert "--set learning_rate=" in caught.value.hint
    assert saved_steps(run) == AT
    go(open_run(run.folder))  # what was saved is good to go on from
    assert len(run.metrics()) == 3


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:113] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_is_told_with_what_fits(error, start, tmp_path, monkeypatch):
    def fail(loss, network):
        raise error

    run = start(tmp_path / "run")
    with monkeypatch.context() as patched:
        patched.setattr(step, "checked_loss", fail)
        with pytest.raises(TrainingError, match="out of memory") as caught:
            go(run)
    assert "micro_batch=" in caught.value.hint
    assert saved_steps(run) == 0
    go(open_run(run.folder))


def test_an_error_that_is_none_of_memory_is_not_taken_for_one(start, tmp_path, monkeypatch):
    def fail(loss, network):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(step, "checked_loss", fail)
    with pytest.raises(RuntimeError, match="mat1"):
        go(start(tmp_path / "run"))


@pytest.mark.slow
def test_a_network_that_learns_nothing_is_told_once_and_a_healthy_one_never(start, tmp_path):
    # Weights that are all but zero let no signal through.
    stuck = {"configuration": "E", "input_size": 32, "test_resize": 32, "test_crop": 32, "width": 1 / 32}
    stuck |= {"batch_norm": False, "initialization": "paper", "initial_std": 1e-4, "train_scales": (32, 40)}
    display = go(start(tmp_path / "stuck", **stuck, epochs=60, label_smoothing=0.0, checkpoint_minutes=10))
    told = [note for note in display.heard if "may be stuck" in note]
    assert len(told) == 1
    assert "0.693" in told[0]  # ln 2
    assert "batch_norm=true" in told[0]
    display = go(start(tmp_path / "healthy", epochs=60, label_smoothing=0.0, checkpoint_minutes=10))
    assert not any("may be stuck" in note for note in display.heard)


@pytest.mark.parametrize("cache_gib", [0.0, 4.0])
def test_a_corrupt_photo_is_told_once_also_after_a_restart(cache_gib, start, photos, tmp_path):
    splits = open_splits(photos)
    for path in splits.training.paths[:2]:
        path.write_bytes(b"damaged")
    run = start(tmp_path / "run", epochs=2, cache_gib=cache_gib)

    class Stop(Listen):
        def epoch(self, row):
            raise KeyboardInterrupt

    stopped = Stop()
    with pytest.raises(KeyboardInterrupt):
        train(run, splits, stopped, "cpu")
    display = go(open_run(run.folder))
    told = [note for note in stopped.heard + display.heard if note.startswith("left out: ")]
    assert len(told) == len(set(told)) == 2
    assert {str(path) for path in splits.training.paths[:2]} == {note.split()[2] for note in told}


@pytest.mark.parametrize("cache_gib", [0.0, 4.0])
def test_a_corrupt_tenth_of_the_photos_stops_the_run_with_their_names(cache_gib, start, photos, tmp_path):
    splits = open_splits(photos)
    damaged = splits.training.paths[:: len(splits.training) // 5]
    for path in damaged:
        path.write_bytes(b"damaged")
    run = start(tmp_path / "run", cache_gib=cache_gib)
    with pytest.raises(DatasetError, match=r"\d of 48 photos cannot be read, more than 5%") as caught:
        go(run)
    assert sum(str(path) in caught.value.message for path in damaged) >= 3
    assert saved_steps(run) < 6  # within the first epoch


def test_photos_that_vanish_while_they_are_trained_on_are_left_out(start, photos, tmp_path):
    run = start(tmp_path / "run", cache_gib=0.0)
    gone = open_splits(photos).training.paths[7]

    class Remove(Listen):
        def epoch(self, row):
            gone.unlink(missing_ok=True)

    display = Remove()
    train(run, open_splits(photos), display, "cpu")
    assert [note for note in display.heard if note.startswith("left out: ")] == [
        f"left out: {gone} cannot be read: No such file or directory. Check path and permissions."
    ]
    assert len(run.metrics()) == 3


@pytest.mark.skipif(os.name == "nt", reason="Windows tells nobody that a process was killed")
def test_a_loading_process_that_is_killed_during_a_step_is_told_and_the_state_before_it_is_kept(
    start, tmp_path, monkeypatch
):
    run = start(tmp_path / "run", checkpoint_minutes=10, cache_gib=0.0)
    steps = iter(range(1000))

    def kill(self, network, step):  # in the midst of the update: the weights have changed
        if next(steps) == AT:
            (child,) = multiprocessing.active_children()
            child.kill()
            time.sleep(60)  # torch's error comes at once

    with monkeypatch.context() as patched:
        patched.setattr(loader, "_worker_count", lambda photos, is_for_gpu: 1)
        patched.setattr(loop.AveragedWeights, "update", kill)
        with pytest.raises(TrainingError, match="a process that loads photos has ended") as caught:
            go(run)
    assert "--shm-size" in caught.value.hint
    assert saved_steps(run) == 0
    go(open_run(run.folder))
    assert len(run.metrics()) == 3


def test_a_signal_on_the_heels_of_an_error_in_the_update_saves_no_half_step(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", checkpoint_minutes=10)

    def fail(self, network, step):
        raise RuntimeError("in the midst of the update")

    def restore(self):  # on the error's way out
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(loop.AveragedWeights, "update", fail)
        patched.setattr(step.KeptBuffers, "restore", restore)
        with pytest.raises(RuntimeError, match="in the midst of the update"):
            go(run)
    assert resumed_arrays(run) == arrays_of_an_undisturbed_run(start, tmp_path)


def test_a_signal_while_batch_norm_is_put_back_after_an_error_waits_for_it(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", checkpoint_minutes=10)
    restore = step.KeptBuffers.restore

    def fail(loss, network):  # batch norm has seen the batch
        raise RuntimeError("after the forward pass")

    def signal_and_restore(self):
        signal.raise_signal(signal.SIGTERM)
        restore(self)

    with monkeypatch.context() as patched:
        patched.setattr(step, "checked_loss", fail)
        patched.setattr(step.KeptBuffers, "restore", signal_and_restore)
        with pytest.raises(InterruptedRun, match="all of it is saved"):
            go(run)
    assert resumed_arrays(run) == arrays_of_an_undisturbed_run(start, tmp_path)


def test_a_signal_while_a_run_goes_back_to_its_last_state_waits_for_it(start, tmp_path, monkeypatch):
    part, rolls = checkpoint._part, []

    def fail_once(loss, network):
        if len(rolls) == 0 and next(steps) == AT:
            rolls.append("back")
            return math.nan
        return checked_loss(loss, network)

    def signal_and_part(arrays, prefix):
        if rolls and prefix == "momentum.":  # the weights are back, the momentum is not
            signal.raise_signal(signal.SIGTERM)
        return part(arrays, prefix)

    ends = []
    for name in ("calm", "stopped"):
        steps = iter(range(1000))
        rolls.clear()
        run = start(tmp_path / name, checkpoint_minutes=10, on_nonfinite="roll back")
        with monkeypatch.context() as patched:
            patched.setattr(step, "checked_loss", fail_once)
            if name == "calm":
                go(run)
            else:
                patched.setattr(checkpoint, "_part", signal_and_part)
                with pytest.raises(InterruptedRun, match="step 0 of it; all of it is saved"):
                    go(run)
        ends.append(resumed_arrays(run))
    assert ends[0] == ends[1]


def test_a_signal_that_a_library_swallows_stops_the_run_in_the_same_step(start, tmp_path, monkeypatch):
    run = start(tmp_path / "run", checkpoint_minutes=10)
    steps = iter(range(1000))

    def swallow(loss, network):
        if next(steps) == AT:
            with contextlib.suppress(BaseException):
                signal.raise_signal(signal.SIGINT)
        return checked_loss(loss, network)

    with monkeypatch.context() as patched:
        patched.setattr(step, "checked_loss", swallow)
        with pytest.raises(InterruptedRun, match=f"stopped by SIGINT in epoch 1 of 3, step {AT} of it"):
            go(run)
    assert saved_steps(run) == AT
    assert resumed_arrays(run) == arrays_of_an_undisturbed_run(start, tmp_path)


def test_a_loss_that_jumps_is_told_with_its_step(start, tmp_path, monkeypatch):
    """The weights are thrown about at step 240, as a far too long step does it."""

    def throw(state):
        if state.progress.step == 240:
            state.network.fc8.weight.mul_(-30)

    learn = loop.learn_batch

    def throw_and_learn(state, *arguments, **named):
        with torch.no_grad():
            throw(state)
        return learn(state, *arguments, **named)

    monkeypatch.setattr(loop, "learn_batch", throw_and_learn)
    display = go(start(tmp_path / "run", epochs=45, learning_rate=0.001, checkpoint_minutes=10))
    told = [note for note in display.heard if "the loss has jumped" in note]
    assert len(told) == 1
    assert 241 <= int(told[0].split("at step ")[1].split(":")[0]) <= 250
    assert "--set learning_rate=0.00025" in told[0]


@pytest.mark.parametrize(
    "name",
    ["state-000000-000000003.safetensors", "metrics.jsonl", "model.safetensors", "README.md", "report.html"],
)
def test_a_disk_that_is_full_when_a_file_is_written_is_told_with_its_name_and_costs_nothing(
    name, start, tmp_path, monkeypatch
):
    run = start(tmp_path / "run", epochs=1)
    replace = Path.replace

    def fail(path, target):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", fail)
        with pytest.raises(StorageError, match=rf"cannot write .*{name}: the disk is full\. Free some space"):
            go(run)
    assert not list(run.folder.rglob(name))
    assert not list(run.folder.rglob(".*"))  # no temporary file is left
    assert saved_steps(run) == (2 if name.startswith("state") else 6)
    assert resumed_arrays(run) == arrays_of_an_undisturbed_run(start, tmp_path, epochs=1)
    assert {path.name for path in run.folder.iterdir()} == {path.name for path in (tmp_path / "undisturbed").iterdir()}


def resumed_arrays(run: Run) -> dict[str, bytes]:
    """Every number of the state at the end, to which the run is gone on with."""
    go(open_run(run.folder))
    return arrays(checkpoint.state_files(run.folder)[0])


def arrays_of_an_undisturbed_run(start: Callable[..., Run], folder: Path, **fields: object) -> dict[str, bytes]:
    return resumed_arrays(start(folder / "undisturbed", checkpoint_minutes=10, **fields))
