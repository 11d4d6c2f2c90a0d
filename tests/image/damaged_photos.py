"""Decodes damaged files, each drawn by its number, in a process of their own, and prints what came of them as JSON.

    python tests/image/damaged_photos.py FIRST STEP FILES SECONDS [FAULT]

The files are number FIRST, FIRST + STEP, ... of all FILES, as far as they come in SECONDS. The same number is the same
file, on every machine with the same libraries.
"""

import io
import json
import random
import re
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Iterator

import numpy as np
from faults import plant
from PIL import Image

from verydeep.errors import ImageError
from verydeep.image import ALL_FORMATS, decode

SIDES = (24, 20)  # height and width


def seeds() -> list[bytes]:
    """Small files of all formats, modes and encoders' options."""
    return [*_saved(), _interlaced_png()]


def _saved() -> Iterator[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (*SIDES, 4), dtype=np.uint8)
    colour = Image.fromarray(pixels[..., :3])
    exif = Image.Exif()
    exif[0x0112] = 6
    pictures = {
        "JPEG": [colour, colour.convert("L"), colour.convert("CMYK")],
        "PNG": [colour, colour.convert("L"), colour.convert("1"), colour.quantize(9), Image.fromarray(pixels),
                Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)],
        "WEBP": [colour, Image.fromarray(pixels)],
        "GIF": [colour.quantize(9)],
        "BMP": [colour, colour.quantize(9), colour.convert("1")],
        "TIFF": [colour, Image.fromarray(pixels), colour.convert("CMYK")],
        "MPO": [colour],
        "AVIF": [colour],
    }  # fmt: skip
    options: dict[str, list[dict]] = {
        "JPEG": [{}, {"progressive": True}, {"restart_marker_blocks": 1}, {"exif": exif}, {"icc_profile": bytes(200)}],
        "PNG": [{}, {"exif": exif}, {"transparency": 3}, {"icc_profile": bytes(200)}],
        "WEBP": [{}, {"lossless": True}, {"exif": exif}, {"icc_profile": bytes(200)}],
        "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"}],
        "MPO": [{"save_all": True, "append_images": [colour]}],
        "GIF": [{}, {"save_all": True, "append_images": [colour.quantize(5)]}],
    }
    for name, images in pictures.items():
        for image in images:
            for chosen in options.get(name, [{}]):
                if "transparency" in chosen and image.mode not in ("L", "P"):
                    continue
                if chosen.get("compression") == "jpeg" and image.mode == "RGBA":
                    continue
                file = io.BytesIO()
                image.save(file, name, **chosen)
                yield file.getvalue()


def _interlaced_png() -> bytes:
    """Which Pillow reads and does not write: seven passes, each of more pixels."""
    grey = np.random.default_rng(1).integers(0, 256, SIDES, dtype=np.uint8)
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = b"".join(b"\0" + row.tobytes() for y, x, down, right in passes for row in grey[y::down, x::right])
    header = struct.pack(">IIBBBBB", SIDES[1], SIDES[0], 8, 0, 0, 0, 1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def chunk(name: bytes, content: bytes) -> bytes:
    """Of a PNG."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def mutated(originals: list[bytes], number: int) -> bytes:
    """The damaged file of that number."""
    chance = random.Random(number)
    return _mutate(chance.choice(originals), chance)


def _mutate(data: bytes, chance: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 5, 20))):
        place = chance.randrange(len(changed))
        match chance.randrange(6):
            case 0:
                changed[place] ^= 1 << chance.randrange(8)
            case 1:
                changed[place] = chance.choice((0, 1, 127, 128, 255))
            case 2:
                changed[place : place + 4] = chance.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff"))
            case 3:
                del changed[place : place + chance.randrange(1, 40)]
            case 4:
                changed[place:place] = changed[place : place + chance.randrange(1, 40)]
            case 5:
                changed[place:] = b"" if chance.random() < 0.3 else changed[place:]
        if not changed:
            return b"\0"
    return _with_checksums(bytes(changed)) if chance.random() < 0.7 else bytes(changed)


def _with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, so that damage gets past them."""
    for found in re.finditer(rb"....(IHDR|IDAT|PLTE|tRNS|eXIf|iCCP)", data, re.DOTALL):
        start, length = found.start(1), int.from_bytes(found[0][:4], "big")
        end = start + 4 + length
        if end + 4 <= len(data):
            data = data[:end] + zlib.crc32(data[start:end]).to_bytes(4, "big") + data[end + 4 :]
    return data


def main(first: int, step: int, files: int, seconds: float) -> None:
    originals, end = seeds(), time.monotonic() + seconds
    counts = Counter(dict.fromkeys(("files", "refused", "nameless", "foreign"), 0))
    slowest, examples = 0.0, []
    for number in range(first, files, step):
        data, name, start = mutated(originals, number), f"file {number}.jpg", time.perf_counter()
        counts["files"] += 1
        try:
            decode(data, name, formats=ALL_FORMATS)
        except ImageError as error:
            counts["refused"] += 1
            counts["nameless"] += not (name in error.message and error.message.isprintable())
        except Exception as error:
            counts["foreign"] += 1
            examples.append(f"{number}: {error!r}")
        slowest = max(slowest, time.perf_counter() - start)
        if time.monotonic() > end:
            break
    print(json.dumps({**counts, "slowest": slowest, "examples": examples[:10]}))


if __name__ == "__main__":
    plant(*sys.argv[5:])
    main(*map(int, sys.argv[1:5]))
