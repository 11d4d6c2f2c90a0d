"""The figures against sums done by hand and against other people's code."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.evaluate import metrics

# Five photos of three classes. By hand: the best classes are 0, 1, 1, 2, 0, so photos 0, 1 and 3 are right;
# the right class of photo 2 is its second, that of photo 4 its third.
SCORES = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.6, 0.1], [0.2, 0.3, 0.5], [0.5, 0.3, 0.2]])
LABELS = np.array([0, 1, 0, 2, 2])


def test_ranks_and_top_k_are_those_counted_by_hand() -> None:
    assert metrics.ranks(SCORES, LABELS).tolist() == [0, 0, 1, 0, 2]
    assert metrics.top_k_correct(SCORES, LABELS, 1).tolist() == [True, True, False, True, False]
    assert metrics.top_k_correct(SCORES, LABELS, 2).tolist() == [True, True, True, True, False]


def test_of_equal_scores_the_first_class_wins_as_in_a_prediction() -> None:
    scores = np.array([[0.4, 0.4, 0.2]] * 3)
    order = np.argsort(-scores[0], kind="stable").tolist()
    assert metrics.ranks(scores, np.arange(3)).tolist() == [order.index(label) for label in range(3)]


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(2, 9))
def test_ranks_are_the_places_in_the_sorted_list(seed: int, n: int, classes: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 4, (n, classes)).astype(float)  # few values: many ties
    labels = generator.integers(0, classes, n)
    places = [np.argsort(-row, kind="stable").tolist().index(label) for row, label in zip(scores, labels, strict=True)]
    assert metrics.ranks(scores, labels).tolist() == places


def test_the_confusion_matrix_recall_and_precision_are_those_counted_by_hand() -> None:
    confusion = metrics.confusion_matrix(SCORES, LABELS)
    assert confusion.tolist() == [[1, 1, 0], [0, 1, 0], [1, 0, 1]]  # rows: the true class
    assert metrics.recall(confusion).tolist() == [1 / 2, 1, 1 / 2]
    assert metrics.precision(confusion).tolist() == [1 / 2, 1 / 2, 1]


def test_the_confusion_matrix_is_scikit_learns() -> None:
    sklearn_metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    scores, labels = generator.random((500, 7)), generator.integers(0, 7, 500)
    expected = sklearn_metrics.confusion_matrix(labels, scores.argmax(axis=1), labels=range(7))
    assert np.array_equal(metrics.confusion_matrix(scores, labels), expected)


def test_a_class_without_photos_has_no_recall_and_one_never_named_no_precision() -> None:
    confusion = metrics.confusion_matrix(np.array([[0.9, 0.1, 0.0]]), np.array([0]))
    assert np.isnan(metrics.recall(confusion)).tolist() == [False, True, True]
    assert np.isnan(metrics.precision(confusion)).tolist() == [False, True, True]


def test_cross_entropy_is_the_mean_of_minus_log_of_the_right_class() -> None:
    expected = -(math.log(0.7) + math.log(0.8) + math.log(0.3) + math.log(0.5) + math.log(0.2)) / 5
    assert metrics.cross_entropy(SCORES, LABELS) == pytest.approx(expected)
    assert metrics.cross_entropy(np.full((4, 10), 0.1), np.arange(4)) == pytest.approx(math.log(10))


def test_a_posterior_of_zero_costs_much_but_not_infinitely_much() -> None:
    assert metrics.cross_entropy(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(87.3, abs=0.1)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy_bin_by_bin() -> None:
    # Two bins. [0.5, 1]: four photos of confidence 0.9, three right: |0.75 - 0.9|; [0, 0.5): one of 0.4, right: 0.6.
    posteriors = np.array([[0.9, 0.06, 0.04]] * 4 + [[0.4, 0.35, 0.25]])
    labels = np.array([0, 0, 0, 1, 0])
    expected = 4 / 5 * 0.15 + 1 / 5 * 0.6
    assert metrics.expected_calibration_error(posteriors, labels, bins=2) == pytest.approx(expected)
    counts, right, confidence = metrics.calibration_bins(posteriors, labels, bins=2)
    assert (counts.tolist(), right.tolist(), confidence.tolist()) == ([1, 4], [1, 3], pytest.approx([0.4, 3.6]))


def test_a_sure_and_always_right_model_has_no_calibration_error() -> None:
    assert metrics.expected_calibration_error(np.eye(3), np.arange(3)) == 0


@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
@pytest.mark.parametrize(("successes", "n"), [(0, 10), (1, 10), (5, 10), (10, 10), (353, 400), (1, 1), (0, 1)])
def test_the_wilson_interval_is_scipys(successes: int, n: int, confidence: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(successes, n).proportion_ci(confidence, method="wilson")
    got = metrics.wilson_interval(successes, n, confidence)
    assert got == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_the_wilson_interval_of_9_in_10_is_the_textbooks() -> None:
    assert metrics.wilson_interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)


def test_without_a_try_the_proportion_may_be_anything() -> None:
    assert metrics.wilson_interval(0, 0) == (0, 1)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_holds_the_proportion_and_stays_within_0_and_1(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = metrics.wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


def test_a_paired_change_is_wins_less_losses() -> None:
    before, after = np.zeros(100, bool), np.zeros(100, bool)
    before[:60] = after[:60] = True
    after[60:64], after[0] = True, False  # 4 won, 1 lost
    change, (low, high) = metrics.paired_change(before, after)
    assert change == pytest.approx(0.03)
    deviation = math.sqrt(4.5 + 1.5 - 3**2 / 102) / 102
    assert (low, high) == pytest.approx((3 / 102 - 1.959964 * deviation, 3 / 102 + 1.959964 * deviation))


def test_the_interval_of_a_paired_change_holds_the_truth_as_often_as_it_says() -> None:
    """2 % of the photos are won, 3 % lost: in 95 of 100 samples the interval holds the -1 %."""
    random = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        outcome = random.choice(4, size=500, p=[0.02, 0.03, 0.75, 0.2])  # won, lost, right twice, wrong twice
        _, (low, high) = metrics.paired_change((outcome == 1) | (outcome == 2), (outcome == 0) | (outcome == 2))
        held += low <= -0.01 <= high
    assert 0.93 < held / 2000 < 0.97


def test_without_any_change_the_interval_is_not_empty() -> None:
    change, (low, high) = metrics.paired_change(np.ones(400, bool), np.ones(400, bool))
    assert change == 0
    assert -0.01 < low < 0 < high < 0.01


def test_the_bootstrap_has_about_the_width_of_the_normal_interval() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    low, high = metrics.bootstrap_interval(values)
    assert (low, high) == metrics.bootstrap_interval(values)  # the same every time
    assert (low + high) / 2 == pytest.approx(values.mean(), abs=0.05)
    assert high - low == pytest.approx(2 * 1.96 * 2 / 20, rel=0.1)


def test_the_bootstrap_of_equal_values_is_empty() -> None:
    assert metrics.bootstrap_interval(np.full(7, 0.25)) == (0.25, 0.25)
