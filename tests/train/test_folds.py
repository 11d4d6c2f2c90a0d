"""Cross-validation: every photo is asked about once, by a model that has not seen it."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from trainings import arrays

from verydeep.data.datasets import Dataset, open_splits
from verydeep.errors import DatasetError, UsageError
from verydeep.train.display import Display
from verydeep.train.features import Features
from verydeep.train.folds import check_folds, deal, everything, train_folds
from verydeep.train.interrupt import Stopped
from verydeep.train.recipe import Recipe
from verydeep.train.run import Run, create_run, open_run
from verydeep.train.start import begin_from, open_start
from verydeep.weights import read_info, read_model


@pytest.fixture
def tune(photos, small_recipe, toy_model):
    """A function (folder, **fields) -> a new run of three folds on `photos` from the toy model."""

    def tune_model(folder: Path, **fields: object) -> Run:
        start, info = open_start(toy_model)
        plain = small_recipe.with_fields({"cutmix": 0.0, "views": 2, "train_scales": (32, 40)} | {"save_as": "float32"})
        given = {"epochs": 2, "trained": "head"} | fields
        return create_run(folder, begin_from(plain, info, given), photos, ("test",), {}, start=start, folds=3)

    return tune_model


def go(run: Run, display: type[Display] = Display):
    return train_folds(run, open_splits(run.data, run.recipe.seed), display, "cpu")


def photos_of(*counts: int) -> Dataset:
    names = tuple("abcdefgh"[: len(counts)])
    labels = tuple(label for label, count in enumerate(counts) for _ in range(count))
    return Dataset(names, tuple(Path(f"{label}/{i}.jpg") for i, label in enumerate(labels)), labels)


def test_every_photo_is_in_one_fold_and_each_class_is_dealt_evenly():
    photos = photos_of(31, 12, 5)
    folds = deal(photos, 5, seed=0)
    assert sorted(np.concatenate(folds).tolist()) == list(range(48))
    assert {len(fold) for fold in folds} <= {9, 10}
    for label, count in enumerate((31, 12, 5)):
        dealt = [Counter(photos.labels[at] for at in fold)[label] for fold in folds]
        assert max(dealt) - min(dealt) <= 1, label
        assert sum(dealt) == count
    assert [fold.tolist() for fold in deal(photos, 5, seed=1)] != [fold.tolist() for fold in folds]


def test_a_class_of_one_photo_and_more_folds_than_photos_are_refused():
    with pytest.raises(DatasetError, match="class 'b' has 1 photo; expected two or more"):
        deal(photos_of(4, 1), 2, seed=0)
    with pytest.raises(DatasetError, match="5 photos make no 6 folds"):
        deal(photos_of(3, 2), 6, seed=0)


@pytest.mark.parametrize("fields", [{"early_stopping": 3}, {"schedule": "plateau"}])
def test_what_needs_a_validation_of_its_own_is_refused(fields):
    with pytest.raises(UsageError, match="with --folds none are left for the last model"):
        check_folds(Recipe(**fields))


@pytest.mark.whole_report
def test_the_model_is_trained_on_all_photos_and_judged_by_the_folds(tune, photos, tmp_path):
    run = tune(tmp_path / "run")
    report, found = go(run)
    assert report.n == 60
    assert sorted(report.paths) == sorted(everything(open_splits(photos)).paths)
    assert report.top1.value > 0.8
    assert [top1.n for top1 in found.top1] == [20, 20, 20]
    info = read_info(run.folder)
    assert (info.origin["photos"], info.origin["folds"]) == (60, 3)
    assert info.origin["validation"]["n"] == 60
    assert "3 folds, each photo by a model that was not trained on it" in info.origin["validation"]["protocol"]
    assert info.calibration.photos == 60
    of_folds = [[row["validation_loss"] for row in rows] for rows in found.metrics]
    assert [row["validation_loss"] for row in run.metrics()] == pytest.approx(np.mean(of_folds, axis=0))
    for number in (1, 2, 3):
        of_fold = read_info(run.folder / "folds" / str(number)).origin
        assert of_fold["photos"] == 40
        assert "folds" not in of_fold
    curve = json.loads((run.folder / "learning-curve.json").read_text())
    assert (curve["n"], len(curve["top1"][0])) == (60, 15)
    assert "each photo by a model that was not trained on it" in (run.folder / "report.html").read_text()


@pytest.mark.parametrize("fields", [{}, {"trained": "all", "head_epochs": 1}])
def test_a_cross_validation_that_was_stopped_goes_on_to_the_same_weights(fields, tune, tmp_path):
    go(whole := tune(tmp_path / "whole", **fields))
    for stop_at in (2, 7):  # epochs: in the first fold, and in the training on all photos
        broken = tune(tmp_path / f"broken{stop_at}", **fields)
        epochs = []

        class Stop(Display):
            def epoch(self, row):
                epochs.append(row["epoch"])  # noqa: B023, called within this round
                if len(epochs) == stop_at:  # noqa: B023
                    raise Stopped

        with pytest.raises(KeyboardInterrupt):
            go(broken, Stop)
        assert not (broken.folder / "model.safetensors").exists()
        go(open_run(broken.folder))
        assert arrays(broken.folder / "model.safetensors") == arrays(whole.folder / "model.safetensors")
        assert read_info(broken.folder).calibration == read_info(whole.folder).calibration


def test_the_features_of_a_part_are_those_of_its_photos_and_never_of_a_neighbour_outside():
    values = np.arange(12.0, dtype=np.float32).reshape(6, 1, 2)
    features = Features("gap", values, np.arange(6), {3: "three is damaged"})
    part = features.take(np.array([1, 3, 5]))
    assert part.failures == {1: "three is damaged"}
    assert part.sources.tolist() == [0, 2, 2]
    assert part.labels.tolist() == [1, 3, 5]


def test_features_that_are_shared_give_what_features_of_each_fold_give_up_to_their_views(tune, tmp_path, monkeypatch):
    """With the picture to predict and its mirror image alone, a view does not depend on the photo's position."""
    go(shared := tune(tmp_path / "shared"))
    monkeypatch.setattr("verydeep.train.folds.SHARED_BYTES", 0)
    go(own := tune(tmp_path / "own"))
    for number in ("1", "2", "3"):
        one, other = (read_model(run.folder / "folds" / number)[1] for run in (shared, own))
        for name, array in one.items():
            np.testing.assert_allclose(other[name], array, rtol=1e-4, atol=1e-5)
