"""Every photo and every mask of a set read once: whether it can be, its size, and what tells it from others."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from verydeep.data.annotations import BACKGROUND, IGNORE, AnnotatedPhoto, AnnotatedSet, PhotoFile
from verydeep.data.duplicates import Fingerprint, fingerprint
from verydeep.data.many import in_threads
from verydeep.data.targets import IGNORED, read_mask, turned, unnamed
from verydeep.errors import ImageError
from verydeep.image.decode import decode, stored_orientation
from verydeep.nouns import Photo

Size = tuple[int, int]  # width and height


@dataclass(frozen=True)
class Seen:
    """A photo that can be read."""

    size: Size  # upright
    turn: int  # how it is stored: 1 upright, 2 to 8 as EXIF has it
    digest: bytes  # SHA-256 of the file
    fingerprint: Fingerprint | None = field(compare=False)

    @property
    def stored_size(self) -> Size:
        return self.size[::-1] if self.turn > 4 else self.size


@dataclass(frozen=True)
class SeenMask:
    """A mask that can be read."""

    size: Size
    pixels: np.ndarray = field(compare=False)  # of each number, from 0 to the largest
    unnamed: Counter[str] = field(compare=False)  # pixels of the numbers or colours that no class has


@dataclass(frozen=True)
class Unreadable:
    """A file that cannot be read, and why."""

    message: str
    hint: str
    is_missing: bool


@dataclass(frozen=True)
class Survey:
    """A set, and what was found in its files."""

    set: AnnotatedSet
    photos: dict[Photo, Seen | Unreadable]
    masks: dict[Path, SeenMask | Unreadable]

    def seen(self, photo: AnnotatedPhoto) -> Seen | None:
        """None where it cannot be read."""
        found = self.photos[photo.photo]
        return found if isinstance(found, Seen) else None

    def seen_mask(self, photo: AnnotatedPhoto) -> SeenMask | None:
        """None where there is none, or it cannot be read."""
        found = self.masks.get(photo.mask) if photo.mask else None
        return found if isinstance(found, SeenMask) else None

    def upright(self, photo: AnnotatedPhoto) -> AnnotatedPhoto:
        """With the coordinates of the upright picture, as training takes them; see `targets.upright`."""
        seen = self.seen(photo)
        if seen and photo.size not in (None, seen.size) and photo.size == seen.stored_size:
            return turned(photo, seen.turn)
        return photo

    def classes(self, photo: AnnotatedPhoto) -> frozenset[str]:
        """Of the photo, of its objects and of its mask's pixels; without IGNORE and BACKGROUND."""
        names = set(photo.classes)
        if mask := self.seen_mask(photo):
            present = np.flatnonzero(mask.pixels[: len(self.set.mask_classes)])
            names.update(self.set.mask_classes[number] for number in present)
        return frozenset(names - {IGNORE, BACKGROUND})

    def name(self, path: str) -> str:
        """A file's name as it is told: from the set's folder on, where it lies in there."""
        return path.removeprefix(f"{self.set.root}/")

    def reason(self, found: Unreadable) -> str:
        """Why a file cannot be read, and what to do."""
        return self.name(f"{found.message} {found.hint}".strip())


def survey(
    annotated: AnnotatedSet, on_progress: Callable[[int], None] = lambda done: None, threads: int | None = None
) -> Survey:
    """Decodes each photo once, however often it is named. on_progress: is told how many files are done."""
    photos = list(dict.fromkeys(photo.photo for photo in annotated.photos))
    masks = list(dict.fromkeys(photo.mask for photo in annotated.photos if photo.mask))

    def look_at_mask(path: Path) -> SeenMask | Unreadable:
        return _look_at_mask(path, annotated)

    seen = dict(zip(photos, in_threads(photos, _look, on_progress, threads), strict=True))
    masks_seen = in_threads(masks, look_at_mask, lambda done: on_progress(len(photos) + done), threads)
    return Survey(annotated, seen, dict(zip(masks, masks_seen, strict=True)))


def count_files(annotated: AnnotatedSet) -> int:
    """How many files `survey` reads."""
    photos = {photo.photo for photo in annotated.photos}
    return len(photos) + len({photo.mask for photo in annotated.photos if photo.mask})


def _look(photo: Photo) -> Seen | Unreadable:
    try:
        data = photo.read()
        image = decode(data, photo.name)
        turn = stored_orientation(data, photo.name)
    except ImageError as error:
        return _unreadable(error, is_file=isinstance(photo, PhotoFile))
    height, width = image.shape[:2]
    return Seen((width, height), turn, hashlib.sha256(data).digest(), fingerprint(image))


def _look_at_mask(path: Path, annotated: AnnotatedSet) -> SeenMask | Unreadable:
    try:
        numbers = read_mask(path, annotated.mask_colors)
        pixels = np.bincount(numbers.ravel())
        others = _unnamed(path, pixels, annotated)
    except ImageError as error:
        return _unreadable(error, is_file=True)
    height, width = numbers.shape
    return SeenMask((width, height), pixels, others)


def _unnamed(path: Path, pixels: np.ndarray, annotated: AnnotatedSet) -> Counter[str]:
    """As `targets.unnamed`, which decodes the mask again: needed only to tell colours that no class has."""
    if annotated.mask_colors and len(pixels) > IGNORED:
        return unnamed(replace(annotated.photos[0], mask=path), annotated)
    first = len(annotated.mask_classes)
    return +Counter({str(number): int(pixels[number]) for number in range(first, min(len(pixels), IGNORED))})


def _unreadable(error: ImageError, is_file: bool) -> Unreadable:
    return Unreadable(error.message, error.hint, is_file and isinstance(error.__cause__, FileNotFoundError))
