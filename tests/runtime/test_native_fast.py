"""Precisions `fast` and `int8`, convolutions in whole numbers: near the reference, in every instruction set."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.errors import DeviceError, ModelFileError
from verydeep.runtime import open_model
from verydeep.runtime.ranges import POINTS, input_matrix, measure_ranges, sources
from verydeep.runtime.reference import ReferenceEngine
from verydeep.weights import read_model, write_model

_native = pytest.importorskip("verydeep.runtime._native", reason="the native engine was not built")

from verydeep.runtime.native_engine import NativeEngine  # noqa: E402, needs the compiled module

# Root mean square, relative: 12 bits of weights and 13 of values, of which few are large, in up to 13 layers; 8 and 8.
TOLERANCE = {"fast": 1e-2, "int8": 0.2}

RandomWeights = Callable[..., dict[str, np.ndarray]]
SETS = _native.instruction_sets()


def photos(n: int, height: int = 64, width: int = 64, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, 3, height, width)).astype(np.float32)


def relative_error(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.sqrt(((got - expected) ** 2).mean() / (expected**2).mean()))


@pytest.mark.parametrize("precision", ["fast", "int8"])
@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize(
    "architecture",
    [
        Architecture("B", "gap", classes=7, input_size=64, width=0.25, batch_norm=True),
        Architecture("C", "fc", classes=7, input_size=64, width=0.125),
        Architecture("A-LRN", "conv", classes=7, input_size=64, width=0.125),
    ],
    ids=lambda architecture: architecture.name,
)
def test_it_is_near_the_reference(
    architecture: Architecture, instruction_set: str, precision: str, random_weights: RandomWeights
) -> None:
    weights = random_weights(architecture)
    reference = ReferenceEngine(architecture, weights)
    ranges = measure_ranges(architecture, reference, photos(8, seed=2))
    engine = NativeEngine(architecture, weights, precision=precision, ranges=ranges, instruction_set=instruction_set)
    expected = reference.run(photos(2), architecture.outputs)
    got = engine.run(photos(2), architecture.outputs)
    errors = {name: relative_error(got[name], expected[name]) for name in architecture.outputs}
    assert max(errors.values()) < TOLERANCE[precision], errors
    assert errors["logits"] > 1e-5  # else it would not be whole numbers


@pytest.mark.parametrize(("precision", "tolerance"), [("fast", 3e-4), ("int8", 5e-3)])
def test_all_instruction_sets_multiply_the_same_whole_numbers(
    precision: str, tolerance: float, random_weights: RandomWeights
) -> None:
    """Sums of whole numbers do not depend on their order; a transformed pixel between two of them may become either."""
    architecture = Architecture("toy", "gap", classes=4, input_size=32)
    weights = random_weights(architecture)
    ranges = measure_ranges(architecture, ReferenceEngine(architecture, weights), photos(2, seed=2))
    engines = [
        NativeEngine(architecture, weights, precision=precision, ranges=ranges, instruction_set=name) for name in SETS
    ]
    first, *others = [engine.run(photos(2), ["conv1_2"])["conv1_2"] for engine in engines]
    for other in others:
        assert relative_error(other, first) < tolerance


def test_ranges_are_the_largest_transformed_pixels(random_weights: RandomWeights) -> None:
    """Each number of B d B^T of one window, worked out by Lagrange's polynomials."""
    architecture = Architecture("toy", "gap", classes=3, input_size=4)
    engine = ReferenceEngine(architecture, random_weights(architecture))
    image = photos(1, 4, 4)
    (found,) = [measure_ranges(architecture, engine, image)["conv1_2"]]
    maps = np.pad(engine.run(image, ["relu1_1"])["relu1_1"][0], ((0, 0), (1, 1), (1, 1))).astype(np.float64)
    matrix = np.zeros((6, 6))
    for row, point in enumerate(POINTS):
        matrix[row, :5] = np.poly1d([other for other in POINTS if other != point], r=True).coeffs[::-1]
    matrix[5] = np.poly1d(POINTS, r=True).coeffs[::-1]
    assert np.allclose(input_matrix(), matrix, atol=1e-6)
    expected = np.abs(matrix @ maps @ matrix.T).max(axis=0).reshape(-1)
    assert np.allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("precision", ["fast", "int8"])
def test_a_segnet_is_near_the_reference(precision: str, random_weights: RandomWeights) -> None:
    """Where two values of a window are nearly equal, rounding moves the maximum, and what is unpooled goes elsewhere.

    Of random weights no class is clearly the best: those of a training agree more.
    """
    architecture = Architecture("A", "segnet", classes=5, input_size=64, width=0.25, batch_norm=True)
    weights = random_weights(architecture)
    reference = ReferenceEngine(architecture, weights)
    ranges = measure_ranges(architecture, reference, photos(8, seed=2))
    assert set(ranges) == {layer.name for layer in architecture.layers[1:] if layer.kind == "conv"}
    engine = NativeEngine(architecture, weights, precision=precision, ranges=ranges)
    images = photos(1)
    expected, got = (one.run(images, ("pool5", "logits")) for one in (reference, engine))
    assert relative_error(got["pool5"], expected["pool5"]) < TOLERANCE[precision]
    is_same = got["logits"].argmax(axis=1) == expected["logits"].argmax(axis=1)
    assert is_same.mean() > {"fast": 0.9, "int8": 0.5}[precision]


def test_every_convolution_by_winograd_has_a_source() -> None:
    assert sources(Architecture("A-LRN"))["conv2_1"] == "pool1"
    assert sources(Architecture("D"))["conv1_2"] == "relu1_1"
    assert "conv1_1" not in sources(Architecture("D"))
    assert "conv3_3" not in sources(Architecture("C"))
    assert len(sources(Architecture("E"))) == 15
    assert sources(Architecture("D", "segnet"))["conv5_3_D"] == "unpool5"
    assert sources(Architecture("SegNet-Basic", "segnet")) == {}


@pytest.mark.parametrize("precision", ["fast", "int8"])
def test_a_model_says_its_ranges(precision: str, toy_model: Path, tmp_path: Path) -> None:
    info, weights = read_model(toy_model)
    with pytest.raises(ModelFileError, match=r"does not say how large the numbers in conv1_2 are \(2 such\)"):
        open_model(toy_model, precision=precision)
    reference = ReferenceEngine(info.architecture, weights)
    ranges = measure_ranges(info.architecture, reference, photos(2))
    path = tmp_path / "ranged.safetensors"
    write_model(path, dataclasses.replace(info, ranges=ranges), weights)
    opened = open_model(path, precision=precision)
    assert (opened.engine_name, opened.info.ranges) == ("native", ranges)
    got, expected = (engine.run(photos(1))["logits"] for engine in (opened.engine, reference))
    assert 1e-6 < relative_error(got, expected) < TOLERANCE[precision]


@pytest.mark.parametrize("precision", ["fast", "int8"])
@pytest.mark.parametrize("engine", ["torch", "reference"])
def test_whole_numbers_are_the_native_engines_alone(engine: str, precision: str, toy_model: Path) -> None:
    if engine == "torch":
        pytest.importorskip("torch")
    with pytest.raises(DeviceError, match=precision):
        open_model(toy_model, engine=engine, precision=precision)


@pytest.mark.parametrize("precision", ["fast", "int8"])
def test_a_network_without_3x3_convolutions_is_refused(precision: str, random_weights: RandomWeights) -> None:
    architecture = Architecture("SegNet-Basic", "segnet", classes=3, input_size=32, width=0.125)
    with pytest.raises(DeviceError, match=f"no 3 x 3 convolution that precision {precision} could compute"):
        NativeEngine(architecture, random_weights(architecture), precision=precision, ranges={})


@pytest.mark.parametrize("precision", ["fast", "int8"])
def test_batch_norm_that_gives_no_number_is_refused(precision: str, random_weights: RandomWeights) -> None:
    architecture = Architecture("toy", "gap", classes=3, input_size=16, batch_norm=True)
    weights = random_weights(architecture)
    ranges = measure_ranges(architecture, ReferenceEngine(architecture, weights), photos(1, 16, 16))
    weights["bn1_2.running_var"] = -np.ones_like(weights["bn1_2.running_var"])
    with pytest.raises(ModelFileError, match=r"batch norm after conv1_2 gives NaN or infinity.* --precision float32"):
        NativeEngine(architecture, weights, precision=precision, ranges=ranges)
