"""The same policy written once more, plainly: whole-file Pillow calls and NumPy arithmetic. An oracle for the tests.

Run as a script it records the hashes that test_bad_inputs.py compares with:
    python tests/image/pillow_reference.py ../shared/data/bad-inputs
"""

import csv
import hashlib
import io
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, features

RECORD = Path(__file__).with_name("expected_pixels.csv")
COLUMNS = ("file", "format", "height", "width", "sha256")
MAGIC = {b"\xff\xd8\xff": "JPEG", b"\x89PNG\r\n\x1a\n": "PNG", b"RIFF": "WEBP"}


def versions() -> str:
    """Everything that a decoded pixel may depend on."""
    jpeg, webp = features.version("libjpeg_turbo"), features.version("webp")
    return f"# pillow {Image.__version__}, libjpeg-turbo {jpeg}, webp {webp}"


def reference(data: bytes) -> np.ndarray | None:
    """(H, W, 3) uint8 of a JPEG, PNG or WebP that Pillow can load whole within the limits, else None."""
    name = next((name for magic, name in MAGIC.items() if data.startswith(magic)), None)
    if name is None or len(data) > 20 * 2**20:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(data), formats=[name])
            if image.width * image.height > 50_000_000 or max(image.size) > 30_000:
                return None
            image.load()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            return None
        return to_rgb(ImageOps.exif_transpose(image))


def to_rgb(image: Image.Image) -> np.ndarray:
    if image.mode == "I;16":
        values = np.asarray(image).astype(int)
        grey = values // 256
        grey[values == image.info.get("transparency", -1)] = 255
        return np.stack([grey] * 3, axis=2).astype(np.uint8)
    if image.mode in ("LA", "RGBA") or "transparency" in image.info:
        values = np.asarray(image.convert("RGBA")).astype(int)
        colour, alpha = values[..., :3], values[..., 3:]
        return np.rint((colour * alpha + 255 * (255 - alpha)) / 255).astype(np.uint8)
    return np.asarray(image.convert("RGB"))


def record(folder: Path) -> None:
    from verydeep.errors import ImageError
    from verydeep.image import read_image

    with RECORD.open("w", newline="") as file:
        file.write(versions() + "\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)
        for path in sorted((folder / "files").rglob("*")):
            if not path.is_file():
                continue
            expected = reference(path.read_bytes())
            try:
                pixels = read_image(path)
            except ImageError:
                assert expected is None, path
                continue
            assert expected is not None, path
            assert np.array_equal(pixels, expected), path
            table.writerow((path.relative_to(folder).as_posix(), *describe(path, pixels)))


def describe(path: Path, pixels: np.ndarray) -> tuple[str, int, int, str]:
    start = path.read_bytes()[:16]
    name = next(name for magic, name in MAGIC.items() if start.startswith(magic))
    return name, pixels.shape[0], pixels.shape[1], hashlib.sha256(pixels.tobytes()).hexdigest()


if __name__ == "__main__":
    record(Path(sys.argv[1]))
