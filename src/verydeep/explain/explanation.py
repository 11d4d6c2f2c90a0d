"""(opened model, photo) -> Explanation: what in the photo made the model say so.

    photo -> preprocess -> record -> a method of `METHODS` -> Explanation

Each step is one function of a module beside or below; this file only joins them. Nothing imports torch.
"""

import itertools
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import numpy as np

from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.explain.backward import BOX_EDGES, BoxEdge, Subject, Target, record, strongest
from verydeep.explain.methods import METHODS, Map, Question, Settings
from verydeep.image import crop_box, preprocess
from verydeep.nouns import Prediction
from verydeep.outputs import class_logits, classify, posteriors
from verydeep.runtime import OpenedModel

LISTED_CLASSES = 20  # in a message
_NINTHS = (
    "upper left", "upper middle", "upper right",
    "left", "middle", "right",
    "lower left", "lower middle", "lower right",
)  # fmt: skip


@dataclass(frozen=True)
class Explanation:
    """Where in a photo a number of the network comes from, by one method."""

    method: str
    layer: str  # gradcam: whose maps; else that of the unit that is explained, "" for a class
    label: str  # the class that is explained; where a unit is, the model's answer
    probability: float  # of that class
    prediction: Prediction  # the model's answer, its best class alone
    target: Target | BoxEdge
    score: float  # of the target: the class's logit, the unit's value, or how far the edge of the box reaches
    box: tuple[float, float, float, float]  # what the network saw, in pixels of the photo: see `crop_box`
    map: Map

    @property
    def is_of_unit(self) -> bool:
        return self.target.output != "logits"

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: the values with six digits; `heat`, which follows from them, is left out."""
        target: dict[str, Any] = {"output": self.target.output, "channel": self.target.channel}
        if isinstance(self.target, BoxEdge):
            target["box_edge"] = self.target.edge
        else:
            target["position"] = list(self.target.position)
        return {
            "method": self.method,
            "layer": self.layer,
            "label": self.label,
            "probability": self.probability,
            "answer": self.prediction.scores[0].to_dict() | {"is_known": self.prediction.is_known},
            "target": target | {"score": self.score},
            "box": list(self.box),
            "first_center": self.map.first_center,
            "step": self.map.step,
            "figures": dict(self.map.figures),
            "values": with_six_digits(self.map.values),
        }


def explain(
    model: OpenedModel,
    photo: np.ndarray,
    method: str = "gradcam",
    *,
    label: str | None = None,
    layer: str | None = None,
    channel: int | None = None,
    edge: str | None = None,
    is_dense: bool = False,
    settings: Settings | None = None,
) -> Explanation:
    """Why the model says `label` of a photo, by default its best class.

    photo: (H, W, 3) uint8 RGB. method: a name of `METHODS`. layer: for gradcam the output whose maps are added, by
    default the last convolution's after its ReLU; for gradient, guided and deconvnet the unit of that output that
    responds most, or most in `channel`, is explained in place of a class. edge: one of `BOX_EDGES`: of a localiser, how
    far the box of that class reaches there is explained in place of the class. is_dense: the model was opened so; the
    whole photo is explained, not a square of it. Raises UsageError on a name that there is not and on what does not
    go together, ImageError and ArchitectureError where the photo does not fit.
    """
    check_request(model, method, label=label, layer=layer, channel=channel, edge=edge, is_dense=is_dense)
    subject = subject_of(model, is_dense)
    if method == "gradcam":
        layer = layer or last_map(subject.architecture)
    image = preprocess(photo, model.info.preprocessing, is_dense)
    values = record(subject, image, (layer,) if layer else ())
    temperature = model.info.calibration.temperature
    logits = class_logits(values["logits"][np.newaxis], len(model.info.classes))
    probabilities = posteriors(logits, temperature)[0]
    chosen = int(probabilities.argmax()) if label is None else class_index(model.info.classes, label)
    is_of_unit = layer is not None and METHODS[method].layer == "unit"
    target: Target | BoxEdge = strongest(values, str(layer), channel) if is_of_unit else Target("logits", chosen)
    if edge is not None:
        target = BoxEdge(edge, _first_number(subject.architecture, chosen))
    question = Question(subject, values, target, layer or "", temperature, settings or Settings())
    return Explanation(
        method=method,
        layer=layer or "",
        label=model.info.classes[chosen],
        probability=float(probabilities[chosen]),
        prediction=classify(probabilities, model.info.classes, model.info.calibration, k=1),
        target=target,
        score=target.score(values),
        box=crop_box(photo.shape, model.info.preprocessing, is_dense),
        map=METHODS[method].compute(question),
    )


def where(heat: np.ndarray) -> str:
    """In words, where a map (H, W) is hot: "half of it in 12 % of the picture, most in the upper left"."""
    if not heat.any():
        return "nothing in the photo speaks for it"
    if heat.min() == heat.max():
        return "evenly over the picture"
    share = smallest_half(heat)
    size = f"{100 * share:.0f} %" if share >= 0.01 else "under 1 %"
    return f"half of it in {size} of the picture, most in the {_NINTHS[hottest_ninth(heat)]}"


def smallest_half(heat: np.ndarray) -> float:
    """The smallest share of the pixels of a map (H, W), not zero everywhere, that has half of its sum."""
    hottest = np.cumsum(np.sort(heat, axis=None)[::-1])
    return float((np.searchsorted(hottest, hottest[-1] / 2) + 1) / heat.size)


def hottest_ninth(heat: np.ndarray) -> int:
    """The ninth of a map (H, W) with the largest mean, counted row by row from the upper left."""
    parts = [part for row in np.array_split(heat, 3) for part in np.array_split(row, 3, axis=1)]
    ninths = [part.mean() if part.size else 0.0 for part in parts]
    return int(np.argmax(ninths))


def _first_number(architecture: Architecture, class_index: int) -> int:
    """Where in the logits the box of a class begins."""
    return architecture.classes + (4 * class_index if architecture.boxes == "class" else 0)


def subject_of(model: OpenedModel, is_dense: bool = False) -> Subject:
    """The network of a model, opened as `is_dense` says: its engine, and its weights."""
    return Subject(model.engine, view(model, is_dense), model.weights)


def view(model: OpenedModel, is_dense: bool) -> Architecture:
    """The architecture that the engine of a model runs. is_dense: the model was opened so."""
    return model.info.architecture.dense() if is_dense else model.info.architecture


def last_map(architecture: Architecture) -> str:
    """The last convolution of the backbone after its ReLU, where the paper of Grad-CAM looks: "relu5_3"."""
    backbone = itertools.takewhile(lambda layer: layer.kind != "unpool", architecture.layers)
    return [layer.relu_name for layer in backbone if layer.name.startswith("conv")][-1]


def check_request(
    model: OpenedModel,
    method: str,
    *,
    label: str | None = None,
    layer: str | None = None,
    channel: int | None = None,
    edge: str | None = None,
    is_dense: bool = False,
) -> None:
    """What `explain` refuses whatever the photo. Raises UsageError."""
    if method not in METHODS:
        raise UsageError(f"no method {method!r}; there are {', '.join(METHODS)}.", "Choose one of these.")
    if model.info.architecture.task == "embed":
        raise UsageError(
            "an embedding names no class that could be explained.",
            "Explain why two photos are alike: verydeep explain PHOTO --similar-to OTHER",
        )
    if model.info.architecture.task == "segment":
        raise UsageError(
            "a model of pixels names no class of the whole photo.",
            "Explain what pixels are taken for: explain_segment.",
        )
    check_use(method, label, layer, channel)
    if edge is not None:
        has_unit = layer is not None and METHODS[method].layer == "unit"
        _check_edge(model, method, edge, has_unit=has_unit, is_dense=is_dense)
    if label is not None:
        class_index(model.info.classes, label)
    if layer is not None:
        check_layer(view(model, is_dense), layer, channel, needs_map=METHODS[method].layer == "maps")


def check_use(method: str, label: str | None, layer: str | None, channel: int | None) -> None:
    """Raises UsageError on what does not go together, whatever the model."""
    use = METHODS[method].layer
    if layer is not None and not use:
        raise UsageError(f"the method {method} takes no layer: it explains a class.", "Leave the layer out.")
    if channel is not None and not (layer and use == "unit"):
        names = ", ".join(name for name, entry in METHODS.items() if entry.layer == "unit")
        raise UsageError("a channel without its layer, or with a method of classes.", f"Name a layer, and use {names}.")
    if label is not None and layer is not None and use == "unit":
        raise UsageError(
            f"a class and a layer exclude each other with {method}: it explains a class, or a unit of a layer.",
            "Leave one of them out.",
        )


def _check_edge(model: OpenedModel, method: str, edge: str, *, has_unit: bool, is_dense: bool) -> None:
    """Raises UsageError where the edge of a box cannot be explained."""
    if edge not in BOX_EDGES:
        raise UsageError(f"a box has no edge {edge!r}; there are {', '.join(BOX_EDGES)}.", "Choose one of these.")
    if model.info.architecture.task != "localize":
        raise UsageError(
            f"the model ({model.info.architecture.name}) gives no boxes.",
            "Name one that was trained with boxes, or explain a class.",
        )
    if is_dense:
        raise UsageError("the dense view has a box at each place, not one of the whole photo.", "Leave --whole out.")
    if has_unit:
        raise UsageError(f"{method} explains a box, or a unit of a layer.", "Leave one of them out.")
    if method == "occlusion":
        raise UsageError("occlusion tells what a class loses, not a box.", "Choose another method, such as gradcam.")


def check_layer(architecture: Architecture, output: str, channel: int | None = None, *, needs_map: bool) -> None:
    """Raises UsageError where the network has no such output, no such channel in it, or no map in it."""
    makers = {name: layer for layer in architecture.layers for name in (layer.name, layer.relu_name)}
    with_map = [name for name in architecture.outputs[:-1] if makers[name].kind not in ("gap", "fc", "unit")]
    allowed = with_map if needs_map else architecture.outputs[:-1]
    if output not in allowed:
        what = (
            "has no map: each of its units sees the whole photo"
            if output in architecture.outputs[:-1]
            else "is no layer of the network"
        )
        raise UsageError(f"{output} {what}; there are {', '.join(allowed)}.", "Choose one of these.")
    if channel is not None and not 0 <= channel < makers[output].out_channels:
        raise UsageError(
            f"{output} has no channel {channel}; expected a number from 0 to {makers[output].out_channels - 1}.",
            "Leave it out for the one that responds most.",
        )


def class_index(classes: tuple[str, ...], label: str) -> int:
    """The place of a class, by its name in small or capital letters. Raises UsageError, with the names there are."""
    if label in classes:
        return classes.index(label)
    folded = [name.casefold() for name in classes]
    if folded.count(label.casefold()) == 1:
        return folded.index(label.casefold())
    more = f" and {len(classes) - LISTED_CLASSES} more" if len(classes) > LISTED_CLASSES else ""
    close = get_close_matches(label, classes, n=1)
    raise UsageError(
        f"the model has no class {label!r}; it has {', '.join(classes[:LISTED_CLASSES])}{more}.",
        f"Did you mean {close[0]!r}?" if close else "Choose one of these.",
    )


def with_six_digits(values: np.ndarray) -> Any:
    """Nested lists; with all digits a photo's JSON would be three times as long."""
    rounded = [float(f"{value:.6g}") for value in values.ravel().tolist()]
    return np.array(rounded).reshape(values.shape).tolist()
