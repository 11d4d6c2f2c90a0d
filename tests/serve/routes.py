"""A valid request for every route, and a client that sends bytes as they are."""

import base64
import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from audit import Watch
from serving import PATIENCE, Server, make_photo, start

JSON = (b"content-type", b"application/json")
PNG = (b"content-type", b"image/png")
BOUNDARY = b"cut"
FORM = (b"content-type", b"multipart/form-data; boundary=" + BOUNDARY)
HEAD_LENGTH = b"inference-header-content-length"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

ROUTES = {
    "/": "GET",
    "/docs": "GET",
    "/page/{name}": "GET",
    "/models": "GET",
    "/models/{name}/layers": "GET",
    "/network/{configuration}": "GET",
    "/networks": "GET",
    "/networks/{configuration}": "GET",
    "/health/live": "GET",
    "/health/ready": "GET",
    "/metrics": "GET",
    "/openapi.json": "GET",
    "/predict": "POST",
    "/explain": "POST",
    "/activations": "POST",
    "/v2": "GET",
    "/v2/health/live": "GET",
    "/v2/health/ready": "GET",
    "/v2/models/{name}": "GET",
    "/v2/models/{name}/ready": "GET",
    "/v2/models/{name}/infer": "POST",
}
"""All of them, each with its one method. None loads, unloads or configures anything."""


@dataclass(frozen=True)
class Request:
    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""

    @property
    def data(self) -> bytes:
        """With a Host, a length, and the wish that the connection be closed, where it has not its own."""
        named = {name for name, _ in self.headers}
        own = ((b"host", b"localhost"), (b"connection", b"close"), (b"content-length", str(len(self.body)).encode()))
        headers = [*(one for one in own if one[0] not in named), *self.headers]
        lines = [b"%s %s HTTP/1.1" % (self.method, self.target), *(b"%s: %s" % one for one in headers)]
        return b"\r\n".join(lines) + b"\r\n\r\n" + self.body


def exchange(server: Server, data: bytes, patience: float = PATIENCE) -> bytes:
    """All that comes back until the server closes the connection, or sends nothing for so many seconds."""
    found = b""
    with server.connect() as connection:
        connection.settimeout(patience)
        with contextlib.suppress(ConnectionError):  # it may have answered all the same
            connection.sendall(data)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while part := connection.recv(1 << 16):
                found += part
    return found


def status(answer: bytes) -> int:
    """Of the first answer; 0 where there is none."""
    line = answer.removeprefix(CONTINUE).partition(b"\r\n")[0]
    return int(line[9:12]) if line.startswith(b"HTTP/1.1 ") else 0


def form(*parts: tuple[bytes, bytes], boundary: bytes = BOUNDARY) -> bytes:
    """parts: the parameters of its content-disposition, as in b'name="a"', and what it holds."""
    head = b"--%s\r\ncontent-disposition: form-data; %s\r\n\r\n%s\r\n"
    return b"".join(head % (boundary, *part) for part in parts) + b"--%s--\r\n" % boundary


def v2(name: str, datatype: str, shape: Sequence[int], data: object = None, raw: bytes = b"") -> Request:
    """A question of the Open Inference Protocol, its tensor in JSON, or raw in binary."""
    tensor = {"name": name, "datatype": datatype, "shape": list(shape)}
    tensor |= {"parameters": {"binary_data_size": len(raw)}} if raw else {"data": data}
    head = json.dumps({"id": "7", "inputs": [tensor], "outputs": [{"name": "probabilities"}]}).encode()
    length = ((HEAD_LENGTH, str(len(head)).encode()),) if raw else ()
    return Request(b"POST", b"/v2/models/toy/infer", (JSON, *length), head + raw)


def valid(photo: bytes) -> list[Request]:
    """One for each route; several where it can be asked in several ways."""
    paths = [path for path, method in ROUTES.items() if method == "GET"]
    names = {"{name}": "toy", "{configuration}": "A"}
    for pattern, name in names.items():
        paths = [path.replace(pattern, "app.js" if path.startswith("/page") else name) for path in paths]
    text = base64.b64encode(photo).decode()
    one = json.dumps({"images": [text]}).encode()
    files = form((b'name="a"; filename="a.png"', photo), (b'name="comment"', b"nice"))
    two = form((b'name="photo"; filename="a.png"', photo), (b'name="similar_to"; filename="b.png"', photo))
    pixels, images = bytes(range(192)), bytes(4 * 3 * 32 * 32)
    return [
        *(Request(b"GET", path.encode()) for path in paths),
        Request(b"POST", b"/predict?top=2&model=other", (PNG,), photo),
        Request(b"POST", b"/predict", (JSON,), one),
        Request(b"POST", b"/predict", (FORM,), files),
        Request(b"POST", b"/explain?method=gradcam&label=dog&layer=relu2_1", (PNG,), photo),
        Request(b"POST", b"/explain?method=gradient", (FORM,), two),
        Request(b"POST", b"/activations?layer=relu1_1", (PNG,), photo),
        v2("photos", "BYTES", [1], [text]),
        v2("photos", "BYTES", [1], raw=len(photo).to_bytes(4, "little") + photo),
        v2("pixels", "UINT8", [1, 8, 8, 3], list(pixels)),
        v2("pixels", "UINT8", [1, 8, 8, 3], raw=pixels),
        v2("images", "FP32", [1, 3, 32, 32], [0.5] * 3072),
        v2("images", "FP32", [1, 3, 32, 32], raw=images),
    ]


def start_watched(model: Path, folder: Path, **settings: Any) -> Server:
    """A server that `audit` watches, after a valid request for every route."""
    server = start(model, folder, audit=True, **settings)
    for _ in range(2):  # each of the decoders
        for request in valid(make_photo(0)):
            assert status(exchange(server, request.data)) == 200, request.target
    return server


def watch(server: Server) -> Watch:
    """Of its events from now on."""
    watching = Watch(server.log.with_name("events"))
    watching.read()
    return watching
