"""The torch engine held against the reference."""

import dataclasses
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.errors import ArchitectureError, DeviceError, UsageError
from verydeep.runtime.reference import ReferenceEngine

torch = pytest.importorskip("torch")

from verydeep.runtime.torch_engine import TorchEngine, exact_float32  # noqa: E402, needs torch

# ||a - b||^2 / ||b||^2: float32 as for the reference; bfloat16 has 8 bits (2^-9, squared 4e-6) in each of 8 layers.
TOLERANCE = {"float32": 1e-10, "bfloat16": 1e-3}

RandomWeights = Callable[..., dict[str, np.ndarray]]
ARCHITECTURE = Architecture("A", "gap", classes=7, input_size=32, width=0.125, batch_norm=True)


def normalized_squared_error(got: np.ndarray, expected: np.ndarray) -> float:
    return float(((got - expected).astype(np.float64) ** 2).sum() / (expected.astype(np.float64) ** 2).sum())


def photos(n: int, size: int = 32) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 3, size, size)).astype(np.float32)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("head", ["fc", "gap", "conv"])
def test_every_output_equals_the_references(head: str, precision: str, random_weights: RandomWeights) -> None:
    architecture = dataclasses.replace(ARCHITECTURE, head=head)
    weights = random_weights(architecture)
    expected = ReferenceEngine(architecture, weights).run(photos(2), architecture.outputs)
    got = TorchEngine(architecture, weights, "cpu", precision).run(photos(2), architecture.outputs)
    assert set(got) == set(expected)
    for name in architecture.outputs:
        assert (got[name].shape, got[name].dtype) == (expected[name].shape, np.float32), name
        assert got[name].flags.c_contiguous, name
        assert normalized_squared_error(got[name], expected[name]) < TOLERANCE[precision], name


def test_bfloat16_is_used_where_it_is_asked_for(random_weights: RandomWeights) -> None:
    weights = random_weights(ARCHITECTURE)
    exact, rounded = (
        TorchEngine(ARCHITECTURE, weights, "cpu", precision).run(photos(1))["logits"] for precision in TOLERANCE
    )
    assert not np.array_equal(exact, rounded)


def test_eight_threads_at_once_get_the_answers_of_one(random_weights: RandomWeights) -> None:
    engine = TorchEngine(ARCHITECTURE, random_weights(ARCHITECTURE), "cpu")
    batches = [photos(2) + i for i in range(16)]
    expected = [engine.run(batch)["logits"] for batch in batches]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda batch: engine.run(batch)["logits"], batches))
    for one, other in zip(got, expected, strict=True):
        assert one == pytest.approx(other, rel=1e-5, abs=1e-5)
    assert np.ptp([logits[0, 0] for logits in expected]) > 0.1  # the batches do differ


def test_a_run_leaves_images_and_weights_as_they_were(random_weights: RandomWeights) -> None:
    weights, images = random_weights(ARCHITECTURE), photos(1)
    copies = {name: array.copy() for name, array in weights.items()}
    engine = TorchEngine(ARCHITECTURE, weights, "cpu")
    engine.run(images)
    assert np.array_equal(images, photos(1))
    assert all(np.array_equal(weights[name], copies[name]) for name in weights)


def cudnn_flags() -> list[object]:
    names = ("enabled", "benchmark", "benchmark_limit", "deterministic", "allow_tf32")
    return [getattr(torch.backends.cudnn, name) for name in names]


@pytest.mark.parametrize("wanted", [True, False])
def test_float32_is_exact_only_while_it_runs(wanted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", wanted)
    before = cudnn_flags()
    with exact_float32():
        assert not torch.backends.cudnn.allow_tf32
        assert torch.backends.cudnn.enabled
    assert cudnn_flags() == before


def test_threads_that_overlap_put_back_the_flag_that_they_found() -> None:
    barrier = threading.Barrier(4)

    def overlap(_: int) -> None:
        barrier.wait()
        for _ in range(200):
            with exact_float32():
                time.sleep(0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(overlap, range(4)))
    assert torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
        ),
    ],
)
def test_an_engine_changes_no_flag_of_the_process(device: str, random_weights: RandomWeights) -> None:
    before = cudnn_flags()
    engine = TorchEngine(ARCHITECTURE, random_weights(ARCHITECTURE), device)
    assert cudnn_flags() == before
    engine.run(photos(1))
    assert cudnn_flags() == before


def test_it_says_what_it_runs_on(random_weights: RandomWeights) -> None:
    engine = TorchEngine(ARCHITECTURE, random_weights(ARCHITECTURE), "cpu")
    assert (engine.device, engine.device_name, engine.threads) == ("cpu", "", torch.get_num_threads())


def test_images_of_a_reversed_or_strided_array_are_accepted(random_weights: RandomWeights) -> None:
    engine = TorchEngine(ARCHITECTURE, random_weights(ARCHITECTURE), "cpu")
    mirrored = photos(2)[..., ::-1]
    expected = engine.run(np.ascontiguousarray(mirrored))["logits"]
    assert np.array_equal(engine.run(mirrored)["logits"], expected)


def test_it_refuses_what_the_reference_refuses(random_weights: RandomWeights) -> None:
    engine = TorchEngine(ARCHITECTURE, random_weights(ARCHITECTURE), "cpu")
    with pytest.raises(ArchitectureError, match="expected"):
        engine.run(np.zeros((1, 1, 32, 32), np.float32))
    with pytest.raises(UsageError, match="no output conv9_9"):
        engine.run(photos(1), ("conv9_9",))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_refused_with_those_that_are(random_weights: RandomWeights) -> None:
    with pytest.raises(DeviceError, match=r"cuda is not there.*there is .*cpu"):
        TorchEngine(ARCHITECTURE, random_weights(ARCHITECTURE), "cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", TOLERANCE)
def test_a_gpu_equals_the_reference(precision: str, random_weights: RandomWeights) -> None:
    weights = random_weights(ARCHITECTURE)
    expected = ReferenceEngine(ARCHITECTURE, weights).run(photos(2))["logits"]
    got = TorchEngine(ARCHITECTURE, weights, "cuda", precision).run(photos(2))["logits"]
    assert normalized_squared_error(got, expected) < TOLERANCE[precision]
