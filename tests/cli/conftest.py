"""The command line as a person meets it: arguments in; exit code, stdout and stderr out."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from verydeep.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command did."""

    code: int
    out: str
    err: str


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """A function (*arguments) -> Done that runs `verydeep *arguments` in this process."""

    def run_verydeep(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["verydeep", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        out, err = capsys.readouterr()
        return Done(int(exit_.value.code or 0), out, err)

    return run_verydeep
