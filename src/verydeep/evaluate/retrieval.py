"""Embeddings and labels -> how well photos find others of their class.

Each photo asks in turn, and all others answer, the most alike first; of equally alike ones that which comes first in
the set. A photo whose class has no other has nothing to find: it is left out of the figures, and answers all the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verydeep.errors import DatasetError
from verydeep.evaluate.metrics import bootstrap_interval, wilson_interval

KS = (1, 2, 4, 8)
NEIGHBOUR_TEMPERATURE = 0.05  # of `neighbour_loss`
_BLOCK_VALUES = 1 << 22  # similarities at once: 16 MB, and their order 32 MB


@dataclass(frozen=True)
class Figure:
    """A figure with its interval."""

    value: float
    interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"value": self.value, "interval_95": list(self.interval)}


@dataclass(frozen=True)
class Retrieval:
    """What each photo that asked has found."""

    queries: np.ndarray  # (n,) the positions of the photos that asked
    left_out: int  # photos whose class has no other
    ranks: np.ndarray  # (n,) the place of the first photo of the class in the list, 0 the best
    precisions: np.ndarray  # (n,) float64, the average precision at R

    def recall(self, k: int, confidence: float = 0.95) -> Figure:
        """The share of the photos with one of their class among the `k` nearest, and Wilson's interval of it."""
        found = int((self.ranks < k).sum())
        return Figure(found / len(self.ranks), wilson_interval(found, len(self.ranks), confidence))

    def mean_average_precision(self, confidence: float = 0.95) -> Figure:
        """The mean of the average precision at R, and its interval by the bootstrap.

        That takes photos for independent; photos that answer each other are not quite that.
        """
        return Figure(float(self.precisions.mean()), bootstrap_interval(self.precisions, confidence))


def retrieve(vectors: np.ndarray, labels: np.ndarray) -> Retrieval:
    """How well photos find others of their class by the cosine.

    vectors: (N, d) of length 1, from `outputs.embeddings`; labels: (N,) int. The similarities are computed in blocks,
    so that memory grows with N, not with its square. Let R be how many others there are of a photo's class. Its average
    precision at R is 1/R times the sum, over those of the first R answers that are right, of the share of right ones up
    to there. Source: Musgrave et al. (2020), "A metric learning reality check", section 3.2. Raises DatasetError where
    no class has two photos.
    """
    check_retrievable(labels)
    _, classes, members = np.unique(labels, return_inverse=True, return_counts=True)
    others = members[classes] - 1  # R of each photo
    queries = np.flatnonzero(others > 0)
    ranks = np.empty(len(queries), np.int64)
    precisions = np.empty(len(queries))
    for part, is_right in _answers(vectors, classes, queries):
        ranks[part] = is_right.argmax(axis=1)
        precisions[part] = _average_precision(is_right, others[queries[part]])
    return Retrieval(queries, len(labels) - len(queries), ranks, precisions)


def check_retrievable(labels: Sequence[int] | np.ndarray) -> None:
    """Raises DatasetError where no class has two photos."""
    if len(set(np.asarray(labels).tolist())) == len(labels):
        raise DatasetError(
            f"none of the {len(labels)} photos has another of its class: there is nothing to find.",
            "Give two photos or more of some classes; eight where training draws a fifth of each to validate.",
        )


def neighbour_loss(vectors: np.ndarray, labels: np.ndarray) -> float:
    """How little of the likeness of each photo is that to its own class: the mean of -log of its share, in nats.

    Another photo counts exp(cosine / 0.05), so that the nearest ones count for nearly all. Photos without another of
    their class are left out. vectors, labels: as `retrieve` takes them. Source: Goldberger et al. (2004),
    "Neighbourhood components analysis", with cosines in place of learned distances.
    """
    check_retrievable(labels)
    _, classes, members = np.unique(labels, return_inverse=True, return_counts=True)
    queries = np.flatnonzero(members[classes] > 1)
    costs = np.empty(len(queries))
    for part, similarities in _similarities(vectors, queries):
        weights = similarities.astype(np.float64) / NEIGHBOUR_TEMPERATURE
        is_own = classes == classes[queries[part], None]
        costs[part] = _log_sum(weights) - _log_sum(np.where(is_own, weights, -np.inf))
    return float(costs.mean())


def nearest(vectors: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each photo the positions of the `k` most like it and their cosines, (N, k) each, fewer where there are fewer.

    Of equally alike ones that which comes first in the set.
    """
    k = min(k, len(vectors) - 1)
    positions, cosines = np.empty((len(vectors), k), np.int64), np.empty((len(vectors), k), np.float32)
    for part, similarities in _similarities(vectors, np.arange(len(vectors))):
        positions[part] = np.argsort(-similarities, axis=1, kind="stable")[:, :k]
        cosines[part] = np.take_along_axis(similarities, positions[part], axis=1)
    return positions, cosines


def _answers(vectors: np.ndarray, classes: np.ndarray, queries: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """For some queries at a time: which ones, and whether each answer is of their class, (queries, N - 1) bool."""
    for part, similarities in _similarities(vectors, queries):
        order = np.argsort(-similarities, axis=1, kind="stable")[:, :-1]
        yield part, classes[order] == classes[queries[part], None]


def _similarities(vectors: np.ndarray, queries: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """For some queries at a time: which ones, and their cosines with all, (queries, N); with themselves -inf."""
    size = max(1, _BLOCK_VALUES // len(vectors))
    for first in range(0, len(queries), size):
        part = slice(first, min(first + size, len(queries)))
        asking = queries[part]
        similarities = vectors[asking] @ vectors.T
        similarities[np.arange(len(asking)), asking] = -np.inf  # itself, which is last so
        yield part, similarities


def _log_sum(values: np.ndarray) -> np.ndarray:
    """The logarithm of the sum of exp, of each row."""
    largest = values.max(axis=1, keepdims=True)
    found: np.ndarray = largest[:, 0] + np.log(np.exp(values - largest).sum(axis=1))
    return found


def _average_precision(is_right: np.ndarray, relevant: np.ndarray) -> np.ndarray:
    """At R = `relevant`, (queries,) of at least 1. is_right: (queries, answers) bool."""
    counted = is_right[:, : relevant.max()] & (np.arange(relevant.max()) < relevant[:, None])
    shares = np.cumsum(counted, axis=1) / np.arange(1, relevant.max() + 1)
    average: np.ndarray = (shares * counted).sum(axis=1) / relevant
    return average


def figures(found: Retrieval, ks: Sequence[int] = KS) -> dict[str, Figure]:
    """The figures by their names: "recall@1" and so on, "MAP@R"."""
    return {f"recall@{k}": found.recall(k) for k in ks} | {"MAP@R": found.mean_average_precision()}
