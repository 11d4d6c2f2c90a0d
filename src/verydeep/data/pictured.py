"""Objects as pixels of their photo, each by itself; `targets` draws all of a photo on one mask."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from PIL import Image

from verydeep.data.annotations import (
    BACKGROUND,
    IGNORE,
    AnnotatedPhoto,
    AnnotatedSet,
    Bitmap,
    Box,
    Circle,
    Instance,
    Polygons,
    Shape,
)
from verydeep.data.targets import Size, class_mask, upright
from verydeep.errors import DatasetError

_OBJECT = "object"


def instance_mask(photo: AnnotatedPhoto, instance: Instance, size: Size) -> np.ndarray:
    """(H, W) bool: the pixels that its shape covers. size: of the upright photo."""
    alone = replace(photo, instances=(replace(instance, label=_OBJECT),), mask=None)
    covered: np.ndarray = class_mask(alone, (_OBJECT,), size) == 0
    return covered


def mask_classes(
    photo: AnnotatedPhoto, annotated: AnnotatedSet, size: Size, drawn: Size | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Each class in the photo's mask, but BACKGROUND, and its pixels, (H, W) bool. Raises ImageError, DatasetError.

    size: of the upright photo. drawn: that of the result, by default the same.
    """
    names = [name for name in dict.fromkeys(annotated.mask_classes) if name not in (IGNORE, BACKGROUND)]
    # BACKGROUND is not among them, for beside 255 classes there is no number for it, and so comes out as IGNORED.
    mask = class_mask(replace(photo, instances=()), names, size, annotated)
    if drawn not in (None, size):
        mask = np.asarray(Image.fromarray(mask).resize(drawn, Image.Resampling.NEAREST))
    for number, name in enumerate(names):
        pixels = mask == number
        if pixels.any():
            yield name, pixels


def shrunk(photo: AnnotatedPhoto, scale: float) -> AnnotatedPhoto:
    """The photo's objects as they are in a picture that is smaller by `scale`, at most 1."""
    instances = (
        replace(each, box=Box(*(scale * edge for edge in each.box)), shape=each.shape and _shrunk(each.shape, scale))
        for each in photo.instances
    )
    return replace(photo, instances=tuple(instances), size=None)


def _shrunk(shape: Shape, scale: float) -> Shape:
    if isinstance(shape, Polygons):
        return Polygons(tuple(tuple((scale * x, scale * y) for x, y in ring) for ring in shape.rings))
    if isinstance(shape, Circle):
        return Circle((scale * shape.center[0], scale * shape.center[1]), scale * shape.radius)
    pixels = np.unpackbits(np.frombuffer(shape.bits, np.uint8), count=shape.width * shape.height)
    left, top, right, bottom = (round(scale * edge) for edge in shape.box())
    size = (max(1, right - left), max(1, bottom - top))
    part = Image.fromarray(pixels.reshape(shape.height, shape.width)).resize(size, Image.Resampling.NEAREST)
    return Bitmap(left, top, *size, np.packbits(np.asarray(part)).tobytes())


def as_upright(photo: AnnotatedPhoto, data: bytes) -> AnnotatedPhoto:
    """As `targets.upright`; where the annotations are of a picture of another size, as they are."""
    with contextlib.suppress(DatasetError):
        return upright(photo, data)
    return photo


def bitmap_of(mask: np.ndarray) -> Bitmap:
    """The smallest part that holds all pixels of a mask, (H, W) bool, which has at least one."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    return Bitmap(left, top, part.shape[1], part.shape[0], np.packbits(part).tobytes())
