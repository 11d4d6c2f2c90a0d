"""benchmarks/localization.py writes each figure down once, whatever fails: toys in place of its trainings."""

import csv
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import localization
import numpy as np
import pytest
from localization import BOX, CLASS_BOXES, FUSED, KINDS, PAIRS, RECIPE, SETS, WAYS

from verydeep.data.datasets import open_splits
from verydeep.evaluate.localization import evaluate_localization
from verydeep.evaluate.metrics import bootstrap_interval, paired_bootstrap
from verydeep.evaluate.results import model_label
from verydeep.runtime import open_model
from verydeep.train.recipe import Recipe
from verydeep.train.start import begin_from, open_start
from verydeep.weights import ModelInfo, read_model, write_model
from verydeep.weights.files import MODEL_FILE

EACH_SET = 2 + 4 * (len(KINDS) * len(WAYS) + 1) + len(PAIRS)  # the fixed box has two figures, what is asked has four


@pytest.fixture
def failing() -> set[str]:
    """The folders of the runs that fail."""
    return set()


@pytest.fixture
def measure(
    make_boxed_photos: Callable[..., Path],
    make_localizer: Callable[..., Path],
    failing: set[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., int]:
    """A function (*arguments) -> the benchmark's exit status, on two sets of photos."""
    for name in ("things", "others"):
        make_boxed_photos(tmp_path / "data" / name, train=6, val=8)
    monkeypatch.setattr(localization, "SETS", {"things": {}, "others": {"epochs": "2"}})
    monkeypatch.setattr(localization, "RESULTS", tmp_path / "results.csv")

    def train(_: object, folder: Path, __: Path, fields: Mapping[str, str]) -> None:
        if folder.name in failing:
            raise subprocess.CalledProcessError(3, "train")
        if not folder.exists():
            folder.mkdir(parents=True)
            middle = 0.4 + 0.1 * int(fields["seed"]) + 0.05 * ("box_loss" in fields)
            network = {"head": "fc", "width": 0.0625, "classes": 2, "boxes": fields.get("boxes", "single")}
            make_localizer(folder / MODEL_FILE, (middle, 0.5, 0.6, 0.6), **network)
            info, weights = read_model(folder)
            write_model(folder / MODEL_FILE, ModelInfo(info.architecture, ("blue", "red"), info.preprocessing), weights)

    monkeypatch.setattr(localization, "train", train)
    folders = ("--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs"))
    return lambda *arguments: localization.main([*folders, *arguments])


def rows_of(tmp_path: Path) -> list[dict[str, str]]:
    with (tmp_path / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def ious(tmp_path: Path, kind: str, seed: int) -> np.ndarray:
    photos = open_splits(tmp_path / "data" / "things", 0, "table", task="localize").validation
    model = open_model(tmp_path / "runs" / f"things-{kind.replace(' ', '-')}-{seed}")
    return evaluate_localization([model], photos).own_ious


def test_each_figure_has_a_row_that_says_what_was_set(measure: Callable[..., int], tmp_path: Path) -> None:
    assert measure() == 0
    rows = rows_of(tmp_path)
    assert len(rows) == 2 * EACH_SET
    found = {row["protocol"]: row for row in rows}
    assert len(found) == len(rows)
    own = ious(tmp_path, RECIPE, 0)
    start = f"{BOX}; things, seed 0, {RECIPE}, center: "
    (row,) = (row for protocol, row in found.items() if protocol.startswith(start))
    low, high = bootstrap_interval(own > 0.5)
    assert (row["value"], row["spread"]) == (f"{(own > 0.5).mean():.4f}", f"{low:.4f}..{high:.4f}")
    assert row["model"] == model_label(tmp_path / "runs" / "things-as-the-recipe-is-0" / MODEL_FILE)
    told = "Euclidean loss (box_loss=euclidean, box_weight=25), center less that of as the recipe is, center; things, "
    (change,) = (row for protocol, row in found.items() if told in protocol)
    before, after = (ious(tmp_path, kind, 0) > 0.5 for kind in (RECIPE, "Euclidean loss"))
    assert float(change["value"]) == pytest.approx(paired_bootstrap(before, after)[0], abs=1e-4)
    (fused, *_) = (row for protocol, row in found.items() if f"things, seed 0, {FUSED}, dense: " in protocol)
    assert fused["model"].count("sha256:") == 2
    assert "dense view" in fused["protocol"]
    assert "shorter side 36, " in fused["protocol"]
    assert "2 models fused" in fused["protocol"]


def test_run_again_it_asks_no_model_and_writes_no_row(
    measure: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure("--sets", "things")
    asked: list[str] = []
    whole = localization.evaluate_localization

    def counted(opened: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(" + ".join(one.path.name for one in opened))
        return whole(opened, *arguments, **options)

    monkeypatch.setattr(localization, "evaluate_localization", counted)
    before = rows_of(tmp_path)
    assert measure("--sets", "things") == 0
    assert asked == []
    assert rows_of(tmp_path) == before
    changed = tmp_path / "runs" / "things-GIoU-loss-0"
    info, weights = read_model(changed)
    weights["fc8.bias"][-4] += 0.1
    write_model(changed / MODEL_FILE, info, weights)
    measure("--sets", "things")
    assert asked == ["things-GIoU-loss-0"] * len(WAYS)
    assert len(rows_of(tmp_path)) == len(before) + 4 * len(WAYS) + 1


def test_a_training_that_fails_leaves_the_others_and_is_told_at_the_end(
    measure: Callable[..., int], failing: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.add("things-a-box-for-each-class-0")
    assert measure() == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert told == f"error: things, {CLASS_BOXES}, seed 0: the training ended with exit status 3"
    rows = rows_of(tmp_path)
    assert len(rows) == 2 * EACH_SET - 4 * len(WAYS) - 4 - 2  # its figures, those of the fused ones, two differences
    assert sum("others (epochs=2)" in row["protocol"] for row in rows) == EACH_SET
    failing.clear()
    assert measure() == 0
    assert len(rows_of(tmp_path)) == 2 * EACH_SET


def test_several_seeds_are_averaged_photo_by_photo(measure: Callable[..., int], tmp_path: Path) -> None:
    assert measure("--sets", "things", "--seeds", "2") == 0
    named = f"mean IoU, the class told; things, mean of 2 seeds, {RECIPE}, center: "
    (row,) = (row for row in rows_of(tmp_path) if row["protocol"].startswith(named))
    one, other = (ious(tmp_path, RECIPE, seed) for seed in (0, 1))
    assert not np.array_equal(one, other)
    low, high = bootstrap_interval((one + other) / 2)
    assert (row["value"], row["spread"]) == (f"{np.mean([one, other]):.4f}", f"{low:.4f}..{high:.4f}")
    assert (row["n"], row["model"].count("sha256:")) == ("8", 2)


def test_what_is_not_there_is_refused(measure: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    for name, value, told in (("--sets", "birds", "there are things, others"), ("--seeds", "0", "expected 1 or more")):
        with pytest.raises(SystemExit) as raised:
            measure(name, value)
        assert raised.value.code == 2
        assert told in capsys.readouterr().err


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_takes_what_is_set(name: str, kind: str) -> None:
    from verydeep.recipes.localize import RECIPE as LOCALIZE

    fields = Recipe.parsed({**SETS[name], **KINDS[kind], "seed": "0"})
    begun = begin_from(LOCALIZE, open_start(localization.START)[1], fields)
    assert begun.task == "localize"
    assert {field: getattr(begun, field) for field in fields} == fields
