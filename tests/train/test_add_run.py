"""A finished training as a row of benchmarks/results/training.csv."""

from collections.abc import Callable
from pathlib import Path

import add_run
import pytest
import tables
from trainings import go

from verydeep.train.run import Run


def test_a_training_becomes_a_row_like_those_that_are_there(start: Callable[..., Run], tmp_path: Path) -> None:
    report = go(run := start(tmp_path / "run", epochs=2))
    row = add_run.row(run.folder)
    known = tables.read(add_run.RESULTS)
    assert list(row) == list(known[0])
    assert all(float(value) <= 1 for one in known for value in (one["value"], *one["curve"].split()))
    assert row["value"] == report.score
    assert row["protocol"] == f"top-1: {report.protocol}"
    assert (row["recipe"], row["settings"], row["epochs"], row["n"]) == ("modern", "", 2, report.n)
    assert len(row["curve"].split()) == 2


@pytest.mark.parametrize(
    ("words", "recipe", "settings"),
    [
        ("verydeep train photos", "modern", {}),
        ("verydeep train photos --from imagenette", "finetune", {}),
        ("verydeep train photos --from imagenette --recipe embed", "embed", {}),
        ("verydeep train 'my photos' --recipe=small --set=seed=3 --set=width=0.5", "small", {"width": "0.5"}),
        ("verydeep train photos --set epochs=1 --minutes 5 --set epochs=2", "modern", {"epochs": "2"}),
        ("verydeep train photos --source --set --set fit=squash", "modern", {"fit": "squash"}),
        ("Classifier.fit", "-", {}),
    ],
)
def test_the_recipe_and_its_settings_are_those_that_the_command_was_told(
    words: str, recipe: str, settings: dict[str, str]
) -> None:
    origin = {"command": words} | ({"start": {"name": "imagenette"}} if "--from" in words else {})
    assert add_run._asked(origin) == (recipe, settings)
