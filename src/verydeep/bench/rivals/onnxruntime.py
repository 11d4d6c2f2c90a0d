"""onnxruntime: an ONNX graph; in int8 quantized by its own tool, calibrated, a scale for each output channel."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from verydeep.architecture import LRN
from verydeep.bench.contestants import Contestant, Loaded
from verydeep.bench.rows import Row
from verydeep.bench.subject import Subject

_OPSET, _IR_VERSION = 17, 10  # of the year 2022 and 2024: any onnxruntime reads them


def prepare(subject: Subject, contestant: Contestant) -> None:
    """The graph's file."""
    import onnx  # a start does without

    path = subject.folder / f"{contestant.name}.onnx"
    plain = subject.folder / "plain.onnx" if contestant.precision == "int8" else path
    onnx.save(make_graph(subject), str(plain))
    if contestant.precision == "int8":
        _quantize(plain, path, subject.calibration())
        plain.unlink()


def load(subject: Subject, contestant: Contestant, threads: int, batch: int) -> Loaded:
    """See `contestants.Builder`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors
    path = str(subject.folder / f"{contestant.name}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(images: np.ndarray) -> np.ndarray:
        logits: np.ndarray = session.run(None, {"images": images})[0]
        return logits

    return Loaded(run)


def make_graph(subject: Subject) -> Any:
    """The network as an ONNX model of any batch: "images" -> "logits"."""
    from onnx import TensorProto, helper, numpy_helper

    rows = subject.rows()
    nodes, arrays = [], []
    shape: list[Any] = ["batch", subject.architecture.input_channels, *subject.image_size]
    value = "images"
    for kind, inputs, attributes, output in _operations(rows):
        nodes.append(helper.make_node(kind, [value, *inputs], [output], **attributes))
        value = output
    for row in rows:
        if row.layer.has_weights:
            arrays.append(numpy_helper.from_array(row.weight, f"{row.name}.weight"))
            arrays.append(numpy_helper.from_array(row.bias, f"{row.name}.bias"))
    graph = helper.make_graph(
        nodes,
        "verydeep",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        arrays,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)


def _operations(rows: Sequence[Row]) -> Iterator[tuple[str, list[str], Mapping[str, Any], str]]:
    """Of each node its kind, its inputs but the first, its attributes and its output."""
    for row in rows:
        layer, name = row.layer, row.name
        arrays = [f"{name}.weight", f"{name}.bias"]
        if layer.kind == "conv":
            sides = {"kernel_shape": [layer.kernel] * 2, "pads": [layer.padding] * 4}
            yield "Conv", arrays, sides, name
        elif layer.kind == "pool":
            yield "MaxPool", [], {"kernel_shape": [layer.kernel] * 2, "strides": [layer.stride] * 2}, name
        elif layer.kind == "lrn":
            size = int(LRN["size"])  # by which ONNX divides alpha
            constants = {"size": size, "alpha": size * LRN["alpha"], "beta": LRN["beta"], "bias": LRN["k"]}
            yield "LRN", [], constants, name
        elif layer.kind == "gap":
            yield "GlobalAveragePool", [], {}, name
        else:
            yield "Flatten", [], {"axis": 1}, f"flat_{name}"
            yield "Gemm", arrays, {"transB": 1}, name
        if layer.has_relu:
            yield "Relu", [], {}, layer.relu_name


def _quantize(plain: Path, path: Path, images: np.ndarray) -> None:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Images(CalibrationDataReader):  # type: ignore[misc]  # of an untyped library
        """One image after the other."""

        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {"images": image[None]}

    quantize_static(
        str(plain),
        str(path),
        Images(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )
