"""The torch engine. The only module of this package that imports torch; `open` loads it by name."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from verydeep.architecture import Architecture
from verydeep.errors import DeviceError
from verydeep.network import build
from verydeep.nouns import Weights
from verydeep.runtime.request import check_request

PRECISIONS = ("float32", "bfloat16")


class TorchEngine:
    """The network as torch runs it. Thread-safe: a run changes nothing.

    weights: arrays of `architecture.weight_shapes`. device: "auto" takes a GPU where there is one. precision:
    "bfloat16" computes convolutions and matrix products in it and holds the weights in float32. threads: of the CPU,
    a setting of the whole process. Raises DeviceError where the device is not there.
    """

    def __init__(
        self,
        architecture: Architecture,
        weights: Weights,
        device: str = "auto",
        precision: str = "float32",
        threads: int | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise DeviceError(
                f"the engine torch computes in {' or '.join(PRECISIONS)}, not {precision}.", "Use --engine native."
            )
        self.architecture = architecture
        self.precision = precision
        self._device = find_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        network = build(architecture, weights).to(self._device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks

    @property
    def device(self) -> str:
        """What the network runs on: "cpu", "cuda" or "mps"."""
        return self._device.type

    @property
    def device_name(self) -> str:
        """The GPU as its maker calls it; empty for the CPU."""
        return torch.cuda.get_device_name(self._device) if self.device == "cuda" else ""

    @property
    def threads(self) -> int:
        """How many of the CPU compute."""
        return torch.get_num_threads()

    @torch.inference_mode()
    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """images: (N, channels, H, W), normalised -> the named outputs, float32: see `nouns.Engine`."""
        check_request(self.architecture, images, outputs)
        pixels = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(self._device)
        with self._arithmetic():
            found = self._network.features(pixels.contiguous(memory_format=torch.channels_last), outputs)
        return {name: found[name].float().cpu().contiguous().numpy() for name in outputs}

    def _arithmetic(self) -> contextlib.AbstractContextManager[object]:
        if self.precision == "bfloat16":
            return torch.autocast(self.device, torch.bfloat16)
        return exact_float32() if self.device == "cuda" else contextlib.nullcontext()


@contextlib.contextmanager
def exact_float32() -> Iterator[None]:
    """Within it cuDNN does not round to TF32, whose 10 bits of mantissa make float32 one by name only.

    The flag is the whole process's, and a training around it may want TF32: it is put back. One thread at a time: of
    two that overlap, the second would put back what the first has set.
    """
    cudnn = torch.backends.cudnn
    with (
        _one_at_a_time,
        cudnn.flags(
            enabled=cudnn.enabled,
            benchmark=cudnn.benchmark,
            deterministic=cudnn.deterministic,
            allow_tf32=False,
        ),
    ):
        yield


_one_at_a_time = threading.Lock()


def find_device(name: str) -> torch.device:
    """The device of that name; "auto" is the best that works here. Raises DeviceError."""
    works = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    available = [device for device, is_there in works.items() if is_there]
    if name == "auto":
        return torch.device(available[0])
    if name not in available:
        raise DeviceError(
            f"the device {name} is not there, or this torch was built without it; there is {', '.join(available)}.",
            "Use `--device auto`, or install the torch of your GPU: https://pytorch.org/get-started/locally/",
        )
    return torch.device(name)
