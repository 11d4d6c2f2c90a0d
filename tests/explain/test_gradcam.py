"""Grad-CAM against captum's and grad-cam's, at several layers, and the bug that hooks have with a ReLU in place."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from verydeep.accounting import account_layers
from verydeep.architecture import Architecture
from verydeep.explain.backward import Subject, Target, record
from verydeep.explain.gradcam import enlarge, gradcam
from verydeep.runtime import ENGINES

CLASS = Target("logits", 2)
LAYERS = ["relu5_2", "conv5_2", "relu3_1", "pool2", "conv1_1"]  # conv5_2: before its ReLU


def found_at(layer: str, subject: Subject, image: np.ndarray) -> np.ndarray:
    return gradcam(subject, record(subject, image, (layer,)), CLASS, layer)


def output_of(network: torch.nn.Sequential, layer: str, subject: Subject) -> torch.nn.Module:
    """The module that makes an output of the table: of a convolution with batch norm, that one."""
    names = {part.name: part.batch_norm_name for part in subject.architecture.layers if part.has_batch_norm}
    return network.get_submodule(names.get(layer, layer))


def check_against_captum(subject: Subject, image: np.ndarray, layer: str, network: torch.nn.Module, captum: ModuleType):
    oracle = captum.LayerGradCam(network, output_of(network, layer, subject))
    expected = oracle.attribute(torch.from_numpy(image)[None], target=2)[0, 0].detach().numpy()
    np.testing.assert_allclose(found_at(layer, subject, image), expected, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("layer", LAYERS)
def test_the_map_is_captums(
    layer: str,
    subject: Subject,
    image: np.ndarray,
    make_twin: Callable[..., torch.nn.Sequential],
    captum: ModuleType,
) -> None:
    check_against_captum(subject, image, layer, make_twin(subject), captum)


@pytest.mark.parametrize("layer", LAYERS)
def test_the_map_is_that_of_the_package_grad_cam(
    layer: str, subject: Subject, image: np.ndarray, make_twin: Callable[..., torch.nn.Sequential], grad_cam: type
) -> None:
    network = make_twin(subject)
    oracle = grad_cam(network, [output_of(network, layer, subject)])
    pixels = torch.from_numpy(image)[None].requires_grad_()
    try:
        score = oracle.activations_and_grads(pixels)[0, 2]
        score.backward()
        (gradient,), (activation,) = oracle.activations_and_grads.gradients, oracle.activations_and_grads.activations
        target_layer = oracle.target_layers[0]
        expected = oracle.get_cam_image(pixels, target_layer, None, activation.numpy(), gradient.numpy())[0]
    finally:
        oracle.activations_and_grads.release()
    np.testing.assert_allclose(found_at(layer, subject, image), expected, atol=1e-12 * np.abs(expected).max())


# A ReLU in place


class InPlaceEngine:
    """The bug: what a convolution put out has become what its ReLU wrote over it, as a hook of torch finds it."""

    def __init__(self, subject: Subject) -> None:
        self.engine, self.architecture = subject.engine, subject.architecture

    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        relus = {layer.name: layer.relu_name for layer in self.architecture.layers if layer.has_relu}
        found = self.engine.run(images, [*outputs, *(relus[name] for name in outputs if name in relus)])
        return {name: found[relus.get(name, name)] for name in outputs}


def test_the_check_against_captum_finds_a_relu_in_place(
    subject: Subject, image: np.ndarray, make_twin: Callable[..., torch.nn.Sequential], captum: ModuleType
) -> None:
    spoilt = replace(subject, engine=InPlaceEngine(subject))
    with pytest.raises(AssertionError):
        check_against_captum(spoilt, image, "conv5_2", make_twin(subject), captum)


def test_a_hook_on_torchs_own_relu_in_place_has_that_bug_and_the_engines_have_not(
    subject: Subject, image: np.ndarray, make_twin: Callable[..., torch.nn.Sequential]
) -> None:
    def hooked(network: torch.nn.Sequential) -> np.ndarray:
        kept: list[torch.Tensor] = []
        output_of(network, "conv4_1", subject).register_forward_hook(lambda *call: kept.append(call[2].detach()))
        network(torch.from_numpy(image)[None])
        return kept[0][0].numpy()

    found = record(subject, image, ("conv4_1",))["conv4_1"]
    np.testing.assert_allclose(found, hooked(make_twin(subject)), atol=1e-12)
    assert hooked(make_twin(subject, inplace=True)).min() == 0 > found.min()


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_hands_out_values_from_before_a_relu(
    name: str, subject: Subject, image: np.ndarray, make_engine: Callable[..., object]
) -> None:
    engine = make_engine(name, subject.architecture, subject.weights)
    single = replace(subject, engine=engine)
    found = found_at("conv5_2", single, image.astype(np.float32))
    expected = found_at("conv5_2", subject, image)
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


# In the pixels of the image


def test_where_the_strides_divide_the_image_it_is_enlarged_as_torch_does() -> None:
    values = np.random.default_rng(0).normal(size=(4, 6))
    found = enlarge(values, 8, 16, (64, 96))
    expected = F.interpolate(torch.from_numpy(values).clamp(min=0)[None, None], scale_factor=16, mode="bilinear")
    np.testing.assert_allclose(found, expected[0, 0], atol=1e-6)


@pytest.mark.parametrize(("head", "side"), [("gap", 95), ("conv", 160)])
def test_a_value_is_largest_at_the_centre_of_what_its_unit_sees(head: str, side: int) -> None:
    architecture = Architecture("A", head, classes=3, width=0.125, input_size=64)  # 95: the last 15 pixels are dropped
    for account in account_layers(architecture, (side, side)):
        if account.kind in ("fc", "gap", "input") or min(account.output_shape[1:]) < 3:
            continue
        values = np.zeros(account.output_shape[1:])
        values[1, 1] = 1
        found = enlarge(values, account.center, account.stride, (side, side))
        row, column = np.argwhere(found == found.max()).mean(axis=0) + 0.5
        assert (row, column) == pytest.approx((account.center + account.stride,) * 2, abs=1e-6)
