"""The accounts against the published figures, against torch's own counts, and against gradients."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from verydeep.accounting.layers import View, account_layers, total
from verydeep.architecture import CONFIGURATIONS, Architecture
from verydeep.errors import ArchitectureError

TorchTwin = Callable[[Architecture, str], nn.Sequential]


CLASSIFIERS = [name for name in CONFIGURATIONS if name != "SegNet-Basic"]


@pytest.mark.parametrize(
    ("configuration", "head"),
    [
        *itertools.product(CLASSIFIERS, ["fc", "gap", "conv", "embedding"]),
        *((name, "segnet") for name in CONFIGURATIONS),
    ],
)
def test_torch_counts_the_same_in_every_layer(torch_twin: TorchTwin, configuration: str, head: str) -> None:
    architecture = Architecture(configuration, head=head)
    _compare_with_torch(architecture, torch_twin(architecture, "meta"), (224, 224))


@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_torch_counts_the_same_for_any_architecture_and_image(
    torch_twin: TorchTwin, architectures: st.SearchStrategy[Architecture], data: st.DataObject
) -> None:
    architecture = data.draw(architectures)
    more = st.integers(0, 50 if architecture.is_dense else 0)
    image_size = (architecture.input_size + data.draw(more), architecture.input_size + data.draw(more))
    _compare_with_torch(architecture, torch_twin(architecture, "meta"), image_size)


def _compare_with_torch(architecture: Architecture, twin: nn.Sequential, image_size: tuple[int, int]) -> None:
    accounts = account_layers(architecture, image_size)
    x = torch.empty(1, architecture.input_channels, *image_size, device="meta")
    pooled: dict[str, torch.Size] = {}
    for account, (name, module) in zip(accounts[1:], twin.named_children(), strict=True):
        if account.kind == "pool":
            pooled[name] = x.shape[2:]
        elif account.kind == "unpool":
            module[0].more = [side % 2 for side in pooled[name.removeprefix("un")]]
        with FlopCounterMode(display=False) as counter:
            x = module(x)
        assert account.name == name
        assert account.flops == counter.get_total_flops(), name
        assert account.parameters == sum(parameter.numel() for parameter in module.parameters()), name
        assert account.output_shape[: x.dim() - 1] == tuple(x.shape[1:]), name
        assert account.activations == x.numel(), name
    totals = total(accounts)
    assert totals.parameters == sum(parameter.numel() for parameter in twin.parameters())
    state = twin.state_dict().items()
    assert totals.file_bytes == 4 * sum(array.numel() for name, array in state if "num_batches" not in name)


@pytest.mark.parametrize(
    ("side", "gmacs", "map_size"),
    [(256, 20.54, 2), (384, 49.55, 6), (512, 92.54, 10)],
)
def test_dense_evaluation_of_d_costs_what_is_published(side: int, gmacs: float, map_size: int) -> None:
    accounts = account_layers(Architecture("D").dense(), (side, side))
    assert round(total(accounts).macs / 1e9, 2) == gmacs
    assert accounts[-1].output_shape == (1000, map_size, map_size)


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize(
    ("configuration", "head"),
    [*itertools.product("ABCDE", ["fc"]), ("A", "conv"), ("D", "segnet"), ("SegNet-Basic", "segnet")],
)
def test_parameters_with_batch_norm_are_those_of_the_twin(configuration: str, head: str, batch_norm: bool) -> None:
    totals = total(account_layers(Architecture(configuration, head, batch_norm=batch_norm)))
    twin = total(account_layers(Architecture(configuration, head, batch_norm=True)))
    assert totals.conv_macs + totals.fc_macs == totals.macs
    assert totals.conv_parameters + totals.fc_parameters + totals.batch_norm_parameters == totals.parameters
    assert totals.parameters_with_batch_norm == twin.parameters


@pytest.mark.parametrize(
    ("configuration", "parameters", "mmacs"),
    [("A", 9_231_114, 152.77), ("B", 9_416_010, 228.27), ("D", 14_728_266, 313.20), ("E", 20_040_522, 398.14)],
)
def test_cifar_networks_have_the_published_counts(configuration: str, parameters: int, mmacs: float) -> None:
    architecture = Architecture(configuration, head="gap", classes=10, input_size=32, batch_norm=True)
    totals = total(account_layers(architecture))
    assert totals.parameters == parameters
    assert round(totals.macs / 1e6, 2) == mmacs


@pytest.mark.parametrize("configuration", ["toy", "A-LRN", "C", pytest.param("D", marks=pytest.mark.slow)])
def test_a_gradient_reaches_exactly_the_receptive_field(configuration: str) -> None:
    """Gradients of a network without ReLU, positive everywhere, reach every pixel that a unit sees and no other."""
    pools = len(CONFIGURATIONS[configuration])
    size = 2 * 2**pools  # fc6 takes maps of 2x2
    architecture = Architecture(configuration, head="conv", classes=2, input_size=size, input_channels=1, width=0.01)
    side = 256  # above the largest field, 244, so that a unit in the middle is not cut off by the border
    x = image = torch.ones(1, 1, side, side, requires_grad=True)
    for account, layer in zip(account_layers(architecture, (side, side))[1:], architecture.layers, strict=True):
        if layer.kind == "conv":
            kernel = torch.full(layer.weight_shape, 1 / layer.in_channels / layer.kernel**2)
            x = nn.functional.conv2d(x, kernel, padding=layer.padding)
        elif layer.kind == "pool":
            x = nn.functional.avg_pool2d(x, 2)  # the maximum may come from any of the four
        middle = x.shape[-1] // 2
        (gradient,) = torch.autograd.grad(x[0, 0, middle, middle], image, retain_graph=True)
        rows = gradient[0, 0].sum(dim=1).nonzero().flatten().tolist()
        first = account.center + middle * account.stride - account.receptive_field / 2
        assert rows == list(range(int(first), int(first) + account.receptive_field)), account.name


@pytest.mark.parametrize("configuration", ["toy", "SegNet-Basic", pytest.param("A", marks=pytest.mark.slow)])
def test_a_gradient_reaches_exactly_what_a_unit_above_an_unpool_sees(configuration: str) -> None:
    """As above, with places that are not known: a unit may get the value of its window, whichever place it is."""
    architecture = Architecture(configuration, "segnet", 2, 32, input_channels=1, width=0.01)
    height, side = architecture.stride, 1024 if configuration == "A" else 512
    x = image = torch.ones(1, 1, height, side, requires_grad=True)
    accounts = account_layers(architecture, (height, side))[1:]
    view = View()
    for account, layer in zip(accounts, architecture.layers, strict=True):
        view = view.through(layer, side)
        if layer.kind == "conv":
            kernel = torch.full(layer.weight_shape, 1 / layer.in_channels / layer.kernel**2)
            x = nn.functional.conv2d(x, kernel, padding=layer.padding)
        elif layer.kind == "pool":
            x = nn.functional.avg_pool2d(x, 2)
        else:
            x = nn.functional.interpolate(x, scale_factor=2.0)
        middle = x.shape[-1] // 2
        fields = []
        for unit in range(middle, middle + len(view.spans)):
            (gradient,) = torch.autograd.grad(x[0, 0, 0, unit], image, retain_graph=True)
            columns = gradient[0, 0].sum(dim=0).nonzero().flatten().tolist()
            assert (columns[0], columns[-1] + 1) == view.span(unit), (account.name, unit)
            fields.append(len(columns))
        assert account.receptive_field == max(fields), account.name
        assert account.center == sum(view.span(0)) / 2


def test_segnet_basic_s_deepest_unit_sees_what_its_paper_says() -> None:
    accounts = {account.name: account for account in account_layers(Architecture("SegNet-Basic", "segnet"))}
    assert accounts["pool4"].receptive_field == 106
    assert accounts["unpool4"].receptive_field == 106
    assert (accounts["score"].stride, accounts["unpool4"].stride) == (1, 8)


def test_the_first_unit_of_fc6_looks_at_the_middle_of_the_crop() -> None:
    fc6 = next(account for account in account_layers(Architecture("D")) if account.name == "fc6")
    assert (fc6.center, fc6.stride) == (112, 32)


def test_an_image_that_the_fc_head_cannot_take_is_refused() -> None:
    with pytest.raises(ArchitectureError, match="256 x 256"):
        account_layers(Architecture("D"), (256, 256))
