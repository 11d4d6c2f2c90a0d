"""The one policy, property by property: the picture that was put into a file is the picture that comes out."""

import io
import os
import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from test_orientation import STORED

from verydeep.errors import ImageError, UsageError
from verydeep.image import ALL_FORMATS, Limits, decode, read_image
from verydeep.image.decode import read_file, stored_size
from verydeep.image.readers import JpegReader

LOSSLESS = {"PNG": {}, "WEBP": {"lossless": True, "exact": True}, "TIFF": {}}


def encode(image: Image.Image, name: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, name, **options)
    return file.getvalue()


def with_orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


PHOTO = encode(Image.fromarray(noise(8, 8, 3)))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(LOSSLESS)), st.integers(0, 9), st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_a_lossless_file_comes_back_upright_to_the_bit(name, value, height, width, seed):
    upright = noise(height, width, 3, seed=seed)
    stored = Image.fromarray(np.ascontiguousarray(STORED.get(value, STORED[1])(upright)))
    data = encode(stored, name, exif=with_orientation(value), **LOSSLESS[name])
    assert np.array_equal(decode(data, "photo", formats=ALL_FORMATS), upright)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 9), st.integers(1, 4), st.integers(1, 4), st.booleans(), st.booleans())
def test_a_jpeg_comes_back_upright_within_its_own_error(value, rows, columns, is_progressive, is_grey):
    blocks = noise(rows, columns, 3, seed=value)
    if is_grey:
        blocks = np.repeat(blocks[..., :1], 3, axis=2)
    upright = blocks.repeat(16, axis=0).repeat(16, axis=1)  # flat squares, which JPEG keeps but for rounding
    stored = Image.fromarray(np.ascontiguousarray(STORED.get(value, STORED[1])(upright)))
    stored = stored.convert("L") if is_grey else stored
    data = encode(stored, "JPEG", quality=95, subsampling=0, progressive=is_progressive, exif=with_orientation(value))
    decoded = decode(data, "photo")
    assert decoded.shape == upright.shape
    assert np.abs(decoded.astype(int) - upright).max() <= 5


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_grey_black_and_white_and_palette_become_rgb(name):
    grey = noise(9, 7)
    assert np.array_equal(
        decode(encode(Image.fromarray(grey), name), "", formats=ALL_FORMATS), np.stack([grey] * 3, axis=2)
    )
    bits = Image.fromarray(grey > 127)
    assert np.array_equal(decode(encode(bits, name), "", formats=ALL_FORMATS)[..., 1], np.where(grey > 127, 255, 0))
    palette = Image.fromarray(grey).quantize(16)
    assert np.array_equal(decode(encode(palette, name), "", formats=ALL_FORMATS), np.asarray(palette.convert("RGB")))


def test_sixteen_bits_lose_their_lower_byte():
    values = np.array([[0x0000, 0x00FF, 0x1234, 0xFFFF]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(values)), "")[0].tolist() == [[0] * 3, [0] * 3, [0x12] * 3, [255] * 3]


def test_the_transparent_grey_of_sixteen_bits_is_white():
    values = np.array([[0x1234, 0x1235]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(values), transparency=0x1234), "")[0].tolist() == [[255] * 3, [0x12] * 3]


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(["RGBA", "LA"]), st.sampled_from(["PNG", "WEBP"]), st.integers(0, 99))
def test_alpha_is_composed_over_white(mode, name, seed):
    pixels = noise(5, 6, len(mode), seed=seed)
    decoded = decode(encode(Image.fromarray(pixels, mode), name, **LOSSLESS[name]), "")
    colour, alpha = pixels[..., :-1] / 1.0, pixels[..., -1:] / 255
    assert np.array_equal(decoded, np.broadcast_to(np.rint(colour * alpha + 255 * (1 - alpha)), (5, 6, 3)))


def test_a_palette_with_a_transparent_colour_shows_white_there():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putdata([0, 1])
    for name, transparency in (("PNG", 1), ("PNG", b"\xff\0"), ("GIF", 1)):
        decoded = decode(encode(image, name, transparency=transparency), "", formats=ALL_FORMATS)
        assert decoded.tolist() == [[[10, 20, 30], [255, 255, 255]]]


@pytest.mark.parametrize("cmyk", [(0, 0, 0, 0), (255, 0, 0, 0), (0, 200, 100, 50), (0, 0, 0, 255)])
def test_cmyk_as_adobe_writes_it_becomes_rgb(cmyk):
    data = encode(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100)
    expected = [(255 - ink) * (255 - cmyk[3]) / 255 for ink in cmyk[:3]]
    assert np.abs(decode(data, "").astype(int) - expected).max() <= 3


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("profile", [b"garbage", bytes(128), b"\xff" * 70_000])
def test_an_icc_profile_changes_nothing_however_broken(name, profile):
    image = Image.fromarray(noise(8, 8, 3))
    assert np.array_equal(decode(encode(image, name, icc_profile=profile), ""), decode(encode(image, name), ""))


def test_exif_that_is_damaged_is_passed_over_without_a_warning():
    cut_off = b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 305, 2, 1000, 30)
    image = Image.fromarray(noise(8, 8, 3))
    for name in ("JPEG", "PNG", "WEBP"):
        assert np.array_equal(decode(encode(image, name, exif=cut_off), ""), decode(encode(image, name), ""))


def test_a_tiff_is_turned_once_and_by_its_own_tag():
    photo = noise(4, 6, 3)
    xmp = b'<x tiff:Orientation="6"/>'
    for value, upright in ((1, photo), (6, np.rot90(photo, -1))):
        data = encode(Image.fromarray(photo), "TIFF", tiffinfo={0x0112: value, 700: xmp})
        assert np.array_equal(decode(data, "", formats=ALL_FORMATS), upright)


@pytest.mark.parametrize("name", ["PNG", "GIF", "WEBP"])
def test_the_first_frame_of_an_animation_is_the_picture(name):
    first, second = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    data = encode(first, name, save_all=True, append_images=[second], **LOSSLESS.get(name, {}))
    assert (decode(data, "", formats=ALL_FORMATS) == (255, 0, 0)).all()


def test_the_first_frame_of_a_series_of_jpegs_is_the_picture():
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert np.abs(decode(data, "").astype(int) - (255, 0, 0)).max() <= 2


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP"])
def test_a_file_that_is_cut_off_anywhere_is_refused(name):
    data = encode(Image.fromarray(noise(40, 40, 3)), name)
    for length in range(1, len(data) - 16, 97):
        with pytest.raises(ImageError, match=r"cut\.jpg"):
            decode(data[:length], "cut.jpg")


def test_heic_decodes_upright_on_request():
    heif = pytest.importorskip("pillow_heif")
    photo = np.full((64, 96, 3), (200, 30, 30), np.uint8)
    photo[:, 48:] = (30, 30, 200)
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(photo)).save(file, quality=95, exif=with_orientation(6).tobytes())
    decoded = decode(file.getvalue(), "photo.heic", formats=("HEIC",)).astype(int)
    assert decoded.shape == (96, 64, 3)
    assert np.abs(decoded - np.rot90(photo, -1)).mean() < 10
    with pytest.raises(ImageError, match="is an HEIC picture; accepted are JPEG, PNG, WebP"):
        decode(file.getvalue(), "photo.heic")


def test_avif_decodes_upright_on_request():
    photo = np.full((64, 96, 3), (200, 30, 30), np.uint8)
    photo[:, 48:] = (30, 30, 200)
    data = encode(Image.fromarray(photo), "AVIF", quality=95, exif=with_orientation(8))
    assert np.abs(decode(data, "", formats=("AVIF",)).astype(int) - np.rot90(photo)).mean() < 10


def test_a_missing_heic_decoder_is_an_error_that_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    with pytest.raises(ImageError, match=r"pip install 'verydeep\[heif\]'"):
        decode(data, "photo.heic", formats=ALL_FORMATS)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(pixels=63), "8 x 8 pixels; the limit is 63 pixels"),
        (Limits(side=7), "and 7 a side"),
        (Limits(file_bytes=len(PHOTO) - 1), "is larger than the limit"),
    ],
)
def test_limits_are_the_callers_to_set(limits, reason):
    with pytest.raises(ImageError, match=reason):
        decode(PHOTO, "photo", limits)


def test_a_picture_exactly_at_the_limits_is_accepted():
    assert decode(PHOTO, "photo", Limits(pixels=64, side=8, file_bytes=len(PHOTO))).shape == (8, 8, 3)


@pytest.mark.parametrize("formats", [(), ("PNG", "JPEG2000"), ("png",)])
def test_an_unknown_format_is_a_misuse(formats):
    with pytest.raises(UsageError, match="JPEG, PNG, WebP"):
        decode(PHOTO, "photo", formats=formats)


def test_pixels_without_a_known_range_are_refused():
    for mode in ("I", "F"):
        with pytest.raises(ImageError, match=f"pixels of the kind {mode}"):
            decode(encode(Image.new(mode, (3, 3)), "TIFF"), "", formats=ALL_FORMATS)


@pytest.mark.parametrize("name", ["a\nb.jpg", "a\x1b[31mb.jpg", "a\udcffb.jpg", "a\u202eb.jpg"])
def test_an_error_is_one_printable_line_whatever_the_file_is_called(name):
    with pytest.raises(ImageError) as caught:
        decode(b"no picture", name)
    assert caught.value.message.isprintable()
    assert caught.value.message.startswith("a\\")


def test_control_characters_of_the_file_do_not_reach_the_error():
    with pytest.raises(ImageError) as caught:
        decode(b"\x1b[31m\r\nred alert", "x")
    assert str(caught.value).isprintable()


def describe_error(path) -> str:
    with pytest.raises(ImageError) as caught:
        read_image(path)
    assert caught.value.message.isprintable()
    return caught.value.message


def test_what_is_no_readable_file_is_an_error_that_names_it(tmp_path):
    assert describe_error(tmp_path / "none.jpg") == f"{tmp_path}/none.jpg cannot be read: No such file or directory."
    assert describe_error(tmp_path) == f"{tmp_path} is a folder; expected a photo."
    (tmp_path / "empty.jpg").touch()
    assert describe_error(tmp_path / "empty.jpg") == f"{tmp_path}/empty.jpg is empty; expected a photo."
    assert "cannot be read" in describe_error(f"{tmp_path}/a\0b.jpg")
    assert "cannot be read" in describe_error(tmp_path / ("x" * 5000))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes have no names here")
def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")  # opening it would wait for ever
    assert describe_error(tmp_path / "pipe.jpg") == f"{tmp_path}/pipe.jpg is a pipe or a device; expected a photo."
    assert describe_error("/dev/zero") == "/dev/zero is a pipe or a device; expected a photo."


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "large.jpg"
    with path.open("wb") as file:
        file.truncate(21 << 20)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("the file was opened"))
    assert describe_error(path) == f"{path} is larger than the limit of 20,971,520 bytes."


@pytest.mark.skipif(os.name == "nt", reason="permissions are different there")
def test_a_file_without_permission_is_an_error_that_names_it(tmp_path):
    path = tmp_path / "secret.jpg"
    path.write_bytes(PHOTO)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root may read everything: ask as nobody
        ask = "from verydeep.image import read_image; import os, sys; os.setuid(65534)\n"
        ask += "try: read_image(sys.argv[1])\nexcept Exception as error: print(type(error).__name__, error.message)"
        result = subprocess.run([sys.executable, "-c", ask, path], capture_output=True, text=True, check=True)
        assert result.stdout == f"ImageError {path} cannot be read: Permission denied.\n"
    else:
        assert describe_error(path) == f"{path} cannot be read: Permission denied."


def test_decoded_pixels_cannot_be_changed_by_accident():
    assert not decode(PHOTO, "photo").flags.writeable


def test_many_threads_decode_the_same_and_leave_the_switches_of_the_process_alone():
    noisy = encode(Image.fromarray(noise(6, 6, 3)), "TIFF")[:-40]  # Pillow warns of TIFF that is cut off
    files = [PHOTO, encode(Image.new("RGB", (9, 9), "red"), "JPEG"), noisy] * 40
    before = (list(warnings.filters), warnings.showwarning, Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)

    def attempt(data: bytes) -> bytes | str:
        try:
            return decode(data, "photo", formats=ALL_FORMATS).tobytes()
        except ImageError as error:
            return error.message

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(attempt, files))
    assert outcomes == outcomes[:3] * 40
    assert before == (
        list(warnings.filters), warnings.showwarning, Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES
    )  # fmt: skip


def smooth(height: int, width: int) -> np.ndarray:
    """Blurred noise, which a photo resembles more than noise does."""
    coarse = Image.fromarray(noise(height // 40 + 2, width // 40 + 2, 3))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("at_most", [479, 300, 240, 239, 120, 100, 60, 50, 7])
@pytest.mark.parametrize(("height", "width"), [(480, 643), (643, 480), (481, 481)])
def test_a_jpeg_is_reduced_to_nearly_the_pixels_of_the_whole_one_resized(height, width, at_most, is_progressive):
    data = encode(Image.fromarray(smooth(height, width)), "JPEG", quality=92, progressive=is_progressive)
    reduced = decode(data, "photo", at_most=at_most)
    shorter = min(height, width)
    assert min(reduced.shape[:2]) == at_most
    assert max(reduced.shape[:2]) == at_most * max(height, width) // shorter
    size = reduced.shape[1::-1]
    is_cut = at_most in (240, 120, 60) and shorter == 480  # at whole pixels of the draft; else a little stretched
    shown = tuple(side * shorter // at_most for side in size) if is_cut else (width, height)
    whole = Image.fromarray(decode(data, "photo"))
    resized = whole.resize(size, Image.Resampling.BILINEAR, box=(0, 0, *shown))
    assert np.abs(reduced.astype(int) - np.asarray(resized)).mean() < 3
    assert not reduced.flags.writeable


def test_a_large_jpeg_is_not_decoded_whole(monkeypatch):
    data = encode(Image.fromarray(smooth(480, 643)), "JPEG")
    heights = []
    draft = JpegReader.draft

    def record(picture, mode, size):
        drafted = draft(picture, mode, size)
        heights.append(picture.size[1])
        return drafted

    monkeypatch.setattr(JpegReader, "draft", record)
    for at_most in (481, 480, 241, 240, 121, 120, 61, 60, 1):
        decode(data, "photo", at_most=at_most)
    assert heights == [480, 480, 480, 240, 240, 120, 120, 60, 60]


@pytest.mark.parametrize("at_most", [400, 401, 5000])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_a_picture_that_is_no_larger_keeps_every_pixel(name, at_most):
    data = encode(Image.fromarray(smooth(400, 420)), name)
    assert np.array_equal(decode(data, "photo"), decode(data, "photo", at_most=at_most))
    assert decode(data, "photo").shape == (400, 420, 3)


@pytest.mark.parametrize("name", ["PNG", "WEBP"])
def test_other_formats_are_decoded_whole_and_resized(name):
    data = encode(Image.fromarray(smooth(160, 250)), name)
    resized = Image.fromarray(decode(data, "photo")).resize((46, 30), Image.Resampling.BILINEAR)
    assert np.array_equal(decode(data, "photo", at_most=30), np.asarray(resized))


@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_a_reduced_picture_is_upright_as_well(name, value):
    upright = smooth(320, 480)
    stored = Image.fromarray(np.ascontiguousarray(STORED[value](upright)))
    data = encode(stored, name, exif=with_orientation(value))
    reduced = decode(data, "photo", at_most=70)
    assert reduced.shape == (70, 105, 3)
    resized = Image.fromarray(decode(data, "photo")).resize((105, 70), Image.Resampling.BILINEAR)
    assert np.abs(reduced.astype(int) - np.asarray(resized)).mean() < 3


@pytest.mark.parametrize(("mode", "colour"), [("L", 90), ("CMYK", (0, 200, 100, 50))])
def test_a_reduced_jpeg_keeps_its_kind_of_pixels(mode, colour):
    data = encode(Image.new(mode, (320, 320), colour), "JPEG", quality=100)
    assert np.array_equal(decode(data, "photo", at_most=40), decode(data, "photo")[::8, ::8])


def test_limits_are_about_the_size_in_the_file():
    data = encode(Image.fromarray(smooth(160, 160)), "JPEG")
    with pytest.raises(ImageError, match="160 x 160 pixels; the limit is 25,599 pixels"):
        decode(data, "photo", Limits(pixels=160 * 160 - 1), at_most=20)


def test_a_jpeg_of_too_many_scans_is_refused_at_any_size(monkeypatch):
    monkeypatch.setattr("verydeep.image.readers._MAX_SCAN_PIXELS", 10 * 160 * 160 - 1)
    data = encode(Image.fromarray(smooth(160, 160)), "JPEG", progressive=True)  # 10 scans
    with pytest.raises(ImageError, match="too many scans"):
        decode(data, "photo", at_most=20)


def test_a_jpeg_that_is_cut_off_is_refused_at_any_size():
    data = encode(Image.fromarray(smooth(160, 160)), "JPEG")
    for length in range(200, len(data) - 16, 97):
        with pytest.raises(ImageError, match=r"cut\.jpg"):
            decode(data[:length], "cut.jpg", at_most=20)


def test_the_size_of_a_photo_is_told_without_decoding_it(monkeypatch):
    data = encode(Image.fromarray(noise(7, 12, 3)), "JPEG")
    monkeypatch.setattr(Image.core, "new", lambda *_: pytest.fail("memory for the pixels was asked for"))
    assert stored_size(data, "photo") == (12, 7)
    with pytest.raises(ImageError, match="is not a picture"):
        stored_size(b"no picture", "photo")


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(PHOTO)
    assert read_file(path) == PHOTO
    assert read_image(path, at_most=4).shape == (4, 4, 3)
    with pytest.raises(ImageError, match="is larger than the limit"):
        read_file(path, Limits(file_bytes=len(PHOTO) - 1))
