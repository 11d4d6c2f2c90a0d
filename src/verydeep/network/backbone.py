"""A row of the table -> torch modules, and the network that runs the rows in order.

Modules are named like the layers, so that a state dict has the names of the model file: `conv1_1.weight`,
`bn1_1.running_mean`, `fc8.bias`.
"""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom
from jaxtyping import Float
from torch import Tensor, nn

from verydeep.architecture import BATCH_NORM_EPSILON, LRN, Architecture, Layer
from verydeep.errors import UsageError


class Network(nn.Module):
    """An Architecture as a torch module. Freshly made it is initialised by torch's defaults: see `initialize`.

    dropout: the probability in training, in place of the table's 0.5.
    """

    def __init__(self, architecture: Architecture, dropout: float | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.dropout = dropout
        for layer in architecture.layers:
            if layer.kind == "conv":
                self.add_module(layer.name, _convolution(layer))
            elif layer.kind == "fc":
                self.add_module(layer.name, nn.Linear(layer.in_channels * layer.kernel**2, layer.out_channels))
            if layer.has_batch_norm:
                self.add_module(layer.batch_norm_name, nn.BatchNorm2d(layer.out_channels, eps=BATCH_NORM_EPSILON))

    def forward(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n classes *map"]:
        """The logits of images of normalised pixels: (n, classes), or (n, classes, h, w) with the conv or segnet head.

        Raises ArchitectureError where the images do not fit.
        """
        return self.features(images, ("logits",))["logits"]

    def features(self, images: Float[Tensor, "n c h w"], outputs: Sequence[str]) -> dict[str, Tensor]:
        """The named outputs: "conv4_3" before its ReLU (with batch norm: after that), "relu4_3" after it, "pool5" ...

        Maps are (n, channels, h, w), those of fully connected layers (n, channels). Raises UsageError on an unknown
        name and ArchitectureError where the images do not fit.
        """
        unknown = set(outputs) - set(self.architecture.outputs)
        if unknown:
            raise UsageError(
                f"{self.architecture.name} has no output {sorted(unknown)}.",
                f"It has {', '.join(self.architecture.outputs)}.",
            )
        self.architecture.check_input(*images.shape[-2:])
        return _run(self, self.architecture.layers, images, outputs, self.dropout)

    def after(self, layer: str) -> "Tail":
        """The layers above one, which take its output: "pool4" or another name of a layer without a ReLU.

        It shares this network's modules, and its mode at the moment. Raises UsageError on another name. Between a pool
        and the unpool that undoes it no network can be cut: the unpool has to know where the pool's values were.
        """
        names = [row.name for row in _cuts(self.architecture.layers)]
        if layer not in names:
            is_between = any(row.name == layer and not row.has_relu for row in self.architecture.layers[:-1])
            why = ": an unpool above it has to know where the values of a pool were" if is_between else ""
            raise UsageError(
                f"{self.architecture.name} cannot go on after {layer!r}{why}.", f"It can after {', '.join(names)}."
            )
        return Tail(self, layer)

    def dense(self) -> "Network":
        """The view of these very weights that takes any image of at least the input size (section 3.2).

        It shares their memory: a step of an optimiser on this network is seen there.
        """
        view = Network(self.architecture.dense(), self.dropout).train(self.training)
        load_weights(view, self.state_dict())
        return view


class Tail(nn.Module):
    """The upper layers of a network, as a view of it: a step on these is a step on those. Make one with `after`."""

    def __init__(self, network: Network, layer: str) -> None:
        super().__init__()
        names = [row.name for row in network.architecture.layers]
        self.layers = network.architecture.layers[names.index(layer) + 1 :]
        self.dropout = network.dropout
        own = {name for row in self.layers for name in (row.name, row.batch_norm_name)}
        for name, module in network.named_children():
            if name in own:
                self.add_module(name, module)
        self.training = network.training  # not `train`, which would set the modules, too

    def forward(self, features: Float[Tensor, "n c *map"]) -> Float[Tensor, "n classes *out"]:
        """The logits of the output of the layer below: (n, classes)."""
        return _run(self, self.layers, features, ("logits",), self.dropout)["logits"]


def _cuts(layers: Sequence[Layer]) -> list[Layer]:
    """The layers whose output is all that those above need: without a ReLU, and outside of any pool and its unpool."""
    cuts: list[Layer] = []
    undone = {layer.pool for layer in layers}
    waiting: set[str] = set()  # pools
    for layer in layers[:-1]:
        waiting |= {layer.name} & undone
        waiting -= {layer.pool}
        if not layer.has_relu and not waiting:
            cuts.append(layer)
    return cuts


def _run(
    network: nn.Module, layers: Sequence[Layer], x: Tensor, outputs: Sequence[str], dropout: float | None
) -> dict[str, Tensor]:
    """The named outputs of the layers, whose modules are those of `network`. x: the input of the first one."""
    found: dict[str, Tensor] = {}
    undone = {layer.pool for layer in layers}
    pooled: dict[str, tuple[Tensor, torch.Size]] = {}  # of each pool that is undone: where its values were, of what map
    for layer in layers:
        if layer.name in undone:
            size = x.shape[-2:]
            x, places = F.max_pool2d(x, layer.kernel, layer.stride, return_indices=True)
            pooled[layer.name] = (places, size)
        elif layer.kind == "unpool":
            places, size = pooled.pop(layer.pool)
            x = F.max_unpool2d(x, places, [layer.kernel] * 2, [layer.stride] * 2, output_size=size)
        else:
            x = _linear_part(network, layer, x)
        found |= {layer.name: x} if layer.name in outputs else {}
        if layer.has_relu:
            x = F.relu(x)  # never in place: somebody may hold the value before it
            found |= {layer.relu_name: x} if layer.relu_name in outputs else {}
        if found.keys() == set(outputs):
            return found  # nobody asks for what comes above
        if layer.dropout:
            x = F.dropout(x, layer.dropout if dropout is None else dropout, network.training)
    return found | ({"logits": x} if "logits" in outputs else {})


def _linear_part(network: nn.Module, layer: Layer, x: Tensor) -> Tensor:
    """All of a layer that comes before its ReLU."""
    if layer.kind == "pool":
        return F.max_pool2d(x, layer.kernel, layer.stride)
    if layer.kind == "lrn":
        # torch divides alpha by the size of the window, the formula of the paper does not
        return F.local_response_norm(x, int(LRN["size"]), LRN["size"] * LRN["alpha"], LRN["beta"], LRN["k"])
    if layer.kind == "gap":
        return x.mean(dim=(2, 3))
    if layer.kind == "unit":
        return F.normalize(x)  # divided by its length, which counts as 1e-12 at least
    if layer.kind == "fc":
        x = x.flatten(1)  # channels, then rows, then columns, as in Caffe
    x = network.get_submodule(layer.name)(x)
    if layer.has_batch_norm:
        x = network.get_submodule(layer.batch_norm_name)(x)
    return x


def load_weights(network: Network, weights: Mapping[str, Tensor]) -> None:
    """Takes the arrays over, without a copy; fully connected ones are reshaped where the head is convolutions."""
    shapes = network.architecture.weight_shapes
    state = {name: array.reshape(shapes.get(name, array.shape)) for name, array in weights.items()}
    counters = {name: torch.zeros((), dtype=torch.long) for name in network.state_dict() if name not in shapes}
    network.load_state_dict(counters | state, assign=True)


def _convolution(layer: Layer) -> nn.Conv2d:
    return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, layer.stride, layer.padding)
