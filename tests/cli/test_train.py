"""`verydeep train`: from a folder of photos to a model by the command line, stopped half-way and gone on with."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from verydeep import machine
from verydeep.cli.train import _set_threads
from verydeep.data.loader import dead_process_as_training_error
from verydeep.train import loop
from verydeep.train.recipe import Recipe
from verydeep.train.run import open_run
from verydeep.weights import read_info, read_model

Run = Callable[..., Any]
SETTINGS = (
    "configuration=toy", "input_size=16", "test_resize=18", "test_crop=16", "batch_size=8", "epochs=2",
    "learning_rate=0.1", "ema_decay=0.5", "cutmix=0", "precision=float32", "seed=3",
)  # fmt: skip
QUICK = tuple(word for setting in SETTINGS for word in ("--set", setting))


@pytest.fixture
def photos(make_photos: Callable[..., Path], tmp_path: Path) -> Path:
    return make_photos(tmp_path / "photos", each=15)


@pytest.mark.whole_report
def test_a_folder_of_photos_becomes_a_model_that_predicts_and_evaluates(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run(
        "train",
        photos,
        *QUICK,
        "--set",
        "epochs=5",
        "--out",
        tmp_path / "run",
        "--source",
        "own photos",
        "--licence",
        "CC0-1.0",
    )
    assert done.code == 0
    value, folder = done.out.splitlines()
    assert re.match(r"top-1 100\.0% \(95 % interval 61\.0% to 100\.0%, n = 6; centre crop 16", value)  # Wilson's
    assert folder == f"model: {tmp_path / 'run' / 'model.safetensors'}"
    info = read_info(tmp_path / "run")
    assert info.classes == ("blue", "red")
    assert (info.origin["source"], info.origin["licence"]) == ("own photos", "CC0-1.0")
    assert info.origin["command"].startswith("verydeep train ")
    assert "| licence | CC0-1.0 |" in (tmp_path / "run" / "README.md").read_text()
    predicted = run("predict", photos / "red", "--model", tmp_path / "run", "--csv").out
    assert predicted.count(",red,") >= 14
    evaluated = json.loads(run("evaluate", tmp_path / "run", photos, "--json").out)
    assert evaluated["n"] == 6  # those that training drew to validate on


def test_what_is_printed_says_what_is_trained_how_it_goes_and_what_to_do_next(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    (photos / "red" / "phone.heic").touch()
    done = run("train", photos, *QUICK, "--out", tmp_path / "run")
    others, first, second, *epochs, unsure, report, use = done.err.splitlines()
    assert others.startswith("passed over, since a photo is a .jpg, .jpeg, .png or .webp: 1 .heic. Convert ")
    assert first == "24 photos to train on, of 2 classes: blue 12, red 12; 6 to validate on"
    assert second == "toy-bn-gap-0.625x at 16 pixels, 2 epochs; cpu, float32, batch 8"
    assert re.fullmatch(
        r"epoch 1/2: validation top-1 [\d.]+%, loss [\d.]+; training loss [\d.]+, \d+ photos/s, .* left", epochs[0]
    )
    assert re.fullmatch(r"epoch 2/2: .* photos/s", epochs[1])
    assert len(epochs) == 2
    assert unsure.endswith(
        "photos to validate on, 6; expected, 50 or more. "
        "Add photos, or train with `--folds 5`, which validates on every photo."
    )
    assert report == f"how it went, and how good it is: {tmp_path / 'run' / 'report.html'}"
    assert use == f"use it: verydeep predict PHOTO --model {tmp_path / 'run'}"


def test_json_is_the_validation_of_the_model_as_it_is_written(run: Run, photos: Path, tmp_path: Path) -> None:
    report = json.loads(run("train", photos, *QUICK, "--out", tmp_path / "run", "--json").out)
    origin = read_info(tmp_path / "run").origin
    assert report["top1"] == origin["validation"]["top1"]
    assert report["n"] == origin["validation"]["n"] == 6
    assert len(report["photos"]) == 6


def test_the_folder_of_the_run_is_named_after_photos_and_recipe(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert (
        run("train", "photos", *QUICK, "--recipe", "small", "--set", "train_scales=16,20", "--set", "epochs=1").code
        == 0
    )
    assert open_run(Path("trained/photos-small")).data == photos


def test_a_run_below_its_own_photos_is_no_class_of_them(
    run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    short = (*QUICK, "--set", "epochs=1")
    assert run("train", ".", *short).code == 0
    assert run("train", "--resume", "trained/photos-modern").code == 0
    assert run("train", ".", *short, "--out", "again").code == 0
    assert read_info(Path("again")).classes == ("blue", "red")
    assert json.loads(run("evaluate", "trained/photos-modern", ".", "--json").out)["n"] == 6


def test_show_recipe_prints_every_field_as_set_and_does_nothing(run: Run, tmp_path: Path) -> None:
    arguments = ("--recipe", "paper", "--set", "epochs=3", "--set", "train_scales=none", "--set", "flip=no")
    fields = json.loads(run("train", "--show-recipe", *arguments).out)
    recipe = Recipe.from_dict(fields)
    assert (recipe.configuration, recipe.epochs, recipe.train_scales, recipe.flip) == ("D", 3, None, False)


def test_the_recipe_of_a_run_can_be_shown(run: Run, photos: Path, tmp_path: Path) -> None:
    run("train", photos, *QUICK, "--out", tmp_path / "run")
    shown = json.loads(run("train", "--resume", tmp_path / "run", "--show-recipe").out)
    assert shown == json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]


def test_help_shows_examples_and_every_option(run: Run) -> None:
    text = run("train", "--help").out
    assert "verydeep train --resume" in text
    for option in ("--recipe", "--out", "--resume", "--set", "--show-recipe", "--device", "--licence", "--json"):
        assert option in text


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("epochs", "--set epochs is not FIELD=VALUE"),
        ("epoch=3", "a recipe has no field epoch"),
        ("epochs=three", "epochs=three is not a whole number"),
        ("epochs=2.5", "epochs=2.5 is not a whole number"),
        ("epochs=0", "epochs is 0; expected 1 to"),
        ("batch_size=-1", "batch_size is -1; expected 1 to"),
        ("learning_rate=nan", "learning_rate is nan; expected 0 to"),
        ("flip=maybe", "flip=maybe is not true or false"),
        ("train_areas=1", "train_areas=1 is not 2 values separated by commas or none"),
        ("train_areas=0.9,0.1", "train_areas is (0.9, 0.1); expected two growing shares"),
        ("pixel_std=1,nan,1", "pixel_std is nan"),
        ("seed=-1", "seed is -1; expected 0 to"),
        ("schedule=linear", "schedule=linear is not cosine or plateau or constant"),
        ("initialization=zero", "initialization=zero is not he or identity or glorot or paper"),
        ("configuration=Z", "no configuration 'Z'; there are A, A-LRN"),
        ("head=ears", "is not fc or gap or conv"),
        ("width=0", "width is 0.0; expected a number above 0"),
        ("input_size=8", "too small for configuration A"),
        ("test_resize=1000000", "test_resize is 1000000; expected 1 to 4096"),
        ("test_crop=500", "test_crop is 500; expected 1 to 182"),
        ("input_size=112", "input_size is 112; expected a multiple of 32: pools leave out odd rows"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_is_made(
    setting: str, message: str, run: Run, photos: Path, tmp_path: Path
) -> None:
    done = run("train", photos, "--set", setting, "--out", tmp_path / "run")
    assert (done.code, done.out) == (2, "")
    error, hint = done.err.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")
    assert not (tmp_path / "run").exists()


def test_a_momentum_of_zero_trains(run: Run, photos: Path, tmp_path: Path) -> None:
    """Nesterov's momentum, the default of the recipe, is nothing without momentum; torch refuses it."""
    assert run("train", photos, *QUICK, "--set", "momentum=0", "--set", "epochs=1", "--out", tmp_path / "run").code == 0


def test_photos_that_have_moved_are_named_when_the_run_goes_on(run: Run, photos: Path, tmp_path: Path) -> None:
    run("train", photos, *QUICK, "--out", tmp_path / "run")
    moved = photos.rename(tmp_path / "elsewhere")
    refused = run("train", "--resume", tmp_path / "run")
    assert refused.code == 3
    assert f"the photos of this run were in {photos}" in refused.err
    assert f"hint: Say where they are: verydeep train DATA --resume {tmp_path / 'run'}" in refused.err
    assert run("train", moved, "--resume", tmp_path / "run").code == 0


def test_a_run_is_gone_on_with_from_any_folder(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("train", "photos", *QUICK, "--out", "run")
    monkeypatch.chdir(photos)
    assert run("train", "--resume", "../run").code == 0


def test_a_run_does_not_go_on_with_photos_of_other_classes(run: Run, photos: Path, tmp_path: Path) -> None:
    run("train", photos, *QUICK, "--out", tmp_path / "run")
    (photos / "red").rename(photos / "crimson")
    done = run("train", "--resume", tmp_path / "run")
    assert done.code == 3
    assert "other classes than the photos have now: crimson, red" in done.err


def write_table(path: Path, photos: Path, prefix: str) -> None:
    lines = [f"{prefix}{photo.relative_to(photos)},{photo.parent.name}" for photo in sorted(photos.glob("*/*.png"))]
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["file,label", *lines]) + "\n")


def write_flags(photos: Path) -> None:
    for photo in photos.glob("*/*.png"):
        document = {"version": "5.0.1", "flags": {photo.parent.name: True}, "shapes": [], "imagePath": photo.name}
        photo.with_suffix(".json").write_text(json.dumps(document | {"imageData": None}))


@pytest.mark.usefixtures("all_formats")
def test_what_a_run_was_begun_with_is_what_it_goes_on_with(run: Run, photos: Path, tmp_path: Path) -> None:
    """Whatever else lies beside the photos by then."""
    write_flags(photos)
    done = run("train", photos, *QUICK, "--out", tmp_path / "run")
    assert done.code == 0
    assert done.err.splitlines()[0].startswith("reads labelme: 30 Labelme files; there are also ")
    assert open_run(tmp_path / "run").format == "labelme"
    write_table(photos / "labels.csv", photos, "")
    done = run("train", "--resume", tmp_path / "run")
    assert done.code == 0
    assert done.err.splitlines()[0].startswith("reads labelme: 30 Labelme files; there are also ")
    folders = run("train", photos, *QUICK, "--format", "folders", "--out", tmp_path / "other")
    assert folders.code == 0
    assert "reads" not in folders.err
    evaluated = json.loads(run("evaluate", tmp_path / "run", photos, "--format", "labelme", "--json").out)
    assert evaluated["n"] == 6  # those that training drew to validate on
    one, other = (read_model(tmp_path / name)[1] for name in ("run", "other"))
    assert all(np.array_equal(one[name], other[name]) for name in one)


@pytest.mark.usefixtures("all_formats")
def test_a_table_may_name_photos_elsewhere_within_the_root(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = tmp_path / "lists" / "labels.csv"
    write_table(table, photos, "../photos/")
    refused = run("train", table, *QUICK, "--out", tmp_path / "run")
    assert refused.code == 3
    assert "is outside" in refused.err
    assert "hint: Name the folder that holds both, photos and annotations: --root FOLDER" in refused.err
    assert not (tmp_path / "run").exists()
    monkeypatch.chdir(tmp_path)
    assert run("train", "lists/labels.csv", *QUICK, "--root", ".").code == 0
    made = open_run(tmp_path / "trained" / "labels-modern")
    assert (made.data, made.format, made.root) == (table, "table", tmp_path)
    monkeypatch.chdir(photos)
    assert run("train", "--resume", made.folder).code == 0
    (tmp_path / "moved").mkdir()
    for name in ("lists", "photos"):
        (tmp_path / name).rename(tmp_path / "moved" / name)
    moved = tmp_path / "moved" / "lists" / "labels.csv"
    assert "the photos of this run were in" in run("train", "--resume", made.folder).err
    assert run("train", moved, "--root", tmp_path / "moved", "--resume", made.folder).code == 0
    evaluate = ("evaluate", made.folder, moved, "--root", tmp_path / "moved", "--json")
    assert json.loads(run(*evaluate).out)["n"] == 6


def test_a_run_of_an_older_version_goes_on_with_class_folders(run: Run, photos: Path, tmp_path: Path) -> None:
    run("train", photos, *QUICK, "--out", tmp_path / "run")
    path = tmp_path / "run" / "recipe.json"
    content = json.loads(path.read_text())
    assert (content.pop("format"), content.pop("root")) == ("folders", None)
    path.write_text(json.dumps(content))
    write_flags(photos)
    assert run("train", "--resume", tmp_path / "run").code == 0


@pytest.mark.slow
def test_a_plan_is_measured_and_leaves_nothing_behind(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run("train", photos, *QUICK, "--plan", "--json", "--out", tmp_path / "run")
    assert done.code == 0
    plan = json.loads(done.out)
    assert plan["photos"] == 24
    (pace,) = plan["paces"]
    assert plan["total_seconds"] == pytest.approx(2 * 24 / pace["photos_per_second"] + 3 * pace["validation_seconds"])
    assert 0 <= pace["waiting_share"] < 1
    network = ("toy", "--batch-norm", "--head", "gap", "--width", 0.5, "--classes", 2, "--size", 16)
    accounts = json.loads(run("describe", *network, "--json").out)
    assert plan["total_macs"] == 2 * 3 * 24 * sum(layer["macs"] for layer in accounts["layers"])
    assert not (tmp_path / "run").exists()
    lines = run("train", photos, *QUICK, "--plan").out.splitlines()
    assert [line.split("  ")[0] for line in lines] == [
        "photos",
        "at 16 px",
        "in all",
        "memory",
        "disk",
    ]


@pytest.mark.slow
def test_as_many_epochs_are_trained_as_the_minutes_hold(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run("train", photos, *QUICK, "--minutes", "0.1", "--out", tmp_path / "run", "--json")
    assert done.code == 0
    made = open_run(tmp_path / "run")
    assert re.search(rf"^{made.recipe.epochs} epochs fit into 0\.1 minutes$", done.err, re.MULTILINE)
    assert len(made.metrics()) == made.recipe.epochs > 2
    assert made.recipe.warmup_epochs <= 0.1 * made.recipe.epochs
    done = run("train", photos, *QUICK, "--minutes", "0.001", "--out", tmp_path / "other")
    assert done.code == 2
    assert re.search(r"one epoch takes about .* seconds here, .* seconds are left for it", done.err)
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_learning_rate_is_found_below_the_one_that_blows_up(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run("train", photos, *QUICK, "--find-lr", "--json", "--out", tmp_path / "run")
    assert done.code == 0
    search = json.loads(done.out)
    assert search["rates"] == sorted(search["rates"])
    assert len(search["rates"]) == len(search["losses"])
    lowest = search["rates"][int(np.argmin(search["losses"]))]
    assert lowest / 5 < search["suggestion"] < lowest / 3
    assert not (tmp_path / "run").exists()
    *rows, advice = run("train", photos, *QUICK, "--find-lr").out.splitlines()
    assert rows[0] == "learning rate    loss"
    assert re.fullmatch(r"take --set learning_rate=[\d.e-]+", advice)


def test_a_log_that_there_is_not_is_told_before_a_folder_is_made(run: Run, photos: Path, tmp_path: Path) -> None:
    done = run("train", photos, *QUICK, "--log-to", "diary", "--out", tmp_path / "run")
    assert done.code == 2
    assert "no log 'diary'; there are tensorboard, wandb, mlflow." in done.err
    assert not (tmp_path / "run").exists()


def test_a_library_of_the_report_is_missed_before_the_training(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find_spec(name))
    done = run("train", photos, *QUICK, "--out", tmp_path / "run")
    assert done.code == 1
    assert "training needs matplotlib, which is not installed." in done.err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("asked", "expected"), [(None, 2), (7, 7)])
def test_a_container_with_a_quota_gets_a_thread_for_each_core_of_it_unless_told(
    asked: int | None, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen: list[int] = []
    monkeypatch.setattr(machine, "cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)  # torch sees the machine's
    monkeypatch.setattr(torch, "set_num_threads", chosen.append)
    _set_threads(asked)
    assert chosen == [expected]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--plan", "--find-lr"), "--plan and --find-lr were given; expected one of them"),
        (("--plan", "--show-recipe"), "--show-recipe and --plan were given; expected one of them"),
        (("--find-lr", "--minutes", "3"), "--find-lr and --minutes were given; expected one of them"),
        (("--show-recipe", "--minutes", "3"), "--show-recipe and --minutes were given; expected one of them"),
    ],
)
def test_two_things_that_are_asked_for_at_once_are_refused(
    options: tuple[str, ...], message: str, run: Run, photos: Path, tmp_path: Path
) -> None:
    done = run("train", photos, *QUICK, *options, "--out", tmp_path / "run")
    assert (done.code, done.out) == (2, "")
    error, hint = done.err.splitlines()
    assert error.startswith(f"error: {message}")
    assert hint.startswith("hint: Run ")


@pytest.mark.slow
def test_a_plan_within_minutes_is_that_of_the_epochs_which_fit(run: Run, photos: Path) -> None:
    done = run("train", photos, *QUICK, "--plan", "--minutes", "0.2", "--json")
    plan = json.loads(done.out)
    assert f"{len(plan['sizes'])} epochs fit into 0.2 minutes" in done.err
    assert len(plan["sizes"]) > 2  # the recipe's
    assert plan["total_seconds"] < 12


@pytest.mark.parametrize(
    "option", [("--minutes", "3"), ("--plan",), ("--find-lr",), ("--threads", "1"), ("--format", "table")]
)
def test_what_was_chosen_at_the_start_of_a_run_cannot_be_changed_by_resuming(
    option: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    done = run("train", "--resume", tmp_path, *option)
    assert done.code == 2
    assert "goes on as it was begun" in done.err


def test_a_loading_process_that_dies_is_told_with_the_command_to_go_on(
    run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        with dead_process_as_training_error():
            raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")  # as torch says it

    monkeypatch.setattr(loop, "train", die)
    done = run("train", photos, *QUICK, "--out", tmp_path / "run")
    assert done.code == 1
    error, hint = done.err.splitlines()
    assert error.startswith("error: a process that loads photos has ended")
    assert "--shm-size" in hint
    assert hint.endswith(f" Then go on with: verydeep train --resume {tmp_path / 'run'}")


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT to send")
def test_a_run_stopped_by_ctrl_c_goes_on_to_the_same_weights_as_one_that_was_not(
    run: Run, photos: Path, tmp_path: Path
) -> None:
    """Stopped in a process of its own, half-way between two epochs; the other run is never stopped."""
    arguments = (*QUICK, "--set", "epochs=40")
    command = [sys.executable, "-m", "verydeep", "train", photos, *arguments, "--out", tmp_path / "stopped"]
    training = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and len(metrics.read_text().splitlines()) >= 3):
        assert time.monotonic() < deadline, "no three epochs in a minute"
        assert training.poll() is None, training.communicate()[1]
        time.sleep(0.01)
    training.send_signal(signal.SIGINT)
    out, err = training.communicate(timeout=60)
    assert (training.returncode, out) == (130, "")
    *_, error, hint = err.splitlines()
    place = r"in epoch \d+ of 40, step \d+ of it"
    assert re.fullmatch(rf"error: stopped by SIGINT {place}; all of it is saved in {tmp_path / 'stopped'}\.", error)
    assert hint == f"hint: Go on with: verydeep train --resume {tmp_path / 'stopped'}"
    assert "Traceback" not in err
    assert not list(tmp_path.glob("stopped/**/.*"))  # no temporary file is left
    assert not (tmp_path / "stopped" / "model.safetensors").exists()

    assert run("train", "--resume", tmp_path / "stopped").code == 0
    assert run("train", photos, *arguments, "--out", tmp_path / "whole").code == 0
    (_, resumed), (_, whole) = read_model(tmp_path / "stopped"), read_model(tmp_path / "whole")
    for name, array in whole.items():
        assert np.array_equal(array, resumed[name]), name
    epochs = [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()]
    assert epochs == list(range(1, 41))
