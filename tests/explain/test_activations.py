"""What layers see: the maps are the engine's, and a receptive field holds all that its unit responds to."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import UsageError
from verydeep.explain.activations import activations, peaks
from verydeep.explain.sheets import patch
from verydeep.image import preprocess
from verydeep.image.draw import TRACK
from verydeep.nouns import Fit
from verydeep.runtime import OpenedModel, open_model


@pytest.fixture
def model(toy_model: Path) -> OpenedModel:
    return open_model(toy_model, engine="reference")


@pytest.fixture(scope="session")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (36, 36, 3), dtype=np.uint8)  # as large as it is resized to


def test_the_maps_are_the_engines(model: OpenedModel, photo: np.ndarray) -> None:
    found = activations(model, photo, "relu2_1")
    image = preprocess(photo, model.info.preprocessing)
    assert np.array_equal(found.maps, model.engine.run(image[np.newaxis], ("relu2_1",))["relu2_1"][0])
    channels = found.to_dict()["channels"]
    assert [entry["largest"] for entry in channels] == pytest.approx(found.maps.max(axis=(1, 2)).tolist())
    with pytest.raises(UsageError, match="gap has no map"):
        activations(model, photo, "gap")


def test_what_lies_outside_a_units_square_does_not_change_it(model: OpenedModel, photo: np.ndarray) -> None:
    found = peaks(model, photo, "relu2_1")
    for channel in range(4):
        left, top, right, bottom = (int(edge) for edge in found.boxes[channel])
        assert (right - left, bottom - top) == (10, 10)  # two 3 x 3, a pool, and 3 x 3 at its stride
        other = np.zeros_like(photo)
        inside = np.s_[max(0, top) : bottom, max(0, left) : right]
        other[inside] = photo[inside]
        maps = activations(model, other, "relu2_1").maps
        assert np.abs(maps[channel] - found.values[channel]).min() < 1e-5


def test_a_unit_of_a_letterbox_has_its_square_in_the_photo(
    toy_model: Path, refitted: Callable[[Path, Fit], Path], photo: np.ndarray
) -> None:
    model = open_model(refitted(toy_model, "letterbox"), engine="reference")
    wide = photo[:20, :32]  # which fills 20 of 32 rows, as it is
    found = peaks(model, wide, "relu2_1")
    assert found.boxes[:, 1].min() >= -6 - 5
    for channel in range(4):
        left, top, right, bottom = (int(edge) for edge in found.boxes[channel])
        assert (right - left, bottom - top) == (10, 10)
        other = np.zeros_like(wide)
        inside = np.s_[max(0, top) : max(0, bottom), max(0, left) : right]
        other[inside] = wide[inside]
        maps = activations(model, other, "relu2_1").maps
        assert np.abs(maps[channel] - found.values[channel]).min() < 1e-5


def test_a_patch_is_cut_from_the_photos_own_pixels_and_grey_beyond_its_edge() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(patch(photo, (4, 6, 14, 16), side=10)), photo[6:16, 4:14])
    over = np.asarray(patch(photo, (-5, -5, 5, 5), side=10))
    assert (over[:5] == TRACK).all()
    assert np.array_equal(over[5:, 5:], photo[:5, :5])
    assert isinstance(patch(photo, (25.5, 0.2, 35.5, 10.2)), Image.Image)
