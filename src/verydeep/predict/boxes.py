"""Where a prediction's boxes come from: a localiser's own numbers, or the activation of a class."""

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeAlias

import numpy as np

from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.image.preprocess import crop_box
from verydeep.nouns import Box, Preprocessing
from verydeep.outputs import softmax
from verydeep.outputs.boxes import class_boxes, clip, to_region, windows
from verydeep.runtime import OpenedModel

Size: TypeAlias = tuple[int, int]
"""Of the upright photo, in pixels: height and width."""


class Locator(Protocol):
    """Finds the boxes of classes in photos."""

    @property
    def outputs(self) -> tuple[str, ...]:
        """What the engine has to be asked for."""

    def boxes(self, values: Mapping[str, np.ndarray], classes: Sequence[int], size: Size) -> dict[int, Box]:
        """The box of each of these classes in one photo. values: the outputs, for that photo."""


def locator(model: OpenedModel, *, of_activation: bool) -> Locator | None:
    """A localiser's own; of a classifier where `of_activation` asks for it, else None. Raises UsageError."""
    architecture = model.info.architecture
    if architecture.task == "localize":
        return Regressed(architecture, model.info.preprocessing)
    if not of_activation:
        return None
    if architecture.task != "classify":
        raise UsageError(
            f"the model {model.path} has no classes of whole photos, which boxes could be drawn of.",
            "Leave the boxes out.",
        )
    return Activated(model)


class Regressed:
    """The boxes that a localiser's last layer gives."""

    outputs = ("logits",)

    def __init__(self, architecture: Architecture, preprocessing: Preprocessing) -> None:
        self._architecture = architecture
        self._preprocessing = preprocessing

    def boxes(self, values: Mapping[str, np.ndarray], classes: Sequence[int], size: Size) -> dict[int, Box]:
        side = self._preprocessing.crop
        found = windows(values["logits"], self._architecture, side, (side, side))
        shares = class_boxes(found.boxes, softmax(found.logits), classes)
        return _in_photo(shares, classes, self._preprocessing, size)


class Activated:
    """Boxes around what speaks for a class, of a network that has learnt none."""

    def __init__(self, model: OpenedModel) -> None:
        from verydeep.explain.boxes import needed_outputs  # whoever asks for no boxes does without
        from verydeep.explain.explanation import subject_of

        self.outputs = needed_outputs(model.info.architecture)
        self._subject = subject_of(model)
        self._preprocessing = model.info.preprocessing

    def boxes(self, values: Mapping[str, np.ndarray], classes: Sequence[int], size: Size) -> dict[int, Box]:
        from verydeep.explain.boxes import activation_box

        side = self._preprocessing.crop
        shares = [activation_box(self._subject, dict(values), number, (side, side)) for number in classes]
        return _in_photo(np.stack(shares), classes, self._preprocessing, size)


def _in_photo(shares: np.ndarray, classes: Sequence[int], preprocessing: Preprocessing, size: Size) -> dict[int, Box]:
    """shares: (len(classes), 4), of the square that the photo becomes."""
    found = clip(to_region(shares, np.array(crop_box(size, preprocessing))), size)
    return {number: Box(*edges) for number, edges in zip(classes, found.tolist(), strict=True)}
