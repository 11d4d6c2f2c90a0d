"""The files below a folder, in an order that is the same everywhere."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from verydeep.errors import DatasetError

_WORDS = re.compile(r"[^\W\d_]+")  # of instances_train2017.json, train_labels.csv and train-00000-of-00004.tar
_RECIPE, _MADE_BY_A_RUN = "recipe.json", ("training", "model.safetensors")  # what the folder of a training holds
SPLIT_NAMES = {  # what people call the two sides: those to train on, and those to validate on
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "val",  # where nothing else validates
}


def walk(folder: Path, follow: bool = True) -> Iterator[tuple[Path, list[str]]]:
    """Each folder from this one on, with the names of its files, sorted. Raises DatasetError.

    Hidden ones and the folders of trainings are passed over; links are followed, but not in circles.
    follow: below linked folders, too; not where annotations are looked for, since a link may lead to the whole disk.
    """
    seen: set[tuple[int, int]] = set()  # a link to a folder above would lead round in circles
    for root, folders, files in os.walk(folder, onerror=cannot_read, followlinks=True):
        status = os.stat(root)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        if _RECIPE in files and any(name in folders or name in files for name in _MADE_BY_A_RUN):
            folders.clear()  # `verydeep train .` writes its run below the photos
            continue
        if not follow and root != str(folder) and os.path.islink(root):  # noqa: PTH114
            folders.clear()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(root), sorted(name for name in files if not name.startswith("."))


def files_below(data: Path, suffixes: Iterable[str], follow: bool = True) -> list[Path]:
    """`data` itself where it is a file, else the files below it, with one of these suffixes, in lower case."""
    endings = tuple(suffixes)
    if not data.is_dir():
        return [data] if data.name.lower().endswith(endings) else []
    walked = walk(data, follow)
    return [folder / name for folder, names in walked for name in names if name.lower().endswith(endings)]


def split_name(path: Path, data: Path, by_name: bool = True) -> str | None:
    """The word of SPLIT_NAMES for the side of a file: a folder's between `data` and it, or in its own: "boxes_val.csv".

    by_name: the name may tell; not where files are called as the photo is, and "steam_train.json" is of a locomotive.
    """
    inside = path.relative_to(data) if path.is_relative_to(data) else Path(path.name)
    for part in inside.parts[:-1]:
        if part.lower() in SPLIT_NAMES:
            return part.lower()
    words = _WORDS.findall(inside.name.split(".")[0].lower()) if by_name else []
    return next((word for word in reversed(words) if word in SPLIT_NAMES), None)


def is_spare(name: str | None, others: Iterable[str | None]) -> bool:
    """Whether what is of the split `name` is kept for a test: so is "test" where one of the others is validated on."""
    return name == "test" and any(SPLIT_NAMES.get(other or "") == "val" for other in others if other != "test")


def cannot_read(error: OSError) -> NoReturn:
    """As a DatasetError."""
    raise DatasetError(
        f"cannot read the folder {error.filename}: {error.strerror}.", "Check the path and its permissions."
    ) from error
