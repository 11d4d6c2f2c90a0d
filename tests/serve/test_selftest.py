"""`verydeep serve --selftest`: a model of every task passes, and one that answers wrongly does not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verydeep.serve import selftest

Run = Callable[..., Any]
OPTIONS = ("--engine", "reference", "--threads", "1")


@pytest.fixture(params=["classify", "localize", "segment", "embed"])
def model(
    request: pytest.FixtureRequest, make_localizer: Callable[..., Path], make_toy: Callable[..., Path], tmp_path: Path
) -> Path:
    """One of each task."""
    path = tmp_path / "model.safetensors"
    if request.param == "localize":
        return make_localizer(path, None)
    if request.param == "segment":
        return make_toy(path, ("sky", "road", "car"), head="segnet", batch_norm=True)
    return make_toy(path, head="embedding", dimensions=6) if request.param == "embed" else make_toy(path)


@pytest.mark.slow
def test_a_model_of_every_task_passes(run: Run, model: Path) -> None:
    done = run("serve", "--selftest", "--model", model, *OPTIONS)
    assert done.code == 0, done.out + done.err
    lines = done.out.splitlines()
    assert len(lines) == 10
    assert all(line.startswith("passed  ") for line in lines)
    assert lines[1].startswith("passed  a photo gets the answer of `verydeep predict`")


@pytest.mark.slow
def test_a_service_that_answers_wrongly_fails(run: Run, toy_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = {"predictions": [{"label": "cat", "probability": 2.0}]}
    monkeypatch.setattr(selftest, "expected_of", lambda model, settings: lambda photo: wrong)
    done = run("serve", "--selftest", "--model", toy_model, *OPTIONS)
    assert done.code == 1
    assert [line.partition("  ")[0] for line in done.out.splitlines()].count("FAILED") == 1
