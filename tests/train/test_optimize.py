"""The optimiser, its learning rate and the averaged weights."""

import math
from dataclasses import replace

import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.errors import RecipeError
from verydeep.network import Network, initialize
from verydeep.train.freezing import freeze
from verydeep.train.optimize import AveragedWeights, learning_rate, make_optimizer, orthogonalized, plateaus, set_rate
from verydeep.train.recipe import Recipe

RECIPE = Recipe(epochs=11, learning_rate=0.4, warmup_epochs=1)


def test_the_optimizer_is_nesterovs_as_the_recipe_says():
    for nesterov in (True, False):
        group = make_optimizer(toy(), Recipe(nesterov=nesterov, momentum=0.8)).param_groups[0]
        assert (group["nesterov"], group["momentum"]) == (nesterov, 0.8)


def toy() -> Network:
    network = Network(Architecture("toy", "gap", classes=3, input_size=8, batch_norm=True))
    initialize(network, "he", seed=0)
    return network


@pytest.mark.parametrize(
    ("epoch", "rate"), [(0, 0), (0.5, 0.2), (1, 0.4), (6, 0.2), (1 + 10 / 3, 0.3), (11, 0), (12, 0)]
)
def test_the_cosine_rises_in_the_warm_up_and_falls_to_zero(epoch, rate):
    assert learning_rate(RECIPE, epoch, []) == pytest.approx(rate, abs=1e-12)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 0), (0.5, 0.2), (1, 0.4), (6, 0.4), (11, 0.4)])
def test_a_constant_rate_rises_in_the_warm_up_and_stays(epoch, rate):
    assert learning_rate(replace(RECIPE, schedule="constant"), epoch, [0.5] * 10) == pytest.approx(rate)


def test_a_plateau_divides_the_learning_rate_by_ten():
    recipe = Recipe(schedule="plateau", patience=2, learning_rate=1.0, warmup_epochs=0)
    history = [0.1, 0.2, 0.2, 0.15, 0.3, 0.1, 0.1, 0.1, 0.1]
    assert [plateaus(history[:n], 2) for n in range(10)] == [0, 0, 0, 0, 1, 1, 1, 2, 2, 3]
    assert learning_rate(recipe, 9, history) == pytest.approx(1e-3)


def test_only_weights_decay_not_biases_nor_batch_norm():
    network = toy()
    optimizer = make_optimizer(network, Recipe(weight_decay=0.1))
    decaying = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    names = {name for name, parameter in network.named_parameters() if id(parameter) in decaying}
    assert names == {"conv1_1.weight", "conv1_2.weight", "conv2_1.weight", "fc8.weight"}


MUON = Recipe(learning_rate=0.1, muon_factor=0.2, momentum=0.9, weight_decay=0.0)
LARGE = {"configuration": "C", "width": 1 / 16, "classes": 3, "input_size": 32}


def with_gradients(network: Network, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.empty_like(parameter).copy_(torch.randn(parameter.shape, generator=random))


def as_matrix(kernels: torch.Tensor) -> torch.Tensor:
    return kernels.detach().permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("fields", [{"head": "gap"}, {"head": "fc"}, {"head": "gap", "batch_norm": True}])
def test_muon_moves_the_kernels_between_the_first_and_the_last_layer_by_orthogonal_steps(fields, precision):
    network = Network(Architecture(**(LARGE | fields)))  # C has kernels of 1 x 1
    initialize(network, "he", seed=0)
    network.to(memory_format=torch.channels_last)
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = make_optimizer(network, MUON, precision)
    set_rate(optimizer, 0.05)  # half of the recipe's
    with_gradients(network)
    optimizer.step()
    orthogonal = set()
    for name, value in network.named_parameters():
        moved = value.detach() - before[name]
        if name.startswith("conv") and name.endswith("weight") and name != "conv1_1.weight":
            singular = torch.linalg.svdvals(as_matrix(moved)) / (0.05 * 0.2)
            assert singular.max() < 1.35, name
            assert singular.median() > 0.7, name  # of square ones the least may be far below
            orthogonal.add(name)
        else:
            torch.testing.assert_close(moved, -0.05 * 1.9 * value.grad)  # Nesterov's first step
    assert len(orthogonal) == 12


def test_a_step_of_muon_is_the_factor_of_the_gradient_that_has_no_scale():
    random = torch.Generator().manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(12, 40, generator=random), full_matrices=False)
    spread = torch.logspace(0, -1.5, 12)  # the last direction has a thirtieth of the first one's weight
    matrix = left @ torch.diag(spread) @ right
    for scale in (1, 1e-6, 1e-18, 1e6):
        for found in (orthogonalized(scale * matrix), orthogonalized(scale * matrix.T).T):
            inner = left.T @ found @ right.T
            assert 0.5 < inner.diagonal().min() <= inner.diagonal().max() < 1.3
            assert (inner - torch.diag(inner.diagonal())).abs().max() < 1e-4


@pytest.mark.parametrize("scale", [0, 1e-23, 1e-25, 1e-30, 1e-36, 1e-45])
def test_a_gradient_that_has_all_but_vanished_moves_nothing_and_is_no_nan(scale):
    matrix = scale * torch.randn(12, 40, generator=torch.Generator().manual_seed(1))
    for given in (matrix, matrix.bfloat16()):
        assert orthogonalized(given).abs().max() <= 1  # and so no NaN
    assert not orthogonalized(torch.zeros(3, 5)).any()


def test_muon_adds_up_its_momentum():
    network = toy()
    optimizer = make_optimizer(network, replace(MUON, nesterov=False))
    kernels, gradients = network.conv2_1.weight, []
    for step in range(3):
        with_gradients(network, seed=step)
        gradients.append(kernels.grad.clone())
        before = kernels.detach().clone()
        optimizer.step()
    first, second, third = gradients
    summed = 0.81 * first + 0.9 * second + third
    torch.testing.assert_close(as_matrix(kernels - before), -0.02 * orthogonalized(as_matrix(summed)))


def test_kernels_decay_by_muon_as_by_descent():
    norms = {}
    for factor in (0.0, 0.2):
        network = toy()
        optimizer = make_optimizer(network, replace(MUON, muon_factor=factor, weight_decay=0.005))
        before = network.conv2_1.weight.detach().norm()
        for _ in range(200):
            for parameter in network.parameters():
                parameter.grad = torch.zeros_like(parameter)
            optimizer.step()
        norms[factor] = float(network.conv2_1.weight.detach().norm() / before)
    assert norms[0.2] == pytest.approx(norms[0.0], rel=0.05)
    assert norms[0.2] < 0.4


def test_layers_that_are_frozen_stay_as_they_are_and_lower_ones_have_a_lower_rate():
    network = Network(Architecture(**(LARGE | {"head": "gap", "batch_norm": True})))
    initialize(network, "he", seed=0)
    freeze(network, "last-block")
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = make_optimizer(network, replace(MUON, layer_decay=0.5))
    for _, parameter in network.named_parameters():
        parameter.grad = torch.randn_like(parameter) if parameter.requires_grad else None
    optimizer.step()
    assert torch.equal(network.conv4_3.weight, before["conv4_3.weight"])
    size = torch.linalg.svdvals(as_matrix(network.conv5_2.weight.detach() - before["conv5_2.weight"])).max()
    assert size == pytest.approx(0.1 * 0.2 * 0.5, rel=0.35)


def test_muon_takes_no_momentum_of_one():
    with pytest.raises(RecipeError, match="momentum is 1"):
        replace(MUON, momentum=1.0)


def test_the_average_follows_its_formula_and_ends_at_a_constant():
    network = toy()
    average = AveragedWeights(network, decay=0.9)
    expected = network.fc8.weight.detach().clone()
    for step in range(30):
        with torch.no_grad():
            network.fc8.weight.fill_(step)
            network.bn1_1.running_mean.fill_(step)
        average.update(network, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    torch.testing.assert_close(average.network.fc8.weight, expected)
    assert average.network.bn1_1.running_mean[0] == pytest.approx(expected[0, 0].item(), rel=1e-3)


def test_without_decay_the_average_is_the_network():
    network = toy()
    average = AveragedWeights(network, decay=0.0)
    with torch.no_grad():
        network.fc8.weight.fill_(math.pi)
    average.update(network, 1000)
    assert average.network is network
