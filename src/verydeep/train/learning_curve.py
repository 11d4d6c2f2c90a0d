"""How much more data would help: the head trained anew on a part of the features, several times for each part."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom

from verydeep.data.augment import random_generator
from verydeep.data.loader import steps_per_epoch
from verydeep.evaluate.report import Proportion
from verydeep.network import Tail
from verydeep.train.features import Features
from verydeep.train.optimize import learning_rate
from verydeep.train.recipe import Recipe

CURVE_FILE = "learning-curve.json"
SHARES = (0.25, 0.5, 0.75, 1.0)  # of the photos of each class
DRAWS = 5  # of each share; fewer where they would take more than MOST_STEPS
MOST_STEPS = 20_000  # of about a third of a millisecond
LARGEST_HEAD = 1_000_000  # weights: the paper's fc head takes too long
STANDARD_ERRORS = 2.0
_STREAM = 1 << 40  # of random numbers: no batch uses it
_STD = 0.01  # of the first weights


@dataclass(frozen=True)
class LearningCurve:
    """Top-1 on the validation photos by how many photos were trained on."""

    photos: tuple[int, ...]  # of each share
    top1: tuple[tuple[float, ...], ...]  # of each share, one a draw
    n: int  # validation photos

    @cached_property
    def gain(self) -> tuple[float, float]:
        """What doubling the photos has brought, and its standard error over the draws: infinite for a single draw.

        The slope of the straight line through top-1 by the logarithm of the photos.
        """
        slopes = np.polyfit(np.log2(self.photos), np.array(self.top1), 1)[0]
        error = slopes.std(ddof=1) / np.sqrt(len(slopes)) if len(slopes) > 1 else np.inf
        return float(slopes.mean()), float(error)

    @property
    def sentence(self) -> str:
        """What it says about more photos."""
        gain, error = self.gain
        first, last = self.photos[0], self.photos[-1]
        told = f"from {first:,} to {last:,} photos each doubling changed top-1 by {100 * gain:+.1f} points"
        if self.n * (1 - np.mean(self.top1[-1])) < 1:
            return (
                f"Whether more photos would help cannot be seen: {told}, and with all of them less than one of the "
                f"{self.n:,} that were asked about is missed. Only more or harder ones to validate on could show it."
            )
        if gain > STANDARD_ERRORS * error:
            return (
                f"More photos would help: {told} (\N{PLUS-MINUS SIGN}{100 * STANDARD_ERRORS * error:.1f} over the "
                f"draws, asked about {self.n:,} photos); twice as many may bring about as much again."
            )
        if not np.isfinite(error):
            return f"How much more photos would help: {told}, by one draw of each size."
        return (
            f"More photos of the same kind would help little: {told}, no more than chance; other layers that learn may "
            f"help more, `--set trained=last-block` or `--set trained=all`."
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"gain_of_doubling": self.gain[0]}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "LearningCurve":
        """The inverse of `to_dict`."""
        return cls(tuple(fields["photos"]), tuple(tuple(values) for values in fields["top1"]), fields["n"])


def learning_curve(
    features: Features,
    head: Tail,
    recipe: Recipe,
    evaluate: Callable[[Tail], Proportion],
    *,
    alive: Callable[[], None] = lambda: None,
) -> LearningCurve | None:
    """Trains heads like this one, from new weights, as the recipe says but for mixed photos, averages and balance.

    None where that takes too long: with a large head or very many photos. evaluate: top-1 of a head on the validation
    photos. alive: is called after each step.
    """
    draws = _draws(features, head, recipe)
    if not draws:
        return None
    photos, found = [], []
    for share in SHARES:
        values = []
        for draw in range(draws):
            chosen = _chosen(features.labels, share, recipe.seed, draw)
            trained = _train(features.take(chosen), head, recipe, draw, alive)
            result = evaluate(trained)
            values.append(result.successes / result.n)
        photos.append(len(chosen))
        found.append(tuple(values))
    return LearningCurve(tuple(photos), tuple(found), result.n) if photos[0] < photos[-1] else None


def _draws(features: Features, head: Tail, recipe: Recipe) -> int:
    """How many fit into the time; none where not one does."""
    if sum(parameter.numel() for parameter in head.parameters()) > LARGEST_HEAD:
        return 0
    steps = sum(
        recipe.epochs * steps_per_epoch(round(share * len(features.labels)), recipe.batch_size) for share in SHARES
    )
    return min(DRAWS, max(1, MOST_STEPS // steps)) if steps <= 5 * MOST_STEPS else 0


def _chosen(labels: np.ndarray, share: float, seed: int, draw: int) -> np.ndarray:
    """The positions of a share of each class, one photo at least."""
    random = random_generator(seed, draw, _STREAM)
    order = random.permutation(len(labels))
    chosen: list[int] = []
    for label in np.unique(labels):
        own = order[labels[order] == label]
        chosen += own[: max(1, round(share * len(own)))].tolist()
    return np.array(sorted(chosen))


def _train(features: Features, head: Tail, recipe: Recipe, draw: int, alive: Callable[[], None]) -> Tail:
    head = copy.deepcopy(head)
    random = random_generator(recipe.seed, draw, _STREAM + 1)
    weights = [parameter for parameter in head.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in head.parameters() if parameter.ndim == 1]
    with torch.no_grad():
        for weight in weights:
            weight.copy_(_STD * torch.from_numpy(random.standard_normal(tuple(weight.shape), dtype=np.float32)))
        for bias in others:
            bias.zero_()
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )
    device = weights[0].device
    steps = steps_per_epoch(len(features.labels), recipe.batch_size)
    batches = features.batches(recipe.batch_size, recipe.seed + draw, (0, 0), recipe.epochs)
    for step, batch in enumerate(batches, start=1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step / steps, [])
        logits = head(batch.features.to(device).float())
        loss = F.cross_entropy(logits, batch.labels.to(device), label_smoothing=recipe.label_smoothing)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        alive()
    return head
