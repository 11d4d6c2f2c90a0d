"""What a picture that is cut out of an annotated photo teaches beside the photo's class: a box, or a mask.

A photo may be read smaller than it is stored, so a crop is given by shares of its sides: `augment.View`.
"""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet
from verydeep.data.augment import View
from verydeep.data.targets import Size, class_mask
from verydeep.errors import DatasetError, ImageError

LEAST_SHOWN = 0.25  # of a box: of an object of which a picture shows less, it does not teach where it is


class Targets(Protocol):
    """What is taught of each photo of a data set, in its order."""

    @property
    def are_of_pixels(self) -> bool:
        """Whether every pixel has a class, and the photo as a whole has none."""

    def take(self, positions: Sequence[int]) -> "Targets":
        """Those of the photos at these positions."""

    def relabeled(self, classes: tuple[str, ...]) -> "Targets":
        """The same, with classes numbered by their position in `classes`, among which all of them are."""

    def of(self, position: int, view: View, side: int) -> np.ndarray:
        """What a picture of `side` x `side` pixels teaches. Raises ImageError and DatasetError."""

    def told(self, position: int) -> str:
        """What is taught of a photo, as a text that is another where that is another."""


@dataclass(frozen=True)
class BoxTargets:
    """The boxes of each photo's class. A picture teaches the largest one, as `box_in_view` has it, (4,) float32."""

    boxes: tuple[np.ndarray, ...]  # of each photo (objects, 4) float64: left, top, right, bottom as shares of its sides

    @property
    def are_of_pixels(self) -> bool:
        return False

    def take(self, positions: Sequence[int]) -> "BoxTargets":
        return BoxTargets(tuple(self.boxes[position] for position in positions))

    def relabeled(self, classes: tuple[str, ...]) -> "BoxTargets":
        return self

    def of(self, position: int, view: View, side: int) -> np.ndarray:
        found = self.boxes[position]
        if not len(found):
            return np.zeros(4, np.float32)
        sizes = found[:, 2:] - found[:, :2]
        return box_in_view(found[int(sizes.prod(axis=1).argmax())], view)

    def told(self, position: int) -> str:
        boxes = self.boxes[position]
        return np.array2string(boxes, precision=6, threshold=boxes.size + 1)  # of many it would leave some out


def box_in_view(box: np.ndarray, view: View) -> np.ndarray:
    """A box (left, top, right, bottom) in shares of a photo -> (x, y, width, height) in sides of a picture, float32.

    x and y are the middle's. It may reach beyond the picture: how far, what is shown of the object tells. All four are
    0 where less than LEAST_SHOWN of it is in the picture.
    """
    start, size = np.array([view.left, view.top]), np.array([view.right - view.left, view.bottom - view.top])
    low, high = (box[:2] - start) / size, (box[2:] - start) / size
    shown = np.clip(high, 0, 1) - np.clip(low, 0, 1)
    if shown.prod() < LEAST_SHOWN * (high - low).prod():
        return np.zeros(4, np.float32)
    if view.is_mirrored:
        low[0], high[0] = 1 - high[0], 1 - low[0]
    return np.concatenate([(low + high) / 2, high - low]).astype(np.float32)


@dataclass(frozen=True)
class MaskTargets:
    """The class of each pixel. A picture teaches (side, side) uint8: positions in `classes`, or `targets.IGNORED`.

    The nearest pixel of the mask counts, whatever the size that the photo is read in.
    """

    photos: tuple[AnnotatedPhoto, ...]  # upright
    sizes: tuple[Size, ...]  # of the upright photos as they are stored
    classes: tuple[str, ...]
    annotated: AnnotatedSet  # which knows what the numbers in a mask's file mean

    @property
    def are_of_pixels(self) -> bool:
        return True

    def take(self, positions: Sequence[int]) -> "MaskTargets":
        photos = tuple(self.photos[position] for position in positions)
        return replace(self, photos=photos, sizes=tuple(self.sizes[position] for position in positions))

    def relabeled(self, classes: tuple[str, ...]) -> "MaskTargets":
        return replace(self, classes=classes)

    def mask(self, position: int) -> np.ndarray:
        """Of the whole photo, (height, width) uint8. Raises ImageError and DatasetError."""
        return class_mask(self.photos[position], self.classes, self.sizes[position], self.annotated)

    def readable_masks(self) -> Iterator[np.ndarray]:
        """All of them but those that cannot be read."""
        for position in range(len(self.photos)):
            with contextlib.suppress(ImageError, DatasetError):
                yield self.mask(position)

    def of(self, position: int, view: View, side: int) -> np.ndarray:
        mask = self.mask(position)
        height, width = mask.shape
        box = (view.left * width, view.top * height, view.right * width, view.bottom * height)
        cut = np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST, box=box))
        return np.ascontiguousarray(cut[:, ::-1] if view.is_mirrored else cut)

    def told(self, position: int) -> str:
        photo = self.photos[position]
        if photo.mask:
            return photo.mask.name
        outlines = [(each.label, each.shape) for each in photo.instances if each.shape is not None]
        return hashlib.blake2b(repr(outlines).encode(errors="surrogatepass"), digest_size=16).hexdigest()
