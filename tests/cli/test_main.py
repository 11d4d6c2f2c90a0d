"""What every command shares: an output that is closed or no longer read, and a machine that is too small."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

POSIX = pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")


@pytest.fixture
def shell(toy_model: Path, class_folders: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """A function (line) -> what it did; $VERYDEEP, $MODEL and $PHOTOS stand for what they say."""
    names = {"VERYDEEP": f"{sys.executable} -m verydeep", "MODEL": str(toy_model), "PHOTOS": str(class_folders)}

    def run_line(line: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", "-o", "pipefail", "-c", line]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | names, timeout=60)

    return run_line


COMMANDS = {
    "describe": "$VERYDEEP describe D",
    "predict": "$VERYDEEP predict $PHOTOS --model $MODEL --engine reference",
    "predict a photo": "$VERYDEEP predict $PHOTOS/cat/0.png --model $MODEL --engine reference",
    "predict --json": "$VERYDEEP predict $PHOTOS --model $MODEL --engine reference --json",
    "explain --json": "$VERYDEEP explain $PHOTOS --model $MODEL --engine reference --json",
    "evaluate": "$VERYDEEP evaluate $MODEL $PHOTOS --engine reference",
}


@POSIX
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_closed_output_is_no_traceback(command: str, shell: Callable[[str], Any]) -> None:
    done = shell(f"{command} >&-")
    assert "Traceback" not in done.stderr
    assert done.returncode in (0, 1)
    assert shell(f"{command} >/dev/null 2>&-").returncode == 0


@POSIX
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_a_reader_that_has_read_enough_ends_the_command_silently(command: str, shell: Callable[[str], Any]) -> None:
    done = shell(f"{command} | head -n 1")
    assert len(done.stdout.splitlines()) <= 1
    progress = ("classified", "explained", "evaluated")
    assert [line for line in done.stderr.splitlines() if not line.startswith(progress)] == []
    assert done.returncode in (0, 1, 141)


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "[enforce fail at alloc_cpu.cpp] data. DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes",
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "MPS backend out of memory (MPS allocated: 9.00 GB)",
    ],
)
def test_a_lack_of_memory_is_one_whatever_it_is_called(
    said: str, run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_it(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("verydeep.accounting.summary.summarize", raise_it)
    done = run("describe", "D")
    assert done.code == 1
    assert done.err.splitlines()[0] == "error: there is not enough memory for this."
