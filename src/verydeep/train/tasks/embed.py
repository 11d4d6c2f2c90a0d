"""Photos of a class near each other, as vectors of length 1: triplets, pairs or a soft-max over proxies, recall@1.

Validation looks for each photo's class among the others, whatever the loss: proxies are not in the model file, and a
loss over the pairs of a batch depends on the batch.
"""

from collections.abc import Iterable

from torch import Tensor

from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset
from verydeep.evaluate.embedding_report import EmbeddingReport, evaluate_embedding
from verydeep.evaluate.protocols import Inputs
from verydeep.nouns import Engine
from verydeep.train.card import cell, share
from verydeep.train.losses import FAR_ENOUGH, MARGIN, contrastive_loss, proxy_loss, triplet_loss
from verydeep.train.recipe import Recipe
from verydeep.train.tasks import CONDITIONS, OnProgress, Rows, embed_page
from verydeep.train.tasks.trend import trend
from verydeep.weights import ModelInfo


class Embed:
    """See `tasks.Task`."""

    metric = "recall1"
    metric_in_words = "recall@1"
    is_share = True

    def targets(self, labels: Tensor, taught: Tensor | None, architecture: Architecture) -> Tensor:
        """(n,) int64: the class of each photo."""
        assert taught is None
        return labels

    def loss(
        self, answers: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None, proxies: Tensor | None
    ) -> Tensor:
        """That of the recipe's `embedding_loss`. answers: (n, d), of length 1."""
        if recipe.embedding_loss == "triplet":
            return triplet_loss(answers, targets, MARGIN if recipe.margin is None else recipe.margin)
        if recipe.embedding_loss == "contrastive":
            return contrastive_loss(answers, targets, FAR_ENOUGH if recipe.margin is None else recipe.margin)
        assert proxies is not None
        return proxy_loss(answers, targets, proxies)

    def weight(self, targets: Tensor, class_weights: Tensor | None) -> int:
        return len(targets)

    def class_weights(self, recipe: Recipe, photos: Dataset) -> list[float] | None:
        return None

    def validate(
        self,
        engine: Engine,
        info: ModelInfo,
        photos: Dataset,
        *,
        inputs: Inputs | None,
        in_full: bool,
        on_progress: OnProgress,
    ) -> EmbeddingReport:
        return evaluate_embedding(engine, info, photos, conditions=CONDITIONS, inputs=inputs, on_progress=on_progress)

    def calibrated(self, validation: EmbeddingReport) -> EmbeddingReport:
        return validation

    def card(self, info: ModelInfo, validation: EmbeddingReport) -> list[str]:
        found = validation.figures.items()
        return [
            "## How well photos find their class",
            "",
            f"An embedding of {info.architecture.dimensions:,} numbers, of length 1. Each validation photo asked all "
            "others for the most alike ones.",
            "",
            "| figure | value | 95 % interval |",
            "|---|---|---|",
            *[f"| {name} | {one.value:.1%} | {one.interval[0]:.1%} to {one.interval[1]:.1%} |" for name, one in found],
            "",
            "| class | most like one of it |",
            "|---|---|",
            *[f"| {cell(label)} | {share(recall)} |" for label, recall in validation.class_rows],
        ]

    def verdict(self, metrics: Rows, validation: EmbeddingReport, recipe: Recipe, *, is_fine_tuned: bool) -> list[str]:
        return [
            embed_page.result(validation),
            *embed_page.collapsed(metrics, recipe),
            *trend(metrics, self, recipe, is_fine_tuned=is_fine_tuned, are_losses_alike=False),
            *embed_page.weak(validation),
            *([] if is_fine_tuned else [embed_page.BEGIN_FROM]),
        ]

    def loss_floor(self, recipe: Recipe, classes: int) -> float:
        return 0.0

    def sections(self, info: ModelInfo, validation: EmbeddingReport) -> Iterable[str]:
        return embed_page.sections(info, validation)


TASK = Embed()
