"""What a person sees on a terminal, through a pseudo-terminal: the colours, the bar, and that neither is in the way."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from verydeep.cli.terminal import columns, padded, shortened

pty = pytest.importorskip("pty", reason="Windows has no pseudo-terminals")

OnTerminal = Callable[..., str]


@pytest.fixture
def on_terminal() -> OnTerminal:
    """A function (*arguments, **environment) -> all that `verydeep *arguments` writes to a terminal."""

    def run_on_terminal(*arguments: object, **environment: str) -> str:
        ours, theirs = pty.openpty()
        names = {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", **environment}
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR", "CI")}
        command = [sys.executable, "-m", "verydeep", *map(str, arguments)]
        with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=kept | names) as process:
            os.close(theirs)
            written = b"".join(iter(lambda: _read(ours), b""))
        os.close(ours)
        assert process.returncode == 0, written
        return written.decode().replace("\r\n", "\n")

    return run_on_terminal


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # Linux's way to say that the other end is closed
        return b""


@pytest.fixture
def predict(on_terminal: OnTerminal, toy_model: Path) -> OnTerminal:
    return lambda *arguments, **environment: on_terminal(
        "predict", *arguments, "--model", toy_model, "--engine", "reference", **environment
    )


@pytest.mark.parametrize("option", ["--json", "--csv", ""])
def test_no_bar_stands_among_the_answers(option: str, predict: OnTerminal, class_folders: Path) -> None:
    written = predict(class_folders, *([option] if option else []))
    assert "classified" not in written
    assert "\x1b[?25l" not in written  # the cursor is never hidden
    if option == "--json":
        assert len(json.loads(written)["photos"]) == 24
    else:
        lines = written.splitlines()
        assert len(lines) == 24 + (option == "--csv")
        assert all(str(class_folders) in line for line in lines[-24:])


def test_a_bar_shows_where_nothing_else_would(on_terminal: OnTerminal, toy_model: Path, class_folders: Path) -> None:
    written = on_terminal("evaluate", toy_model, class_folders, "--engine", "reference", "--json")
    bar, _, document = written.rpartition("\x1b[2K")  # the line of the bar is cleared behind it
    assert "evaluated" in bar
    assert json.loads(document)["n"] == 24


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_honoured_whatever_the_command(no_color: str, predict: OnTerminal, class_folders: Path) -> None:
    written = predict(class_folders / "cat" / "0.png", NO_COLOR=no_color)
    assert ("\x1b[" in written) is (not no_color)


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_honoured_by_describe(no_color: str, on_terminal: OnTerminal) -> None:
    assert ("\x1b[" in on_terminal("describe", "toy", NO_COLOR=no_color)) is (not no_color)


@pytest.mark.parametrize(("text", "width"), [("", 0), ("dog", 3), ("猫", 2), ("cafe\u0301", 4), ("ﾈｺ", 2)])
def test_a_chinese_letter_takes_two_columns_and_an_accent_none(text: str, width: int) -> None:
    assert columns(text) == width
    assert columns(padded(text, 9)) == 9


@pytest.mark.parametrize(("text", "short"), [("abcde", "abcde"), ("abcdef", "abcd…"), ("猫猫猫", "猫猫…")])
def test_long_text_is_cut_to_its_columns(text: str, short: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verydeep.cli.terminal.can_print", lambda text: True)
    assert shortened(text, 5) == short
    monkeypatch.setattr("verydeep.cli.terminal.can_print", lambda text: False)
    assert columns(shortened(text, 5)) <= 5
    assert shortened(text, 5).endswith("...") is (text != short)
