"""`explain` from a model file and a photo to a map in the photo's pixels, for every method; and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from verydeep.errors import UsageError
from verydeep.explain import METHODS, Settings, explain
from verydeep.explain.backward import Target, record, signal_at
from verydeep.explain.explanation import subject_of, where
from verydeep.explain.gradcam import gradcam
from verydeep.image import preprocess
from verydeep.nouns import Calibration
from verydeep.predict import Predictor
from verydeep.runtime import OpenedModel, open_model

QUICK = Settings(steps=4, window=12, stride=8)


@pytest.fixture
def model(toy_model: Path) -> OpenedModel:
    return open_model(toy_model, engine="reference")


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_explains_the_models_answer(method: str, model: OpenedModel, photo: np.ndarray) -> None:
    found = explain(model, photo, method, settings=QUICK)
    answer = Predictor(model.path, engine="reference").predict(photo)
    assert (found.label, found.probability) == (answer.label, pytest.approx(answer.probability, abs=1e-6))
    assert found.prediction.scores[0] == answer.scores[0]
    assert found.map.heat.shape == (32, 32)
    assert found.map.heat.min() >= 0
    assert np.isfinite(found.map.heat).all()
    left, top, right, bottom = found.box
    assert 0 <= left < right <= 60
    assert 0 <= top < bottom <= 40
    assert json.loads(json.dumps(found.to_dict()))["method"] == method


def test_another_class_has_another_map(model: OpenedModel, photo: np.ndarray) -> None:
    cat, dog = (explain(model, photo, label=label) for label in ("cat", "DOG"))
    assert (cat.label, dog.label, dog.target.channel) == ("cat", "dog", 1)
    assert cat.prediction == dog.prediction
    assert not np.allclose(cat.map.values, dog.map.values)


def test_grad_cam_looks_at_the_last_convolution_unless_told_otherwise(model: OpenedModel, photo: np.ndarray) -> None:
    subject = subject_of(model)
    values = record(subject, preprocess(photo, model.info.preprocessing))
    for layer, given in (("relu2_1", None), ("pool1", "pool1")):
        found = explain(model, photo, label="dog", layer=given)
        expected = gradcam(subject, values, Target("logits", 1), layer)
        assert found.layer == layer
        np.testing.assert_allclose(found.map.values, expected, atol=1e-6)
        assert (found.map.first_center, found.map.step) == (1, 2)  # both lie above one pool


def test_a_layer_stands_for_its_strongest_unit(model: OpenedModel, photo: np.ndarray) -> None:
    found = explain(model, photo, "deconvnet", layer="relu2_1", channel=5)
    values = record(subject_of(model), preprocess(photo, model.info.preprocessing))
    assert found.is_of_unit
    assert found.target.channel == 5
    assert found.score == pytest.approx(values["relu2_1"][5].max())
    np.testing.assert_allclose(
        found.map.values, signal_at(subject_of(model), values, found.target, rule="deconvnet"), atol=1e-6
    )
    anywhere = explain(model, photo, "guided", layer="relu2_1")
    assert anywhere.score == pytest.approx(values["relu2_1"].max())


def test_a_unit_is_felt_in_its_receptive_field_only(model: OpenedModel, photo: np.ndarray) -> None:
    found = explain(model, photo, "gradient", layer="relu2_1")
    row, column = found.target.position
    center = np.array([1 + 2 * row, 1 + 2 * column])  # of the pixels that a unit after one pool sees
    touched = np.argwhere(found.map.heat) + 0.5
    assert np.abs(touched - center).max() < 5  # the receptive field is 10 pixels wide


@pytest.mark.parametrize("head", ["fc", "gap"])
def test_the_whole_photo_is_explained_by_the_dense_view(
    head: str, tmp_path: Path, photo: np.ndarray, make_toy: Callable[..., Path]
) -> None:
    path = make_toy(tmp_path / "model.safetensors", ("a", "b"), head=head, width=0.5)
    model = open_model(path, engine="reference", is_dense=True)
    for method in METHODS:
        found = explain(model, photo, method, is_dense=True, settings=QUICK)
        assert found.map.heat.shape == (36, 54)
        assert found.box == (0, 0, 60, 40)


def test_what_is_not_known_is_said_to_be_so(toy_model: Path, tmp_path: Path, photo: np.ndarray) -> None:
    opened = open_model(toy_model, engine="reference")
    info = replace(opened.info, calibration=Calibration(temperature=2.0, reject_below=0.99, photos=100))
    found = explain(replace(opened, info=info), photo)
    assert not found.prediction.is_known
    assert found.probability < explain(opened, photo).probability  # by the temperature


def test_integrated_gradients_say_how_exact_they_are(model: OpenedModel, photo: np.ndarray) -> None:
    figures = explain(model, photo, "integrated", settings=Settings(steps=60)).map.figures
    assert figures["sum"] == pytest.approx(figures["gain"], rel=0.05, abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "lime"}, "no method 'lime'; there are gradcam, gradient"),
        ({"label": "horse"}, "no class 'horse'; it has cat, dog, rocket"),
        ({"layer": "conv9_9"}, "conv9_9 is no layer of the network; there are conv1_1, relu1_1"),
        ({"layer": "fc8"}, "fc8 has no map: each of its units sees the whole photo; there are conv1_1"),
        ({"method": "gradient", "layer": "conv2_1", "channel": 16}, "no channel 16; expected a number from 0 to 15"),
        ({"method": "occlusion", "layer": "conv2_1"}, "takes no layer"),
        ({"channel": 1}, "a channel without its layer"),
        ({"layer": "conv2_1", "channel": 1}, "with a method of classes"),
        ({"method": "guided", "layer": "conv2_1", "label": "cat"}, "exclude each other"),
    ],
)
def test_what_does_not_go_together_is_refused(
    arguments: dict[str, object], message: str, model: OpenedModel, photo: np.ndarray
) -> None:
    with pytest.raises(UsageError, match=message):
        explain(model, photo, **arguments)


@pytest.mark.parametrize(("name", "value"), [("steps", 0), ("window", -1), ("stride", 2.5), ("steps", True)])
def test_settings_out_of_their_range_are_refused(name: str, value: object) -> None:
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        Settings(**{name: value})


def test_a_misspelt_class_is_met_with_the_nearest(model: OpenedModel, photo: np.ndarray) -> None:
    with pytest.raises(UsageError) as refused:
        explain(model, photo, label="rockets")
    assert refused.value.hint == "Did you mean 'rocket'?"


def test_where_it_is_hot_is_said_in_words() -> None:
    heat = np.zeros((30, 60))
    assert where(heat) == "nothing in the photo speaks for it"
    heat[2:5, 50:56] = 1
    assert where(heat) == "half of it in under 1 % of the picture, most in the upper right"
