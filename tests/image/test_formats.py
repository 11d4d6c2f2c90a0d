"""Only the formats that are listed are ever parsed, whatever a file is called and whatever Pillow could read."""

import io
from pathlib import Path

import pytest
from PIL import Image
from test_bad_inputs import run_worker

from verydeep.errors import ImageError
from verydeep.image import ALL_FORMATS, decode

pytestmark = pytest.mark.filterwarnings("ignore:.* image format is deprecated")  # Pillow's of some of them
PHOTO = Image.new("RGB", (32, 32), "red")
ACCEPTED = {"JPEG", "PNG", "WEBP", "MPO"}  # MPO: a series of JPEGs
ON_REQUEST = {"BMP", "GIF", "TIFF", "AVIF"}
STARTS = {  # of the formats that Pillow reads and does not write
    "BUFR": b"BUFR", "CUR": b"\0\0\2\0\1\0", "DCX": b"\xb1\x68\xde\x3a", "FITS": b"SIMPLE  =                    T",
    "FLI": bytes(4) + b"\x11\xaf\1\0", "FTEX": b"FTEX", "GBR": b"\0\0\0\x1c\0\0\0\2", "GRIB": b"GRIB\0\0\0\1",
    "HDF5": b"\x89HDF\r\n\x1a\n", "IMT": b"width 32\nheight 32\n\x0c", "IPTC": b"\x1c\x03\x14\0\2",
    "MCIDAS": bytes(7) + b"\4", "MPEG": b"\0\0\1\xb3\2\0\x20", "PCD": bytes(2048) + b"PCD_", "PIXAR": b"\x80\xe8\0\0",
    "PSD": b"8BPS\0\1", "SUN": b"\x59\xa6\x6a\x95", "WMF": b"\xd7\xcd\xc6\x9a\0\0", "XPM": b"/* XPM */",
    "XVTHUMB": b"P7 332",
}  # fmt: skip


def corpus() -> dict[str, bytes]:
    """Format -> a file of it."""
    Image.init()
    files = {name: start + bytes(1000) for name, start in STARTS.items()}
    for name in sorted(set(Image.SAVE) - set(STARTS)):
        mode = {"BLP": "P", "MSP": "1", "PALM": "P", "XBM": "1"}.get(name, "RGB")
        options = {"save_all": True, "append_images": [Image.new("RGB", (32, 32), "blue")]} if name == "MPO" else {}
        file = io.BytesIO()
        PHOTO.convert(mode).save(file, name, **options)
        files[name] = file.getvalue()
    return files


@pytest.mark.soak(
    "D2",
    goal="the 43 formats of Pillow, named .jpg: all but ours refused within 5 ms, their plugins not imported",
    here="the same, 100 times, in a fresh process",
)
@pytest.mark.parametrize("fault", ["", "any format"])
def test_no_other_format_is_parsed_though_its_name_says_jpg(tmp_path, amount, measured, fault):
    files = corpus()
    assert len(files) >= 43
    for name, data in files.items():
        (tmp_path / f"{name}.jpg").write_bytes(data)
    paths = [tmp_path / f"{name}.jpg" for name in files] * amount(1, 100)
    outcomes, _ = run_worker(paths, "photo", "--fault", fault)
    plugins = outcomes.pop()["plugins"]
    read = {Path(outcome["path"]).stem for outcome in outcomes if "shape" in outcome}
    refused = [outcome for outcome in outcomes if "error" in outcome]
    slowest = max(outcome["cpu_seconds"] for outcome in refused)
    measured(formats=len(files), refused=len({one["path"] for one in refused}), files=len(paths))
    measured(slowest_cpu_ms=round(slowest * 1e3, 2))
    expected = ["PIL.JpegImagePlugin", "PIL.PngImagePlugin", "PIL.WebPImagePlugin"]
    assert (read == ACCEPTED, plugins == expected) == (not fault, not fault)
    if not fault:
        assert len(refused) + len(ACCEPTED) * amount(1, 100) == len(paths)
        assert slowest < amount(1.0, 0.005)
        series = next(outcome for outcome in outcomes if outcome["path"].endswith("MPO.jpg"))
        assert series["corner"][0] > 250  # red, the first frame


def test_what_is_read_on_request_is_no_more_than_that():
    for name, data in corpus().items():
        if name in ACCEPTED | ON_REQUEST:
            decode(data, f"{name}.jpg", formats=ALL_FORMATS)
        else:
            with pytest.raises(ImageError, match="is not a picture"):
                decode(data, f"{name}.jpg", formats=ALL_FORMATS)
