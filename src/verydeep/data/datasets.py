"""DATA -> photos with labels, to train and to validate on. Torch is not needed here.

Two layouts of class folders are read: DATA/<class>/<photo> and DATA/{train,val}/<class>/<photo> ("valid", "validation"
and "test" serve as names of the second, too). Photos with annotations are read by annotated.py. Where nothing says
which photos validate, a fifth of each class is drawn for it, by seed.
"""

import contextlib
import hashlib
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from verydeep.architecture import Task
from verydeep.data.reading import REPLACE
from verydeep.data.walk import cannot_read, walk
from verydeep.errors import DatasetError, ImageError
from verydeep.files import is_folder
from verydeep.image import preprocess, read_image
from verydeep.nouns import Preprocessing, StoredPhoto

if TYPE_CHECKING:
    from verydeep.data.annotated import Sides
    from verydeep.data.picture_targets import Targets

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
VALIDATION_FOLDERS = ("val", "valid", "validation", "test")
VALIDATION_SHARE = 0.2
_MOST_SUFFIXES = 5  # that are named, of the files passed over
_WORDNET_ID = re.compile(r"n\d{8}_")


@dataclass(frozen=True)
class Dataset:
    """Photos and the classes they show."""

    classes: tuple[str, ...]  # sorted by the name of their folder
    paths: tuple[StoredPhoto, ...]
    labels: tuple[int, ...]  # positions in `classes`, one a photo; all 0 where every pixel has a class of its own
    others: Mapping[str, int] = field(default_factory=dict, compare=False)  # passed-over files beside them, by suffix
    format: str = field(default="folders", compare=False)  # of `formats.FORMATS`: what they were read from
    targets: "Targets | None" = field(default=None, compare=False)  # boxes or masks, where these are taught, too

    def __len__(self) -> int:
        return len(self.paths)

    def counts(self) -> tuple[int, ...]:
        """How many photos each class has."""
        count = Counter(self.labels)
        return tuple(count[label] for label in range(len(self.classes)))

    def take(self, positions: Iterable[int]) -> "Dataset":
        """The photos at these positions, the classes unchanged."""
        chosen = list(positions)
        return replace(
            self,
            paths=tuple(self.paths[i] for i in chosen),
            labels=tuple(self.labels[i] for i in chosen),
            targets=self.targets and self.targets.take(chosen),
        )

    def relabeled(self, classes: tuple[str, ...]) -> "Dataset":
        """The same photos labelled by position in `classes`, a model's: classes are matched by name.

        Raises DatasetError with the differing names where a class of the photos is not among them.
        """
        if missing := sorted(set(self.classes) - set(classes)):
            raise DatasetError(
                f"the photos have classes that the model does not know: {', '.join(missing)}. "
                f"It knows {', '.join(classes)}.",
                "Rename them, or leave those classes out.",
            )
        positions = [classes.index(name) for name in self.classes]
        targets = self.targets and self.targets.relabeled(classes)
        if targets and targets.are_of_pixels:
            return replace(self, classes=classes, targets=targets)
        return replace(self, classes=classes, labels=tuple(positions[label] for label in self.labels), targets=targets)


@dataclass(frozen=True)
class Splits:
    """The photos to train on and those to validate on, of the same classes."""

    training: Dataset
    validation: Dataset
    is_drawn: bool  # whether the validation photos were drawn from the others, since nothing says which validate

    def passed_over(self) -> str | None:
        """What to tell of the files in the class folders that are no photos by their suffix; None where all are."""
        sides = (self.training,) if self.is_drawn else (self.training, self.validation)
        others = sum((Counter(side.others) for side in sides), Counter[str]())
        if not others:
            return None
        named = [f"{count} {suffix or 'without a suffix'}" for suffix, count in others.most_common(_MOST_SUFFIXES)]
        more = ", ..." if len(others) > _MOST_SUFFIXES else ""
        return (
            f"passed over, since a photo is a {', '.join(PHOTO_SUFFIXES[:-1])} or {PHOTO_SUFFIXES[-1]}: "
            f"{', '.join(named)}{more}. Convert those that are pictures."
        )

    def fingerprint(self) -> str:
        """Changes with a photo's name, class, boxes, outlines or side.

        Not where the folder moves, nor with what is in the file of a photo or a mask.
        """
        digest = hashlib.blake2b(digest_size=16)
        for side in (self.training, self.validation):
            for position, (path, label) in enumerate(zip(side.paths, side.labels, strict=True)):
                told = f"/{side.targets.told(position)}" if side.targets else ""
                digest.update(f"{label}/{file_name(path)}{told}\0".encode(errors="surrogatepass"))
            digest.update(b"\0")
        return digest.hexdigest()


def open_splits(
    data: str | Path,
    seed: int = 0,
    format: str | None = None,
    root: str | Path | None = None,
    note: Callable[[str], None] = lambda _: None,
    *,
    task: Task = "classify",
) -> Splits:
    """The photos to train on and to validate on, a fifth of each class drawn where nothing tells the latter.

    format: a name of `formats.FORMATS`; by default it is found out. root: the folder that annotations may name photos
    in; `data` unless given. note: is told, a line each, which annotations are read and what of them is left out.
    task: what is to be learnt; for "localize" and "segment" annotations have boxes or masks.
    Raises DatasetError, and UsageError on a format or a root that there is not.
    """
    if (sides := _annotated(Path(data), format, root, note, task)) is None:
        return _class_folders(data, seed)
    return splits_of(sides, data, seed)


def splits_of(sides: "Sides", data: str | Path, seed: int = 0) -> Splits:
    """What to train and to validate on, of photos that annotations in `data` give a class. Raises DatasetError."""
    training, validation = sides
    if not len(training):
        raise DatasetError(
            f"the {training.format} annotations in {data} have all photos on the side to validate on.",
            "Name others to train on, or name no sides: a fifth of each class is drawn then.",
        )
    if validation is None:
        return split(training, seed)
    return _told_sides(training, validation)


def open_validation(
    data: str | Path,
    drawn_seed: int | None = None,
    format: str | None = None,
    root: str | Path | None = None,
    note: Callable[[str], None] = lambda _: None,
    *,
    task: Task = "classify",
) -> tuple[Dataset, str]:
    """The photos to evaluate on, and which they are in words. Raises as `open_splits`, whose arguments it takes.

    Those that a folder, or the annotations, say are to validate on. Where nothing does: the fifth that a training with
    that seed drew, or all.
    """
    all_of_them = "all photos of the folder"
    if (sides := _annotated(Path(data), format, root, note, task)) is not None:
        photos, validation = sides
        if validation is not None:
            return validation, "the photos that are told to validate on"
        all_of_them = "all photos with a class"
    else:
        folder = _existing(data)
        if found := _validation_folder(folder):
            return open_folder(found), f"the photos in {found.name}"
        photos = open_folder(_training_folder(folder) or folder)
    if drawn_seed is not None:
        return split(photos, drawn_seed).validation, f"the fifth of the photos that training drew (seed {drawn_seed})"
    return photos, all_of_them


def _annotated(
    data: Path, format: str | None, root: str | Path | None, note: Callable[[str], None], task: Task
) -> "Sides | None":
    """What annotations say; None where class folders do, or where there is nothing. Raises DatasetError."""
    from verydeep.data.annotated import open_sides  # which needs this module, and is not needed for class folders

    if not _mode(data):
        return None
    sides = open_sides(data, format, root, note, task)
    if sides is None and task in ("localize", "segment"):
        what = "box around an object" if task == "localize" else "mask or outline"
        raise DatasetError(
            f"{data} has no annotations that tell a {what}; this network is to learn them.",
            "Draw them, for example with Labelme, or train a classifier: leave the recipe or its fields out.",
        )
    return sides


def _class_folders(folder: str | Path, seed: int) -> Splits:
    """The photos of DATA/train and DATA/val, or DATA's with a fifth of each class drawn."""
    folder = _existing(folder)
    train, validation = _training_folder(folder), _validation_folder(folder)
    if train is None:
        if validation:
            raise DatasetError(
                f"{folder} has photos to validate on in {validation.name}, but no folder train.",
                f"Move the class folders to train on into {folder / 'train'}.",
            )
        return split(open_folder(folder), seed)
    training = open_folder(train)
    if validation is None:
        return split(training, seed)
    return _told_sides(training, open_folder(validation))


def _told_sides(training: Dataset, validation: Dataset) -> Splits:
    """Raises DatasetError on classes that were never shown."""
    _check_trainable(training)
    if missing := sorted(set(validation.classes) - set(training.classes)):
        raise DatasetError(
            f"val has classes that train lacks: {', '.join(missing)}. Train has {', '.join(training.classes)}.",
            "Add photos of them to train, rename them, or leave those classes out.",
        )
    return Splits(training, validation.relabeled(training.classes), is_drawn=False)


def side_folders(folder: Path) -> dict[str, Path]:
    """The folders with the classes to train on and to validate on, "train" and "val"; {"": folder} where it has none.

    Raises DatasetError where it cannot be read.
    """
    sides = {"train": _training_folder(folder), "val": _validation_folder(folder)}
    return {name: side for name, side in sides.items() if side is not None} or {"": folder}


def check_readable(photos: Dataset) -> None:
    """Raises DatasetError where not one of the photos can be read: better told before the work than after it."""
    errors: list[str] = []
    for path in photos.paths:
        try:
            read_image(path)
        except ImageError as error:
            errors.append(str(error))
        else:
            return
    raise DatasetError(f"none of the {len(photos)} photos to validate on can be read: {errors[0]}", REPLACE)


def inputs_of_some(photos: Dataset, preprocessing: Preprocessing, count: int) -> list[np.ndarray]:
    """What a network gets of `count` photos from all over the set, (channels, h, w) float32.

    Of fewer, where the set is smaller or some cannot be read.
    """
    images = []
    for position in np.unique(np.linspace(0, len(photos) - 1, count).astype(int)):
        with contextlib.suppress(ImageError):
            images.append(preprocess(read_image(photos.paths[position]), preprocessing))
    return images


def open_folder(folder: str | Path) -> Dataset:
    """Every photo in the class folders of `folder`, in the order of their names. Raises DatasetError.

    Photos are found by their suffix, at any depth of a class folder; hidden files, empty folders and the folders of
    trainings are passed over. A WordNet id before the name of a class is dropped: "n02102040_English_springer" becomes
    "English springer".
    """
    folder = _existing(folder)
    others = Counter[str]()
    found = {child: photos for child in _folders(folder) if (photos := _photos(child, others))}
    if not found:
        raise DatasetError(
            f"{folder} has no folder with photos in it ({', '.join(PHOTO_SUFFIXES)}).",
            f"Put the photos of each class into a folder of its own: {folder}/<class>/<photo>.jpg",
        )
    return Dataset(
        _class_names(list(found)),
        tuple(path for photos in found.values() for path in photos),
        tuple(label for label, photos in enumerate(found.values()) for _ in photos),
        others,
    )


def split(dataset: Dataset, seed: int) -> Splits:
    """Draws VALIDATION_SHARE of each class to validate on. Raises DatasetError where a class has one photo only.

    Where every pixel has a class of its own, of all photos.

    Where a photo goes follows from the seed, its class and its file name alone: a photo more or less in the folder
    leaves nearly all others where they were.
    """
    _check_trainable(dataset)
    classes = dataset.classes if not (dataset.targets and dataset.targets.are_of_pixels) else ("photos",)
    members: list[list[int]] = [[] for _ in classes]
    for position, label in enumerate(dataset.labels):
        members[label].append(position)
    validation: set[int] = set()
    for name, positions in zip(classes, members, strict=True):
        if len(positions) < 2:
            raise DatasetError(
                f"class {name!r} has {len(positions)} photo; expected one to train on and one to validate on.",
                "Add photos of it.",
            )
        positions.sort(key=lambda i: draw(f"{seed}/{name}/{file_name(dataset.paths[i])}"))
        validation.update(positions[: max(1, round(VALIDATION_SHARE * len(positions)))])
    return Splits(
        dataset.take(i for i in range(len(dataset)) if i not in validation),
        dataset.take(sorted(validation)),
        is_drawn=True,
    )


def file_name(photo: StoredPhoto) -> str:
    """What a photo is called within its folder, wherever that lies."""
    return photo.name if isinstance(photo, Path) else photo.file_name


def _check_trainable(dataset: Dataset) -> None:
    if len(dataset.classes) < 2:
        raise DatasetError(
            f"the photos are of one class only, {', '.join(dataset.classes)!r}; expected two or more to tell apart.",
            "Add photos that show something else, such as a folder of them.",
        )


def draw(text: str) -> bytes:
    """Random, but the same for the same text; a file's name need not be text in any language."""
    normal = unicodedata.normalize("NFC", text)  # macOS may spell an accent in two characters, Linux in one
    return hashlib.blake2b(normal.encode(errors="surrogatepass"), digest_size=8).digest()


def _existing(folder: str | Path) -> Path:
    """`folder`, which is one. Raises DatasetError."""
    folder = Path(folder)
    mode = _mode(folder)
    if not stat.S_ISDIR(mode):
        what = "is a file" if mode else "does not exist"
        raise DatasetError(f"{folder} {what}; expected a folder of class folders.", "Check the path.")
    return folder


def _mode(path: Path) -> int:
    """What kind of file it is, as `stat` has it; 0 where there is none. Raises DatasetError."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        cannot_read(error)


def _training_folder(folder: Path) -> Path | None:
    """The folder with the classes to train on; beside other classes, one that holds photos itself is a class."""
    train = folder / "train"
    if not is_folder(train):
        return None
    sides = ("train", *VALIDATION_FOLDERS)  # and trainannot, train_masks
    is_class = not _folders(train) and not all(one.name.startswith(sides) for one in _folders(folder))
    return None if is_class else train


def _validation_folder(folder: Path) -> Path | None:
    """The folder with the classes to validate on; one that holds photos itself is a class of that name."""
    candidates = [folder / name for name in VALIDATION_FOLDERS if is_folder(folder / name)]
    return next((candidate for candidate in candidates if _folders(candidate)), None)


def _folders(folder: Path) -> list[Path]:
    """The visible folders in `folder`."""
    try:
        return [
            child
            for child in sorted(
                folder.iterdir(), key=lambda child: child.name
            )  # paths themselves ignore case on Windows
            if not child.name.startswith(".") and child.is_dir()
        ]
    except OSError as error:
        cannot_read(error)


def _photos(folder: Path, others: Counter[str]) -> list[Path]:
    """The photos below a class folder; counts in `others` what else is there, by suffix.

    Raises DatasetError where it has other files only: a class would be missing.
    """
    paths: list[Path] = []
    other: str | None = None
    for root, files in walk(folder):
        for name in files:
            if name.lower().endswith(PHOTO_SUFFIXES):
                paths.append(root / name)
            else:
                other = other or name
                others[Path(name).suffix.lower()] += 1
    if other and not paths:
        raise DatasetError(
            f"{folder} has no photo ({', '.join(PHOTO_SUFFIXES)}), but other files such as {other}.",
            "Convert them if they are pictures; move the folder elsewhere if it is no class.",
        )
    return paths


def _class_names(folders: list[Path]) -> tuple[str, ...]:
    names = [unicodedata.normalize("NFC", folder.name) for folder in folders]
    short = [_WORDNET_ID.sub("", name).replace("_", " ") if _WORDNET_ID.match(name) else name for name in names]
    return tuple(short if len(set(short)) == len(short) else names)
