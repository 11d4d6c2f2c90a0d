"""Small files built to fill the memory or the clock: refused from their header, or handled, within 32 MiB."""

import functools
import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged_photos import chunk
from PIL import Image
from test_bad_inputs import run_worker

from verydeep.errors import ImageError
from verydeep.image import Limits, decode
from verydeep.image.readers import BombError, check_scans

LIMIT_MIB = 32


@functools.cache
def packed(length: int) -> bytes:
    return zlib.compress(bytes(length))


def png(
    width: int = 2, height: int = 2, before: bytes = b"", after: bytes = b"", kind: tuple[int, int] = (8, 0)
) -> bytes:
    """kind: bits and colour type."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind, 0, 0, 0))
    rows = packed((width + 1) * height if width * height < 1_000_000 else 50_000_000)
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", rows) + after + chunk(b"IEND", b"")


def text(number: int, mebibytes: int) -> bytes:
    return chunk(b"zTXt", b"key%d\0\0" % number + packed(mebibytes << 20))


def jpeg(**options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "JPEG", **options)
    return file.getvalue()


def jpeg_with(segments: bytes) -> bytes:
    data = jpeg()
    return data[:2] + segments + data[2:]


def segment(mark: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, mark, len(content) + 2) + content


def jpeg_of_size(width: int, height: int) -> bytes:
    data = bytearray(jpeg())
    start = data.index(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
    return bytes(data)


def exif_of_overlapping_entries() -> bytes:
    entries = 4000
    table = b"".join(struct.pack("<HHII", tag, 7, 60_000, 8) for tag in range(entries))
    return segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", entries) + table)


def exif_that_contains_itself() -> bytes:
    table = struct.pack("<HHHIII", 1, 0x8769, 4, 1, 8, 8)
    return segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0" + table)


def many_scans() -> bytes:
    file = io.BytesIO()
    Image.new("L", (4000, 4000)).save(file, "JPEG", progressive=True)
    data = file.getvalue()
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 500 + data[-2:]


def webp(*parts: tuple[bytes, bytes]) -> bytes:
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(content)) + content for name, content in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas(side: int, flags: int = 0) -> tuple[bytes, bytes]:
    return b"VP8X", struct.pack("<B3x", flags) + struct.pack("<I", side - 1)[:3] * 2


def webp_of_size(side: int) -> bytes:
    lossless = struct.pack("<BI", 0x2F, (side - 1 & 0x3FFF) | (side - 1 & 0x3FFF) << 14) + bytes(5)
    return webp(webp_canvas(side), (b"VP8L", lossless))


def webp_with(name: bytes, content: bytes, flags: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "WEBP")
    return webp(webp_canvas(64, flags), (name, content), (b"VP8 ", file.getvalue()[20:]))


def animation(name: str) -> bytes:
    file = io.BytesIO()
    frames = [Image.new("L", (800, 800), 5 * number) for number in range(50)]
    frames[0].save(file, name, save_all=True, append_images=frames[1:])
    return file.getvalue()


def gif_comment() -> bytes:
    return b"GIF89a" + struct.pack("<HH3x", 5, 5) + b"!\xfe" + (b"\xff" + bytes(255)) * 80_000 + b"\0;"


def gif_of_size(side: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH3x", 5, 5) + b"," + struct.pack("<HHHHBB", 0, 0, side, side, 0, 2) + b"\0;"


def bmp(width: int, height: int, bits: int = 24, colours: int = 0) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 0, 0, 0, 54, 40, width, height, 1, bits, 0, 0, 0, 0, colours, 0)


def tiff_of_overlapping_entries() -> bytes:
    table = b"".join(struct.pack("<HHII", tag + 300, 7, 700_000, 8) for tag in range(65_000))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 65_000) + table


def tiff_of_size(side: int) -> bytes:
    numbers = {256: side, 257: side, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: side, 279: 1000}
    table = b"".join(struct.pack("<HHII", tag, 4, 1, number) for tag, number in numbers.items())
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(numbers)) + table + bytes(4)


def avif_of_size(side: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), "red").save(file, "AVIF")
    before, box, after = file.getvalue().partition(b"ispe\0\0\0\0")
    return before + box + struct.pack(">II", side, side) + after[8:]


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
    "itxt": (lambda: png(before=chunk(b"iTXt", b"k\0\1\0\0\0" + packed(60 << 20))), "error"),
    "iccp": (lambda: png(before=chunk(b"iCCP", b"k\0\0" + packed(60 << 20))), "error"),
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
    "bmp-30000x30000": (lambda: bmp(30_000, 30_000), "error"),
    "tiff": (tiff_of_overlapping_entries, "error"),
    "png-1-bit-60000x60000": (lambda: png(60_000, 60_000, kind=(1, 0)), "error"),
    "png-16-bit-rgba-7072x7072": (lambda: png(7072, 7072, kind=(16, 6)), "error"),
    "png-30001x1000": (lambda: png(30_001, 1000), "error"),
    "png-0x0": (lambda: png(0, 0), "error"),
    "png-text-of-4-mib": (lambda: png(before=chunk(b"tEXt", b"k\0" + bytes(4 << 20))), "shape"),
    "png-of-9900-texts": (lambda: png(before=chunk(b"tEXt", b"k\0v") * 9900), "error"),
    "25-itxt": (lambda: png(before=chunk(b"iTXt", b"k\0\1\0\0\0" + packed(1 << 20)) * 25), "error"),
    "png-exif-of-4-mib": (lambda: png(before=chunk(b"eXIf", b"MM\0*" + bytes(4 << 20))), "shape"),
    "png-of-a-million-empty-idat": (lambda: png(before=chunk(b"IDAT", b"") * 1_000_000), "error"),
    "png-of-more-pixels-than-it-has": (lambda: png(after=chunk(b"IDAT", packed(50_000_000))), "shape"),
    "apng-of-4-billion-frames": (lambda: png(before=chunk(b"acTL", struct.pack(">II", 2**32 - 1, 0))), "shape"),
    "apng-of-a-million-pieces": (
        lambda: png(before=chunk(b"acTL", struct.pack(">II", 2, 0)), after=chunk(b"fdAT", bytes(4)) * 1_000_000),
        "error",
    ),
    "apng-frame-of-20000x20000": (
        lambda: png(
            before=chunk(b"acTL", struct.pack(">II", 2, 0))
            + chunk(b"fcTL", struct.pack(">5I2H2B", 0, 20_000, 20_000, 0, 0, 1, 1, 0, 0))
        ),
        "error",
    ),
    "png-chunk-of-4-gib": (lambda: png(before=struct.pack(">I", 2**32 - 1) + b"prVt"), "error"),
    "jpeg-progressive-65535x65535": (lambda: jpeg_of_size(65_535, 65_535).replace(b"\xff\xc0", b"\xff\xc2"), "error"),
    "jpeg-30001x1600": (lambda: jpeg_of_size(30_001, 1600), "error"),
    "jpeg-7072x7072": (lambda: jpeg_of_size(7072, 7072), "error"),
    "jpeg-1x65535": (lambda: jpeg_of_size(1, 65_535), "error"),
    "jpeg-of-4-million-comments": (lambda: jpeg_with(segment(0xFE, b"") * 4_000_000), "error"),
    "jpeg-of-200000-tables": (lambda: jpeg_with(segment(0xDB, bytes(65)) * 200_000), "error"),
    "jpeg-of-500000-codes": (lambda: jpeg_with(segment(0xC4, bytes(17)) * 500_000), "error"),
    "jpeg-of-500000-profiles": (lambda: jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1\xff") * 500_000), "error"),
    "jpeg-of-15-mb-between-its-segments": (lambda: jpeg_with(b"\xff" * 15_000_000), "error"),
    "jpeg-of-a-million-resources": (
        lambda: jpeg_with(segment(0xED, b"Photoshop 3.0\0" + b"8BIM\4\4\0\0\0\0\0\0" * 5000) * 200),
        "error",
    ),
    "jpeg-of-4-billion-pictures": (
        lambda: jpeg_with(segment(0xE2, b"MPF\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0xB001, 4, 1, 2**32 - 1))),
        "shape",
    ),
    "exif-in-itself": (lambda: jpeg_with(exif_that_contains_itself()), "shape"),
    "webp-16777216x16777216": (lambda: webp_of_size(1 << 24), "error"),
    "webp-lossy-16383x16383": (
        lambda: webp((b"VP8 ", b"\x30\1\0\x9d\1\x2a" + struct.pack("<HH", 16_383, 16_383) + bytes(100))),
        "error",
    ),
    "webp-animation-8000x8000": (
        lambda: webp(webp_canvas(8000, 2), (b"ANIM", bytes(6)), (b"ANMF", bytes(16) + b"VP8L" + bytes(10))),
        "error",
    ),
    "webp-exif-of-4-mib": (lambda: webp_with(b"EXIF", bytes(4 << 20), 8), "shape"),
    "webp-profile-of-4-mib": (lambda: webp_with(b"ICCP", bytes(4 << 20), 32), "shape"),
    "gif-65535x65535": (lambda: b"GIF89a" + struct.pack("<HH3x", 65_535, 65_535) + gif_of_size(5)[13:], "error"),
    "gif-of-5-million-extensions": (
        lambda: b"GIF89a" + struct.pack("<HH3x", 5, 5) + b"!\xf9\0" * 5_000_000 + b";",
        "error",
    ),
    "bmp-8000x-8000": (lambda: bmp(8000, -8000), "error"),
    "bmp-of-4-billion-colours": (lambda: bmp(8, 8, 8, colours=2**32 - 1), "error"),
    "bmp-1-bit-100000x100000": (lambda: bmp(100_000, 100_000, 1), "error"),
    "png-palette-8000x8000": (lambda: png(8000, 8000, before=chunk(b"PLTE", bytes(768)), kind=(8, 3)), "error"),
    "jpeg-of-500000-sizes": (
        lambda: jpeg_with(segment(0xC0, struct.pack(">BHHB", 8, 64, 64, 1) + b"\1\x11\0") * 500_000),
        "error",
    ),
    "gif-of-5-million-comments": (lambda: b"GIF89a" + bytes(7) + b"!\xfe\0" * 5_000_000 + b";", "error"),
    "tiff-in-itself": (
        lambda: b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 330, 4, 1, 8, 8),
        "error",
    ),
    "tiff-entry-of-4-gib": (
        lambda: b"II*\0\x08\0\0\0\1\0" + struct.pack("<HHIII", 700, 7, 2**32 - 1, 8, 0),
        "error",
    ),
    "avif-65535x65535": (lambda: avif_of_size(65_535), "error"),
    "tiff-7072x7072": (lambda: tiff_of_size(7072), "error"),
    "tiff-4294967295x4294967295": (lambda: tiff_of_size(2**32 - 1), "error"),
    "avif-8000x8000": (lambda: avif_of_size(8000), "error"),
}


NOT_SO_LARGE = ("png-7072x7072", "png-30001x1000")  # what a machine survives when they are decoded


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is read from /proc")
@pytest.mark.soak(
    "D3",
    goal="60 bombs refused, each within 50 ms of computing and 32 MiB",
    here="the same: over 60 bombs, and those that are no more than odd pictures within 1 s",
)
@pytest.mark.parametrize("fault", ["", "pixels first"])
def test_no_bomb_takes_32_mib_or_a_second(tmp_path: Path, amount, measured, fault):
    bombs = {name: BOMBS[name] for name in (NOT_SO_LARGE if fault else BOMBS)}
    for name, (build, _) in bombs.items():
        (tmp_path / name).write_bytes(build())
    outcomes, stderr = run_worker([tmp_path / name for name in bombs], "all", "--measure", "--fault", fault)
    assert stderr == ""
    if not fault:
        assert {Path(o["path"]).name: "shape" if "shape" in o else "error" for o in outcomes} == {
            name: expected for name, (_, expected) in bombs.items()
        }
    refused = [outcome for outcome in outcomes if "error" in outcome]
    too_large = {Path(o["path"]).name: o["extra_mib"] for o in outcomes if o["extra_mib"] > LIMIT_MIB}
    too_slow = {Path(o["path"]).name: o["cpu_seconds"] for o in outcomes if o["cpu_seconds"] > 1}
    slowest = max(outcome["cpu_seconds"] for outcome in refused)
    measured(bombs=len(outcomes), refused=len(refused), slowest_cpu_ms=round(slowest * 1e3, 1))
    measured(most_mib=round(max(outcome["extra_mib"] for outcome in outcomes), 1))
    assert (too_large == {}) == (not fault)
    assert too_slow == {}
    assert slowest < amount(1.0, 0.05)


def test_there_are_sixty_bombs():
    assert sum(expected == "error" for _, expected in BOMBS.values()) >= 60


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
