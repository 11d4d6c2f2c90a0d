"""How training reads a photo: as it is where it is small, reduced where no picture of it needs more."""

import io

import numpy as np
import pytest
from PIL import Image

from verydeep.data.reading import read_training_photo, training_bytes, training_photo
from verydeep.errors import ImageError
from verydeep.image import read_image


def photo_file(height: int, width: int, name: str = "JPEG", **options) -> bytes:
    coarse = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    )
    file = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(file, name, **options)
    return file.getvalue()


@pytest.mark.parametrize("name", ["JPEG", "PNG"])
@pytest.mark.parametrize(("height", "width", "side"), [(90, 120, 100), (100, 133, 100), (1, 300, 100)])
def test_a_photo_that_is_no_larger_is_read_as_it_is(tmp_path, name, height, width, side):
    path = tmp_path / "photo"
    path.write_bytes(photo_file(height, width, name))
    assert np.array_equal(read_training_photo(path, side), read_image(path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
@pytest.mark.parametrize(
    ("height", "width"), [(101, 150), (150, 101), (399, 600), (400, 600), (1000, 801), (900, 4000)]
)
def test_a_larger_photo_is_close_to_the_whole_one_resized(tmp_path, name, height, width):
    path = tmp_path / "photo"
    path.write_bytes(photo_file(height, width, name))
    photo = read_training_photo(path, 100)
    assert min(photo.shape[:2]) == 100
    assert max(photo.shape[:2]) == pytest.approx(100 * max(height, width) / min(height, width), abs=1)
    resized = Image.fromarray(read_image(path)).resize(photo.shape[1::-1], Image.Resampling.BILINEAR)
    assert np.abs(photo.astype(int) - np.asarray(resized)).mean() < (3 if name == "JPEG" else 1e-9)


def test_a_photo_of_a_camera_changes_less_than_by_another_filter(shared_data):
    paths = sorted((shared_data / "hymenoptera").rglob("*.jpg"))[::40]
    assert paths
    for path in paths:
        photo = read_training_photo(path, 100).astype(int)
        whole, size = Image.fromarray(read_image(path)), photo.shape[1::-1]
        bilinear, lanczos = (
            np.asarray(whole.resize(size, kind)) for kind in (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)
        )
        assert 0 < np.abs(photo - bilinear).mean() < np.abs(lanczos.astype(int) - bilinear).mean()


@pytest.mark.parametrize(("height", "width"), [(90, 120), (400, 600), (1000, 801)])
def test_the_bytes_of_a_photo_are_known_from_its_header(height, width):
    data = photo_file(height, width)
    assert training_bytes(data, "photo", 100) == pytest.approx(training_photo(data, "photo", 100).nbytes, rel=0.02)


def test_a_file_that_is_no_photo_is_named(tmp_path):
    (tmp_path / "text.jpg").write_text("no photo")
    with pytest.raises(ImageError, match=r"text\.jpg is not a picture"):
        read_training_photo(tmp_path / "text.jpg", 100)
