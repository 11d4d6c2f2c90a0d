"""Segmentation window by window: what it computes, how the windows join, and how little memory it takes."""

import tracemalloc
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.errors import ArchitectureError, UsageError
from verydeep.nouns import Engine
from verydeep.runtime import ENGINES
from verydeep.runtime.border import with_border
from verydeep.runtime.reference import ReferenceEngine
from verydeep.runtime.windows import WindowedEngine

ARCHITECTURE = Architecture("toy", "segnet", classes=3, input_size=16)
RandomWeights = Callable[..., dict[str, np.ndarray]]


class Told:
    """An engine whose logits are what a function of the pixels says; it notes how large its images were."""

    def __init__(self, answer: Callable[[np.ndarray], np.ndarray]) -> None:
        self.answer = answer
        self.shapes: list[tuple[int, ...]] = []

    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        self.shapes.append(images.shape[2:])
        return {name: np.stack([self.answer(image) for image in images]) for name in outputs}


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(48, 64), (17, 64), (64, 5), (63, 62), (64, 64)])
def test_a_photo_that_a_window_holds_gets_the_engines_own_answer_to_it_with_its_border(
    size: tuple[int, int], random_weights: RandomWeights
) -> None:
    engine = ReferenceEngine(ARCHITECTURE, random_weights(ARCHITECTURE))
    windowed = WindowedEngine(engine, ARCHITECTURE, window=64, overlap=16)
    image = photo(*size)
    expected = engine.run(with_border(image[None], ARCHITECTURE), ("pool1", "logits"))
    found = windowed.run(image[None], ("pool1", "logits"))
    assert np.array_equal(found["pool1"], expected["pool1"])
    logits = expected["logits"][0][:, : size[0], : size[1]]
    assert np.array_equal(found["logits"][0], logits)
    (band,) = windowed.bands(image)
    assert band[0] == 0
    assert np.array_equal(band[1], logits)


@pytest.mark.parametrize("name", ["reference", "torch", "native"])
@pytest.mark.parametrize("size", [(32, 32), (33, 63), (45, 180), (90, 91)])
def test_all_engines_see_all_of_a_photo_and_agree(
    name: str, size: tuple[int, int], random_weights: RandomWeights
) -> None:
    """Without a border the deepest map of 45 x 180 pixels would know of 32 x 160 of them."""
    architecture = Architecture("A", "segnet", classes=3, input_size=32, width=0.125, batch_norm=True)
    module, attribute = ENGINES[name].split(":")
    make = getattr(pytest.importorskip(module, reason=f"the engine {name} is not built here"), attribute)
    weights = random_weights(architecture)
    engine: Engine = make(architecture, weights)
    image = photo(*size)
    reference = ReferenceEngine(architecture, weights, precision="float64")
    expected, found = (
        WindowedEngine(one, architecture).run(image[None], ("pool5", "logits")) for one in (reference, engine)
    )
    assert found["pool5"].shape[2:] == (-(-size[0] // 32), -(-size[1] // 32))
    assert found["logits"].shape == (1, 3, *size)
    # where two values of a pool are equal but for their last digit, engines may take another one
    assert (np.abs(found["logits"] - expected["logits"]) < 1e-3).mean() > 0.95


@pytest.mark.parametrize("size", [(65, 64), (64, 200), (131, 97), (300, 30), (257, 255)])
@pytest.mark.parametrize(("window", "overlap"), [(64, 16), (64, 48), (40, 0), (36, 32)])
def test_what_depends_on_the_pixel_alone_is_the_same_from_any_window(
    size: tuple[int, int], window: int, overlap: int
) -> None:
    engine = Told(lambda image: image * 2 + 1)
    images = np.stack([photo(*size), photo(*size, seed=1)])
    found = WindowedEngine(engine, ARCHITECTURE, window, overlap).run(images)["logits"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, images * 2 + 1, rtol=1e-5, atol=1e-5)
    assert max(max(shape) for shape in engine.shapes) <= window + ARCHITECTURE.stride
    assert all(side % ARCHITECTURE.stride == 0 for shape in engine.shapes for side in shape)


def test_bands_come_from_the_top_and_are_all_of_the_photo() -> None:
    engine = Told(lambda image: image)
    image = photo(300, 50)
    bands = list(WindowedEngine(engine, ARCHITECTURE, 64, 24).bands(image))
    assert len(bands) > 4
    assert [first for first, _ in bands] == np.cumsum([0, *(band.shape[1] for _, band in bands[:-1])]).tolist()
    np.testing.assert_allclose(np.concatenate([band for _, band in bands], axis=1), image, atol=1e-5)


def test_windows_begin_at_multiples_of_the_stride() -> None:
    """So that the first pixel of a pool's window is that of the whole photo: here the place of each pixel tells."""
    seen: list[int] = []

    def first_row(image: np.ndarray) -> np.ndarray:
        seen.append(int(image[0, 0, 0]))
        return image

    image = np.broadcast_to(np.arange(203, dtype=np.float32)[:, None], (3, 203, 16))
    list(WindowedEngine(Told(first_row), ARCHITECTURE, 64, 20).bands(image))
    assert len(seen) == 5
    assert all(row % ARCHITECTURE.stride == 0 for row in seen)
    assert max(np.diff(seen)) <= 64 - 20


def test_from_one_window_to_the_next_there_is_no_step() -> None:
    """Each window gives a number of its own: the answer goes from one to the other without a jump."""
    numbers = iter(range(100))
    engine = Told(lambda image: np.full(image.shape, 100 * next(numbers), np.float32))
    image = photo(64, 220)
    row = WindowedEngine(engine, ARCHITECTURE, 64, 32).run(image[None])["logits"][0, 0, 30]
    assert row[0] == 0
    assert np.abs(np.diff(row)).max() < 100 * np.pi / 2 / 32 * 1.2


def test_near_the_middle_of_a_window_it_is_the_whole_photos_answer(random_weights: RandomWeights) -> None:
    engine = ReferenceEngine(ARCHITECTURE, random_weights(ARCHITECTURE), precision="float64")
    image = photo(63, 130)
    expected = WindowedEngine(engine, ARCHITECTURE, 256, 0).run(image[None])["logits"][0]
    found = WindowedEngine(engine, ARCHITECTURE, 80, 28).run(image[None])["logits"][0]
    np.testing.assert_allclose(found[..., :36], expected[..., :36], atol=1e-5)
    np.testing.assert_allclose(found[..., -36:], expected[..., -36:], atol=1e-5)
    assert np.abs(found - expected).max() < np.abs(expected).max()


def test_a_high_photo_takes_the_memory_of_a_band() -> None:
    engine = Told(lambda image: image)
    image = np.zeros((3, 6000, 128), np.float32)
    tracemalloc.start()
    try:
        for _ in WindowedEngine(engine, ARCHITECTURE, 128, 32).bands(image):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 12 * 3 * 128 * 128 * 4 < image.nbytes / 3


@pytest.mark.parametrize(("window", "overlap"), [(3, 0), (64, 61), (64, -1), (64, 64)])
def test_windows_that_cannot_be_are_refused(window: int, overlap: int) -> None:
    with pytest.raises(UsageError, match=f"windows of {window} pixels that overlap by {overlap}"):
        WindowedEngine(Told(lambda image: image), ARCHITECTURE, window, overlap)


def test_a_classifier_and_other_outputs_and_images_that_do_not_fit_are_refused() -> None:
    engine = Told(lambda image: image)
    with pytest.raises(UsageError, match="toy-gap does not segment"):
        WindowedEngine(engine, Architecture("toy", "gap"))
    windowed = WindowedEngine(engine, ARCHITECTURE, 64, 16)
    with pytest.raises(UsageError, match="there are logits only; got pool1, logits"):
        windowed.run(photo(65, 30)[None], ("pool1", "logits"))
    with pytest.raises(ArchitectureError, match="too small"):
        windowed.run(photo(3, 80)[None])
    with pytest.raises(UsageError, match="no output conv9_9"):
        windowed.run(photo(65, 80)[None], ("conv9_9",))
