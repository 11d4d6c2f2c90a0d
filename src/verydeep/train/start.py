"""The trained model that a run begins from: what is taken over of it, and what is new.

The network and the preprocessing are the model's. Its head is kept where the photos have the same classes, and new
where they have others. The run keeps the file's SHA-256: it is the same model when the run is begun once more, and
from the first saved state on the file is not needed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from verydeep.architecture import Architecture
from verydeep.errors import CheckpointError, ModelFileError, RecipeError, printable
from verydeep.network import Network
from verydeep.runtime import built_in_models, find_model
from verydeep.train.recipe import Recipe
from verydeep.weights import ModelInfo, read_info, read_model
from verydeep.weights.files import MODEL_FILE, model_path, model_sha256

ADOPTED = (  # the fields of a recipe that a model decides, unless they are set
    "configuration",
    "batch_norm",
    "width",
    "head",
    "dimensions",
    "input_size",
    "test_resize",
    "test_crop",
    "fit",
    "pixel_mean",
    "pixel_std",
)
_OF_TASK = (
    "head",
    "dimensions",
    "input_size",
    "test_resize",
    "test_crop",
    "fit",
)  # adopted where the run is to learn the same task
_FIXED = ("configuration", "batch_norm", "width")  # of these, what its weights fit alone
_PASSED_ON = ("data", "source", "licence", "date", "start")  # of a model's origin, to what is made of it
_MOST_NAMED = 5  # classes


@dataclass(frozen=True)
class Start:
    """A model to begin from. Make one with `open_start`."""

    name: str  # of a built-in model, of a run's folder, or of a file
    path: Path
    sha256: str  # of the file
    architecture: Architecture
    classes: tuple[str, ...]
    origin: Mapping[str, Any]  # its data, their source and licence, and what it began from itself

    @property
    def origin_of_made(self) -> dict[str, Any]:
        """What a model says of the one that it was made from."""
        return {"name": self.name, "sha256": self.sha256, "classes": len(self.classes), **self.origin}

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self) | {"path": str(self.path), "classes": list(self.classes), "origin": dict(self.origin)}

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Start":
        """The inverse of `to_dict`. Raises KeyError, TypeError or ArchitectureError on a damaged one."""
        architecture = Architecture.from_dict(fields["architecture"])
        path, classes = Path(fields["path"]), tuple(str(name) for name in fields["classes"])
        return cls(str(fields["name"]), path, str(fields["sha256"]), architecture, classes, dict(fields["origin"]))


def open_start(model: str | Path) -> tuple[Start, ModelInfo]:
    """The model to begin from: a built-in one by its name, a model file, or a run's folder. Raises ModelFileError."""
    path = model_path(find_model(model)).absolute()
    info = read_info(path)
    if info.architecture.input_channels != 3:
        raise ModelFileError(
            f"{path} takes pictures of {info.architecture.input_channels} channel; training has colour photos, of 3.",
            "Begin from another model.",
        )
    if info.architecture.head == "conv":
        raise ModelFileError(f"{path} is a dense view, which is not trained.", "Begin from its model with the fc head.")
    origin = {name: info.origin[name] for name in _PASSED_ON if name in info.origin}
    return Start(_name(model, path), path, model_sha256(path), info.architecture, info.classes, origin), info


def begin_from(recipe: Recipe, info: ModelInfo, fields: Mapping[str, Any]) -> Recipe:
    """The recipe for a run that begins from a model, with fields set by the user, which win where they can.

    Raises RecipeError on fields that the model's weights do not fit.
    """
    model = _adopted(info)
    _check_fields(model, fields)
    head, boxes = (fields.get(name, getattr(recipe, name)) for name in ("head", "boxes"))
    if Architecture(head=head, boxes=boxes).task != info.architecture.task:
        model = {name: value for name, value in model.items() if name not in _OF_TASK}
        return recipe.with_fields({"whiten": False, **model, **fields})
    if fields.get("head", model["head"]) == "fc" != model["head"]:
        model |= {"input_size": model["test_crop"]}  # fc6 fits one size, that of the photos to predict
    if "input_size" in fields and not fields.keys() & {"test_resize", "test_crop"}:
        others = {name: value for name, value in fields.items() if name != "input_size"}
        return recipe.with_fields({"whiten": False, **model, **others}).at(int(fields["input_size"]))
    return recipe.with_fields({"whiten": False, **model, **fields})


def load_start(start: Start, network: Network, classes: Sequence[str]) -> None:
    """Puts the model's weights into a network of these classes; `new_layers` keep what they have.

    Raises ModelFileError where the file is gone or damaged, CheckpointError where it is another one than it was.
    """
    _check_same(start)
    info, weights = read_model(start.path)
    architecture = network.architecture
    new = new_layers(start, architecture, classes)
    last = _last(architecture)
    names = (f"{last}.weight", f"{last}.bias")
    if last not in new and architecture.task != "embed" and tuple(classes) != info.classes:
        rows = _rows([info.classes.index(name) for name in classes], architecture)
        weights |= {name: weights[name][rows] for name in names}
    state = network.state_dict()
    for name, array in weights.items():
        if name.split(".")[0] not in new and name in state:
            state[name].copy_(torch.from_numpy(array))
    if last in new and _keeps_classes(start, architecture, classes):
        order = [info.classes.index(name) for name in classes]
        for name in names:
            state[name][: len(order)].copy_(torch.from_numpy(weights[name][order]))


def new_layers(start: Start, architecture: Architecture, classes: Sequence[str]) -> tuple[str, ...]:
    """The layers that begin at random: those that the model does not have, and the last one where classes differ.

    Of another kind of head all of them. Where a classifier learns boxes besides its classes, its last layer is new, but
    for the scores of the classes.
    """
    own, known = architecture.weight_shapes, start.architecture.weight_shapes
    has_head = architecture.head == start.architecture.head
    is_last_kept = architecture.task == "embed" or set(classes) == set(start.classes)
    return tuple(
        layer.name
        for layer in architecture.layers
        if layer.has_weights
        and (
            own[f"{layer.name}.weight"] != known.get(f"{layer.name}.weight")
            or (layer.kind == "fc" and not has_head)
            or (layer.name == _last(architecture) and not is_last_kept)
        )
    )


def _last(architecture: Architecture) -> str:
    """The last layer that has weights."""
    return next(layer.name for layer in reversed(architecture.layers) if layer.has_weights)


def _rows(order: Sequence[int], architecture: Architecture) -> list[int]:
    """The rows of the last layer for classes in another order: of their scores, and of their boxes."""
    classes = len(order)
    if architecture.boxes == "class":
        return [*order, *(classes + 4 * number + edge for number in order for edge in range(4))]
    return [*order, *range(classes, architecture.scores)]


def _keeps_classes(start: Start, architecture: Architecture, classes: Sequence[str]) -> bool:
    """Whether the scores of the classes stay as they were, and boxes are new beside them."""
    before = start.architecture
    is_boxed = architecture.task == "localize" and before.task in ("classify", "localize")
    return is_boxed and architecture.head == before.head and set(classes) == set(start.classes)


def describe_start(start: Start, architecture: Architecture, classes: Sequence[str]) -> str:
    """A line on what a run begins from, and what is new."""
    new = new_layers(start, architecture, classes)
    named = ", ".join(new) if len(new) <= _MOST_NAMED else f"{new[0]} to {new[-1]}, {len(new)} layers,"
    verb = f"{named} {'is' if len(new) == 1 else 'are'} new"
    known = [printable(name) for name in classes if name in start.classes]
    if not new:
        told = "its head is kept" + ("" if architecture.task == "embed" else ", for the classes are the same")
    elif _keeps_classes(start, architecture, classes):
        told = f"the boxes that {_last(architecture)} gives are new, its scores of the classes are kept"
    elif architecture.head != start.architecture.head:
        told = f"{verb}: the head {architecture.head} instead of {start.architecture.head}"
    else:
        named = ", ".join(known[:_MOST_NAMED]) + (", ..." if len(known) > _MOST_NAMED else "")
        few = (
            f"{len(known)} of them, {named}, {'was' if len(known) == 1 else 'were'} known"
            if known
            else "none was known"
        )
        told = f"{verb}: {len(classes)} classes instead of {len(start.classes)}; {few}"
    return f"begins from {printable(start.name)}, {start.architecture.name}, sha256 {start.sha256[:12]}: {told}"


def check_start(recipe: Recipe) -> None:
    """Raises RecipeError where a run that begins at random would leave layers as they are."""
    if recipe.trained != "all" or recipe.head_epochs:
        field = f"trained is {recipe.trained}" if recipe.trained != "all" else f"head_epochs is {recipe.head_epochs}"
        raise RecipeError(
            f"{field}, and no model to begin from was given: layers that begin at random would stay so.",
            "Name one, --from imagenette, or set trained=all and head_epochs=0.",
        )


def _adopted(info: ModelInfo) -> dict[str, Any]:
    """The fields of `ADOPTED`, as the model has them."""
    architecture, preprocessing = info.architecture, info.preprocessing
    return {
        "configuration": architecture.configuration,
        "batch_norm": architecture.batch_norm,
        "width": architecture.width,
        "head": architecture.head,
        "dimensions": architecture.dimensions,
        "input_size": architecture.input_size,
        "test_resize": preprocessing.resize,
        "test_crop": preprocessing.crop,
        "fit": preprocessing.fit,
        "pixel_mean": preprocessing.mean,
        "pixel_std": preprocessing.std,
    }


def _check_fields(model: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name in _FIXED:
        if fields.get(name, model[name]) != model[name]:
            raise RecipeError(
                f"{name} is {_as_set(fields[name])}; the model that the run begins from has {_as_set(model[name])}, "
                f"and its weights fit no other.",
                f"Leave {name} out, or train without --from.",
            )
    keeps_fc = fields.get("head", model["head"]) == model["head"] == "fc"
    if keeps_fc and fields.get("input_size", model["input_size"]) != model["input_size"]:
        raise RecipeError(
            f"input_size is {fields['input_size']}; fc6 of the model that the run begins from takes "
            f"{model['input_size']} pixels only.",
            "Leave input_size out, or set head=gap, which takes any size.",
        )
    if fields.get("whiten"):
        raise RecipeError("whiten is for a network that begins at random.", "Leave it out, or train without --from.")


def _as_set(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _check_same(start: Start) -> None:
    if (found := model_sha256(model_path(start.path))) != start.sha256:
        raise CheckpointError(
            f"{start.path} is not the model that this run was to begin from: its SHA-256 is {found[:12]}..., "
            f"expected {start.sha256[:12]}...",
            "Put that file back, or begin another run.",
        )


def _name(model: str | Path, path: Path) -> str:
    if built_in_models().get(str(model)) == path:
        return str(model)
    return path.parent.name if path.name == MODEL_FILE else path.stem
