"""OpenVINO: its own operations, one stream for the least delay; int8 by NNCF, calibrated."""

from pathlib import Path

import numpy as np
import openvino
from openvino import opset13 as ops

from verydeep.architecture import LRN
from verydeep.bench.contestants import Contestant, Loaded
from verydeep.bench.rows import Row
from verydeep.bench.subject import Subject

# float32 would mean "whatever is fastest" where nothing is asked for: on processors with bfloat16 that is bfloat16
_HINTS = {"float32": "f32", "bfloat16": "bf16", "int8": "f32"}


def prepare(subject: Subject, contestant: Contestant) -> None:
    """The graph's two files."""
    model = make_model(subject)
    if contestant.precision == "int8":
        import nncf  # a start does without

        images = [image[None] for image in subject.calibration()]
        preset = nncf.QuantizationPreset.PERFORMANCE
        model = nncf.quantize(model, nncf.Dataset(images), preset=preset, subset_size=len(images))
    openvino.save_model(model, _path(subject, contestant), compress_to_fp16=False)


def load(subject: Subject, contestant: Contestant, threads: int, batch: int) -> Loaded:
    """See `contestants.Builder`."""
    core, path = openvino.Core(), _path(subject, contestant)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": _HINTS[contestant.precision],
    }
    if batch == 1:  # as in the file: a later start reads what the first one has compiled
        compiled = core.compile_model(path, "CPU", settings | {"CACHE_DIR": str(path.with_suffix(".cache"))})
    else:
        model = core.read_model(path)
        model.reshape([batch, subject.architecture.input_channels, *subject.image_size])
        compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = request.infer({0: images}, share_inputs=True, share_outputs=True)[0]
        return logits

    return Loaded(run)


def make_model(subject: Subject) -> openvino.Model:
    """The network for one image; `load` changes that to the batch."""
    shape = [1, subject.architecture.input_channels, *subject.image_size]
    images = value = ops.parameter(shape, np.float32, name="images")
    for row in subject.rows():
        value = _operation(row, value)
        if row.layer.has_relu:
            value = ops.relu(value, name=row.layer.relu_name)
    return openvino.Model([ops.result(value, name="logits")], [images], "verydeep")


def _operation(row: Row, value: openvino.Node) -> openvino.Node:
    layer = row.layer
    if layer.kind == "conv":
        pads = [layer.padding] * 2
        value = ops.convolution(value, ops.constant(row.weight), [1, 1], pads, pads, [1, 1])
        return ops.add(value, ops.constant(row.bias.reshape(1, -1, 1, 1)), name=row.name)
    if layer.kind == "pool":
        sides = ([layer.stride] * 2, [1, 1], [0, 0], [0, 0], [layer.kernel] * 2)
        return ops.max_pool(value, *sides).output(0)
    if layer.kind == "lrn":
        size = int(LRN["size"])  # by which OpenVINO divides alpha
        return ops.lrn(value, np.array([1]), size * LRN["alpha"], LRN["beta"], LRN["k"], size)
    if layer.kind == "gap":
        return ops.reduce_mean(value, np.array([2, 3]), keep_dims=True)
    flat = ops.reshape(value, np.array([0, layer.weight_shape[1]]), special_zero=True)  # 0: as it is, the batch
    product = ops.matmul(flat, ops.constant(row.weight), transpose_a=False, transpose_b=True)
    return ops.add(product, ops.constant(row.bias[None]), name=row.name)


def _path(subject: Subject, contestant: Contestant) -> Path:
    return subject.folder / f"{contestant.name}.xml"
