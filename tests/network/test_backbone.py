"""The torch network against the table, against torch's own layers and against itself."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from verydeep.architecture import Architecture
from verydeep.errors import ArchitectureError, UsageError
from verydeep.network import Network, build, initialize, load_weights, weights_of

PAPERS = ("A", "A-LRN", "B", "C", "D", "E")


def narrow(configuration: str, **fields) -> Network:
    architecture = Architecture(configuration, **{"width": 1 / 16, "classes": 7, "input_size": 64} | fields)
    network = Network(architecture)
    initialize(network, "he", seed=3)
    return network.eval()


def images(*sides: int, count: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(count, channels, *sides, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("configuration", PAPERS)
def test_a_state_dict_has_the_names_and_shapes_of_the_table(configuration):
    for batch_norm in (False, True):
        architecture = Architecture(configuration, batch_norm=batch_norm, width=1 / 8)
        state = Network(architecture).state_dict()
        shapes = {name: tuple(array.shape) for name, array in state.items() if "num_batches" not in name}
        assert shapes == architecture.weight_shapes


@pytest.mark.parametrize("configuration", ["A", "B", "D", "E"])
def test_the_network_computes_what_the_usual_stack_of_torch_layers_computes(configuration):
    network = narrow(configuration)
    layers: list[nn.Module] = []
    for layer in network.architecture.layers:
        if layer.kind == "conv":
            layers += [network.get_submodule(layer.name), nn.ReLU()]
        elif layer.kind == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Flatten(), network.get_submodule(layer.name)] + [nn.ReLU()] * layer.has_relu
    x = images(64, 64)
    torch.testing.assert_close(network(x), nn.Sequential(*layers)(x))


def test_lrn_follows_the_formula_of_krizhevsky_with_alpha_not_divided():
    network = narrow("A-LRN")
    found = network.features(images(64, 64), ("relu1_1", "lrn1"))
    x, squares = found["relu1_1"], found["relu1_1"] ** 2
    padded = F.pad(squares, (0, 0, 0, 0, 2, 2))
    sums = torch.stack([padded[:, i : i + x.shape[1]] for i in range(5)]).sum(0)
    torch.testing.assert_close(found["lrn1"], x / (2 + 1e-4 * sums) ** 0.75)


@pytest.mark.parametrize("configuration", PAPERS)
def test_the_dense_view_equals_the_fc_head_at_the_training_crop(configuration):
    network = narrow(configuration, batch_norm=configuration == "D")
    x = images(64, 64)
    logits, scores = network(x), network.dense()(x)
    assert scores.shape == (2, 7, 1, 1)
    assert (logits - scores.flatten(1)).abs().max() <= 1e-5 * logits.abs().max()


def test_each_position_of_the_dense_map_is_the_fc_head_on_its_window():
    network = narrow("toy", input_size=16)
    for name in ("conv1_1", "conv1_2", "conv2_1"):  # one pixel only, so that no window sees beyond its border
        module = network.get_submodule(name)
        with torch.no_grad():
            module.weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
    x = images(24, 32)
    scores = network.dense()(x)
    assert scores.shape == (2, 7, 3, 5)  # windows of 16 pixels at every 4th
    for row, column in ((0, 0), (1, 3), (2, 4)):
        window = x[:, :, 4 * row : 4 * row + 16, 4 * column : 4 * column + 16]
        torch.testing.assert_close(scores[:, :, row, column], network(window))


def test_the_dense_view_shares_the_memory_of_the_weights():
    network = narrow("A")
    view = network.dense()
    x = images(64, 64)
    before = view(x)
    with torch.no_grad():
        network.fc6.weight.mul_(2)
    assert not torch.equal(view(x), before)
    torch.testing.assert_close(view(x).flatten(1), network(x))


def test_a_gap_head_on_a_large_image_averages_its_linear_layer_over_the_map():
    network = narrow("B", head="gap", batch_norm=True)
    x = images(96, 160)
    pool = network.features(x, ("pool5",))["pool5"]
    scores = torch.einsum("nchw,kc->nkhw", pool, network.fc8.weight) + network.fc8.bias[:, None, None]
    torch.testing.assert_close(network(x), scores.mean(dim=(2, 3)))
    assert network.dense().architecture == network.architecture


def test_features_are_the_outputs_before_and_after_the_relu():
    network = narrow("C", batch_norm=True)
    x = images(64, 64)
    found = network.features(x, network.architecture.outputs)
    assert tuple(found) == network.architecture.outputs
    torch.testing.assert_close(found["relu3_3"], found["conv3_3"].relu())
    torch.testing.assert_close(found["pool3"], F.max_pool2d(found["relu3_3"], 2))
    torch.testing.assert_close(found["logits"], found["fc8"])
    assert (found["conv1_1"] < 0).any()
    normalised = network.bn1_1(network.conv1_1(x))
    torch.testing.assert_close(found["conv1_1"], normalised)


def test_dropout_follows_fc6_and_fc7_and_is_off_in_evaluation():
    network = narrow("A")
    x = images(64, 64)
    torch.testing.assert_close(network(x), network(x))
    network.train()
    torch.manual_seed(0)
    found = network.features(x, ("relu6", "fc7"))
    torch.manual_seed(0)
    expected = network.fc7(F.dropout(found["relu6"], 0.5))
    torch.testing.assert_close(found["fc7"], expected)


@pytest.mark.parametrize("configuration", ["A", "A-LRN", "D", "SegNet-Basic"])
@pytest.mark.parametrize("sides", [(64, 64), (33, 71)])
def test_an_unpool_is_torch_s_with_the_places_of_its_pool(configuration, sides):
    network = narrow(configuration, head="segnet", batch_norm=configuration == "D", width=1 / 8)
    layers = network.architecture.layers
    names = [layer.relu_name if layer.has_relu else layer.name for layer in layers]
    found = network.features(images(*sides), network.architecture.outputs)
    assert found["logits"].shape == (2, 7, *sides)
    for position, layer in enumerate(layers):
        if layer.kind != "unpool":
            continue
        taken = found[names[names.index(layer.pool) - 1]]
        _, places = F.max_pool2d(taken, 2, return_indices=True)
        expected = F.max_unpool2d(found[names[position - 1]], places, 2, output_size=taken.shape[-2:])
        assert torch.equal(found[layer.name], expected)


def test_places_are_kept_for_an_unpool_only(monkeypatch):
    asked = []
    pool = F.max_pool2d
    monkeypatch.setattr(F, "max_pool2d", lambda *a, **options: asked.append(options) or pool(*a, **options))
    narrow("A", head="gap")(images(64, 64))
    assert asked == [{}] * 5


def test_a_segnet_learns_in_bfloat16_in_both_layouts():
    network = narrow("toy", head="segnet", batch_norm=True, width=1.0, input_size=16).train()
    for layout in (torch.contiguous_format, torch.channels_last):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images(21, 30).to(memory_format=layout))
        logits.float().square().mean().backward()
        assert network.conv1_1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("configuration", "after"),
    [("D", ["unpool1"]), ("A-LRN", ["lrn1", "unpool1"]), ("SegNet-Basic", ["unpool1", "conv1_1_D"])],
)
def test_a_segnet_is_cut_outside_of_its_pools_and_unpools_only(configuration, after):
    network = narrow(configuration, head="segnet", width=1 / 8)
    x = images(40, 53)
    for layer in after:
        found = network.features(x, (layer, "logits"))
        torch.testing.assert_close(network.after(layer)(found[layer]), found["logits"])
    with pytest.raises(UsageError, match=f"after 'pool3': an unpool above it has to know.* after {', '.join(after)}"):
        network.after("pool3")
    with pytest.raises(UsageError, match="cannot go on after 'relu3_1'. It can"):
        network.after("relu3_1")


def test_an_embedding_has_length_1():
    network = narrow("A", head="embedding", dimensions=12)
    found = network.features(images(70, 64), ("fc8", "unit8", "logits"))
    assert torch.equal(found["unit8"], found["logits"])
    torch.testing.assert_close(found["logits"], F.normalize(found["fc8"]))
    torch.testing.assert_close(network.after("gap")(network.features(images(70, 64), ("gap",))["gap"]), found["logits"])


def test_the_weights_of_a_classifier_s_convolutions_are_a_segnet_s():
    encoder, network = narrow("D", batch_norm=True), narrow("D", head="segnet", batch_norm=True)
    shared = {name: array for name, array in encoder.state_dict().items() if not name.startswith("fc")}
    load_weights(network, network.state_dict() | shared)
    x = images(64, 64)
    torch.testing.assert_close(network.features(x, ("pool5",))["pool5"], encoder.features(x, ("pool5",))["pool5"])


def test_an_image_that_does_not_fit_is_refused_with_the_size_that_does():
    with pytest.raises(ArchitectureError, match="64 x 64 only"):
        narrow("A")(images(96, 96))
    with pytest.raises(ArchitectureError, match="at least 64 pixels"):
        narrow("A").dense()(images(63, 200))
    with pytest.raises(ArchitectureError, match="at least 32 pixels"):
        narrow("A", head="gap")(images(31, 31))


def test_an_unknown_output_is_refused_with_the_list_of_outputs():
    with pytest.raises(UsageError, match="conv9_9.*conv1_1, relu1_1"):
        narrow("A").features(images(64, 64), ("conv9_9",))


def test_weights_survive_the_way_out_and_in_again():
    network = narrow("B", batch_norm=True)
    with torch.no_grad():
        network.bn2_2.running_mean.normal_()
        network.bn2_2.running_var.uniform_(0.5, 2)
    again = build(network.architecture, weights_of(network))
    x = images(64, 64)
    assert torch.equal(network(x), again(x))
    assert not again.training


def test_grey_input_and_odd_sizes_run():
    network = narrow("toy", head="gap", input_channels=1, input_size=8, width=1.0)
    assert network(images(13, 9, channels=1)).shape == (2, 7)
