"""Tar shards of a thousand photos each, train-000000.tar and so on; beside each photo a .json with what is known of it.

A photo of one class has a .cls with its name, too.
"""

import io
import json
import tarfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from verydeep.data.annotations import AnnotatedSet
from verydeep.data.writers import Holds, Item, Place, tidy
from verydeep.data.writers.names import Names
from verydeep.files import storage_error

HOLDS = Holds(labels="one beside boxes", boxes=True, far_photos=False, has_photos=False)
_A_SHARD = 1000  # photos


def layout(found: AnnotatedSet) -> Place:
    names = Names()
    return lambda photo, name: PurePosixPath(names.take(name.replace(".", "_")))  # a dot ends the name of the photo


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    shards: dict[str, tarfile.TarFile] = {}
    counts: dict[str, int] = defaultdict(int)
    try:
        for item in items:
            split = item.annotated.split or "photos"
            if counts[split] % _A_SHARD == 0:
                if split in shards:
                    shards[split].close()
                shards[split] = tarfile.open(out / f"{split}-{counts[split] // _A_SHARD:06}.tar", "w")  # noqa: SIM115
            counts[split] += 1
            _add(shards[split], item)
    except OSError as error:
        raise storage_error(out, error) from error
    finally:
        for shard in shards.values():
            shard.close()


def _add(shard: tarfile.TarFile, item: Item) -> None:
    """Labels in the .json are of the boxes, where there are any; then the .cls has the one of the photo."""
    photo = item.annotated
    known: dict[str, object] = {"labels": list(photo.labels)}
    if photo.instances:
        known["labels"] = [one.label for one in photo.instances]
        known["bboxes"] = [[tidy(edge) for edge in one.box] for one in photo.instances]
    known |= {"image_width": item.size[0], "image_height": item.size[1]}
    parts = {item.path.suffix.lower(): photo.photo.read(), ".json": json.dumps(known).encode()}
    if len(photo.labels) == 1:
        parts[".cls"] = photo.labels[0].encode(errors="backslashreplace")
    for suffix, data in parts.items():
        entry = tarfile.TarInfo(f"{item.stem}{suffix}")  # of the year 1970, so that the same photos make the same file
        entry.size = len(data)
        shard.addfile(entry, io.BytesIO(data))
