"""What the tests of the accounts share: random architectures, and networks that torch counts by itself."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
from hypothesis import strategies as st
from torch import nn

from verydeep.architecture import CONFIGURATIONS, HEADS, Architecture, Layer


@pytest.fixture(scope="session")
def architectures() -> st.SearchStrategy[Architecture]:
    """Any configuration under any head, from an eighth of the width to the full one."""
    pairs = [(name, head) for name in CONFIGURATIONS for head in HEADS if name != "SegNet-Basic" or head == "segnet"]
    return st.builds(
        lambda pair, **fields: Architecture(*pair, **fields),
        pair=st.sampled_from(pairs),
        classes=st.integers(1, 1000),
        input_size=st.integers(32, 80),
        input_channels=st.integers(1, 4),
        width=st.sampled_from((0.125, 0.3, 0.5, 1.0)),
        batch_norm=st.booleans(),
    )


@pytest.fixture(scope="session")
def torch_twin() -> Callable[[Architecture, str], nn.Sequential]:
    """A function (architecture, device) -> torch modules named like the layers, made apart from `verydeep.network`."""
    return _torch_twin


def _torch_twin(architecture: Architecture, device: str) -> nn.Sequential:
    with torch.device(device):
        return nn.Sequential(OrderedDict((layer.name, _module(layer)) for layer in architecture.layers))


class Unpool(nn.Module):
    """Of a map twice as large, and of `more` rows and columns: the places do not matter to what is counted."""

    def __init__(self) -> None:
        super().__init__()
        self.more = (0, 0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        below, aside = self.more
        return nn.functional.pad(nn.functional.interpolate(x, scale_factor=2.0), (0, aside, 0, below))


class Unit(nn.Module):
    """Each vector divided by its length."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(x)


def _module(layer: Layer) -> nn.Sequential:
    """A layer and all that belongs to it."""
    makers: dict[str, Callable[[], list[nn.Module]]] = {
        "conv": lambda: [nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding)],
        "fc": lambda: [nn.Flatten(), nn.Linear(layer.in_channels * layer.kernel**2, layer.out_channels)],
        "pool": lambda: [nn.MaxPool2d(2)],
        "lrn": lambda: [nn.LocalResponseNorm(5)],
        "gap": lambda: [nn.AdaptiveAvgPool2d(1)],
        "unpool": lambda: [Unpool()],
        "unit": lambda: [nn.Flatten(), Unit()],
    }
    modules = makers[layer.kind]()
    modules += [nn.BatchNorm2d(layer.out_channels)] if layer.has_batch_norm else []
    modules += [nn.ReLU()] if layer.has_relu else []
    modules += [nn.Dropout(layer.dropout)] if layer.dropout else []
    return nn.Sequential(*modules)
