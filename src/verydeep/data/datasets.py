"""A folder of class folders -> photos with labels. Nothing is decoded here and torch is not needed.

Two layouts are read: DATA/<class>/<photo> and DATA/{train,val}/<class>/<photo> ("valid", "validation" and "test" serve
as names of the second, too). Where there is no validation folder, a fifth of each class is drawn for it, by seed.
"""

import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

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
    folder = Path(folder)
    validation = next((folder / name for name in VALIDATION_FOLDERS if (folder / name).is_dir()), None)
    train = open_folder(folder / "train" if (folder / "train").is_dir() else folder)
    if len(train.classes) < 2:
        raise DatasetError(
            f"{folder} has photos of one class only, {train.classes[0]!r}; expected two or more to tell apart.",
            "Add a folder with photos that show something else.",
        )
    if (folder / "train").is_dir() and validation is not None:
        return train, open_folder(validation).relabeled(train.classes)
    return split(train, VALIDATION_SHARE, seed)


def open_validation(folder: str | Path) -> Dataset:
    """The photos to evaluate on: those of the validation folder, or all where there is none. Raises DatasetError."""
    folder = Path(folder)
    names = [name for name in VALIDATION_FOLDERS if (folder / name).is_dir()]
    return open_folder(folder / names[0] if names else folder)


def open_folder(folder: str | Path) -> Dataset:
    """Every photo in the class folders of `folder`, in the order of their names. Raises DatasetError.

    Photos are found by their suffix, at any depth of a class folder; hidden files are passed over. A WordNet id before
    the name of a class is dropped: "n02102040_English_springer" becomes "English springer".
    """
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DatasetError(f"{folder} {what}; expected a folder of class folders.", "Check the path.")
    found = {child: _photos(child) for child in _listing(folder) if child.is_dir() and not child.name.startswith(".")}
    found = {child: photos for child, photos in found.items() if photos}
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
        members.sort(key=lambda i: zlib.crc32(f"{seed}/{name}/{dataset.paths[i].name}".encode()))
        validation.update(members[: max(1, round(share * len(members)))])
    return (
        dataset.take(i for i in range(len(dataset)) if i not in validation),
        dataset.take(sorted(validation)),
    )


def _listing(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {error.strerror}.", "Check its permissions.") from error


def _photos(folder: Path) -> list[Path]:
    paths: list[Path] = []
    for root, folders, files in os.walk(folder, onerror=_cannot_read, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = sorted(name for name in files if not name.startswith("."))
        paths += [Path(root) / name for name in visible if name.lower().endswith(PHOTO_SUFFIXES)]
    return paths


def _cannot_read(error: OSError) -> None:
    raise DatasetError(
        f"cannot read the folder {error.filename}: {error.strerror}.", "Check its permissions."
    ) from error


def _class_names(folders: list[Path]) -> tuple[str, ...]:
    short = [_WORDNET_ID.sub("", f.name).replace("_", " ") if _WORDNET_ID.match(f.name) else f.name for f in folders]
    return tuple(short if len(set(short)) == len(short) else (folder.name for folder in folders))
