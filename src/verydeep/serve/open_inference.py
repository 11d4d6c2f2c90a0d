"""The Open Inference Protocol, version 2, for programs that speak it already (KServe, Triton, OpenVINO Model Server).

A model has one output, "probabilities" FP32 (n, classes), of an embedding model "embedding" FP32 (n, dimensions), of a
model of pixels "logits" FP32 (n, classes, h, w), and takes one of three inputs:

photos   BYTES (n,) or (n, 1)              image files; base64 in JSON, four bytes of length before each in binary
pixels   UINT8 (n, height, width, 3)       RGB, resized and cropped as photos are
images   FP32  (n, channels, side, side)   what the network gets, normalised

A model of pixels takes whole photos, which must be of one size where there are several, and images of any size.
Binary tensors follow the JSON in one body, whose length the header Inference-Header-Content-Length tells.
"""

import asyncio
import base64
import binascii
import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request, Response

import verydeep
from verydeep.errors import ImageError
from verydeep.image.preprocess import fit
from verydeep.serve.bodies import Photo, body_of, parse_json
from verydeep.serve.guard import Refused
from verydeep.serve.models import ServedModel

if TYPE_CHECKING:
    from verydeep.serve.app import Service

_HEAD_LENGTH = "inference-header-content-length"
_KINDS = {"photos": "BYTES", "pixels": "UINT8", "images": "FP32"}
_DTYPES: dict[str, np.dtype[Any]] = {"UINT8": np.dtype("u1"), "FP32": np.dtype("<f4")}
_LARGEST = 10_000  # in normalised images, which stay below ten: the sums of a network become infinite far beyond it


def add_routes(app: FastAPI, service: "Service") -> None:
    """Adds the routes below /v2."""

    @app.get("/v2")
    async def server() -> dict[str, Any]:
        """What this server is."""
        return {"name": "verydeep", "version": verydeep.__version__, "extensions": ["binary_tensor_data"]}

    @app.get("/v2/health/live")
    async def live() -> Response:
        """200."""
        return Response()

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        """200, or 503 where a model is not ready or the server is being stopped."""
        return Response(status_code=200 if service.is_ready else 503)

    @app.get("/v2/models/{name}")
    async def metadata(name: str) -> dict[str, Any]:
        """The inputs and outputs of a model."""
        return _metadata(service.model(name))

    @app.get("/v2/models/{name}/ready")
    async def model_ready(name: str) -> Response:
        """200, or 503 where the model is not ready."""
        return Response(status_code=200 if service.model(name).is_ready and not service.is_draining else 503)

    @app.post("/v2/models/{name}/infer")
    async def infer(name: str, request: Request) -> Response:
        """Probabilities, embeddings, or logits of each pixel, of photos, pixels or images."""
        model = service.model(name)
        question, tensors = await _question(request, service)
        kind, data, shape = _input(question, tensors)
        is_binary = _wants_binary(question, _output(model))
        if not 1 <= shape[0] <= service.limits.photos:
            raise Refused(413, f"{shape[0]} images; expected 1 to {service.limits.photos}.", "Send several requests.")
        with model.batcher.room(shape[0]):
            images = await _images(service, model, kind, data, shape)
            _check_sizes(model, images, service)
            answers = await model.answers(images)
        values = answers if model.embeds or model.tells_pixels else model.probabilities(answers)
        return _answer(model, question, values.astype("<f4"), is_binary=is_binary)


def _output(model: ServedModel) -> str:
    """The name of the one that a model has."""
    return "logits" if model.tells_pixels else "embedding" if model.embeds else "probabilities"


def _check_sizes(model: ServedModel, images: Sequence[np.ndarray], service: "Service") -> None:
    """Raises Refused on images of several sizes, and where their answer would be too large."""
    if len({image.shape for image in images}) > 1:
        raise Refused(400, "the photos are of several sizes, and their answer is one tensor.", "Send them one by one.")
    _, height, width = images[0].shape
    if model.tells_pixels and len(images) * len(model.classes) * height * width > service.limits.answer_values:
        most = f"{service.limits.answer_values:,}"
        raise Refused(413, f"the answer would have more than {most} numbers.", "Send fewer, or ask /predict.")


async def _question(request: Request, service: "Service") -> tuple[Mapping[str, Any], bytearray]:
    """The JSON of a request, and the bytes after it. Raises Refused."""
    body = await body_of(request)
    length = request.headers.get(_HEAD_LENGTH, str(len(body)))
    if not re.fullmatch(r"[0-9]{1,9}", length) or int(length) > len(body):
        raise Refused(400, "Inference-Header-Content-Length is longer than the body.", "It is the length of the JSON.")
    question = parse_json(body if int(length) == len(body) else body[: int(length)], service.limits)
    if not isinstance(question, dict):
        raise Refused(400, "the JSON is no object.", '{"inputs": [...]}')
    del body[: int(length)]
    return question, body


def _input(question: Mapping[str, Any], tensors: bytearray) -> tuple[str, Any, list[int]]:
    """Name, data and shape of the one input; its data is a list as JSON has it, or bytes. Raises Refused."""
    inputs = question.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refused(400, "expected one input.", f"One of {', '.join(_KINDS)}.")
    given = inputs[0]
    name, shape = given.get("name"), given.get("shape")
    if not isinstance(name, str) or name not in _KINDS or given.get("datatype") != _KINDS[name]:
        known = ", ".join(f"{name} {kind}" for name, kind in _KINDS.items())
        raise Refused(400, "no such input, or of another datatype.", f"There are {known}.")
    if (
        not isinstance(shape, list)
        or not 1 <= len(shape) <= 4
        or not all(type(side) is int and 0 < side < 1 << 20 for side in shape)
    ):
        raise Refused(400, "the shape is no list of positive numbers.", 'For example "shape": [1, 3, 224, 224]')
    parameters = given.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is None:
        return name, given.get("data"), shape
    if size != len(tensors):
        raise Refused(400, f"binary_data_size is {size!s:.20}, but {len(tensors)} bytes follow.", "They must agree.")
    return name, tensors, shape


async def _images(service: "Service", model: ServedModel, kind: str, data: Any, shape: list[int]) -> list[np.ndarray]:
    """Each image as the network takes it, (channels, h, w) float32. Raises Refused."""
    if kind == "photos":
        photos = [Photo(photo, f"photo {number}") for number, photo in enumerate(_photos(data, shape), start=1)]
        images = []
        for picture in await service.pictures(model, photos):
            if isinstance(picture, ImageError):
                raise Refused(400, picture.message, picture.hint)
            images.append(model.inputs(picture.pixels))
        return images
    tensor = _tensor(data, shape, _DTYPES[_KINDS[kind]])
    if kind == "pixels":
        if len(shape) != 4 or shape[3] != 3:
            raise Refused(400, f"pixels of shape {shape}; expected (n, height, width, 3).", "RGB, row by row.")
        preprocessing = model.opened.info.preprocessing
        try:
            work = (asyncio.to_thread(fit, one, preprocessing, model.tells_pixels) for one in tensor)
            fitted = await asyncio.gather(*work)
        except ImageError as error:
            raise Refused(400, error.message, error.hint) from error
        return [model.inputs(picture) for picture in fitted]
    _check_images(model, shape)
    if not (tensor.min() >= -_LARGEST and tensor.max() <= _LARGEST):  # NaN is neither
        raise Refused(
            400,
            f"the images hold NaN, infinity or a number beyond {_LARGEST:,}.",
            "Normalise pixels: (value / 255 - mean) / std",
        )
    return list(tensor.astype(np.float32, copy=False))


def _check_images(model: ServedModel, shape: list[int]) -> None:
    """Raises Refused where the network takes no images of that shape."""
    preprocessing, architecture = model.opened.info.preprocessing, model.opened.info.architecture
    side, channels, least = preprocessing.crop, preprocessing.channels, architecture.smallest_input
    if model.tells_pixels:
        if len(shape) != 4 or shape[1] != channels or min(shape[2:]) < least:
            told = f"images of shape {shape}; expected (n, {channels}, h, w) with sides of at least {least}."
            raise Refused(400, told, "See the metadata.")
    elif shape[1:] != [channels, side, side]:
        raise Refused(400, f"images of shape {shape}; expected (n, {channels}, {side}, {side}).", "See the metadata.")


def _photos(data: Any, shape: list[int]) -> Sequence[bytes | memoryview]:
    """The files in a BYTES tensor, which has as many as its shape says. Raises Refused."""
    found: Sequence[bytes | memoryview]
    try:
        if not isinstance(data, bytearray) and len(data) != shape[0]:
            raise ValueError("more or fewer")
        binary = isinstance(data, bytearray)
        found = _framed(data, shape[0]) if binary else [base64.b64decode(one, validate=True) for one in data]
    except (binascii.Error, ValueError, TypeError) as error:
        raise Refused(
            400, f"the photos are not {shape[0]} base64 texts, or so many framed by their lengths.", "See the protocol."
        ) from error
    if math.prod(shape) != shape[0]:
        raise Refused(400, f"photos of shape {shape}; expected (n,) or (n, 1).", "One text for each.")
    return found


def _framed(data: bytearray, count: int) -> list[memoryview]:
    """Length (4 bytes, little-endian) and content of each, one after the other, in their place. Raises ValueError."""
    found, place = [], 0
    view = memoryview(data)
    for _ in range(count):
        start = place + 4
        place = start + int.from_bytes(data[place:start], "little")
        if place > len(data):
            raise ValueError("cut off")
        found.append(view[start:place])
    if place < len(data):
        raise ValueError("more than these")
    return found


def _tensor(data: Any, shape: list[int], dtype: np.dtype[Any]) -> np.ndarray:
    """Raises Refused."""
    try:
        if isinstance(data, bytearray):
            return np.frombuffer(data, dtype).reshape(shape)
        array = np.array(data, np.float64)  # a table of texts would be as wide as the longest of them
        with np.errstate(over="ignore", invalid="ignore"):  # what is too large becomes infinity, which is refused
            if dtype.kind == "u" and not ((array >= 0) & (array <= 255) & (array % 1 == 0)).all():
                raise ValueError("no bytes")
            return array.astype(dtype).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise Refused(
            400, f"the data does not fill the shape {shape}, or has other values.", "They must agree."
        ) from error


def _metadata(model: ServedModel) -> dict[str, Any]:
    preprocessing = model.opened.info.preprocessing
    side = -1 if model.tells_pixels else preprocessing.crop
    answered = [-1, model.opened.info.architecture.scores, *([-1, -1] if model.tells_pixels else [])]
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": f"verydeep_{model.opened.engine_name}",
        "inputs": [
            {"name": "photos", "datatype": "BYTES", "shape": [-1]},
            {"name": "pixels", "datatype": "UINT8", "shape": [-1, -1, -1, 3]},
            {"name": "images", "datatype": "FP32", "shape": [-1, preprocessing.channels, side, side]},
        ],
        "outputs": [{"name": _output(model), "datatype": "FP32", "shape": answered}],
    }


def _answer(model: ServedModel, question: Mapping[str, Any], answers: np.ndarray, *, is_binary: bool) -> Response:
    """In JSON, or with the numbers after it where the request asks for that."""
    output: dict[str, Any] = {"name": _output(model), "datatype": "FP32", "shape": list(answers.shape)}
    answer: dict[str, Any] = {"model_name": model.name, "model_version": "1", "outputs": [output]}
    if isinstance(question.get("id"), str):
        answer["id"] = question["id"][:64]
    if not is_binary:
        output["data"] = answers.ravel().tolist()
        return Response(json.dumps(answer), media_type="application/json")  # in ASCII, whatever the id holds
    data = answers.tobytes()
    output["parameters"] = {"binary_data_size": len(data)}
    head = json.dumps(answer).encode()
    return Response(head + data, headers={_HEAD_LENGTH: str(len(head))}, media_type="application/octet-stream")


def _wants_binary(question: Mapping[str, Any], output: str) -> bool:
    """Raises Refused where another output than that one is asked for."""
    outputs = question.get("outputs") or [{"name": output}]
    asked = outputs[0] if isinstance(outputs, list) and len(outputs) == 1 else None
    if not isinstance(asked, dict) or asked.get("name") != output:
        raise Refused(400, "no such output.", f"There is {output}.")
    of_output, of_all = asked.get("parameters"), question.get("parameters")
    for parameters, key in ((of_output, "binary_data"), (of_all, "binary_data_output")):
        if isinstance(parameters, dict) and isinstance(parameters.get(key), bool):
            return bool(parameters[key])
    return False
