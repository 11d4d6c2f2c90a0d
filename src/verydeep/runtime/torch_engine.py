"""The torch engine. The only module of this package that imports torch; `open` loads it by name."""

import contextlib
from collections.abc import Sequence

import numpy as np
import torch

from verydeep.architecture import Architecture
from verydeep.errors import DeviceError
from verydeep.network import build
from verydeep.nouns import Weights
from verydeep.runtime.request import check_request


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
        self.architecture = architecture
        self.device = find_device(device)
        self.precision = precision
        if threads is not None:
            torch.set_num_threads(threads)
        if self.device.type == "cuda" and precision == "float32":
            torch.backends.cudnn.allow_tf32 = False  # TF32 has 10 bits of mantissa: float32 would be one by name only
        network = build(architecture, weights).to(self.device)
        self._network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks

    @torch.inference_mode()
    def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
        """images: (N, channels, H, W), normalised -> the named outputs, float32: see `nouns.Engine`."""
        check_request(self.architecture, images, outputs)
        pixels = torch.from_numpy(np.ascontiguousarray(images, np.float32)).to(self.device)
        with self._autocast():
            found = self._network.features(pixels.contiguous(memory_format=torch.channels_last), outputs)
        return {name: found[name].float().cpu().contiguous().numpy() for name in outputs}

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        if self.precision == "float32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)


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
