"""One step of learning: the optimiser, its learning rate, and the average of the weights."""

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor

from verydeep.network import Network
from verydeep.train.recipe import Recipe


def make_optimizer(network: Network, recipe: Recipe) -> torch.optim.SGD:
    """Stochastic gradient descent with momentum; biases and batch norm have no weight decay."""
    weights = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in network.parameters() if parameter.ndim == 1]
    return torch.optim.SGD(
        [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.nesterov and recipe.momentum > 0,
    )


def learning_rate(recipe: Recipe, epoch: float, top1_history: Sequence[float]) -> float:
    """The learning rate of the step that ends at a point of the run: `epoch` counts epochs and their fractions.

    Warm-up from zero, then half a cosine to zero over the epochs, or tenths where validation stopped improving.
    """
    warmup = min(1.0, epoch / recipe.warmup_epochs) if recipe.warmup_epochs else 1.0
    if recipe.schedule == "plateau":
        return float(recipe.learning_rate * warmup * 0.1 ** plateaus(top1_history, recipe.patience))
    progress = max(0.0, epoch - recipe.warmup_epochs) / max(1e-9, recipe.epochs - recipe.warmup_epochs)
    return recipe.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def plateaus(top1_history: Sequence[float], patience: int) -> int:
    """How often the validation's top-1 of the past epochs has stopped improving for `patience` epochs."""
    count, best, waiting = 0, -math.inf, 0
    for top1 in top1_history:
        best, waiting = (top1, 0) if top1 > best else (best, waiting + 1)
        if waiting == patience:
            count, waiting = count + 1, 0
    return count


class AveragedWeights:
    """The exponential moving average of a network's weights and batch-norm statistics: what is validated and kept.

    With a decay of zero it is the network itself.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False) if decay else network

    @torch.no_grad()
    def update(self, network: Network, step: int) -> None:
        """step: counts from 0; early averages look back less far, so that they forget the random start."""
        if self.network is network:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(_values(self.network), _values(network), strict=True))
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = (list(side) for side in zip(*numbers, strict=True))
        torch._foreach_lerp_(averages, values, 1 - decay)  # a few calls for all the arrays
        for average, value in pairs:
            if not average.is_floating_point():  # how many batches batch norm has seen
                average.copy_(value)


def _values(network: Network) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
