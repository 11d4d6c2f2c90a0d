"""A folder of masks beside a folder of photos, the names of the numbers, and lists of the sides as CamVid's.

Number 0 is of pixels that show none of the classes, unless the set that is written has masks and an order of its own;
255 of those that teach nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from PIL import Image

from verydeep.data.annotations import BACKGROUND, IGNORE, TRAIN, AnnotatedSet
from verydeep.data.targets import IGNORED, class_mask
from verydeep.data.writers import Holds, Item, Place
from verydeep.errors import UsageError, printable
from verydeep.files import atomic_write, make_folder, replacing

HOLDS = Holds(labels="none", shapes=True, masks="whole", far_photos=False)
_PHOTOS, _MASKS = "images", "masks"


def layout(found: AnnotatedSet) -> Place:
    return lambda photo, name: PurePosixPath(_PHOTOS, name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    """Photos of no side are listed with those to train on. Raises UsageError on more classes than numbers."""
    names = _names(found)
    is_split = any(photo.split for photo in found.photos)
    folder = make_folder(out / _MASKS)
    sides: dict[str, list[str]] = defaultdict(list)
    for item in items:
        with replacing(folder / f"{item.stem}.png", is_durable=False) as temporary:
            Image.fromarray(class_mask(item.annotated, names, item.size, found)).save(temporary, "PNG")
        sides[item.annotated.split or TRAIN].append(f"{item.path} {_MASKS}/{item.stem}.png\n")
    atomic_write(out / "classes.txt", "".join(f"{printable(name)}\n" for name in names), is_durable=False)
    for split, lines in sides.items() if is_split else ():
        atomic_write(out / f"{split}.txt", "".join(lines), is_durable=False)


def _names(found: AnnotatedSet) -> tuple[str, ...]:
    """Of the numbers, from 0 on. Raises UsageError."""
    own = tuple(dict.fromkeys(found.mask_classes)) if found.has("masks") else (BACKGROUND,)
    names = tuple(dict.fromkeys((*(name for name in own if name != IGNORE), *found.classes)))
    if len(names) > IGNORED:
        raise UsageError(f"there are {len(names)} classes; a mask has {IGNORED} numbers.", "Write them as coco.")
    return names
