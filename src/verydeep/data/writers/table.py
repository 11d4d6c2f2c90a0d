"""A CSV, annotations.csv, with a row for the labels of each photo and one for each box; the photos in images.

Labels of a photo stand in one cell, with ";" between them; a photo whose label has such a mark itself has no place.
"""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet
from verydeep.data.rows import BETWEEN_LABELS
from verydeep.data.writers import Holds, Item, Place, tidy
from verydeep.errors import DatasetError, printable
from verydeep.files import atomic_write

_FILE = "annotations.csv"
HOLDS = Holds(labels="several", boxes=True, file=_FILE)
_BOX = ("xmin", "ymin", "xmax", "ymax")
_SIZE = ("image_width", "image_height")


def layout(found: AnnotatedSet) -> Place:
    return _place


def _place(photo: AnnotatedPhoto, name: str) -> PurePosixPath:
    """Raises DatasetError where a label would be read as several."""
    if marked := [label for label in sorted(photo.classes) if BETWEEN_LABELS.search(label)]:
        told = f"{printable(photo.photo.name)} has the label {printable(marked[0])!r}"
        raise DatasetError(f"{told}, which a table would take for several.", "Rename it, or write labelme.")
    return PurePosixPath("images", name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    columns = ["path", "label"]
    columns += ["split"] if any(photo.split for photo in found.photos) else []
    columns += [*_BOX, *_SIZE] if found.has("boxes") else []
    text = io.StringIO()
    table = csv.DictWriter(text, columns, restval="", extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for item in items:
        table.writerows(_rows(item))
    atomic_write(out / _FILE, text.getvalue(), is_durable=False)


def _rows(item: Item) -> Iterator[dict[str, str]]:
    photo = item.annotated
    every = {"path": str(item.path), "split": photo.split or ""}
    every |= dict(zip(_SIZE, map(str, item.size), strict=True))
    if photo.labels or not photo.instances:
        yield every | {"label": ";".join(photo.labels)}
    for instance in photo.instances:
        edges = (str(tidy(edge)) for edge in instance.box)
        yield every | {"label": instance.label} | dict(zip(_BOX, edges, strict=True))
