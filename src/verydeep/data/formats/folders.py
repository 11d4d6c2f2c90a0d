"""A folder of photos for each class: DATA/<class>/<photo>, or DATA/{train,val}/<class>/<photo>.

`datasets.open_folder` says what is a photo, and how a class is called.
"""

import os
from collections import Counter
from itertools import islice
from pathlib import Path

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet, PhotoFile, Problem
from verydeep.data.datasets import PHOTO_SUFFIXES, open_folder, side_folders
from verydeep.data.untrusted import Root
from verydeep.data.walk import walk
from verydeep.errors import DatasetError

_LOOKED_AT = 100  # class folders, which must have photos


def detect(data: Path, root: Root) -> str | None:
    """Folders that have photos in them, all of the first ones. Links are followed, as they are by `read`."""
    try:
        sides = side_folders(data) if data.is_dir() else {}
        counts = {name: _class_folders(side) for name, side in sides.items()}
    except (DatasetError, OSError):
        return None
    return _words(counts) if counts and all(counts.values()) else None


def read(data: Path, root: Root) -> AnnotatedSet:
    """Each photo with the class that its folder is called by. Links are followed: no annotation names these files."""
    photos: list[AnnotatedPhoto] = []
    problems: list[Problem] = []
    passed_over = Counter[str]()
    counts: dict[str, int] = {}
    for split, folder in side_folders(data).items():
        try:
            dataset = open_folder(folder)
        except DatasetError as error:
            problems.append(Problem(str(folder), error.message, error.hint))
            continue
        counts[split] = len(dataset.classes)
        passed_over.update(dataset.others)
        for path, label in zip(dataset.paths, dataset.labels, strict=True):
            assert isinstance(path, Path)  # in a folder every photo is a file of its own
            photos.append(
                AnnotatedPhoto(PhotoFile(path), str(path.parent), (dataset.classes[label],), split=split or None)
            )
    return AnnotatedSet("folders", root.folder, tuple(photos), _words(counts), tuple(problems), passed_over)


def _words(counts: dict[str, int]) -> str:
    told = [f"{count} class folder{'s' * (count != 1)}" + f" in {side}" * bool(side) for side, count in counts.items()]
    return " and ".join(told) or "no class folder"


def _class_folders(folder: Path) -> int:
    """How many folders there are; 0 where one of the first has other files, but no photo, and is thus no class."""
    with os.scandir(folder) as entries:
        children = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    has_photos = [_has_photo(folder / name) for name in islice(children, _LOOKED_AT)]
    return 0 if False in has_photos else len(children) - has_photos.count(None)


def _has_photo(folder: Path) -> bool | None:
    """None: it is empty."""
    is_empty = True
    for _, names in walk(folder):
        if any(name.lower().endswith(PHOTO_SUFFIXES) for name in names):
            return True
        is_empty = is_empty and not names
    return None if is_empty else False
