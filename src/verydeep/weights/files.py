"""The model file: a safetensors file whose header says all that is needed to predict with it.

The header's metadata has one entry, "verydeep", a JSON object: the format's version, the architecture, the names of
the classes, the preprocessing, the calibration, and where the weights come from. Arrays have the names and shapes of
`Architecture.weight_shapes`. A file of format version N is read by every later version.
"""

import hashlib
import json
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from verydeep.architecture import Architecture
from verydeep.errors import ModelFileError, VerydeepError
from verydeep.files import atomic_write, is_folder, sha256_of
from verydeep.nouns import FITS, Calibration, Preprocessing, Weights

FORMAT_VERSION = 2  # 2: photos become squares by another fit than "crop", which older versions would not see
MODEL_FILE = "model.safetensors"
_HEADER_LIMIT = 1 << 20  # bytes; ours are under 10 kB, and a parser should not be fed a hundred megabytes of JSON
_LARGEST_SIDE = 4096  # pixels, the shorter one of a resized photo, whose longer one may have 16 times as many
_DTYPES = ("F32", "F16")
RANGE_VALUES = 36  # of a convolution: the positions of Winograd's F(4x4)


@dataclass(frozen=True)
class ModelInfo:
    """Everything in a model file but the arrays."""

    architecture: Architecture
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    calibration: Calibration = field(default_factory=Calibration)
    origin: Mapping[str, Any] = field(
        default_factory=dict
    )  # data, licence, command, accuracy: shown, not computed with
    ranges: Mapping[str, tuple[float, ...]] = field(
        default_factory=dict
    )  # of the numbers that whole-number precisions round: runtime/ranges.py; empty: not measured

    def __post_init__(self) -> None:
        if len(self.classes) != self.architecture.classes or len(set(self.classes)) != len(self.classes):
            raise ModelFileError(
                f"{len(self.classes)} class names ({len(set(self.classes))} different) for a network of "
                f"{self.architecture.classes} classes.",
                "Every class needs a name of its own.",
            )


def write_model(path: str | Path, info: ModelInfo, weights: Weights, dtype: str = "float32") -> None:
    """Writes a model file. dtype: "float32", or "float16" for half the size.

    Raises StorageError where it cannot be written and ModelFileError where the weights are not the architecture's
    or hold a number that `dtype` cannot.
    """
    _check_shapes("the model", info.architecture, {name: array.shape for name, array in weights.items()})
    with np.errstate(over="ignore"):  # what is too large for `dtype` becomes infinity, which is refused below
        arrays = {name: np.ascontiguousarray(weights[name], dtype=dtype) for name in info.architecture.weight_shapes}
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ModelFileError(
                f"{name} holds NaN or infinity as {dtype}; expected numbers.", "Use float32, or train it again."
            )
    header = {
        "format_version": 1 if info.preprocessing.fit == "crop" else 2,
        "architecture": info.architecture.to_dict(),
        "classes": list(info.classes),
        "preprocessing": info.preprocessing.to_dict(),
        "calibration": info.calibration.to_dict(),
        "ranges": {name: list(values) for name, values in info.ranges.items()},
        "origin": dict(info.origin),
    }
    metadata = {"verydeep": json.dumps(header)}  # ASCII: the name of a folder need not be text
    if len(metadata["verydeep"]) > _HEADER_LIMIT // 2:  # the rest is for the names of the arrays
        raise ModelFileError(
            f"the names of the {len(info.classes)} classes make a header of {len(metadata['verydeep']):,} bytes; "
            f"expected at most {_HEADER_LIMIT // 2:,}.",
            "Give the classes shorter names.",
        )
    atomic_write(path, safetensors.numpy.save(arrays, metadata))


def read_model(path: str | Path) -> tuple[ModelInfo, dict[str, np.ndarray]]:
    """The file's info and its arrays as float32. `path` may be the folder that `train` wrote. Raises ModelFileError."""
    path = model_path(path)
    info = read_info(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            weights = {name: file.get_tensor(name).astype(np.float32) for name in info.architecture.weight_shapes}
    except (safetensors.SafetensorError, OSError) as error:  # it was whole a moment ago
        raise ModelFileError(f"{path} cannot be read: {error}.", "Is another program writing it?") from error
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ModelFileError(f"{path} holds NaN or infinity in {name}.", "The file is damaged: fetch it again.")
    return info, weights


class MappedWeights(dict[str, np.ndarray]):
    """The arrays of a model file where they lie in it, float32 or float16: nothing is read before it is looked at."""

    def __init__(self, arrays: Mapping[str, np.ndarray], path: Path, identity: str) -> None:
        super().__init__(arrays)
        self.path = path
        self.identity = identity  # of the file's content: it changes with every write to the file


def map_model(path: str | Path) -> tuple[ModelInfo, MappedWeights]:
    """The file's info and its arrays, read-only, not copied and not checked for NaN. Raises ModelFileError."""
    path = model_path(path)
    info = read_info(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            data = np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        length = struct.unpack("<Q", data[:8].tobytes())[0]
        header = data[8 : 8 + length].tobytes()
        entries = json.loads(header)
        arrays = {}
        for name, shape in info.architecture.weight_shapes.items():
            first, end = entries[name]["data_offsets"]
            dtype = {"F32": "<f4", "F16": "<f2"}[entries[name]["dtype"]]
            arrays[name] = data[8 + length + first : 8 + length + end].view(dtype).reshape(shape)
    except (OSError, ValueError, KeyError, TypeError, struct.error) as error:  # it was whole a moment ago
        raise ModelFileError(f"{path} cannot be read: {error}.", "Is another program writing it?") from error
    # As git tells whether a file was changed. Except on Windows, no program can set the last of them.
    seen = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    identity = hashlib.blake2b(repr(seen).encode() + header, digest_size=16).hexdigest()
    return info, MappedWeights(arrays, path, identity)


def read_info(path: str | Path) -> ModelInfo:
    """What the header says, every shape checked, no array read. Raises ModelFileError."""
    path = model_path(path)
    _check_header_size(path)
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, not a dict
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
            dtypes = {part.get_dtype() for part in slices.values()}
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFileError(f"{path} is not a whole safetensors file: {error}.", "Fetch or train it again.") from error
    if "verydeep" not in metadata:
        raise ModelFileError(
            f"{path} is a safetensors file of another program: its header has no entry 'verydeep'.",
            "Only models that `verydeep train` wrote can be opened; weights of other programs are not converted yet.",
        )
    info = _parse_header(path, metadata["verydeep"])
    _check_shapes(str(path), info.architecture, shapes)
    if not dtypes <= set(_DTYPES):
        raise ModelFileError(f"{path} holds {sorted(dtypes)}; expected {' or '.join(_DTYPES)}.", "Write it again.")
    return info


def model_path(path: str | Path) -> Path:
    """The model file at `path`, which is the file itself or the folder that holds it. Raises ModelFileError."""
    path = Path(path)
    file = path / MODEL_FILE if is_folder(path) else path
    if not os.path.isfile(file):  # noqa: PTH113
        raise ModelFileError(f"there is no model at {path}.", f"Expected a file, or a folder with {MODEL_FILE}.")
    return file


def model_sha256(path: Path) -> str:
    """The SHA-256 of a model file, in hexadecimal digits. Raises ModelFileError where it cannot be read."""
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}.", "Check its permissions.") from error


def _check_header_size(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise ModelFileError(f"cannot read {path}: {error.strerror}.", "Check its permissions.") from error
    if len(start) < 8 or struct.unpack("<Q", start)[0] > _HEADER_LIMIT:
        raise ModelFileError(f"{path} is not a model file of verydeep.", "Give a file that `verydeep train` wrote.")


def _parse_header(path: Path, text: str) -> ModelInfo:
    try:
        header = json.loads(text)
        version = header["format_version"]
        if version > FORMAT_VERSION:
            raise ModelFileError(
                f"{path} has format version {version}; this verydeep reads up to {FORMAT_VERSION}.",
                "Upgrade: pip install --upgrade verydeep.",
            )
        architecture = Architecture.from_dict(header["architecture"])
        return ModelInfo(
            architecture=architecture,
            classes=tuple(_checked(isinstance(name, str), name) for name in header["classes"]),
            preprocessing=_parse_preprocessing(header["preprocessing"], architecture),
            calibration=_parse_calibration(header["calibration"]),
            ranges=_parse_ranges(header.get("ranges", {})),  # unknown to older versions
            origin=_parse_origin(header["origin"]),
        )
    except ModelFileError:
        raise
    except (KeyError, TypeError, ValueError, ArithmeticError, RecursionError, VerydeepError) as error:
        reason = error.message if isinstance(error, VerydeepError) else repr(error)
        raise ModelFileError(f"{path} has a damaged header: {reason}.", "Fetch or train it again.") from error


def _parse_preprocessing(fields: Mapping[str, Any], architecture: Architecture) -> Preprocessing:
    """Raises ValueError where it would make no input of the network, or an input that takes all memory."""
    preprocessing = Preprocessing(
        resize=int(fields["resize"]),
        crop=int(fields["crop"]),
        mean=tuple(float(value) for value in fields["mean"]),
        std=tuple(float(value) for value in fields["std"]),
        fit=fields.get("fit", "crop"),  # unknown to older versions
    )
    _checked(preprocessing.fit in FITS, preprocessing)
    _checked(preprocessing.fit == "crop" or architecture.task != "segment", preprocessing)
    _checked(preprocessing.crop <= preprocessing.resize <= _LARGEST_SIDE, preprocessing)
    _checked(len(preprocessing.mean) == len(preprocessing.std) == architecture.input_channels, preprocessing)
    _checked(all(abs(value) < 1e6 for value in preprocessing.mean), preprocessing)  # NaN is refused, too
    _checked(all(1e-6 <= value <= 1e6 for value in preprocessing.std), preprocessing)
    architecture.check_input(preprocessing.crop, preprocessing.crop)
    return preprocessing


def _parse_calibration(fields: Mapping[str, Any]) -> Calibration:
    calibration = Calibration(
        temperature=float(fields["temperature"]),
        reject_below=float(fields["reject_below"]),
        photos=int(fields["photos"]),
    )
    _checked(1e-6 <= calibration.temperature <= 1e6 and 0 <= calibration.reject_below <= 1, calibration)
    return calibration


def _parse_ranges(fields: Mapping[str, Any]) -> dict[str, tuple[float, ...]]:
    ranges = {name: tuple(float(value) for value in values) for name, values in fields.items()}
    for name, values in ranges.items():
        _checked(len(values) == RANGE_VALUES and all(0 <= value < 1e30 for value in values), (name, values))
    return ranges


def _parse_origin(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Any JSON, but NaN and infinity, which Python's reader takes and no other does. Raises ValueError."""
    json.dumps(fields, allow_nan=False)
    return dict(fields)


def _checked(is_right: bool, value: Any) -> Any:
    """`value`. Raises ValueError where it is not right."""
    if not is_right:
        raise ValueError(str(value)[:200])
    return value


def _check_shapes(where: str, architecture: Architecture, got: Mapping[str, tuple[int, ...]]) -> None:
    expected = architecture.weight_shapes
    if dict(got) == expected:
        return
    wrong = [name for name in expected if got.get(name) != expected[name]] + [n for n in got if n not in expected]
    first = wrong[0]
    raise ModelFileError(
        f"{where} does not hold the weights of {architecture.name}: {first} is {got.get(first, 'missing')}, "
        f"expected {expected.get(first, 'nothing of that name')} ({len(wrong)} such).",
        "Is it a file of another network?",
    )
