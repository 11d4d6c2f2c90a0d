"""From a number of the network back to its image: the rows of the table in plain NumPy, the last one first.

One walk serves all methods. Each layer hands the signal back by the transpose of what it did to this very image: a
convolution by its weights, a pool to where the maxima were, batch norm by its factor; a network of pixels sees a photo
with a border, whose share goes to the pixels that it mirrors. What a ReLU lets pass is the method's own: see `RULES`.
The values of the way forward come from any engine, by name, so no hook sees a value that
a layer above has overwritten.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

import numpy as np

from verydeep.architecture import BATCH_NORM_EPSILON, LRN, Architecture, Layer
from verydeep.errors import UsageError, VerydeepError
from verydeep.nouns import Engine, Weights
from verydeep.runtime.border import border_back, border_of, with_border
from verydeep.runtime.reference import corners, max_unpool, one_blas_thread

Rule = Literal["gradient", "deconvnet", "guided"]
Values: TypeAlias = dict[str, np.ndarray]
"""Output -> what it was for one image: maps (channels, h, w), of fully connected layers (channels,)."""

# What a ReLU hands back of a signal, where it passed `value` on the way forward.
RULES: dict[Rule, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "gradient": lambda signal, value: signal * (value > 0),  # the derivative
    "deconvnet": lambda signal, value: np.maximum(signal, 0),  # Zeiler & Fergus (2014), section 2.1
    "guided": lambda signal, value: np.maximum(signal, 0) * (value > 0),  # Springenberg et al. (2015), section 3.4
}


@dataclass(frozen=True)
class Subject:
    """A network that is asked why: an engine runs it forwards, its weights lead back."""

    engine: Engine
    architecture: Architecture  # the view that the engine runs
    weights: Weights  # in the shapes of that view


@dataclass(frozen=True)
class Target:
    """The number that is explained: the score of a class, or one unit of a layer."""

    output: str  # "logits", or any other name of `Architecture.outputs`
    channel: int  # of "logits": the class
    position: tuple[int, ...] = ()  # row and column of a unit; without them, the mean over the map

    def signal(self, values: Values) -> np.ndarray:
        """Its derivative by its output. The score of a class of a dense head is the mean over the map (section 3.2)."""
        signal = np.zeros_like(values[self.output])
        signal[self._place] = 1 / np.size(signal[self._place])
        return signal

    def score(self, values: Values) -> float:
        """The number itself."""
        return float(np.mean(values[self.output][self._place]))

    @property
    def _place(self) -> tuple[int, ...]:
        return (self.channel, *self.position)


BOX_EDGES = ("left", "top", "right", "bottom", "all")
_OUTWARDS = {  # of a box's x, y, width and height: how far it reaches to a side
    "left": (-1.0, 0.0, 0.5, 0.0),
    "top": (0.0, -1.0, 0.0, 0.5),
    "right": (1.0, 0.0, 0.5, 0.0),
    "bottom": (0.0, 1.0, 0.0, 0.5),
    "all": (0.0, 0.0, 1.0, 1.0),  # the sum of the four
}


@dataclass(frozen=True)
class BoxEdge:
    """How far a localiser's box reaches outwards at an edge, from the middle of the picture, in sides of it."""

    edge: str  # of BOX_EDGES; "all": the sum of the four, which is the box's width and its height
    channel: int  # of "logits": where the box's four numbers begin
    output: str = "logits"

    def score(self, values: Values) -> float:
        middle = float(np.dot(_OUTWARDS[self.edge][:2], (0.5, 0.5)))
        return float(values[self.output][self._place] @ np.array(_OUTWARDS[self.edge])) - middle

    def signal(self, values: Values) -> np.ndarray:
        signal = np.zeros_like(values[self.output])
        signal[self._place] = _OUTWARDS[self.edge]
        return signal

    @property
    def _place(self) -> slice:
        return slice(self.channel, self.channel + 4)


class Start(Protocol):
    """Where a walk back can begin: a Target, or any other number that is computed from one output."""

    @property
    def output(self) -> str: ...

    def score(self, values: Values) -> float:
        """The number itself."""

    def signal(self, values: Values) -> np.ndarray:
        """The number's derivative by that output, in its shape."""


def strongest(values: Values, output: str, channel: int | None = None) -> Target:
    """The unit of an output that responds most, in one channel or in all."""
    found = values[output] if channel is None else values[output][channel : channel + 1]
    first, *position = (int(index) for index in np.unravel_index(found.argmax(), found.shape))
    return Target(output, first if channel is None else channel, tuple(position))


def record(subject: Subject, image: np.ndarray, also: Sequence[str] = ()) -> Values:
    """The way forward: "image", "logits", what each layer hands to the next, and the outputs in `also`.

    image: (channels, H, W), normalised. A network of pixels sees it with its border, so that its maps are larger;
    "image" and "logits" are without. Raises ArchitectureError where it does not fit, UsageError on an unknown output,
    and VerydeepError where the logits are not finite.
    """
    handed_on = [_handed_on(layer) for layer in subject.architecture.layers[:-1]]
    names = tuple(dict.fromkeys((*handed_on, *also, "logits")))
    seen = with_border(image, subject.architecture)
    values = {name: array[0] for name, array in subject.engine.run(seen[np.newaxis], names).items()}
    if subject.architecture.task == "segment":
        values["logits"] = values["logits"][:, : image.shape[1], : image.shape[2]]
    if not np.isfinite(values["logits"]).all():
        raise VerydeepError(
            "the network gives NaN or infinity for this photo.",
            "Run it with precision float32; if it already does, the model is damaged.",
        )
    return {"image": image, **values}


def signal_at(
    subject: Subject, values: Values, target: Start, output: str = "image", rule: Rule = "gradient"
) -> np.ndarray:
    """What comes back from `target` at an output below it, in that output's shape; with "gradient", the derivative.

    Raises UsageError where the output is not below the target.
    """
    with one_blas_thread():  # see ReferenceEngine: more of them collapse
        for name, signal in walk_back(subject, values, target, rule):
            if output == name:
                return signal
    raise UsageError(f"{output} does not come before {target.output} in the network.", "Name an earlier layer.")


def walk_back(subject: Subject, values: Values, target: Start, rule: Rule) -> Iterator[tuple[str, np.ndarray]]:
    """The signal at the target's output, then at each output before it, at last at "image"."""
    steps = list(_steps(subject.architecture))
    names = [name for name, _, _ in steps]
    sources = {name: source for name, source, _ in steps}
    start = len(steps) if target.output == "logits" else names.index(target.output) + 1
    signal = target.signal(values)
    if target.output == "logits" and subject.architecture.task == "segment":
        below, beside = border_of(subject.architecture, *values["image"].shape[1:])
        signal = np.pad(signal, ((0, 0), (0, below), (0, beside)))
    for name, source, layer in reversed(steps[:start]):
        yield name, signal
        if layer.kind == "unpool":
            signal = unpool_back(signal, values[sources[layer.pool]], layer)
        elif name == layer.name:
            signal = _linear_part_back(subject.weights, layer, signal, values[source])
        else:
            signal = RULES[rule](signal, values[name])
    yield "image", border_back(signal, *values["image"].shape[1:])


def _steps(architecture: Architecture) -> Iterator[tuple[str, str, Layer]]:
    """Every output in order, the one that it is computed from, and the layer that does it."""
    source = "image"
    for layer in architecture.layers:
        yield layer.name, source, layer
        if layer.has_relu:
            yield layer.relu_name, layer.name, layer
        source = _handed_on(layer)


def _handed_on(layer: Layer) -> str:
    return layer.relu_name if layer.has_relu else layer.name


def _linear_part_back(weights: Weights, layer: Layer, signal: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The signal at a layer's input x, from that at its output before the ReLU."""
    if layer.kind == "pool":
        # the switches of Zeiler & Fergus (2014), section 2.1
        return max_unpool(signal, x, layer)
    if layer.kind == "lrn":
        return local_response_norm_back(signal, x)
    if layer.kind == "gap":
        return np.broadcast_to(_by_channel(signal / x[0].size), x.shape)
    if layer.kind == "unit":
        return unit_back(signal, x)
    weight = np.asarray(weights[f"{layer.name}.weight"], signal.dtype)
    if layer.kind == "fc":
        back: np.ndarray = (signal @ weight).reshape(x.shape)
        return back
    if layer.has_batch_norm:
        parts = ("weight", "running_var")
        scale, variance = (np.asarray(weights[f"{layer.batch_norm_name}.{part}"], signal.dtype) for part in parts)
        signal = signal * _by_channel(scale / np.sqrt(variance + signal.dtype.type(BATCH_NORM_EPSILON)))
    return convolve_back(signal, weight, layer.padding)


def convolve_back(signal: np.ndarray, weight: np.ndarray, padding: int) -> np.ndarray:
    """The transpose of `reference.convolve`: (out, h, w) -> (in, H, W). weight: (out, in, k, k).

    Each unit hands its signal to the window that it saw, by the weights it saw it with.
    """
    channels, height, width = signal.shape
    _, in_channels, kernel, _ = weight.shape
    flat = signal.reshape(channels, -1)
    back = np.zeros((in_channels, height + kernel - 1, width + kernel - 1), signal.dtype)
    for dy, dx in np.ndindex(kernel, kernel):
        back[:, dy : dy + height, dx : dx + width] += (weight[:, :, dy, dx].T @ flat).reshape(-1, height, width)
    return back[:, padding : back.shape[1] - padding, padding : back.shape[2] - padding]


def unpool_back(signal: np.ndarray, before: np.ndarray, layer: Layer) -> np.ndarray:
    """The transpose of `reference.max_unpool`: what came from where the largest of each window of `before` was."""
    places = corners(layer, before.shape[1] // layer.stride, before.shape[2] // layer.stride)
    largest = np.argmax([before[place] for place in places], axis=0)
    back: np.ndarray = np.choose(largest, [signal[place] for place in places])
    return back


def unit_back(signal: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The derivative of x / ||x||, times `signal`: what lies along x changes nothing."""
    length = max(float(np.linalg.norm(x)), 1e-12)
    back: np.ndarray = (signal - x * (signal @ x) / length**2) / length
    return back.astype(signal.dtype)


def local_response_norm_back(signal: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The derivative of y = x / s ^ beta, s = k + alpha * sum of x^2 over the neighbouring channels, times `signal`."""
    alpha, beta, k = LRN["alpha"], LRN["beta"], LRN["k"]
    s = k + alpha * _sum_of_neighbours(x * x)
    back: np.ndarray = signal / s**beta - 2 * alpha * beta * x * _sum_of_neighbours(signal * x / s ** (beta + 1))
    return back


def _sum_of_neighbours(x: np.ndarray) -> np.ndarray:
    size = int(LRN["size"])
    padded = np.pad(x, ((size // 2, size // 2), (0, 0), (0, 0)))
    total: np.ndarray = np.sum([padded[i : i + len(x)] for i in range(size)], axis=0)
    return total


def _by_channel(values: np.ndarray) -> np.ndarray:
    return values[:, None, None]
