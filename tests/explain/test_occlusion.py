"""Occlusion against captum's, with engines of every kind."""

from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import pytest
import torch

from verydeep.explain.backward import Subject
from verydeep.explain.occlusion import occlude, spread


@pytest.mark.parametrize(("window", "stride"), [(16, 8), (13, 5), (9, 9)])
def test_the_map_is_captums(  # noqa: PLR0917, four of them fixtures
    window: int,
    stride: int,
    subject: Subject,
    image: np.ndarray,
    make_twin: Callable[..., torch.nn.Module],
    captum: ModuleType,
) -> None:
    network = make_twin(subject)
    oracle = captum.Occlusion(lambda images: torch.softmax(network(images) / 1.5, dim=1))
    with torch.no_grad():
        expected = oracle.attribute(
            torch.from_numpy(image)[None],
            sliding_window_shapes=(3, window, window),
            strides=(3, stride, stride),
            target=4,
            perturbations_per_eval=16,
        )[0, 0].numpy()
    drops = occlude(subject.engine, image, 4, window, stride, classes=subject.architecture.classes, temperature=1.5)
    np.testing.assert_allclose(spread(drops, window, stride, image.shape[1:]), expected, atol=1e-12)


class SeesOnePixel:
    """An engine that is no network: the score of class 1 is the brightness of a pixel."""

    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        score = images[:, 0, 5, 7]
        return {"logits": np.stack([np.zeros_like(score), score], axis=1)}


def test_any_engine_will_do_and_only_squares_over_what_it_sees_count() -> None:
    drops = occlude(SeesOnePixel(), np.full((3, 12, 16), 3.0), 1, window=4, stride=4, classes=2)
    assert drops.shape == (3, 4)
    assert np.argwhere(drops > 0).tolist() == [[1, 1]]
    assert drops[1, 1] == pytest.approx(1 / (1 + np.exp(-3)) - 0.5)


def test_a_square_larger_than_the_photo_covers_it_whole() -> None:
    assert occlude(SeesOnePixel(), np.full((3, 12, 16), 3.0), 1, window=50, stride=10, classes=2).shape == (1, 1)
