"""The table: its counts, its names, and what it refuses."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.architecture import CONFIGURATIONS, HEADS, Architecture
from verydeep.errors import ArchitectureError

# What torchvision states of its eight networks, at 1000 classes: num_params in the metadata of its weights.
TORCHVISION = {
    ("A", False): 132_863_336,
    ("A", True): 132_868_840,
    ("B", False): 133_047_848,
    ("B", True): 133_053_736,
    ("D", False): 138_357_544,
    ("D", True): 138_365_992,
    ("E", False): 143_667_240,
    ("E", True): 143_678_248,
}
PAIRS = [(name, head) for name in CONFIGURATIONS for head in HEADS if name != "SegNet-Basic" or head == "segnet"]
ARCHITECTURES = st.builds(
    lambda pair, **fields: Architecture(*pair, **fields),
    pair=st.sampled_from(PAIRS),
    classes=st.integers(1, 1_000_000),
    input_size=st.integers(32, 16_384),
    input_channels=st.integers(1, 4096),
    width=st.floats(0.001, 16),
    batch_norm=st.booleans(),
)


@pytest.mark.parametrize(("configuration", "batch_norm"), list(TORCHVISION))
def test_parameters_are_torchvisions(configuration: str, batch_norm: bool) -> None:
    shapes = Architecture(configuration, batch_norm=batch_norm).weight_shapes
    trained = [shape for name, shape in shapes.items() if not name.endswith(("running_mean", "running_var"))]
    assert sum(map(math.prod, trained)) == TORCHVISION[configuration, batch_norm]


@pytest.mark.parametrize(
    ("configuration", "weight_layers"), [("A", 11), ("A-LRN", 11), ("B", 13), ("C", 16), ("D", 16), ("E", 19)]
)
def test_weight_layers_are_those_of_table_1(configuration: str, weight_layers: int) -> None:
    assert sum(layer.has_weights for layer in Architecture(configuration).layers) == weight_layers


def test_layers_have_the_names_of_the_literature() -> None:
    names = [layer.name for layer in Architecture("D").layers]
    assert " ".join(names) == (
        "conv1_1 conv1_2 pool1 conv2_1 conv2_2 pool2 conv3_1 conv3_2 conv3_3 pool3 conv4_1 conv4_2 conv4_3 pool4 "
        "conv5_1 conv5_2 conv5_3 pool5 fc6 fc7 fc8"
    )


def test_lrn_stands_between_the_first_convolution_and_its_pool() -> None:
    assert [layer.name for layer in Architecture("A-LRN").layers][:3] == ["conv1_1", "lrn1", "pool1"]


def test_c_has_three_1x1_convolutions_without_padding() -> None:
    small = {
        layer.name: layer.padding for layer in Architecture("C").layers if (layer.kind, layer.kernel) == ("conv", 1)
    }
    assert small == {"conv3_3": 0, "conv4_3": 0, "conv5_3": 0}


def test_outputs_are_every_layer_its_relu_and_the_logits() -> None:
    assert Architecture("toy", head="gap", input_size=8).outputs == (
        *("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1", "relu2_1", "pool2"),
        *("gap", "fc8", "logits"),
    )
    assert Architecture("A").outputs[-6:] == ("fc6", "relu6", "fc7", "relu7", "fc8", "logits")


def test_a_toy_has_these_weights() -> None:
    assert Architecture("toy", head="gap", classes=3, input_size=8, batch_norm=True).weight_shapes == {
        "conv1_1.weight": (8, 3, 3, 3),
        "conv1_1.bias": (8,),
        **{f"bn1_1.{part}": (8,) for part in ("weight", "bias", "running_mean", "running_var")},
        "conv1_2.weight": (8, 8, 3, 3),
        "conv1_2.bias": (8,),
        **{f"bn1_2.{part}": (8,) for part in ("weight", "bias", "running_mean", "running_var")},
        "conv2_1.weight": (16, 8, 3, 3),
        "conv2_1.bias": (16,),
        **{f"bn2_1.{part}": (16,) for part in ("weight", "bias", "running_mean", "running_var")},
        "fc8.weight": (3, 16),
        "fc8.bias": (3,),
    }


def test_dropout_follows_fc6_and_fc7_and_nothing_else() -> None:
    dropout = {layer.name: layer.dropout for layer in Architecture("E").layers if layer.dropout}
    assert dropout == {"fc6": 0.5, "fc7": 0.5}


def test_the_dense_view_holds_the_same_numbers_in_other_shapes() -> None:
    network = Architecture("D", classes=10)
    shapes, dense = network.weight_shapes, network.dense().weight_shapes
    assert dense["fc6.weight"] == (4096, 512, 7, 7)
    assert {name: math.prod(shape) for name, shape in shapes.items()} == {
        name: math.prod(shape) for name, shape in dense.items()
    }


@pytest.mark.parametrize("head", ["gap", "conv"])
def test_a_dense_architecture_is_its_own_dense_view(head: str) -> None:
    architecture = Architecture("A", head=head)
    assert architecture.dense() is architecture


@pytest.mark.parametrize(("size", "map_size"), [(224, 7), (225, 7), (255, 7), (256, 8), (63, 1)])
def test_odd_sizes_lose_what_a_pool_cannot_fill(size: int, map_size: int) -> None:
    architecture = Architecture("A", input_size=size)
    shape = (3, size, size)
    for layer in architecture.layers[:-3]:
        shape = layer.output_shape(shape)
    assert shape == (512, map_size, map_size)
    assert architecture.layers[-3].kernel == map_size


@pytest.mark.parametrize(("width", "channels"), [(1, 64), (0.5, 32), (0.25, 16), (0.3, 16), (0.001, 8), (1.1, 72)])
def test_widths_are_rounded_to_multiples_of_eight(width: float, channels: int) -> None:
    assert Architecture("D", width=width).layers[0].out_channels == channels


@given(ARCHITECTURES)
def test_width_never_changes_the_classes_and_channels_fit_together(architecture: Architecture) -> None:
    channels = architecture.input_channels
    for layer in architecture.layers:
        assert layer.in_channels == channels
        channels = layer.out_channels
    assert channels == architecture.scores


@given(ARCHITECTURES)
def test_a_dictionary_holds_all_of_an_architecture(architecture: Architecture) -> None:
    assert Architecture.from_dict(architecture.to_dict()) == architecture


def test_fields_that_an_older_version_did_not_know_have_their_defaults() -> None:
    assert Architecture.from_dict({"configuration": "B", "classes": 7}) == Architecture("B", classes=7)


@pytest.mark.parametrize("fields", [Architecture().to_dict() | {"depth": 16}, {"name": "D"}, [], None])
def test_a_dictionary_with_other_fields_is_refused(fields: object) -> None:
    with pytest.raises(ArchitectureError, match="has the fields"):
        Architecture.from_dict(fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"configuration": "F"}, "A, A-LRN, B, C, D, E, SegNet-Basic, toy"),
        ({"configuration": "d"}, "no configuration 'd'"),
        ({"head": "avg"}, "fc, gap, conv, segnet, embedding"),
        ({"classes": 0}, "classes is 0"),
        ({"classes": 1_000_001}, "classes is 1000001"),
        ({"classes": True}, "classes is True"),
        ({"classes": 10.0}, "classes is 10.0"),
        ({"classes": "10"}, "classes is '10'"),
        ({"input_size": 16_385}, "input_size is 16385"),
        ({"input_channels": -3}, "input_channels is -3"),
        ({"width": 0}, "width is 0"),
        ({"width": 16.5}, "width is 16.5"),
        ({"width": float("nan")}, "width is nan"),
        ({"width": "0.5"}, "width is '0.5'"),
        ({"width": True}, "width is True"),
        ({"input_size": 31}, "31 is too small"),
        ({"input_size": 31, "head": "gap"}, "Use 32 pixels or more"),
        ({"input_size": 3, "configuration": "toy"}, "Use 4 pixels or more"),
    ],
)
def test_a_network_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Architecture(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("architecture", "size", "message"),
    [
        (Architecture("D"), (224, 225), "224 x 225 pixels does not fit the fc head"),
        (Architecture("D"), (192, 192), "takes images of 224 x 224 only"),
        (Architecture("D").dense(), (223, 500), "at least 224 pixels"),
        (Architecture("D", head="gap"), (31, 500), "at least 32 pixels"),
    ],
)
def test_an_image_that_does_not_fit_is_refused(architecture: Architecture, size: tuple[int, int], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        architecture.check_input(*size)


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        (Architecture("D"), (224, 224)),
        (Architecture("D").dense(), (224, 500)),
        (Architecture("D", head="gap", input_size=128), (32, 500)),
    ],
)
def test_an_image_that_fits_is_taken(architecture: Architecture, size: tuple[int, int]) -> None:
    architecture.check_input(*size)


@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        (Architecture("D"), "D"),
        (Architecture("A", batch_norm=True), "A-bn"),
        (Architecture("B", head="gap", width=0.5, batch_norm=True), "B-bn-gap-0.5x"),
    ],
)
def test_a_name_says_what_differs_from_the_paper(architecture: Architecture, name: str) -> None:
    assert architecture.name == name


def test_relu_and_batch_norm_are_named_after_their_layer() -> None:
    layers = {layer.name: layer for layer in Architecture("A", batch_norm=True).layers}
    assert (layers["conv3_2"].relu_name, layers["conv3_2"].batch_norm_name) == ("relu3_2", "bn3_2")
    assert layers["fc6"].relu_name == "relu6"


def test_segnet_s_decoder_is_the_backbone_in_reverse() -> None:
    layers = Architecture("A", "segnet", classes=11, batch_norm=True).layers
    names = [layer.name for layer in layers[13:]]
    assert " ".join(names) == (
        "unpool5 conv5_2_D conv5_1_D unpool4 conv4_2_D conv4_1_D unpool3 conv3_2_D conv3_1_D unpool2 conv2_1_D "
        "unpool1 conv1_1_D"
    )
    assert [layer.pool for layer in layers if layer.kind == "unpool"] == ["pool5", "pool4", "pool3", "pool2", "pool1"]
    assert (layers[-1].out_channels, layers[-1].has_relu, layers[-1].has_batch_norm) == (11, False, False)
    assert all(layer.has_relu and layer.has_batch_norm for layer in layers[:-1] if layer.kind == "conv")


def test_segnet_basic_has_about_the_papers_parameters_and_no_relu_in_its_decoder() -> None:
    """1.425 million, says table 1 of Badrinarayanan et al. (2015); its layers as it describes them have 1.415."""
    architecture = Architecture("SegNet-Basic", "segnet", classes=11, batch_norm=True)
    shapes = architecture.weight_shapes
    weights = {name: math.prod(shape) for name, shape in shapes.items() if name.endswith(".weight") and len(shape) == 4}
    assert round(sum(weights.values()) / 1e6, 3) == 1.415
    assert [layer.name for layer in architecture.layers if layer.has_relu] == [f"conv{i}_1" for i in (1, 2, 3, 4)]
    assert architecture.layers[-1].kernel == 1


@pytest.mark.parametrize("configuration", ["A", "A-LRN", "C", "SegNet-Basic", "toy"])
@pytest.mark.parametrize(("height", "width"), [(37, 64), (95, 33), (360, 480)])
def test_segnet_answers_for_every_pixel_also_of_odd_sizes(configuration: str, height: int, width: int) -> None:
    architecture = Architecture(configuration, "segnet", classes=7)
    shapes = architecture.output_shapes(height, width)
    assert list(shapes.values())[-1] == (7, height, width)
    before = {"pool1": (height, width)} | {
        f"pool{block + 1}": shapes[f"pool{block}"][1:] for block in range(1, 5) if f"pool{block + 1}" in shapes
    }
    for pool, size in before.items():
        assert shapes[f"un{pool}"][1:] == size


@pytest.mark.parametrize("head", ["fc", "gap", "conv", "embedding"])
def test_segnet_basic_goes_with_its_own_head_only(head: str) -> None:
    with pytest.raises(ArchitectureError, match="goes with the segnet head only"):
        Architecture("SegNet-Basic", head)  # type: ignore[arg-type]
