"""The class of a photo: cross-entropy, top-1, a calibrated confidence."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch.nn.functional as F  # noqa: N812, torch's own custom
from torch import Tensor

from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset
from verydeep.evaluate import Report, calibrate, evaluate
from verydeep.evaluate.protocols import Inputs
from verydeep.nouns import Engine
from verydeep.outputs.classify import posteriors
from verydeep.train.card import cell, confidence, share
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import CONDITIONS, OnProgress, Rows, classify_page
from verydeep.train.verdict import loss_floor, verdict
from verydeep.weights import ModelInfo


class Classify:
    """See `tasks.Task`."""

    metric = "top1"
    metric_in_words = "top-1"
    is_share = True

    def targets(self, labels: Tensor, taught: Tensor | None, architecture: Architecture) -> Tensor:
        """(n, classes): 1 for the class of each photo."""
        assert taught is None
        return F.one_hot(labels, architecture.classes).float()

    def loss(
        self, answers: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None, proxies: Tensor | None
    ) -> Tensor:
        if class_weights is None:
            return F.cross_entropy(answers, targets, label_smoothing=recipe.label_smoothing)
        # of a photo, not of its smoothed target: what is smoothed stays even
        losses = F.cross_entropy(answers, targets, label_smoothing=recipe.label_smoothing, reduction="none")
        return (losses * (targets @ class_weights)).mean()

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
    ) -> Report:
        return evaluate(engine, info, photos, conditions=CONDITIONS, inputs=inputs, on_progress=on_progress)

    def calibrated(self, validation: Report) -> Report:
        assert validation.logits is not None  # the centre protocol looks at each photo once
        calibration = calibrate(validation.logits, validation.labels)
        scores = posteriors(validation.logits, calibration.temperature)
        return replace(validation, calibration=calibration, posteriors=scores)

    def card(self, info: ModelInfo, validation: Report) -> list[str]:
        return [
            "## Class by class",
            "",
            "| class | recognised | of photos said to be it, right |",
            "|---|---|---|",
            *[f"| {cell(row.label)} | {share(row.recall)} | {share(row.precision)} |" for row in validation.class_rows],
            "",
            "## How sure it is",
            "",
            confidence(info, validation),
        ]

    def verdict(self, metrics: Rows, validation: Report, recipe: Recipe, *, is_fine_tuned: bool) -> list[str]:
        return verdict(metrics, validation, recipe, is_fine_tuned=is_fine_tuned)

    def loss_floor(self, recipe: Recipe, classes: int) -> float:
        return loss_floor(recipe, classes)

    def sections(self, info: ModelInfo, validation: Report) -> Iterable[str]:
        return classify_page.sections(info, validation)


def balanced_weights(counts: Sequence[int]) -> list[float]:
    """What each class's photos count in the loss, so that all classes count alike; over the photos the mean is 1."""
    present = sum(count > 0 for count in counts)
    return [sum(counts) / (present * count) if count else 0.0 for count in counts]


TASK = Classify()
