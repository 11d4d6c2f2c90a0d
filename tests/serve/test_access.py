"""Who may ask the service, that a model's name is a key and never a path, and what it is without any settings."""

import asyncio
import hmac
import operator
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from audit import NETWORK, PROGRAMS
from processes import listening
from routes import ROUTES, Request, exchange, status, valid, watch
from serving import PATIENCE, Server

from verydeep.serve import guard
from verydeep.serve.app import Service, make_app
from verydeep.serve.decoding import Decoders
from verydeep.serve.guard import Access, Guard
from verydeep.serve.limits import Limits
from verydeep.serve.metrics import Metrics

PNG = {"content-type": "image/png"}


HOSTS = ["example.com", "example.com:80", "127.0.0.1.example.com", "localhost.example.com", "", "[::2]", "127.1"]


@pytest.mark.parametrize("host", HOSTS)
def test_another_hosts_name_is_refused(server, photos, host):
    assert server.ask("GET", "/models", headers={"host": host}).status == 421
    assert server.ask("POST", "/predict", photos[0], PNG | {"host": host}).status == 421


def test_the_own_names_are_taken_with_any_port(server):
    for host in ("localhost", "LOCALHOST:1234", "127.0.0.1:80", f"127.0.0.1:{server.port}"):
        assert server.ask("GET", "/models", headers={"host": host}).status == 200, host


def test_pages_of_other_origins_may_not_post(server, photos):
    own = f"http://127.0.0.1:{server.port}"
    assert server.ask("POST", "/predict", photos[0], PNG | {"origin": own}).status == 200
    others = ["http://example.com", "null", f"{own}.example.com", "http://127.0.0.1:1"]
    for origin in [*others, f"http://localhost:{server.port}"]:
        assert server.ask("POST", "/predict", photos[0], PNG | {"origin": origin}).status == 403, origin
    reply = server.ask("OPTIONS", "/predict", headers={"origin": "http://example.com"})
    assert "access-control-allow-origin" not in reply.headers


def test_a_token_is_asked_for_everywhere_but_by_health(serve, photos):
    server = serve(token="secret")  # noqa: S106, of a test
    right = {"authorization": "Bearer secret"}
    assert server.ask("POST", "/predict", photos[0], PNG | right).status == 200
    wrong = ("Bearer secre", "Bearer secretx", "Bearer SECRET", "Basic secret", "secret")
    for given in ({}, *({"authorization": text} for text in wrong), {"token": "secret"}):
        for path in ("/models", "/metrics", "/openapi.json", "/v2", "/networks", "/networks/D"):
            assert server.ask("GET", path, headers=given).status == 401, (given, path)
        assert server.ask("POST", "/predict", photos[0], PNG | given).status == 401
    for path in ("/", "/page/app.js", "/docs", "/network/D"):
        assert server.ask("GET", path).status == 200, "the page's files hold no secret"
    assert server.ask("GET", "/health/live").status == 200
    assert server.ask("GET", "/v2/health/ready").status == 200


NAMES = ["..", "../toy", "%2e%2e", "..%2ftoy", "%2e%2e%2ftoy", "toy%00", "TOY", "C:\\toy", "\\\\host\\toy", "/etc/x"]


@pytest.mark.parametrize("name", [*NAMES, "%c0%ae%c0%ae", "toy.safetensors", "./toy", "toy/", "~", "a" * 10_000, "💥"])
def test_a_models_name_is_looked_up_and_is_never_a_path(server, photos, name):
    quoted = quote(name, safe="%")
    assert server.ask("POST", f"/predict?model={quoted}", photos[0], PNG).status == 404
    assert server.ask("GET", f"/v2/models/{quoted}/ready").status in (404, 405)
    assert server.ask("GET", "/health/ready").status == 200


def test_every_answer_forbids_what_a_browser_could_do_with_it(server):
    for method, path in (("GET", "/models"), ("GET", "/nothing"), ("POST", "/predict")):
        headers = server.ask(method, path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_a_request_id_is_echoed_where_it_is_harmless(server):
    assert server.ask("GET", "/models", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    for bad in ("a b", "é", "x" * 65, "<script>"):
        reply = server.ask("GET", "/models", headers={"x-request-id": bad.encode().decode("latin-1")})
        assert len(reply.headers["x-request-id"]) == 32


def test_the_log_names_no_photo_and_nothing_that_a_client_wrote(server, photos):
    server.ask("POST", "/predict?model=my-secret-name", photos[0], PNG)
    server.ask("GET", "/my-secret-path")
    log = server.log.read_text()
    assert "/predict 404" in log
    assert "secret" not in log


FOREIGN_HOSTS = ["example.com", "example.com:8000", "127.0.0.1.example.com", "localhost.example.com"]
FOREIGN_HOSTS += ["localhost:80@example.com", "localhost:example.com", "127.0.0.1:80.example.com", "[::1].example.com"]
FOREIGN_HOSTS += ["user@localhost", "localhost,example.com", "localhost/", "http://localhost", "localhost.", "", ":80"]
FOREIGN_HOSTS += ["0.0.0.0", "127.1", "127.0.0.2", "2130706433", "0x7f000001", "[::ffff:127.0.0.1]", "[::]"]  # noqa: S104
FOREIGN_HOSTS += ["[::2]:8000", "example.com:localhost", "127.0.0.1.nip.io"]
FOREIGN_HOSTS += ["localtest.me", "\xb9127.0.0.1", "localhost:8000:8000", "*", "localhost%00"]
FOREIGN_ORIGINS = ["http://example.com", "null", "http://{own}.example.com", "http://{own}@example.com", "{own}", ""]
FOREIGN_ORIGINS += ["http://127.0.0.1", "http://127.0.0.1:1", "http://localhost:{port}", "http://{own}/", "file://"]
FOREIGN_ORIGINS += ["http://example.com, http://{own}", "http://{own} http://example.com", "https://example.com:{port}"]
FOREIGN_ORIGINS += ["x:{own}", "chrome-extension://abcdefghijklmnop", "http://[::1]:{port}", "http://0.0.0.0:{port}"]
WRITING = ["POST", "PUT", "DELETE", "PATCH", "post", "LINK"]


def foreign(port: int, photo: bytes) -> list[Request]:
    """What a page elsewhere may send, by whatever trick."""
    own = f"127.0.0.1:{port}"
    origins = [origin.format(own=own, port=port).encode() for origin in FOREIGN_ORIGINS]
    hosts = [host.encode("latin-1") for host in FOREIGN_HOSTS]
    ours, png = (b"host", own.encode()), (b"content-type", b"image/png")
    predict = b"/predict"
    found = [Request(method, path, ((b"host", host), png), photo) for host in hosts for method, path in _EVERYWHERE[:2]]
    found += [Request(method, path, ((b"host", b"example.com"),)) for method, path in _EVERYWHERE]
    found += [Request(b"POST", predict, (ours, (b"origin", origin), png), photo) for origin in origins]
    found += [Request(method.encode(), predict, (ours, (b"origin", b"http://example.com"))) for method in WRITING]
    # its own name led to this machine (DNS rebinding): to the browser this is no other origin
    rebound = ((b"host", b"example.com:%d" % port), (b"origin", b"http://example.com:%d" % port), png)
    found += [Request(method, path, rebound, photo) for method, path in _EVERYWHERE[:2]]
    both = [(b"origin", b"http://" + own.encode()), (b"origin", b"http://example.com")]
    found += [Request(b"POST", predict, (ours, *pair, png), photo) for pair in (both, both[::-1])]
    return found


_EVERYWHERE = [(b"POST", b"/predict"), (b"GET", b"/models")]
_EVERYWHERE += [(method.encode(), re.sub(r"{\w+}", "toy", path).encode()) for path, method in ROUTES.items()]


@pytest.mark.soak(
    "S8",
    goal="40 cases of Host and Origin: each refused, no CORS header",
    here="Host by 30 names, Origin by 18, each route, rebinding, both orders of two origins",
)
@pytest.mark.parametrize("fault", ["", "every host is ours", "origins are not compared"])
def test_a_page_elsewhere_is_refused_whatever_it_tries(request, serve, photos, measured, fault):
    server = serve(fault=fault) if fault else request.getfixturevalue("server")
    asked = foreign(server.port, photos[0])
    answers = [exchange(server, one.data) for one in asked]
    let_in = [one for one, answer in zip(asked, answers, strict=True) if status(answer) not in (400, 403, 421)]
    assert bool(let_in) == bool(fault), [(one.method, one.target, one.headers) for one in let_in]
    assert not [answer for answer in answers if b"access-control-" in answer.lower()]
    for method in ("OPTIONS", "GET", "POST"):  # nor to a question that is well received
        wish = {"access-control-request-method": "POST", "access-control-request-private-network": "true"}
        reply = server.ask(method, "/models", headers=wish | {"origin": f"http://127.0.0.1:{server.port}"})
        assert not [name for name in reply.headers if name.startswith("access-control-")]
    measured(cases=len(asked), let_in=len(let_in))


def test_the_routes_are_these_and_none_loads_or_configures_anything(server):
    service = Service({}, Limits(), Metrics(), print, Decoders(Limits()))
    served = {route.path: route.methods - {"HEAD"} for route in make_app(service).routes}
    assert served == {path: {method} for path, method in ROUTES.items()}
    for path in ("/v2/repository/index", "/v2/repository/models/toy/load", "/v2/repository/models/toy/unload"):
        assert server.ask("POST", path).status == 404
    for path in ("/v2/systemsharedmemory/status", "/v2/trace/setting", "/v2/logging", "/config", "/shutdown", "/admin"):
        assert server.ask("POST", path).status == 404
    for path, method in ROUTES.items():
        named = re.sub(r"{\w+}", "toy", path)
        for other in {"GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"} - {method}:
            assert server.ask(other, named).status == 405, (other, path)


@contextmanager
def verydeep_serve(model: Path, fault: str) -> Iterator[Server]:
    """The command, run by somebody who may write no file at all: its lines go into a pipe."""
    program = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); "
    program += f"import doors; doors.plant({fault!r}); from verydeep.cli.main import main; main()"
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", program, "serve", "--model", f"toy={model}", "--port", "0"],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path, "HOME": "/nonexistent", "TMPDIR": "/nonexistent"},
    ) as process:
        try:
            lines = []
            while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", "".join(lines))):
                lines.append(process.stderr.readline())
                assert lines[-1], lines
            yield Server(process, int(found[1]), Path("/dev/null"))
        finally:
            process.kill()


@pytest.mark.soak(
    "S15",
    goal="listens on this machine alone, writes nothing, connects nowhere",
    here="`verydeep serve` without options and without a file that it may write",
)
@pytest.mark.parametrize("fault", ["", "it listens on all addresses"])
def test_the_command_listens_on_this_machine_alone_and_needs_no_file_to_write(toy_model, photos, measured, fault):
    with verydeep_serve(toy_model, fault) as server:
        found = listening(server.process.pid)
        assert (found == {"127.0.0.1"}) == (not fault), found
        deadline = time.monotonic() + PATIENCE
        while server.ask("GET", "/health/ready").status != 200:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        for request in valid(photos[0]):
            if b"model=other" not in request.target:
                assert status(exchange(server, request.data)) == 200, request.target
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(PATIENCE) == 0
    measured(addresses=",".join(sorted(found)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.1", "fe80::1", "8.8.8.8"])  # noqa: S104
def test_where_others_can_ask_it_does_not_start_without_a_token(run, monkeypatch, host):
    for token in (None, ""):
        monkeypatch.delenv(guard.TOKEN, raising=False) if token is None else monkeypatch.setenv(guard.TOKEN, token)
        done = run("serve", "--host", host, "--port", "0")
        assert done.code == 2
        assert "a token is needed" in done.err


@pytest.mark.soak("S15", goal="tokens compared in constant time", here="by hmac.compare_digest, whatever is sent")
@pytest.mark.parametrize("fault", ["", "compared by equality"])
def test_a_token_is_compared_in_constant_time(monkeypatch, fault):
    """A comparison that is told what to say decides; so no other one does."""
    seen: list[tuple[bytes, bytes]] = []

    def compare(given: bytes, wanted: bytes) -> bool:
        seen.append((given, wanted))
        return given != wanted

    monkeypatch.setattr(hmac, "compare_digest", compare)
    if fault:
        monkeypatch.setattr(guard, "hmac", SimpleNamespace(compare_digest=operator.eq))
    wrong, right = b"Bearer secrex", b"Bearer secret"
    let_in = [given for given in (wrong, right, b"", b"Bearer ") if _status(given) == 200]
    assert (let_in == [wrong, b"", b"Bearer "]) == (not fault)
    assert (seen == [(given, right) for given in (wrong, right, b"", b"Bearer ")]) == (not fault)


def _status(authorization: bytes) -> int:
    """Of the answer to a request with it."""
    sent: list[dict] = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message)

    access = Access({"localhost"}, "secret")
    guarded = Guard(
        app,
        access,
        limits=Limits(),
        metrics=Metrics(),
        log=print,
        is_draining=lambda: False,
        check_room=lambda model: None,
    )
    headers = [(b"host", b"localhost"), (b"authorization", authorization)]
    scope = {"type": "http", "method": "GET", "path": "/models", "raw_path": b"/models", "query_string": b""}
    asyncio.run(guarded(scope | {"headers": headers}, receive, send))
    return sent[0]["status"]


@pytest.mark.soak(
    "S15",
    goal="listens on this machine alone, writes nothing, connects nowhere",
    here="every route asked, photos that cannot be read among them; the server's own calls are watched",
)
@pytest.mark.parametrize("fault", ["", "it keeps a diary"])
def test_it_writes_nothing_starts_nothing_and_connects_nowhere(reached, photos, amount, measured, fault):
    watching = watch(reached)
    asked = [*valid(photos[1]), *(Request(b"POST", b"/predict", (), data) for data in (b"nonsense", b"\x89PNG\r\n"))]
    times = amount(1, 20)
    for one in times * asked:
        assert status(exchange(reached, one.data)) in (200, 422)
    found = [event for event in watching.read() if event.is_change or event.name in (*NETWORK, *PROGRAMS)]
    assert bool(found) == bool(fault), found
    measured(requests=times * len(asked), changes=len(found))
