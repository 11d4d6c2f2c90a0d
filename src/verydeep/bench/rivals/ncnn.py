"""ncnn: its text of layers and its file of weights, written here; int8 with the largest values of the calibration."""

import io
import struct
import time
from collections.abc import Sequence

import ncnn
import numpy as np

from verydeep.architecture import LRN
from verydeep.bench.contestants import Contestant, Loaded
from verydeep.bench.rows import Row
from verydeep.bench.subject import Subject

_MAGIC = 7767517  # ncnn's, the first line of its text
_FLOAT32, _INT8 = 0, 0x000D4B38  # what stands before an array of weights


def prepare(subject: Subject, contestant: Contestant) -> None:
    """The two files."""
    rows, is_int8 = subject.rows(), contestant.precision == "int8"
    text = layers_text(rows, subject, is_int8)
    (subject.folder / f"{contestant.name}.param").write_text(text, encoding="ascii")
    from verydeep.bench.inputs import largest_inputs  # a start does without

    largest = largest_inputs(subject) if is_int8 else {}
    with (subject.folder / f"{contestant.name}.bin").open("wb") as file:
        for row in rows:
            if row.layer.has_weights:
                _write_weights(file, row, largest.get(row.name))


def load(subject: Subject, contestant: Contestant, threads: int, batch: int) -> Loaded:
    """See `contestants.Builder`. ncnn knows no batches: images run one after the other."""
    network = ncnn.Net()
    _set_options(network.opt, contestant.precision, threads)
    network.load_param(str(subject.folder / f"{contestant.name}.param"))
    network.load_model(str(subject.folder / f"{contestant.name}.bin"))
    cuts = [layer.name for layer in subject.architecture.layers if layer.kind == "pool"] + ["logits"]

    def run(images: np.ndarray) -> np.ndarray:
        return np.stack([_extract(_fed(network, image), "logits") for image in images])

    def time_parts(images: np.ndarray) -> dict[str, float]:
        """An extractor goes on from what it has computed already."""
        seconds = dict.fromkeys(cuts, 0.0)
        for image in images:
            extractor = _fed(network, image)
            for cut in cuts:
                start = time.perf_counter()
                extractor.extract(cut)
                seconds[cut] += time.perf_counter() - start
        return seconds

    return Loaded(run, time_parts)


def layers_text(rows: Sequence[Row], subject: Subject, is_int8: bool) -> str:
    """Every layer on a line: kind, name, how many inputs and outputs, these, and numbered settings."""
    height, width = subject.image_size
    lines = [f"Input images 0 1 images 0={width} 1={height} 2={subject.architecture.input_channels}"]
    value = "images"
    for row in rows:
        if row.layer.kind == "fc":
            lines.append(f"Flatten flat_{row.name} 1 1 {value} flat_{row.name}")
            value = f"flat_{row.name}"
        output = "logits" if row is rows[-1] else row.name
        kind, settings = _settings(row, is_int8)
        lines.append(f"{kind} {row.name} 1 1 {value} {output} {settings}")
        value = output
    return f"{_MAGIC}\n{len(lines)} {len(lines)}\n" + "\n".join(lines) + "\n"  # as many values as layers


def _settings(row: Row, is_int8: bool) -> tuple[str, str]:
    layer = row.layer
    quantized = " 8=2" if is_int8 else ""
    if layer.kind == "pool":
        return "Pooling", f"0=0 1={layer.kernel} 2={layer.stride} 5=1"  # the largest; 5=1: an odd last row is left out
    if layer.kind == "gap":
        return "Pooling", "0=1 4=1"  # the mean of all
    if layer.kind == "lrn":
        size = int(LRN["size"])  # by which ncnn divides alpha
        return "LRN", f"0=0 1={size} 2={size * LRN['alpha']:.9g} 3={LRN['beta']} 4={LRN['k']}"
    relu = " 9=1" if layer.has_relu else ""
    if layer.kind == "fc":
        return "InnerProduct", f"0={layer.out_channels} 1=1 2={row.weight.size}{relu}{quantized}"
    sides = f"1={layer.kernel} 4={layer.padding}"
    return "Convolution", f"0={layer.out_channels} {sides} 5=1 6={row.weight.size}{relu}{quantized}"


def _write_weights(file: io.BufferedWriter, row: Row, largest_input: float | None) -> None:
    """largest_input: absolute, for int8; None for float32."""
    weight, bias = row.weight.astype("<f4"), row.bias.astype("<f4")
    if largest_input is None:
        file.write(struct.pack("<I", _FLOAT32) + weight.tobytes() + bias.tobytes())
        return
    by_output = weight.reshape(len(weight), -1)
    scales = 127 / np.maximum(np.abs(by_output).max(axis=1), 1e-20)
    whole = np.rint(by_output * scales[:, None]).astype(np.int8)
    file.write(struct.pack("<I", _INT8) + whole.tobytes() + b"\0" * (-whole.size % 4) + bias.tobytes())
    file.write(scales.astype("<f4").tobytes() + struct.pack("<f", 127 / max(largest_input, 1e-20)))


def _set_options(options: ncnn.Option, precision: str, threads: int) -> None:
    options.num_threads = threads
    options.use_vulkan_compute = False
    for name in ("use_fp16_storage", "use_fp16_arithmetic", "use_fp16_packed"):
        setattr(options, name, False)
    for name in ("use_bf16_storage", "use_bf16_packed"):
        setattr(options, name, precision == "bfloat16")


def _fed(network: ncnn.Net, image: np.ndarray) -> ncnn.Extractor:
    extractor = network.create_extractor()
    extractor.input("images", ncnn.Mat(image))
    return extractor


def _extract(extractor: ncnn.Extractor, name: str) -> np.ndarray:
    status, value = extractor.extract(name)
    if status != 0:
        raise RuntimeError(f"ncnn's status is {status}")
    return np.array(value)
