"""A server in a process of its own, and a client that speaks HTTP to it."""

import base64
import http.client
import io
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from processes import children

HARNESS = Path(__file__).parent / "harness.py"
PATIENCE = 60.0  # seconds, on a machine that is busy


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server that runs."""

    process: "subprocess.Popen[str]"
    port: int
    log: Path

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Reply:
        """One request on a connection of its own."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def predict(self, *photos: bytes, query: str = "") -> Reply:
        """The photos as JSON."""
        body = json.dumps({"images": [base64.b64encode(photo).decode() for photo in photos]}).encode()
        return self.ask("POST", f"/predict{query}", body, {"content-type": "application/json"})

    def memory(self, field: str = "VmRSS") -> int:
        """Bytes of its process; VmHWM: the most since `forget_peak`."""
        fields = (self._proc / "status").read_text().split()
        return 1024 * int(fields[fields.index(f"{field}:") + 1])

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")

    def handles(self) -> dict[str, int]:
        """What a process may leak: open files, threads and child processes."""
        count = {name: len(list((self._proc / name).iterdir())) for name in ("fd", "task")}
        return {"files": count["fd"], "threads": count["task"], "processes": len(children(self.process.pid))}

    @property
    def _proc(self) -> Path:
        return Path(f"/proc/{self.process.pid}")

    def connect(self) -> socket.socket:
        """A connection on which nothing is sent yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def metric(self, name: str, default: float | None = None, without: str = "/metrics is counted") -> float:
        """The sum over all labels of a metric. default: where there is none yet. without: a route left out."""
        text = self.ask("GET", "/metrics").body.decode()
        lines = [line for line in text.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
        lines = [line for line in lines if f'route="{without}"' not in line]
        if not lines and default is not None:
            return default
        assert lines, f"no metric {name}"
        return sum(float(line.rpartition(" ")[2]) for line in lines)


def start(model: Path, folder: Path, *, until_ready: bool = True, **settings: Any) -> Server:
    """A server that is ready, or that listens. settings: of the harness."""
    log, port_file = folder / "log", folder / "port"
    command = [sys.executable, str(HARNESS), str(model), json.dumps(settings | {"port_file": str(port_file)})]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with log.open("w") as file:
        process = subprocess.Popen(command, stderr=file, text=True, env=environment)
    try:
        deadline = time.monotonic() + PATIENCE
        while not (port_file.exists() and port_file.read_text()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.02)
        server = Server(process, int(port_file.read_text()), log)
        while until_ready and server.ask("GET", "/health/ready").status != 200:
            assert time.monotonic() < deadline, "the server did not get ready"
            time.sleep(0.02)
        return server
    except BaseException:  # nobody else knows of it yet
        process.kill()
        process.wait()
        raise


def end(server: Server) -> None:
    server.process.kill()
    server.process.wait()


def make_photo(number: int, side: int = 40) -> bytes:
    """A PNG of coarse noise, another one for each number."""
    pixels = np.random.default_rng(number).integers(0, 256, (5, 5, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((side, side + number % 7)).save(file, "PNG")
    return file.getvalue()


def two_photos(photo: bytes, other: bytes, name: bytes = b'name="similar_to"') -> tuple[bytes, dict[str, str]]:
    """The body and the headers of a form, as `curl -F photo=@a.png -F similar_to=@b.png` sends it."""
    lines = []
    for field, data in ((b'name="photo"', photo), (name, other)):
        head = b'--cut\r\nContent-Disposition: form-data; %s; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
        lines.append(head % field + data + b"\r\n")
    return b"".join(lines) + b"--cut--\r\n", {"content-type": "multipart/form-data; boundary=cut"}


def becomes(is_so: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Whether it is so within that time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def wait_until(is_so: Callable[[], bool]) -> None:
    assert becomes(is_so)
