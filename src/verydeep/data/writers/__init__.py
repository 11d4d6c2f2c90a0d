"""`AnnotatedSet` -> files that others read: one module a format.

Such a module says what its format can hold, and has two functions:

    HOLDS                       what it keeps of an annotation; `convert` tells what is lost
    layout(found)               for this set, a function (photo, name) -> where in the new folder the photo goes
    write(out, items, found)    everything but the photos, as these come; found: the set that is written

To add a format, write such a module and a line here.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, TypeAlias

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet
from verydeep.errors import UsageError

WRITERS: Mapping[str, str] = {
    "labelme": "Labelme's JSON beside each photo",
    "voc": "PASCAL VOC's folders Annotations, JPEGImages and ImageSets",
    "coco": "COCO's JSON and a folder of photos",
    "table": "a CSV with a path, a label, a split and a box a row",
    "folders": "a folder for each class",
    "masks": "a folder of masks beside a folder of photos",
    "imagefolder": "a metadata.jsonl beside the photos (Hugging Face)",
    "webdataset": "tar shards",
}


@dataclass(frozen=True)
class Holds:
    """What a format keeps."""

    labels: Literal["none", "one", "one beside boxes", "several"]  # of a photo as a whole
    boxes: bool = False
    shapes: bool = False
    masks: Literal["none", "shapes", "whole"] = "none"  # shapes: a mask becomes one a class
    far_photos: bool = True  # whether photos may lie elsewhere, named by a relative path
    file: str = ""  # to be named itself where they do, since nothing beside it tells what it is
    has_photos: bool = True  # whether photos are files of their own


@dataclass(frozen=True)
class Item:
    """A photo that is written."""

    annotated: AnnotatedPhoto
    path: PurePosixPath  # of the photo, from the new folder on
    stem: str  # what its annotations are called, each as no other
    size: tuple[int, int]  # width and height, upright


Place: TypeAlias = Callable[[AnnotatedPhoto, str], PurePosixPath]
"""(photo, name) -> its path in the new folder, without a suffix. Raises DatasetError where it has no place there."""


class Writer(Protocol):
    """A module of this package."""

    HOLDS: Holds

    def layout(self, found: AnnotatedSet) -> Place: ...

    def write(self, out: Path, items: Iterable[Item], found: AnnotatedSet) -> None: ...


def writer(name: str) -> Writer:
    """Raises UsageError."""
    if name not in WRITERS:
        raise UsageError(f"--to is {name!r}; there are {', '.join(WRITERS)}.", "Choose one of these.")
    module: Writer = importlib.import_module(f"verydeep.data.writers.{name}")
    return module


def tidy(number: float) -> float:
    """A whole number as one, so that 83.0 is written as 83."""
    return int(number) if number == int(number) else number
