"""The types that cross the borders between packages. Importing this module imports neither numpy nor torch."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, get_args, runtime_checkable

from verydeep.errors import UsageError, printable

if TYPE_CHECKING:
    import numpy as np

Weights: TypeAlias = "Mapping[str, np.ndarray]"
"""Name -> array, as `Architecture.weight_shapes` lists them: "conv1_1.weight", "bn1_1.running_mean", "fc8.bias"."""


@runtime_checkable
class Photo(Protocol):
    """Where the bytes of a photo are, which may be within another file."""

    @property
    def name(self) -> str:
        """What to call it: its path, and what more finds it."""

    @property
    def file_name(self) -> str:
        """The last part of that: what is left of its name when it lies in another folder."""

    def read(self) -> bytes:
        """The bytes of an image file. Raises ImageError, whose message begins with the name."""


StoredPhoto: TypeAlias = "Path | Photo"
"""A photo on the disk: the path of its file, or where it is within another file."""


class Engine(Protocol):
    """Weights loaded, ready to run. Thread-safe unless its docstring says otherwise."""

    def run(self, images: "np.ndarray", outputs: Sequence[str] = ("logits",)) -> "dict[str, np.ndarray]":
        """images: (N, channels, H, W) float32, normalised -> the named outputs, float32.

        Names are those of `Architecture.outputs`. Maps are (N, channels, h, w); "logits" is (N, scores), or
        (N, scores, h, w) with the conv or segnet head: the scores of the classes come first, then the boxes, where it
        has some (see `outputs.boxes`). Raises ArchitectureError where images do not fit and UsageError
        on an unknown name.
        """


Fit: TypeAlias = Literal["crop", "letterbox", "squash"]
"""How an oblong photo becomes a square: its centre is cut out, it is filled up, or it loses its proportions."""
FITS: tuple[Fit, ...] = get_args(Fit)


@dataclass(frozen=True)
class Preprocessing:
    """How a photo becomes the input of a network: made square, normalised. It travels in the model file."""

    resize: int  # pixels, the shorter side before a crop (the paper's Q), and where a network sees the photo whole
    crop: int  # pixels, the side of the square
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)  # of RGB in [0, 1]; the ImageNet training set's
    std: tuple[float, ...] = (0.229, 0.224, 0.225)  # one value, (0.5,), for a network that takes grey
    fit: Fit = "crop"

    @property
    def channels(self) -> int:
        return len(self.mean)

    @property
    def in_words(self) -> str:
        """How a photo becomes a square, as protocols tell it."""
        if self.fit == "letterbox":
            return f"whole photo, longer side {self.crop}, filled up to a square, bilinear"
        if self.fit == "squash":
            return f"whole photo squashed to {self.crop} x {self.crop}, bilinear"
        return f"centre crop {self.crop} of shorter side {self.resize}, bilinear, one crop"

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Calibration:
    """What the validation photos told about the confidence of a model."""

    temperature: float = 1.0  # divides the logits before the soft-max
    reject_below: float = 0.0  # a top probability under it means: probably none of these classes
    photos: int = 0  # how many the two were fitted on; 0 = not calibrated

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


class Box(NamedTuple):
    """The edges of a rectangle, in pixels of the upright photo; the whole photo is (0, 0, width, height)."""

    left: float
    top: float
    right: float
    bottom: float

    def to_dict(self) -> dict[str, float]:
        """As JSON holds it, to a hundredth of a pixel."""
        return {name: round(float(edge), 2) for name, edge in self._asdict().items()}


@dataclass(frozen=True)
class ClassScore:
    """A class, how sure the model is of it, and where it is, if the model says so."""

    label: str
    probability: float
    box: Box | None = None

    def to_dict(self) -> dict[str, Any]:
        """The box is left out where there is none."""
        found: dict[str, Any] = {"label": self.label, "probability": self.probability}
        return found if self.box is None else found | {"box": self.box.to_dict()}


@dataclass(frozen=True)
class Prediction:
    """What a model says of one photo."""

    path: str  # as it was given; "-" for standard input, "" for an array
    scores: tuple[ClassScore, ...]  # the best first, as many as were asked for
    is_known: bool = True  # False: the model is not sure enough that the photo is any of its classes

    @property
    def label(self) -> str:
        """The best class."""
        return self.scores[0].label

    @property
    def probability(self) -> float:
        return self.scores[0].probability

    @property
    def box(self) -> Box | None:
        """Of the best class."""
        return self.scores[0].box


@dataclass(frozen=True)
class ClassShare:
    """A class and the share of the photo's area that it has."""

    label: str
    share: float  # 0 to 1

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, eq=False)
class SegmentationPrediction:
    """What a model says of each pixel of one photo."""

    path: str  # as it was given; "-" for standard input, "" for an array
    classes: "np.ndarray"  # (H, W) unsigned integers, positions in `names`; of the photo's size, upright
    probabilities: "np.ndarray"  # (H, W) float32, of that class
    names: tuple[str, ...]  # of all classes of the model
    shares: tuple[ClassShare, ...]  # of the area, the largest first; classes without a pixel are left out

    @property
    def label(self) -> str:
        """The class with the largest share."""
        return self.shares[0].label

    def mask(self, label: str) -> "np.ndarray":
        """Where the pixels of a class are: (H, W) bool. Raises UsageError where the model has no such class."""
        if label not in self.names:
            raise UsageError(
                f"the model has no class '{printable(label)}'.", f"It has {printable(', '.join(self.names))}."
            )
        where: np.ndarray = self.classes == self.names.index(label)
        return where

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: without the pixels."""
        height, width = self.classes.shape
        return {
            "path": self.path,
            "width": width,
            "height": height,
            "shares": [share.to_dict() for share in self.shares],
            "mean_probability": float(self.probabilities.mean()),
        }


@dataclass(frozen=True)
class Failure:
    """A photo that could not be read, in the place where its answer would be."""

    path: str  # as it was given; "-" for standard input, "" for an array or bytes
    reason: str  # a sentence: what was got and what was expected
    hint: str = ""  # what to do about it

    def to_dict(self) -> dict[str, str]:
        return asdict(self)
