"""`verydeep train --from`: a trained model is fine-tuned by the command line."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from verydeep.train.recipe import Recipe
from verydeep.train.run import open_run
from verydeep.weights import read_info

Run = Callable[..., Any]
QUICK = ("--set", "epochs=3", "--set", "batch_size=8", "--set", "precision=float32", "--set", "views=2")


@pytest.fixture
def photos(make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", each=15)


def test_a_model_is_fine_tuned_predicts_and_can_be_begun_from_again(
    run: Run, photos: Path, toy_model: Path, tmp_path: Path
) -> None:
    done = run("train", photos, "--from", toy_model, *QUICK, "--out", tmp_path / "run")
    assert done.code == 0
    began, title, network, stage, *_ = done.err.splitlines()
    assert re.fullmatch(
        r"begins from toy, toy-bn-gap, sha256 [0-9a-f]{12}: fc8 is new: 2 classes instead of 3; none was known", began
    )
    assert title.startswith("24 photos to train on")
    assert network == "toy-bn-gap at 32 pixels, 3 epochs; cpu, float32, batch 8"
    assert stage == "epochs 1 to 3: fc8 learns, from the features (gap) of 2 pictures of each photo"
    info = read_info(tmp_path / "run")
    assert (info.classes, info.origin["start"]["name"]) == (("blue", "red"), "toy")
    assert run("predict", photos / "red", "--model", tmp_path / "run", "--csv").out.count("\n") == 16
    again = run("train", photos, "--from", tmp_path / "run", *QUICK, "--out", tmp_path / "again")
    assert again.code == 0
    assert again.err.startswith("begins from run, toy-bn-gap, ")
    assert "its head is kept, for the classes are the same" in again.err


def test_a_run_goes_on_without_the_model_that_it_began_from(
    run: Run, photos: Path, toy_model: Path, tmp_path: Path
) -> None:
    model = shutil.copy(toy_model, tmp_path / "model.safetensors")
    assert run("train", photos, "--from", model, *QUICK, "--out", tmp_path / "run").code == 0
    Path(model).unlink()
    done = run("train", "--resume", tmp_path / "run")
    assert done.code == 0
    assert "begins from" not in done.err
    assert (run_of := open_run(tmp_path / "run")).start is not None
    assert run_of.start.name == tmp_path.name  # of the folder that the file lay in


def test_from_a_model_the_recipe_is_finetune_with_the_models_network(
    run: Run, photos: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = json.loads(run("train", "--show-recipe", "--from", toy_model, "--set", "trained=last-block").out)
    recipe = Recipe.from_dict(fields)
    assert (recipe.configuration, recipe.test_resize, recipe.test_crop) == ("toy", 36, 32)
    assert (recipe.trained, recipe.initialization) == ("last-block", "paper")
    other = json.loads(run("train", "--show-recipe", "--from", toy_model, "--recipe", "modern").out)
    assert (other["configuration"], other["whiten"], other["trained"]) == ("toy", False, "all")
    monkeypatch.chdir(tmp_path)
    assert run("train", "photos", "--from", toy_model, *QUICK).code == 0
    assert open_run(Path("trained/photos-finetune")).recipe.trained == "head"


@pytest.fixture
def train_here(run: Run, photos: Path, toy_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`verydeep train photos ...` in the folder of the photos; MODEL stands for the toy model."""
    monkeypatch.chdir(tmp_path)
    return lambda *options: run("train", "photos", *(toy_model if part == "MODEL" else part for part in options))


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--from", "vgg17"), 3, "there is no model 'vgg17'"),
        (("--from", "MODEL", "--set", "width=0.5"), 2, "width is 0.5; the model that the run begins from has 1.0"),
        (("--from", "MODEL", "--set", "trained=tail"), 2, "trained=tail is not all or last-block or head"),
        (("--recipe", "finetune"), 2, "trained is head, and no model to begin from was given"),
        (("--set", "head_epochs=2"), 2, "head_epochs is 2, and no model to begin from was given"),
        (("--from", "photos/red/0.png"), 3, "0.png is not a model file of verydeep"),
    ],
)
def test_what_cannot_be_begun_from_is_refused_before_anything_is_made(
    options: tuple[str, ...], code: int, message: str, train_here: Run, tmp_path: Path
) -> None:
    done = train_here(*options, "--out", "run")
    assert (done.code, done.out) == (code, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")
    assert not (tmp_path / "run").exists()


def test_a_run_that_goes_on_has_its_model_already(run: Run, toy_model: Path, tmp_path: Path) -> None:
    done = run("train", "--resume", tmp_path, "--from", toy_model)
    assert done.code == 2
    assert "goes on as it was begun" in done.err


@pytest.mark.slow
def test_a_plan_counts_the_features_and_the_epochs_on_them(run: Run, photos: Path, toy_model: Path) -> None:
    done = run("train", photos, "--from", toy_model, *QUICK, "--plan", "--json")
    assert done.code == 0
    plan = json.loads(done.out)
    (views,) = plan["views"]
    assert (views["layer"], views["views"], views["epochs"], plan["sizes"]) == ("gap", 2, 3, [])
    spent = views["making_seconds"] + 3 * views["epoch_seconds"] + plan["paces"][0]["validation_seconds"]
    assert plan["total_seconds"] == pytest.approx(spent)
    lines = run("train", photos, "--from", toy_model, *QUICK, "--plan").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["photos", "from gap", "in all", "memory", "disk"]
    both = ("--set", "trained=all", "--set", "head_epochs=1", "--set", "learning_rate=0.01")
    lines = run("train", photos, "--from", toy_model, *QUICK, *both, "--plan").out.splitlines()
    assert [line.split("  ")[0] for line in lines][:3] == ["photos", "from gap", "at 32 px"]


@pytest.mark.slow
def test_within_minutes_the_stage_of_the_head_is_kept_and_the_other_is_fitted(
    run: Run, photos: Path, toy_model: Path, tmp_path: Path
) -> None:
    both = ("--set", "trained=all", "--set", "head_epochs=1", "--set", "learning_rate=0.01")
    done = run("train", photos, "--from", toy_model, *QUICK, *both, "--minutes", "0.1", "--out", tmp_path / "run")
    assert done.code == 0
    recipe = open_run(tmp_path / "run").recipe
    assert recipe.head_epochs == 1
    assert recipe.epochs > 3
    done = run("train", photos, "--from", toy_model, *QUICK, "--minutes", "5", "--out", tmp_path / "head")
    assert open_run(tmp_path / "head").recipe.epochs == 3  # more of the same features teach nothing more
    done = run("train", photos, "--from", toy_model, *QUICK, "--minutes", "0.0001", "--out", tmp_path / "other")
    assert done.code == 2
    assert "seconds are left for them" in done.err


def test_folds_tell_the_share_of_each_and_name_the_photos_that_were_missed(
    run: Run, photos: Path, toy_model: Path, tmp_path: Path
) -> None:
    shutil.copy(photos / "red" / "3.png", photos / "blue" / "stray.png")
    options = ("--from", toy_model, *QUICK, "--set", "epochs=20", "--folds", "3")
    done = run("train", photos, *options, "--out", tmp_path / "run")
    assert done.code == 0
    value, model, shares = done.out.splitlines()
    assert re.match(r"top-1 \d+\.\d% .* n = 31; .* 3 folds, each photo by a model that was not trained on it", value)
    assert model == f"model: {tmp_path / 'run' / 'model.safetensors'}"
    assert re.fullmatch(r"of each fold: ([\d.]+%, ){2}[\d.]+%; standard deviation [\d.]+ points", shares)
    assert re.search(r"^  blue/stray\.png taken for red, \d+% sure$", done.err, re.MULTILINE)
    answers = json.loads(run("train", "--resume", tmp_path / "run", "--json").out)
    assert len(answers["folds"]) == 3
    assert sum(fold["successes"] for fold in answers["folds"]) == answers["top1"]["successes"]
    assert answers["n"] == len(answers["photos"]) == 31


@pytest.mark.parametrize("option", [("--plan",), ("--find-lr",), ("--minutes", "3")])
def test_folds_do_not_go_with_what_is_about_a_single_training(
    option: tuple[str, ...], run: Run, photos: Path, tmp_path: Path
) -> None:
    done = run("train", photos, "--folds", "3", *option, "--out", tmp_path / "run")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: --folds and {option[0]} were given; expected one of them")
    assert not (tmp_path / "run").exists()
