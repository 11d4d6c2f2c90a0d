"""Bytes that are hardly HTTP, to every route: each is answered by 4xx, and nothing is learnt of the server."""

import math
import re
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mutated_requests import PIPELINED, SMUGGLING, Mutations
from processes import children
from routes import FORM, ROUTES, Request, exchange, status, v2, valid
from serving import PATIENCE, Server, becomes, end, start

DEADLINES = {
    "header_seconds": 0.3,
    "body_seconds": 0.3,
    "linger_seconds": 0.1,
    "keep_alive_seconds": 1,
    "explanations": 64,
}
REPOSITORY = str(Path(__file__).parents[2])
PATHS = "|".join(re.escape(path) for path in (REPOSITORY, sys.prefix, sys.base_prefix + "/lib", tempfile.gettempdir()))
TOLD = re.compile(rf'Traceback|File "|site-packages|\w\.py\b|object at |\b0x[0-9a-f]{{8}}|{PATHS}'.encode())
PICTURE = re.compile(rb'"data:image/[^"]*"')
ROUTE = "|".join(re.escape(route) for route in (*ROUTES, "(none)"))
LINE = re.compile(rf"[A-Za-z0-9._-]{{1,64}} ({ROUTE}) \d{{3}} \d+\.\d ms, \d+ bytes")


def wrong_with(answer: bytes) -> str:
    """What no answer may be; empty: nothing."""
    code = status(answer)
    if answer and not (code in (200, 503) or 400 <= code < 500):
        return f"status {code}"
    found = TOLD.search(PICTURE.sub(b"", answer))
    return f"it tells {found[0]!r}" if found else ""


def strange_lines(server: Server) -> list[str]:
    """Of the log: what is not said of each request."""
    return [line for line in server.log.read_text(errors="replace").splitlines() if not LINE.fullmatch(line)]


def flood(server: Server, requests: Mutations, count: int) -> tuple[Counter[int], list[str]]:
    """The statuses of so many, and what was wrong, up to the first few."""
    statuses: Counter[int] = Counter()
    wrong: list[str] = []

    def ask(number: int) -> None:
        if len(wrong) > 3:
            return
        try:
            answer = exchange(server, requests[number])
            found = wrong_with(answer)
        except OSError as error:
            answer, found = b"", f"no connection: {error}"
        statuses[status(answer)] += 1
        if found:
            wrong.append(f"request {number}: {found}: {requests[number][:300]!r} -> {answer[:500]!r}")

    with ThreadPoolExecutor(24) as clients:
        list(clients.map(ask, range(count)))
    return statuses, wrong


@pytest.mark.soak(
    "S6",
    goal="1,000,000 mutated requests a week: 0 deaths, 0 times 500, nothing told, ready within 1 s",
    here="50,000 mutated requests of every route, 24 at once, and a second for it to be ready",
)
@pytest.mark.parametrize("fault", ["", "a field is expected", "errors tell where"])
def test_garbage_is_refused_and_nothing_is_told(serve, photos, amount, measured, fault):
    server = serve(limits=DEADLINES, fault=fault)
    right = server.ask("POST", "/predict", photos[0], {"content-type": "image/png"}).json["photos"]
    decoders = children(server.process.pid)
    count = amount(300, 50_000)
    start = time.monotonic()
    statuses, wrong = flood(server, Mutations(valid(photos[0]), photos[0], seed=0), count)
    seconds = time.monotonic() - start
    assert server.process.poll() is None
    start = time.monotonic()
    assert server.ask("GET", "/health/ready").status == 200
    ready = time.monotonic() - start
    if fault:
        assert wrong or strange_lines(server)
        return
    assert not wrong, "\n".join(wrong)
    assert not strange_lines(server)
    assert ready < amount(PATIENCE, 1.0)
    assert children(server.process.pid) == decoders
    assert server.ask("POST", "/predict", photos[0], {"content-type": "image/png"}).json["photos"] == right
    assert statuses[0] < count / 5, "those that end before their time"
    told = " ".join(f"{code}:{number}" for code, number in sorted(statuses.items()))
    measured(requests=count, per_second=round(count / seconds), statuses=told.replace(" ", ","), ready_s=f"{ready:.3f}")


@pytest.fixture(scope="module")
def quick(toy_model, tmp_path_factory):
    """A server of short deadlines that withstands all this."""
    running = start(toy_model, tmp_path_factory.mktemp("quick"), limits=DEADLINES)
    yield running
    end(running)


def test_no_request_is_smuggled_in_another(quick):
    """What two readers cut in two ways is refused, and nothing after it is read."""
    both = exchange(quick, PIPELINED)
    assert b"x-request-id: smuggled" in both, "it would be seen"
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda data: exchange(quick, data), SMUGGLING))
    for data, answer in zip(SMUGGLING, answers, strict=True):
        assert status(answer) == 400, (data, answer)
        assert answer.count(b"HTTP/1.1 ") == 1, (data, answer)
        assert not wrong_with(answer)
    assert not strange_lines(quick)


_MALFORMED = b"transfer-encoding: chunked\r\n\r\nzz\r\n"
_HUGE = np.full(3072, 3e38, "<f4")
ONCE_TOLD = [
    (404, Request(b"POST", b"/predict/").data),  # a redirect repeated the path
    (400, b"POST /predict HTTP/1.1\r\nhost: example.com\r\n" + _MALFORMED),  # two answers, one of them a traceback
    (400, b"HEAD /predict HTTP/1.1\r\nhost: localhost\r\n" + _MALFORMED),  # an answer with a body, which has none
    (422, Request(b"POST", b"/predict", (FORM,), b"preamble\r\n--cut").data),  # the parser logged what it had got
    (400, v2("images", "FP32", [1, 3, 32, 32], [1e300] * 3072).data),  # NumPy warned of it in the log
    (400, v2("pixels", "UINT8", [1, 1, 1, 3], [math.inf] * 3).data),  # and of its remainder
    (400, v2("images", "FP32", [1, 3, 32, 32], raw=_HUGE.tobytes()).data),  # the network's sums became infinite: 500
]


@pytest.mark.parametrize(("expected", "request_"), ONCE_TOLD, ids=range(len(ONCE_TOLD)))
def test_what_once_told_of_the_server_is_refused_and_counted_once(quick, expected, request_):

    def counted() -> float:
        return quick.metric("verydeep_requests_total", 0, without="/metrics")

    time.sleep(0.2)  # what came before is counted, as some are just after their answer
    before = counted()
    answer = exchange(quick, request_)
    assert status(answer) == expected, answer
    assert not wrong_with(answer)
    assert not strange_lines(quick)
    assert becomes(lambda: counted() == before + 1)
    time.sleep(0.2)
    assert counted() == before + 1
