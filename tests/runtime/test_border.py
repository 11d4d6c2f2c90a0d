"""The border of a photo: what is in it, which photos have none, and that its transpose is that."""

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.errors import ArchitectureError
from verydeep.runtime.border import border_back, border_of, with_border

SEGNET = Architecture("A", "segnet", classes=3, input_size=32, width=0.125)  # stride 32
SIZES = [(180, 240), (33, 95), (64, 65), (63, 32), (50, 1000)]


def photo(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("size", SIZES)
def test_the_photo_goes_on_below_and_to_the_right_as_its_mirror_image(size: tuple[int, int]) -> None:
    image = photo(2, 3, *size)
    found = with_border(image, SEGNET)
    height, width = size
    below, beside = border_of(SEGNET, *size)
    assert 0 <= below < 32
    assert 0 <= beside < 32
    assert below + beside > 0
    assert found.shape == (2, 3, height + below, width + beside)
    assert found.shape[2] % 32 == found.shape[3] % 32 == 0
    assert np.array_equal(found[..., :height, :width], image)
    for row in range(below):
        assert np.array_equal(found[..., height + row, :], found[..., height - 1 - row, :])
    for column in range(beside):
        assert np.array_equal(found[..., width + column], found[..., width - 1 - column])


@pytest.mark.parametrize(
    ("architecture", "size"),
    [(SEGNET, (64, 32)), (Architecture("A", "gap"), (33, 47)), (Architecture("A").dense(), (230, 301))],
)
def test_multiples_of_the_stride_and_photos_for_other_networks_are_left_as_they_are(
    architecture: Architecture, size: tuple[int, int]
) -> None:
    image = photo(3, *size)
    assert with_border(image, architecture) is image
    assert border_back(image, *size) is image


@pytest.mark.parametrize("size", [(31, 64), (64, 31), (1, 1), (5, 100)])
def test_a_photo_with_a_side_below_the_stride_is_refused_and_not_filled_up(size: tuple[int, int]) -> None:
    with pytest.raises(ArchitectureError, match="too small for A-segnet-0.125x"):
        with_border(photo(3, *size), SEGNET)


@pytest.mark.parametrize("size", SIZES)
def test_what_comes_back_is_the_transpose(size: tuple[int, int]) -> None:
    """<with_border(x), y> = <x, border_back(y)> for any x and y."""
    image = photo(3, *size).astype(np.float64)
    seen = with_border(image, SEGNET)
    signal = np.random.default_rng(0).normal(size=seen.shape)
    given = signal.copy()
    back = border_back(signal, *size)
    assert back.shape == image.shape
    assert np.vdot(image, back) == pytest.approx(np.vdot(seen, signal), rel=1e-9)
    assert np.array_equal(signal, given)
