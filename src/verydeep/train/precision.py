"""Which arithmetic a training uses: bfloat16 where the machine is faster in it."""

import contextlib
import time

import torch
import torch.nn.functional as F  # noqa: N812, torch's own custom


def choose_precision(wanted: str, device: torch.device) -> str:
    """wanted: "float32", "bfloat16", or "auto", which decides for this machine."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if _is_bfloat16_faster(device) else "float32"


def autocast(device: torch.device, precision: str) -> contextlib.AbstractContextManager[None]:
    """Within it convolutions and matrix products run in the precision; weights stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")


def _is_bfloat16_faster(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # measured, since a processor without 16-bit arithmetic emulates it, slowly
    return _convolution_seconds(torch.bfloat16) * 1.2 < _convolution_seconds(torch.float32)


def _convolution_seconds(dtype: torch.dtype) -> float:
    """One convolution of conv3_1's kind: the best of ten, after one to warm up."""
    image = torch.zeros(4, 128, 28, 28, dtype=dtype).to(memory_format=torch.channels_last)
    weight = torch.zeros(256, 128, 3, 3, dtype=dtype)
    seconds = []
    for _ in range(11):
        start = time.perf_counter()
        F.conv2d(image, weight, padding=1)
        seconds.append(time.perf_counter() - start)
    return min(seconds[1:])
