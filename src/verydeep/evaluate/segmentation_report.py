"""(Engine, photos with masks) -> SegmentationReport: how well a network tells the class of each pixel."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from verydeep.data.datasets import Dataset
from verydeep.data.picture_targets import MaskTargets
from verydeep.data.targets import IGNORED
from verydeep.errors import DatasetError, ImageError
from verydeep.evaluate.finite import check_finite
from verydeep.evaluate.segmentation import SegmentationScores, intersection_over_union, score_photo
from verydeep.image.decode import name_of
from verydeep.image.stream import batches, stream
from verydeep.nouns import Calibration, Engine, Failure, StoredPhoto
from verydeep.outputs.classify import softmax
from verydeep.outputs.segments import segment
from verydeep.runtime.windows import WindowedEngine, photos_at_once
from verydeep.weights.files import ModelInfo

PROTOCOL = (
    "whole photo at shorter side {resize}, bilinear, mirrored to multiples of the stride; "
    "every pixel of the photo's own size counts"
)
SHOWN = 4  # photos of the best, and as many of the worst, whose masks are kept
_LEAST = 1e-12  # of a probability whose logarithm is taken


@dataclass(frozen=True, eq=False)
class Shown:
    """A photo whose masks are kept to be looked at."""

    path: StoredPhoto
    mean_iou: float  # of the classes in it
    predicted: np.ndarray  # (H, W) positions of classes
    true: np.ndarray  # (H, W) the same, and IGNORED


@dataclass(frozen=True, eq=False)
class SegmentationReport:
    """An evaluation of masks, of the photos that could be read."""

    protocol: str  # in a sentence: what every figure here depends on
    scores: SegmentationScores
    paths: tuple[StoredPhoto, ...]
    loss: float  # the mean cross-entropy of a pixel that counts, in nats, at the network's own size
    worst: tuple[Shown, ...] = ()  # the worst first
    best: tuple[Shown, ...] = ()  # the best first
    failures: tuple[Failure, ...] = ()  # the photos that are in no figure
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.scores.classes

    @property
    def n(self) -> int:
        """How many photos every figure rests on."""
        return len(self.paths)

    @property
    def score(self) -> float:
        """What the model is judged by: the mean IoU."""
        return self.scores.mean_iou

    @property
    def headline(self) -> str:
        """The mean IoU with its interval and its terms."""
        return f"mean IoU {self.score:.1%} ({self._interval}, n = {self.n}; {self.protocol})"

    @property
    def lead(self) -> tuple[str, ...]:
        """The mean IoU alone, and the rest of the sentence."""
        told = f"mean IoU of {len(self.classes)} classes on {self.n:,} validation photos ({self._interval}); "
        return f"{self.score:.1%}", told + f"{self.scores.global_accuracy:.1%} of the pixels are right"

    @property
    def _interval(self) -> str:
        low, high = self.scores.mean_iou_interval
        return f"95 % interval {low:.1%} to {high:.1%}"

    def summary(self) -> dict[str, Any]:
        """As a model file has it."""
        figures = self.scores.to_dict()
        names = ("mean_iou", "global_accuracy", "class_average", "boundary_f1")
        return {"protocol": self.protocol, "n": self.n, **{name: figures[name] for name in names}}

    def to_dict(self) -> dict[str, Any]:
        """As `verydeep evaluate --json` prints it: every figure, and the mean IoU of each photo."""
        each = intersection_over_union(self.scores.confusions)
        photos = [
            {"path": name_of(path), "mean_iou": None if np.isnan(row).all() else float(np.nanmean(row))}
            for path, row in zip(self.paths, each, strict=True)
        ]
        return {
            "protocol": {"name": "whole", "description": self.protocol},
            "n": self.n,
            "loss": self.loss,
            **self.scores.to_dict(),
            "photos": photos,
            "failures": [failure.to_dict() for failure in self.failures],
        }


def evaluate_segmentation(
    engine: Engine,
    info: ModelInfo,
    dataset: Dataset,
    *,
    batch_size: int = 32,
    conditions: str = "",
    threads: int | None = None,
    has_contours: bool = True,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> SegmentationReport:
    """How well the engine segments the photos. Photos and masks that cannot be read are listed, not scored.

    dataset: opened for the task "segment"; its classes are matched to the model's by name. batch_size: photos at once,
    fewer where they are large. has_contours: with the boundary F1, which takes longer than the other figures and is NaN
    without. The rest as `evaluate`. Raises DatasetError where classes differ, nothing can be read or no pixel counts,
    and NonFiniteError.
    """
    dataset = dataset.relabeled(info.classes)
    if not isinstance(dataset.targets, MaskTargets):
        raise DatasetError("the photos have no masks; expected one for each.", "Give annotations that have some.")
    tally = _Tally(has_contours)
    engine = WindowedEngine(engine, info.architecture)
    batch_size = photos_at_once(info.preprocessing.resize, batch_size)
    items = stream(dataset.paths, info.preprocessing, is_dense=True, threads=threads, ahead=2 * batch_size)
    for batch in batches(items, batch_size):
        images = [loaded for _, loaded in batch if isinstance(loaded, np.ndarray)]
        logits = iter(engine.run(np.stack(images))["logits"] if images else ())
        for position, loaded in batch:
            path = dataset.paths[position]
            try:
                if isinstance(loaded, ImageError):
                    raise loaded
                answer = next(logits)
                tally.add(path, answer, dataset.targets.mask(position), info)
            except (ImageError, DatasetError) as error:
                tally.failures.append(Failure(name_of(path), error.message, error.hint))
        on_progress(batch[-1][0] + 1)
    protocol = ", ".join(filter(None, (PROTOCOL.format(resize=info.preprocessing.resize), conditions)))
    return tally.report(protocol, info.classes, len(dataset))


class _Tally:
    """What is known of the photos so far."""

    def __init__(self, has_contours: bool) -> None:
        self.has_contours = has_contours
        self.failures: list[Failure] = []
        self._paths: list[StoredPhoto] = []
        self._scores: list[tuple[np.ndarray, np.ndarray]] = []
        self._losses: list[tuple[float, int]] = []  # the sum, and how many pixels
        self._best: list[tuple[float, int, Shown]] = []  # heaps, whose first is the one to give way
        self._worst: list[tuple[float, int, Shown]] = []

    def add(self, path: StoredPhoto, logits: np.ndarray, mask: np.ndarray, info: ModelInfo) -> None:
        """logits: (classes, h, w). mask: of the photo's own size. Raises NonFiniteError."""
        check_finite(logits[np.newaxis], [path])
        predicted = segment(logits, mask.shape).classes
        scores = score_photo(predicted, mask, len(info.classes), has_contours=self.has_contours)
        number = len(self._paths)
        self._paths.append(path)
        self._scores.append(scores)
        self._losses.append(_loss(logits, mask))
        ious = intersection_over_union(scores[0])
        if not np.isnan(ious).all():
            shown = Shown(path, float(np.nanmean(ious)), predicted, mask)
            for heap, rank in ((self._best, shown.mean_iou), (self._worst, -shown.mean_iou)):
                heapq.heappush(heap, (rank, -number, shown))
                if len(heap) > SHOWN:
                    heapq.heappop(heap)

    def report(self, protocol: str, classes: Sequence[str], photos: int) -> SegmentationReport:
        if not self._paths:
            raise DatasetError(
                f"none of the {photos} photos can be read with its mask: {self.failures[0].reason}", "Check the folder."
            )
        pixels = sum(count for _, count in self._losses)
        if not pixels and not any(confusion.any() for confusion, _ in self._scores):
            raise DatasetError(
                f"no pixel of the {len(self._paths)} photos has a class: their masks ignore all of them.",
                "Are these the right masks? verydeep data stats DATA shows them.",
            )
        best, worst = (tuple(one for *_, one in sorted(heap, reverse=True)) for heap in (self._best, self._worst))
        return SegmentationReport(
            protocol=protocol,
            scores=SegmentationScores.joined(self._scores, classes),
            paths=tuple(self._paths),
            loss=sum(loss for loss, _ in self._losses) / max(1, pixels),
            worst=tuple(one for one in worst if one not in best),
            best=best,
            failures=tuple(self.failures),
        )


def _loss(logits: np.ndarray, mask: np.ndarray) -> tuple[float, int]:
    """The sum of the cross-entropy over the pixels that count, at the logits' own size, and how many these are."""
    height, width = logits.shape[1:]
    true = np.asarray(Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST))
    counts = true != IGNORED
    probabilities = softmax(logits[:, counts].T)
    own = probabilities[np.arange(len(probabilities)), true[counts]]
    return float(-np.log(np.maximum(own, _LEAST)).sum()), int(counts.sum())
