"""Weights of classes: by hand, and by the definition on real masks."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.data.balance import median_frequency_weights
from verydeep.data.targets import IGNORED


def test_weights_worked_out_by_hand() -> None:
    one = np.array([[0, 0, 0, 1], [0, 0, 0, 1]])  # 0: 6 of 8, 1: 2 of 8
    two = np.array([[0, 0], [0, 2]])  # 0: 3 of 4, 2: 1 of 4
    three = np.array([[1, 1, IGNORED, IGNORED]])  # 1: 2 of 4, the ignored ones are pixels of the photo
    frequencies = np.array([9 / 12, 4 / 12, 1 / 4])
    expected = np.median(frequencies) / frequencies
    assert median_frequency_weights([one, two, three], 3) == pytest.approx(expected)


def test_the_class_in_the_middle_weighs_one_and_the_rare_more() -> None:
    mask = np.repeat([0, 1, 2], [90, 9, 1])[None]
    assert median_frequency_weights([mask], 3) == pytest.approx([0.1, 1, 9])


def test_a_class_without_a_pixel_weighs_nothing_and_is_not_in_the_median() -> None:
    mask = np.repeat([0, 1, 3], [8, 4, 2])[None]
    assert median_frequency_weights([mask], 5) == pytest.approx([0.5, 1, 0, 2, 0])


@pytest.mark.parametrize("masks", [[], [np.full((3, 3), IGNORED, np.uint8)]])
def test_without_a_pixel_that_counts_no_class_weighs_anything(masks: list[np.ndarray]) -> None:
    assert not median_frequency_weights(masks, 4).any()


def test_the_weights_of_camvid_follow_the_definition(shared_data: Path) -> None:
    """The rare ones are those of the paper: signs, pedestrians, bicyclists, poles; road and buildings weigh least."""
    folder = shared_data / "camvid" / "trainannot"
    if not folder.is_dir():
        pytest.skip(f"needs {folder}")
    masks = [np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))[::9]]
    frequencies = [
        sum((mask == number).sum() for mask in masks) / sum(mask.size for mask in masks if (mask == number).any())
        for number in range(11)
    ]
    found = median_frequency_weights(iter(masks), 11, ignored=11)
    np.testing.assert_allclose(found, np.median(frequencies) / frequencies)
    assert set(np.argsort(found)[-4:]) == {2, 6, 9, 10}
    assert set(np.argsort(found)[:2]) == {1, 3}
