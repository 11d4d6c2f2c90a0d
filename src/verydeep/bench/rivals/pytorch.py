"""torch: a plain nn.Sequential in channels_last, eager, or compiled with its weights frozen."""

from collections.abc import Iterator

import numpy as np
import safetensors.torch
import torch
from torch import nn

from verydeep.architecture import LRN, Layer
from verydeep.bench.contestants import Contestant, Loaded
from verydeep.bench.subject import Subject


def prepare(subject: Subject, contestant: Contestant) -> None:
    """The weights in the precision that they are computed with, by the names that nn.Sequential gives them."""
    arrays = {}
    for row in subject.rows():
        if row.layer.has_weights:
            arrays[f"{row.name}.weight"] = torch.from_numpy(row.weight).to(_dtype(contestant))
            arrays[f"{row.name}.bias"] = torch.from_numpy(row.bias).to(_dtype(contestant))
    safetensors.torch.save_file(arrays, subject.folder / _file(contestant))


def load(subject: Subject, contestant: Contestant, threads: int, batch: int) -> Loaded:
    """See `contestants.Builder`."""
    torch.set_num_threads(threads)
    network = nn.Sequential()
    with torch.device("meta"):  # no memory and no time for what is replaced at once
        for name, module in _modules(subject.architecture.layers):
            network.add_module(name, module)
    network.load_state_dict(safetensors.torch.load_file(subject.folder / _file(contestant)), assign=True)
    network = network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # an overload lacks
    compute = _compiled(network) if contestant.is_compiled else network

    def run(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():  # freezing takes it where inference_mode is refused
            pixels = torch.from_numpy(images).to(_dtype(contestant), memory_format=torch.channels_last)
            logits: np.ndarray = compute(pixels).float().numpy()
        return logits

    return Loaded(run)


def _compiled(network: nn.Module) -> nn.Module:
    from torch._inductor import config  # takes a second to import

    config.freezing = True  # weights are constants, and may be laid out anew
    compiled: nn.Module = torch.compile(network, dynamic=False)  # type: ignore[assignment]  # it is one, and callable
    return compiled


def _modules(layers: tuple[Layer, ...]) -> Iterator[tuple[str, nn.Module]]:
    for layer in layers:
        if layer.kind == "conv":
            yield layer.name, nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel, padding=layer.padding)
        elif layer.kind == "pool":
            yield layer.name, nn.MaxPool2d(layer.kernel, layer.stride)
        elif layer.kind == "lrn":
            size = int(LRN["size"])  # by which torch divides alpha
            yield layer.name, nn.LocalResponseNorm(size, size * LRN["alpha"], LRN["beta"], LRN["k"])
        elif layer.kind == "gap":
            yield layer.name, nn.AdaptiveAvgPool2d(1)
        else:
            yield f"flat_{layer.name}", nn.Flatten()
            yield layer.name, nn.Linear(layer.weight_shape[1], layer.out_channels)
        if layer.has_relu:
            yield layer.relu_name, nn.ReLU(inplace=True)


def _dtype(contestant: Contestant) -> torch.dtype:
    return torch.bfloat16 if contestant.precision == "bfloat16" else torch.float32


def _file(contestant: Contestant) -> str:
    return f"{contestant.name}.safetensors"
