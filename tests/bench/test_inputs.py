"""What is measured: names, weights, inputs and files."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.architecture import Architecture
from verydeep.bench.contestants import CONTESTANTS, PRECISIONS, chosen
from verydeep.bench.inputs import CALIBRATED_ON, architecture_named, make_subject, random_weights
from verydeep.bench.subject import open_subject
from verydeep.errors import ArchitectureError, UsageError
from verydeep.image import preprocess, read_image
from verydeep.runtime.ranges import sources
from verydeep.weights import read_info, read_model


@pytest.mark.parametrize("name", ["D", "A-LRN", "A-LRN-bn", "B-bn-gap-0.5x", "E-conv", "C-0.125x", "toy-gap-2x"])
def test_an_architecture_is_found_by_its_own_name(name: str) -> None:
    assert architecture_named(name, classes=7, input_size=64).name == name


@pytest.mark.parametrize("name", ["", "F", "D-", "D-xx", "D-0.5", "LRN", "d-bn-bn-", "A-LRNx"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises((UsageError, ArchitectureError)):
        architecture_named(name)


def test_random_weights_are_hes_and_the_same_each_time() -> None:
    architecture = Architecture("A", "gap", classes=100, input_size=32, width=0.25, batch_norm=True)
    weights, again = random_weights(architecture), random_weights(architecture)
    assert all(np.array_equal(weights[name], again[name]) for name in architecture.weight_shapes)
    spread = weights["conv5_1.weight"].std()
    assert spread == pytest.approx((2 / (9 * 128)) ** 0.5, rel=0.02)
    assert set(weights["bn1_1.running_var"]) == {1.0}


def test_a_network_of_random_weights_becomes_files_that_say_all(tmp_path: Path) -> None:
    architecture = Architecture("toy", "gap", classes=5, input_size=16)
    made = make_subject(tmp_path, architecture, batch=3)
    opened = open_subject(tmp_path)
    assert opened == made
    assert (opened.label, opened.image_size) == ("-", (16, 16))
    assert opened.images(3).shape == (3, 3, 16, 16)
    assert opened.images(2).flags.writeable  # torch asks for that
    assert opened.calibration().shape == (CALIBRATED_ON, 3, 16, 16)
    assert not np.isin(opened.images(3), opened.calibration()).any()
    assert set(read_info(opened.model).ranges) == set(sources(architecture))


def test_a_models_file_without_ranges_stays_as_it_is(tmp_path: Path, toy_model: Path) -> None:
    before = toy_model.read_bytes()
    made = make_subject(tmp_path, toy_model, batch=1)
    assert toy_model.read_bytes() == before
    assert made.model.parent == tmp_path
    assert made.label.startswith("toy sha256:")
    info, weights = read_model(made.model)
    assert info.ranges
    _, expected = read_model(toy_model)
    assert all(np.array_equal(weights[name], expected[name]) for name in expected)


def test_photos_become_inputs_as_the_model_file_says(tmp_path: Path, toy_model: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)).save(photo)
    made = make_subject(tmp_path, toy_model, batch=2, photos=(str(photo),))
    expected = preprocess(read_image(photo), read_info(toy_model).preprocessing)
    assert np.array_equal(made.images(2), np.stack([expected, expected]))
    assert open_subject(tmp_path).has_photos
    with pytest.raises(UsageError, match="as the model file says"):
        make_subject(tmp_path, toy_model, batch=2, photos=(str(photo),), image_size=(64, 64))


def test_inputs_are_photos_of_several_classes_each_once(tmp_path: Path, toy_model: Path, class_folders: Path) -> None:
    photos = sorted(map(str, class_folders.glob("*/*.png")))
    made = make_subject(tmp_path, toy_model, batch=16, photos=photos)
    preprocessing = read_info(toy_model).preprocessing
    ready = [preprocess(read_image(path), preprocessing) for path in photos]
    places = [[np.array_equal(image, one) for one in ready].index(True) for image in made.calibration()]
    assert len({place // 8 for place in places}) > 1  # eight of each class
    used = np.concatenate([made.calibration(), made.images(16)])
    assert np.array_equal(np.sort(used.sum(axis=(1, 2, 3))), np.sort(np.stack(ready).sum(axis=(1, 2, 3))))


def test_who_takes_part() -> None:
    names = [one.name for one in chosen("all", PRECISIONS, gmacs=1.0)]
    assert names == [one.name for one in CONTESTANTS]
    assert "reference" not in [one.name for one in chosen("all", ["float32"], gmacs=100.0)]
    assert [one.name for one in chosen("none", ["fast"], 100.0)] == ["native-fast", "torch-engine"]
    some = [one.name for one in chosen("ncnn, openvino-int8", ["float32"], 100.0) if not one.is_ours]
    assert some == ["openvino-int8", "ncnn", "ncnn-bf16", "ncnn-int8"]
    with pytest.raises(UsageError, match="no rival 'caffe'; there are torch, "):
        chosen("ncnn,caffe", ["float32"], 1.0)
    with pytest.raises(UsageError, match="has no precision 'int3'; there are float32, fast"):
        chosen("all", ["int3"], 1.0)
