"""Labelme's JSON beside each photo, as version 5 writes it; the two sides in folders train and val."""

import base64
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from verydeep.data.annotations import AnnotatedSet, Bitmap, Circle, Instance
from verydeep.data.writers import Holds, Item, Place, tidy
from verydeep.files import atomic_write, make_folder

HOLDS = Holds(labels="several", boxes=True, shapes=True, masks="shapes")


def layout(found: AnnotatedSet) -> Place:
    return lambda photo, name: PurePosixPath(photo.split or "", name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    for item in items:
        photo = item.annotated
        folder = make_folder(out / (photo.split or ""))
        up = PurePosixPath(".." if photo.split else ".")
        beside = item.path.name if item.path.parent == PurePosixPath(photo.split or "") else str(up / item.path)
        document = {
            "version": "5.5.0",
            "flags": dict.fromkeys(photo.labels, True),
            "shapes": [shape for number, one in enumerate(photo.instances) for shape in _shapes(one, number)],
            "imagePath": beside,
            "imageData": None,
            "imageHeight": item.size[1],
            "imageWidth": item.size[0],
        }
        atomic_write(folder / f"{item.stem}.json", json.dumps(document, indent=1), is_durable=False)


def _shapes(instance: Instance, number: int) -> Iterator[dict[str, Any]]:
    """One, or of an object in several parts one each, of one group."""
    if instance.shape is None:
        left, top, right, bottom = map(tidy, instance.box)
        yield _shape(instance, "rectangle", [[left, top], [right, bottom]])
    elif isinstance(instance.shape, Circle):
        (x, y), radius = instance.shape.center, instance.shape.radius
        yield _shape(instance, "circle", [[x, y], [x + radius, y]])
    elif isinstance(instance.shape, Bitmap):
        left, top, right, bottom = map(tidy, instance.shape.box())
        mask = {"mask": _png(instance.shape)}
        yield _shape(instance, "mask", [[left, top], [right - 1, bottom - 1]]) | mask
    else:
        rings = instance.shape.rings
        for ring in rings:
            points = [[tidy(x), tidy(y)] for x, y in ring]
            yield _shape(instance, "polygon", points, group=number if len(rings) > 1 else None)


def _shape(instance: Instance, kind: str, points: list[list[float]], group: int | None = None) -> dict[str, Any]:
    return {
        "label": instance.label,
        "points": points,
        "group_id": group,
        "description": "",
        "shape_type": kind,
        "flags": {},
    }


def _png(bitmap: Bitmap) -> str:
    """The picture of one bit a pixel in base64."""
    count = bitmap.width * bitmap.height
    bits = np.unpackbits(np.frombuffer(bitmap.bits, np.uint8), count=count).reshape(bitmap.height, bitmap.width)
    file = io.BytesIO()
    Image.fromarray(bits.astype(bool)).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")
