"""MNN: built, written and loaded by its Python module alone; its command-line tools are not used.

Convolutions come from `MNN.nn`, whose weights become part of the operation: with weights that are inputs, as
`MNN.expr` has them, MNN does not take its fast methods. Fully connected layers are convolutions of the whole map.
"""

from collections.abc import Callable
from typing import Any

import MNN
import MNN.expr
import MNN.nn
import numpy as np

from verydeep.bench.contestants import Contestant, Loaded
from verydeep.bench.rows import Row
from verydeep.bench.subject import Subject
from verydeep.errors import UsageError


def prepare(subject: Subject, contestant: Contestant) -> None:
    """The graph's file."""
    for layer in subject.architecture.layers:
        if layer.kind == "lrn":
            raise UsageError(f"MNN's Python module has no local response normalisation ({layer.name}).")
    shape = [1, subject.architecture.input_channels, *subject.image_size]
    images = MNN.expr.placeholder(shape, MNN.expr.NCHW)
    images.name = "images"
    value = MNN.expr.convert(images, MNN.expr.NC4HW4)
    for row in subject.rows():
        value = _operation(row)(value)
        if row.layer.has_relu:
            value = MNN.expr.relu(value)
    logits = MNN.expr.convert(value, MNN.expr.NCHW)
    logits.name = "logits"
    MNN.expr.save([logits], _path(subject, contestant))


def load(subject: Subject, contestant: Contestant, threads: int, batch: int) -> Loaded:
    """See `contestants.Builder`."""
    settings = {"backend": 0, "numThread": threads, "precision": "high", "memory": "normal"}
    runtime = MNN.nn.create_runtime_manager((settings,))
    module = MNN.nn.load_module_from_file(
        _path(subject, contestant), ["images"], ["logits"], runtime_manager=runtime, shape_mutable=False
    )

    def run(images: np.ndarray) -> np.ndarray:
        pixels = MNN.expr.const(images, list(images.shape), MNN.expr.NCHW)
        (logits,) = module.forward([pixels])
        return np.array(logits.read())

    return Loaded(run)


def _operation(row: Row) -> Callable[[Any], Any]:
    """What makes the layer's output of its input."""
    layer = row.layer
    if layer.kind == "pool":
        return lambda value: MNN.expr.max_pool(value, [layer.kernel] * 2, [layer.stride] * 2)
    if layer.kind == "gap":
        return lambda value: MNN.expr.convert(
            MNN.expr.reduce_mean(MNN.expr.convert(value, MNN.expr.NCHW), [2, 3], True), MNN.expr.NC4HW4
        )
    sides, padding = (layer.kernel, layer.kernel), (layer.padding, layer.padding)
    mode = MNN.expr.Padding_Mode.CAFFE  # padded as it is told
    conv = MNN.nn.conv(layer.in_channels, layer.out_channels, sides, (1, 1), padding, (1, 1), False, True, mode)
    shape = [layer.out_channels, layer.in_channels, *sides]
    weight = MNN.expr.const(row.weight, shape, MNN.expr.NCHW)
    bias = MNN.expr.const(row.bias, [layer.out_channels], MNN.expr.NCHW)
    conv.load_parameters([bias, weight])  # the order of conv.parameters
    conv.train(False)
    forward: Callable[[Any], Any] = conv.forward
    return forward


def _path(subject: Subject, contestant: Contestant) -> str:
    return str(subject.folder / f"{contestant.name}.mnn")
