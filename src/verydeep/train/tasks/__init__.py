"""What a network is taught and how well it does it: one file for each `architecture.Task`. `task_of` finds it."""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, TypeVar

from torch import Tensor

from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset
from verydeep.evaluate.protocols import Inputs
from verydeep.nouns import Calibration, Engine, Failure
from verydeep.train.recipe import Recipe
from verydeep.weights import ModelInfo

Rows: TypeAlias = Sequence[Mapping[str, float]]
OnProgress: TypeAlias = Callable[[int], None]
CONDITIONS = "float32, engine torch"  # of every validation in training


class Validation(Protocol):
    """How well a model does on photos."""

    @property
    def protocol(self) -> str:
        """In a sentence: what every figure depends on."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def n(self) -> int:
        """How many photos every figure rests on."""

    @property
    def loss(self) -> float:
        """Of whole photos, the lower the better. Not every task's is that of training: see `trend`."""

    @property
    def score(self) -> float:
        """What the model is judged by, from 0 to 1."""

    @property
    def headline(self) -> str:
        """The score with its name, its interval and its terms: "top-1 84.0% (95 % interval ...)"."""

    @property
    def lead(self) -> tuple[str, ...]:
        """The score alone, and the rest of the sentence: ("84.0%", "of 120 validation photos recognised (...)")."""

    @property
    def calibration(self) -> Calibration: ...

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The photos that are in no figure."""

    def summary(self) -> dict[str, Any]:
        """As the model file has it."""

    def to_dict(self) -> dict[str, Any]:
        """As `verydeep evaluate --json` prints it."""


V = TypeVar("V", bound=Validation)


class Task(Protocol[V]):
    """What is taught, and what comes of it."""

    metric: str  # of `Validation.score`: "top1" is "validation_top1" in metrics.jsonl, "top1" in `Validation.summary`
    metric_in_words: str
    is_share: bool  # whether the score is a share of the photos

    def targets(self, labels: Tensor, taught: Tensor | None, architecture: Architecture) -> Tensor:
        """What the loss compares the answers with. labels: (n,). taught: `Batch.targets`."""

    def loss(
        self, answers: Tensor, targets: Tensor, recipe: Recipe, class_weights: Tensor | None, proxies: Tensor | None
    ) -> Tensor:
        """A scalar, the mean over what `weight` adds up. answers: of the network, float32. targets: of `targets`.

        proxies: a vector of each class, which learns as the network does, where the recipe's loss has them.
        """

    def weight(self, targets: Tensor, class_weights: Tensor | None) -> Tensor | int:
        """How many pictures the loss is the mean over, or what else; above 0.

        The loss of a batch is that of its parts, each times its share of the weight.
        """

    def class_weights(self, recipe: Recipe, photos: Dataset) -> list[float] | None:
        """What each class counts in the loss; None where all count alike."""

    def validate(
        self,
        engine: Engine,
        info: ModelInfo,
        photos: Dataset,
        *,
        inputs: Inputs | None,
        in_full: bool,
        on_progress: OnProgress,
    ) -> V:
        """What `verydeep evaluate` would say. in_full: also with figures that take long and that no epoch needs."""

    def calibrated(self, validation: V) -> V:
        """The same, the confidence fitted to its own photos where there is one."""

    def card(self, info: ModelInfo, validation: V) -> list[str]:
        """Lines of the model card, Markdown: what else is to be said of how well it does."""

    def verdict(self, metrics: Rows, validation: V, recipe: Recipe, *, is_fine_tuned: bool) -> list[str]:
        """How good the model is, how its training went and what to try: sentences, the result first."""

    def loss_floor(self, recipe: Recipe, classes: int) -> float:
        """The least training loss that any network could reach."""

    def sections(self, info: ModelInfo, validation: V) -> Iterable[str]:
        """Of the report's page, HTML: what the model can and cannot do."""


def task_of(recipe: Recipe) -> Task[Any]:
    """The one of what a recipe's network learns."""
    file = importlib.import_module(f"verydeep.train.tasks.{recipe.task}")
    task: Task[Any] = file.TASK if recipe.learns_classes or recipe.task != "localize" else file.BOXES_ALONE
    return task
