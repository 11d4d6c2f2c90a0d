"""Trainings that hang, each in a process of its own with a short limit: it ends, says where, and is resumable."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from verydeep.data.datasets import open_splits
from verydeep.errors import HungRun
from verydeep.train.display import Display
from verydeep.train.loop import train
from verydeep.train.run import open_run
from verydeep.train.watchdog import STACKS_FILE, Watchdog

# A step takes hundredths of a second; without a sign of life for one second the training hangs.
BEGIN = """
import ctypes, faulthandler, multiprocessing, signal, sys, threading, time
from pathlib import Path
from verydeep.train.watchdog import STACKS_FILE, Watchdog

run = Path(sys.argv[1])

def watchdog(shortest_s=1.0, first_s=60.0):
    return Watchdog(run, shortest_s=shortest_s, first_s=first_s, tick_s=0.05)
"""

LOADER = """
def read_photo_from_a_dead_disk(queue):
    faulthandler.register(signal.SIGUSR1, (run / STACKS_FILE).open("a"))
    queue.put("a batch")
    queue.put("another")  # two steps tell how long one takes
    time.sleep(1000)

if __name__ == "__main__":
    (run / STACKS_FILE).parent.mkdir(parents=True)
    queue = multiprocessing.Queue()
    loader = multiprocessing.Process(target=read_photo_from_a_dead_disk, args=(queue,), name="loader-0")
    loader.start()
    print(loader.pid, flush=True)
    with watchdog() as dog:
        while True:
            queue.get()
            dog.step()
"""

IN_C = """
def synchronize_with_a_lost_gpu():
    ctypes.CDLL(None).sleep(1000)  # it lets Python's lock go, as torch's calls do

with watchdog() as dog:
    dog.step()
    dog.step()
    synchronize_with_a_lost_gpu()
"""

FROM_THE_START = """
with watchdog(first_s=1.0) as dog:
    time.sleep(1000)
"""

IN_A_PHASE = """
with watchdog() as dog:
    dog.step()
    dog.step()
    with dog.phase("validation", longest_s=2.0):
        time.sleep(1000)
"""

HOLDING_STDERR = """
import sys
with watchdog() as dog:
    dog.step()
    dog.step()
    sys.stderr.buffer.write = None  # whoever writes by it is lost
    time.sleep(1000)
"""

HEALTHY = """
(run / STACKS_FILE).parent.mkdir(parents=True)
(run / STACKS_FILE).touch()  # as the loader's processes do
with watchdog(shortest_s=0.5) as dog:
    time.sleep(0.8)  # the first step may take longer
    for _ in range(5):
        time.sleep(0.1)
        dog.step()
    time.sleep(0.7)  # more than half a second, less than ten times the median
    dog.step()
    for _ in range(4):  # the parts of a step
        time.sleep(0.4)
        dog.alive()
    dog.step()
    with dog.phase("validation", longest_s=60.0):
        time.sleep(1.5)
    with dog.phase("saving", longest_s=1.0):
        for _ in range(4):
            time.sleep(0.3)
            dog.alive()
    dog.step()
time.sleep(1.5)  # no longer watched
"""

ONE_LONG_STEP = """
with watchdog(first_s=3.0) as dog:
    print("started", flush=True)
    for _ in range(20):
        time.sleep(0.05)
    dog.step()
"""


A_WHOLE_TRAINING = """
from verydeep.data import loader
from verydeep.data.datasets import open_splits
from verydeep.train import loop
from verydeep.train.display import Display
from verydeep.train.run import open_run

read = loader.read_training_photo

def read_from_a_disk_that_dies(path, side):
    if (run / "metrics.jsonl").exists():  # in the second epoch
        time.sleep(1000)
    return read(path, side)

loader.read_training_photo = read_from_a_disk_that_dies
loader._worker_count = lambda photos, is_for_gpu: 1
loop.Watchdog = lambda run: watchdog(shortest_s=3.0)

if __name__ == "__main__":
    training = open_run(run)
    loop.train(training, open_splits(training.data), Display(), "cpu")
"""


@dataclass(frozen=True)
class Ended:
    code: int
    err: str
    stacks: str
    out: str


def end_of(script: str, run: Path, tmp_path: Path) -> Ended:
    """Runs a script until it ends by itself."""
    path = tmp_path / "script.py"
    path.write_text(BEGIN + script, encoding="utf-8")
    done = subprocess.run([sys.executable, path, run], capture_output=True, text=True, check=False, timeout=120)
    stacks = run / STACKS_FILE
    return Ended(done.returncode, done.stderr, stacks.read_text() if stacks.exists() else "", done.stdout)


@pytest.mark.slow
def test_a_loader_that_sleeps_for_ever_is_shown_and_killed_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    run = tmp_path / "my run"
    ended = end_of(LOADER, run, tmp_path)
    assert ended.code == HungRun.exit_code == 75
    error, hint = ended.err.strip().splitlines()
    assert error.startswith("error: the training hangs: a step has shown no sign of life for ")
    assert str(run / STACKS_FILE) in error
    assert hint == f"hint: Go on with: verydeep train --resume '{run}'"
    assert "loader-0" in ended.stacks
    assert "read_photo_from_a_dead_disk" in ended.stacks
    assert "queues.py" in ended.stacks  # where the training waits
    with pytest.raises(ProcessLookupError):
        os.kill(int(ended.out), 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "what", "where"),
    [
        (IN_C, "a step", "synchronize_with_a_lost_gpu"),
        (FROM_THE_START, "the first step", "in <module>"),
        (IN_A_PHASE, "validation", "in <module>"),
        (HOLDING_STDERR, "a step", "in <module>"),
    ],
)
def test_a_training_that_hangs_is_ended_and_its_stack_names_the_function(
    script: str, what: str, where: str, tmp_path: Path
) -> None:
    ended = end_of(script, tmp_path / "run", tmp_path)
    assert ended.code == HungRun.exit_code
    assert f"the training hangs: {what} has shown no sign of life" in ended.err
    assert where in ended.stacks
    assert "Traceback" not in ended.err


@pytest.mark.slow
def test_a_whole_training_whose_loader_hangs_is_ended_with_the_stacks_of_the_loader_and_goes_on_later(start, tmp_path):
    run = start(tmp_path / "run", cache_gib=0.0)
    ended = end_of(A_WHOLE_TRAINING, run.folder, tmp_path)
    assert ended.code == HungRun.exit_code, ended.err
    error, hint = ended.err.strip().splitlines()[-2:]
    assert error.startswith("error: the training hangs: a step has shown no sign of life for ")
    assert hint == f"hint: Go on with: verydeep train --resume {run.folder}"
    assert "read_from_a_disk_that_dies" in ended.stacks  # the loader's process
    assert "in _learn_epoch" in ended.stacks  # which waits for it
    train(open_run(run.folder), open_splits(run.data), Display(), "cpu")
    assert [row["epoch"] for row in run.metrics()] == [1, 2, 3]


@pytest.mark.slow
def test_a_healthy_training_with_slow_steps_and_long_phases_is_left_alone(tmp_path: Path) -> None:
    assert end_of(HEALTHY, tmp_path / "run", tmp_path) == Ended(0, "", "", "")
    assert not (tmp_path / "run" / STACKS_FILE).exists()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system cannot stop a process")
def test_a_process_that_was_stopped_for_longer_than_the_limit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "script.py"
    path.write_text(BEGIN + ONE_LONG_STEP, encoding="utf-8")
    process = subprocess.Popen([sys.executable, path, tmp_path / "run"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    for _ in range(2):
        time.sleep(0.4)  # some ticks, so that a clock would be seen to jump
        process.send_signal(signal.SIGSTOP)
        time.sleep(2)
        process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")


def test_the_place_where_it_hangs_is_the_innermost_function_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from verydeep import machine
    from verydeep.train.watchdog import _place

    places = []
    monkeypatch.setattr(machine.platform, "system", lambda: places.append(_place(sys._getframe())))
    machine._sysctl("any")
    assert places[0].startswith(" (in _sysctl, machine.py line ")
    assert _place(sys._getframe()) == ""


def test_stacks_that_cannot_be_written_do_not_keep_the_watchdog_from_ending_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    (tmp_path / "training").write_text("a file where the folder should be")
    Watchdog(tmp_path)._end()
    assert codes == [HungRun.exit_code]
    assert "the stacks could not be written to" in capfd.readouterr().err
