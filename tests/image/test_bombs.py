"""Small files built to fill the memory or the clock: refused from their header, or handled, within 32 MiB."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from test_bad_inputs import run_worker

from verydeep.errors import ImageError
from verydeep.image import Limits, decode
from verydeep.image.readers import BombError, check_scans

LIMIT_MIB = 32


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(width: int = 2, height: int = 2, before: bytes = b"", after: bytes = b"") -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = (
        zlib.compress(bytes((width + 1) * height)) if width * height < 1_000_000 else zlib.compress(bytes(50_000_000))
    )
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", rows) + after + chunk(b"IEND", b"")


def text(number: int, mebibytes: int) -> bytes:
    return chunk(b"zTXt", b"key%d\0\0" % number + zlib.compress(bytes(mebibytes << 20)))


def jpeg(**options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "JPEG", **options)
    return file.getvalue()


def jpeg_with(segments: bytes) -> bytes:
    data = jpeg()
    return data[:2] + segments + data[2:]


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def exif_of_overlapping_entries() -> bytes:
    entries = 4000
    table = b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(entries))
    block = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + table
    return b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block


def many_scans() -> bytes:
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 500 + data[-2:]


def webp_of_size(side: int) -> bytes:
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0) + struct.pack("<I", side - 1)[:3] * 2
    lossless = b"VP8L" + struct.pack("<IBI", 10, 0x2F, (side - 1) | (side - 1) << 14) + bytes(5)
    return b"RIFF" + struct.pack("<I", 4 + len(extended + lossless)) + b"WEBP" + extended + lossless


def animation(name: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("RGB", (800, 800), (number % 256, 0, 0)) for number in range(50)]
    frames[0].save(file, name, save_all=True, append_images=frames[1:])
    return file.getvalue()


def gif_comment() -> bytes:
    return b"GIF89a" + struct.pack("<HH3x", 5, 5) + b"!\xfe" + (b"\xff" + bytes(255)) * 80_000 + b"\0;"


def gif_of_size(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH3x", 5, 5) + b"," + struct.pack("<HHHHBB", 0, 0, side, side, 0, 2) + b"\0;"


def bmp_of_size(side: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, side, side, 1, 24, 0, 0, 0, 0, 0, 0)


def tiff_of_overlapping_entries() -> bytes:
    table = b"".join(struct.pack("<HHII", tag + 300, 7, 700_000, 8) for tag in range(65_000))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 65_000) + table


# What is built -> whether it is refused ("error") or decoded ("shape").
BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "png-50000x50000": (lambda: png(50_000, 50_000), "error"),
    "png-65535x1": (lambda: png(65_535, 1), "error"),
    "png-1x65535": (lambda: png(1, 65_535), "error"),
    "png-2147483647": (lambda: png(2**31 - 1, 2**31 - 1), "error"),
    "png-7072x7072": (lambda: png(7072, 7072), "error"),  # 13,184 pixels too many
    "png-30000x1": (lambda: png(30_000, 1), "shape"),
    "ztxt-60-mib": (lambda: png(before=text(0, 60)), "error"),
    "ztxt-60-mib-after-the-pixels": (lambda: png(after=text(0, 60)), "error"),
    "64-ztxt-of-1-mib": (lambda: png(before=b"".join(text(n, 1) for n in range(64))), "error"),
    "64-ztxt-after-the-pixels": (lambda: png(after=b"".join(text(n, 1) for n in range(64))), "error"),
    "24-ztxt-of-1-mib": (lambda: png(before=b"".join(text(n, 1) for n in range(24))), "shape"),
    "itxt": (lambda: png(before=chunk(b"iTXt", b"k\0\1\0\0\0" + zlib.compress(bytes(60 << 20)))), "error"),
    "iccp": (lambda: png(before=chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(60 << 20)))), "error"),
    "png-of-a-million-chunks": (lambda: png(before=chunk(b"prVt", b"") * 1_000_000), "error"),
    "png-of-a-million-chunks-after": (lambda: png(after=chunk(b"prVt", b"") * 1_000_000), "error"),
    "apng-of-50-frames": (lambda: animation("PNG"), "shape"),
    "jpeg-65535x65535": (lambda: jpeg_of_size(65_535, 65_535), "error"),
    "jpeg-65535x1": (lambda: jpeg_of_size(65_535, 1), "error"),
    "jpeg-of-2-million-segments": (lambda: jpeg_with(b"\xff\xe5\0\2" * 2_000_000), "error"),
    "jpeg-of-15-mb-of-junk": (lambda: jpeg_with(bytes(15_000_000)), "error"),
    "jpeg-of-500-scans": (many_scans, "error"),
    "exif": (lambda: jpeg_with(exif_of_overlapping_entries()), "shape"),
    "exif-in-100-segments": (lambda: jpeg_with(exif_of_overlapping_entries() * 100), "shape"),
    "webp-16000x16000": (lambda: webp_of_size(16_000), "error"),
    "webp-9000x9000": (lambda: webp_of_size(9_000), "error"),
    "webp-of-50-frames": (lambda: animation("WEBP"), "shape"),
    "gif-of-50-frames": (lambda: animation("GIF"), "shape"),
    "gif-frame-of-12000x12000": (lambda: gif_of_size(12_000), "error"),  # Pillow would warn of it and go on
    "gif-comment-of-20-mb": (gif_comment, "error"),
    "bmp-30000x30000": (lambda: bmp_of_size(30_000), "error"),
    "tiff": (tiff_of_overlapping_entries, "error"),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
def test_no_bomb_takes_32_mib_or_a_second(tmp_path: Path):
    for name, (build, _) in BOMBS.items():
        (tmp_path / name).write_bytes(build())
    outcomes, stderr = run_worker([tmp_path / name for name in BOMBS], "all", "--measure")
    assert stderr == ""
    assert {Path(o["path"]).name: "shape" if "shape" in o else "error" for o in outcomes} == {
        name: expected for name, (_, expected) in BOMBS.items()
    }
    too_large = {Path(o["path"]).name: o["extra_mib"] for o in outcomes if o["extra_mib"] > LIMIT_MIB}
    too_slow = {Path(o["path"]).name: o["cpu_seconds"] for o in outcomes if o["cpu_seconds"] > 1}
    assert too_large == {}
    assert too_slow == {}


def test_a_bomb_is_told_from_its_header(monkeypatch):
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory for the pixels was asked for"))
    for name in ("png-50000x50000", "jpeg-65535x65535", "bmp-30000x30000", "jpeg-65535x1"):
        with pytest.raises(ImageError, match="the limit is 50,000,000 pixels and 30,000 a side"):
            decode(BOMBS[name][0](), name, formats=("PNG", "JPEG", "BMP"))


def test_scans_are_counted_against_the_pixels():
    data = jpeg(progressive=True)  # 10 scans
    check_scans(data, (14_000, 14_000))
    with pytest.raises(BombError):
        check_scans(data, (15_000, 15_000))


def test_limits_do_not_depend_on_pillows_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(ImageError, match="the limit is"):
        decode(png(50_000, 50_000), "bomb")
    with pytest.raises(ImageError, match="the limit is 3 pixels"):
        decode(png(), "small", Limits(pixels=3))
