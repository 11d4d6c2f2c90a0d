"""A set of annotated photos -> the same in another format, in a new folder that is there whole or not at all."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet, Box, Instance, PhotoFile, PhotoPart
from verydeep.data.datasets import PHOTO_SUFFIXES
from verydeep.data.findings import counted
from verydeep.data.pictured import bitmap_of, mask_classes
from verydeep.data.targets import Size, upright
from verydeep.data.writers import Holds, Item, Place, writer
from verydeep.data.writers.names import Names
from verydeep.errors import DataError, DatasetError, UsageError, printable
from verydeep.files import atomic_write, make_folder, storage_error
from verydeep.image.decode import upright_size
from verydeep.image.readers import detect_format

Photos = Literal["copy", "link", "none"]
_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "WebP": ".webp"}


@dataclass(frozen=True)
class Converted:
    """What was written, and what was not."""

    out: Path
    format: str
    photos: int
    losses: tuple[str, ...]  # what the format cannot hold, in words
    failures: tuple[str, ...]  # photos and annotations that were left out, and why

    def to_dict(self) -> dict[str, Any]:
        return {
            "out": str(self.out),
            "format": self.format,
            "photos": self.photos,
            "losses": list(self.losses),
            "failures": list(self.failures),
        }


def check_target(out: Path) -> None:
    """Raises UsageError where there is something already."""
    if out.is_dir() and not any(out.iterdir()):
        return
    if os.path.lexists(out):
        what = "a folder that is not empty" if out.is_dir() else "there already"
        raise UsageError(f"{out} is {what}; expected a new folder.", "Choose another name.")


def convert(
    annotated: AnnotatedSet,
    out: Path,
    to: str,
    photos: Photos = "copy",
    on_progress: Callable[[int], None] = lambda done: None,
) -> Converted:
    """Writes it. photos: "link" makes hard links, copies where the disk allows none; "none" leaves them where they are.

    on_progress: is told how many photos are done. Raises UsageError, StorageError, and DatasetError where nothing can
    be written at all.
    """
    check_target(out)
    module = writer(to)
    if photos == "none" and not module.HOLDS.far_photos:
        raise UsageError(f"{to} has its photos in its own folder.", "Leave --no-photos out; --link takes no space.")
    _check_kept(annotated, to, module.HOLDS)
    failures = [f"{problem.message} {problem.hint}".strip() for problem in annotated.problems]
    with _new_folder(out) as folder:
        items = _Items(annotated, folder, out, module.HOLDS, module.layout(annotated), photos, failures)
        module.write(folder, items.each(on_progress), annotated)
        if not items.written:
            raise DatasetError(
                f"no photo could be written as {to}: {(failures or ['there is none.'])[0]}",
                "Mend the photos, or write another format, such as labelme.",
            )
    return Converted(
        out, to, items.written, _losses(annotated, to, module.HOLDS, out if photos == "none" else None), tuple(failures)
    )


def _check_kept(annotated: AnnotatedSet, to: str, holds: Holds) -> None:
    """Raises DatasetError where nothing that is known of the photos has a place in the format."""
    has = annotated.has
    kept = {
        "labels": has("labels") and holds.labels != "none",
        "classes of objects": has("boxes") and holds.labels == "one",
        "boxes": has("boxes") and holds.boxes,
        "shapes": has("shapes") and holds.shapes,
        "masks": has("masks") and holds.masks != "none",
    }
    if not any(kept.values()):
        there = [what for what in ("labels", "boxes", "shapes", "masks") if has(what)]
        raise DatasetError(
            f"nothing would be left of the annotations: there are {', '.join(there) or 'none'}, and {to} has no place "
            "for these.",
            "Choose another format, such as labelme.",
        )


@contextlib.contextmanager
def _new_folder(out: Path) -> Iterator[Path]:
    """A folder beside `out` that takes its place at the block's end; where the block fails, nothing is left."""
    make_folder(out.absolute().parent)
    temporary = out.absolute().parent / f".verydeep-{os.urandom(8).hex()}.tmp"
    make_folder(temporary)
    try:
        yield temporary
        try:
            if out.is_dir():
                out.rmdir()  # it is empty; Windows replaces no folder
            temporary.rename(out)
        except OSError as error:
            raise storage_error(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@dataclass
class _Items:
    """The photos of a set, each put into its place in the new folder as it is asked for."""

    annotated: AnnotatedSet
    folder: Path  # where it is written
    out: Path  # where it will be
    holds: Holds
    place: Place
    photos: Photos
    failures: list[str]  # takes what cannot be written
    written: int = 0
    names: Names = field(default_factory=Names)

    def each(self, on_progress: Callable[[int], None]) -> Iterator[Item]:
        for done, photo in enumerate(self.annotated.photos, start=1):
            try:
                item = self._item(photo)
            except DataError as error:
                self.failures.append(f"{error.message} {error.hint}".strip())
            else:
                self.written += 1
                yield item
            on_progress(done)

    def _item(self, photo: AnnotatedPhoto) -> Item:
        """Raises DataError."""
        data = photo.photo.read()
        size = upright_size(data, photo.photo.name)
        photo = upright(photo, data)
        if photo.mask and self.holds.masks == "shapes":
            shapes = _shapes(photo, self.annotated, size)
            photo = replace(photo, instances=(*photo.instances, *shapes), mask=None)
        stem = self.names.take(_stem(photo))
        place = self.place(photo, stem)
        if self.photos == "none":
            return Item(photo, self._far(photo), stem, size)
        place = place.with_name(place.name + _suffix(photo, data))
        if self.holds.has_photos:
            self._put(photo, data, self.folder / place)
        return Item(photo, place, stem, size)

    def _far(self, photo: AnnotatedPhoto) -> PurePosixPath:
        """From the new folder to the photo where it is. Raises DatasetError where it is no file of its own."""
        if not isinstance(photo.photo, PhotoFile):
            raise DatasetError(f"{printable(photo.photo.name)} is within another file.", "Leave --no-photos out.")
        path = Path(os.path.relpath(photo.photo.path.absolute(), self.out.absolute()))
        return PurePosixPath(path.as_posix())

    def _put(self, photo: AnnotatedPhoto, data: bytes, path: Path) -> None:
        make_folder(path.parent)
        if self.photos == "link" and isinstance(photo.photo, PhotoFile):
            with contextlib.suppress(OSError):  # another disk, or one without links
                path.hardlink_to(photo.photo.path.resolve())
                return
        atomic_write(path, data, is_durable=False)


def _stem(photo: AnnotatedPhoto) -> str:
    """What the photo is called, without its folder and suffix."""
    if isinstance(photo.photo, PhotoPart):
        return PurePosixPath(photo.photo.member).stem
    return Path(photo.photo.name).stem if isinstance(photo.photo, PhotoFile) else Path(photo.origin).stem


def _suffix(photo: AnnotatedPhoto, data: bytes) -> str:
    """As the file has it; that of its format where it has none that is known for a photo's."""
    if isinstance(photo.photo, PhotoFile) and photo.photo.path.suffix.lower() in PHOTO_SUFFIXES:
        return photo.photo.path.suffix
    return _SUFFIXES[detect_format(data) or "JPEG"]


def _shapes(photo: AnnotatedPhoto, annotated: AnnotatedSet, size: Size) -> Iterator[Instance]:
    """One for each class of the mask that has pixels; none for what shows none."""
    for label, pixels in mask_classes(photo, annotated, size):
        bitmap = bitmap_of(pixels)
        yield Instance(label, Box(*map(float, bitmap.box())), bitmap)


def _losses(annotated: AnnotatedSet, to: str, holds: Holds, out: Path | None) -> tuple[str, ...]:
    """What the format has no place for, in words. out: named where the photos are not in there."""
    photos = annotated.photos
    shapes = sum(instance.shape is not None for photo in photos for instance in photo.instances)
    boxes = sum(instance.shape is None for photo in photos for instance in photo.instances)
    labels = sum(bool(photo.labels) for photo in photos)
    masks = sum(photo.mask is not None for photo in photos)
    mixed = sum(len(photo.labels) > 1 and bool(photo.instances) for photo in photos)
    lost = []
    if labels and holds.labels == "none":
        lost.append(f"{to} holds no labels of whole photos: those of {counted(labels, 'photo')} are lost")
    if mixed and holds.labels == "one beside boxes":
        fate = "beside boxes: those of {} are lost"
        lost.append(f"{to} holds one label {fate.format(counted(mixed, 'photo'))}")
    if shapes and not holds.shapes:
        fate = "becomes a box" if shapes == 1 else "become boxes"
        lost.append(f"{to} holds no polygons: {counted(shapes, 'shape')} {fate if holds.boxes else 'are lost'}")
    if boxes and not holds.boxes:
        lost.append(f"{to} holds no boxes: {counted(boxes, 'box is', 'boxes are')} lost")
    if masks and holds.masks == "none":
        lost.append(f"{to} holds no masks: {counted(masks, 'mask is', 'masks are')} lost")
    if out is not None:
        lost.append(f"photos stay where they are: to read them, name {out / holds.file} and --root, a folder with both")
    if masks and holds.masks == "shapes":
        lost.append(f"{to} has shapes in the place of masks: each class in a mask becomes one ({masks:,} masks)")
    return tuple(lost)
