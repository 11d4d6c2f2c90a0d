"""Bytes that a network takes, for inference and for training: an estimate, and the model behind it.

Inference keeps the weights, and at any moment the input and the output of one layer: ReLU works in place, batch norm
is folded into the convolution, and a map is dropped when the next one is made. The peak is the layer whose two maps
are largest together. In int8, weights are one byte; biases stay four. Where an unpool undoes a pool, one byte for each
of the pool's values is kept from the one to the other: its place in the window.

Training keeps what the backward pass will need until it comes by:

- weights, gradients and momentum, each in float32, and on request an exponential moving average (EMA) of the weights;
- in bfloat16 or float16 (mixed precision) besides them a two-byte copy of the weights;
- the image, and one output of every layer: that after its ReLU;
- with batch norm also the output before it, which the gradient of the norm needs;
- for every output of a pool the place of the maximum, which torch keeps in eight bytes, for an unpool the same ones;
  the output that an unpool takes is not needed, unless a ReLU made it;
- after dropout the output once more, and its mask, one byte a value on a GPU;
- for LRN its output and three maps of that size, the squares, their sums, and the power of those, each in float32 also
  in mixed precision: autocast takes no other for a power;
- while the backward pass runs, the gradients of the input and the output of one layer.

Left out: the workspace of convolution libraries, the allocator's slack, the program itself, and the batch that the
loader prepares meanwhile.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from verydeep.accounting.layers import LayerAccount
from verydeep.architecture import Architecture
from verydeep.errors import UsageError

PRECISIONS = {"float32": 4, "bfloat16": 2, "float16": 2, "int8": 1}  # bytes of a value
MOST_IMAGES = 10**9  # in a batch; with more, times and bytes would leave the range of a float
_INDEX_BYTES = 8  # int64, of a pool's maximum in training
_PLACE_BYTES = 1  # of the same for an unpool, in inference
_MASK_BYTES = 1  # bool, of a dropped value
_LRN_BYTES = 4 * 4  # four maps in float32


@dataclass(frozen=True)
class InferenceMemory:
    """Bytes while a batch is classified, by what they hold."""

    weights_bytes: int
    activations_bytes: int  # at the peak: the input and the output of one layer, and the places that wait for an unpool

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.activations_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"total_bytes": self.total_bytes}


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes during a step of training, by what they hold."""

    weights_bytes: int
    gradients_bytes: int
    momentum_bytes: int
    ema_bytes: int  # 0 without EMA
    cast_weights_bytes: int  # the two-byte copy of mixed precision; 0 in float32
    activations_bytes: int  # kept for the backward pass
    activation_gradients_bytes: int  # at the peak

    @property
    def total_bytes(self) -> int:
        return sum(asdict(self).values())

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"total_bytes": self.total_bytes}


def inference_memory(
    accounts: Sequence[LayerAccount], batch_size: int = 1, precision: str = "float32"
) -> InferenceMemory:
    """The estimate for one batch. Raises UsageError on a batch size or precision that there is not."""
    check_batch(batch_size)
    return InferenceMemory(
        weights_bytes=sum(layer_weights_bytes(account, precision) for account in accounts),
        activations_bytes=batch_size * _largest_moment(accounts, value_bytes(precision)),
    )


def training_memory(
    architecture: Architecture,
    accounts: Sequence[LayerAccount],
    batch_size: int = 1,
    precision: str = "float32",
    ema: bool = False,
) -> TrainingMemory:
    """The estimate for one step. Raises UsageError on a batch size or precision that cannot be trained with."""
    check_batch(batch_size)
    size = value_bytes(precision)
    if precision == "int8":
        raise UsageError("training in int8 is not possible.", "Choose float32, bfloat16 or float16.")
    parameters = sum(account.parameters for account in accounts)
    statistics = sum(account.batch_norm_parameters for account in accounts)  # running means and variances
    stored = _stored_bytes(architecture, accounts, size)
    return TrainingMemory(
        weights_bytes=4 * (parameters + statistics),
        gradients_bytes=4 * parameters,
        momentum_bytes=4 * parameters,
        ema_bytes=4 * (parameters + statistics) if ema else 0,
        cast_weights_bytes=0 if precision == "float32" else size * parameters,
        activations_bytes=batch_size * stored,
        activation_gradients_bytes=batch_size * size * _largest_pair(accounts),
    )


def layer_weights_bytes(account: LayerAccount, precision: str) -> int:
    """Bytes of a layer's weights and biases for inference, batch norm folded in."""
    bias_bytes = 4 if precision == "int8" else value_bytes(precision)
    return account.weights * value_bytes(precision) + account.biases * bias_bytes


def value_bytes(precision: str) -> int:
    """Bytes of one value. Raises UsageError on an unknown precision."""
    if precision not in PRECISIONS:
        raise UsageError(f"no precision {precision!r}; there are {', '.join(PRECISIONS)}.", "Choose one of these.")
    return PRECISIONS[precision]


def check_batch(batch_size: int) -> None:
    """Raises UsageError where no image would be in the batch, or more than any machine takes."""
    if not 1 <= batch_size <= MOST_IMAGES:
        raise UsageError(
            f"a batch of {str(batch_size)[:20]} images; expected 1 to {MOST_IMAGES:,}.",
            "Give the number of images at once.",
        )


def _largest_pair(accounts: Sequence[LayerAccount]) -> int:
    """Values in the input and the output of the layer where they are most."""
    pairs = pairwise(accounts)
    return max(before.activations + after.activations for before, after in pairs)


def _largest_moment(accounts: Sequence[LayerAccount], size: int) -> int:
    """Bytes of one image while the layer runs where they are most, values being of `size` bytes."""
    is_undone = any(account.kind == "unpool" for account in accounts)
    waiting: list[int] = []  # places of pools; an unpool undoes the last of those that are not undone
    largest = 0
    for before, after in pairwise(accounts):
        if after.kind == "pool" and is_undone:
            waiting.append(_PLACE_BYTES * after.activations)
        largest = max(largest, size * (before.activations + after.activations) + sum(waiting))
        if after.kind == "unpool":
            waiting.pop()
    return largest


def _stored_bytes(architecture: Architecture, accounts: Sequence[LayerAccount], size: int) -> int:
    """Bytes of one image that wait for the backward pass, values being of `size` bytes."""
    stored = accounts[0].activations * size
    above = [*(layer.kind for layer in architecture.layers[1:]), ""]
    for layer, account, taker in zip(architecture.layers, accounts[1:], above, strict=True):
        is_kept = taker != "unpool" or layer.has_relu
        copies = int(is_kept) + int(layer.has_batch_norm) + int(layer.dropout > 0)
        extra = _INDEX_BYTES * int(layer.kind == "pool") + _MASK_BYTES * int(layer.dropout > 0)
        bytes_each = _LRN_BYTES if layer.kind == "lrn" else copies * size + extra
        stored += account.activations * bytes_each
    return stored
