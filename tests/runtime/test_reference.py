"""The reference against numbers worked out by hand, and against torch's layers by way of `network`."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import threadpoolctl

from verydeep import machine
from verydeep.architecture import CONFIGURATIONS, LRN, Architecture, Layer
from verydeep.errors import ArchitectureError, DeviceError, UsageError
from verydeep.runtime.reference import ReferenceEngine, convolve, local_response_norm, max_pool, max_unpool, unit

# ||a - b||^2 / ||b||^2. Rounding of float32 (2^-24, squared 4e-15) over 16 layers of sums in another order leaves
# about 1e-12; the smallest mistake we know of, alpha of LRN divided by its size, 1e-8 at random weights.
TOLERANCE = 1e-10

RandomWeights = Callable[..., dict[str, np.ndarray]]


def normalized_squared_error(got: np.ndarray, expected: np.ndarray) -> float:
    return float(((got - expected).astype(np.float64) ** 2).sum() / (expected.astype(np.float64) ** 2).sum())


def small(configuration: str, head: str = "gap", batch_norm: bool = False, size: int = 32) -> Architecture:
    return Architecture(configuration, head, classes=7, input_size=size, width=0.125, batch_norm=batch_norm)


def photos(architecture: Architecture, n: int = 2, height: int | None = None, width: int | None = None) -> np.ndarray:
    shape = (n, architecture.input_channels, height or architecture.input_size, width or architecture.input_size)
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def assert_equals_torch(
    architecture: Architecture, weights: dict[str, np.ndarray], images: np.ndarray, precision: str = "float32"
) -> None:
    """precision: float64 where the place of a maximum decides, which rounding may move."""
    torch = pytest.importorskip("torch")
    from verydeep.network import build

    with torch.inference_mode():
        network, pixels = build(architecture, weights), torch.from_numpy(images)
        if precision == "float64":
            network, pixels = network.double(), pixels.double()
        expected = network.features(pixels, architecture.outputs)
    got = ReferenceEngine(architecture, weights, precision=precision).run(images, architecture.outputs)
    assert set(got) == set(architecture.outputs)
    for name in architecture.outputs:
        assert got[name].shape == tuple(expected[name].shape), name
        assert got[name].dtype == np.dtype(precision), name
        assert normalized_squared_error(got[name], expected[name].numpy()) < TOLERANCE, name


@pytest.mark.parametrize("batch_norm", [False, True], ids=["plain", "bn"])
@pytest.mark.parametrize("configuration", [name for name in CONFIGURATIONS if name != "SegNet-Basic"])
def test_every_output_of_every_configuration_equals_torchs(
    configuration: str, batch_norm: bool, random_weights: RandomWeights
) -> None:
    architecture = small(configuration, batch_norm=batch_norm)
    assert_equals_torch(architecture, random_weights(architecture), photos(architecture))


@pytest.mark.parametrize("head", ["fc", "gap", "conv", "embedding"])
def test_every_head_equals_torchs(head: str, random_weights: RandomWeights) -> None:
    architecture = small("B", head, size=64)
    assert_equals_torch(architecture, random_weights(architecture), photos(architecture))


@pytest.mark.parametrize("head", ["gap", "conv"])
@pytest.mark.parametrize(("height", "width"), [(65, 97), (71, 64), (127, 66)])
def test_odd_sizes_equal_torchs(head: str, height: int, width: int, random_weights: RandomWeights) -> None:
    architecture = small("C", head, size=64)
    assert_equals_torch(architecture, random_weights(architecture), photos(architecture, 1, height, width))


@pytest.mark.parametrize("configuration", ["A", "A-LRN", "B", "C", "D", "E", "SegNet-Basic"])
@pytest.mark.parametrize(("height", "width"), [(64, 64), (37, 75)])
def test_segnet_equals_torchs(configuration: str, height: int, width: int, random_weights: RandomWeights) -> None:
    architecture = small(configuration, "segnet", batch_norm=configuration in ("B", "SegNet-Basic"))
    weights = random_weights(architecture)
    assert_equals_torch(architecture, weights, photos(architecture, 1, height, width), "float64")


def test_of_equal_values_the_first_takes_what_is_unpooled(random_weights: RandomWeights) -> None:
    """Half of the units are zero after a ReLU: whole windows of them are common, and their place is looked at later."""
    architecture = small("toy", "segnet", size=16)
    weights = random_weights(architecture)
    weights["conv1_2.bias"] = weights["conv1_2.bias"] - 1
    images = np.round(photos(architecture, 2, 22, 31))
    relu = ReferenceEngine(architecture, weights).run(images, ["relu1_2"])["relu1_2"]
    assert (max_pool(relu[0], architecture.layers[2]) == 0).mean() > 0.1
    assert_equals_torch(architecture, weights, images, "float64")


@pytest.mark.parametrize("input_channels", [1, 4])
def test_other_numbers_of_input_channels_equal_torchs(input_channels: int, random_weights: RandomWeights) -> None:
    architecture = Architecture("toy", "gap", classes=2, input_size=16, input_channels=input_channels)
    assert_equals_torch(architecture, random_weights(architecture), photos(architecture))


def test_a_convolution_worked_out_by_hand() -> None:
    x = np.array([[[1, 2], [3, 4]], [[10, 20], [30, 40]]], np.float32)
    weight = np.zeros((1, 2, 3, 3), np.float32)
    weight[0, 0, 1, 1] = 1  # the pixel itself, of the first channel
    weight[0, 0, 1, 2] = 100  # its neighbour on the right: a cross-correlation does not flip the window
    weight[0, 1, 0, 1] = -1  # the pixel above, of the second channel
    y = convolve(x, weight, np.array([0.5], np.float32), padding=1)
    assert y.tolist() == [[[1 + 200 + 0.5, 2 + 0.5], [3 + 400 - 10 + 0.5, 4 - 20 + 0.5]]]


@pytest.mark.parametrize("values", [1, 200, 5000])
def test_a_convolution_row_by_row_equals_one_of_the_whole_map(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(3, 9, 7)), rng.normal(size=(4, 3, 3, 3)), rng.normal(size=4)
    expected = convolve(x, weight, bias, padding=1)
    monkeypatch.setattr("verydeep.runtime.reference.WINDOW_VALUES", values)
    assert convolve(x, weight, bias, padding=1) == pytest.approx(expected, rel=1e-6)


def test_a_pool_leaves_out_the_odd_row_and_column() -> None:
    x = np.array([[[1, 5, 99], [3, 2, 99], [99, 99, 99]]], np.float32)
    assert max_pool(x, Layer("pool1", "pool", 1, 1, kernel=2, stride=2)).tolist() == [[[5]]]


def test_a_value_returns_to_the_first_of_equal_maxima_and_an_odd_edge_gets_nothing() -> None:
    x = np.array([[[1, 5, 2, 2, 9], [3, 4, 2, 2, 9], [0, 0, 7, 8, 9]]], float)
    back = max_unpool(np.array([[[10.0, 20.0]]]), x, Layer("pool1", "pool", 1, 1, kernel=2, stride=2))
    assert back.tolist() == [[[0, 10, 20, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]]


@pytest.mark.parametrize("factor", [1, 1e-30, 1e30])
def test_a_vector_is_divided_by_its_length(factor: float) -> None:
    x = np.array([3, 0, -4], np.float32) * np.float32(factor)
    expected = [0.6, 0, -0.8] if factor >= 1 else (x / np.float32(1e-12)).tolist()
    assert unit(x).dtype == np.float32
    assert unit(x).tolist() == pytest.approx(expected, rel=1e-6)
    assert unit(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_local_response_norm_is_the_papers_formula() -> None:
    x = np.arange(1, 8, dtype=np.float32).reshape(7, 1, 1) * 10
    k, alpha, beta = LRN["k"], LRN["alpha"], LRN["beta"]
    expected = [
        10 * c / (k + alpha * sum((10 * j) ** 2 for j in range(max(1, c - 2), min(7, c + 2) + 1))) ** beta
        for c in range(1, 8)
    ]
    assert local_response_norm(x).ravel() == pytest.approx(expected, rel=1e-6)


def test_a_network_without_signal_answers_with_its_last_bias(random_weights: RandomWeights) -> None:
    architecture = small("A", "fc")
    weights = random_weights(architecture)
    weights["fc8.weight"] = np.zeros_like(weights["fc8.weight"])
    logits = ReferenceEngine(architecture, weights).run(photos(architecture))["logits"]
    assert np.array_equal(logits, np.stack([weights["fc8.bias"]] * 2))


def test_the_answer_for_a_photo_does_not_depend_on_its_batch(random_weights: RandomWeights) -> None:
    architecture = small("A", batch_norm=True)
    engine = ReferenceEngine(architecture, random_weights(architecture))
    images = photos(architecture, 3)
    assert np.array_equal(engine.run(images)["logits"][1:2], engine.run(images[1:2])["logits"])


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 1, 32, 32), (0, 3, 32, 32), (1, 3, 31, 32)])
def test_images_that_do_not_fit_are_refused(shape: tuple[int, ...], random_weights: RandomWeights) -> None:
    architecture = small("A")
    engine = ReferenceEngine(architecture, random_weights(architecture))
    with pytest.raises(ArchitectureError, match=r"expected|too small"):
        engine.run(np.zeros(shape, np.float32))


def test_an_unknown_output_is_refused_with_the_list(random_weights: RandomWeights) -> None:
    architecture = small("A")
    engine = ReferenceEngine(architecture, random_weights(architecture))
    with pytest.raises(UsageError, match=r"no output conv9_9.*relu5_2") as error:
        engine.run(photos(architecture), ("logits", "conv9_9"))
    assert error.value.exit_code == 2


def blas_threads() -> set[int]:
    return {library["num_threads"] for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize("threads", [1, 3])
def test_the_answers_do_not_depend_on_the_threads(threads: int, random_weights: RandomWeights) -> None:
    architecture = small("A")
    weights, images = random_weights(architecture), photos(architecture, 5)
    engine = ReferenceEngine(architecture, weights, threads=threads)
    assert engine.threads == threads
    expected = [ReferenceEngine(architecture, weights).run(image[None])["logits"][0] for image in images]
    assert np.array_equal(engine.run(images)["logits"], expected)


def test_by_default_there_is_a_thread_a_core(random_weights: RandomWeights) -> None:
    engine = ReferenceEngine(small("A"), random_weights(small("A")))
    assert (engine.threads, engine.device, engine.device_name) == (machine.cores(), "cpu", "")


def test_the_matrix_product_has_one_thread_while_it_runs_and_its_own_number_afterwards(
    random_weights: RandomWeights, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = blas_threads()
    set_blas_threads(2)
    if blas_threads() != {2}:
        pytest.skip("NumPy's matrix product does not let the number of its threads be set from elsewhere")
    seen: list[set[int]] = []

    def seeing(*arguments: Any) -> np.ndarray:
        seen.append(blas_threads())
        return convolve(*arguments)

    monkeypatch.setattr("verydeep.runtime.reference.convolve", seeing)
    engine = ReferenceEngine(small("toy"), random_weights(small("toy")))
    with ThreadPoolExecutor(4) as pool:  # runs that overlap
        list(pool.map(lambda _: engine.run(photos(small("toy"))), range(8)))
    assert len(seen) == 8 * 2 * 3  # runs, photos, convolutions
    assert all(threads == {1} for threads in seen)
    assert blas_threads() == {2}
    set_blas_threads(before.pop())


def set_blas_threads(threads: int) -> None:
    """From a thread that ends: as long as it lives, no other one could change the number."""
    setting = threading.Thread(target=threadpoolctl.threadpool_limits, args=(threads, "blas"))
    setting.start()
    setting.join()


@pytest.mark.parametrize("setting", [{"device": "cuda"}, {"precision": "bfloat16"}])
def test_settings_that_it_has_not_are_refused(setting: dict[str, object], random_weights: RandomWeights) -> None:
    architecture = small("A")
    with pytest.raises(DeviceError, match="engine torch"):
        ReferenceEngine(architecture, random_weights(architecture), **setting)  # type: ignore[arg-type]
