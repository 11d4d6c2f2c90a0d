"""Trains in child processes and kills them: what test_kills.py runs, in a process of its own.

    LD_PRELOAD=faults.so FAULT_FOLDER=WORK python tests/train/fault_harness.py WORK kills N SEED
    LD_PRELOAD=faults.so FAULT_FOLDER=WORK python tests/train/fault_harness.py WORK full N SEED
    LD_PRELOAD=faults.so FAULT_FOLDER=WORK python tests/train/fault_harness.py WORK faults
    LD_PRELOAD=faults.so FAULT_FOLDER=WORK python tests/train/fault_harness.py WORK "kill each" [DAMAGE]
    LD_PRELOAD=faults.so FAULT_FOLDER=WORK python tests/train/fault_harness.py WORK "roll back"
    LD_PRELOAD=faults.so FAULT_FOLDER=WORK python tests/train/fault_harness.py WORK trace [DAMAGE]

WORK/photos holds what is trained on. This process imports torch once and never computes: a child is forked for each
piece of work, so that it starts at once. It prints JSON.
"""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import safetensors
import torch

from verydeep import files
from verydeep.data.datasets import Splits, open_splits
from verydeep.errors import NonFiniteError, StorageError
from verydeep.train import checkpoint, figures, loop
from verydeep.train.display import Display
from verydeep.train.loop import begin, train
from verydeep.train.recipe import Recipe
from verydeep.train.run import RECIPE_FILE, create_run, open_run

ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES)
RECIPE = Recipe(
    width=1 / 64,
    head="fc",  # with dropout, which draws random numbers
    input_size=32,
    test_resize=36,
    test_crop=32,
    epochs=5,
    batch_size=8,
    mixup=0.2,
    train_areas=(0.5, 1.0),
    muon_factor=0.4,
    checkpoint_minutes=0,  # after each step
    precision="float32",
)
MOST_KILLS_A_RUN = 6
KILL = -1  # in the place of an errno
STORAGE = 7  # the exit code of a child whose disk was full

library = ctypes.CDLL(os.environ.get("LD_PRELOAD"))  # the functions of faults.c


class Silent(Display):
    def note(self, message: str) -> None:
        pass


def main() -> None:
    work, what, *arguments = sys.argv[1:]
    torch.set_num_threads(1)
    figures._svg = lambda *arguments: ""  # matplotlib takes longer than the training
    photos = Path(work) / "photos"
    if what == "kills":
        result = kill_runs(Path(work), photos, int(arguments[0]), int(arguments[1]))
    elif what == "full":
        result = fill_disk(Path(work), photos, int(arguments[0]), int(arguments[1]))
    elif what == "faults":
        result = fail_each_call(Path(work), photos)
    elif what == "kill each":
        result = kill_at_each_call(Path(work), photos, *arguments)
    elif what == "roll back":
        result = kill_roll_back(Path(work), photos)
    else:
        result = trace_a_save(Path(work), photos, *arguments)
    print(json.dumps(result))


# Killed runs


def kill_runs(work: Path, photos: Path, kills: int, seed: int) -> dict[str, object]:
    """Runs that are killed again and again, half of the kills at a call that writes; how each of them ended."""
    start = time.monotonic()
    calm, total = train_calmly(work, photos)
    seconds = time.monotonic() - start
    choices = random.Random(seed)
    ends: list[str] = []
    done = {"in time": 0, "at a call": 0}
    while sum(done.values()) < kills:
        folder = work / f"run{len(ends)}"
        for _ in range(choices.randint(1, MOST_KILLS_A_RUN)):
            if sum(done.values()) == kills:
                break
            kind = min(done, key=lambda kind: done[kind])
            at, delay = choices.randint(1, total), choices.uniform(0, seconds)
            if kind == "in time":
                child = in_child(lambda: go(folder, photos), kill_after=delay)  # noqa: B023, run at once
            else:
                child = in_child(lambda: go(folder, photos, at))  # noqa: B023
            assert child.signal == signal.SIGKILL or child.code == 0, child
            done[kind] += child.signal == signal.SIGKILL
        assert in_child(lambda: go(folder, photos)).code == 0  # noqa: B023
        ends.append(digest(folder))
        shutil.rmtree(folder)
    return {"calm": calm, "ends": ends, "kills": done, "calls": total}


def fill_disk(work: Path, photos: Path, times: int, seed: int) -> dict[str, object]:
    """Runs in which one call finds the disk full, and which are then resumed; how each of them ended."""
    calm, total = train_calmly(work, photos)
    choices = random.Random(seed)
    ends: list[str] = []
    told = 0
    for number in range(times):
        folder = work / f"run{number}"
        at = choices.randint(1, total)
        child = in_child(lambda: go(folder, photos, at, errno.ENOSPC))  # noqa: B023, run at once
        assert child.code in (0, STORAGE), child  # 0: what failed was no more than to tidy up
        told += child.code == STORAGE
        assert in_child(lambda: go(folder, photos)).code == 0  # noqa: B023
        ends.append(digest(folder))
        shutil.rmtree(folder)
    return {"calm": calm, "ends": ends, "told": told}


def kill_roll_back(work: Path, photos: Path) -> dict[str, object]:
    """Runs that roll back once, killed at one call of that, for each call, and then gone on with; how each ended."""
    recipe = replace(RECIPE, epochs=2, on_nonfinite="roll back")
    learn, roll_back, between = loop.learn_batch, loop._roll_back, work / "between"

    def learn_or_fail(state: checkpoint.State, *arguments: Any, **named: Any) -> float:
        if state.progress.rollbacks == 0 and (state.progress.epoch, state.progress.batch) == (1, 1):
            raise NonFiniteError("planted.", "")
        return learn(state, *arguments, **named)

    def roll_back_counted(*arguments: Any) -> None:
        before = library.fault_count()
        roll_back(*arguments)
        between.write_text(f"{before} {library.fault_count()}")

    loop.learn_batch, loop._roll_back = learn_or_fail, roll_back_counted
    assert in_child(lambda: go(work / "calm", photos, recipe=recipe)).code == 0
    first, last = map(int, between.read_text().split())
    loop._roll_back = roll_back
    killed, ends = 0, []
    for at in range(first + 1, last + 1):
        folder = work / f"run{at}"
        killed += in_child(partial(go, folder, photos, at, recipe=recipe)).signal == signal.SIGKILL
        assert in_child(partial(go, folder, photos, recipe=recipe)).code == 0
        ends.append(digest(folder))
        shutil.rmtree(folder)
    return {"calm": digest(work / "calm"), "killed": killed, "ends": ends}


def train_calmly(work: Path, photos: Path) -> tuple[str, int]:
    """The digest of a run that nothing happens to, and how many calls it takes."""
    calls = work / "calls"
    assert in_child(lambda: (go(work / "calm", photos), calls.write_text(str(library.fault_count())))).code == 0
    return digest(work / "calm"), int(calls.read_text())


def go(folder: Path, photos: Path, fault_at: int = 0, fault: int = KILL, recipe: Recipe = RECIPE) -> None:
    """Trains in `folder` to the end, from wherever it stands."""
    library.fault_arm(fault_at, fault)
    if (folder / RECIPE_FILE).exists():
        run = open_run(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # killed before there was a run
        run = create_run(folder, recipe, photos, ("harness",), {})
    train(run, open_splits(photos), Silent(), "cpu")


def digest(folder: Path) -> str:
    """SHA-256 over the weights of the model and the last state of the run."""
    result = hashlib.sha256()
    for path in (folder / "model.safetensors", checkpoint.state_files(folder)[0]):
        with safetensors.safe_open(path, framework="np") as file:
            for name in sorted(file.keys()):
                result.update(name.encode())
                result.update(file.get_tensor(name).tobytes())
    result.update(json.dumps([row["loss"] for row in open_run(folder).metrics()]).encode())
    return result.hexdigest()


class Child:
    """How a child process ended."""

    def __init__(self, status: int) -> None:
        self.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        self.code = os.WEXITSTATUS(status) if os.WIFEXITED(status) else None

    def __repr__(self) -> str:
        return f"Child(signal={self.signal}, code={self.code})"


def in_child(work: Callable[[], object], kill_after: float | None = None) -> Child:
    process = os.fork()
    if process == 0:
        code = 1
        try:
            work()
            code = 0
        except StorageError:
            code = STORAGE
        finally:
            sys.stderr.flush()
            os._exit(code)
    if kill_after is not None:
        time.sleep(kill_after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    return Child(os.waitpid(process, 0)[1])


# Calls that fail


def fail_each_call(work: Path, photos: Path) -> dict[str, object]:
    """A save in which one call fails, for each call and each reason; what came of it."""
    splits = open_splits(photos)
    state, folder, calls = save_calmly(work, splits)
    outcomes = []
    for at in range(1, calls + 1):
        for number in ERRNOS:
            shutil.rmtree(folder)
            shutil.copytree(work / "before", folder)
            library.fault_arm(at, number)
            said = ""
            try:
                checkpoint.save_state(folder, state)
            except StorageError as error:
                said = str(error)
            library.fault_arm(0, 0)
            restored = begin(RECIPE, splits, torch.device("cpu"))
            told = checkpoint.load_state(folder, restored, splits)
            outcomes.append({"errno": number, "at": at, "said": said, "batch": restored.progress.batch, "told": told})
    return {"calls": calls, "outcomes": outcomes}


def kill_at_each_call(work: Path, photos: Path, damage: str = "") -> dict[str, object]:
    """A save that is killed at one call, for each call; what came of it, and of the same save after it."""
    splits = open_splits(photos)
    plant(damage)
    state, folder, calls = save_calmly(work, splits)
    outcomes = []

    def save(at: int) -> None:
        library.fault_arm(at, KILL)
        checkpoint.save_state(folder, state)

    def stands() -> tuple[int, list[str]]:
        restored = begin(RECIPE, splits, torch.device("cpu"))
        told = checkpoint.load_state(folder, restored, splits)
        return restored.progress.batch, told

    for at in range(1, calls + 1):
        shutil.rmtree(folder)
        shutil.copytree(work / "before", folder)
        child = in_child(partial(save, at))
        batch, told = stands()
        checkpoint.save_state(folder, state)
        killed = child.signal == signal.SIGKILL
        outcomes.append({"at": at, "killed": killed, "batch": batch, "told": told, "after": stands()[0]})
    return {"calls": calls, "outcomes": outcomes}


def save_calmly(work: Path, splits: Splits) -> tuple[checkpoint.State, Path, int]:
    """A third save that nothing happens to: its state, its folder and how many calls it takes; work/before has two."""
    state = begin(RECIPE, splits, torch.device("cpu"))
    folder = work / "run"
    checkpoint.save_state(folder, state)
    advance(state, 1)
    checkpoint.save_state(folder, state)
    shutil.copytree(folder, work / "before")
    advance(state, 2)
    library.fault_arm(0, 0)
    checkpoint.save_state(folder, state)
    return state, folder, library.fault_count()


def advance(state: checkpoint.State, batch: int) -> None:
    state.progress = replace(state.progress, batch=batch, step=batch)


# What a power cut may leave


def trace_a_save(work: Path, photos: Path, damage: str = "") -> dict[str, object]:
    """Records the calls of one save, after two that are safe on the disk. damage: of `plant`."""
    splits = open_splits(photos)
    state = begin(RECIPE, splits, torch.device("cpu"))
    folder = work / "run"
    for batch in range(2):
        advance(state, batch)
        checkpoint.save_state(folder, state)
    shutil.copytree(folder, work / "before")
    plant(damage)
    advance(state, 2)
    library.fault_trace(os.fsencode(work / "trace"))
    checkpoint.save_state(folder, state)
    library.fault_trace(None)
    return {}


def plant(damage: str) -> None:
    """A fault in the way files are written; damage: "" for none."""
    if damage == "file is not flushed":
        files._flush = lambda path: None
    elif damage == "folder is not flushed":
        files._flush_folder = lambda path: None
    elif damage == "renamed before it is written":

        @contextlib.contextmanager
        def replacing(path, *, is_durable=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(".verydeep-early.tmp")
            temporary.touch()
            temporary.replace(path)
            yield path
            files._flush(path)
            files._flush_folder(path.parent)

        checkpoint.replacing = replacing
    else:
        assert not damage, damage


if __name__ == "__main__":
    main()
