"""Who is measured: our engines and every rival, a row each. To add a precision of an engine, add a row."""

import importlib
import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from verydeep.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from verydeep.bench.subject import Subject

# What is compared with what: a rival of the same class computes with numbers of the same size.
CLASSES = {"float32": "float32", "fast": "16 bits", "bfloat16": "16 bits", "int8": "8 bits"}
LITTLE_WORK_GMACS = 5.0  # of a batch: up to here the reference takes part


@dataclass(frozen=True)
class Contestant:
    """An engine in one precision."""

    name: str
    origin: str  # as `--rivals` names it; of ours, the engine's name
    precision: str  # a key of `CLASSES`
    module: str  # that builds it: a `Builder`
    needs: tuple[str, ...] = ()  # modules that have to be installed
    is_compiled: bool = False  # by torch.compile
    is_ours: bool = False

    @property
    def number_class(self) -> str:
        return CLASSES[self.precision]


_OURS, _RIVALS = "verydeep.bench.engines", "verydeep.bench.rivals"
_NATIVE, _TORCH, _ONNX = ("verydeep.runtime._native",), ("torch",), ("onnxruntime", "onnx")
_OPENVINO, _NCNN, _MNN = ("openvino",), ("ncnn",), ("MNN",)

# fmt: off
CONTESTANTS = (
    Contestant("native",             "native",      "float32",  _OURS, _NATIVE, is_ours=True),
    Contestant("native-fast",        "native",      "fast",     _OURS, _NATIVE, is_ours=True),
    Contestant("native-int8",        "native",      "int8",     _OURS, _NATIVE, is_ours=True),
    Contestant("torch-engine",       "torch",       "float32",  _OURS, ("torch", "jaxtyping"), is_ours=True),
    Contestant("reference",          "reference",   "float32",  _OURS, is_ours=True),
    Contestant("torch",              "torch",       "float32",  f"{_RIVALS}.pytorch", _TORCH),
    Contestant("torch-compile",      "torch",       "float32",  f"{_RIVALS}.pytorch", _TORCH, is_compiled=True),
    Contestant("torch-bf16",         "torch",       "bfloat16", f"{_RIVALS}.pytorch", _TORCH),
    Contestant("torch-compile-bf16", "torch",       "bfloat16", f"{_RIVALS}.pytorch", _TORCH, is_compiled=True),
    Contestant("onnxruntime",        "onnxruntime", "float32",  f"{_RIVALS}.onnxruntime", _ONNX),
    Contestant("onnxruntime-int8",   "onnxruntime", "int8",     f"{_RIVALS}.onnxruntime", _ONNX),
    Contestant("openvino",           "openvino",    "float32",  f"{_RIVALS}.openvino", _OPENVINO),
    Contestant("openvino-bf16",      "openvino",    "bfloat16", f"{_RIVALS}.openvino", _OPENVINO),
    Contestant("openvino-int8",      "openvino",    "int8",     f"{_RIVALS}.openvino", (*_OPENVINO, "nncf")),
    Contestant("ncnn",               "ncnn",        "float32",  f"{_RIVALS}.ncnn", _NCNN),
    Contestant("ncnn-bf16",          "ncnn",        "bfloat16", f"{_RIVALS}.ncnn", _NCNN),
    Contestant("ncnn-int8",          "ncnn",        "int8",     f"{_RIVALS}.ncnn", _NCNN),
    Contestant("mnn",                "mnn",         "float32",  f"{_RIVALS}.mnn", _MNN),
)
# fmt: on
PRECISIONS = tuple(dict.fromkeys(one.precision for one in CONTESTANTS if one.origin == "native"))


@dataclass(frozen=True)
class Loaded:
    """A contestant ready to run."""

    run: "Callable[[np.ndarray], np.ndarray]"  # (batch, channels, H, W) float32 -> logits
    # seconds of each layer, or of all up to each pool; None where it cannot tell
    time_parts: "Callable[[np.ndarray], dict[str, float]] | None" = None


class Builder(Protocol):
    """What a contestant's module has."""

    def prepare(self, subject: "Subject", contestant: Contestant) -> None:
        """Writes into the subject's folder what `load` reads."""

    def load(self, subject: "Subject", contestant: Contestant, threads: int, batch: int) -> Loaded:
        """From these files, as fast as it can, to what runs batches of that size on so many threads."""


def builder_of(contestant: Contestant) -> Builder:
    """Its module; this imports the library."""
    return cast("Builder", importlib.import_module(contestant.module))


def named(name: str) -> Contestant:
    """The contestant of that name."""
    return next(one for one in CONTESTANTS if one.name == name)


def has_native() -> bool:
    """Whether the native engine was built."""
    return importlib.util.find_spec(_NATIVE[0]) is not None


def missing_for(contestant: Contestant) -> list[str]:
    """The modules that it needs and that are not installed."""
    return [name for name in contestant.needs if importlib.util.find_spec(name) is None]


def chosen(rivals: str, precisions: Sequence[str], gmacs: float) -> tuple[Contestant, ...]:
    """Those that shall take part, installed or not. Raises UsageError on an unknown name.

    rivals: "all", "none", or libraries and names of contestants between commas. precisions: of the native engine.
    gmacs: 10^9 multiplications of a batch, which decide whether the reference is worth its time.
    """
    if unknown := [name for name in precisions if name not in PRECISIONS]:
        raise UsageError(
            f"the native engine has no precision {unknown[0]!r}; there are {', '.join(PRECISIONS)}.",
            "Separate them by commas.",
        )
    wanted = _rivals_named(rivals)
    return tuple(
        one
        for one in CONTESTANTS
        if (one.precision in precisions if one.origin == "native" else one in wanted if not one.is_ours else True)
        and (one.origin != "reference" or gmacs <= LITTLE_WORK_GMACS)
    )


def _rivals_named(text: str) -> list[Contestant]:
    rivals = [one for one in CONTESTANTS if not one.is_ours]
    if text in ("all", "none"):
        return rivals if text == "all" else []
    words = [word.strip() for word in text.split(",")]
    known = dict.fromkeys(name for one in rivals for name in (one.origin, one.name))
    if unknown := [word for word in words if word not in known]:
        raise UsageError(
            f"no rival {unknown[0]!r}; there are {', '.join(known)}.", "Separate them by commas, or say all or none."
        )
    return [one for one in rivals if one.origin in words or one.name in words]
