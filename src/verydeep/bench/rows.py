"""The rows of a network with batch norm folded into the convolutions: what every rival is built from."""

from dataclasses import dataclass

import numpy as np

from verydeep.architecture import BATCH_NORM_EPSILON, Architecture, Layer
from verydeep.errors import UsageError
from verydeep.nouns import Weights


@dataclass(frozen=True)
class Row:
    """A layer and its arrays, float32; a layer without weights has empty ones."""

    layer: Layer
    weight: np.ndarray
    bias: np.ndarray

    @property
    def name(self) -> str:
        return self.layer.name


def folded_rows(architecture: Architecture, weights: Weights) -> tuple[Row, ...]:
    """Every layer in order; batch norm is a factor of a convolution's weights and a part of its bias.

    Raises UsageError on a layer that no rival is built with here.
    """
    for layer in architecture.layers:
        if layer.kind in ("unpool", "unit"):
            raise UsageError(
                f"{architecture.name} has the layer {layer.name}, which is built for our own engines only.",
                "Measure our own engines, or a classifier.",
            )
    return tuple(_folded(layer, weights) for layer in architecture.layers)


def _folded(layer: Layer, weights: Weights) -> Row:
    if not layer.has_weights:
        return Row(layer, np.empty(0, np.float32), np.empty(0, np.float32))
    weight, bias = (np.asarray(weights[f"{layer.name}.{part}"], np.float32) for part in ("weight", "bias"))
    if layer.has_batch_norm:
        parts = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (
            np.asarray(weights[f"{layer.batch_norm_name}.{part}"], np.float64) for part in parts
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        weight = (weight * scale[:, None, None, None]).astype(np.float32)
        bias = ((bias - mean) * scale + beta).astype(np.float32)
    return Row(layer, np.ascontiguousarray(weight), np.ascontiguousarray(bias))


def block_of(name: str) -> str:
    """The block that a layer belongs to: conv3_2, lrn3 and pool3 -> "conv3"; the layers of the head -> "head".

    Of SegNet's decoder unpool3 and conv3_2_D -> "conv3_D".
    """
    number = name.removeprefix("conv").removeprefix("un").removeprefix("pool").removeprefix("lrn").partition("_")[0]
    decoder = "_D" if name.startswith("unpool") or name.endswith("_D") else ""
    return f"conv{number}{decoder}" if number.isdigit() else "head"
