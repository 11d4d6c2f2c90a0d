import numpy as np
import pytest

from verydeep.errors import UsageError
from verydeep.nouns import Calibration, ClassScore
from verydeep.outputs import classify, posteriors, softmax

CLASSES = ("ant", "bee", "cat", "dog")


def test_softmax_of_known_logits() -> None:
    assert softmax(np.log([[1.0, 2.0, 5.0]])) == pytest.approx(np.array([[0.125, 0.25, 0.625]]))


def test_softmax_of_huge_logits_neither_overflows_nor_loses_the_sum() -> None:
    probabilities = softmax(np.array([[1e4, 1e4 - np.log(3), -1e4]], np.float32))
    assert probabilities.dtype == np.float64
    assert probabilities == pytest.approx(np.array([[0.75, 0.25, 0]]), abs=1e-3)  # 1e4 in float32 is exact to 1e-3
    assert probabilities.sum() == pytest.approx(1, abs=1e-15)


def test_temperature_divides_the_logits() -> None:
    logits = np.array([[0.3, -1.0, 2.0]])
    assert softmax(logits, 2.5) == pytest.approx(softmax(logits / 2.5))
    assert softmax(logits, 100).max() < softmax(logits, 1).max() < softmax(logits, 0.1).max()


def test_a_dense_map_is_averaged_before_the_softmax_not_after() -> None:
    scores = np.zeros((1, 2, 1, 2), np.float32)
    scores[0, 0] = [[0, 2 * np.log(3)]]  # mean log(3): 3 to 1; the mean of the two soft-maxes would be 0.7 to 0.3
    assert posteriors(scores) == pytest.approx(np.array([[0.75, 0.25]]))


def test_posteriors_of_a_map_of_one_pixel_are_those_of_the_row() -> None:
    logits = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    assert np.array_equal(posteriors(logits[:, :, None, None], 1.5), posteriors(logits, 1.5))


def test_the_best_classes_come_first() -> None:
    prediction = classify(np.array([0.1, 0.2, 0.6, 0.1]), CLASSES, Calibration(), "a.jpg", k=2)
    assert prediction.scores == (ClassScore("cat", 0.6), ClassScore("bee", 0.2))
    assert (prediction.path, prediction.label, prediction.probability) == ("a.jpg", "cat", 0.6)


def test_equal_probabilities_keep_the_order_of_the_classes() -> None:
    prediction = classify(np.array([0.25, 0.25, 0.25, 0.25]), CLASSES, Calibration())
    assert tuple(score.label for score in prediction.scores) == CLASSES


def test_more_classes_than_there_are_gives_all() -> None:
    assert len(classify(np.array([0.4, 0.6]), CLASSES[:2], Calibration(), k=5).scores) == 2


def test_no_class_at_all_cannot_be_asked_for() -> None:
    with pytest.raises(UsageError, match="k is 0"):
        classify(np.array([0.4, 0.6]), CLASSES[:2], Calibration(), k=0)


@pytest.mark.parametrize(("top", "is_known"), [(0.49, False), (0.5, True), (0.51, True)])
def test_a_photo_is_known_from_the_threshold_on(top: float, is_known: bool) -> None:
    probabilities = np.array([1 - top, top]) if top >= 0.5 else np.array([top, 0.3, 1 - 0.3 - top])
    assert classify(probabilities, CLASSES, Calibration(reject_below=0.5)).is_known is is_known
