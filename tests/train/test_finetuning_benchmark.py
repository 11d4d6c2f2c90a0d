"""benchmarks/finetuning.py: what it trains, what it compares, and its rows."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finetuning
import numpy as np
import pytest
import tables

from verydeep.evaluate.metrics import paired_bootstrap
from verydeep.evaluate.results import model_label
from verydeep.recipes import load_recipe
from verydeep.train.run import Run


@pytest.fixture
def measure(
    photos: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[tables.Row]]:
    """A function () -> the rows of the benchmark, made small, of runs in a folder `runs`."""
    quick = load_recipe("finetune").with_fields({"epochs": 3, "views": 2, "batch_size": 16})
    monkeypatch.setattr(finetuning, "load_recipe", lambda name: quick)
    monkeypatch.setattr(finetuning, "MODEL", str(toy_model))
    monkeypatch.setattr(finetuning.machine, "cores", lambda: 1)
    monkeypatch.setattr(finetuning, "ALL_LAYERS", finetuning.ALL_LAYERS | {"epochs": 1})
    monkeypatch.setattr(finetuning, "RESULTS", tmp_path / "finetuning.csv")
    arguments = ["finetuning.py", "--data", str(photos), "--runs", str(tmp_path / "runs"), "--seeds", "2"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--folds", "2"])

    def rows() -> list[tables.Row]:
        finetuning.RESULTS.unlink(missing_ok=True)
        finetuning.main()
        return tables.read(finetuning.RESULTS)

    return rows


def test_the_start_is_compared_with_none_by_the_same_epochs_and_photo_by_photo(
    measure: Callable[[], list[tables.Row]], toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = measure()
    told = [row["protocol"].partition(";")[0] for row in rows]
    assert told == [
        "top-1, all layers of toy, 1 epochs",
        "top-1, from scratch, 1 epochs",
        "top-1, head of toy, 3 epochs",
        "top-1 of all layers of toy, 1 epochs, less that from scratch, 1 epochs, paired",
        "top-1 of head of toy, 3 epochs, less that from scratch, 1 epochs, paired",
    ]
    label = model_label(toy_model)
    assert [row["model"] for row in rows] == [label, "-", label, label, label]
    assert {(row["dtype"], row["threads"], row["batch"], row["n"]) for row in rows} == {("float32", "1", "16", "60")}
    assert tables.latest(rows) == rows
    with_another_model = [row | {"model": "toy sha256:000000000000"} for row in rows if row["model"] != "-"]
    assert rows[1] in tables.latest([*rows, *with_another_model])
    shares = {}
    for kind in ("all-layers-of-toy", "from-scratch"):
        answers = [json.loads((tmp_path / "runs" / f"{kind}-{seed}.json").read_text())["right"] for seed in (0, 1)]
        assert list(answers[0]) == list(answers[1])
        shares[kind] = np.mean([list(one.values()) for one in answers], axis=0)
    more, (low, high) = paired_bootstrap(shares["from-scratch"], shares["all-layers-of-toy"])
    assert (rows[3]["value"], rows[3]["spread"]) == (f"{more:.4f}", f"{low:.4f}..{high:.4f}")
    trained = [path.relative_to(tmp_path / "runs") for path in (tmp_path / "runs").rglob("model.safetensors")]
    assert {len(path.parts) for path in trained} == {4}, "a model of each fold, and none of all photos"
    assert len(trained) == 3 * 2 * 2


def test_run_again_it_goes_on_where_it_was_stopped(
    measure: Callable[[], list[tables.Row]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = [(row["value"], row["spread"]) for row in measure()]
    (tmp_path / "runs" / "from-scratch-1.json").unlink()
    asked: list[str] = []
    ask = finetuning.ask_folds
    monkeypatch.setattr(finetuning, "create_run", None)  # every run is there

    def noting(run: Run, *others: Any) -> Any:
        asked.append(run.folder.name)
        return ask(run, *others)

    monkeypatch.setattr(finetuning, "ask_folds", noting)
    assert [(row["value"], row["spread"]) for row in measure()] == figures
    assert asked == ["from-scratch-1"]
