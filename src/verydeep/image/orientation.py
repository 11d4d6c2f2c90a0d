"""Which way up a photo is: the orientation tag of its EXIF block, or of its XMP text where EXIF has none.

Pillow can read both, but unpacks the whole EXIF block to find one number and prints warnings about the rest of it.
"""

import re
import struct
from collections.abc import Mapping
from typing import Any

from PIL.Image import Transpose

UPRIGHT = {  # orientation -> what turns the stored picture upright (Exif 2.32, table 6, tag 0x0112)
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_TAG = 0x0112
_VALUES = {3: "H", 4: "I"}  # the field types SHORT and LONG; the standard says SHORT, some cameras write LONG
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation(info: Mapping[Any, Any]) -> int:
    """1 to 8 from the `info` of a Pillow image; 1, upright, where the photo says nothing or nonsense. Never raises."""
    value = _from_exif(_exif_block(info))
    if value is None:
        value = _from_xmp(info)
    return value if value in UPRIGHT else 1


def _exif_block(info: Mapping[Any, Any]) -> bytes:
    """The TIFF structure with the tags, without the one or two "Exif" marks that come before it."""
    block = info.get("exif") or _hexadecimal_profile(info.get("Raw profile type exif", ""))
    return block.removeprefix(b"Exif\0\0").removeprefix(b"Exif\0\0")


def _hexadecimal_profile(text: str) -> bytes:
    """ImageMagick writes EXIF into PNG as text: an empty line, the name, the length, then lines of hexadecimal."""
    try:
        return bytes.fromhex("".join(text.split("\n")[3:]))
    except ValueError:
        return b""


def _from_exif(block: bytes) -> int | None:
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None or len(block) < 8:
        return None
    start: int = struct.unpack_from(order + "I", block, 4)[0]
    if start + 2 > len(block):
        return None
    entries = struct.unpack_from(order + "H", block, start)[0]
    table = block[start + 2 : start + 2 + 12 * entries]
    table = table[: len(table) // 12 * 12]  # a table that is cut off: the whole entries of it
    for tag, kind, count, content in struct.iter_unpack(order + "HHI4s", table):
        if tag == _TAG and kind in _VALUES and count == 1:
            return int(struct.unpack_from(order + _VALUES[kind], content)[0])
    return None


def _from_xmp(info: Mapping[Any, Any]) -> int | None:
    text = info.get("XML:com.adobe.xmp") or info.get("xmp") or b""
    found = _XMP.search(text.encode(errors="replace") if isinstance(text, str) else text)
    return int(found[1]) if found else None
