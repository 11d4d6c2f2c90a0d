"""What the tests of explanations share: small networks of every kind, and the same in torch's usual layers."""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from unittest.mock import MagicMock

import numpy as np
import pytest
import torch

from verydeep.architecture import BATCH_NORM_EPSILON, Architecture, Layer
from verydeep.explain.backward import Subject
from verydeep.nouns import Engine, Weights
from verydeep.runtime import ENGINES
from verydeep.runtime.border import border_of
from verydeep.runtime.reference import ReferenceEngine

NETWORKS = {
    "A": Architecture("A", classes=5, width=0.125, input_size=64),
    "A, conv head, larger image": Architecture("A", "conv", classes=5, width=0.125, input_size=32),
    "B, batch norm, gap head": Architecture("B", "gap", classes=5, width=0.125, input_size=32, batch_norm=True),
    "C": Architecture("C", "gap", classes=5, width=0.125, input_size=32),
}
SIDES = {"A": (64, 64), "A, conv head, larger image": (70, 101), "B, batch norm, gap head": (53, 38), "C": (33, 64)}


@pytest.fixture(params=NETWORKS)
def subject(request: pytest.FixtureRequest, random_weights: Callable[..., Weights]) -> Subject:
    """A small network, computed in float64: what differs from an oracle is no rounding error."""
    return _make_subject(NETWORKS[request.param], random_weights(NETWORKS[request.param]))


@pytest.fixture
def image(subject: Subject) -> np.ndarray:
    """A picture that fits it, (3, H, W) float64; its sides are odd where the head allows it."""
    sides = next(SIDES[name] for name, architecture in NETWORKS.items() if architecture == subject.architecture)
    return np.random.default_rng(1).normal(size=(3, *sides))


@pytest.fixture(scope="session")
def make_subject() -> Callable[..., Subject]:
    """A function (architecture, weights) -> Subject in float64."""
    return _make_subject


@pytest.fixture(scope="session")
def make_twin() -> Callable[..., torch.nn.Sequential]:
    """A function (subject, inplace=False) -> the network in torch's usual layers, float64, named as in the table."""
    return _make_twin


@pytest.fixture(scope="session")
def bordered() -> Callable[[torch.Tensor, Architecture], torch.Tensor]:
    """A function (pixels (1, channels, H, W), architecture) -> the same with the border of a network of pixels."""
    return _bordered


@pytest.fixture(scope="session")
def make_engine() -> Callable[..., Engine]:
    """A function (name, architecture, weights) -> that engine; the test is skipped where it is not built."""

    def make(name: str, architecture: Architecture, weights: Weights) -> Engine:
        module, attribute = ENGINES[name].split(":")
        reason = f"the engine {name} is not built here"
        engine: Engine = getattr(pytest.importorskip(module, reason=reason), attribute)(architecture, weights)
        return engine

    return make


@pytest.fixture(scope="session")
def captum() -> ModuleType:
    return pytest.importorskip("captum.attr", reason="needs captum, the oracle: pip install captum")


@pytest.fixture(scope="session")
def grad_cam() -> type:
    """The class GradCAM of the package grad-cam. Its pictures need cv2, torchvision and ttach; its maps do not."""
    names = ("cv2", "torchvision", "torchvision.transforms", "torchvision.transforms.functional", "ttach")
    missing = {name: MagicMock() for name in names if name not in sys.modules and not _is_there(name)}
    with pytest.MonkeyPatch.context() as patch:
        for name, module in missing.items():
            patch.setitem(sys.modules, name, module)
        module = pytest.importorskip("pytorch_grad_cam", reason="needs grad-cam: pip install --no-deps grad-cam")
    return module.GradCAM


def _make_subject(architecture: Architecture, weights: Weights) -> Subject:
    return Subject(ReferenceEngine(architecture, weights, precision="float64"), architecture, weights)


def _bordered(pixels: torch.Tensor, architecture: Architecture) -> torch.Tensor:
    rows, columns = (
        [*range(side), *range(side - 1, side - 1 - more, -1)]
        for side, more in zip(pixels.shape[-2:], border_of(architecture, *pixels.shape[-2:]), strict=True)
    )
    return pixels[:, :, rows][:, :, :, columns]


def _make_twin(subject: Subject, inplace: bool = False) -> torch.nn.Sequential:
    stack = torch.nn.Sequential()
    for layer in subject.architecture.layers:
        if layer.kind == "fc" and not any(isinstance(module, torch.nn.Flatten) for module in stack):
            stack.append(torch.nn.Flatten())
        stack.add_module(layer.name, _module(layer))
        if layer.has_batch_norm:
            stack.add_module(layer.batch_norm_name, torch.nn.BatchNorm2d(layer.out_channels, eps=BATCH_NORM_EPSILON))
        if layer.has_relu:
            stack.add_module(layer.relu_name, torch.nn.ReLU(inplace))
    if subject.architecture.head == "conv":
        stack.append(torch.nn.AdaptiveAvgPool2d(1)).append(torch.nn.Flatten())
    state = {name: torch.tensor(np.asarray(array, np.float64)) for name, array in subject.weights.items()}
    stack.load_state_dict(state, strict=False)
    assert set(state) <= set(stack.state_dict())
    return stack.double().eval()


def _module(layer: Layer) -> torch.nn.Module:
    if layer.kind == "conv":
        return torch.nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding)
    if layer.kind == "fc":
        return torch.nn.Linear(layer.weight_shape[1], layer.out_channels)
    return torch.nn.MaxPool2d(2) if layer.kind == "pool" else torch.nn.AdaptiveAvgPool2d(1)


def _is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package around it
        return False
