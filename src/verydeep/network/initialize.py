"""Random weights to start from.

The paper (section 3.1) draws the weights of A from a normal distribution "with the zero mean and 10^-2 variance". Read
as it stands that is a standard deviation of 0.1; most re-implementations use 0.01, as Caffe's AlexNet did. Neither
suits a deep plain network: a layer multiplies the spread of its input by about std * sqrt(fan_in / 2), and with a
fan-in of 9 * 512 that is 4.8 for 0.1 and 0.48 for 0.01, so over E's sixteen convolutions the signal explodes or
vanishes. `glorot` and `he` choose the spread of each layer so that this factor is near one; the paper's authors found
after their submission that Glorot's removes the need for pre-training.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from verydeep.errors import RecipeError
from verydeep.network.backbone import Network

PAPER_STD = 0.01


def paper_std(weight: torch.Tensor) -> float:
    """The same spread for every layer: 0.01, the reading with which A trains."""
    return PAPER_STD


def glorot_std(weight: torch.Tensor) -> float:
    """Glorot & Bengio (2010): the variance is 2 / (fan_in + fan_out)."""
    fan_out = weight.numel() // weight.shape[1]
    return math.sqrt(2 / (weight[0].numel() + fan_out))


def he_std(weight: torch.Tensor) -> float:
    """He et al. (2015): the variance is 2 / fan_in, exact for layers followed by a ReLU."""
    return math.sqrt(2 / weight[0].numel())


INITIALIZERS: dict[str, Callable[[torch.Tensor], float]] = {"paper": paper_std, "glorot": glorot_std, "he": he_std}


@torch.no_grad()
def initialize(network: Network, scheme: str, seed: int, std: float | None = None) -> None:
    """Draws every weight from N(0, std(layer)^2), biases zero, batch norm the identity.

    scheme: a name of `INITIALIZERS`. std: the spread of `paper` in place of 0.01; 0.1 is the paper's text read as it
    stands. The same seed gives the same weights on every machine. Raises RecipeError on an unknown scheme.
    """
    if scheme not in INITIALIZERS:
        raise RecipeError(f"no initialisation {scheme!r}; there are {', '.join(INITIALIZERS)}.", "Choose one of these.")
    if std is not None and scheme != "paper":
        raise RecipeError(f"std goes with the initialisation 'paper' only, not with {scheme!r}.", "Leave it out.")
    random = np.random.Generator(np.random.Philox(key=seed))  # torch's own numbers differ between processors
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            spread = INITIALIZERS[scheme](module.weight) if std is None else std
            normal = random.standard_normal(tuple(module.weight.shape), dtype=np.float32)
            module.weight.copy_(torch.from_numpy(normal) * spread)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # every layer of the table has one
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
