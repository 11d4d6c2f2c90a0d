"""A folder for each class, in folders for the two sides where these are told.

Where a class cannot be the name of a folder, folders.txt tells what each folder stands for: its name, a tab, the class.
"""

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from verydeep.data.annotations import AnnotatedPhoto, AnnotatedSet
from verydeep.data.writers import Holds, Item, Place
from verydeep.data.writers.names import folder_names
from verydeep.errors import DatasetError, printable
from verydeep.files import atomic_write

HOLDS = Holds(labels="one", far_photos=False)


def layout(found: AnnotatedSet) -> Place:
    folders = folder_names(found.classes)
    return lambda photo, name: PurePosixPath(photo.split or "", folders[_only_class(photo)], name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    for _ in items:  # each is put into its place by being asked for
        pass
    changed = {name: label for label, name in folder_names(found.classes).items() if name != label}
    if changed:
        lines = "".join(f"{name}\t{printable(label)}\n" for name, label in sorted(changed.items()))
        atomic_write(out / "folders.txt", lines, is_durable=False)


def _only_class(photo: AnnotatedPhoto) -> str:
    """Raises DatasetError where there is no such."""
    classes = sorted(photo.shown)
    if len(classes) == 1:
        return classes[0]
    what = f"shows {', '.join(map(printable, classes))}" if classes else "is of no class"
    name = printable(photo.photo.name)
    raise DatasetError(
        f"{name} {what}; a folder is for photos of one class.", "Give it one label, or write labelme, which holds it."
    )
