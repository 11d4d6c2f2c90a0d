"""`open_model`: a name or a path -> an engine with the model's weights in it, and what the model file says."""

import importlib
import importlib.resources
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from verydeep import machine
from verydeep.accounting import account_layers, total
from verydeep.architecture import Architecture, Task
from verydeep.errors import DeviceError, MissingExtraError, ModelFileError
from verydeep.nouns import Engine, Weights
from verydeep.weights import MappedWeights, ModelInfo, map_model, read_info, read_model

BUILT_IN = "imagenette"  # the model where none is named

# Loaded by name when it is asked for: from a photo to a prediction nothing imports torch but the torch engine itself.
# Each is a class called with (architecture, weights, device, precision, threads); native takes `ranges`, too.
ENGINES = {
    "native": "verydeep.runtime.native_engine:NativeEngine",
    "torch": "verydeep.runtime.torch_engine:TorchEngine",
    "reference": "verydeep.runtime.reference:ReferenceEngine",
}
MOST_THREADS = 1024  # many more cannot be started, and torch would end the process
TORCH_NEEDS = ("torch", "jaxtyping")  # the extra `train`
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16", "fast", "int8")
OF_NATIVE = ("fast", "int8")  # precisions that no other engine has
# 10^9 multiplications and additions: with fewer, loading torch costs more than it saves (docs/decisions/0007)
LITTLE_WORK_GMACS = 50.0


class OpenedEngine(Engine, Protocol):
    """An engine of `ENGINES`, which also says what it runs on."""

    @property
    def device(self) -> str:
        """One of `DEVICES`: what "auto" came to."""

    @property
    def device_name(self) -> str:
        """The GPU as its maker calls it; empty for the CPU."""

    @property
    def threads(self) -> int:
        """How many of the CPU compute."""


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to run."""

    engine: OpenedEngine
    info: ModelInfo  # the file's: its architecture is not the dense view, even where the engine runs that
    path: Path
    engine_name: str  # of `ENGINES`: what "auto" came to
    weights: Weights  # where they lie in the file, in the shapes that the engine runs; read where they are looked at


def open_model(
    model: str | Path | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    is_dense: bool = False,
    photos: int | None = None,
) -> OpenedModel:
    """Opens a model file, a folder with one, or a built-in model by its name (by default `BUILT_IN`).

    engine: a name of `ENGINES`. "auto" takes the native engine where it was built, else torch where it is installed,
    else the reference; and torch where it is installed and a GPU or bfloat16 is asked for, or a GPU may be there.
    `photos`, how many will be run, may be known to be so few that they are done before torch would be loaded
    (`LITTLE_WORK_GMACS`): then it does without torch. An engine that is named is taken or an error, never replaced.
    is_dense: the engine runs the dense view, which takes any image of at least the input size. threads: of the CPU that
    compute; for torch a setting of the whole process. Raises ModelFileError, DeviceError for what this machine does not
    offer, and MissingExtraError where the engine's library is not installed or cannot be loaded.
    """
    _check_settings(engine, device, precision, threads)
    path = find_model(model)
    info = read_info(path)  # before torch is loaded for the sake of a misspelt name
    if engine == "auto":
        engine = _choose_engine(device, precision, is_little=_is_little_work(info, photos, is_dense))
    make_engine = _load_engine(engine)
    weights: Weights
    info, weights = map_model(path) if engine == "native" else read_model(path)
    architecture = info.architecture.dense() if is_dense else info.architecture
    weights = _viewed(weights, architecture)
    options = {"ranges": info.ranges} if engine == "native" else {}
    opened = make_engine(architecture, weights, device, precision, threads, **options)
    mapped = weights if isinstance(weights, MappedWeights) else _viewed(map_model(path)[1], architecture)
    return OpenedModel(opened, info, path, engine, mapped)


def find_model(model: str | Path | None = None) -> Path:
    """Where a model lies: a path that exists wins over the name of a built-in model. Raises ModelFileError."""
    built_in = built_in_models()
    listing = (
        f"Give a model file, a folder with one, or a built-in model: {', '.join(built_in) or 'there is none here'}."
    )
    if model is None:
        if BUILT_IN not in built_in:
            raise ModelFileError(f"the built-in model {BUILT_IN!r} is not in this installation.", listing)
        return built_in[BUILT_IN]
    if os.path.exists(model):  # noqa: PTH110, Path.exists raises on a name that is too long
        return Path(model)
    if str(model) in built_in:
        return built_in[str(model)]
    raise ModelFileError(f"there is no model {str(model)!r}.", listing)


def task_of(model: str | Path | None = None) -> Task:
    """What a model answers, without opening it. Raises ModelFileError."""
    return read_info(find_model(model)).architecture.task


def built_in_models() -> dict[str, Path]:
    """The models shipped with the package: name -> file."""
    folder = Path(str(importlib.resources.files("verydeep") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _check_settings(engine: str, device: str, precision: str, threads: int | None) -> None:
    for what, value, allowed in (
        ("engine", engine, ("auto", *ENGINES)),
        ("device", device, DEVICES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in allowed:
            raise DeviceError(f"no {what} {value!r}; there are {', '.join(allowed)}.", "Choose one of these.")
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise DeviceError(
            f"threads is {threads}; expected a number of at least 1, at most {MOST_THREADS}.",
            "Leave it out to use all cores.",
        )


def _is_little_work(info: ModelInfo, photos: int | None, is_dense: bool) -> bool:
    """Whether that many photos are so few; an unknown number is not."""
    if photos is None:
        return False
    architecture, preprocessing = info.architecture, info.preprocessing
    side = preprocessing.crop
    if is_dense:  # a photo is at least a square of that side
        architecture, side = architecture.dense(), preprocessing.resize
    return photos * total(account_layers(architecture, (side, side))).macs <= LITTLE_WORK_GMACS * 1e9


def _viewed(weights: Weights, architecture: Architecture) -> Weights:
    """The arrays in the shapes that this view of the network has for them."""
    arrays = {name: weights[name].reshape(shape) for name, shape in architecture.weight_shapes.items()}
    return MappedWeights(arrays, weights.path, weights.identity) if isinstance(weights, MappedWeights) else arrays


def _choose_engine(device: str, precision: str, *, is_little: bool) -> str:
    """What "auto" comes to."""
    if precision in OF_NATIVE:
        return "native"
    if device in ("cuda", "mps") or precision == "bfloat16":
        return "torch"
    if _missing_for_torch():
        return "native" if _is_native_built() else "reference"
    if not is_little and device == "auto" and machine.may_have_gpu():
        return "torch"
    return "native" if _is_native_built() else "reference" if is_little else "torch"


def _is_native_built() -> bool:
    return importlib.util.find_spec("verydeep.runtime._native") is not None


def _missing_for_torch() -> list[str]:
    return [name for name in TORCH_NEEDS if importlib.util.find_spec(name) is None]


def _load_engine(engine: str) -> Callable[..., OpenedEngine]:
    """The class of an engine. Raises MissingExtraError."""
    if engine == "native" and not _is_native_built():
        raise MissingExtraError(
            "the native engine is not in this installation: it was not built, or for another Python.",
            "Install a C++ compiler and then verydeep anew, or use --engine torch or reference.",
        )
    if engine == "torch" and (missing := _missing_for_torch()):
        raise MissingExtraError(
            f"the engine torch needs the library {missing[0]}, which is not installed.",
            "pip install 'verydeep[train]', or use the engine reference.",
        )
    module, name = ENGINES[engine].split(":")
    try:
        loaded: Callable[..., OpenedEngine] = getattr(importlib.import_module(module), name)
    except (ImportError, OSError) as error:  # OSError: a library that the library needs
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MissingExtraError(
            f"the engine {engine} cannot be loaded, its library is broken: {reason}.",
            "`verydeep doctor` says more; meanwhile use the engine reference.",
        ) from error
    return loaded
