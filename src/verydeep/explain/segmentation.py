"""(opened model of pixels, photo) -> SegmentExplanation: what in the photo made it take pixels for a class.

The number that is explained is the score of a class: the mean of its logit over the pixels that are taken for it, as
the photo is; where none is, the logit of the pixel where it is largest. Source: Vinogradova et al. (2020), AAAI 34,
13943-13944, who add the logits up.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from verydeep.errors import UsageError
from verydeep.explain.backward import Target, Values, record, strongest
from verydeep.explain.explanation import (
    check_layer,
    check_use,
    class_index,
    last_map,
    subject_of,
    view,
    with_six_digits,
)
from verydeep.explain.methods import METHODS, Map, Question, Settings
from verydeep.image import crop_box, preprocess
from verydeep.runtime import OpenedModel

# Occlusion asks for the class of a photo. Integrated gradients would not add up: where the largest value of a pool
# moves, its unpool puts it elsewhere, and the score jumps on the way from the baseline.
METHODS_OF_PIXELS = tuple(name for name in METHODS if name not in ("occlusion", "integrated"))


@dataclass(frozen=True, eq=False)
class PixelScore:
    """The mean of a class's logit over some pixels."""

    channel: int  # the class
    where: np.ndarray  # (h, w) bool, at least one pixel
    output: str = "logits"

    @classmethod
    def of(cls, logits: np.ndarray, channel: int) -> "PixelScore":
        """That of a class. logits: (classes, h, w)."""
        where = logits.argmax(axis=0) == channel
        return cls(channel, where if where.any() else logits[channel] == logits[channel].max())

    def score(self, values: Values) -> float:
        return float(values[self.output][self.channel][self.where].mean())

    def signal(self, values: Values) -> np.ndarray:
        """Its derivative by the logits."""
        signal = np.zeros_like(values[self.output])
        signal[self.channel][self.where] = 1 / self.where.sum()
        return signal


@dataclass(frozen=True)
class SegmentExplanation:
    """Where in a photo the score of a class of pixels comes from, by one method."""

    method: str
    layer: str  # gradcam: whose maps; else that of the unit that is explained, "" for a class
    label: str  # the class that is explained; where a unit is, that of the most pixels
    share: float  # of the photo's pixels that are taken for it, at the network's own size
    target: PixelScore | Target
    score: float  # of the target
    box: tuple[float, float, float, float]  # left, top, right, bottom: what the network saw, in pixels of the photo
    map: Map

    @property
    def is_of_unit(self) -> bool:
        return self.target.output != "logits"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: the values with six digits."""
        target: dict[str, Any] = {"output": self.target.output, "channel": self.target.channel}
        if isinstance(self.target, Target):
            target["position"] = list(self.target.position)
        else:
            target["pixels"] = int(self.target.where.sum())
        return {
            "method": self.method,
            "layer": self.layer,
            "label": self.label,
            "share": self.share,
            "target": target | {"score": self.score},
            "box": list(self.box),
            "first_center": self.map.first_center,
            "step": self.map.step,
            "figures": dict(self.map.figures),
            "values": with_six_digits(self.map.values),
        }


def explain_segment(
    model: OpenedModel,
    photo: np.ndarray,
    method: str = "gradcam",
    *,
    label: str | None = None,
    layer: str | None = None,
    channel: int | None = None,
    settings: Settings | None = None,
) -> SegmentExplanation:
    """Why the model takes pixels of a photo for `label`, by default the class that most of them are taken for.

    photo: (H, W, 3) uint8 RGB; all of it is explained. The rest as `explain`; for gradcam the layer is by default the
    last convolution before the decoder. Raises as `explain` does.
    """
    check_segment(model, method, label=label, layer=layer, channel=channel)
    subject = subject_of(model, is_dense=True)
    if method == "gradcam":
        layer = layer or last_map(subject.architecture)
    values = record(subject, preprocess(photo, model.info.preprocessing, is_dense=True), (layer,) if layer else ())
    counts = np.bincount(values["logits"].argmax(axis=0).ravel(), minlength=len(model.info.classes))
    chosen = int(counts.argmax()) if label is None else class_index(model.info.classes, label)
    is_of_unit = layer is not None and METHODS[method].layer == "unit"
    target = strongest(values, str(layer), channel) if is_of_unit else PixelScore.of(values["logits"], chosen)
    question = Question(subject, values, target, layer or "", 1.0, settings or Settings())
    return SegmentExplanation(
        method=method,
        layer=layer or "",
        label=model.info.classes[chosen],
        share=float(counts[chosen] / counts.sum()),
        target=target,
        score=target.score(values),
        box=crop_box(photo.shape, model.info.preprocessing, is_dense=True),
        map=METHODS[method].compute(question),
    )


def check_segment(
    model: OpenedModel,
    method: str,
    *,
    label: str | None = None,
    layer: str | None = None,
    channel: int | None = None,
    edge: str | None = None,
) -> None:
    """What `explain_segment` refuses whatever the photo, and the edge of a box. Raises UsageError."""
    if edge is not None:
        raise UsageError("a model of pixels gives no boxes.", "Name a class, or leave the edge out.")
    if method not in METHODS_OF_PIXELS:
        raise UsageError(
            f"the method {method} does not explain the class of pixels; {', '.join(METHODS_OF_PIXELS)} do.",
            "Choose one of these.",
        )
    check_use(method, label, layer, channel)
    if label is not None:
        class_index(model.info.classes, label)
    if layer is not None:
        check_layer(view(model, is_dense=True), layer, channel, needs_map=METHODS[method].layer == "maps")
