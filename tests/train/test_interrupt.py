"""Signals while something runs: the first is answered where it may be, the second at once."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from verydeep.errors import InterruptedRun
from verydeep.train.interrupt import Interruption, Stopped


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGUSR1", 138)])
def test_a_signal_raises_where_it_arrives_and_leaves_as_an_interrupted_run(name, code, hangup):
    if not hasattr(signal, name):
        pytest.skip(f"this system has no {name}")
    number = signal.Signals[name]
    before = signal.getsignal(number)
    reached = []

    def work():
        with Interruption():
            try:
                signal.raise_signal(number)
                reached.append("what comes after")
            except Stopped as stopped:
                stopped.where = " in the middle"
                raise

    with pytest.raises(InterruptedRun, match=f"stopped by {number.name} in the middle") as caught:
        work()
    assert reached == []
    assert caught.value.exit_code == code
    assert signal.getsignal(number) is before


@pytest.fixture
def hangup():
    """SIGHUP as in a terminal, also where the tests run under nohup."""
    if hasattr(signal, "SIGHUP"):
        before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
        yield
        signal.signal(signal.SIGHUP, before)
    else:
        yield


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
def test_a_hangup_that_nohup_has_switched_off_stays_so(hangup):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Interruption() as interruption:
        signal.raise_signal(signal.SIGHUP)
        interruption.check()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
@pytest.mark.parametrize("names", ["SIGHUP SIGHUP", "SIGTERM SIGHUP", "SIGHUP SIGTERM", "SIGUSR1 SIGTERM"])
def test_the_several_signals_of_a_logout_or_a_scheduler_do_not_end_what_saves_the_state(names, hangup):
    reached = []

    def work():
        with Interruption() as interruption, interruption.deferred():
            for name in names.split():
                signal.raise_signal(signal.Signals[name])
            reached.append("the rest of the block")

    with pytest.raises(InterruptedRun, match="stopped by SIGTERM" if "TERM" in names else "stopped by SIGHUP"):
        work()
    assert reached == ["the rest of the block"]


def test_what_is_deferred_is_finished_first():
    reached = []

    def work():
        with Interruption() as interruption:
            with interruption.deferred():
                signal.raise_signal(signal.SIGINT)
                reached.append("the rest of the block")
            reached.append("what comes after")

    with pytest.raises(InterruptedRun):
        work()
    assert reached == ["the rest of the block"]


def test_a_signal_is_answered_once():
    """What saves the state on the way out may defer, too."""

    def work():
        with Interruption() as interruption:
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                with interruption.deferred():
                    pass

    with pytest.raises(InterruptedRun):
        work()


def test_what_is_swallowed_by_a_library_is_raised_again_at_the_next_check():
    reached = []

    def swallow():
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException:  # as a callback from C does, or __del__
            reached.append("swallowed")

    def work():
        with Interruption() as interruption:
            interruption.check()
            swallow()
            reached.append("before the check")
            interruption.check()
            reached.append("after it")

    with pytest.raises(InterruptedRun, match="stopped by SIGTERM") as caught:
        work()
    assert reached == ["swallowed", "before the check"]
    assert caught.value.exit_code == 143


def test_an_error_that_breaks_off_what_is_deferred_is_not_replaced_by_a_signal():
    """At a Stopped the state is saved, which is half done then."""

    def work():
        with Interruption() as interruption:
            try:
                with interruption.deferred():
                    1 / 0  # noqa: B018
            finally:
                signal.raise_signal(signal.SIGINT)

    with pytest.raises(ZeroDivisionError):
        work()


def test_an_error_of_its_own_passes_unchanged():
    with pytest.raises(ZeroDivisionError), Interruption() as interruption, interruption.deferred():
        1 / 0  # noqa: B018


def test_outside_the_main_thread_nothing_is_changed():
    before = signal.getsignal(signal.SIGINT)
    seen = []

    def work():
        with Interruption() as interruption, interruption.deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_a_second_signal_ends_the_process_and_its_loaders_at_once():
    program = """
        import multiprocessing, time
        from verydeep.train.interrupt import Interruption
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), daemon=True)
        with Interruption() as interruption:
            child.start()
            with interruption.deferred():
                print(child.pid, flush=True)
                time.sleep(600)
                time.sleep(600)
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None  # the first is deferred
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    deadline = time.monotonic() + 5
    while _is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SIGTERM ends loading processes")
def test_a_sigterm_to_all_processes_of_a_training_stops_it_whole(make_photos, tmp_path):
    """As a scheduler sends it: also to the process that loads, to any of its threads that does not block it."""
    photos = make_photos(tmp_path / "photos", each=400)  # a process of its own loads 500 or more
    command = [
        sys.executable,
        "-m",
        "verydeep",
        "train",
        str(photos),
        "--recipe",
        "small",
        "--out",
        str(tmp_path / "run"),
    ]
    for setting in ("configuration=toy", "width=0.125", "epochs=1000"):
        command += ["--set", setting]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stderr is not None
        assert any(re.match(r"epoch 1/1000: validation", line) for line in process.stderr)
        loaders = [
            int(number) for number in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        ]
        blocked = {
            thread.parent.name: _blocks(thread, signal.SIGTERM) for loader in loaders for thread in _threads(loader)
        }
        os.killpg(process.pid, signal.SIGTERM)
        told = process.stderr.read()
    assert len(blocked) > 1
    assert list(blocked.values()).count(False) <= 1, blocked  # the one that waits for it
    assert process.returncode == 143, told
    assert "stopped by SIGTERM" in told


def _threads(process: int) -> list[Path]:
    """What the system tells of each."""
    return list(Path(f"/proc/{process}/task").glob("*/status"))


def _blocks(status: Path, number: int) -> bool:
    mask = re.search(r"^SigBlk:\s*([0-9a-f]+)$", status.read_text(encoding="ascii"), re.MULTILINE)
    assert mask is not None
    return bool(int(mask[1], 16) >> (number - 1) & 1)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{process}/stat").read_text(encoding="ascii").split()[2] != "Z"
