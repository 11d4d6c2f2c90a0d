"""The spread of the random weights, and what becomes of a signal that passes them."""

import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.errors import RecipeError
from verydeep.network import Network, initialize


def initialized(scheme: str, std: float | None = None, seed: int = 0, **fields) -> Network:
    network = Network(Architecture(**{"configuration": "E", "head": "gap", "width": 0.5, "input_size": 64} | fields))
    initialize(network, scheme, seed, std)
    return network.eval()


@pytest.mark.parametrize(
    ("scheme", "std", "expected"),
    [
        ("paper", None, 0.01),
        ("paper", 0.1, 0.1),
        ("he", None, (2 / (9 * 256)) ** 0.5),
        ("glorot", None, (2 / (9 * 256 + 9 * 256)) ** 0.5),
    ],
)
def test_weights_have_the_spread_of_their_scheme_and_biases_are_zero(scheme, std, expected):
    network = initialized(scheme, std)
    assert network.conv5_2.weight.std().item() == pytest.approx(expected, rel=0.01)
    assert abs(network.conv5_2.weight.mean().item()) < expected / 100
    assert not network.conv5_2.bias.any()


def growth(network: Network) -> float:
    """How much larger conv5_4's output is than its image."""
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return (network.features(x, ("conv5_4",))["conv5_4"].std() / x.std()).item()


@pytest.mark.slow
def test_the_papers_spread_explodes_or_vanishes_over_sixteen_layers_and_he_keeps_the_signal():
    assert growth(initialized("paper", 0.1, width=1.0)) > 1e6
    assert growth(initialized("paper", 0.01, width=1.0)) < 1e-6
    assert 0.3 < growth(initialized("he", width=1.0)) < 10


def test_the_same_seed_gives_the_same_weights():
    first, second, other = (initialized("he", seed=seed) for seed in (5, 5, 6))
    assert torch.equal(first.conv3_1.weight, second.conv3_1.weight)
    assert not torch.equal(first.conv3_1.weight, other.conv3_1.weight)


def test_an_unknown_scheme_is_refused_with_the_list():
    with pytest.raises(RecipeError, match="he, glorot|paper, glorot, he"):
        initialized("xavier")
    with pytest.raises(RecipeError, match="paper"):
        initialized("he", std=0.1)
