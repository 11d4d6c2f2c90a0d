"""Validation photos kept between epochs: the same to the bit, and read once."""

import errno
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from verydeep.data.datasets import open_folder, open_splits
from verydeep.errors import ImageError, StorageError
from verydeep.image import stream as stream_module
from verydeep.image.stream import stream
from verydeep.nouns import Preprocessing
from verydeep.train.display import Display
from verydeep.train.inputs import KeptInputs
from verydeep.train.loop import train

RGB = Preprocessing(resize=18, crop=16)
GREY = Preprocessing(resize=18, crop=16, mean=(0.5,), std=(0.31,))


@pytest.fixture
def paths(photos) -> tuple[Path, ...]:
    return open_folder(photos).paths[:20]


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The names of the photos that are read, as they are."""
    read, names = stream_module.read_image, []
    monkeypatch.setattr(
        stream_module, "read_image", lambda path, **named: names.append(path.name) or read(path, **named)
    )
    return names


def given(inputs: KeptInputs, paths, preprocessing: Preprocessing = RGB) -> dict[int, object]:
    return dict(inputs(paths, preprocessing))


@pytest.mark.parametrize("preprocessing", [RGB, GREY])
def test_what_is_kept_is_the_same_to_the_bit_and_no_photo_is_read_twice(preprocessing, paths, reads):
    expected = dict(stream(paths, preprocessing))
    reads.clear()
    inputs = KeptInputs()
    for _ in range(3):
        got = given(inputs, paths, preprocessing)
        assert list(got) == list(expected)
        assert all(np.array_equal(got[i], expected[i]) and got[i].dtype == np.float32 for i in got)
    assert len(reads) == len(paths)


def test_another_size_is_read_anew_and_takes_the_place_of_the_one_before(paths, reads):
    inputs = KeptInputs()
    for crop in (8, 16, 8):
        assert given(inputs, paths, replace(RGB, crop=crop))[0].shape == (3, crop, crop)
    assert len(reads) == 3 * len(paths)


def test_photos_that_would_take_too_much_memory_are_read_each_time(paths, reads):
    inputs = KeptInputs(limit_bytes=20 * 3 * 16 * 16 - 1)
    assert len(given(inputs, paths)) == len(given(inputs, paths)) == 20
    assert len(reads) == 40


def test_a_photo_that_cannot_be_read_is_tried_again(paths, reads):
    content = paths[3].read_bytes()
    paths[3].write_bytes(b"damaged")
    inputs = KeptInputs()
    assert isinstance(given(inputs, paths)[3], ImageError)
    paths[3].write_bytes(content)
    assert isinstance(given(inputs, paths)[3], np.ndarray)
    assert sorted(reads) == sorted([path.name for path in paths] + [paths[3].name])


def test_a_photo_that_cannot_be_read_at_the_moment_ends_the_validation(paths, monkeypatch):
    def fail(path, **named):
        raise ImageError(f"{path} cannot be read.") from OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(stream_module, "read_image", fail)
    with pytest.raises(StorageError, match="that may pass"):
        given(KeptInputs(), paths)


def test_a_run_decodes_its_validation_photos_once(start, tmp_path, reads):
    run = start(tmp_path / "run", epochs=3)
    splits = open_splits(run.data, run.recipe.seed)
    train(run, splits, Display(), "cpu")
    assert sorted(reads) == sorted(path.name for path in splits.validation.paths)
