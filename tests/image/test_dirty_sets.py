"""What is known to be odd in data sets that everybody uses: all of it is read, and read right; halves are refused."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from faults import plant
from PIL import Image, ImageFile
from pillow_reference import reference
from test_orientation import exif

from verydeep.errors import ImageError
from verydeep.image import read_image


def saved(image: Image.Image, name: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def cmyk(inks: np.ndarray) -> bytes:
    """inks: (H, W, 4) uint8. As Adobe writes it, inverted."""
    return saved(Image.fromarray(inks, "CMYK"), "JPEG", quality=95)


def ycck(inks: np.ndarray) -> bytes:
    """The same with the first three turned into luma and chroma, which Pillow reads and does not write."""
    luma_chroma = np.asarray(Image.fromarray(np.ascontiguousarray(inks[..., :3])).convert("YCbCr"))
    data = cmyk(np.dstack([255 - luma_chroma, inks[..., 3]]))
    before, mark, after = data.partition(b"Adobe")
    assert after[6] == 0  # the transform: none
    return before + mark + after[:6] + b"\2" + after[7:]


def bad_exif() -> dict[str, bytes]:
    """What a block of EXIF has been seen to hold; each but the last says nothing about the orientation."""
    orientation = (274, 3, 1, struct.pack("<HH", 3, 0))
    return {
        "none of it": b"Exif\0\0",
        "garbage": b"Exif\0\0" + bytes(range(256)),
        "cut off": b"Exif\0\0" + exif([orientation])[:14],
        "an offset into nowhere": b"Exif\0\0II*\0\xff\xff\xff\x7f",
        "a text of 4 GiB": b"Exif\0\0" + exif([(305, 2, 2**32 - 1, struct.pack("<I", 8))]),
        "a table that contains itself": b"Exif\0\0" + exif([(0x8769, 4, 1, struct.pack("<I", 8))]),
        "an orientation of 0": b"Exif\0\0" + exif([(274, 3, 1, bytes(4))]),
        "an unknown byte order": b"Exif\0\0" + b"XX" + exif([orientation])[2:],
        "half a turn": b"Exif\0\0" + exif([(40961, 99, 7, bytes(4)), orientation]),
    }


def replicas(seed: int) -> dict[str, tuple[bytes, np.ndarray]]:
    """File -> its bytes, and the picture in it: flat squares, which JPEG keeps but for rounding."""
    random = np.random.default_rng(seed)
    height, width = random.integers(2, 6, 2)

    def squares(channels: int) -> np.ndarray:
        coarse = random.integers(0, 256, (height, width, channels), np.uint8)
        return np.ascontiguousarray(coarse.repeat(16, axis=0).repeat(16, axis=1))

    picture = squares(3)
    files = {"n02105855_2933.JPEG": (saved(Image.fromarray(picture), "PNG"), picture)}
    for number in range(22):
        inks = squares(4)
        printed = (255.0 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
        files[f"n0{number}_cmyk.JPEG"] = ((ycck if number % 2 else cmyk)(inks), printed)
    for number, (name, block) in enumerate(bad_exif().items()):
        picture = squares(3)
        data = saved(Image.fromarray(picture), "JPEG", quality=95, subsampling=0, exif=block)
        files[f"n1{number}_exif.JPEG"] = (data, picture[::-1, ::-1] if name == "half a turn" else picture)
    return files


@pytest.mark.soak(
    "D6",
    goal="ImageNet's PNG named .JPEG and 22 CMYK photos, and bad EXIF: all read, and right; cut off: refused",
    here="100 replicas of each of these 32, and each cut off in its middle",
)
@pytest.mark.parametrize("fault", ["", "format by name", "filled with grey"])
def test_the_odd_photos_of_known_data_sets_are_read_right(tmp_path: Path, amount, measured, fault, monkeypatch):
    plant(fault, monkeypatch.setattr)
    right, refused, number = 0, 0, amount(2, 100)
    for seed in range(number):
        for name, (data, picture) in replicas(seed).items():
            path = tmp_path / name
            path.write_bytes(data)
            right += is_read(path, picture) and np.array_equal(read_image(path), reference(data))
            path.write_bytes(data[: len(data) // 2])
            refused += is_refused(path)
            assert not ImageFile.LOAD_TRUNCATED_IMAGES
    measured(photos=32 * number, right=right, refused_halves=refused)
    assert (right == 32 * number) == (fault != "format by name")
    assert (refused == 32 * number) == (fault != "filled with grey")


def is_read(path: Path, picture: np.ndarray) -> bool:
    try:
        got = read_image(path)
    except ImageError:
        return False
    return got.shape == picture.shape and bool(np.abs(got - picture.astype(float)).max() <= 5)


def is_refused(path: Path) -> bool:
    try:
        read_image(path)
    except ImageError as error:
        return str(path) in error.message
    return False
