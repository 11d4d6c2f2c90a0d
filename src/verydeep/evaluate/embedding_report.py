"""(Engine, photos) -> EmbeddingReport: how well photos find others of their class by what a network makes of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from verydeep.data.datasets import Dataset
from verydeep.errors import DatasetError, ImageError
from verydeep.evaluate.finite import check_finite
from verydeep.evaluate.protocols import Inputs
from verydeep.evaluate.report import Confusion, Proportion
from verydeep.evaluate.retrieval import Figure, Retrieval, figures, nearest, neighbour_loss, retrieve
from verydeep.image.decode import name_of
from verydeep.image.stream import batches, stream
from verydeep.nouns import Calibration, Engine, Failure, StoredPhoto
from verydeep.outputs.embeddings import embedding_output, embeddings
from verydeep.weights.files import ModelInfo

PROTOCOL = "{fit}; each photo asks all others, by cosine"
SHOWN = 4  # photos most like each one that are kept to be looked at


@dataclass(frozen=True, eq=False)
class EmbeddingReport:
    """An evaluation of embeddings, of the photos that could be read. Their classes need not be the model's."""

    protocol: str  # in a sentence: what every figure here depends on
    classes: tuple[str, ...]  # of the photos
    paths: tuple[StoredPhoto, ...]
    labels: np.ndarray  # (photos,) int64, positions in `classes`
    vectors: np.ndarray  # (photos, d) float32, of length 1
    found: Retrieval
    loss: float  # of `neighbour_loss`
    failures: tuple[Failure, ...] = ()  # the photos that are in no figure
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def n(self) -> int:
        """How many photos every figure rests on: those that have another of their class."""
        return len(self.found.queries)

    @property
    def score(self) -> float:
        """What the model is judged by: recall@1."""
        return self.figures["recall@1"].value

    @cached_property
    def figures(self) -> dict[str, Figure]:
        """By their names: "recall@1", "recall@2" ... and "MAP@R"."""
        return figures(self.found)

    @property
    def headline(self) -> str:
        """recall@1 with its interval and its terms."""
        return f"recall@1 {self.score:.1%} ({self._interval}, n = {self.n}; {self.protocol})"

    @property
    def lead(self) -> tuple[str, ...]:
        """recall@1 alone, and the rest of the sentence."""
        told = f"of {self.n:,} validation photos are most like one of their own class (recall@1; {self._interval}); "
        return f"{self.score:.1%}", told + f"MAP@R {self.figures['MAP@R'].value:.1%}"

    @property
    def _interval(self) -> str:
        low, high = self.figures["recall@1"].interval
        return f"95 % interval {low:.1%} to {high:.1%}"

    @cached_property
    def nearest(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each photo the positions of the SHOWN most like it, and their cosines: (photos, k) each."""
        return nearest(self.vectors, SHOWN)

    @cached_property
    def class_rows(self) -> tuple[tuple[str, Proportion], ...]:
        """Of each class how many of its photos are most like one of it; of none, where it has a single one."""
        asked, is_right = self.labels[self.found.queries], self.found.ranks == 0
        return tuple(
            (label, Proportion(int(is_right[asked == i].sum()), int((asked == i).sum())))
            for i, label in enumerate(self.classes)
        )

    def top_confusions(self, count: int = 10) -> tuple[Confusion, ...]:
        """The classes whose photos are most often nearest to photos of others, the most frequent first."""
        asked = self.labels[self.found.queries]
        found = self.labels[self.nearest[0][self.found.queries, 0]]
        counts = np.zeros((len(self.classes), len(self.classes)), np.int64)
        np.add.at(counts, (asked, found), 1)
        np.fill_diagonal(counts, 0)
        order = np.argsort(-counts, axis=None, kind="stable")[:count]
        pairs = [divmod(int(flat), len(self.classes)) for flat in order]
        return tuple(Confusion(self.classes[i], self.classes[j], int(counts[i, j])) for i, j in pairs if counts[i, j])

    def summary(self) -> dict[str, Any]:
        """As a model file has it: "recall1" and so on, as the measurements of a training call it, and "MAP@R"."""
        figures = {name.replace("recall@", "recall"): figure for name, figure in self._figures().items()}
        return {"protocol": self.protocol, "n": self.n, **figures}

    def to_dict(self) -> dict[str, Any]:
        """As `verydeep evaluate --json` prints it: every figure, and what each photo is most like."""
        classes = [{"label": label, "recall@1": share.to_dict()} for label, share in self.class_rows]
        return {
            "protocol": {"name": "center", "description": self.protocol},
            "n": self.n,
            "left_out": self.found.left_out,
            **self._figures(),
            "loss": self.loss,
            "classes": classes,
            "photos": [self._photo(position) for position in range(len(self.paths))],
            "failures": [failure.to_dict() for failure in self.failures],
        }

    def _figures(self) -> dict[str, Any]:
        return {name: figure.to_dict() for name, figure in self.figures.items()}

    def _photo(self, position: int) -> dict[str, Any]:
        positions, cosines = (rows[position].tolist() for rows in self.nearest)
        alike = [
            {"path": name_of(self.paths[at]), "label": self.classes[self.labels[at]], "similarity": round(cosine, 6)}
            for at, cosine in zip(positions, cosines, strict=True)
        ]
        label = self.classes[self.labels[position]]
        return {"path": name_of(self.paths[position]), "label": label, "alike": alike}


def evaluate_embedding(
    engine: Engine,
    info: ModelInfo,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    conditions: str = "",
    threads: int | None = None,
    inputs: Inputs | None = None,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> EmbeddingReport:
    """How well the photos find others of their class. Photos that cannot be read are listed, not scored.

    The photos may be of other classes than those that the model was trained on. The rest as `evaluate`. Raises
    DatasetError where nothing can be read or no class has two photos, and NonFiniteError.
    """
    output = embedding_output(info.architecture)
    rows: list[np.ndarray] = []
    read: list[int] = []
    failures: list[Failure] = []
    if inputs is None:
        items = stream(dataset.paths, info.preprocessing, threads=threads, ahead=2 * batch_size)
    else:
        items = inputs(dataset.paths, info.preprocessing)
    for batch in batches(items, batch_size):
        for position, loaded in batch:
            if isinstance(loaded, ImageError):
                failures.append(Failure(name_of(dataset.paths[position]), loaded.message, loaded.hint))
            else:
                read.append(position)
        if images := [loaded for _, loaded in batch if isinstance(loaded, np.ndarray)]:
            features = engine.run(np.stack(images), (output,))[output]
            check_finite(features, [dataset.paths[position] for position in read[-len(images) :]])
            rows.append(embeddings(features))
        on_progress(batch[-1][0] + 1)
    if not read:
        raise DatasetError(f"none of the {len(dataset)} photos can be read: {failures[0].reason}", "Check the folder.")
    vectors, labels = np.concatenate(rows), np.array(dataset.labels, np.int64)[read]
    protocol = PROTOCOL.format(fit=info.preprocessing.in_words)
    return EmbeddingReport(
        protocol=", ".join(filter(None, (protocol, conditions))),
        classes=dataset.classes,
        paths=tuple(dataset.paths[position] for position in read),
        labels=labels,
        vectors=vectors,
        found=retrieve(vectors, labels),
        loss=neighbour_loss(vectors, labels),
        failures=tuple(failures),
    )
