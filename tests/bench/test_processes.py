"""Processes that die, hang and complain; and all of them end with the measuring one."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from verydeep.bench.processes import Command, LostError, Process, ended_together

WORKER = Path(__file__).parent / "fake_worker.py"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")


def command(behaviour: str, *, start_s: float = 60, answer_s: float = 60) -> Command:
    return Command("ncnn", (str(WORKER), behaviour), {}, start_s, answer_s)


def is_running(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def test_a_process_answers_and_is_gone_after_the_block() -> None:
    with ended_together() as processes:
        processes.append(Process(command("good")))
        fields, seconds = processes[0].first_answer()
        assert (fields["memory"], 0 < seconds < 60) == (1000, True)
        assert processes[0].turn(3) == [{"total": 0.25}] * 3
    assert not is_running(processes[0].pid)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("dead", "ncnn has ended: exit code 7, no such library; it is left out."),
        ("complaining", "ncnn cannot go on: ValueError: not with me; it is left out."),
        ("silent", "ncnn has not answered for 0.5 seconds; it is left out."),
    ],
)
def test_one_that_cannot_start_is_named_with_its_reason_and_ended(behaviour: str, said: str) -> None:
    process = Process(command(behaviour, start_s=0.5 if behaviour == "silent" else 60))
    with pytest.raises(LostError) as error:
        process.first_answer()
    assert str(error.value) == said
    assert not is_running(process.pid)


@pytest.mark.parametrize(
    ("behaviour", "said"),
    [
        ("killed later", "the system killed it, as it does where memory is short"),
        ("hanging later", "has not answered for 0.5 seconds"),
    ],
)
def test_one_that_is_lost_later_is_named_with_its_reason_and_ended(behaviour: str, said: str) -> None:
    process = Process(command(behaviour, answer_s=0.5 if behaviour == "hanging later" else 60))
    process.first_answer()
    with pytest.raises(LostError, match=said):
        process.turn(1)
    assert not is_running(process.pid)
    with pytest.raises(LostError, match="was lost before"):
        process.turn(1)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="a child of nobody is gone when /proc says so")
@pytest.mark.parametrize(
    ("behaviour", "said"), [("killed parent", "memory is short"), ("ending parent", "exit code 7")]
)
def test_children_of_one_that_has_ended_are_ended_too(behaviour: str, said: str) -> None:
    process = Process(command(behaviour))
    process.first_answer()
    child = int(process.turn(1)[0]["child"])
    with pytest.raises(LostError, match=said):
        process.turn(1)
    end = time.monotonic() + 30
    while state(child) not in ("", "Z", "X") and time.monotonic() < end:
        time.sleep(0.01)
    assert state(child) in ("", "Z", "X")  # gone, or waiting for whoever inherits it


def state(pid: int) -> str:
    """Linux's letter for what a process does; "" where there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    return ""


PARENT = """
import sys, time
from verydeep.bench.processes import Command, Process, ended_together
with ended_together() as processes:
    for _ in range(2):
        processes.append(Process(Command("ncnn", (sys.argv[1], "hanging later"), {}, 60, 60)))
        processes[-1].first_answer()
    print(*(process.pid for process in processes), flush=True)
    processes[0].turn(1)
"""


def test_ctrl_c_ends_all_processes() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(WORKER)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(0.3)  # until it waits for an answer
    parent.send_signal(signal.SIGINT)
    _, said = parent.communicate(timeout=60)
    assert "KeyboardInterrupt" in said
    assert not any(map(is_running, pids))
