"""Thousands of damaged files, drawn by seed: each decodes or gives one ImageError, whatever was damaged."""

import io
import random
import re
import time
import zlib

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import ImageError
from verydeep.image import ALL_FORMATS, decode

FILES = 4000
SECONDS = 10


def seeds() -> list[bytes]:
    """Small files of all formats, modes and encoders' options."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
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
        "JPEG": [{}, {"progressive": True}, {"exif": exif}, {"icc_profile": bytes(200)}],
        "PNG": [{}, {"exif": exif}, {"transparency": 3}],
        "WEBP": [{}, {"lossless": True}, {"exif": exif}],
        "TIFF": [{}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}, {"compression": "tiff_adobe_deflate"}],
        "MPO": [{"save_all": True, "append_images": [colour]}],
        "GIF": [{}, {"save_all": True, "append_images": [colour.quantize(5)]}],
    }
    files = []
    for name, images in pictures.items():
        for image in images:
            for chosen in options.get(name, [{}]):
                if "transparency" in chosen and image.mode not in ("L", "P"):
                    continue
                if chosen.get("compression") == "jpeg" and image.mode == "RGBA":
                    continue
                file = io.BytesIO()
                image.save(file, name, **chosen)
                files.append(file.getvalue())
    return files


def mutate(data: bytes, chance: random.Random) -> bytes:
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
    return with_checksums(bytes(changed)) if chance.random() < 0.7 else bytes(changed)


def with_checksums(data: bytes) -> bytes:
    """A PNG whose chunks have the right checksums again, so that damage gets past them."""
    for found in re.finditer(rb"....(IHDR|IDAT|PLTE|tRNS|eXIf|iCCP)", data, re.DOTALL):
        start, length = found.start(1), int.from_bytes(found[0][:4], "big")
        end = start + 4 + length
        if end + 4 <= len(data):
            data = data[:end] + zlib.crc32(data[start:end]).to_bytes(4, "big") + data[end + 4 :]
    return data


def test_every_seed_decodes():
    assert len(seeds()) >= 50
    for number, data in enumerate(seeds()):
        assert sorted(decode(data, str(number), formats=ALL_FORMATS).shape) == [3, 20, 24]


def attempt(data: bytes, name: str) -> str | None:
    try:
        decode(data, name, formats=ALL_FORMATS)
    except ImageError as error:
        return error.message
    return None


@pytest.mark.slow
def test_a_damaged_file_decodes_or_gives_one_error_that_names_it():
    originals, chance, end = seeds(), random.Random(1), time.monotonic() + SECONDS
    messages = []
    for number in range(FILES):
        message = attempt(mutate(chance.choice(originals), chance), f"file {number}.jpg")
        assert message is None or (f"file {number}.jpg" in message and message.isprintable())
        messages.append(message)
        if time.monotonic() > end:
            break
    refused = len([message for message in messages if message])
    assert 0.1 < refused / len(messages) < 0.9  # the damage is neither too rough to get far nor too mild to be seen
