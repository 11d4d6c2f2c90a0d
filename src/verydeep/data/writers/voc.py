"""PASCAL VOC's folders: Annotations with an XML a photo, JPEGImages, and the lists of the sides in ImageSets/Main.

Edges of boxes are written as annotation tools do, and as Labelme has them: the first pixel is 0 to 1.
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from verydeep.data.annotations import AnnotatedSet
from verydeep.data.writers import Holds, Item, Place, tidy
from verydeep.errors import printable
from verydeep.files import atomic_write, make_folder

HOLDS = Holds(labels="none", boxes=True)
_PHOTOS = "JPEGImages"


def layout(found: AnnotatedSet) -> Place:
    return lambda photo, name: PurePosixPath(_PHOTOS, name)


def write(out: Path, items: Iterable[Item], found: AnnotatedSet) -> None:
    folder = make_folder(out / "Annotations")
    sides: dict[str, list[str]] = defaultdict(list)
    for item in items:
        atomic_write(folder / f"{item.stem}.xml", _xml(item), is_durable=False)
        if item.annotated.split:
            sides[item.annotated.split].append(item.stem)
    for split, stems in sides.items():
        lines = "".join(f"{stem}\n" for stem in sorted(stems))
        atomic_write(out / "ImageSets" / "Main" / f"{split}.txt", lines, is_durable=False)


def _xml(item: Item) -> bytes:
    top = ElementTree.Element("annotation")
    is_far = item.path.parent != PurePosixPath(_PHOTOS)
    _add(top, "folder", _PHOTOS)
    _add(top, "filename", f"../{item.path}" if is_far else item.path.name)
    size = ElementTree.SubElement(top, "size")
    for tag, value in (("width", item.size[0]), ("height", item.size[1]), ("depth", 3)):
        _add(size, tag, str(value))
    _add(top, "segmented", "0")
    for instance in item.annotated.instances:
        thing = ElementTree.SubElement(top, "object")
        for tag, text in (("name", instance.label), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            _add(thing, tag, text)
        bounds = ElementTree.SubElement(thing, "bndbox")
        for tag, edge in zip(("xmin", "ymin", "xmax", "ymax"), instance.box, strict=True):
            _add(bounds, tag, str(tidy(edge)))
    ElementTree.indent(top)
    written: bytes = ElementTree.tostring(top, encoding="utf-8", xml_declaration=True)
    return written


def _add(parent: ElementTree.Element, tag: str, text: str) -> None:
    """XML has no control characters: they are spelt out."""
    ElementTree.SubElement(parent, tag).text = printable(text)
