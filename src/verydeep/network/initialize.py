"""Random weights to start from.

The paper (section 3.1) draws the weights of A from a normal distribution "with the zero mean and 10^-2 variance". Read
as it stands that is a standard deviation of 0.1; most re-implementations use 0.01, as Caffe's AlexNet did. Neither
suits a deep plain network: a layer multiplies the spread of its input by about std * sqrt(fan_in / 2), and with a
fan-in of 9 * 512 that is 4.8 for 0.1 and 0.48 for 0.01, so over E's sixteen convolutions the signal explodes or
vanishes. `glorot` and `he` choose the spread of each layer so that this factor is near one; the paper's authors found
after their submission that Glorot's removes the need for pre-training.

`identity` is for a short training: each convolution starts by passing its inputs on beside random filters, so that what
the last layer sees of a photo is there from the first step (the "dirac" start of K. Jordan, "94% on CIFAR-10 in 3.29
Seconds on a Single GPU", 2024, section 3.2; `whiten` is its section 3.1, for a first layer of 3x3).
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from verydeep.errors import RecipeError
from verydeep.network.backbone import Network

PAPER_STD = 0.01
_PATCHES = 200_000  # are enough for 27 directions
_NOISE = 1e-4  # of the variance of pixels: a direction that photos do not have is not blown up


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


INITIALIZERS: dict[str, Callable[[torch.Tensor], float]] = {
    "paper": paper_std,
    "glorot": glorot_std,
    "he": he_std,
    "identity": he_std,  # of the filters that pass nothing on
}

_CLASSIFIER = 0.1  # of its spread is left by `identity`: the first answers are near to "any class"
_BOXES = 0.1  # of the spread is left to the numbers of boxes: the first answers are near to "the whole picture"
_WHOLE_PICTURE = (0.5, 0.5, 1.0, 1.0)  # as a box: its middle, width and height


@torch.no_grad()
def initialize(network: Network, scheme: str, seed: int, std: float | None = None) -> None:
    """Draws every weight from N(0, std(layer)^2), biases zero, batch norm the identity; `identity` as said above.

    Boxes begin near the whole picture: a box of random size and place would first have to be unlearned.
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
    if scheme == "identity":
        _pass_on(network)
    if network.architecture.task == "localize":
        _see_everything(network)


def _pass_on(network: Network) -> None:
    """Filter k of a convolution becomes channel k of its input, as far as there are as many of both."""
    *layers, classifier = (module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear)))
    for layer in layers[1:]:
        if isinstance(layer, nn.Conv2d):
            nn.init.dirac_(layer.weight[: layer.in_channels])
    classifier.weight *= _CLASSIFIER


def _see_everything(network: Network) -> None:
    """The last layer's numbers of boxes become those of the whole picture, nearly."""
    *_, last = (module for module in network.modules() if isinstance(module, nn.Linear))
    boxes = slice(network.architecture.classes, None)
    last.weight[boxes] *= _BOXES
    last.bias[boxes] = torch.tensor(_WHOLE_PICTURE).repeat(len(last.bias[boxes]) // 4)


@torch.no_grad()
def whiten(network: Network, images: Sequence[np.ndarray]) -> None:
    """Sets the filters of conv1_1 to the principal directions of the images' 3x3 patches, the largest first.

    images: (channels, h, w) float32, as the network gets them. A direction makes two filters, it and its negative: a
    ReLU would lose half of it. It is divided by its spread, so that all are equally strong. Where the layer has fewer
    filters, the last directions are left out; where it has more, the others keep their weights.
    """
    weight = network.get_parameter("conv1_1.weight")
    side = weight.shape[-1]
    step = max(1, math.isqrt(sum(image[0].size for image in images) // _PATCHES))
    windows = [
        np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(1, 2))[:, ::step, ::step]
        .transpose(1, 2, 0, 3, 4)
        .reshape(-1, weight[0].numel())
        for image in images
        if min(image.shape[1:]) >= side
    ]
    if not windows:
        return
    patches = np.concatenate(windows).astype(np.float64)
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    order = np.argsort(-variances)[: len(weight) // 2]
    filters = (directions[:, order] / np.sqrt(variances[order] + _NOISE)).T
    filters = filters * np.sign(filters[np.arange(len(filters)), np.abs(filters).argmax(axis=1)])[:, None]
    both = torch.from_numpy(np.concatenate([filters, -filters]).astype(np.float32))
    weight[: len(both)] = both.reshape(-1, *weight.shape[1:])
