"""Damaged annotations, drawn by their number; what reading them did, and every file that was opened for it.

    python mutants.py FOLDER FIRST COUNT [FAULT]

prints what was found as JSON. FOLDER is an empty one; the sets of photos lie in FOLDER/root, and secrets beside it.
FAULT is broken before: "foreign", errors that are not ours; "outside", a root that holds everything.
"""

import base64
import importlib
import importlib.util
import io
import json
import os
import random
import re
import sys
import tarfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from verydeep.data import targets, untrusted
from verydeep.data.annotations import BACKGROUND, AnnotatedSet
from verydeep.data.untrusted import Root
from verydeep.errors import VerydeepError

SIZE = (20, 10)
BOX = {"xmin": 2, "ymin": 3, "xmax": 12, "ymax": 9}
RING = [[2, 3], [12, 3], [12, 9]]
Written = dict[str, bytes]  # the annotations of a set, by their path in it: what is damaged


def png(pixels: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def jpeg() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", SIZE, "teal").save(stream, "JPEG")
    return stream.getvalue()


def labelme_set() -> Written:
    def shape(kind: str, points: Any, **more: Any) -> dict[str, Any]:
        return {"label": "cat", "points": points, "shape_type": kind, "group_id": None, "flags": {}} | more

    mask = base64.b64encode(png([[0, 255], [255, 255]])).decode()
    shapes = [shape("rectangle", RING[:2]), shape("polygon", RING), shape("circle", RING[1:])]
    shapes += [shape("mask", [[1, 1], [2, 2]], mask=mask), shape("point", RING[:1])]
    shapes[0]["points"] = [[2, 3], [12, 9]]
    document = {"version": "5.5.0", "flags": {"dog": True}, "shapes": shapes, "imagePath": "../photos/a.jpg"}
    document |= {"imageData": base64.b64encode(jpeg()).decode(), "imageHeight": 10, "imageWidth": 20}
    return {"json/a.json": json.dumps(document).encode(), "json/b.json": json.dumps(document, indent=1).encode()}


def voc_set() -> Written:
    edges = "".join(f"<{name}>{value}</{name}>" for name, value in BOX.items())
    thing = f"<object><name>cat</name><difficult>0</difficult><bndbox>{edges}</bndbox></object>"
    size = "<size><width>20</width><height>10</height><depth>3</depth></size>"
    names = "<folder>photos</folder><filename>a.jpg</filename><path>C:\\me\\photos\\a.jpg</path>"
    source = "<source><database>The VOC2007 Database</database></source>"
    return {
        "Annotations/a.xml": f"<annotation>{names}{source}{size}{thing}{thing}</annotation>".encode(),
        "ImageSets/Main/train.txt": b"a\nb\n",
        "class_names.txt": b"_background_\ncat\ndog\n",
        "SegmentationClass/a.png": png(np.ones(SIZE[::-1])),
    }


def coco_set() -> Written:
    images = [
        {"id": key, "file_name": f"photos/{name}.jpg", "width": 20, "height": 10} for key, name in enumerate("ab")
    ]
    outlines = [
        [[2, 3, 12, 3, 12, 9]],
        {"size": [10, 20], "counts": [30, 4, 166]},
        {"size": [10, 20], "counts": "n04V5"},
        [],
    ]
    things = [
        {
            "id": key,
            "image_id": key % 2,
            "category_id": 1,
            "bbox": [2, 3, 10, 6],
            "segmentation": each,
            "iscrowd": key % 2,
        }
        for key, each in enumerate(outlines)
    ]
    document = {"images": images, "annotations": things, "categories": [{"id": 1, "name": "cat"}]}
    return {"instances_train.json": json.dumps(document).encode()}


def masks_set() -> Written:
    return {
        "train.txt": b"photos/a.jpg masks/a.png\nphotos/b.jpg\tmasks/b.png\n",
        "val.txt": b"/SegNet/CamVid/photos/b.png /SegNet/CamVid/masks/b.png\n",
        "classes.txt": b"sky\nroad\nvoid\n",
        "ids.csv": b"id,name\n0,sky\n1,road\n",
        "label_colors.txt": b"64 128 64 Animal\n0 0 0 Void\n",
        "masks/a.png": png(np.ones(SIZE[::-1])),
        "masks/b.png": png(np.zeros((*SIZE[::-1], 3))),
    }


def table_set() -> Written:
    head, row = "path,label,split,xmin,ymin,xmax,ymax", "2,3,12,9"
    lines = [{"path": f"photos/{name}.jpg", "label": "cat", "split": "train", **BOX} for name in "ab"]
    return {
        "boxes.csv": f"{head}\nphotos/a.jpg,cat,train,{row}\nphotos/b.jpg,dog,val,{row}\n".encode(),
        "more.tsv": b"path\tlabel\nphotos/a.jpg\tcat;dog\n",
        "rows.jsonl": "\n".join(map(json.dumps, lines)).encode(),
    }


def imagefolder_set() -> Written:
    objects = {"bbox": [[2.5, 3, 10, 6]], "categories": ["cat"]}
    lines = [{"file_name": f"{name}.jpg", "label": "cat", "objects": objects} for name in "ab"]
    return {
        "photos/metadata.csv": b"file_name,label\na.jpg,cat\nb.jpg,dog\n",
        "more/metadata.jsonl": "\n".join(map(json.dumps, lines)).encode(),
    }


def webdataset_set() -> Written:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, data in {
            "a.jpg": jpeg(),
            "a.cls": b"1",
            "b.jpg": jpeg(),
            "b.json": json.dumps({"label": "cat", "split": "val", **BOX}).encode(),
            "c.png": png(np.zeros((*SIZE[::-1], 3))),
            "c.txt": b"a cat",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return {"train-0000.tar": stream.getvalue(), "classes.txt": b"cat\ndog\n"}


SETS: dict[str, Callable[[], Written]] = {
    "labelme": labelme_set,
    "voc": voc_set,
    "coco": coco_set,
    "masks": masks_set,
    "table": table_set,
    "imagefolder": imagefolder_set,
    "webdataset": webdataset_set,
}


def there() -> list[str]:
    """The formats whose modules exist."""
    return [name for name in SETS if importlib.util.find_spec(f"verydeep.data.formats.{name}")]


def write_sets(folder: Path) -> dict[str, Written]:
    """Each with two photos, in folder/root, and a photo and other files that nothing may read beside it."""
    for place in ("secret", "root"):
        (folder / place).mkdir()
    for name in ("secret.jpg", "secret.png", "secret.json", "secret.txt"):
        (folder / "secret" / name).write_bytes(jpeg())
    sets = {name: SETS[name]() for name in there()}
    for name, written in sets.items():
        below = folder / "root" / name
        for photo in ("photos/a.jpg", "photos/b.jpg", "more/a.jpg"):
            (below / photo).parent.mkdir(parents=True, exist_ok=True)
            (below / photo).write_bytes(jpeg())
        for path, data in written.items():
            (below / path).parent.mkdir(parents=True, exist_ok=True)
            (below / path).write_bytes(data)
    return sets


HOSTILE_VALUES: list[Any] = [
    *(None, True, [], {}, "", -1, 0, 0.5, 1e308, 10**30, 10**400, -(10**12), "NaN", "1e999", "\0", "\ud800", "é" * 300),
    *(700_000, 1_000_000),  # as far as a coordinate goes: a circle of such a radius has kept Pillow busy for ever
    *([[]], [None], [[1, 2], "x"], {"id": {}}, "x" * 5000, "__ignore__", ["cat"], {"counts": "oooo", "size": [1, 1]}),
]
HOSTILE_TEXTS = (
    *(
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-1",
        b"9" * 5000,
        b"\0",
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"\r",
        b"\n\n",
        b'"',
        b",",
    ),
    *(
        b"[" * 300,
        b'{"a":' * 300,
        b"<a>" * 300,
        b"x" * 70_000,
        b"&lol;",
        b"&#0;",
        b"<![CDATA[",
        b"\\ud800",
        b"null",
        b"{}",
    ),
    b'<!DOCTYPE a [<!ENTITY lol SYSTEM "file:///etc/passwd">]>',
    b'<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY lol "&a;&a;&a;&a;">]>',
    b'<?xml version="1.0" encoding="utf-7"?>',
)
_PATH = re.compile(rb"[\w/:\\.]+\.(?:jpg|png)")
_WORD = re.compile(rb"[\w.+-]+")


def hostile_paths(folder: Path) -> list[str]:
    """Ways to the secrets beside the root, and to what every machine has."""
    secret = folder / "secret" / "secret.jpg"
    ups = [f"{'../' * count}secret/secret.jpg" for count in range(1, 6)]
    others = ["/etc/passwd", "/proc/self/environ", "\\\\server\\share\\a.jpg", "//server/share/a.jpg", "C:\\a.jpg"]
    odd = [
        "~/a.jpg",
        "file:///etc/passwd",
        "..",
        ".",
        "/",
        "a.jpg/b.jpg",
        "../" * 500 + "etc/passwd",
        "con.jpg",
        "a\0.jpg",
    ]
    return [*ups, str(secret), str(secret).replace("/", "\\"), *others, *odd, str(secret.with_suffix(".png"))]


def mutated(data: bytes, name: str, draw: random.Random, paths: list[str]) -> bytes:
    """The file, damaged in one to three ways."""
    ways = [flipped, cut_off, with_text, with_word, with_path, shuffled]
    ways += [with_value, with_value] if name.endswith(("json", "jsonl")) else []
    ways += [with_member] if name.endswith("tar") else []
    for _ in range(draw.choice((1, 1, 2, 3))):
        data = draw.choice(ways)(data, draw, paths)
    return data


def flipped(data: bytes, draw: random.Random, _: list[str]) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8)) if data else 0):
        changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def cut_off(data: bytes, draw: random.Random, _: list[str]) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def shuffled(data: bytes, draw: random.Random, _: list[str]) -> bytes:
    """A piece taken out, or doubled, or in another place; or the whole in UTF-16."""
    if draw.random() < 0.05:
        return data.decode("latin-1").encode("utf-16")
    start, end, place = sorted(draw.randrange(len(data) + 1) for _ in range(3))
    return draw.choice((data[:start] + data[end:], data[:end] + data[start:], data[:start] + data[end:place] + data))


def with_text(data: bytes, draw: random.Random, _: list[str]) -> bytes:
    place = draw.choice((0, draw.randrange(len(data) + 1)))
    return data[:place] + draw.choice(HOSTILE_TEXTS) + data[place:]


def with_word(data: bytes, draw: random.Random, _: list[str]) -> bytes:
    """A number or a word becomes something else."""
    words = list(_WORD.finditer(data))
    if not words:
        return data
    word = draw.choice(words)
    return data[: word.start()] + draw.choice(HOSTILE_TEXTS) + data[word.end() :]


def with_path(data: bytes, draw: random.Random, paths: list[str]) -> bytes:
    named = list(_PATH.finditer(data))
    if not named:
        return data
    path = draw.choice(named)
    text = json.dumps(draw.choice(paths))[1:-1] if data.lstrip()[:1] == b"{" else draw.choice(paths)
    return data[: path.start()] + text.encode() + data[path.end() :]


def with_value(data: bytes, draw: random.Random, paths: list[str]) -> bytes:
    """Somewhere in JSON another value, another name, or something gone; it stays JSON."""
    lines = data.splitlines() if data.count(b"\n{") else [data]
    place = draw.randrange(len(lines) or 1)
    try:
        document = json.loads(lines[place])
    except (ValueError, IndexError, RecursionError):
        return data
    spots = list(_spots(document))
    for _ in range(draw.choice((1, 1, 1, 4)) if spots else 0):
        inside, key = draw.choice(spots)
        with suppress(KeyError, IndexError):
            if draw.random() < 0.1:
                del inside[key]
            elif draw.random() < 0.1 and isinstance(inside, list):
                inside.append(inside[key])
            else:
                inside[key] = draw.choice((*HOSTILE_VALUES, draw.choice(paths), draw.choice(paths)))
    lines[place] = json.dumps(document).encode()
    return b"\n".join(lines)


def _spots(document: Any) -> Iterator[tuple[Any, Any]]:
    keys = document.keys() if isinstance(document, dict) else range(len(document) if isinstance(document, list) else 0)
    for key in list(keys):
        yield document, key
        yield from _spots(document[key])


def with_member(data: bytes, draw: random.Random, paths: list[str]) -> bytes:
    """Another member in a tar: of a strange name, a link, or with another's stem."""
    stream = io.BytesIO(data)
    try:
        with tarfile.open(
            fileobj=stream, mode="a", format=draw.choice((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
        ) as tar:
            member = tarfile.TarInfo(draw.choice((*paths, "a.json", "b.cls", "d.jpg", "d.json", "x" * 300 + ".jpg")))
            member.type = draw.choice(
                (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)
            )
            member.linkname = draw.choice(paths).replace("\0", "")
            content = draw.choice((b"1", b"cat", b'{"label": "cat"}', b"[" * 100, b"\xff" * 20, jpeg()))
            member.name = member.name.replace("\0", "")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    except (tarfile.TarError, ValueError, EOFError, OSError):
        return data
    return stream.getvalue()


class Watch:
    """Every file and folder that is opened in here; a hook stays for the life of a process."""

    def __init__(self) -> None:
        self.inside: Path | None = None  # what may be opened now, beside Python's own files; None: everything
        self.outside: Counter[str] = Counter()
        self._good = tuple(map(str, (sys.prefix, sys.base_prefix, Path(untrusted.__file__).parents[2])))
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.inside and event in ("open", "os.listdir", "os.scandir") and not isinstance(arguments[0], int):
            path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100, Path would resolve less
            if not path.startswith((str(self.inside), *self._good)):
                self.outside[path] += 1


def use(name: str, data: Path) -> AnnotatedSet | None:
    """Everything that is done with annotations. Returns what was read; None where nothing was found."""
    module = importlib.import_module(f"verydeep.data.formats.{name}")
    found: AnnotatedSet | None = None
    if module.detect(data, Root(data)) is not None:
        found = module.read(data, Root(data))
        classes = (BACKGROUND, *found.classes)[:255]
        found.counts()
        for photo in found.photos:
            with suppress(VerydeepError):
                targets.boxes(targets.upright(photo, photo.photo.read()))
            with suppress(VerydeepError):
                targets.class_mask(photo, classes, SIZE, found)
    return found


def main(folder: Path, first: int, count: int, fault: str) -> dict[str, Any]:
    sets = write_sets(folder)
    paths = hostile_paths(folder)
    for name in sets:  # modules are loaded before anything is watched, and each set is read as it is
        found = use(name, folder / "root" / name)
        assert found is not None, name
        assert found.photos, (name, found.problems)
    if fault == "outside":
        Root.holds = lambda self, path: True  # type: ignore[method-assign]
    watch = Watch()
    result = Counter[str]()
    examples: list[str] = []
    slowest = 0.0
    for number in range(first, first + count):
        draw = random.Random(number)
        name = draw.choice(list(sets))
        path, data = draw.choice(list(sets[name].items()))
        place = folder / "root" / name / path
        place.write_bytes(mutated(data, path, draw, paths))
        start = time.perf_counter()
        watch.inside = folder / "root" / name
        try:
            if fault == "foreign" and number % 100 == 0:
                raise KeyError(number)
            found = use(name, folder / "root" / name)
            result["told" if found is None or found.problems else "read"] += 1
        except VerydeepError:
            result["refused"] += 1
        except Exception:
            watch.inside = None  # the lines of a traceback are read from their files
            result["foreign"] += 1
            examples.append(f"{number} {name} {path}: {traceback.format_exc()[-1500:]}")
        watch.inside = None
        slowest = max(slowest, time.perf_counter() - start)
        place.write_bytes(data)
    outside = sum(watch.outside.values())
    examples += [f"{path} was opened" for path in list(watch.outside)[:5]]
    return {
        **result,
        "files": count,
        "outside": outside,
        "slowest": slowest,
        "examples": examples[:10],
        "formats": list(sets),
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), (*sys.argv[4:], "")[0])))
