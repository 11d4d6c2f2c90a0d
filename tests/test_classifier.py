"""The estimator for people used to scikit-learn, on two classes that any network can tell apart."""

import numpy as np
import pytest

import verydeep
from verydeep.errors import DatasetError, RecipeError, UsageError

SETTINGS = {
    "recipe": "small",
    "configuration": "toy",
    "input_size": 16,
    "train_scales": (16, 18),
    "test_resize": 16,
    "test_crop": 16,
    "epochs": 3,
    "batch_size": 8,
    "precision": "float32",
    "cutmix": 0.0,
    "ema_decay": 0.5,
}


@pytest.fixture
def paths_and_labels(tmp_path):
    from PIL import Image

    random = np.random.default_rng(0)
    for name, channel in (("red", 0), ("blue", 2)):
        (tmp_path / name).mkdir()
        for i in range(30):
            pixels = random.integers(0, 120, (20, 20, 3), np.uint8)
            pixels[..., channel] += 100
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    paths = sorted(tmp_path.glob("*/*.png"))
    return paths, [path.parent.name for path in paths]


def test_it_fits_predicts_and_scores_from_paths_and_labels(paths_and_labels, tmp_path):
    paths, labels = paths_and_labels
    model = verydeep.Classifier(tmp_path / "run", **SETTINGS).fit(paths, labels)
    assert model.classes_.tolist() == ["blue", "red"]
    assert model.score(paths, labels) == 1.0
    assert model.predict(paths[:2]).tolist() == labels[:2]
    probabilities = model.predict_proba(paths)
    assert probabilities.shape == (60, 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert verydeep.Predictor(tmp_path / "run").predict(paths[0]).label == labels[0]


def test_it_fits_a_folder_of_class_folders(paths_and_labels, tmp_path):
    paths, labels = paths_and_labels
    folder = paths[0].parents[1]
    model = verydeep.Classifier(tmp_path.parent / (tmp_path.name + "-run"), **SETTINGS).fit(folder)
    assert model.score(paths, labels) == 1.0


@pytest.mark.usefixtures("all_formats")
def test_it_fits_photos_with_annotations(paths_and_labels, tmp_path):
    paths, labels = paths_and_labels
    (tmp_path / "lists").mkdir()
    rows = [f"../{path.parent.name}/{path.name},{label}" for path, label in zip(paths, labels, strict=True)]
    (tmp_path / "lists" / "labels.csv").write_text("\n".join(["file,label", *rows]))
    model = verydeep.Classifier(tmp_path / "run", **SETTINGS)
    model.fit(tmp_path / "lists" / "labels.csv", format="table", root=tmp_path)
    assert model.score(paths, labels) == 1.0
    with pytest.raises(UsageError, match="format and root go with a folder"):
        model.fit(paths, labels, format="table")


def test_misuse_is_told_in_one_sentence(tmp_path):
    model = verydeep.Classifier(tmp_path / "run", **SETTINGS)
    with pytest.raises(UsageError, match="has not been trained"):
        model.predict(["a.jpg"])
    with pytest.raises(UsageError, match="2 photos and 1 labels"):
        model.fit(["a.jpg", "b.jpg"], ["a"])
    with pytest.raises(UsageError, match="need labels"):
        model.fit(["a.jpg", "b.jpg"])
    with pytest.raises(DatasetError, match="two classes or more"):
        model.fit(["a.jpg", "b.jpg"], ["a", "a"])
    with pytest.raises(RecipeError, match="colour"):
        verydeep.Classifier(tmp_path / "run", colour=1)
    with pytest.raises(AttributeError, match="Nothing"):
        verydeep.Nothing  # noqa: B018
