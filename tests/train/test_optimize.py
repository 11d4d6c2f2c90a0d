"""The optimiser, its learning rate and the averaged weights."""

import math
from dataclasses import replace

import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.errors import RecipeError
from verydeep.network import Network, initialize
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


MUON = Recipe(learning_rate=0.1, muon_rate=0.02, momentum=0.9, weight_decay=0.0)


def with_gradients(network: Network, seed: int = 0) -> None:
    random = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=random)


def test_muon_moves_the_kernels_between_the_first_and_the_last_layer_by_orthogonal_steps():
    network = toy()
    before = {name: value.detach().clone() for name, value in network.named_parameters()}
    optimizer = make_optimizer(network, MUON)
    set_rate(optimizer, 0.05)  # half of the recipe's, so half of muon_rate as well
    with_gradients(network)
    optimizer.step()
    for name, value in network.named_parameters():
        moved = (value - before[name]).detach()
        if name in ("conv1_2.weight", "conv2_1.weight"):
            singular = torch.linalg.svdvals(moved.flatten(1)) / 0.01
            assert 0.4 < singular.min() <= singular.max() < 1.3, name
        else:
            torch.testing.assert_close(moved, -0.05 * 1.9 * value.grad)  # Nesterov's first step


def test_a_step_of_muon_is_the_factor_of_the_gradient_that_has_no_scale():
    matrix = torch.randn(12, 40, generator=torch.Generator().manual_seed(1))
    left, _, right = torch.linalg.svd(matrix, full_matrices=False)
    for given in (matrix, 1e-6 * matrix, 1e6 * matrix):
        for found in (orthogonalized(given), orthogonalized(given.T).T):
            cosine = (found * (left @ right)).sum() / found.norm() / (left @ right).norm()
            assert cosine > 0.97
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
    summed = (0.81 * first + 0.9 * second + third).permute(0, 2, 3, 1).reshape(len(kernels), -1)
    moved = (kernels - before).detach().permute(0, 2, 3, 1).reshape(len(kernels), -1)
    torch.testing.assert_close(moved, -0.02 * orthogonalized(summed))


def test_kernels_shrink_by_muon_as_by_descent():
    network = toy()
    optimizer = make_optimizer(network, replace(MUON, weight_decay=0.05))
    before = network.conv2_1.weight.detach().clone()
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(network.conv2_1.weight.detach(), before * (1 - 0.1 * 0.05 / (1 - 0.9)))


def test_muon_is_refused_without_a_rate_to_follow():
    for wrong in ({"learning_rate": 0.0}, {"momentum": 1.0}):
        with pytest.raises(RecipeError, match="with muon_rate expected"):
            replace(MUON, **wrong)


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
