"""The class of each pixel: cross-entropy over pixels, mean IoU. SegNet: Badrinarayanan et al. (2015)."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from torch import Tensor

from verydeep.architecture import Architecture
from verydeep.data.balance import median_frequency_weights
from verydeep.data.datasets import Dataset
from verydeep.data.picture_targets import MaskTargets
from verydeep.data.targets import IGNORED
from verydeep.evaluate.protocols import Inputs
from verydeep.evaluate.segmentation_report import SegmentationReport, evaluate_segmentation
from verydeep.nouns import Engine
from verydeep.train.card import cell
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import CONDITIONS, OnProgress, Rows, segment_page
from verydeep.train.tasks.trend import trend
from verydeep.weights import ModelInfo


class Segment:
    """See `tasks.Task`."""

    metric = "mean_iou"
    metric_in_words = "mean IoU"
    is_share = False

    def targets(self, labels: Tensor, taught: Tensor | None, architecture: Architecture) -> Tensor:
        """(n, h, w) int64: positions of classes, and IGNORED."""
        assert taught is not None
        return taught.long()

    def loss(
        self, answers: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None, proxies: Tensor | None
    ) -> Tensor:
        """The mean over the pixels that count, each as much as its class weighs; 0 where none does."""
        each = F.cross_entropy(answers, targets, weight=class_weights, ignore_index=IGNORED, reduction="none")
        return each.sum() / self.weight(targets, class_weights)

    def weight(self, targets: Tensor, class_weights: Tensor | None) -> Tensor:
        """A scalar: the pixels that count, each as much as its class weighs. Where none does, a number close to 0."""
        counts = (targets != IGNORED).float()
        if class_weights is not None:
            counts *= F.pad(class_weights, (0, IGNORED + 1 - len(class_weights)))[targets]
        return counts.sum().clamp(min=torch.finfo(torch.float32).tiny)

    def class_weights(self, recipe: Recipe, photos: Dataset) -> list[float] | None:
        """By median frequency balancing. Masks that cannot be read are told when they are met in training."""
        if recipe.class_weights != "balanced":
            return None
        assert isinstance(photos.targets, MaskTargets)
        weights: list[float] = median_frequency_weights(photos.targets.readable_masks(), len(photos.classes)).tolist()
        return weights

    def validate(
        self,
        engine: Engine,
        info: ModelInfo,
        photos: Dataset,
        *,
        inputs: Inputs | None,
        in_full: bool,
        on_progress: OnProgress,
    ) -> SegmentationReport:
        """inputs: of squares, which are of no use here. in_full: with the boundary F1."""
        return evaluate_segmentation(
            engine, info, photos, conditions=CONDITIONS, has_contours=in_full, on_progress=on_progress
        )

    def calibrated(self, validation: SegmentationReport) -> SegmentationReport:
        return validation

    def card(self, info: ModelInfo, validation: SegmentationReport) -> list[str]:
        scores = validation.scores
        rows = zip(scores.classes, scores.class_accuracies, scores.ious, scores.boundary_f1s, strict=True)
        return [
            "## Class by class",
            "",
            "| class | pixels that are found | IoU | boundary F1 |",
            "|---|---|---|---|",
            *[f"| {cell(label)} | {' | '.join(map(segment_page.share, figures))} |" for label, *figures in rows],
            f"| all, on average | {' | '.join(map(segment_page.share, _averages(validation)))} |",
            "",
            f"Of all pixels {scores.global_accuracy:.1%} have the right class.",
        ]

    def verdict(
        self, metrics: Rows, validation: SegmentationReport, recipe: Recipe, *, is_fine_tuned: bool
    ) -> list[str]:
        return [
            segment_page.result(validation),
            *trend(metrics, self, recipe, is_fine_tuned=is_fine_tuned),
            *segment_page.weak(validation, recipe),
        ]

    def loss_floor(self, recipe: Recipe, classes: int) -> float:
        return 0.0

    def sections(self, info: ModelInfo, validation: SegmentationReport) -> Iterable[str]:
        return segment_page.sections(validation)


def _averages(validation: SegmentationReport) -> tuple[float, float, float]:
    scores = validation.scores
    return scores.class_average, scores.mean_iou, scores.boundary_f1


TASK = Segment()
