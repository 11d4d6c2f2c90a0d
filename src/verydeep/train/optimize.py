"""One step of learning: the optimiser, its learning rate, and the average of the weights."""

import copy
import math
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from verydeep.network import Network
from verydeep.train.freezing import depth_of_layers, learning_names
from verydeep.train.losses import PROXIES
from verydeep.train.recipe import Recipe

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # of x, x^3 and x^5 (Jordan et al. 2024)
_ITERATIONS = 3
_LEAST_NORM = 1e-18  # the squares of what is smaller are no floats: the norm would be zero, the quotient endless


class MuonSGD(torch.optim.SGD):
    """Stochastic gradient descent with momentum, and by Muon in the groups with `orthogonal` (Jordan et al. 2024).

    precision: of the products that make a step orthogonal.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], recipe: Recipe, precision: str) -> None:
        super().__init__(
            groups,
            lr=recipe.learning_rate,
            momentum=recipe.momentum,
            nesterov=recipe.nesterov and recipe.momentum > 0,
        )
        self.momentum, self.nesterov, self.precision = recipe.momentum, recipe.nesterov, precision

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # no closure: the gradients are there
        """torch's, which sees the orthogonal matrices as gradients, without a momentum."""
        for group in self.param_groups:
            for kernels in group["params"] if group["orthogonal"] else ():
                if kernels.grad is not None:
                    kernels.grad = self._orthogonal_step(kernels)
        super().step()

    def _orthogonal_step(self, kernels: nn.Parameter) -> Tensor:
        gradient, state = kernels.grad, self.state[kernels]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(kernels)
        average = state["momentum_buffer"].mul_(self.momentum).add_(gradient)
        direction = gradient.add(average, alpha=self.momentum) if self.nesterov else average
        out, channels, *sides = direction.shape
        rows = direction.permute(0, 2, 3, 1).reshape(out, -1)  # no copy where channels come last
        rows = orthogonalized(rows.bfloat16() if self.precision == "bfloat16" else rows)
        return rows.to(kernels.dtype).view(out, *sides, channels).permute(0, 3, 1, 2)


def orthogonalized(matrix: Tensor) -> Tensor:
    """(m, n) -> (m, n): nearly U V^T of the matrix U S V^T, whose singular values are all about 1.

    By `_ITERATIONS` of a polynomial of Newton and Schulz: those far below the largest come less close to 1.
    """
    linear, cubic, quintic = _NEWTON_SCHULZ
    is_tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = (matrix.T if is_tall else matrix) / matrix.norm().clamp_min(_LEAST_NORM)
    for _ in range(_ITERATIONS):
        square = x @ x.T
        x = linear * x + (cubic * square + quintic * square @ square) @ x
    return x.T if is_tall else x


def make_optimizer(network: Network, recipe: Recipe, precision: str = "float32") -> MuonSGD:
    """Stochastic gradient descent with momentum; biases and batch norm have no weight decay.

    With `muon_factor` the kernels of the convolutions between the first and the last layer take orthogonal steps, and
    decay as much in a step as the others. A group's `factor` multiplies the learning rate: see `set_rate`.
    """
    factors = rate_factors(network, recipe.layer_decay)
    with_weights = [layer for layer in network.architecture.layers if layer.has_weights]
    matrices = {f"{layer.name}.weight" for layer in with_weights[1:-1] if layer.kind == "conv" and recipe.muon_factor}
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        groups.setdefault((factors[name], parameter.ndim > 1, name in matrices), []).append(parameter)
    return MuonSGD([_group(recipe, *kind, parameters) for kind, parameters in groups.items()], recipe, precision)


def _group(
    recipe: Recipe, factor: float, is_weight: bool, is_orthogonal: bool, parameters: list[nn.Parameter]
) -> dict[str, Any]:
    decay = recipe.weight_decay if is_weight else 0.0
    settings: dict[str, float] = {}
    if is_orthogonal:
        factor *= recipe.muon_factor
        decay /= recipe.muon_factor * (1 - recipe.momentum)  # in the long run SGD makes 1 / (1 - momentum) of a step
        settings = {"momentum": 0.0, "nesterov": False}  # of torch's part of it
    rate = recipe.learning_rate * factor
    return settings | {
        "params": parameters,
        "orthogonal": is_orthogonal,
        "factor": factor,
        "lr": rate,
        "weight_decay": decay,
    }


def rate_factors(network: Network, layer_decay: float) -> dict[str, float]:
    """What multiplies the learning rate of each parameter: 1 in the head, `layer_decay` in the last block of
    convolutions, its square in the block below, and so on (Howard and Ruder 2018, section 3.2).
    """
    depths = {PROXIES: 0} | depth_of_layers(network.architecture)
    return {name: layer_decay ** depths[name.split(".")[0]] for name, _ in network.named_parameters()}


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Every group gets its share of the learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def learning_rate(recipe: Recipe, epoch: float, top1_history: Sequence[float]) -> float:
    """The learning rate of the step that ends at a point of the run: `epoch` counts epochs and their fractions.

    Warm-up from zero, then half a cosine to zero over the epochs, or tenths where validation stopped improving, or what
    it is to the end. Where more layers begin to learn, it begins anew.
    """
    stage = next((stage for stage in recipe.stages if epoch <= stage.end), recipe.stages[-1])
    epoch, epochs = epoch - stage.first, stage.end - stage.first
    warmup_epochs = min(recipe.warmup_epochs, epochs)
    warmup = min(1.0, epoch / warmup_epochs) if warmup_epochs else 1.0
    if recipe.schedule == "plateau":
        return float(recipe.learning_rate * warmup * 0.1 ** plateaus(top1_history, recipe.patience))
    if recipe.schedule == "constant":
        return recipe.learning_rate * warmup
    progress = max(0.0, epoch - warmup_epochs) / max(1e-9, epochs - warmup_epochs)
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
        learning = learning_names(network)  # of a frozen layer the average is the layer
        pairs = [
            (average, value)
            for (name, average), (_, value) in zip(_values(self.network), _values(network), strict=True)
            if name in learning
        ]
        numbers = [pair for pair in pairs if pair[0].is_floating_point()]
        averages, values = (list(side) for side in zip(*numbers, strict=True))
        torch._foreach_lerp_(averages, values, 1 - decay)  # a few calls for all the arrays
        for average, value in pairs:
            if not average.is_floating_point():  # how many batches batch norm has seen
                average.copy_(value)


def _values(network: Network) -> list[tuple[str, Tensor]]:
    return [*network.named_parameters(), *network.named_buffers()]
