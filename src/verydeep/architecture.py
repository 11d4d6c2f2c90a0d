"""The networks of Simonyan & Zisserman (2015), Table 1, as data: read this file first.

Everything else is derived from the rows made here: the torch module, the accounts of parameters and multiplications,
the names of the weights, the engines, the pictures. A layer is written down once.

Layers carry the names of the literature (`conv1_1` ... `conv5_4`, `pool1` ... `pool5`, `fc6`, `fc7`, `fc8`). A name
stands for the layer's output before its ReLU; the output after it is called `relu1_1` ... `relu7`. Batch norm belongs
to the convolution before it (`bn1_1` names its weights, not an output).
"""

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Literal

from verydeep.errors import ArchitectureError

# Table 1, one row a configuration, one string a block; "3-64" is a 3x3 convolution to 64 channels. A 2x2 max-pool of
# stride 2 ends every block; every convolution has stride 1 and keeps the size of the map.
# fmt: off
CONFIGURATIONS: dict[str, tuple[str, ...]] = {
    "A":     ("3-64",      "3-128",       "3-256 3-256",             "3-512 3-512",             "3-512 3-512"),
    "A-LRN": ("3-64 LRN",  "3-128",       "3-256 3-256",             "3-512 3-512",             "3-512 3-512"),
    "B":     ("3-64 3-64", "3-128 3-128", "3-256 3-256",             "3-512 3-512",             "3-512 3-512"),
    "C":     ("3-64 3-64", "3-128 3-128", "3-256 3-256 1-256",       "3-512 3-512 1-512",       "3-512 3-512 1-512"),
    "D":     ("3-64 3-64", "3-128 3-128", "3-256 3-256 3-256",       "3-512 3-512 3-512",       "3-512 3-512 3-512"),
    "E":     ("3-64 3-64", "3-128 3-128", "3-256 " * 4,              "3-512 " * 4,              "3-512 " * 4),
    "toy":   ("3-8 3-8",   "3-16"),  # ours: with the gap head four layers of weights, for tests
}
# fmt: on
HIDDEN_UNITS = 4096  # of fc6 and fc7, Table 1
DROPOUT = 0.5  # after fc6 and fc7, section 3.1
BATCH_NORM_EPSILON = 1e-5
# A-LRN's local response normalisation with the constants of Krizhevsky et al. (2012): over `size` neighbouring
# channels, y = x / (k + alpha * sum of x^2) ^ beta. Caffe and torch divide alpha by size: give them size * alpha.
LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}

Kind = Literal["conv", "lrn", "pool", "gap", "fc"]
Head = Literal["fc", "gap", "conv"]
HEADS: dict[Head, str] = {
    "fc": "the paper's: fc6, fc7, fc8 on a map of fixed size",
    "gap": "global average pool and one linear layer: any image of at least 32 pixels",
    "conv": "fc6, fc7, fc8 seen as convolutions: any image at least as large as the input size",
}

Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class Layer:
    """One row of a network."""

    name: str
    kind: Kind
    in_channels: int
    out_channels: int
    kernel: int = 1  # the side of the window in pixels; fc: of the map that it takes whole
    stride: int = 1
    padding: int = 0  # zeros around the map, on each side
    has_relu: bool = False
    has_batch_norm: bool = False
    dropout: float = 0.0  # probability, after the ReLU, in training

    @property
    def has_weights(self) -> bool:
        return self.kind in ("conv", "fc")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(out, in, kernel, kernel) of a convolution, (out, in * kernel * kernel) of a fully connected layer.

        The two hold the same numbers in the same order, so a fully connected layer becomes a convolution by reshaping.
        """
        if self.kind == "conv":
            return (self.out_channels, self.in_channels, self.kernel, self.kernel)
        return (self.out_channels, self.in_channels * self.kernel**2)

    @property
    def relu_name(self) -> str:
        """conv1_1 -> relu1_1, fc6 -> relu6."""
        return "relu" + self.name.removeprefix("conv").removeprefix("fc")

    @property
    def batch_norm_name(self) -> str:
        """conv1_1 -> bn1_1."""
        return "bn" + self.name.removeprefix("conv")

    def output_shape(self, shape: Shape) -> Shape:
        """The shape (channels, height, width) that this layer makes of an input of that shape."""
        _, height, width = shape
        if self.kind in ("gap", "fc"):
            return (self.out_channels, 1, 1)
        return (self.out_channels, self._side(height), self._side(width))

    def _side(self, side: int) -> int:
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


@dataclass(frozen=True)
class Architecture:
    """One network, complete: a configuration of Table 1, its head and its sizes. Raises ArchitectureError."""

    configuration: str = "D"
    head: Head = "fc"
    classes: int = 1000
    input_size: int = 224  # pixels, the side of the training crop
    input_channels: int = 3
    width: float = 1.0  # multiplies the channels of every hidden layer, rounded to multiples of 8
    batch_norm: bool = False

    def __post_init__(self) -> None:
        if self.configuration not in CONFIGURATIONS:
            raise ArchitectureError(
                f"no configuration {self.configuration!r}; there are {', '.join(CONFIGURATIONS)}.",
                "D is VGG-16, E is VGG-19.",
            )
        if self.head not in HEADS:
            raise ArchitectureError(f"no head {self.head!r}; there are {', '.join(HEADS)}.", "Choose one of these.")
        for name, value, limit in (
            ("classes", self.classes, 1_000_000),
            ("input_size", self.input_size, 16_384),
            ("input_channels", self.input_channels, 4096),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
                raise ArchitectureError(
                    f"{name} is {value!r}; expected a whole number from 1 to {limit}.", f"Give {name} such a number."
                )
        if isinstance(self.width, bool) or not isinstance(self.width, (int, float)) or not 0 < self.width <= 16:
            raise ArchitectureError(
                f"width is {self.width!r}; expected a number above 0, at most 16.", "1.0 is the paper's, 0.5 half."
            )
        self.check_input(self.input_size, self.input_size)

    @property
    def name(self) -> str:
        """A short name: "D", "A-bn", "B-bn-gap-0.5x"."""
        parts = [self.configuration]
        parts += ["bn"] if self.batch_norm else []
        parts += [self.head] if self.head != "fc" else []
        parts += [f"{self.width:g}x"] if self.width != 1 else []
        return "-".join(parts)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer in order; the last one makes the logits."""
        body = tuple(self._backbone())
        return body + tuple(self._head(body[-1].out_channels))

    @property
    def smallest_input(self) -> int:
        """The smallest side in pixels: the input size; for the gap head `stride`, below which nothing is left."""
        return self.input_size if self.head in ("fc", "conv") else self.stride

    @property
    def stride(self) -> int:
        """Pixels of the image from one unit of the last map to the next: every pool halves the map, rounding down."""
        return int(2 ** len(self._blocks))

    @property
    def is_dense(self) -> bool:
        """Whether it takes images larger than its input size."""
        return self.head != "fc"

    @property
    def outputs(self) -> tuple[str, ...]:
        """Every output that an engine can be asked for, in order; the last is also called "logits"."""
        names: list[str] = []
        for layer in self.layers:
            names += [layer.name, layer.relu_name] if layer.has_relu else [layer.name]
        return (*names, "logits")

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of every array in a model file."""
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in self.layers:
            if layer.has_weights:
                shapes[f"{layer.name}.weight"] = layer.weight_shape
                shapes[f"{layer.name}.bias"] = (layer.out_channels,)
            if layer.has_batch_norm:
                for part in ("weight", "bias", "running_mean", "running_var"):
                    shapes[f"{layer.batch_norm_name}.{part}"] = (layer.out_channels,)
        return shapes

    def dense(self) -> "Architecture":
        """The view of the same weights that takes any image of at least `smallest_input` (section 3.2).

        The fully connected layers become convolutions. A gap head is dense already: its linear layer on the average
        of all positions equals the average of the linear layer on each.
        """
        return replace(self, head="conv") if self.head == "fc" else self

    def check_input(self, height: int, width: int) -> None:
        """Raises ArchitectureError where an image of that many pixels does not fit."""
        if self.stride > self.input_size:
            raise ArchitectureError(
                f"an input size of {self.input_size} is too small for configuration {self.configuration}: its "
                f"{len(self._blocks)} pools leave nothing of it.",
                f"Use {self.stride} pixels or more.",
            )
        if self.head == "fc" and (height, width) != (self.input_size, self.input_size):
            raise ArchitectureError(
                f"an image of {height} x {width} pixels does not fit the fc head: fc6 takes images of "
                f"{self.input_size} x {self.input_size} only.",
                "Crop the image, or take the dense view or the gap head.",
            )
        if min(height, width) < self.smallest_input:
            raise ArchitectureError(
                f"an image of {height} x {width} pixels is too small for {self.name}.",
                f"Its sides must be at least {self.smallest_input} pixels.",
            )

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, for model files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Architecture":
        """The inverse of `to_dict`; a field that an older version did not know has its default.

        Raises ArchitectureError on a field that is unknown or out of range.
        """
        known = set(cls.__dataclass_fields__)
        if not isinstance(fields, dict) or not set(fields) <= known:
            got = sorted(fields) if isinstance(fields, dict) else fields
            raise ArchitectureError(f"an architecture has the fields {sorted(known)}; got {got}.", "Is it damaged?")
        return cls(**fields)

    @property
    def _blocks(self) -> tuple[str, ...]:
        return CONFIGURATIONS[self.configuration]

    def _channels(self, channels: int) -> int:
        """Scaled by `width` and rounded to a multiple of 8, so that vector units stay full."""
        return channels if self.width == 1 else max(8, round(channels * self.width / 8) * 8)

    def _backbone(self) -> list[Layer]:
        layers: list[Layer] = []
        channels = self.input_channels
        for block, rows in enumerate(self._blocks, start=1):
            for position, row in enumerate(rows.split(), start=1):
                if row == "LRN":
                    layers.append(Layer(f"lrn{block}", "lrn", channels, channels))
                    continue
                kernel, out_channels = (int(number) for number in row.split("-"))
                layers.append(
                    Layer(
                        f"conv{block}_{position}",
                        "conv",
                        channels,
                        self._channels(out_channels),
                        kernel=kernel,
                        padding=kernel // 2,
                        has_relu=True,
                        has_batch_norm=self.batch_norm,
                    )
                )
                channels = layers[-1].out_channels
            layers.append(Layer(f"pool{block}", "pool", channels, channels, kernel=2, stride=2))
        return layers

    def _head(self, channels: int) -> list[Layer]:
        if self.head == "gap":
            return [Layer("gap", "gap", channels, channels), Layer("fc8", "fc", channels, self.classes)]
        kind: Kind = "conv" if self.head == "conv" else "fc"
        map_size = self.input_size // self.stride  # 224 // 32 = 7
        hidden = self._channels(HIDDEN_UNITS)
        return [
            Layer("fc6", kind, channels, hidden, kernel=map_size, has_relu=True, dropout=DROPOUT),
            Layer("fc7", kind, hidden, hidden, has_relu=True, dropout=DROPOUT),
            Layer("fc8", kind, hidden, self.classes),
        ]
