"""Makes what is measured: weights at random or from a model file, inputs, and the exact answers to them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.architecture import CONFIGURATIONS, HEADS, Architecture
from verydeep.bench.contestants import has_native
from verydeep.bench.subject import Subject
from verydeep.errors import UsageError
from verydeep.evaluate.results import model_label
from verydeep.image import preprocess, read_image
from verydeep.nouns import Engine, Preprocessing
from verydeep.runtime.ranges import measure_ranges
from verydeep.runtime.reference import ReferenceEngine
from verydeep.weights import ModelInfo, map_model, read_info, read_model, write_model
from verydeep.weights.files import model_path

CALIBRATED_ON = 8  # inputs, by int8 and by the precision fast
_MODEL = "model.safetensors"


def make_subject(
    folder: Path,
    model: Path | Architecture,
    *,
    image_size: tuple[int, int] | None = None,
    batch: int = 1,
    photos: Sequence[str] = (),
    seed: int = 0,
) -> Subject:
    """Writes the files. model: a model file, or an architecture, whose weights are drawn from He's distribution.

    image_size: by default that of the model's photos. batch: the largest that is run. photos: from which the inputs
    are drawn; without any they are drawn from N(0, 1). Raises ArchitectureError, ImageError, ModelFileError and
    StorageError.
    """
    if isinstance(model, Architecture):
        path, label = folder / _MODEL, "-"
        write_model(path, _random_info(model), random_weights(model, seed))
    else:
        path, label = model_path(model), model_label(model_path(model))
    info = read_info(path)
    size = image_size or (info.preprocessing.crop, info.preprocessing.crop)
    info.architecture.check_input(*size)
    inputs = _photo_inputs(info, photos, batch, size, seed) if photos else _random_inputs(info, batch, size, seed)
    calibration = inputs[:CALIBRATED_ON]
    if not info.ranges:
        path = _with_ranges(folder, path, calibration)
    subject = Subject(folder, path, info.architecture, size, label, has_photos=bool(photos))
    subject.write(inputs[CALIBRATED_ON:], calibration)
    return subject


def exact_logits(subject: Subject, batch: int) -> np.ndarray:
    """What the reference computes in float64: errors are measured from here."""
    info, weights = read_model(subject.model)
    logits = ReferenceEngine(info.architecture, weights, precision="float64").run(subject.images(batch))["logits"]
    return logits.reshape(batch, -1)


def largest_inputs(subject: Subject) -> dict[str, float]:
    """Of each layer with weights the largest absolute value among its inputs, over the calibration."""
    reads = {}
    source = "input"
    for layer in subject.architecture.layers:
        if layer.has_weights:
            reads[layer.name] = source
        source = layer.relu_name if layer.has_relu else layer.name
    images = subject.calibration()
    outputs = _float32_engine(subject.model).run(images, sorted(set(reads.values()) - {"input"}))
    largest = {name: float(np.abs(array).max()) for name, array in outputs.items()}
    largest["input"] = float(np.abs(images).max())
    return {name: largest[source] for name, source in reads.items()}


def random_weights(architecture: Architecture, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights from N(0, 2 / fan-in), small biases, batch norm the identity; the same on every machine."""
    random = np.random.Generator(np.random.Philox(key=seed))
    weights: dict[str, np.ndarray] = {}
    for name, shape in architecture.weight_shapes.items():
        if len(shape) > 1:
            spread = np.float32((2 / np.prod(shape[1:])) ** 0.5)
            weights[name] = random.standard_normal(shape, dtype=np.float32) * spread
        elif name.startswith("bn"):
            weights[name] = np.full(shape, name.endswith(("weight", "running_var")), np.float32)
        else:
            weights[name] = random.standard_normal(shape, dtype=np.float32) * np.float32(0.01)
    return weights


def architecture_named(name: str, *, classes: int = 1000, input_size: int = 224) -> Architecture:
    """The inverse of `Architecture.name`: "D", "A-LRN", "B-bn-gap-0.5x". Raises ArchitectureError and UsageError."""
    configuration = max((key for key in CONFIGURATIONS if f"{name}-".startswith(f"{key}-")), key=len, default="")
    fields: dict[str, object] = {}
    for part in name.removeprefix(configuration).split("-")[1:]:
        if part == "bn":
            fields["batch_norm"] = True
        elif part in HEADS:
            fields["head"] = part
        elif part.endswith("x") and part[:-1].replace(".", "", 1).isdecimal():
            fields["width"] = float(part[:-1])
        else:
            configuration = ""
    if not configuration:
        raise UsageError(
            f"no architecture {name!r}; expected a configuration ({', '.join(CONFIGURATIONS)}), and after it -bn, "
            f"-gap or -conv, and a width.",
            "For example D, A-LRN, B-bn-gap-0.5x.",
        )
    return Architecture(configuration, classes=classes, input_size=input_size, **fields)  # type: ignore[arg-type]


def _random_info(architecture: Architecture) -> ModelInfo:
    classes = tuple(f"class {number}" for number in range(architecture.classes))
    channels, size = architecture.input_channels, architecture.input_size
    preprocessing = Preprocessing(size, size, (0.5,) * channels, (0.25,) * channels)
    return ModelInfo(architecture, classes, preprocessing)


def _random_inputs(info: ModelInfo, batch: int, size: tuple[int, int], seed: int) -> np.ndarray:
    random = np.random.Generator(np.random.Philox(key=seed + 1))
    return random.standard_normal((CALIBRATED_ON + batch, info.architecture.input_channels, *size), dtype=np.float32)


def _photo_inputs(info: ModelInfo, photos: Sequence[str], batch: int, size: tuple[int, int], seed: int) -> np.ndarray:
    """Of photos in a random order, so that classes are mixed; it begins anew where there are not enough."""
    crop = info.preprocessing.crop
    if size != (crop, crop):
        raise UsageError(
            f"photos become inputs of {crop} x {crop} pixels, as the model file says; got the size {size}.",
            "Leave out --size or --photos.",
        )
    order = np.random.Generator(np.random.Philox(key=seed + 1)).permutation(len(photos))
    chosen = [photos[number] for number in order[: CALIBRATED_ON + batch]]
    inputs = [preprocess(read_image(path), info.preprocessing) for path in chosen]
    return np.stack([inputs[number % len(inputs)] for number in range(CALIBRATED_ON + batch)])


def _with_ranges(folder: Path, path: Path, images: np.ndarray) -> Path:
    """A model file in the folder with what whole-number precisions have to know, its weights as they are in `path`."""
    info, weights = map_model(path)
    ranges = measure_ranges(info.architecture, _float32_engine(path), list(images))
    dtype = "float16" if any(array.dtype == np.float16 for array in weights.values()) else "float32"
    write_model(folder / _MODEL, replace(info, ranges=ranges), weights, dtype)
    return folder / _MODEL


def _float32_engine(path: Path) -> Engine:
    """The native one where it was built, else the reference. It leaves no packed weights in the user's cache."""
    info, weights = read_model(path)
    if not has_native():
        return ReferenceEngine(info.architecture, weights)
    from verydeep.runtime.native_engine import NativeEngine

    return NativeEngine(info.architecture, weights)
