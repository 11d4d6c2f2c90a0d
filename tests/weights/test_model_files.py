"""The model file: what is written is read, and whatever else is read is one error, at little cost."""

import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verydeep.architecture import Architecture
from verydeep.errors import ModelFileError, StorageError
from verydeep.nouns import Calibration, Fit, Preprocessing
from verydeep.weights import ModelInfo, map_model, read_info, read_model, write_model
from verydeep.weights.files import MODEL_FILE

ARCHITECTURE = Architecture("toy", head="gap", classes=2, input_size=8, width=0.25, batch_norm=True)
INFO = ModelInfo(
    ARCHITECTURE,
    ("cat", "Größe 猫"),
    Preprocessing(resize=9, crop=8),
    Calibration(temperature=1.25, reject_below=0.4, photos=40),
    {"data": "photos", "validation": {"n": 40, "top1": 0.9}},
)
Weights = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def weights(random_weights: Callable[..., Weights]) -> Weights:
    return random_weights(ARCHITECTURE)


@pytest.fixture(scope="module")
def model_bytes(weights: Weights, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    write_model(path, INFO, weights)
    return path.read_bytes()


def header_of(content: bytes) -> dict[str, Any]:
    """What verydeep wrote into the metadata."""
    length = struct.unpack("<Q", content[:8])[0]
    header: dict[str, Any] = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["verydeep"])
    return header


def save(path: Path, weights: Weights, header: object) -> Path:
    """A safetensors file with any header of ours, right or wrong."""
    text = header if isinstance(header, str) else json.dumps(header)
    path.write_bytes(safetensors.numpy.save(weights, {"verydeep": text}))
    return path


# What is written is read


def test_a_model_comes_back_as_it_was_written(weights: Weights, tmp_path: Path) -> None:
    write_model(tmp_path / "m.safetensors", INFO, weights)
    info, arrays = read_model(tmp_path / "m.safetensors")
    assert info == INFO == read_info(tmp_path / "m.safetensors")
    assert list(arrays) == list(ARCHITECTURE.weight_shapes)
    for name, array in arrays.items():
        assert array.dtype == np.float32
        assert np.array_equal(array, weights[name]), name


def test_float16_halves_the_file_and_keeps_eleven_bits_of_each_number(weights: Weights, tmp_path: Path) -> None:
    write_model(tmp_path / "32", INFO, weights, "float32")
    write_model(tmp_path / "16", INFO, weights, "float16")
    numbers = sum(array.size for array in weights.values())
    assert (tmp_path / "32").stat().st_size - (tmp_path / "16").stat().st_size == pytest.approx(2 * numbers, abs=64)
    _, arrays = read_model(tmp_path / "16")
    for name, array in arrays.items():
        assert array.dtype == np.float32
        np.testing.assert_allclose(array, weights[name], rtol=2**-11, atol=1e-7)


def test_the_header_says_all_that_is_needed_to_predict(model_bytes: bytes) -> None:
    assert header_of(model_bytes) == {
        "format_version": 1,
        "architecture": {
            "configuration": "toy", "head": "gap", "classes": 2, "input_size": 8, "input_channels": 3,
            "width": 0.25, "batch_norm": True,
        },
        "classes": ["cat", "Größe 猫"],
        "preprocessing": {"resize": 9, "crop": 8, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225],
                          "fit": "crop"},
        "calibration": {"temperature": 1.25, "reject_below": 0.4, "photos": 40},
        "ranges": {},
        "origin": {"data": "photos", "validation": {"n": 40, "top1": 0.9}},
    }  # fmt: skip


def test_any_safetensors_reader_opens_it(model_bytes: bytes, weights: Weights) -> None:
    arrays = safetensors.numpy.load(model_bytes)
    assert {name: array.shape for name, array in arrays.items()} == ARCHITECTURE.weight_shapes
    assert np.array_equal(arrays["conv1_1.weight"], weights["conv1_1.weight"])


def test_the_same_model_is_the_same_bytes(model_bytes: bytes, weights: Weights, tmp_path: Path) -> None:
    write_model(tmp_path / "again", INFO, dict(reversed(weights.items())))
    assert (tmp_path / "again").read_bytes() == model_bytes


def test_the_folder_of_a_run_stands_for_the_model_in_it(model_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / MODEL_FILE).write_bytes(model_bytes)
    assert read_info(tmp_path) == INFO


def test_a_class_may_be_named_by_a_folder_whose_name_is_no_text(weights: Weights, tmp_path: Path) -> None:
    info = replace(INFO, classes=(os.fsdecode(b"caf\xe9"), "a\nb"))
    write_model(tmp_path / "m", info, weights)
    assert read_info(tmp_path / "m").classes == info.classes


# What cannot be written is refused


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_a_model_that_diverged_is_not_written(number: float, weights: Weights, tmp_path: Path) -> None:
    broken = weights | {"fc8.bias": np.array([0, number], np.float32)}
    with pytest.raises(ModelFileError, match=r"fc8\.bias holds NaN or infinity as float32"):
        write_model(tmp_path / "m", INFO, broken)
    assert not list(tmp_path.iterdir())


def test_a_number_too_large_for_float16_is_refused_without_a_warning(weights: Weights, tmp_path: Path) -> None:
    large = weights | {"fc8.bias": np.array([0, 1e6], np.float32)}
    with pytest.raises(ModelFileError, match="as float16"):
        write_model(tmp_path / "m", INFO, large, "float16")
    write_model(tmp_path / "m", INFO, large, "float32")


def test_weights_of_another_network_are_not_written(weights: Weights, tmp_path: Path) -> None:
    for wrong in ({}, weights | {"fc9.bias": np.zeros(2)}, weights | {"fc8.bias": np.zeros(3)}):
        with pytest.raises(ModelFileError, match="does not hold the weights of toy-bn-gap"):
            write_model(tmp_path / "m", INFO, wrong)


@pytest.mark.parametrize("classes", [(), ("cat",), ("cat", "cat"), ("cat", "dog", "cow")])
def test_every_class_has_a_name_of_its_own(classes: tuple[str, ...]) -> None:
    with pytest.raises(ModelFileError, match="for a network of 2 classes"):
        ModelInfo(ARCHITECTURE, classes, INFO.preprocessing)


def test_a_model_that_cannot_be_replaced_stays_as_it_is(
    model_bytes: bytes, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m").write_bytes(model_bytes)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StorageError, match="the disk is full"):
        write_model(tmp_path / "m", INFO, weights, "float16")
    assert (tmp_path / "m").read_bytes() == model_bytes


# Whatever else is read is one error


def test_a_file_cut_off_anywhere_is_a_damaged_one(model_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m"
    for length in np.linspace(0, len(model_bytes) - 1, 200, dtype=int):
        path.write_bytes(model_bytes[:length])
        with pytest.raises(ModelFileError) as caught:
            read_model(path)
        assert str(path) in caught.value.message
        assert caught.value.hint


def test_a_file_with_bytes_after_its_end_is_a_damaged_one(model_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(model_bytes + b"\0")
    with pytest.raises(ModelFileError):
        read_model(tmp_path / "m")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_byte_in_the_header_gives_a_model_or_that_error(
    data: st.DataObject, model_bytes: bytes, tmp_path: Path
) -> None:
    header_length = struct.unpack("<Q", model_bytes[:8])[0]
    position = data.draw(st.integers(0, 8 + header_length - 1))
    damaged = bytearray(model_bytes)
    damaged[position] = data.draw(st.integers(0, 255))
    (tmp_path / "m").write_bytes(damaged)
    try:
        info, arrays = read_model(tmp_path / "m")
    except ModelFileError:
        return
    assert {name: array.shape for name, array in arrays.items()} == info.architecture.weight_shapes


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("format_version",), "1"),
        (("format_version",), None),
        (("architecture",), {}),
        (("architecture", "configuration"), "Z"),
        (("architecture", "width"), -1),
        (("architecture", "input_size"), 10**9),
        (("architecture", "classes"), True),
        (("classes",), None),
        (("classes",), ["cat"]),
        (("classes",), ["cat", "cat"]),
        (("classes",), [1, 2]),
        (("classes",), {"cat": 1, "dog": 2, "cow": 3}),
        (("preprocessing",), None),
        (("preprocessing", "resize"), float("inf")),
        (("preprocessing", "resize"), 10**6),
        (("preprocessing", "crop"), 0),
        (("preprocessing", "crop"), -8),
        (("preprocessing", "crop"), 10),
        (("preprocessing", "mean"), [0.5]),
        (("preprocessing", "mean"), "abc"),
        (("preprocessing", "std"), [0.2, 0.2, 0]),
        (("preprocessing", "std"), [0.2, float("nan"), 0.2]),
        (("preprocessing", "fit"), "stretch"),
        (("preprocessing", "fit"), ["crop"]),
        (("calibration",), {"temperature": 1}),
        (("calibration", "temperature"), 0),
        (("calibration", "temperature"), float("nan")),
        (("calibration", "temperature"), "hot"),
        (("calibration", "reject_below"), 2),
        (("origin",), None),
        (("origin", "photos"), float("nan")),  # Python's reader takes what is no JSON
        (("origin", "photos"), float("inf")),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else repr(value),
)
def test_a_wrong_value_in_the_header_is_found(
    path: tuple[str, ...], value: object, model_bytes: bytes, weights: Weights, tmp_path: Path
) -> None:
    header = header_of(model_bytes)
    *parents, name = path
    fields = header
    for parent in parents:
        fields = fields[parent]
    fields[name] = value
    with pytest.raises(ModelFileError) as caught:
        read_info(save(tmp_path / "m", weights, header))
    assert str(tmp_path / "m") in caught.value.message or "class names" in caught.value.message


@pytest.mark.parametrize("text", ["", "null", "[]", "3", "{", "[" * 100_000, '{"format_version": 1e999}', '{"a": NaN}'])
def test_a_header_that_is_none_of_ours_is_damaged(text: str, weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(ModelFileError):
        read_info(save(tmp_path / "m", weights, text))


def test_a_newer_format_is_refused_with_the_remedy(model_bytes: bytes, weights: Weights, tmp_path: Path) -> None:
    header = header_of(model_bytes) | {"format_version": 3, "something": "new"}
    with pytest.raises(ModelFileError, match=r"format version 3; this verydeep reads up to 2.*pip install --upgrade"):
        read_info(save(tmp_path / "m", weights, header))


@pytest.mark.parametrize("fit", ["letterbox", "squash"])
def test_another_fit_travels_in_a_file_that_older_versions_refuse(fit: Fit, weights: Weights, tmp_path: Path) -> None:
    """They would read it, and cut the photos."""
    path = tmp_path / "model.safetensors"
    info = replace(INFO, preprocessing=replace(INFO.preprocessing, fit=fit))
    write_model(path, info, weights)
    assert read_info(path) == info
    assert header_of(path.read_bytes())["format_version"] == 2


def test_a_model_of_pixels_with_another_fit_is_refused(tmp_path: Path, random_weights: Callable[..., Weights]) -> None:
    """It sees photos whole, in their own proportions."""
    architecture = Architecture("toy", head="segnet", classes=3, input_size=32)
    path = tmp_path / "model.safetensors"
    info = ModelInfo(architecture, tuple("abc"), Preprocessing(36, 32, fit="letterbox"))
    write_model(path, info, random_weights(architecture))
    with pytest.raises(ModelFileError, match="damaged header"):
        read_info(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {name: array for name, array in w.items() if name != "fc8.bias"}, r"fc8\.bias is missing"),
        (lambda w: w | {"fc9.bias": np.zeros(2, np.float32)}, r"fc9\.bias is \(2,\), expected nothing of that name"),
        (lambda w: w | {"fc8.bias": np.zeros(3, np.float32)}, r"fc8\.bias is \(3,\), expected \(2,\)"),
        (lambda w: w | {"fc8.bias": np.zeros(2, np.float64)}, r"holds \['F32', 'F64'\]; expected F32 or F16"),
        (lambda w: w | {"fc8.bias": np.zeros(2, np.int32)}, r"holds \['F32', 'I32'\]; expected F32 or F16"),
        (lambda w: w | {"fc8.bias": np.full(2, np.nan, np.float32)}, r"holds NaN or infinity in fc8\.bias"),
        (lambda w: w | {"fc8.bias": np.full(2, np.inf, np.float32)}, r"holds NaN or infinity in fc8\.bias"),
    ],
    ids=["missing", "extra", "other shape", "float64", "int32", "NaN", "infinity"],
)
def test_wrong_arrays_are_named(
    change: Callable[[Weights], Weights], message: str, model_bytes: bytes, weights: Weights, tmp_path: Path
) -> None:
    path = save(tmp_path / "m", change(weights), header_of(model_bytes))
    with pytest.raises(ModelFileError, match=message):
        read_model(path)


def test_the_file_of_another_program_is_told_as_such(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(safetensors.numpy.save(weights))
    with pytest.raises(ModelFileError, match="of another program"):
        read_info(tmp_path / "m")


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory by /proc")
@pytest.mark.parametrize("kind", ["header of 2^63 bytes", "header of 200 MB", "a million arrays", "zeros", "random"])
def test_a_hostile_file_costs_next_to_nothing(kind: str, tmp_path: Path) -> None:
    """Refused by its first bytes, within 16 MiB over what the imports take."""
    path = tmp_path / "m"
    if kind == "a million arrays":
        entry = '"%d":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}'
        text = "{" + ",".join(entry % number for number in range(1_000_000)) + "}"
        path.write_bytes(struct.pack("<Q", len(text)) + text.encode())
    else:
        start = {
            "header of 2^63 bytes": struct.pack("<Q", 2**63) + b"{}",
            "header of 200 MB": struct.pack("<Q", 200_000_000) + b"{",
            "zeros": bytes(16),
            "random": np.random.default_rng(0).bytes(1000),
        }[kind]
        with path.open("wb") as file:
            file.write(start)
            file.truncate(200_000_008)
    program = (
        "import sys, resource; from verydeep.weights import read_model; from verydeep.errors import ModelFileError\n"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = peak()\n"
        "try: read_model(sys.argv[1])\n"
        "except ModelFileError: print(peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 16 * 1024  # KiB


@pytest.mark.parametrize("path", ["missing", "folder", "n" * 300, "file/inside"])
def test_a_path_without_a_model_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelFileError, match="there is no model at"):
        read_info(tmp_path / path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_model_without_permission_is_told_as_such(model_bytes: bytes, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(model_bytes)
    (tmp_path / "m").chmod(0)
    with pytest.raises(ModelFileError, match="cannot read .*Permission denied"):
        read_info(tmp_path / "m")


def test_a_header_too_large_to_be_read_is_not_written(tmp_path):
    names = tuple(f"{'long ' * 20}{i}" for i in range(10_000))
    architecture = Architecture("toy", "gap", classes=len(names), input_size=8)
    weights = {name: np.zeros(shape, np.float32) for name, shape in architecture.weight_shapes.items()}
    with pytest.raises(ModelFileError, match="10000 classes make a header"):
        write_model(tmp_path / "m.safetensors", ModelInfo(architecture, names, Preprocessing(8, 8)), weights)
    assert not list(tmp_path.iterdir())


def test_a_file_of_format_version_1_is_read():
    """Written by the first release; every later version must read it."""
    info, weights = read_model(Path(__file__).parent / "format-1.safetensors")
    assert info.architecture == Architecture("toy", "gap", classes=3, input_size=32, batch_norm=True)
    assert info.classes == ("cat", "dog", "rocket")
    assert (info.preprocessing, info.calibration.temperature) == (Preprocessing(resize=36, crop=32), 1.5)
    assert float(weights["fc8.weight"].sum()) == pytest.approx(-1.44994, abs=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_mapped_model_is_the_one_that_is_read(
    dtype: str, tmp_path: Path, random_weights: Callable[..., Weights]
) -> None:
    architecture = Architecture("toy", classes=5, input_size=32, batch_norm=True)
    path = tmp_path / "model.safetensors"
    info = ModelInfo(architecture, tuple("abcde"), Preprocessing(32, 32))
    write_model(path, info, random_weights(architecture), dtype)
    (read_info, read), (mapped_info, mapped) = read_model(path), map_model(path)
    assert read_info == mapped_info == info
    assert list(mapped) == list(read)
    for name, array in read.items():
        assert (mapped[name].dtype, mapped[name].flags.writeable) == (np.dtype(dtype), False)
        assert np.array_equal(mapped[name].astype(np.float32), array)


@pytest.mark.parametrize("cut", [1, 100, 10_000])
def test_a_model_that_was_cut_off_is_not_mapped(cut: int, model_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(model_bytes[: max(0, len(model_bytes) - cut)])
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        map_model(path)


@pytest.mark.parametrize("values", [[1.0] * 35, [1.0] * 35 + [-1.0], [1.0] * 35 + [float("nan")], "x" * 36, 3])
def test_ranges_that_are_none_are_refused(values: Any, weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    ranges = {"conv1_2": tuple(float(i) for i in range(36))}
    write_model(path, replace(INFO, ranges=ranges), weights)
    assert read_info(path).ranges == ranges
    content = path.read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    outer = json.loads(content[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["verydeep"]) | {"ranges": {"conv1_2": values}}
    outer["__metadata__"]["verydeep"] = json.dumps(header)
    changed = json.dumps(outer).encode()
    path.write_bytes(struct.pack("<Q", len(changed)) + changed + content[8 + length :])
    with pytest.raises(ModelFileError, match="damaged header"):
        read_info(path)
