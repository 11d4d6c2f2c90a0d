"""`verydeep serve --selftest`: a server of one's own is started, asked, misused and stopped, as a client would."""

import contextlib
import http.client
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from verydeep.errors import VerydeepError
from verydeep.predict import Embedder, Predictor, Segmenter
from verydeep.runtime import find_model
from verydeep.serve.guard import TOKEN
from verydeep.serve.segments import segmented
from verydeep.weights import read_info

_START_SECONDS = 120.0  # until it is ready: the reference checks a full-size network first
_STOP_SECONDS = 30.0
_ADDRESS = re.compile(rb"http://127\.0\.0\.1:(\d+)")
_TOLERANCE = 1e-4  # of a probability; batches may be rounded otherwise


@dataclass(frozen=True)
class Check:
    """What was tried, and what came of it."""

    name: str
    is_passed: bool
    found: str


Expected: TypeAlias = Callable[[bytes], Mapping[str, Any]]
"""Image file -> what an answer of the first model holds: its best class, its largest share or its vector."""


def expected_of(model: str | Path | None, settings: Mapping[str, Any]) -> Expected:
    """What the program itself says. settings: of `open_model`."""
    task = read_info(find_model(model)).architecture.task
    if task == "segment":
        segmenter = Segmenter(model, **settings)
        return lambda photo: segmented(segmenter.logits(photo), segmenter.model.info)
    if task == "embed":
        embedder = Embedder(model, **settings)
        return lambda photo: {"embedding": embedder.embed(photo).tolist()}
    predictor = Predictor(model, **settings)
    return lambda photo: {"predictions": [predictor.predict(photo, k=1).scores[0].to_dict()]}


def selftest(arguments: Sequence[str], expected: Expected) -> Iterator[Check]:
    """Checks one after the other. arguments: of `verydeep serve`. expected: of its first model."""
    with _server(arguments) as (process, port):
        client = _Client(port)
        yield Check("ready", client.is_ready_soon(), f"within {_START_SECONDS:g} s")
        photo = _photo()
        answer = client.ask("POST", "/predict?top=1", photo, {"content-type": "image/png"})
        is_same = answer.status == 200 and _is_near(json.loads(answer.body)["photos"][0], expected(photo))
        yield Check("a photo gets the answer of `verydeep predict`", is_same, answer.body.decode()[:200])
        for name, status, request in (
            ("no photo", 422, ("POST", "/predict", b"no photo", {"content-type": "image/png"})),
            ("an unknown model", 404, ("POST", "/predict?model=../../etc", photo, {"content-type": "image/png"})),
            ("a body that says it is too large", 413, ("POST", "/predict", b"", {"content-length": str(1 << 40)})),
            ("another host's name", 421, ("GET", "/models", b"", {"host": "example.com"})),
            ("a page of another origin", 403, ("POST", "/predict", photo, {"origin": "http://example.com"})),
            ("no such path", 404, ("GET", "/etc/passwd", b"", {})),
        ):
            refused = client.ask(*request)
            yield Check(f"{name} is refused", refused.status == status, f"{refused.status}, expected {status}")
        metrics = client.ask("GET", "/metrics", b"", {}).body.decode()
        counted = sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if _is_request_count(line))
        yield Check("every request is counted", counted == client.asked - 1, f"{counted:g} of {client.asked - 1}")
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
        yield Check("SIGTERM ends it in order", process.returncode == 0, f"exit code {process.returncode}")


@dataclass(frozen=True)
class _Reply:
    status: int
    body: bytes


class _Client:
    """A connection for each request. asked: how many there were."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.asked = 0

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> _Reply:
        self.asked += 1
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_STOP_SECONDS)
        try:
            connection.request(method, path, body or None, headers)
            response = connection.getresponse()
            return _Reply(response.status, response.read())
        finally:
            connection.close()

    def is_ready_soon(self) -> bool:
        deadline = time.monotonic() + _START_SECONDS
        while self.ask("GET", "/health/ready", b"", {}).status != 200:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


@contextmanager
def _server(arguments: Sequence[str]) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """A server on a free port, which is ended in any case."""
    command = [sys.executable, "-m", "verydeep", "serve", *arguments, "--port", "0"]
    environment = {name: value for name, value in os.environ.items() if name != TOKEN}
    with (
        tempfile.TemporaryDirectory() as folder,
        (log := Path(folder) / "log").open("wb") as file,  # a pipe that nobody reads would stop the server
        subprocess.Popen(command, stderr=file, env=environment) as process,  # noqa: S603, our own program
    ):
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (found := _ADDRESS.search(log.read_bytes())):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise VerydeepError(f"the server did not start: {log.read_text(errors='replace').strip()}")
                time.sleep(0.05)
            yield process, int(found[1])
        finally:
            process.kill()


def _photo() -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _is_near(got: Any, expected: Any) -> bool:
    """Whether it holds what is expected, its numbers but for rounding; it may hold more."""
    if isinstance(expected, Mapping):
        return all(name in got and _is_near(got[name], value) for name, value in expected.items() if name != "mask")
    if isinstance(expected, list):
        return len(got) == len(expected) and all(map(_is_near, got, expected))
    if isinstance(expected, float):
        return bool(abs(got - expected) < _TOLERANCE)
    return bool(got == expected)


def _is_request_count(line: str) -> bool:
    return line.startswith("verydeep_requests_total{")
