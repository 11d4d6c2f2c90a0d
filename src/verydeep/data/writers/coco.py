"""COCO's JSON, instances_train.json and so on in the folder annotations, and the photos in the folder images."""

import json
import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from verydeep.data.annotations import AnnotatedSet, Circle, Instance, Polygons
from verydeep.data.pictured import instance_mask
from verydeep.data.writers import Holds, Item, Place, tidy
from verydeep.files import atomic_write

HOLDS = Holds(labels="none", boxes=True, shapes=True, masks="shapes")
_PHOTOS = "images"
_CORNERS = 64  # of the polygon that is written for a circle: it has 99.8 % of its area


def layout(found: AnnotatedSet) -> Place:
    return lambda photo, name: PurePosixPath(_PHOTOS, name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    """Numbers of photos and objects go on from one side to the next, so that files can be joined."""
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    objects: dict[str, list[dict[str, Any]]] = defaultdict(list)
    categories: dict[str, int] = {}
    ids = count(1)
    for number, item in enumerate(items, start=1):
        split = item.annotated.split or ""
        width, height = item.size
        images[split].append({"id": number, "file_name": _file_name(item), "width": width, "height": height})
        for instance in item.annotated.instances:
            category = categories.setdefault(instance.label, len(categories) + 1)
            objects[split].append(
                {"id": next(ids), "image_id": number, "category_id": category, **_object(instance, item)}
            )
    for split in images or {"": []}:
        document = {
            "images": images[split],
            "annotations": objects[split],
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
        }
        name = f"instances_{split}.json" if split else "instances.json"
        atomic_write(out / "annotations" / name, json.dumps(document), is_durable=False)


def _file_name(item: Item) -> str:
    """From the folder of photos on; one that lies elsewhere, from the folder of the JSON on."""
    is_far = not item.path.is_relative_to(_PHOTOS)
    return str(PurePosixPath("..") / item.path) if is_far else str(item.path.relative_to(_PHOTOS))


def _object(instance: Instance, item: Item) -> dict[str, Any]:
    left, top, right, bottom = instance.box
    box = [tidy(left), tidy(top), tidy(right - left), tidy(bottom - top)]
    area: float = (right - left) * (bottom - top)
    segmentation: Any = []
    if isinstance(instance.shape, (Polygons, Circle)):
        rings = instance.shape.rings if isinstance(instance.shape, Polygons) else (_ring(instance.shape),)
        segmentation = [[tidy(edge) for point in ring for edge in point] for ring in rings]
        area = sum(_area(ring) for ring in rings)
    elif instance.shape is not None:
        mask = instance_mask(item.annotated, instance, item.size)
        segmentation = {"size": [item.size[1], item.size[0]], "counts": _runs(mask)}
        area = int(mask.sum())
    return {"bbox": box, "area": area, "iscrowd": 0, "segmentation": segmentation}


def _ring(circle: Circle) -> tuple[tuple[float, float], ...]:
    (x, y), radius = circle.center, circle.radius
    turns = (2 * math.pi * corner / _CORNERS for corner in range(_CORNERS))
    return tuple((x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns)


def _area(ring: tuple[tuple[float, float], ...]) -> float:
    """By the shoelace formula."""
    pairs = zip(ring, (*ring[1:], ring[0]), strict=True)
    return abs(sum(x0 * y1 - x1 * y0 for (x0, y0), (x1, y1) in pairs)) / 2


def _runs(mask: np.ndarray) -> list[int]:
    """COCO's run-length code, not compressed: pixels outside, inside, outside ... column by column."""
    pixels = mask.T.ravel()
    changes = np.flatnonzero(np.diff(pixels.astype(np.int8))) + 1
    ends = [*changes.tolist(), len(pixels)]
    starts = [0, *changes.tolist()]
    runs = [end - start for start, end in zip(starts, ends, strict=True)]
    return [0, *runs] if pixels[0] else runs
