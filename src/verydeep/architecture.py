"""The networks of Simonyan & Zisserman (2015), Table 1, as data: read this file first.

Everything else is derived from the rows made here: the torch module, the accounts of parameters and multiplications,
the names of the weights, the engines, the pictures. A layer is written down once.

Layers carry the names of the literature (`conv1_1` ... `conv5_4`, `pool1` ... `pool5`, `fc6`, `fc7`, `fc8`; SegNet's
decoder has `conv5_3_D`, and ours calls what undoes pool5 `unpool5`). A name
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
    # Badrinarayanan et al. (2015): the small one of two, for the segnet head only
    "SegNet-Basic": ("7-64", "7-64", "7-64", "7-64"),
    "toy":   ("3-8 3-8",   "3-16"),  # ours: with the gap head four layers of weights, for tests
}
# fmt: on
HIDDEN_UNITS = 4096  # of fc6 and fc7, Table 1
DROPOUT = 0.5  # after fc6 and fc7, section 3.1
BATCH_NORM_EPSILON = 1e-5
# A-LRN's local response normalisation with the constants of Krizhevsky et al. (2012): over `size` neighbouring
# channels, y = x / (k + alpha * sum of x^2) ^ beta. Caffe and torch divide alpha by size: give them size * alpha.
LRN = {"size": 5, "alpha": 1e-4, "beta": 0.75, "k": 2.0}

Kind = Literal["conv", "lrn", "pool", "gap", "fc", "unpool", "unit"]
Head = Literal["fc", "gap", "conv", "segnet", "embedding"]
Task = Literal["classify", "localize", "segment", "embed"]
Boxes = Literal["none", "single", "class"]
HEADS: dict[Head, str] = {
    "fc": "the paper's: fc6, fc7, fc8 on a map of fixed size",
    "gap": "global average pool and one linear layer: any image of at least 32 pixels",
    "conv": "fc6, fc7, fc8 seen as convolutions: any image at least as large as the input size",
    "segnet": "SegNet's decoder: the classes of each pixel, of any image of at least 32 pixels",
    "embedding": "global average pool, one linear layer and length 1, for any image, as for gap",
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
    pool: str = ""  # unpool: the pool that it undoes. Each value returns to where that found its largest one

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
        """The shape (channels, height, width) that this layer makes of an input of that shape.

        Not of an unpool, which makes the height and width that its pool got: see `Architecture.output_shapes`.
        """
        assert self.kind != "unpool"
        _, height, width = shape
        if self.kind in ("gap", "fc", "unit"):
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
    boxes: Boxes = "none"  # besides the classes, the last layer gives 4 numbers: of one box, or of a box for each class
    dimensions: int = 128  # of the embedding head

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
            ("dimensions", self.dimensions, 65_536),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
                raise ArchitectureError(
                    f"{name} is {value!r}; expected a whole number from 1 to {limit}.", f"Give {name} such a number."
                )
        if isinstance(self.width, bool) or not isinstance(self.width, (int, float)) or not 0 < self.width <= 16:
            raise ArchitectureError(
                f"width is {self.width!r}; expected a number above 0, at most 16.", "1.0 is the paper's, 0.5 half."
            )
        self._check_heads()
        self.check_input(self.input_size, self.input_size)

    def _check_heads(self) -> None:
        """What goes with one another."""
        if self.boxes not in ("none", "single", "class"):
            raise ArchitectureError(f"boxes is {self.boxes!r}; expected none, single or class.", "Choose one of these.")
        if self.boxes != "none" and self.head in ("segnet", "embedding"):
            raise ArchitectureError(f"the head {self.head} gives no boxes.", "Take the head fc or gap.")
        if self.configuration == "SegNet-Basic" and self.head != "segnet":
            raise ArchitectureError(
                f"configuration SegNet-Basic goes with the segnet head only; got {self.head!r}.",
                "Set head=segnet, or take one of A to E.",
            )

    @property
    def name(self) -> str:
        """A short name: "D", "A-bn", "B-bn-gap-0.5x", "A-gap-box"."""
        parts = [self.configuration]
        parts += ["bn"] if self.batch_norm else []
        parts += [self.head] if self.head != "fc" else []
        parts += [f"{self.width:g}x"] if self.width != 1 else []
        parts += {"none": [], "single": ["box"], "class": ["boxes"]}[self.boxes]
        return "-".join(parts)

    @property
    def task(self) -> Task:
        """What its last layer answers: the photo's class, also its box, a class for each pixel, or an embedding."""
        if self.head == "segnet":
            return "segment"
        if self.head == "embedding":
            return "embed"
        return "classify" if self.boxes == "none" else "localize"

    @property
    def scores(self) -> int:
        """How many numbers the last layer gives: for each pixel with the segnet head, otherwise for the photo."""
        if self.head == "embedding":
            return self.dimensions
        return self.classes + 4 * {"none": 0, "single": 1, "class": self.classes}[self.boxes]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every layer in order; the last one makes the logits."""
        body = tuple(self._backbone())
        return body + tuple(self._decoder(body) if self.head == "segnet" else self._head(body[-1].out_channels))

    @property
    def smallest_input(self) -> int:
        """The smallest side in pixels: of the fc head the input size, else `stride`, below which nothing is left."""
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

    def output_shapes(self, height: int, width: int) -> dict[str, Shape]:
        """The shape (channels, height, width) of each layer's output for an image of that many pixels, in order.

        Raises ArchitectureError where it does not fit.
        """
        self.check_input(height, width)
        shape: Shape = (self.input_channels, height, width)
        shapes: dict[str, Shape] = {}
        pooled: dict[str, Shape] = {}  # what each pool gets
        for layer in self.layers:
            if layer.kind == "pool":
                pooled[layer.name] = shape
            shape = pooled[layer.pool] if layer.kind == "unpool" else layer.output_shape(shape)
            shapes[layer.name] = shape
        return shapes

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it, for model files. Fields of other heads than its own are left out."""
        others = {"boxes"} if self.boxes == "none" else set()
        others |= {"dimensions"} if self.head != "embedding" else set()
        return {name: value for name, value in asdict(self).items() if name not in others}

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
        if self.head in ("gap", "embedding"):
            linear = [Layer("gap", "gap", channels, channels), Layer("fc8", "fc", channels, self.scores)]
            return linear + ([Layer("unit8", "unit", self.scores, self.scores)] if self.head == "embedding" else [])
        kind: Kind = "conv" if self.head == "conv" else "fc"
        map_size = self.input_size // self.stride  # 224 // 32 = 7
        hidden = self._channels(HIDDEN_UNITS)
        return [
            Layer("fc6", kind, channels, hidden, kernel=map_size, has_relu=True, dropout=DROPOUT),
            Layer("fc7", kind, hidden, hidden, has_relu=True, dropout=DROPOUT),
            Layer("fc8", kind, hidden, self.scores),
        ]

    def _decoder(self, body: tuple[Layer, ...]) -> list[Layer]:
        """The backbone in reverse: each pool is undone, each convolution goes back to the channels that it took.

        conv1_1_D gives the classes. SegNet-Basic has no ReLU in its decoder, and one layer more, of 1x1.
        """
        is_basic = self.configuration == "SegNet-Basic"
        layers: list[Layer] = []
        for row in reversed(body):
            if row.kind == "pool":
                channels = row.out_channels
                layers.append(Layer(f"un{row.name}", "unpool", channels, channels, kernel=2, stride=2, pool=row.name))
            elif row.kind == "conv":
                is_last = row.name == "conv1_1"
                last = row.out_channels if is_basic else self.classes
                layers.append(
                    Layer(
                        f"{row.name}_D",
                        "conv",
                        row.out_channels,
                        last if is_last else row.in_channels,
                        kernel=row.kernel,
                        padding=row.padding,
                        has_relu=not is_last and not is_basic,
                        has_batch_norm=self.batch_norm and (is_basic or not is_last),
                    )
                )
        if is_basic:
            layers.append(Layer("score", "conv", layers[-1].out_channels, self.classes))
        return layers
