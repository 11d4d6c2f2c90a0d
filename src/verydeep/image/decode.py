"""Bytes -> picture: one policy for every photo that enters, in training, evaluation and prediction alike.

formats       JPEG, PNG and WebP, told by the first bytes and never by the name; BMP, GIF, TIFF, HEIC, AVIF on request
limits        file bytes, pixels and the longer side, all checked before a pixel is decoded
frames        the first one of an animation or of a series (MPO)
orientation   the EXIF tag (or XMP's, where EXIF has none) is applied; 0, 9 and other nonsense mean upright
grey          three equal channels; 16 bits become 8 by dropping the lower byte, in grey and in colour
palette       looked up
alpha         composed over white
CMYK, YCCK    to RGB by Pillow's formula, Adobe's inverted values understood
ICC profile   ignored: published accuracies were measured so, and a profile is one more parser for hostile bytes
cut off       refused, never filled with grey

docs/concepts/images.md says why. No switch of Pillow's that holds for the whole process is touched.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from verydeep.errors import ImageError, UsageError, printable
from verydeep.image.orientation import UPRIGHT, orientation
from verydeep.image.readers import READERS, check_scans, detect_format, open_picture, silence
from verydeep.nouns import Photo

PHOTO_FORMATS = ("JPEG", "PNG", "WebP")
ALL_FORMATS = tuple(READERS)

_PNG_MARKS = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")  # of what may hold an orientation
_COLOUR_MODES = ("1", "L", "P", "RGBX", "CMYK", "YCbCr", "HSV")  # what Pillow turns into RGB without a range to guess


@dataclass(frozen=True)
class Limits:
    """What a picture may cost. A photo of 50 million pixels takes 0.5 GB while it is decoded."""

    pixels: int = 50_000_000
    side: int = 30_000  # pixels, the longer one
    file_bytes: int = 20 << 20


def read_image(
    path: str | os.PathLike[str] | Photo,
    limits: Limits = Limits(),
    formats: Sequence[str] = PHOTO_FORMATS,
    at_most: int | None = None,
) -> np.ndarray:
    """The photo in a file, or within one, as `decode` returns it. Raises ImageError, also where there is none.

    A file that is too large is refused before it is read; a folder, pipe or device before it is opened.
    """
    return decode(read_file(path, limits), name_of(path), limits, formats, at_most)


def name_of(path: str | os.PathLike[str] | Photo) -> str:
    """What to call a photo in a message: its path, and what more finds it."""
    return os.fspath(path) if isinstance(path, (str, os.PathLike)) else path.name


def read_file(path: str | os.PathLike[str] | Photo, limits: Limits = Limits()) -> bytes:
    """The bytes of a file that may be a photo, neither empty nor larger than `limits`. Raises ImageError."""
    name = name_of(path)
    if not isinstance(path, (str, os.PathLike)):
        data = path.read()
        _check_length(len(data), name, limits)
        return data
    try:
        status = Path(name).stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or a device"
            raise ImageError(f"{printable(name)} is {kind}; expected a photo.", "Name a picture file.")
        _check_length(status.st_size, name, limits)
        with Path(name).open("rb") as file:
            data = file.read(limits.file_bytes + 1)  # the file may have grown since
    except ImageError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"{printable(name)} cannot be read: {reason}.", "Check path and permissions.") from error
    _check_length(len(data), name, limits)
    return data


def decode(
    data: bytes,
    name: str,
    limits: Limits = Limits(),
    formats: Sequence[str] = PHOTO_FORMATS,
    at_most: int | None = None,
) -> np.ndarray:
    """A photo as (H, W, 3) uint8 RGB, upright, read-only. Safe to call from many threads.

    name: what to call the photo in errors, usually its path. formats: those of ALL_FORMATS that are accepted.
    at_most: pixels; a larger picture is reduced so that this is its shorter side, by the filter of `preprocess`. A JPEG
    is decoded at a half, a quarter or an eighth of its size before, where that is still enough: its decoder does so in
    a fraction of the time ("draft"). `limits` are about the size in the file.
    Raises ImageError on any bytes that are not a whole picture within `limits`, and UsageError on an unknown format.
    """
    _check_length(len(data), name, limits)
    found = _accepted_format(data, name, formats)
    with _as_image_error(name, found), silence(data, found):
        picture = _open(data, found, name, limits)
        drafted = picture.draft(None, (at_most, at_most)) if found == "JPEG" and at_most is not None else None
        picture.load()
        image = _rgb(picture, name)
        if at_most is not None:
            image = _reduced(image, drafted[1] if drafted else (0, 0, *image.size), at_most)
        return np.asarray(_upright(image, found))


def stored_size(data: bytes, name: str) -> tuple[int, int]:
    """The width and height in a photo's header, before it is turned upright; no pixel is decoded. Raises ImageError."""
    found = _accepted_format(data, name, PHOTO_FORMATS)
    with _as_image_error(name, found), silence(data, found):
        return _open(data, found, name, Limits()).size


def stored_orientation(data: bytes, name: str) -> int:
    """How a photo is stored: 1 upright, 2 to 8 as in `orientation.UPRIGHT`. Raises ImageError."""
    found = _accepted_format(data, name, PHOTO_FORMATS)
    with _as_image_error(name, found), silence(data, found):
        picture = _open(data, found, name, Limits())
        if found == "PNG" and any(mark in data for mark in _PNG_MARKS):  # which may follow the pixels
            picture.load()
        return orientation(picture.info)


def upright_size(data: bytes, name: str) -> tuple[int, int]:
    """The width and height of a photo as `decode` returns it. Raises ImageError."""
    width, height = stored_size(data, name)
    return (height, width) if stored_orientation(data, name) > 4 else (width, height)


def decode_numbers(data: bytes, name: str, limits: Limits = Limits()) -> np.ndarray:
    """What the pixels of a PNG hold, (H, W) uint8, upright, read-only: positions in its palette, or grey as stored.

    Grey of two bits is 0 to 3. Raises ImageError, also on colour, transparency and 16 bits.
    """
    _check_length(len(data), name, limits)
    found = _accepted_format(data, name, ("PNG",))
    with _as_image_error(name, found), silence(data, found):
        picture = _open(data, found, name, limits)
        if picture.mode not in ("1", "L", "P"):
            raise ImageError(
                f"{printable(name)} has pixels of the kind {picture.mode}; expected a number of 8 bits in each.",
                "Save it as a PNG of class numbers, grey or with a palette.",
            )
        picture.load()
        numbers = np.asarray(_upright(picture, found)).astype(np.uint8)
    bits, kind = data[24], data[25]  # of the header: 8 signature, 4 length, 4 name, 4 width, 4 height
    if kind == 0 and bits in (2, 4):  # Pillow spreads grey over 0 to 255
        numbers //= 255 // (2**bits - 1)
    numbers.flags.writeable = False
    return numbers


def is_colored(data: bytes, name: str) -> bool:
    """Whether a PNG's pixels are colours, not numbers that `decode_numbers` reads. Raises ImageError."""
    found = _accepted_format(data, name, ("PNG",))
    with _as_image_error(name, found), silence(data, found):
        return _open(data, found, name, Limits()).mode in ("RGB", "RGBA")


def _open(data: bytes, found: str, name: str, limits: Limits) -> ImageFile:
    """The picture, not yet decoded, and found to be no bomb."""
    picture = open_picture(data, found)
    _check_size(picture.size, name, limits)
    if found == "JPEG":
        check_scans(data, picture.size)
    return picture


@contextmanager
def _as_image_error(name: str, found: str) -> Iterator[None]:
    """Whatever Pillow raises while it opens and decodes, as one ImageError."""
    try:
        yield
    except ImageError:
        raise
    except ImportError as error:
        raise ImageError(
            f"{printable(name)} is {_a(found)} picture, whose decoder is not installed.",
            "Install it: pip install 'verydeep[heif]'",
        ) from error
    except Exception as error:  # Pillow's readers raise a dozen classes, from OSError to SyntaxError
        raise ImageError(
            f"{printable(name)} cannot be decoded as {found}: {_reason(error)}.",
            "Get the file again, or open it in an image viewer and save it anew.",
        ) from error


def from_pillow(picture: Image.Image, limits: Limits = Limits()) -> np.ndarray:
    """A picture that Pillow has opened, by the same policy: (H, W, 3) uint8 RGB, upright. Raises ImageError."""
    name = "the Pillow image given"
    _check_size(picture.size, name, limits)
    try:
        picture.load()  # one that was opened lazily is decoded here
        return np.asarray(_upright(_rgb(picture, name), picture.format or ""))
    except ImageError:
        raise
    except Exception as error:
        raise ImageError(f"{name} cannot be decoded: {_reason(error)}.", "Get the file again.") from error


def _check_length(length: int, name: str, limits: Limits) -> None:
    if length == 0:
        raise ImageError(f"{printable(name)} is empty; expected a photo.", "Get the file again.")
    if length > limits.file_bytes:
        raise ImageError(
            f"{printable(name)} is larger than the limit of {limits.file_bytes:,} bytes.", "Save it smaller."
        )


def _accepted_format(data: bytes, name: str, formats: Sequence[str]) -> str:
    unknown = [wanted for wanted in formats if wanted not in READERS]
    if unknown or not formats:
        raise UsageError(f"unknown picture formats {unknown}.", f"Choose some of {', '.join(ALL_FORMATS)}.")
    found = detect_format(data)
    if found is None:
        raise ImageError(
            f"{printable(name)} is not a picture: its first bytes are {data[:16]!r}.",
            f"Accepted: {', '.join(formats)}.",
        )
    if found not in formats:
        raise ImageError(
            f"{printable(name)} is {_a(found)} picture; accepted are {', '.join(formats)}.",
            "Convert it to one of these.",
        )
    return found


def _check_size(size: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size
    if width * height > limits.pixels or max(size) > limits.side:
        raise ImageError(
            f"{printable(name)} has {width:,} x {height:,} pixels; the limit is {limits.pixels:,} pixels "
            f"and {limits.side:,} a side.",
            "Save it smaller.",
        )


def _rgb(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith("I;16"):
        return _from_16_bits(picture)
    if picture.has_transparency_data:
        return _over_white(picture.convert("RGBA"))
    if picture.mode in _COLOUR_MODES:
        return picture.convert("RGB")
    raise ImageError(
        f"{printable(name)} has pixels of the kind {picture.mode}; expected grey, RGB or CMYK of 8 or 16 bits.",
        "Convert it to an 8-bit RGB picture.",
    )


def _from_16_bits(picture: Image.Image) -> Image.Image:
    """Grey of 16 bits to RGB of 8; Pillow's own conversion clips to 255 instead. The transparent grey becomes white."""
    values = np.asarray(picture)
    grey = (values >> 8).astype(np.uint8)
    if "transparency" in picture.info:
        grey[values == picture.info["transparency"]] = 255
    image = Image.fromarray(grey).convert("RGB")
    image.info = picture.info
    return image


def _over_white(picture: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", picture.size, "white")
    canvas.paste(picture, mask=picture)
    canvas.info = picture.info
    return canvas


def _reduced(image: Image.Image, box: tuple[float, float, float, float], shorter: int) -> Image.Image:
    """The part of the image in `box`, reduced if it is larger.

    Of a JPEG of 801 pixels decoded at an eighth, the 101st pixel is only an eighth of one: `box` ends there.
    """
    width, height = box[2:]
    if min(width, height) < shorter:
        return image
    size = (int(shorter * width // min(width, height)), int(shorter * height // min(width, height)))
    if min(width, height) == shorter:  # no pixel is resampled without need
        return image.crop((0, 0, *size))
    return image.resize(size, Image.Resampling.BILINEAR, box=box)


def _upright(image: Image.Image, found: str) -> Image.Image:
    if found == "TIFF":  # Pillow has turned it while loading
        return image
    method = UPRIGHT.get(orientation(image.info))
    return image if method is None else image.transpose(method)


def _reason(error: Exception) -> str:
    return printable(str(error) or type(error).__name__)[:200].rstrip(".")


def _a(found: str) -> str:
    return f"an {found}" if found in ("HEIC", "AVIF") else f"a {found}"
