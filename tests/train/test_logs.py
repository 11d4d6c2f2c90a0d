"""Logs beside the run's own record: each gets every row, and none can stop a training."""

import importlib.machinery
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from verydeep.errors import MissingExtraError, UsageError
from verydeep.train import logs
from verydeep.train.logs import open_logs
from verydeep.train.recipe import Recipe
from verydeep.train.run import Run, create_run


@pytest.fixture
def run(tmp_path) -> Run:
    return create_run(tmp_path / "flowers", Recipe(epochs=7), None, ("verydeep", "train"), {})


@pytest.fixture
def without_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)


def row(epoch: int, loss: float = 1.0) -> dict[str, float]:
    return {"epoch": epoch, "step": 10 * epoch, "loss": loss, "validation_top1": 0.5}


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **contents) -> ModuleType:
    """A library of that name, installed for one test."""
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(contents)
    monkeypatch.setitem(sys.modules, name, module)
    return module


def fake_wandb(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """wandb, which writes down what it is told."""
    calls: list[tuple] = []

    def init(**settings):
        calls.append(("init", settings))
        return SimpleNamespace(
            log=lambda values, step: calls.append(("log", values, step)), finish=lambda: calls.append(("finish",))
        )

    fake(monkeypatch, "wandb", init=init)
    return calls


def test_without_any_name_and_without_tensorboard_nothing_is_written(run, without_tensorboard):
    before = sorted(run.folder.rglob("*"))
    for names in (None, ()):
        with open_logs(names, run, 0) as log:
            log.row(row(1))
    assert sorted(run.folder.rglob("*")) == before


def test_an_unknown_name_is_refused_with_those_there_are(run):
    with (
        pytest.raises(UsageError, match="no log 'comet'; there are tensorboard, wandb, mlflow"),
        open_logs(("comet",), run, 0),
    ):
        pass


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_library_that_is_named_and_not_installed_is_refused_with_the_command_to_get_it(name, run, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=f"pip install {name}"), open_logs((name,), run, 0):
        pass


def test_a_log_that_fails_is_told_once_and_left_alone(run, without_tensorboard, monkeypatch):
    told: list[str] = []
    rows: list[float] = []

    class Failing:
        def row(self, row):
            rows.append(row["epoch"])
            raise OSError("the server\nis down")

        def close(self):
            raise OSError("still down")

    monkeypatch.setattr(logs, "_is_installed", lambda module: True)
    monkeypatch.setitem(logs.LOGS, "tensorboard", lambda run, first_step: Failing())
    calls = fake_wandb(monkeypatch)
    with open_logs(("wandb",), run, 0, told.append) as log:
        log.row(row(1))
        log.row(row(2))
    assert told == [r"tensorboard does not log this training: the server\nis down. The training goes on without it."]
    assert rows == [1]
    assert [call[2] for call in calls if call[0] == "log"] == [10, 20]  # the other log is not hurt


def test_a_log_that_cannot_be_opened_does_not_stop_the_training(run, without_tensorboard, monkeypatch, capsys):
    fake(monkeypatch, "wandb", init=lambda **settings: 1 / 0)
    with open_logs(("wandb",), run, 0) as log:
        log.row(row(1))
    assert capsys.readouterr().err.startswith("wandb does not log this training: division by zero")


def test_the_log_is_closed_when_the_training_is_interrupted(run, without_tensorboard, monkeypatch):
    calls = fake_wandb(monkeypatch)
    with pytest.raises(KeyboardInterrupt), open_logs(("wandb",), run, 0):
        raise KeyboardInterrupt
    assert calls[-1] == ("finish",)


@pytest.fixture
def no_account(without_tensorboard, tmp_path, monkeypatch):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))


def test_wandb_is_offline_in_the_run_s_folder_unless_the_user_has_an_account(run, no_account, monkeypatch):
    calls = fake_wandb(monkeypatch)
    with open_logs(("wandb",), run, 0) as log:
        log.row(row(1))
    (_, settings), logged, _ = calls
    assert settings["mode"] == "offline"
    assert Path(settings["dir"]) == run.folder / "training"
    assert (settings["name"], settings["group"], settings["config"]["epochs"]) == ("flowers", "flowers", 7)
    assert logged == ("log", row(1), 10)


@pytest.mark.parametrize("how", ["WANDB_MODE", "WANDB_API_KEY", "netrc", "netrc of another server"])
def test_wandb_does_as_its_user_has_set(how, run, no_account, monkeypatch, tmp_path):
    calls = fake_wandb(monkeypatch)
    if how.startswith("netrc"):
        (tmp_path / ".netrc").write_text("machine api.wandb.ai login user password secret\n")
        (tmp_path / ".netrc").chmod(0o600)
    else:
        monkeypatch.setenv(how, "online")
    if "another" in how:
        monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    with open_logs(("wandb",), run, 30):
        pass
    assert calls[0][1]["mode"] == ("offline" if "another" in how else None)
    assert calls[0][1]["name"] == "flowers from step 30"


@pytest.mark.parametrize("is_set", [False, True])
def test_mlflow_gets_recipe_and_rows_in_its_own_store_or_the_user_s(is_set, run, without_tensorboard, monkeypatch):
    calls: list[tuple] = []

    def record(name: str):
        return lambda *arguments, **named: calls.append((name, *arguments, *named.values()))

    names = ("set_tracking_uri", "set_experiment", "start_run", "log_params", "log_metrics", "end_run")
    fake(monkeypatch, "mlflow", **{name: record(name) for name in names})
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if is_set:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///mine.db")
    with open_logs(("mlflow",), run, 0) as log:
        log.row(row(1))
    own = ("set_tracking_uri", f"sqlite:///{(run.folder / 'training' / 'mlflow.db').as_posix()}")
    expected = [
        *([] if is_set else [own]),
        ("set_experiment", "verydeep"),
        ("start_run", "flowers"),
        ("log_params", run.recipe.to_dict()),
        ("log_metrics", row(1), 10),
        ("end_run",),
    ]
    assert calls == expected


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the libraries that TensorBoard's reader imports
def test_tensorboard_shows_every_column_and_nothing_of_a_lost_attempt(run):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with open_logs((), run, 0) as log:  # it is opened where it is installed
        for epoch in (1, 2, 3):
            log.row(row(epoch, loss=epoch))
    with open_logs(("tensorboard",), run, 14) as log:  # resumed in the second epoch
        for epoch in (2, 3):
            log.row(row(epoch, loss=10 * epoch))
    shown = EventAccumulator(str(run.folder / "training" / "tensorboard")).Reload()
    assert set(shown.Tags()["scalars"]) == set(row(1))
    assert [(event.step, event.value) for event in shown.Scalars("loss")] == [(10, 1.0), (20, 20.0), (30, 30.0)]
