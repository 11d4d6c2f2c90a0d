"""What people have -> `AnnotatedSet`: one module a format, found by what lies in the folder.

A module of a format has two functions:

    detect(data, root)      what of it is there in words, "450 XML files in annotations"; None: nothing
    read(data, root)        all of it as an AnnotatedSet; a file that cannot be read becomes a Problem

`data` is the folder, or the file, that the user named; no file that a link leads to out of `root` is opened, but for
class folders, whose photos no annotation names. To add a format, write such a module and a line here.
"""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from verydeep.data.annotations import AnnotatedSet
from verydeep.data.formats.find import links_out
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
SUFFIXES = (  # of files that say what photos show
    *(".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".json", ".xml"),
    *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"),
)


class Format(Protocol):
    """A module of this package."""

    def detect(self, data: Path, root: Root) -> str | None: ...

    def read(self, data: Path, root: Root) -> AnnotatedSet: ...


@dataclass(frozen=True)
class Detection:
    """The formats that lie in a folder."""

    format: str  # that is read
    found: Mapping[str, str]  # each, with what of it is there
    outside: str = ""  # what is not looked at, since links lead out to it: a sentence

    def line(self) -> str:
        """In one line: what is read, and how to read the others."""
        others = [f"{what} (--format {name})" for name, what in self.found.items() if name != self.format]
        also = f"; there are also {', '.join(others)}" if others else ""
        outside = f"; {self.outside}" if self.outside else ""
        return f"reads {self.format}: {self.found[self.format]}{also}{outside}"


def detect(data: str | Path, wanted: str | None = None, root: str | Path | None = None) -> Detection:
    """Which formats are there. wanted: read this one. root: as for `read_annotations`. Raises as it does."""
    data = _existing(data)
    inside = _root(data, root)
    if wanted is not None and wanted not in FORMATS:
        raise UsageError(f"--format is {wanted!r}; there are {', '.join(FORMATS)}.", "Choose one of these.")
    found = {name: what for name in FORMATS if (what := _module(name).detect(data, inside)) is not None}
    outside = _outside(data, inside)
    if wanted is not None and wanted not in found:
        raise DatasetError(
            f"{data} has nothing of the format {wanted}: {FORMATS[wanted]}.",
            outside or (f"There are {', '.join(found)}." if found else "Check the path."),
        )
    if not found:
        known = "; ".join(f"{name} ({what})" for name, what in FORMATS.items())
        raise DatasetError(f"{data} is none of the formats that are known: {known}.", outside or "Check the path.")
    return Detection(wanted or next(iter(found)), found, outside)


def read_annotations(data: str | Path, wanted: str | None = None, root: str | Path | None = None) -> AnnotatedSet:
    """All that is known of the photos in a folder, or in the files that a file names.

    root: the folder that annotations may name files in; none: `data`, or the folder that it lies in. Raises UsageError
    and DatasetError; what is wrong with single files is in the set's problems.
    """
    return read_detected(detect(data, wanted, root), data, root)


def read_detected(detection: Detection, data: str | Path, root: str | Path | None = None) -> AnnotatedSet:
    """As `read_annotations`, in the format that was found before."""
    path = Path(data)
    return _module(detection.format).read(path, _root(path, root))


def _root(data: Path, root: str | Path | None) -> Root:
    folder = Path(root) if root is not None else data if data.is_dir() else data.parent
    if not folder.is_dir():
        raise UsageError(f"--root is {folder}, which is no folder.", "Check the path.")
    return Root(folder)


def _outside(data: Path, root: Root) -> str:
    found = links_out(data, root, SUFFIXES)
    if not found:
        return ""
    what = f"{found[0]} leads" if len(found) == 1 else f"{found[0]} and {len(found) - 1} more lead"
    return f"{what} out of {root.folder}, and is not read: name a folder that holds both, --root FOLDER"


def _module(name: str) -> Format:
    module: Format = importlib.import_module(f"verydeep.data.formats.{name}")
    return module


def _existing(data: str | Path) -> Path:
    path = Path(data)
    if not path.exists():
        raise DatasetError(f"{path} does not exist.", "Check the path.")
    return path
