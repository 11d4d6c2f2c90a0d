"""What a test breaks in the decoding of photos, so that it can show that it would notice.

"OSErrors only"      Pillow's other exceptions get through
"no name"            an error does not say which file it is about
"warnings"           what the libraries warn about is printed
"any format"         whatever Pillow can open is opened
"format by name"     a file is what its name says
"pixels first"       a picture's size is checked after it was decoded
"lying down"         the orientation is passed over
"filled with grey"   half a photo is enough
"no bomb"            the process loses Pillow's own limit
"a filter stays"     the process gets a filter of warnings
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile

from verydeep.errors import ImageError

decoding: Any = importlib.import_module("verydeep.image.decode")  # the module; `verydeep.image.decode` is its function
open_picture = decoding.open_picture


def plant(fault: str = "", put: Callable[[Any, str, Any], None] = setattr) -> None:
    """Breaks the decoding in this process; with `monkeypatch.setattr`, until the end of a test."""
    for name, broken in FAULTS[fault].items():
        put(decoding, name, broken)


@contextlib.contextmanager
def _os_errors_only(name: str, found: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(f"{name} cannot be decoded as {found}.") from error


def _open_late(data: bytes, found: str, name: str, limits: Any) -> ImageFile.ImageFile:
    picture = open_picture(data, found)
    picture.load()
    decoding._check_size(picture.size, name, limits)
    return picture


def _open_truncated(data: bytes, found: str) -> ImageFile.ImageFile:
    picture = open_picture(data, found)
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        picture.load()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    return picture


def _open_unlimited(data: bytes, found: str) -> ImageFile.ImageFile:
    Image.MAX_IMAGE_PIXELS = None
    return open_picture(data, found)


def _open_quietly(data: bytes, found: str) -> ImageFile.ImageFile:
    warnings.simplefilter("ignore", ResourceWarning)
    return open_picture(data, found)


FAULTS: dict[str, dict[str, Any]] = {
    "": {},
    "OSErrors only": {"_as_image_error": _os_errors_only},
    "no name": {"printable": lambda text: "a photo"},
    "warnings": {"silence": lambda data, found: contextlib.nullcontext()},
    "any format": {
        "_accepted_format": lambda data, name, formats: "PNG",
        "open_picture": lambda data, found: Image.open(io.BytesIO(data)),
    },
    "format by name": {
        "_accepted_format": lambda data, name, formats: {".png": "PNG", ".webp": "WebP"}.get(Path(name).suffix, "JPEG")
    },
    "pixels first": {"_open": _open_late},
    "lying down": {"_upright": lambda image, found: image},
    "filled with grey": {"open_picture": _open_truncated},
    "no bomb": {"open_picture": _open_unlimited},
    "a filter stays": {"open_picture": _open_quietly},
}
