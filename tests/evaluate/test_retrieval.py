"""Recall at k and the mean average precision at R: counted by hand, and by loops that look at every pair."""

import tracemalloc

import numpy as np
import pytest

from verydeep.errors import DatasetError
from verydeep.evaluate import retrieval
from verydeep.evaluate.metrics import wilson_interval
from verydeep.evaluate.retrieval import figures, retrieve


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def by_loops(vectors: np.ndarray, labels: np.ndarray, k: int) -> tuple[float, float]:
    """Recall at k and MAP at R as their definitions say."""
    hits, precisions = [], []
    for asking in range(len(labels)):
        answers = sorted(
            (other for other in range(len(labels)) if other != asking),
            key=lambda other: (-float(vectors[asking] @ vectors[other]), other),
        )
        relevant = sum(labels[other] == labels[asking] for other in answers)
        if not relevant:
            continue
        hits.append(any(labels[other] == labels[asking] for other in answers[:k]))
        precision = 0.0
        for place in range(1, relevant + 1):
            if labels[answers[place - 1]] == labels[asking]:
                precision += sum(labels[other] == labels[asking] for other in answers[:place]) / place
        precisions.append(precision / relevant)
    return float(np.mean(hits)), float(np.mean(precisions))


def test_the_figures_are_those_counted_by_hand() -> None:
    # On a circle: a at 0, a at 10, b at 12, a at 30, b at 60.
    found = retrieve(at(0, 10, 12, 30, 60), np.array([0, 0, 1, 0, 1]))
    # 0: a b a b. 10: b a a b. 12: a a a b. 30: b a a b, 60: a b a a
    assert found.ranks.tolist() == [0, 1, 3, 1, 1]
    # R = 2 for a, 1 for b: 0 finds a, then b: 1/2 (1 + 0). 10: b a: 1/2 (0 + 1/2). 12: a: 0. 30: b a. 60: a: 0
    assert found.precisions.tolist() == [1 / 2, 1 / 4, 0, 1 / 4, 0]
    assert [found.recall(k).value for k in (1, 2, 4)] == [1 / 5, 4 / 5, 1]
    assert found.mean_average_precision().value == pytest.approx(0.2)
    assert found.recall(2).interval == wilson_interval(4, 5)


def test_a_perfect_order_has_a_precision_of_1() -> None:
    found = retrieve(at(0, 1, 2, 90, 91, 92), np.array([4, 4, 4, 7, 7, 7]))
    assert {name: figure.value for name, figure in figures(found).items()} == {
        "recall@1": 1, "recall@2": 1, "recall@4": 1, "recall@8": 1, "MAP@R": 1,
    }  # fmt: skip


def test_of_equally_like_photos_the_first_comes_first() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert retrieve(vectors, np.array([0, 1, 0, 1])).ranks.tolist() == [1, 2, 0, 1]


def test_a_photo_alone_of_its_class_asks_nothing_and_answers_others() -> None:
    found = retrieve(at(0, 1, 40), np.array([0, 1, 0]))
    assert (found.queries.tolist(), found.left_out) == ([0, 2], 1)
    assert found.ranks.tolist() == [1, 1]


@pytest.mark.parametrize("labels", [[], [3], [0, 1, 2]])
def test_where_no_class_has_two_photos_it_is_said(labels: list[int]) -> None:
    with pytest.raises(DatasetError, match="there is nothing to find"):
        retrieve(np.ones((len(labels), 2)), np.array(labels, int))


@pytest.mark.parametrize("block", [1, 170, 1 << 22])
def test_any_block_gives_the_figures_of_the_loops(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", block)
    random = np.random.default_rng(0)
    vectors = random.choice([-1.0, 0.0, 1.0], (60, 4))  # many of them equally alike, and exactly so
    labels = np.append(random.integers(0, 6, 59), 99)
    found = retrieve(vectors, labels)
    for k in (1, 2, 4, 8, 100):
        recall, precision = by_loops(vectors, labels, k)
        assert found.recall(k).value == pytest.approx(recall)
        assert found.mean_average_precision().value == pytest.approx(precision)


def test_it_is_scikit_learns_nearest_neighbour() -> None:
    neighbors = pytest.importorskip("sklearn.neighbors")
    random = np.random.default_rng(1)
    vectors = random.normal(size=(300, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = random.integers(0, 5, 300)
    nearest = neighbors.NearestNeighbors(n_neighbors=1, metric="cosine").fit(vectors).kneighbors(return_distance=False)
    expected = (labels[nearest[:, 0]] == labels).mean()
    assert retrieve(vectors, labels).recall(1).value == pytest.approx(expected)


def test_memory_grows_with_the_photos_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrieval, "_BLOCK_VALUES", 1 << 14)
    vectors, labels = np.random.default_rng(0).normal(size=(2000, 4)).astype(np.float32), np.arange(2000) // 10
    tracemalloc.start()
    retrieve(vectors, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000  # all similarities take 16 MB, and their order 32
