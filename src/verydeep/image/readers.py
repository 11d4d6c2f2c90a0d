"""The formats: told by a file's first bytes, and each opened by one class of Pillow that may see those bytes.

`PIL.Image.open` would try more: it follows the extension, imports plugins of formats nobody asked for, takes some
JPEG files for another format (MPO) and prints warnings. Opening reads the header, not the pixels.
"""

import ctypes
import importlib
import io
import logging
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from PIL import Image, _imaging
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

READERS = {
    "JPEG": "verydeep.image.readers:JpegReader",
    "PNG": "PIL.PngImagePlugin:PngImageFile",
    "WebP": "PIL.WebPImagePlugin:WebPImageFile",
    "BMP": "PIL.BmpImagePlugin:BmpImageFile",
    "GIF": "PIL.GifImagePlugin:GifImageFile",
    "TIFF": "PIL.TiffImagePlugin:TiffImageFile",
    "HEIC": "pillow_heif:HeifImageFile",
    "AVIF": "PIL.AvifImagePlugin:AvifImageFile",
}
_MAGIC = {
    "JPEG": rb"\xff\xd8\xff",
    "PNG": rb"\x89PNG\r\n\x1a\n",
    "WebP": rb"RIFF....WEBP",
    "BMP": rb"BM",
    "GIF": rb"GIF8[79]a",
    "TIFF": rb"II[*+]\0|MM\0[*+]",
    # The brand of an ISO media file, or one of those that it says it is compatible with.
    "AVIF": rb"....ftyp(?:avi[fs]|mi[af]1.{4}(?:.{4}){0,8}?avi[fs])",
    "HEIC": rb"....ftyp(?:he[iv][cxms]|mi[af]1.{4}(?:.{4}){0,8}?he[iv][cxms])",
}
_PATTERNS = {name: re.compile(magic, re.DOTALL) for name, magic in _MAGIC.items()}
_MAX_HEADER_READS = 3_000  # Pillow reads a header block by block; 20 MiB in the largest blocks of a JPEG take 1,300
_MAX_READS = 50_000  # of the whole file
_MAX_CHUNKS = 10_000  # of a PNG; encoders write 8 KiB of pixels in each, so that 20 MiB have 2,600
_MAX_PACKED_TEXTS = 24  # Pillow unpacks each to 1 MiB at most
_MAX_RESOURCES = 10_000  # Photoshop writes fewer than a hundred into a JPEG
_MAX_SCAN_PIXELS = 2_000_000_000  # about a second; 50 million pixels in 40 scans, where progressive photos have 10
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")  # its mark, length, number of components


class BombError(Exception):
    """A file built to cost more than a picture of its size should."""


def detect_format(data: bytes) -> str | None:
    """The format that the first bytes announce, whatever the file is called; None for an unknown one."""
    return next((name for name, pattern in _PATTERNS.items() if pattern.match(data)), None)


def open_picture(data: bytes, name: str) -> ImageFile:
    """Opens `data` by the reader of the format `name`; size, mode and metadata are read, pixels are not.

    Raises whatever Pillow raises (a dozen classes), BombError, or ImportError where the reader is not installed.
    """
    if name == "PNG":
        _check_chunks(data)
    if name == "JPEG" and data.count(b"8BIM") > _MAX_RESOURCES:
        raise BombError(f"more than {_MAX_RESOURCES:,} resources of Photoshop")
    module, _, reader = READERS[name].partition(":")
    file = _MeteredBytes(data)
    picture: ImageFile = getattr(importlib.import_module(module), reader)(file)
    file.most = _MAX_READS
    return picture


def _check_chunks(data: bytes) -> None:
    """Raises BombError on a PNG with too many chunks: Pillow takes 25 times as long as this loop to pass over one."""
    start, texts = 8, 0  # after the signature
    for _ in range(_MAX_CHUNKS):
        kind = data[start + 4 : start + 8]
        if kind in (b"", b"IEND"):
            return
        texts += kind in (b"zTXt", b"iTXt")
        if texts > _MAX_PACKED_TEXTS:
            raise BombError(f"more than {_MAX_PACKED_TEXTS} compressed texts")
        start += 12 + int.from_bytes(data[start : start + 4], "big")  # length, name and checksum around the content
    raise BombError(f"more than {_MAX_CHUNKS:,} chunks")


def check_scans(data: bytes, size: tuple[int, int]) -> None:
    """Raises BombError on a JPEG whose pixels would be passed over too often: a scan of 40 bytes can hold them all."""
    if len(_SCAN.findall(data)) * size[0] * size[1] > _MAX_SCAN_PIXELS:
        raise BombError("too many scans for its size")


@contextmanager
def silence(data: bytes, name: str) -> Iterator[None]:
    """Around opening and loading: nothing that Pillow warns about reaches the program that uses verydeep.

    Warnings filters and libtiff's printing of errors belong to the whole process, so they are touched only for the
    files that need it, and by one thread at a time: TIFF, HEIC and AVIF warn about tags, GIF about its size, PNG
    about animations.
    """
    if name in ("TIFF", "HEIC", "AVIF", "GIF") or (name == "PNG" and b"acTL" in data):
        with _one_at_a_time, warnings.catch_warnings(), _silent_libtiff():
            warnings.filterwarnings("ignore", module=r"(PIL|pillow_heif)\b")
            yield
    else:
        yield


def _libtiff_handler_setter() -> Any:
    """libtiff's function that takes the address of a handler and returns the one before, or None."""
    with suppress(OSError):
        if found := getattr(ctypes.CDLL(_imaging.__file__), "TIFFSetErrorHandler", None):
            found.argtypes, found.restype = [ctypes.c_void_p], ctypes.c_void_p
            return found
    return None  # where libtiff is linked into Pillow statically, its printing stays


_one_at_a_time = threading.Lock()
_set_libtiff_handler = _libtiff_handler_setter()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors go to stderr where no logging is set up


@contextmanager
def _silent_libtiff() -> Iterator[None]:
    """libtiff prints its errors to stderr on its own, besides returning them, unless its handler is taken away."""
    if _set_libtiff_handler is None:
        yield
        return
    handler = _set_libtiff_handler(None)
    try:
        yield
    finally:
        _set_libtiff_handler(handler)


class JpegReader(JpegImageFile):
    """Pillow's JPEG reader, blind to EXIF: it would parse all of it for the dots per inch, and warn about the rest."""

    def getexif(self) -> Image.Exif:
        return Image.Exif()


class _MeteredBytes(io.BytesIO):
    """The bytes of a file for a limited number of reads: a header in millions of tiny blocks fills the memory, too."""

    reads = 0
    most = _MAX_HEADER_READS

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > self.most:
            raise BombError("a header of too many blocks")
        return super().read(size)
