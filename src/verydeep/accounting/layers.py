"""What each layer costs and what it sees.

A MAC is one multiplication and the addition that goes with it; a FLOP is one floating-point operation, so a MAC is
two FLOPs. Both are counted for convolutions and fully connected layers only: biases, ReLU, batch norm, LRN and pools
are left out, as torch's FlopCounterMode leaves them out. A multiplication with the padding's zeros counts.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

from verydeep.architecture import Architecture, Kind, Layer, Shape


@dataclass(frozen=True)
class LayerAccount:
    """The figures of one layer, for one image.

    The last three follow one side of the image, in its pixels, and ignore the image's border: see
    `docs/concepts/accounts.md` for the recursion. Above an unpool, units see squares of different sizes.
    """

    name: str
    kind: Kind | Literal["input"]
    output_shape: Shape  # channels, height, width
    weights: int = 0
    biases: int = 0
    batch_norm_parameters: int = 0  # gamma and beta, two a channel
    macs: int = 0
    receptive_field: int = 1  # side of the largest square that a unit sees; gap on an oblong map: of the longer side
    stride: int = 1  # distance between the squares of two neighbouring units; above an unpool, on average
    center: float = 0.5  # middle of the first unit's square, counted from the image's edge

    @property
    def parameters(self) -> int:
        return self.weights + self.biases + self.batch_norm_parameters

    @property
    def flops(self) -> int:
        return 2 * self.macs

    @property
    def activations(self) -> int:
        """Values in the output."""
        return prod(self.output_shape)

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, the derived figures too."""
        derived = {"parameters": self.parameters, "flops": self.flops, "activations": self.activations}
        return asdict(self) | derived


@dataclass(frozen=True)
class Totals:
    """The sums over a network, for one image.

    conv_... is that of the backbone and of SegNet's decoder, fc_... that of fc6 to fc8, also where they are seen as
    convolutions.
    """

    weight_layers: int
    weights: int
    biases: int
    batch_norm_parameters: int
    parameters: int  # what is trained: the three above
    parameters_with_batch_norm: int  # of this network's twin with batch norm after the same, but not the last layer
    conv_parameters: int  # weights and biases
    fc_parameters: int
    macs: int
    conv_macs: int
    fc_macs: int
    flops: int
    activations: int  # values in the outputs of all layers, the input among them
    weight_layer_activations: int  # the same of convolutions and fully connected layers only
    file_bytes: int  # of the model file's arrays in float32, the running statistics of batch norm among them

    @property
    def file_mb(self) -> float:
        """In units of 10^6 bytes."""
        return self.file_bytes / 1e6

    @property
    def file_mib(self) -> float:
        """In units of 2^20 bytes."""
        return self.file_bytes / 2**20

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"file_mb": self.file_mb, "file_mib": self.file_mib}


def account_layers(architecture: Architecture, image_size: tuple[int, int] | None = None) -> tuple[LayerAccount, ...]:
    """The input and then every layer of `architecture`, in order.

    image_size: (height, width) in pixels; by default the architecture's input size, and other sizes fit dense heads
    only. Raises ArchitectureError where the image does not fit.
    """
    height, width = image_size or (architecture.input_size, architecture.input_size)
    architecture.check_input(height, width)
    accounts = [LayerAccount("input", "input", (architecture.input_channels, height, width))]
    shapes = architecture.output_shapes(height, width)
    view = View()
    for layer in architecture.layers:
        view = view.through(layer, max(accounts[-1].output_shape[1:]))
        accounts.append(_account(layer, view, shapes[layer.name]))
    return tuple(accounts)


@dataclass(frozen=True)
class View:
    """What the units of a layer see, along one side of an image without a border.

    It repeats: unit i + n sees what unit i sees, n strides further on. n is 1 for a layer that is below any unpool.
    """

    spans: tuple[tuple[int, int], ...] = ((0, 1),)  # of the first n units: the first pixel, and the one behind the last
    stride: int = 1  # pixels from a unit to the next, on average

    def span(self, first: int, count: int = 1) -> tuple[int, int]:
        """What `count` units see together, from unit `first` on, which may be below zero."""
        spans = []
        for unit in range(first, first + count):
            period, place = divmod(unit, len(self.spans))
            shift = period * len(self.spans) * self.stride
            spans.append((self.spans[place][0] + shift, self.spans[place][1] + shift))
        return min(first for first, _ in spans), max(end for _, end in spans)

    def through(self, layer: Layer, side: int) -> "View":
        """What the units of a layer on these see. side: of the map that it takes, for the global average."""
        if layer.kind == "unpool":  # a unit and its neighbour see what the one sees that they come from
            return View(tuple(span for span in self.spans for _ in range(layer.stride)), self.stride // layer.stride)
        kernel = side if layer.kind == "gap" else layer.kernel
        units = max(1, len(self.spans) // layer.stride)
        spans = tuple(self.span(unit * layer.stride - layer.padding, kernel) for unit in range(units))
        return View(spans, self.stride * layer.stride)


def _account(layer: Layer, view: View, shape: Shape) -> LayerAccount:
    channels, height, width = shape
    weights = prod(layer.weight_shape) if layer.has_weights else 0
    return LayerAccount(
        name=layer.name,
        kind=layer.kind,
        output_shape=shape,
        weights=weights,
        biases=channels if layer.has_weights else 0,
        batch_norm_parameters=2 * channels if layer.has_batch_norm else 0,
        macs=weights * height * width,  # every weight is used once at every position
        receptive_field=max(end - first for first, end in view.spans),
        stride=view.stride,
        center=sum(view.spans[0]) / 2,
    )


def total(accounts: Iterable[LayerAccount]) -> Totals:
    """The sums over the layers of a network, as `account_layers` gives them."""
    accounts = tuple(accounts)
    with_weights = [account for account in accounts if account.weights]
    fc = [account for account in with_weights if account.name.startswith("fc")]
    conv = [account for account in with_weights if account not in fc]
    normed = [account for account in conv if account is not accounts[-1]]
    weights = sum(account.weights for account in accounts)
    biases = sum(account.biases for account in accounts)
    batch_norm = sum(account.batch_norm_parameters for account in accounts)
    macs = sum(account.macs for account in accounts)
    return Totals(
        weight_layers=len(with_weights),
        weights=weights,
        biases=biases,
        batch_norm_parameters=batch_norm,
        parameters=weights + biases + batch_norm,
        parameters_with_batch_norm=weights + biases + 2 * sum(account.output_shape[0] for account in normed),
        conv_parameters=sum(account.weights + account.biases for account in conv),
        fc_parameters=sum(account.weights + account.biases for account in fc),
        macs=macs,
        conv_macs=sum(account.macs for account in conv),
        fc_macs=sum(account.macs for account in fc),
        flops=2 * macs,
        activations=sum(account.activations for account in accounts),
        weight_layer_activations=sum(account.activations for account in with_weights),
        file_bytes=4 * (weights + biases + 2 * batch_norm),  # as many running means and variances as gammas and betas
    )
