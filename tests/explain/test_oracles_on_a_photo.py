"""The built-in model and a real photo: every method gives what captum or grad-cam gives, to the rounding of float32."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from verydeep.explain import Settings, explain
from verydeep.explain.explanation import subject_of
from verydeep.explain.occlusion import spread
from verydeep.image import preprocess, read_image
from verydeep.runtime import BUILT_IN, built_in_models, open_model


@pytest.fixture(scope="module")
def scene(shared_data: Path, make_twin: Callable[..., torch.nn.Sequential]) -> SimpleNamespace:
    """A photo of a church, the network's input made of it, the built-in model, and its twin in torch's layers."""
    if BUILT_IN not in built_in_models():
        pytest.skip(f"needs the built-in model {BUILT_IN}")
    (path, *_) = sorted((shared_data / "imagenette-144" / "val" / "n03028079_church").glob("*.jpg"))
    model, photo = open_model(engine="reference"), read_image(path)
    pixels = torch.from_numpy(preprocess(photo, model.info.preprocessing))[None].double()
    return SimpleNamespace(model=model, photo=photo, pixels=pixels, network=make_twin(subject_of(model)))


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU", "ignore:Input Tensor")
@pytest.mark.parametrize(
    ("method", "name", "options"),
    [
        ("gradient", "Saliency", {"abs": False}),
        ("guided", "GuidedBackprop", {}),
        ("deconvnet", "Deconvolution", {}),
        ("integrated", "IntegratedGradients", {"n_steps": 3}),
    ],
)
def test_signals_are_captums(
    method: str, name: str, options: dict[str, Any], scene: SimpleNamespace, captum: ModuleType
) -> None:
    found = explain(scene.model, scene.photo, method, settings=Settings(steps=3))
    oracle = getattr(captum, name)(scene.network)
    pixels = scene.pixels.clone().requires_grad_()
    expected = oracle.attribute(pixels, target=found.target.channel, **options)[0].detach().numpy()
    assert np.abs(found.map.values - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.corrcoef(found.map.values.ravel(), expected.ravel())[0, 1] > 0.99999


def test_the_grad_cam_is_captums_and_grad_cams(scene: SimpleNamespace, captum: ModuleType, grad_cam: type) -> None:
    found = explain(scene.model, scene.photo)
    layer = scene.network.relu5_2
    oracle = captum.LayerGradCam(scene.network, layer)
    expected = oracle.attribute(scene.pixels, target=found.target.channel)[0, 0].detach().numpy()
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(found.map.values, expected, atol=tolerance)
    oracle = grad_cam(scene.network, [layer])
    oracle.activations_and_grads(scene.pixels)[0, found.target.channel].backward()
    kept = oracle.activations_and_grads
    theirs = oracle.get_cam_image(scene.pixels, layer, None, kept.activations[0], kept.gradients[0].numpy())[0]
    kept.release()
    np.testing.assert_allclose(found.map.values, theirs, atol=tolerance)


def test_the_occlusion_is_captums(scene: SimpleNamespace, captum: ModuleType) -> None:
    found = explain(scene.model, scene.photo, "occlusion", settings=Settings(window=64, stride=32))
    temperature = scene.model.info.calibration.temperature
    oracle = captum.Occlusion(lambda images: torch.softmax(scene.network(images) / temperature, dim=1))
    with torch.no_grad():
        expected = oracle.attribute(scene.pixels, (3, 64, 64), (3, 32, 32), target=found.target.channel)[0, 0].numpy()
    np.testing.assert_allclose(spread(found.map.values, 64, 32, expected.shape), expected, atol=1e-5)
