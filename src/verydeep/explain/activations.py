"""What a layer sees: the maps that it makes of a photo, and the part of the photo that excites each channel most."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from verydeep.explain.explanation import check_layer, view
from verydeep.explain.methods import account_of_output
from verydeep.image import crop_box, preprocess
from verydeep.runtime import OpenedModel
from verydeep.runtime.border import with_border


@dataclass(frozen=True)
class Activations:
    """The maps that a layer makes of a photo."""

    layer: str
    maps: np.ndarray  # (channels, h, w)
    box: tuple[float, float, float, float]  # what the network saw, in pixels of the photo: see `crop_box`
    image_size: tuple[int, int]  # height and width of what it saw, in its own pixels

    @property
    def peaks(self) -> np.ndarray:
        """The largest value of each channel, (channels,)."""
        peaks: np.ndarray = self.maps.max(axis=(1, 2))
        return peaks

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it: the largest value and the mean of each channel."""
        means = self.maps.mean(axis=(1, 2))
        channels = [
            {"channel": channel, "largest": float(peak), "mean": float(mean)}
            for channel, (peak, mean) in enumerate(zip(self.peaks, means, strict=True))
        ]
        return {"layer": self.layer, "map_size": list(self.maps.shape[1:]), "box": list(self.box), "channels": channels}


@dataclass(frozen=True)
class Peaks:
    """What excites each channel of a layer most in one photo."""

    values: np.ndarray  # (channels,)
    boxes: np.ndarray  # (channels, 4): left, top, right, bottom of what that unit sees, in pixels of the photo


def activations(model: OpenedModel, photo: np.ndarray, layer: str, *, is_dense: bool = False) -> Activations:
    """What a layer makes of a photo, (H, W, 3) uint8 RGB. Raises UsageError where the layer has no map."""
    check_layer(view(model, is_dense), layer, needs_map=True)
    image = preprocess(photo, model.info.preprocessing, is_dense)
    architecture, size = view(model, is_dense), (image.shape[1], image.shape[2])
    maps = model.engine.run(with_border(image, architecture)[np.newaxis], (layer,))[layer][0]
    if architecture.task == "segment":  # without what looks at the border alone
        step = account_of_output(architecture, layer, size).stride
        maps = maps[:, : math.ceil(size[0] / step), : math.ceil(size[1] / step)]
    return Activations(layer, maps, crop_box(photo.shape, model.info.preprocessing, is_dense), size)


def peaks(model: OpenedModel, photo: np.ndarray, layer: str, *, is_dense: bool = False) -> Peaks:
    """The strongest unit of each channel of a layer, with its receptive field in the photo, (H, W, 3) uint8 RGB.

    A receptive field may reach over the edge of what the network saw, where it saw zeros. Raises UsageError where the
    layer has no map.
    """
    found = activations(model, photo, layer, is_dense=is_dense)
    account = account_of_output(view(model, is_dense), layer, found.image_size)
    channels, height, width = found.maps.shape
    rows, columns = np.unravel_index(found.maps.reshape(channels, -1).argmax(axis=1), (height, width))
    middles = account.center + account.stride * np.stack([columns, rows], axis=1)  # in pixels of the crop, x before y
    corner, opposite = np.array(found.box[:2]), np.array(found.box[2:])
    scale = (opposite - corner) / found.image_size[::-1]
    half = account.receptive_field / 2
    boxes = np.concatenate([corner + scale * (middles - half), corner + scale * (middles + half)], axis=1)
    return Peaks(found.peaks, boxes)
