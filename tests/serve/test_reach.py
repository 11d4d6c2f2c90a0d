"""What a request can make the server reach: no address, and no file. `audit` watches it, and a socket listens."""

import base64
import itertools
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from audit import NETWORK, PROGRAMS
from routes import FORM, HEAD_LENGTH, JSON, PNG, Request, exchange, form, status, v2, watch
from serving import make_photo


class Listener(threading.Thread):
    """Where a server that fetches would come; whoever does is sent on to a file."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.visits = 0

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with closing(connection):
                self.visits += 1
                connection.sendall(b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n")

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listening = Listener()
    listening.start()
    yield listening
    listening.close()


def addresses(port: int) -> list[str]:
    """Sixty that a careless server fetches; nearly half of them lead to the listener."""
    return [
        f"http://127.0.0.1:{port}/a.png",
        f"HTTP://127.0.0.1:{port}/a.png",
        f"http://localhost:{port}/a.png",
        f"http://localhost.:{port}/",
        f"http://2130706433:{port}/",
        f"http://0x7f000001:{port}/",
        f"http://0x7f.0.0.1:{port}/",
        f"http://0177.0.0.1:{port}/",
        f"http://017700000001:{port}/",
        f"http://127.1:{port}/",
        f"http://0:{port}/",
        f"http://0.0.0.0:{port}/",
        f"http://127.0.0.1.nip.io:{port}/",
        f"http://[::1]:{port}/",
        f"http://[::ffff:127.0.0.1]:{port}/",
        f"http://[0:0:0:0:0:ffff:7f00:1]:{port}/",
        f"http://[::]:{port}/",
        f"http://user:secret@127.0.0.1:{port}/",
        f"http://example.com@127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}#@example.com/",
        f"http://127.0.0.1:{port}\\@example.com/",
        f"http://①②⑦.⓪.⓪.①:{port}/",
        f"http://127。0。0。1:{port}/",
        f"http:127.0.0.1:{port}/",
        f"http:///127.0.0.1:{port}/",
        f"//127.0.0.1:{port}/a.png",
        f"\\\\127.0.0.1@{port}\\share\\a.png",
        f" http://127.0.0.1:{port}/",
        f"url:http://127.0.0.1:{port}/",
        f"https://127.0.0.1:{port}/a.png",
        f"ftp://127.0.0.1:{port}/a.png",
        f"gopher://127.0.0.1:{port}/_GET%20/",
        f"dict://127.0.0.1:{port}/info",
        f"ldap://127.0.0.1:{port}/",
        f"tftp://127.0.0.1:{port}/a",
        f"ws://127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}/redirect",
        f"http://127.0.0.1%0d%0ax: y:{port}/",
        f"s3://127.0.0.1:{port}/bucket/a.png",
        f"jar:http://127.0.0.1:{port}/a.zip!/a.png",
        "http://169.254.169.254/latest/meta-data/iam/security-credentials/",
        "http://[fd00:ec2::254]/latest/meta-data/",
        "http://2852039166/latest/meta-data/",
        "http://0xa9fea9fe/",
        "http://metadata.google.internal/computeMetadata/v1/",
        "http://100.100.100.200/latest/meta-data/",
        "http://10.0.0.1/",
        "http://192.168.0.1/",
        "http://example.com/a.png",
        "https://example.com/a.png",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "file:/etc/passwd",
        "FILE:///proc/self/environ",
        "netdoc:///etc/passwd",
        "\\\\example.com\\share\\a.png",
        "smb://example.com/share/a.png",
        "data:image/png;base64,iVBORw0KGgo=",
        "data:text/plain,hello",
        "php://filter/resource=/etc/passwd",
    ]


def _json(target: bytes, question: object) -> Request:
    return Request(b"POST", target, (JSON,), json.dumps(question).encode())


def _linked(address: str) -> bytes:
    """A picture that names it."""
    return f'<svg xmlns="http://www.w3.org/2000/svg"><image href="{address}"/></svg>'.encode()


PLACES: dict[str, Callable[[str], Request]] = {
    "images": lambda a: _json(b"/predict", {"images": [a]}),
    "image_url": lambda a: _json(b"/predict", {"image_url": a, "url": a, "images": []}),
    "objects": lambda a: _json(b"/predict", {"images": [{"url": a, "image_url": {"url": a}}]}),
    "base64 of it": lambda a: _json(b"/predict", {"images": [base64.b64encode(a.encode()).decode()]}),
    "explain": lambda a: _json(b"/explain", {"images": [a], "url": a}),
    "activations": lambda a: _json(b"/activations?layer=relu1_1", {"images": [a]}),
    "a query": lambda a: Request(b"POST", b"/predict?url=%s&image_url=%s" % (_quoted(a), _quoted(a)), (PNG,), b""),
    "a model": lambda a: Request(b"POST", b"/predict?model=" + _quoted(a), (PNG,), a.encode()),
    "a layer": lambda a: Request(b"POST", b"/explain?layer=%s&label=%s" % (_quoted(a), _quoted(a)), (PNG,), a.encode()),
    "the body": lambda a: Request(b"POST", b"/predict", (PNG,), a.encode()),
    "a list of them": lambda a: Request(b"POST", b"/predict", ((b"content-type", b"text/uri-list"),), a.encode()),
    "a drawing": lambda a: Request(b"POST", b"/predict", ((b"content-type", b"image/svg+xml"),), _linked(a)),
    "a field": lambda a: Request(b"POST", b"/predict", (FORM,), form((b'name="url"', a.encode()))),
    "a file": lambda a: Request(
        b"POST", b"/predict", (FORM,), form((b'name="a"; filename="%s"' % _quoted(a), a.encode()))
    ),
    "a body elsewhere": lambda a: Request(
        b"POST", b"/predict", ((b"content-type", b'message/external-body; access-type=URL; url="%s"' % _quoted(a)),)
    ),
    "a tensor": lambda a: v2("photos", "BYTES", [1], [a]),
    "a tensor of base64": lambda a: v2("photos", "BYTES", [1], [base64.b64encode(a.encode()).decode()]),
    "a binary tensor": lambda a: v2("photos", "BYTES", [1], raw=len(a.encode()).to_bytes(4, "little") + a.encode()),
    "parameters": lambda a: _json(
        b"/v2/models/toy/infer",
        {"parameters": {"url": a}, "inputs": [{"name": "photos", "parameters": {"shared_memory_region": a, "uri": a}}]},
    ),
    "a model's path": lambda a: Request(b"GET", b"/v2/models/" + _quoted(a)),
    "a path": lambda a: Request(b"GET", b"/" + _quoted(a)),
    "a proxy's": lambda a: Request(b"GET", _quoted(a)),
    "a tunnel": lambda a: Request(b"CONNECT", _quoted(a)),
    "the host": lambda a: Request(b"GET", b"/models", ((b"host", _quoted(a)),)),
    "headers": lambda a: Request(
        b"POST",
        b"/predict",
        (PNG, *((name, _quoted(a)) for name in (b"referer", b"x-forwarded-host", b"forwarded", b"link", b"location"))),
    ),
    "a callback": lambda a: Request(b"POST", b"/predict", (PNG, (b"x-callback-url", _quoted(a)), (b"origin", b"null"))),
}


def _quoted(text: str) -> bytes:
    """Without what would end a line of HTTP."""
    return quote(text, safe="%:/@?=&;\\[]#").encode()


@pytest.mark.soak(
    "S7",
    goal="0 connections in 60 ways to ask for one, each refused",
    here="60 addresses in 26 places of a request; a socket listens, and the server's own calls are watched",
)
@pytest.mark.parametrize("fault", ["", "images are fetched"])
def test_no_address_in_a_request_is_ever_connected_to(reached, listener, amount, measured, fault):
    watching = watch(reached)
    found = addresses(listener.port)
    step = amount(13, 1)  # of 60 * 26, so that each address and each place has its turn
    asked = list(itertools.product(PLACES, found))[::step]
    requests = [PLACES[place](address) for place, address in asked]
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda request: exchange(reached, request.data), requests))
    events = [event for event in watching.read() if event.name in (*NETWORK, *PROGRAMS)]
    assert bool(events) == bool(listener.visits) == bool(fault), events
    if not fault:
        for where, answer in zip(asked, answers, strict=True):
            assert 400 <= status(answer) < 500, (where, answer)
    measured(addresses=len(found), places=len(PLACES), requests=len(asked), connections=len(events))


DOTS = ["..", "%2e%2e", ".%2e", "%252e%252e", "%25252e%25252e", "%c0%ae%c0%ae", "%e0%80%ae%e0%80%ae", "%f0%80%80%ae."]
DOTS += ["%uff0e%uff0e", "．．", "․․", "‥", "..;", "..%00", "....", ".", "...", "%2e", ". .", "%09.."]
SLASHES = ["/", "\\", "%2f", "%5c", "%252f", "%255c", "%c0%af", "%c1%9c", "%e0%80%af", "∕", "／", "//", "/./", "%00/"]
STARTS = ["", "/", "C:", "C:\\", "\\\\?\\", "\\\\localhost\\c$\\", "//localhost/", "file:///", "~", "~root/"]
STARTS += ["toy/", "toy%00"]
STARTS += ["%2f", "$HOME/", "/proc/self/cwd/", "/proc/self/root/", "/dev/fd/", "toy.safetensors/"]
ENDS = ["etc/passwd", "toy", "toy.safetensors", "model.safetensors", "app.js", "etc%2fpasswd", "etc/passwd%00.png"]
ENDS += ["x/."]
ENDS += ["", "con", "toy::$DATA", "toy."]


@pytest.fixture
def spelt(toy_model: Path, tmp_path: Path) -> Callable[[int], list[str]]:
    """A function (count) -> so many ways to name a file where a model, a layer or a part of the page is asked for."""
    link = tmp_path / "link"
    link.symlink_to(toy_model)
    real = [str(toy_model), str(toy_model)[1:], f"file://{toy_model}", str(link), f"{link.parent}/./{link.name}"]
    real += [f"../../../../../../..{path}" for path in (toy_model, link, "/etc/passwd")]

    def make(count: int) -> list[str]:
        chance = random.Random(0)
        made = dict.fromkeys(real)
        while len(made) < count:
            steps = chance.choice((1, 2, 8)) * (chance.choice(DOTS) + chance.choice(SLASHES))
            made[chance.choice(STARTS) + steps + chance.choice(ENDS)] = None
        return list(made)

    return make


NAMED: dict[str, Callable[[bytes, bytes], Request]] = {
    "predict": lambda name, photo: Request(b"POST", b"/predict?model=" + name, (PNG,), photo),
    "explain": lambda name, photo: Request(b"POST", b"/explain?model=" + name, (PNG,), photo),
    "layer": lambda name, photo: Request(b"POST", b"/explain?layer=" + name, (PNG,), photo),
    "label": lambda name, photo: Request(b"POST", b"/explain?label=" + name, (PNG,), photo),
    "method": lambda name, photo: Request(b"POST", b"/explain?method=" + name, (PNG,), photo),
    "activations": lambda name, photo: Request(b"POST", b"/activations?layer=" + name, (PNG,), photo),
    "metadata": lambda name, photo: Request(b"GET", b"/v2/models/" + name),
    "ready": lambda name, photo: Request(b"GET", b"/v2/models/" + name + b"/ready"),
    "infer": lambda name, photo: Request(b"POST", b"/v2/models/" + name + b"/infer", ((HEAD_LENGTH, b"2"),), b"{}"),
    "layers": lambda name, photo: Request(b"GET", b"/models/" + name + b"/layers"),
    "network": lambda name, photo: Request(b"GET", b"/networks/" + name),
    "page": lambda name, photo: Request(b"GET", b"/page/" + name),
    "path": lambda name, photo: Request(b"GET", b"/" + name + b"?x"),
}


@pytest.mark.soak(
    "S9",
    goal="500 spellings of a path: each refused, and no file opened",
    here="500 spellings in each of 13 places where a name is asked for; the server's own calls are watched",
)
@pytest.mark.parametrize("fault", ["", "names are opened"])
def test_no_name_in_a_request_ever_opens_a_file(spelt, reached, amount, measured, fault):
    watching = watch(reached)
    names, photo = spelt(amount(60, 500)), make_photo(0)
    asked = list(itertools.product(names, NAMED))[:: amount(5, 1)]  # of 60 * 13: each of the two has its turns

    def ask(pair: tuple[str, str]) -> bytes:
        name, place = pair
        safe = "%/" if place in ("metadata", "ready", "infer", "layers", "network", "page", "path") else "%/:;$~"
        return exchange(reached, NAMED[place](quote(name, safe=safe).encode(), photo).data)

    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(ask, asked))
    events = watching.read()
    assert (not events) == (not fault), events
    for pair, answer in zip(asked, answers, strict=True):
        assert 400 <= status(answer) < 500, (pair, answer)
        assert b"root:" not in answer
    measured(names=len(names), places=len(NAMED), requests=len(asked), opened=len(events))
