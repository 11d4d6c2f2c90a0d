"""From the logits of pixels to a prediction: against torch's resizing, by hand, and the prediction's own figures."""

import json

import numpy as np
import pytest

from verydeep.errors import UsageError
from verydeep.outputs import segment, segmentation, softmax


def logits(classes: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(classes, height, width)).astype(np.float32) * 3


def test_at_its_own_size_a_pixel_has_the_class_of_its_largest_logit() -> None:
    scores = logits(7, 9, 13)
    classes, probabilities = segment(scores)
    assert (classes.dtype, probabilities.dtype) == (np.uint8, np.float32)
    assert np.array_equal(classes, scores.argmax(axis=0))
    expected = softmax(scores.transpose(1, 2, 0)).max(axis=-1)
    np.testing.assert_allclose(probabilities, expected, rtol=1e-6)


def test_a_temperature_changes_how_sure_it_is_and_not_what_it_says() -> None:
    scores = logits(4, 6, 6)
    (sharp, sure), (soft, unsure) = segment(scores), segment(scores, temperature=3)
    assert np.array_equal(sharp, soft)
    assert (unsure < sure).all()


@pytest.mark.parametrize("size", [(40, 61), (5, 7), (9, 40), (1, 1)])
def test_the_probabilities_are_resized_as_torch_does_it(size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch")
    scores = logits(5, 9, 13)
    planes = torch.from_numpy(scores).softmax(dim=0)[None]
    expected = torch.nn.functional.interpolate(planes, size=size, mode="bilinear", align_corners=False)[0]
    found = segment(scores, size)
    np.testing.assert_allclose(found.probabilities, expected.amax(dim=0).numpy(), atol=1e-6)
    assert (found.classes == expected.argmax(dim=0).numpy()).mean() > 0.999


def test_of_equal_ones_the_first_class_wins() -> None:
    assert not segment(np.zeros((3, 2, 2), np.float32), (4, 5)).classes.any()


def test_an_edge_between_two_classes_is_in_the_middle_of_the_enlarged_photo() -> None:
    scores = np.zeros((2, 4, 4), np.float32)
    scores[1, :, 2:] = scores[0, :, :2] = 10
    expected = np.broadcast_to(np.arange(40) >= 20, (40, 40))
    assert np.array_equal(segment(scores, (40, 40)).classes, expected)


@pytest.mark.parametrize(("classes", "dtype"), [(1, np.uint8), (255, np.uint8), (300, np.uint16)])
def test_numbers_are_as_small_as_they_can_be(classes: int, dtype: type) -> None:
    scores = np.zeros((classes, 2, 3), np.float32)
    scores[-1] = 1
    found = segment(scores).classes
    assert found.dtype == dtype
    assert (found == classes - 1).all()


def test_a_prediction_tells_the_shares_of_the_classes_that_are_there() -> None:
    scores = np.zeros((4, 2, 5), np.float32)
    scores[2, :, :3], scores[0, 0, 3:], scores[3, 1, 3:] = 9, 9, 9
    prediction = segmentation(segment(scores), ("sky", "car", "road", "tree"), "a.jpg")
    assert [(share.label, share.share) for share in prediction.shares] == [("road", 0.6), ("sky", 0.2), ("tree", 0.2)]
    assert prediction.label == "road"
    assert prediction.mask("tree").tolist() == [[False] * 5, [False, False, False, True, True]]
    assert not prediction.mask("car").any()
    with pytest.raises(UsageError, match=r"no class 'bus\\n'. It has sky, car, road, tree"):
        prediction.mask("bus\n")
    fields = json.loads(json.dumps(prediction.to_dict()))
    assert (fields["path"], fields["width"], fields["height"]) == ("a.jpg", 5, 2)
    assert fields["shares"][0] == {"label": "road", "share": 0.6}
    assert 0.99 < fields["mean_probability"] < 1
