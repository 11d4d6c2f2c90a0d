"""The spread of the random weights, and what becomes of a signal that passes them."""

import numpy as np
import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.errors import RecipeError
from verydeep.network import Network, initialize, whiten


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


def test_identity_passes_the_inputs_of_each_convolution_on_beside_random_filters():
    network = initialized("identity", configuration="C", width=0.25)
    x = torch.rand(1, 32, 9, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(network.conv3_1(x)[:, :32], x)
    assert network.conv3_1(x)[:, 32:].std() > 0.1
    x = torch.rand(1, 64, 9, 9)
    assert torch.allclose(network.conv3_3(x), x), "C's layer of 1x1 filters"
    assert network.fc8.weight.std().item() == pytest.approx(0.1 * (2 / 128) ** 0.5, rel=0.1)
    plain = initialized("he", configuration="C", width=0.25)
    assert torch.equal(network.conv1_1.weight, plain.conv1_1.weight)


def photos_of_noise(count: int = 4) -> list[np.ndarray]:
    """Noise that neighbours and colours share in part, as in photos."""
    random = np.random.default_rng(0)
    return [np.cumsum(random.normal(size=(3, 40, 60)), axis=2, dtype=np.float32) for _ in range(count)]


@pytest.mark.parametrize(("width", "directions"), [(1.0, 27), (0.5, 16)])
def test_whitening_makes_outputs_that_are_independent_and_equally_strong(width, directions):
    network = initialized("he", width=width)
    before = network.conv1_1.weight.clone()
    images = photos_of_noise()
    whiten(network, images)
    weight = network.conv1_1.weight
    assert torch.equal(weight[:directions], -weight[directions : 2 * directions])
    assert torch.equal(weight[2 * directions :], before[2 * directions :]), "filters beyond the directions"
    with torch.no_grad():
        outputs = torch.nn.functional.conv2d(torch.from_numpy(np.stack(images)), weight[:directions])
    outputs = outputs.permute(1, 0, 2, 3).flatten(1).double()
    covariance = (outputs @ outputs.T / outputs.shape[1]).numpy()
    np.testing.assert_allclose(covariance, np.eye(directions), atol=0.1)


def test_whitening_takes_photos_of_several_sizes_and_leaves_the_layer_where_there_are_none():
    network = initialized("he")
    before = network.conv1_1.weight.clone()
    whiten(network, [])
    assert torch.equal(network.conv1_1.weight, before)
    whiten(network, [*photos_of_noise(1), np.zeros((3, 2, 2), np.float32), np.ones((3, 5, 7), np.float32)])
    assert torch.isfinite(network.conv1_1.weight).all()


@pytest.mark.parametrize("scheme", ["he", "glorot", "paper", "identity"])
@pytest.mark.parametrize("configuration", ["A", "SegNet-Basic"])
def test_a_segnet_begins_with_answers_that_differ_from_pixel_to_pixel(configuration, scheme):
    network = initialized(
        scheme, configuration=configuration, head="segnet", batch_norm=True, width=0.25, classes=5, input_size=32
    ).train()
    logits = network(torch.randn(2, 3, 45, 64, generator=torch.Generator().manual_seed(0)))
    assert torch.isfinite(logits).all()
    assert (logits.std(dim=(2, 3)) > 0).all()


def test_whitening_takes_windows_of_7x7_too():
    network = initialized("he", configuration="SegNet-Basic", head="segnet", classes=3, input_size=32, width=1)
    photos = [np.random.default_rng(i).normal(size=(3, 40, 50)).astype(np.float32) for i in range(8)]
    whiten(network, photos)
    torch.testing.assert_close(network.conv1_1.weight[:32], -network.conv1_1.weight[32:64])
    with torch.no_grad():
        spread = torch.nn.functional.conv2d(torch.from_numpy(np.stack(photos)), network.conv1_1.weight).std(
            dim=(0, 2, 3)
        )
    assert spread.min() > 0.9
    assert spread.max() < 1.1


def test_an_unknown_scheme_is_refused_with_the_list():
    with pytest.raises(RecipeError, match="he, glorot|paper, glorot, he"):
        initialized("xavier")
    with pytest.raises(RecipeError, match="paper"):
        initialized("he", std=0.1)
