"""A folder of class folders -> photos with labels. Nothing is decoded here and torch is not needed.

Two layouts are read: DATA/<class>/<photo> and DATA/{train,val}/<class>/<photo> ("valid", "validation" and "test" serve
as names of the second, too). Where there is no validation folder, a fifth of each class is drawn for it, by seed.
"""

import os
import re
import stat
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from verydeep.errors import DatasetError

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
VALIDATION_SHARE = 0.2
_WORDNET_ID = re.compile(r"n\d{8}_")


@dataclass(frozen=True)
class Dataset:
    """Photos and the classes they show."""

    classes: tuple[str, ...]  # sorted by the name of their folder
    paths: tuple[Path, ...]
    labels: tuple[int, ...]  # positions in `classes`, one a photo

    def __len__(self) -> int:
        return len(self.paths)

    def counts(self) -> tuple[int, ...]:
        """How many photos each class has."""
        return tuple(self.labels.count(label) for label in range(len(self.classes)))

    def take(self, positions: Iterable[int]) -> "Dataset":
        """The photos at these positions, the classes unchanged."""
        chosen = list(positions)
        return Dataset(self.classes, tuple(self.paths[i] for i in chosen), tuple(self.labels[i] for i in chosen))

    def relabeled(self, classes: tuple[str, ...]) -> "Dataset":
        """The same photos labelled by position in `classes`, a model's: classes are matched by name.

        Raises DatasetError with the differing names where a class of the photos is not among them.
        """
        if missing := sorted(set(self.classes) - set(classes)):
            raise DatasetError(
                f"the photos have classes that the model does not know: {', '.join(missing)}. "
                f"It knows {', '.join(classes)}.",
                "Rename the folders, or leave those classes out.",
            )
        positions = [classes.index(name) for name in self.classes]
        return Dataset(classes, self.paths, tuple(positions[label] for label in self.labels))


def open_splits(folder: str | Path, seed: int = 0) -> tuple[Dataset, Dataset]:
    """The photos to train on and those to validate on. Raises DatasetError."""
    folder = _existing(folder)
    has_train = os.path.isdir(folder / "train")  # noqa: PTH112, Path.is_dir raises where nothing may be looked up
    train = open_folder(folder / "train" if has_train else folder)
    if len(train.classes) < 2:
        raise DatasetError(
            f"{folder} has photos of one class only, {train.classes[0]!r}; expected two or more to tell apart.",
            "Add a folder with photos that show something else.",
        )
    if has_train and (validation := _validation_folder(folder)):
        return train, open_folder(validation).relabeled(train.classes)
    return split(train, VALIDATION_SHARE, seed)


def open_validation(folder: str | Path) -> Dataset:
    """The photos to evaluate on: those of the validation folder, or all where there is none. Raises DatasetError."""
    folder = _existing(folder)
    return open_folder(_validation_folder(folder) or folder)


def open_folder(folder: str | Path) -> Dataset:
    """Every photo in the class folders of `folder`, in the order of their names. Raises DatasetError.

    Photos are found by their suffix, at any depth of a class folder; hidden files and empty folders are passed over. A
    WordNet id before the name of a class is dropped: "n02102040_English_springer" becomes "English springer".
    """
    folder = _existing(folder)
    found = {child: photos for child in _folders(folder) if (photos := _photos(child))}
    if not found:
        raise DatasetError(
            f"{folder} has no folder with photos in it ({', '.join(PHOTO_SUFFIXES)}).",
            f"Put the photos of each class into a folder of its own: {folder}/<class>/<photo>.jpg",
        )
    return Dataset(
        _class_names(list(found)),
        tuple(path for photos in found.values() for path in photos),
        tuple(label for label, photos in enumerate(found.values()) for _ in photos),
    )


def split(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """The photos to train on and a share of each class to validate on. Raises DatasetError where a class has one photo.

    A photo's place follows from the seed, its class and its file name alone: a photo more or less in the folder leaves
    nearly all others where they were.
    """
    validation: set[int] = set()
    for label, name in enumerate(dataset.classes):
        members = [i for i, other in enumerate(dataset.labels) if other == label]
        if len(members) < 2:
            raise DatasetError(
                f"class {name!r} has {len(members)} photo; expected one to train on and one to validate on.",
                "Add photos to its folder.",
            )
        members.sort(key=lambda i: _draw(f"{seed}/{name}/{dataset.paths[i].name}"))
        validation.update(members[: max(1, round(share * len(members)))])
    return (
        dataset.take(i for i in range(len(dataset)) if i not in validation),
        dataset.take(sorted(validation)),
    )


def _draw(text: str) -> int:
    """A number that follows from the text alone; the name of a file need not be text of any language."""
    return zlib.crc32(text.encode(errors="surrogatepass"))


def _existing(folder: str | Path) -> Path:
    """`folder`, which is one. Raises DatasetError."""
    folder = Path(folder)
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError:
        is_folder = False
    except OSError as error:
        _cannot_read(error)
    if not is_folder:
        what = "is a file" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {what}; expected a folder of class folders.", "Check the path.")
    return folder


def _validation_folder(folder: Path) -> Path | None:
    return next((folder / name for name in VALIDATION_FOLDERS if os.path.isdir(folder / name)), None)  # noqa: PTH112


def _folders(folder: Path) -> list[Path]:
    """The visible folders in `folder`."""
    try:
        return [child for child in sorted(folder.iterdir()) if not child.name.startswith(".") and child.is_dir()]
    except OSError as error:
        _cannot_read(error)


def _photos(folder: Path) -> list[Path]:
    """The photos below a class folder. Raises DatasetError where it has other files only: a class would be missing."""
    paths: list[Path] = []
    others: list[str] = []
    for root, folders, files in os.walk(folder, onerror=_cannot_read, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in files if not name.startswith(".")):
            if name.lower().endswith(PHOTO_SUFFIXES):
                paths.append(Path(root) / name)
            else:
                others.append(name)
    if others and not paths:
        raise DatasetError(
            f"{folder} has no photo ({', '.join(PHOTO_SUFFIXES)}), but other files such as {others[0]}.",
            "Convert them if they are pictures; move the folder elsewhere if it is no class.",
        )
    return paths


def _cannot_read(error: OSError) -> NoReturn:
    raise DatasetError(
        f"cannot read the folder {error.filename}: {error.strerror}.", "Check the path and its permissions."
    ) from error


def _class_names(folders: list[Path]) -> tuple[str, ...]:
    short = [_WORDNET_ID.sub("", f.name).replace("_", " ") if _WORDNET_ID.match(f.name) else f.name for f in folders]
    return tuple(short if len(set(short)) == len(short) else (folder.name for folder in folders))
