"""A metadata.jsonl beside the photos, one a side, as Hugging Face's imagefolder reads it."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any

from verydeep.data.annotations import AnnotatedSet
from verydeep.data.writers import Holds, Item, Place, tidy
from verydeep.files import atomic_write

HOLDS = Holds(labels="several", boxes=True, far_photos=False)


def layout(found: AnnotatedSet) -> Place:
    return lambda photo, name: PurePosixPath(photo.split or "", name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    """All rows have the same columns: label where no photo has several, else labels; objects where any has some."""
    is_several = any(len(photo.labels) > 1 for photo in found.photos)
    columns = {"label": found.has("labels") and not is_several, "labels": is_several, "objects": found.has("boxes")}
    rows: dict[str, list[str]] = defaultdict(list)
    for item in items:
        row = {"file_name": item.path.name, **_told(item)}
        kept = {name: value for name, value in row.items() if columns.get(name, True)}
        rows[item.annotated.split or ""].append(json.dumps(kept) + "\n")
    for split, lines in rows.items():
        atomic_write(out / split / "metadata.jsonl", "".join(lines), is_durable=False)


def _told(item: Item) -> dict[str, Any]:
    """What is known of a photo, under the names that are usual: boxes are x, y, width and height."""
    photo = item.annotated
    boxes = [one.box for one in photo.instances]
    return {
        "label": photo.labels[0] if photo.labels else None,
        "labels": list(photo.labels),
        "objects": {
            "bbox": [[tidy(x0), tidy(y0), tidy(x1 - x0), tidy(y1 - y0)] for x0, y0, x1, y1 in boxes],
            "categories": [one.label for one in photo.instances],
        },
    }
