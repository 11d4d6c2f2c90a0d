"""The native engine, each instruction set of this processor, held against the reference."""

import dataclasses
import multiprocessing
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.architecture import CONFIGURATIONS, Architecture
from verydeep.errors import ArchitectureError, DeviceError, ModelFileError, UsageError
from verydeep.runtime.reference import ReferenceEngine, max_unpool

_native = pytest.importorskip("verydeep.runtime._native", reason="the native engine was not built")

from verydeep.runtime.native_engine import NativeEngine  # noqa: E402, needs the compiled module
from verydeep.runtime.packing import methods  # noqa: E402

# Of the largest value of an output: float32's rounding (6e-8) in up to 16 layers, enlarged by Winograd's transforms.
TOLERANCE = 3e-5  # of networks as narrow as one channel, 16 convolutions deep, most of them by F(6x6)

CLASSIFIERS = [name for name in CONFIGURATIONS if name != "SegNet-Basic"]
RandomWeights = Callable[..., dict[str, np.ndarray]]
SETS = _native.instruction_sets()
ARCHITECTURE = Architecture("B", "gap", classes=7, input_size=32, width=0.125, batch_norm=True)


def photos(n: int, height: int = 32, width: int = 32, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, channels, height, width)).astype(np.float32)


def assert_near(got: np.ndarray, expected: np.ndarray, name: str = "", largest: float = 0) -> None:
    """largest: value that went into the sums, where the sums may have cancelled it."""
    assert (got.shape, got.dtype) == (expected.shape, np.float32), name
    assert np.abs(got - expected).max() <= TOLERANCE * max(largest, np.abs(expected).max()), name


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
@pytest.mark.parametrize("configuration", CLASSIFIERS)
def test_every_output_of_every_configuration_equals_the_references(
    configuration: str, batch_norm: bool, instruction_set: str, random_weights: RandomWeights
) -> None:
    architecture = Architecture(configuration, "gap", 7, input_size=32, width=0.125, batch_norm=batch_norm)
    weights = random_weights(architecture)
    images = photos(2, 45, 70)
    expected = ReferenceEngine(architecture, weights).run(images, architecture.outputs)
    engine = NativeEngine(architecture, weights, threads=2, instruction_set=instruction_set)
    got = engine.run(images, architecture.outputs)
    assert set(got) == set(expected)
    for name in architecture.outputs:
        assert_near(got[name], expected[name], name)
        assert np.array_equal(engine.run(images, [name])[name], got[name]), f"{name} asked for alone"


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize(
    ("configuration", "batch_norm"),
    [("A", False), ("A-LRN", True), ("B", True), ("C", False), ("D", True), ("E", True), ("SegNet-Basic", True)],
)
def test_every_output_of_a_segnet_equals_the_references(
    configuration: str, batch_norm: bool, instruction_set: str, random_weights: RandomWeights
) -> None:
    architecture = Architecture(configuration, "segnet", 7, input_size=32, width=0.125, batch_norm=batch_norm)
    weights = random_weights(architecture)
    images = photos(2, 45, 70)
    reference = ReferenceEngine(architecture, weights)
    engine = NativeEngine(architecture, weights, threads=2, instruction_set=instruction_set)
    got = engine.run(images, architecture.outputs)
    x, pooled = images, {}
    for layer in architecture.layers:  # one by one: two values may be so nearly equal that another is the maximum
        pooled[layer.name] = x
        if layer.kind == "unpool":
            expected = np.stack([max_unpool(*one, layer) for one in zip(x, pooled[layer.pool], strict=True)])
            assert np.array_equal(got[layer.name], expected), layer.name
        else:
            expected = np.stack([reference._linear_part(layer, one) for one in x])
            assert_near(got[layer.name], expected, layer.name)
        x = got[layer.name]
        if layer.has_relu:
            x = np.maximum(x, 0)
            assert np.array_equal(got[layer.relu_name], x), layer.relu_name
    assert np.array_equal(got["logits"], x)
    whole = reference.run(images)["logits"]
    assert (np.abs(x - whole) <= TOLERANCE * np.abs(whole).max()).mean() > 0.9
    for name in ("unpool3", "conv1_1_D", "logits"):
        assert np.array_equal(engine.run(images, [name])[name], got[name]), f"{name} asked for alone"
    one = NativeEngine(architecture, weights, threads=1, instruction_set=instruction_set)
    assert np.array_equal(one.run(images[1:])["logits"], got["logits"][1:])


@pytest.mark.parametrize("instruction_set", SETS)
def test_of_equal_values_the_first_takes_what_is_unpooled(instruction_set: str, random_weights: RandomWeights) -> None:
    """Whole windows are zero after a ReLU: their place is the first, as in torch."""
    architecture = Architecture("toy", "segnet", classes=3, input_size=8)
    weights = random_weights(architecture)
    weights["conv1_2.bias"] = weights["conv1_2.bias"] - 1
    images = photos(2, 23, 18)
    got = NativeEngine(architecture, weights, instruction_set=instruction_set).run(images, ("pool1", "unpool1"))
    windows = got["unpool1"][:, :, :22].reshape(2, 8, 11, 2, 9, 2).transpose(3, 5, 0, 1, 2, 4)[:, :, got["pool1"] == 0]
    assert windows.shape[-1] > 0.1 * got["pool1"].size
    assert windows[0, 0].any()
    assert not windows[0, 1].any()
    assert not windows[1].any()
    assert not got["unpool1"][:, :, 22].any()


@pytest.mark.parametrize("instruction_set", SETS)
def test_an_embedding_equals_the_references(instruction_set: str, random_weights: RandomWeights) -> None:
    architecture = Architecture("A", "embedding", input_size=32, width=0.125, dimensions=37)
    weights = random_weights(architecture)
    images = photos(5, 40, 33)
    outputs = ("gap", "fc8", "unit8", "logits")
    expected = ReferenceEngine(architecture, weights).run(images, outputs)
    got = NativeEngine(architecture, weights, instruction_set=instruction_set).run(images, outputs)
    for name in outputs:
        assert_near(got[name], expected[name], name)
    assert np.linalg.norm(got["logits"], axis=1) == pytest.approx(1, abs=1e-6)


def test_an_unpool_without_its_pool_is_refused() -> None:
    network = _native.Network(SETS[0])
    network.add_layer("pool1", "pool", 8)
    with pytest.raises(ValueError, match="no pool pool2 to undo"):
        network.add_layer("unpool2", "unpool", 8, "pool2")
    network.add_layer("unpool1", "unpool", 8, "pool1")
    with pytest.raises(ValueError, match="no pool pool1 to undo"):
        network.add_layer("unpool1", "unpool", 8, "pool1")
    with pytest.raises(ValueError, match="no kind lpn"):
        network.add_layer("lrn1", "lpn", 8)


@st.composite
def networks(draw: st.DrawFn) -> tuple[Architecture, tuple[int, int]]:
    """An architecture and a size of images for it: any configuration, head and width, even and odd sizes."""
    architecture = Architecture(
        draw(st.sampled_from(sorted(CLASSIFIERS))),
        draw(st.sampled_from(["fc", "gap", "conv", "embedding"])),
        classes=draw(st.integers(1, 20)),
        input_size=draw(st.integers(32, 70)),
        input_channels=draw(st.sampled_from([1, 3, 3, 4])),
        width=draw(st.sampled_from([0.02, 0.125, 0.2, 0.25])),
        batch_norm=draw(st.booleans()),
    )
    side = architecture.smallest_input
    size = (side, side) if architecture.head == "fc" else (draw(st.integers(side, 90)), draw(st.integers(side, 90)))
    return architecture, size


@pytest.mark.slow
@given(
    network=networks(),
    n=st.integers(1, 5),
    threads=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    instruction_set=st.sampled_from(SETS),
)
@settings(max_examples=60, deadline=None)
def test_any_network_equals_the_reference(
    *,
    random_weights: RandomWeights,
    network: tuple[Architecture, tuple[int, int]],
    n: int,
    threads: int,
    seed: int,
    instruction_set: str,
) -> None:
    architecture, (height, width) = network
    weights = random_weights(architecture, seed=seed)
    images = photos(n, height, width, architecture.input_channels)
    expected = ReferenceEngine(architecture, weights).run(images, architecture.outputs)
    largest = [float(np.abs(expected[name]).max()) for name in architecture.outputs]
    position = seed % len(architecture.outputs)
    asked = (architecture.outputs[position], "logits")
    engine = NativeEngine(architecture, weights, threads=threads, instruction_set=instruction_set)
    got = engine.run(images, asked)
    assert_near(got[asked[0]], expected[asked[0]], asked[0], max(largest[max(0, position - 2) : position + 1]))
    assert_near(got["logits"], expected["logits"], "logits", max(largest[-4:]))


@pytest.mark.parametrize("instruction_set", SETS)
def test_the_toy_network_takes_images_from_four_pixels_on(instruction_set: str, random_weights: RandomWeights) -> None:
    architecture = Architecture("toy", "gap", classes=3, input_size=4)
    weights = random_weights(architecture)
    reference, native = (
        ReferenceEngine(architecture, weights),
        NativeEngine(architecture, weights, instruction_set=instruction_set),
    )
    for height, width in ((4, 4), (5, 4), (4, 333), (500, 7)):
        images = photos(1, height, width)
        assert_near(native.run(images)["logits"], reference.run(images)["logits"], f"{height} x {width}")


@pytest.mark.parametrize("instruction_set", SETS)
def test_an_answer_depends_neither_on_batch_nor_on_threads(instruction_set: str, random_weights: RandomWeights) -> None:
    weights = random_weights(ARCHITECTURE)
    images = photos(9, 64, 48)
    alone = NativeEngine(ARCHITECTURE, weights, threads=1, instruction_set=instruction_set)
    expected = np.concatenate([alone.run(images[i : i + 1])["logits"] for i in range(9)])
    for threads in (1, 2, 3):
        engine = NativeEngine(ARCHITECTURE, weights, threads=threads, instruction_set=instruction_set)
        assert np.array_equal(engine.run(images)["logits"], expected)
        assert np.array_equal(alone.run(images, threads=threads)["logits"], expected)


def test_float16_weights_are_what_they_are_in_float32(random_weights: RandomWeights) -> None:
    architecture = Architecture("toy", classes=5, input_size=32)
    half = {name: array.astype(np.float16) for name, array in random_weights(architecture).items()}
    whole = {name: array.astype(np.float32) for name, array in half.items()}
    from_half, from_whole = (NativeEngine(architecture, weights).run(photos(3))["logits"] for weights in (half, whole))
    assert np.array_equal(from_half, from_whole)


def test_images_of_any_memory_layout_are_taken(random_weights: RandomWeights) -> None:
    engine = NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE))
    images = photos(2, 40, 36)
    expected = engine.run(images)["logits"]
    for other in (images.astype(np.float64), np.asfortranarray(images), images[:, :, ::-1][:, :, ::-1]):
        assert np.array_equal(engine.run(other)["logits"], expected)


def test_eight_threads_at_once_get_the_answers_of_one(random_weights: RandomWeights) -> None:
    engine = NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE), threads=2)
    batches = [photos(1 + i % 3) + i for i in range(24)]
    expected = [engine.run(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda batch: engine.run(batch)["logits"], batches))
    assert all(map(np.array_equal, got, expected))


def test_it_runs_in_turns_with_torch_in_one_process(random_weights: RandomWeights) -> None:
    """torch brings threads of its own, of OpenMP: neither may keep the other waiting, nor change its answer."""
    torch = pytest.importorskip("torch")
    weights = random_weights(ARCHITECTURE)
    engine = NativeEngine(ARCHITECTURE, weights, threads=2)
    expected = engine.run(photos(2))["logits"]
    matrix = torch.ones(300, 300)
    with ThreadPoolExecutor(3) as pool:
        for _ in range(10):
            products = [pool.submit(torch.mm, matrix, matrix) for _ in range(2)]
            assert np.array_equal(pool.submit(engine.run, photos(2)).result()["logits"], expected)
            assert all(product.result()[0, 0] == 300 for product in products)


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_it_runs_in_a_process_that_was_forked_after_a_run(random_weights: RandomWeights) -> None:
    engine = NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE), threads=2)
    expected = engine.run(photos(1))["logits"]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(engine.run(photos(1))["logits"]))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert np.array_equal(queue.get(), expected)
    assert np.array_equal(engine.run(photos(1))["logits"], expected)


def test_other_python_threads_run_meanwhile(random_weights: RandomWeights) -> None:
    engine = NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE), threads=1)
    images = photos(32, 128, 128)
    counts = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(engine.run, images)
        while not running.done():
            counts.append(1)
    assert len(counts) > 100  # once or twice, if the lock of the interpreter were held


def test_the_environment_names_the_instruction_set(
    monkeypatch: pytest.MonkeyPatch, random_weights: RandomWeights
) -> None:
    weights = random_weights(ARCHITECTURE)
    assert NativeEngine(ARCHITECTURE, weights).instruction_set == SETS[0]
    monkeypatch.setenv("VERYDEEP_ISA", "portable")
    assert NativeEngine(ARCHITECTURE, weights).instruction_set == "portable"
    monkeypatch.setenv("VERYDEEP_ISA", "mmx")
    with pytest.raises(DeviceError, match=r"no instruction set 'mmx' here; there are .*portable"):
        NativeEngine(ARCHITECTURE, weights)


@pytest.mark.parametrize(("device", "precision"), [("cuda", "float32"), ("mps", "float32"), ("cpu", "bfloat16")])
def test_what_it_does_not_offer_is_refused(device: str, precision: str, random_weights: RandomWeights) -> None:
    with pytest.raises(DeviceError, match="native engine computes on the CPU, in float32, fast, int8; got the"):
        NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE), device, precision)


def test_images_that_do_not_fit_and_unknown_outputs_are_refused(random_weights: RandomWeights) -> None:
    engine = NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE))
    with pytest.raises(ArchitectureError, match="too small"):
        engine.run(photos(1, 31, 64))
    with pytest.raises(ArchitectureError, match="images of shape"):
        engine.run(photos(1, 32, 32, channels=4))
    with pytest.raises(UsageError, match="no output conv9_9"):
        engine.run(photos(1), ["conv9_9"])


@pytest.mark.parametrize("name", ["conv2_1.weight", "bn1_1.running_var", "fc8.bias"])
def test_weights_that_are_no_numbers_are_refused(name: str, random_weights: RandomWeights) -> None:
    weights = random_weights(ARCHITECTURE)
    weights[name] = weights[name].copy()
    weights[name].flat[-1] = np.nan
    with pytest.raises(ModelFileError, match=f"NaN or infinity in {name}"):
        NativeEngine(ARCHITECTURE, weights)


def test_larger_tiles_are_taken_where_they_fit() -> None:
    """At 224 pixels all maps but the last, of 14 x 14, which three tiles of 6 overshoot by a fourth."""
    chosen = methods(Architecture("D"))
    assert chosen["conv1_1"] == "first"
    assert {name for name, method in chosen.items() if method == "winograd4"} == {"conv5_1", "conv5_2", "conv5_3"}
    assert sum(method == "winograd6" for method in chosen.values()) == 9
    assert methods(Architecture("C"))["conv3_3"] == "window"
    assert methods(Architecture("D").dense())["fc6"] == "window"
    segnet = methods(Architecture("D", "segnet"))
    assert {segnet[f"{name}_D"] == segnet[name] for name in segnet if f"{name}_D" in segnet and name != "conv1_1"} == {
        True
    }
    assert (segnet["conv5_1_D"], segnet["conv1_1_D"]) == ("winograd4", "winograd6")
    basic = methods(Architecture("SegNet-Basic", "segnet"))
    assert (basic.pop("conv1_1"), set(basic.values())) == ("first", {"window"})


def test_a_small_fc_kernel_is_no_winograd_convolution(random_weights: RandomWeights) -> None:
    """fc6 of an input of 96 pixels is a 3 x 3 convolution without padding in the dense view."""
    architecture = dataclasses.replace(Architecture("A", width=0.05, classes=4, input_size=96)).dense()
    weights = random_weights(architecture)
    images = photos(1, 130, 100)
    expected = ReferenceEngine(architecture, weights).run(images)["logits"]
    assert_near(NativeEngine(architecture, weights).run(images)["logits"], expected)


@pytest.mark.parametrize("threads", [0, -1, 1_000_000])
def test_a_run_by_no_or_too_many_threads_is_refused(threads: int, random_weights: RandomWeights) -> None:
    engine = NativeEngine(ARCHITECTURE, random_weights(ARCHITECTURE))
    with pytest.raises(DeviceError, match=f"threads is {threads}; expected 1 to 1024"):
        engine.run(photos(1), threads=threads)


@pytest.mark.parametrize("instruction_set", SETS)
def test_a_network_that_overflows_says_so(instruction_set: str, random_weights: RandomWeights) -> None:
    """NaN and infinity go through ReLUs and pools: who asks finds no numbers, and can tell."""
    weights = random_weights(ARCHITECTURE)
    weights["bn1_1.running_var"] = -np.abs(weights["bn1_1.running_var"])
    engine = NativeEngine(ARCHITECTURE, weights, instruction_set=instruction_set)
    assert not np.isfinite(engine.run(photos(1))["logits"]).any()
    weights = random_weights(ARCHITECTURE)
    weights["conv2_2.weight"] = weights["conv2_2.weight"] * np.float32(1e38)
    engine = NativeEngine(ARCHITECTURE, weights, instruction_set=instruction_set)
    assert not np.isfinite(engine.run(photos(1))["logits"]).any()
