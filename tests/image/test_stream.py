import io
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import ImageError, UsageError
from verydeep.image.preprocess import preprocess
from verydeep.image.stream import batches, load, stream
from verydeep.nouns import Preprocessing

PREPROCESSING = Preprocessing(resize=36, crop=32)


def photo(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_photos_come_in_the_order_given_each_as_preprocess_makes_it(tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(photo(1)))
    sources = [photo(0), tmp_path / "photo.png", str(tmp_path / "photo.png"), png(photo(2)), Image.fromarray(photo(3))]
    items = list(stream(sources, PREPROCESSING, threads=3))
    assert [position for position, _ in items] == [0, 1, 2, 3, 4]
    for (_, loaded), seed in zip(items, (0, 1, 1, 2, 3), strict=True):
        assert isinstance(loaded, np.ndarray)
        assert np.array_equal(loaded, preprocess(photo(seed), PREPROCESSING))


def test_photos_are_taken_from_a_generator_as_they_are_needed() -> None:
    taken: list[int] = []

    def photos() -> Iterator[np.ndarray]:
        for seed in range(20):
            taken.append(seed)
            yield photo(seed)

    items = stream(photos(), PREPROCESSING, ahead=5)
    assert [next(items)[0] for _ in range(3)] == [0, 1, 2]
    assert len(taken) == 7
    assert [position for position, _ in items] == list(range(3, 20))


def test_a_dense_stream_gives_whole_photos() -> None:
    [(_, loaded)] = stream([photo(0, 40, 80)], PREPROCESSING, is_dense=True)
    assert isinstance(loaded, np.ndarray)
    assert loaded.shape == (3, 36, 72)


def test_photos_that_cannot_be_read_are_errors_in_their_place(tmp_path: Path) -> None:
    sources = [b"", photo(0), tmp_path / "missing.jpg", photo(1)]
    kinds = [type(loaded) for _, loaded in stream(sources, PREPROCESSING)]
    assert kinds == [ImageError, np.ndarray, ImageError, np.ndarray]


def test_no_more_photos_than_asked_for_are_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[int] = []
    monkeypatch.setattr("verydeep.image.stream.preprocess", lambda image, *_: decoded.append(1) or image)
    items = stream([photo(0)] * 100, PREPROCESSING, ahead=5)
    next(items)
    time.sleep(0.1)
    assert 1 <= len(decoded) <= 5
    items.close()  # type: ignore[attr-defined]
    assert len(decoded) <= 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("decode")]


def test_a_bug_in_a_thread_is_not_taken_for_a_bad_photo() -> None:
    with pytest.raises(UsageError, match="cannot be of type int"):
        list(stream([3], PREPROCESSING))  # type: ignore[list-item]


def test_other_formats_are_accepted_where_asked_for() -> None:
    file = io.BytesIO()
    Image.fromarray(photo(0)).save(file, "BMP")
    [(_, refused)] = stream([file.getvalue()], PREPROCESSING)
    [(_, accepted)] = stream([file.getvalue()], PREPROCESSING, formats=("BMP",))
    assert isinstance(refused, ImageError)
    assert isinstance(accepted, np.ndarray)


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)],
    ids=["grey", "rgba", "float", "empty"],
)
def test_an_array_that_is_no_photo_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ImageError, match=r"is not a photo.*uint8, RGB"):
        load(array)


def test_a_pillow_image_is_treated_as_its_file_would_be() -> None:
    picture = Image.fromarray(photo(0))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned: 90 degrees clockwise makes it upright
    file = io.BytesIO()
    picture.save(file, "PNG", exif=exif)
    opened = Image.open(io.BytesIO(file.getvalue()))
    assert np.array_equal(load(opened), load(file.getvalue()))
    assert np.array_equal(load(opened), np.rot90(photo(0), -1))
    grey = picture.convert("L")
    assert np.array_equal(load(grey), np.stack([np.asarray(grey)] * 3, axis=-1))


def test_a_damaged_pillow_image_is_an_image_error() -> None:
    with pytest.raises(ImageError, match="the Pillow image given cannot be decoded"):
        load(Image.open(io.BytesIO(png(photo(0))[:500])))


def test_batches_hold_inputs_of_one_shape_and_keep_the_order() -> None:
    def items() -> Iterator[tuple[int, np.ndarray | ImageError]]:
        shapes = [(3, 4, 4), (3, 4, 4), None, (3, 4, 4), (3, 4, 8), None, None, (3, 4, 4)]
        for position, shape in enumerate(shapes):
            yield position, ImageError("bad") if shape is None else np.zeros(shape)

    grouped = [[position for position, _ in batch] for batch in batches(items(), 3)]
    assert grouped == [[0, 1, 2], [3], [4, 5, 6], [7]]


def test_a_batch_of_no_photos_is_refused() -> None:
    with pytest.raises(UsageError, match="a batch of 0 photos"):
        list(batches([(0, np.zeros(1))], 0))


def test_batches_of_nothing_are_none() -> None:
    assert list(batches([], 4)) == []
