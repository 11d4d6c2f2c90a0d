"""The optimiser, its learning rate and the averaged weights."""

import math
from dataclasses import replace

import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.network import Network, initialize
from verydeep.train.optimize import AveragedWeights, learning_rate, make_optimizer, plateaus
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
