"""The class of a photo and its box (the paper's appendix A): cross-entropy, and how far the box is from the true one.

A picture that shows nothing of the object's box teaches its class alone.
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from torch import Tensor

from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset
from verydeep.evaluate import calibrate
from verydeep.evaluate.localization import center_finder, localize
from verydeep.evaluate.localization_report import OVERLAP, LocalizationReport
from verydeep.evaluate.protocols import Inputs
from verydeep.nouns import Engine
from verydeep.outputs.classify import posteriors
from verydeep.train.card import share
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import CONDITIONS, OnProgress, Rows, localize_page
from verydeep.train.tasks.classify import balanced_weights
from verydeep.train.tasks.trend import trend
from verydeep.weights import ModelInfo

PROTOCOL = "{fit}; IoU over {overlap}"
_LEAST = 1e-300  # of a probability whose logarithm is taken


class Localize:
    """See `tasks.Task`. learns_classes: whether classes are judged, too; else the boxes alone, their class told."""

    is_share = True

    def __init__(self, *, learns_classes: bool = True) -> None:
        self.learns_classes = learns_classes
        self.metric = "class_and_box" if learns_classes else "given_class"
        self.metric_in_words = "class and box" if learns_classes else "boxes found"

    def targets(self, labels: Tensor, taught: Tensor | None, architecture: Architecture) -> Tensor:
        """(n, classes + 4): 1 for the class of each photo, then the box's middle, width and height; no box: zeros."""
        assert taught is not None
        return torch.cat([F.one_hot(labels, architecture.classes).float(), taught], dim=1)

    def loss(
        self, answers: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None, proxies: Tensor | None
    ) -> Tensor:
        """`box_weight` times that of the boxes, and that of the classes unless `learns_classes` is false."""
        classes = targets.shape[1] - 4
        shown, boxes = targets[:, :classes], targets[:, classes:]
        said = answers[:, classes:].reshape(len(answers), -1, 4)
        own = said[:, 0] if said.shape[1] == 1 else said[torch.arange(len(said)), shown.argmax(dim=1)]
        has_box = (boxes[:, 2:] > 0).all(dim=1)
        loss = recipe.box_weight * (box_costs(own, boxes, recipe.box_loss) * has_box).mean()
        if not recipe.learns_classes:
            return loss
        smoothing = recipe.label_smoothing
        costs = F.cross_entropy(answers[:, :classes], shown, label_smoothing=smoothing, reduction="none")
        return loss + (costs if class_weights is None else costs * (shown @ class_weights)).mean()

    def weight(self, targets: Tensor, class_weights: Tensor | None) -> int:
        return len(targets)

    def class_weights(self, recipe: Recipe, photos: Dataset) -> list[float] | None:
        return balanced_weights(photos.counts()) if recipe.class_weights == "balanced" else None

    def validate(
        self,
        engine: Engine,
        info: ModelInfo,
        photos: Dataset,
        *,
        inputs: Inputs | None,
        in_full: bool,
        on_progress: OnProgress,
    ) -> LocalizationReport:
        """inputs: lack the photos' sizes, which boxes need."""
        protocol = PROTOCOL.format(fit=info.preprocessing.in_words, overlap=OVERLAP)
        report = localize(
            [center_finder(engine, info)],
            photos,
            info.classes,
            protocol=f"{protocol}, {CONDITIONS}",
            on_progress=on_progress,
        )
        return replace(report, are_classes_judged=self.learns_classes)

    def calibrated(self, validation: LocalizationReport) -> LocalizationReport:
        """The logarithms of the posteriors differ from the logits by a number for each photo, which changes nothing."""
        logits = np.log(np.maximum(validation.posteriors, _LEAST))
        calibration = calibrate(logits, validation.labels)
        return replace(validation, calibration=calibration, posteriors=posteriors(logits, calibration.temperature))

    def card(self, info: ModelInfo, validation: LocalizationReport) -> list[str]:
        low, high = validation.mean_iou.interval
        return [
            "## Where things are",
            "",
            "| of the validation photos | right |",
            "|---|---|",
            f"| first answer, class and box (IoU over {OVERLAP}) | {share(validation.top1)} |",
            f"| one of five answers, class and box (ILSVRC) | {share(validation.top5)} |",
            f"| the box, its class told | {share(validation.given_class)} |",
            f"| the class, wherever its box is | {share(validation.class_top1)} |",
            f"| mean IoU, the class told | {validation.mean_iou.value:.3f} (95 % interval {low:.3f} to {high:.3f}) |",
        ]

    def verdict(
        self, metrics: Rows, validation: LocalizationReport, recipe: Recipe, *, is_fine_tuned: bool
    ) -> list[str]:
        return [
            *localize_page.result(validation),
            *trend(metrics, self, recipe, is_fine_tuned=is_fine_tuned, are_losses_alike=False),
        ]

    def loss_floor(self, recipe: Recipe, classes: int) -> float:
        return 0.0

    def sections(self, info: ModelInfo, validation: LocalizationReport) -> Iterable[str]:
        return localize_page.sections(validation)


def box_costs(said: Tensor, true: Tensor, loss: str) -> Tensor:
    """How far each box is from the true one: (n,). Boxes are (n, 4): the middle's x and y, width and height.

    euclidean: the squared distance of the four numbers, as in the paper. l1: the sum of their distances, quadratic
    below 0.05 (Girshick 2015). giou: 1 less the generalised IoU (Rezatofighi et al. 2019).
    """
    if loss == "euclidean":
        return (said - true).square().sum(dim=1)
    if loss == "l1":
        return F.smooth_l1_loss(said, true, beta=0.05, reduction="none").sum(dim=1)
    low, high = _edges(said)
    true_low, true_high = _edges(true)
    common = _area(torch.maximum(low, true_low), torch.minimum(high, true_high))
    union = _area(low, high) + _area(true_low, true_high) - common
    hull = _area(torch.minimum(low, true_low), torch.maximum(high, true_high))
    tiny = 1e-9
    return 1 - common / (union + tiny) + (hull - union) / (hull + tiny)


def _edges(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The corners. A width or height below zero counts as none, but is still led back up."""
    half = F.softplus(boxes[:, 2:], beta=50) / 2
    return boxes[:, :2] - half, boxes[:, :2] + half


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(dim=1)


TASK = Localize()
BOXES_ALONE = Localize(learns_classes=False)
