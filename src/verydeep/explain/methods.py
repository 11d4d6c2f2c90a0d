"""The ways to explain, in one table: what each is called, what its picture shows, and the function that computes it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from verydeep.accounting import account_layers
from verydeep.accounting.layers import LayerAccount
from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.explain.backward import Rule, Start, Subject, Target, Values, signal_at
from verydeep.explain.gradcam import enlarge, gradcam
from verydeep.explain.integrated import gain, integrated_gradients
from verydeep.explain.occlusion import occlude, spread

LARGEST_SETTING = 10_000


@dataclass(frozen=True)
class Settings:
    """What some methods can be told. Raises UsageError."""

    steps: int = 50  # integrated: points between the baseline and the photo; inversion: steps of its search
    window: int = 0  # occlusion: the side of the square in pixels of the crop; 0 = a fifth of the crop's shorter side
    stride: int = 0  # occlusion: pixels from one square to the next; 0 = a quarter of the window

    def __post_init__(self) -> None:
        for name, value, least in (("steps", self.steps, 1), ("window", self.window, 0), ("stride", self.stride, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= LARGEST_SETTING:
                raise UsageError(
                    f"{name} is {value!r}; expected a whole number from {least} to {LARGEST_SETTING}.",
                    f"Leave {name} out: what it is by itself suits most photos.",
                )


@dataclass(frozen=True)
class Question:
    """What a method gets: a network, what it made of a photo, and the number to explain."""

    subject: Subject
    values: Values  # of the photo, from `record`; those of `layer` among them
    target: Start
    layer: str
    temperature: float
    settings: Settings

    @property
    def image(self) -> np.ndarray:
        """(channels, H, W), normalised."""
        return self.values["image"]

    @property
    def image_size(self) -> tuple[int, int]:
        _, height, width = self.image.shape
        return height, width


@dataclass(frozen=True)
class Map:
    """What a method computes for a photo."""

    values: np.ndarray  # gradcam (h, w); occlusion (rows, columns) of squares; all others (channels, H, W)
    heat: np.ndarray  # the same as one number for each pixel of the crop, (H, W), 0 and up; the unit is the method's
    first_center: float = 0.5  # of the first value, in pixels from the crop's left or upper edge
    step: float = 1.0  # from one value to the next, in pixels of the crop
    figures: Mapping[str, float] = field(default_factory=dict)  # what the map was made with, and how exact it is


@dataclass(frozen=True)
class Method:
    """A way to explain."""

    title: str  # as people call it
    meaning: str  # what its picture shows
    look: Literal["overlay", "light", "colours"]  # heat over the photo, heat as light, or the values as colours
    compute: Callable[[Question], Map]
    layer: Literal["", "maps", "unit"] = ""  # of a layer that is named: its maps are shown, or its unit is explained


def by_gradcam(question: Question) -> Map:
    values = gradcam(question.subject, question.values, question.target, question.layer)
    account = account_of_output(question.subject.architecture, question.layer, question.image_size)
    heat = enlarge(values, account.center, account.stride, question.image_size)
    return Map(values, heat, account.center, account.stride)


def account_of_output(architecture: Architecture, output: str, image_size: tuple[int, int]) -> LayerAccount:
    """The account of the layer that makes an output, for an image of (height, width): what each of its units sees."""
    accounts = account_layers(architecture, image_size)[1:]
    made = zip(architecture.layers, accounts, strict=True)
    return next(account for layer, account in made if output in (layer.name, layer.relu_name))


def _by(rule: Rule) -> Callable[[Question], Map]:
    """A pixel is as hot as the strongest of its colours: Simonyan et al. (2014), section 3.1."""

    def compute(question: Question) -> Map:
        signal = signal_at(question.subject, question.values, question.target, rule=rule)
        return Map(signal, np.abs(signal).max(axis=0))

    return compute


def by_integrated_gradients(question: Question) -> Map:
    steps = question.settings.steps
    values = integrated_gradients(question.subject, question.image, question.target, steps)
    figures = {"steps": steps, "sum": float(values.sum())}
    figures["gain"] = gain(question.subject, question.image, question.target)  # what the sum should be
    return Map(values, np.abs(values.sum(axis=0)), figures=figures)


def by_occlusion(question: Question) -> Map:
    window = question.settings.window or max(1, min(question.image_size) // 5)
    stride = question.settings.stride or max(1, window // 4)
    if stride > window:
        raise UsageError(
            f"the stride {stride} is larger than the window {window}: what lies between would never be covered.",
            "Make the stride smaller.",
        )
    assert isinstance(question.target, Target)  # of a class
    chosen, engine = question.target.channel, question.subject.engine
    classes = question.subject.architecture.classes
    drops = occlude(engine, question.image, chosen, window, stride, classes=classes, temperature=question.temperature)
    heat = np.maximum(0, spread(drops, window, stride, question.image_size))
    figures = {"window": window, "stride": stride, "largest_drop": float(drops.max())}
    return Map(drops, heat, window / 2, stride, figures)


METHODS = {
    "gradcam": Method("Grad-CAM", "where the layer's maps speak for it", "overlay", by_gradcam, layer="maps"),
    "gradient": Method("gradient", "where a small change would change it", "light", _by("gradient"), layer="unit"),
    "guided": Method(
        "guided backpropagation", "what raised it, through active units", "colours", _by("guided"), layer="unit"
    ),
    "deconvnet": Method("deconvnet", "the pattern that it looks for here", "colours", _by("deconvnet"), layer="unit"),
    "integrated": Method(
        "integrated gradients", "the pixels that made it, or spoke against", "light", by_integrated_gradients
    ),
    "occlusion": Method("occlusion", "where covering a square lowers it", "overlay", by_occlusion),
}
