"""What people have -> `AnnotatedSet`: one module a format, found by what lies in the folder.

A module of a format has two functions:

    detect(data)            what of it is there in words, "450 XML files in annotations"; None: nothing
    read(data, root)        all of it as an AnnotatedSet; a file that cannot be read becomes a Problem

`data` is the folder, or the file, that the user named. To add a format, write such a module and a line here.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from verydeep.data.annotations import AnnotatedSet
from verydeep.data.untrusted import Root
from verydeep.errors import DatasetError, UsageError

# In the order in which they are looked for: what says most about the photos comes first.
FORMATS: Mapping[str, str] = {
    "imagefolder": "a metadata.csv, .jsonl or .parquet beside the photos (Hugging Face)",
    "webdataset": "tar shards with photos, and their class, JSON or text under the same names",
    "coco": "COCO's JSON: images, annotations, categories",
    "table": "CSV, TSV, JSONL or Parquet: a path and a label a row; split and box where there are",
    "labelme": "Labelme's JSON, one file a photo",
    "voc": "PASCAL VOC's XML, one file a photo",
    "masks": "a folder of masks beside a folder of photos, or CamVid's lists of both",
    "folders": "a folder for each class",
}


class Format(Protocol):
    """A module of this package."""

    def detect(self, data: Path) -> str | None: ...

    def read(self, data: Path, root: Root) -> AnnotatedSet: ...


@dataclass(frozen=True)
class Detection:
    """The formats that lie in a folder."""

    format: str  # that is read
    found: Mapping[str, str]  # each, with what of it is there

    def line(self) -> str:
        """In one line: what is read, and how to read the others."""
        others = [f"{what} (--format {name})" for name, what in self.found.items() if name != self.format]
        also = f"; there are also {', '.join(others)}" if others else ""
        return f"reads {self.format}: {self.found[self.format]}{also}"


def detect(data: str | Path, wanted: str | None = None) -> Detection:
    """Which formats are there. wanted: read this one. Raises UsageError and DatasetError."""
    data = _existing(data)
    if wanted is not None and wanted not in FORMATS:
        raise UsageError(f"--format is {wanted!r}; there are {', '.join(FORMATS)}.", "Choose one of these.")
    found = {name: what for name in FORMATS if (what := _module(name).detect(data)) is not None}
    if wanted is not None and wanted not in found:
        raise DatasetError(
            f"{data} has nothing of the format {wanted}: {FORMATS[wanted]}.",
            f"There are {', '.join(found)}." if found else "Check the path.",
        )
    if not found:
        known = "; ".join(f"{name} ({what})" for name, what in FORMATS.items())
        raise DatasetError(f"{data} is none of the formats that are known: {known}.", "Check the path.")
    return Detection(wanted or next(iter(found)), found)


def read_annotations(data: str | Path, wanted: str | None = None, root: str | Path | None = None) -> AnnotatedSet:
    """All that is known of the photos in a folder, or in the files that a file names.

    root: the folder that annotations may name files in; none: `data`, or the folder that it lies in. Raises UsageError
    and DatasetError; what is wrong with single files is in the set's problems.
    """
    return read_detected(detect(data, wanted), data, root)


def read_detected(detection: Detection, data: str | Path, root: str | Path | None = None) -> AnnotatedSet:
    """As `read_annotations`, in the format that was found before."""
    path = Path(data)
    folder = Path(root) if root is not None else path if path.is_dir() else path.parent
    if not folder.is_dir():
        raise UsageError(f"--root is {folder}, which is no folder.", "Check the path.")
    return _module(detection.format).read(path, Root(folder))


def _module(name: str) -> Format:
    module: Format = importlib.import_module(f"verydeep.data.formats.{name}")
    return module


def _existing(data: str | Path) -> Path:
    path = Path(data)
    if not path.exists():
        raise DatasetError(f"{path} does not exist.", "Check the path.")
    return path
