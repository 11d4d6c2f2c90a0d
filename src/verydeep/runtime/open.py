"""`open_model`: a name or a path -> an engine with the model's weights in it, and what the model file says."""

import importlib
import importlib.resources
import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from verydeep.errors import DeviceError, MissingExtraError, ModelFileError
from verydeep.nouns import Engine
from verydeep.weights import ModelInfo, read_model

BUILT_IN = "imagenette"  # the model where none is named

# Loaded by name when it is asked for: from a photo to a prediction nothing imports torch but the torch engine itself.
# Each is a class called with (architecture, weights, device, precision, threads).
ENGINES = {
    "torch": "verydeep.runtime.torch_engine:TorchEngine",
    "reference": "verydeep.runtime.reference:ReferenceEngine",
}
MOST_THREADS = 1024  # many more cannot be started, and torch would end the process
TORCH_NEEDS = ("torch", "jaxtyping")  # the extra `train`
DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class OpenedModel:
    """A model ready to run."""

    engine: Engine
    info: ModelInfo  # the file's: its architecture is not the dense view, even where the engine runs that
    path: Path
    engine_name: str  # of `ENGINES`: what "auto" came to


def open_model(
    model: str | Path | None = None,
    *,
    engine: str = "auto",
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    is_dense: bool = False,
) -> OpenedModel:
    """Opens a model file, a folder with one, or a built-in model by its name (by default `BUILT_IN`).

    is_dense: the engine runs the dense view, which takes any image of at least the input size. Raises ModelFileError,
    DeviceError for what this machine does not offer, MissingExtraError where the engine's library is not installed.
    """
    engine_name = _choose_engine(engine, device, precision, threads)
    make_engine = _load_engine(engine_name)
    path = find_model(model)
    info, weights = read_model(path)
    architecture = info.architecture.dense() if is_dense else info.architecture
    weights = {name: weights[name].reshape(shape) for name, shape in architecture.weight_shapes.items()}
    return OpenedModel(make_engine(architecture, weights, device, precision, threads), info, path, engine_name)


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


def built_in_models() -> dict[str, Path]:
    """The models shipped with the package: name -> file."""
    folder = Path(str(importlib.resources.files("verydeep") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.safetensors"))}


def _choose_engine(engine: str, device: str, precision: str, threads: int | None) -> str:
    """The name of the engine to load. Settings are checked before a large model is read for nothing."""
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
    missing = [name for name in TORCH_NEEDS if importlib.util.find_spec(name) is None]
    if engine == "auto":
        # torch is several times faster a photo, and loading it costs as much as some tens of photos
        engine = "reference" if missing else "torch"
    if engine == "torch" and missing:
        raise MissingExtraError(
            f"the engine torch needs the library {missing[0]}, which is not installed.",
            "pip install 'verydeep[train]', or use the engine reference.",
        )
    return engine


def _load_engine(engine: str) -> Callable[..., Engine]:
    """The class of an engine."""
    module, name = ENGINES[engine].split(":")
    loaded: Callable[..., Engine] = getattr(importlib.import_module(module), name)
    return loaded
