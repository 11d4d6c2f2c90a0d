"""What a request may cost: each limit at its value, beyond it and far beyond it, and memory that stays flat."""

import asyncio
import base64
import json
import time
from contextlib import ExitStack

import pytest
from clients import Answer, ask_in_turn, post
from serving import PATIENCE, end, make_photo, start, wait_until

from verydeep.serve.bodies import parse_json
from verydeep.serve.guard import Refused
from verydeep.serve.limits import Limits

PNG = {"content-type": "image/png"}
JSON = {"content-type": "application/json"}
SMALL = {"body_bytes": 100_000, "header_bytes": 4096, "photos": 6, "parts": 3, "largest_batch": 4, "queued_batches": 2}


@pytest.fixture(scope="module")
def small(toy_model, tmp_path_factory):
    """A server whose limits are small."""
    running = start(toy_model, tmp_path_factory.mktemp("small"), limits=SMALL)
    yield running
    end(running)


def padded(size: int) -> bytes:
    """A PNG with bytes after its end, which decoders pass over."""
    return make_photo(1).ljust(size, b"\0")


def test_the_largest_body_is_taken_and_one_byte_more_is_not(small):
    assert small.ask("POST", "/predict", padded(100_000), PNG).status == 200
    assert small.ask("POST", "/predict", padded(100_001), PNG).status == 413
    assert small.ask("POST", "/predict", padded(100_000_000), PNG).status == 413


def in_chunks(data: bytes, size: int = 10_000):
    """As a generator, which http.client sends without a length."""
    return (data[start : start + size] for start in range(0, len(data), size))


def test_a_body_without_a_length_is_counted_as_it_comes(small):
    assert small.ask("POST", "/predict", in_chunks(padded(100_000)), PNG).status == 200
    assert small.ask("POST", "/predict", in_chunks(padded(100_001)), PNG).status == 413
    assert small.ask("POST", "/predict", in_chunks(padded(100_000), size=1), PNG).status == 200


def raw(server, request: bytes) -> bytes:
    """The first answer to bytes that need not be HTTP."""
    with server.connect() as connection:
        connection.sendall(request)
        return connection.recv(65536)


def until_closed(connection) -> bytes:
    """What comes until the server closes the connection, in whatever way."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionError:
        pass
    return found


HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\n"


def test_lengths_that_are_no_lengths_are_refused(small):
    for length in (b"-1", b"1e3", b"99999999999999999999", b"0x10", b"5, 6", b"\xc2\xb2"):
        answer = raw(small, HEAD + b"content-length: " + length + b"\r\n\r\n")
        assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), (length, answer)
    both = b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    assert raw(small, HEAD + both).startswith(b"HTTP/1.1 4"), "two lengths: what smuggles a request"


def test_a_header_of_many_lines_of_one_name_is_counted_whole(small):
    lines = b"x: " + b"a" * 60 + b"\r\n"
    answer = raw(small, b"GET /models HTTP/1.1\r\nhost: localhost\r\n" + 100 * lines + b"\r\n")
    assert answer[:12] in (b"HTTP/1.1 431", b"HTTP/1.1 400")


def test_what_is_no_http_is_answered_counted_and_closed(small):
    before = small.metric("verydeep_requests_total")
    answer = raw(small, b"nonsense\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"content-security-policy" in answer
    assert small.metric("verydeep_requests_total") == before + 2, "it, and the look before"
    with small.connect() as connection:  # after an answer: there is nothing more to say
        connection.sendall(b"POST / HTTP/1.1\r\nhost: example.com\r\ntransfer-encoding: chunked\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 421")
        connection.sendall(b"zz\r\n")
        assert b"HTTP/1.1" not in until_closed(connection)
    assert "Traceback" not in small.log.read_text()


def test_compressed_bodies_are_refused(small):
    assert small.ask("POST", "/predict", b"x", PNG | {"content-encoding": "gzip"}).status == 415


def test_a_header_that_is_too_long_is_refused(small):
    assert small.ask("GET", "/models", headers={"x-long": "a" * 3000}).status == 200
    for size in (5000, 1_000_000):
        with small.connect() as connection:
            try:
                connection.sendall(b"GET /models HTTP/1.1\r\nhost: localhost\r\nx-long: " + b"a" * size + b"\r\n\r\n")
                answer = connection.recv(65536)
            except ConnectionError:  # it was closed before all was sent
                continue
            assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 431", b""), size


def test_the_number_of_photos_and_parts_is_limited(small):
    assert small.predict(*[make_photo(1)] * 6).status == 200
    assert small.predict(*[make_photo(1)] * 7).status == 413
    part = b'--cut\r\ncontent-disposition: form-data; name="a"; filename="b"\r\n\r\n' + make_photo(1) + b"\r\n"
    for parts, status in ((3, 200), (4, 413), (300, 413)):
        form = {"content-type": "multipart/form-data; boundary=cut"}
        assert small.ask("POST", "/predict", part * parts + b"--cut--\r\n", form).status == status, parts


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "image/png", 422),
        (b"", "application/json", 422),
        (b"{}", "application/json", 422),
        (b'{"images": "abc"}', "application/json", 422),
        (b'{"images": [7]}', "application/json", 422),
        (b'{"images": ["%%%"]}', "application/json", 422),
        (b'{"images": []}', "application/json", 422),
        (b"\xff\xfe", "application/json", 422),
        (b"[" * 32 + b"]" * 32, "application/json", 422),
        (b"[" * 90_000, "application/json", 422),
        (b"--cut", "multipart/form-data; boundary=cut", 422),
        (b"nonsense", "multipart/form-data; boundary=cut", 422),
        (b"nonsense", "multipart/form-data", 422),
        (b"--cut--\r\n", "multipart/form-data; boundary=cut", 422),
        (b"nonsense", "image/png", 422),
        (b"a,b", "text/csv", 415),
    ],
)
def test_bodies_that_hold_no_photo_are_refused_with_a_sentence(small, body, kind, status):
    reply = small.ask("POST", "/predict", body, {"content-type": kind})
    assert reply.status == status
    told = reply.json["photos"][0] if "photos" in reply.json else reply.json
    assert told["error"].endswith(".")


def test_json_may_be_so_deep_and_no_deeper():
    limits = Limits(json_depth=5)
    assert parse_json(b'{"a": [[[[1]]]]}', limits) == {"a": [[[[1]]]]}
    assert parse_json(b'"[[[[[[[["', limits) == "[[[[[[[[", "brackets in a text nest nothing"
    assert parse_json(rb'["\"[[[[[[[["]', limits) == ['"[[[[[[[[']
    for text in (b'{"a": [[[[[1]]]]]}', b"[" * 1_000_000, b'{"a":' * 500_000):
        with pytest.raises(Refused, match="nested more than 5|too many"):
            parse_json(text, limits)
    for text in (b"[" + b"1," * 10 + b"1]", b"[]" * 10):
        with pytest.raises(Refused, match="too many"):
            parse_json(text, Limits(json_values=9, json_lists=9))


def test_json_that_would_take_long_or_hide_its_brackets_is_refused_soon():
    """Each of these once took minutes, or passed."""
    limits = Limits()
    for text in (rb"\"" * 5_000_000, b'"' + rb"\"" * 5_000_000, b"[]" * 5_000_000, b'"' * 5_000_001):
        with pytest.raises(Refused):
            parse_json(text, limits)
    with pytest.raises(Refused, match="UTF-8"):
        parse_json('["\u2200", [[[[[[1]]]]]]]'.encode("utf-16"), limits)
    assert parse_json(b'{"images": ["' + b"A" * 19_000_000 + b'"]}', limits)["images"][0][0] == "A"


@pytest.mark.soak(
    "S4",
    goal="100,000 refusals of 12 limits: each the right 4xx, memory grows by less than 8 MiB",
    here="30,000 of six kinds, 8 clients",
)
@pytest.mark.parametrize("fault", ["", "hoard"])
def test_refusals_leave_memory_as_it_was(serve, amount, measured, fault):
    server = serve(limits=SMALL, fault=fault)
    many = json.dumps({"images": [base64.b64encode(b"x").decode()] * 99}).encode()
    refused = [
        (413, post("/predict", padded(100_001), "image/png")),
        (422, post("/predict", b"[" * 50_000, "application/json")),
        (422, post("/predict", b"\x89PNG\r\n" + b"\0" * 50_000, "image/png")),
        (413, post("/predict", many, "application/json")),
        (415, post("/predict", b"x" * 50_000, "text/csv")),
        (404, post("/predict?model=nobody", b"x" * 50_000, "image/png")),
    ]
    wrong = []

    def check(answer: Answer) -> None:
        if answer.status != refused[answer.number % len(refused)][0]:
            wrong.append(answer)

    def ask(requests: int) -> None:
        asked = ask_in_turn(
            server.port, lambda n: refused[n % len(refused)][1], clients=8, requests=requests, on_answer=check
        )
        asyncio.run(asked)

    requests = amount(600, 30_000)
    ask(requests // 4)  # warms up
    before = server.memory()
    ask(requests)
    growth = server.memory() - before
    measured(refusals=requests, wrong=len(wrong), growth_mib=f"{growth / (1 << 20):.1f}")
    assert not wrong
    assert (growth < 8 << 20) == (not fault)


@pytest.mark.soak(
    "S4",
    goal="a body at its limit, beyond it, 1,000 times beyond: memory at its peak within 1.2 times the limit",
    here="within 1.5 times: 20 MiB, a byte more, a length of 20 GB, chunks, a form, a tensor; JSON: 2.4 or 8.4 times",
)
@pytest.mark.parametrize("fault", ["", "greedy"])
def test_a_body_takes_no_more_memory_than_its_limit(serve, amount, measured, fault):
    limit = Limits().body_bytes
    form = (
        b'--cut\r\ncontent-disposition: form-data; name="a"; filename="b"\r\n\r\n'
        + b"x" * (limit - 100)
        + b"\r\n--cut--"
    )
    text = b'{"images": ["' + b"A" * (limit - 40) + b'"]}'
    wide = text[:-10] + "\N{GRINNING FACE}".encode() + b'"]}'
    size = 3 * 1300 * 1300 * 4
    tensor = {"name": "images", "datatype": "FP32", "shape": [1, 3, 1300, 1300]}
    tensor["parameters"] = {"binary_data_size": size}
    question = json.dumps({"inputs": [tensor]}).encode()
    bodies = {
        "limit": (padded(limit), PNG, 200),
        "one_more": (padded(limit + 1), PNG, 413),
        "a_thousand_times": (b"x", PNG | {"content-length": str(1000 * limit)}, 413),
        "in_chunks": (None, PNG, 413),
        "form": (form, {"content-type": "multipart/form-data; boundary=cut"}, 422),
        "tensor": (question + bytes(size), {"inference-header-content-length": str(len(question))}, 400),
        "json": (text, JSON, 422),
        "wide_json": (wide, JSON, 422),
    }
    more = {}
    for name, (body, headers, status) in [*bodies.items()][: 1 if fault else None]:
        server = serve(fault=fault)  # one that has kept no memory of other bodies
        for _ in range(amount(1, 10)):
            before = server.memory()
            server.forget_peak()
            endless = (b"x" * 65536 for _ in range(3 * limit // 65536))
            path = "/v2/models/toy/infer" if name == "tensor" else "/predict"
            reply = server.ask("POST", path, endless if body is None else body, headers)
            assert reply.status == status, (name, reply.body)
            more[name] = max(more.get(name, 0), server.memory("VmHWM") - before)
    measured(**{f"{name}_mib": f"{value / (1 << 20):.1f}" for name, value in more.items()})
    of_json, of_wide_json = more.pop("json", 0), more.pop("wide_json", 0)
    if not fault:
        assert of_json <= 2.4 * limit, "as bytes and as text, or as text and as what it says"
        assert of_wide_json <= 8.4 * limit, "with four bytes a letter"
    assert (max(more.values()) <= 1.5 * limit) == (not fault), more


@pytest.mark.parametrize("connection", ["keep-alive", "close"])
@pytest.mark.parametrize(("path", "status"), [("/predict", 415), ("/nothing", 404), ("/predict?model=nobody", 404)])
def test_a_refused_body_is_read_so_that_its_answer_arrives(server, path, status, connection):
    """Of several MB the server takes none; closing at once would reset the connection, and the answer with it."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: {connection}\r\ncontent-type: text/csv\r\n"
    with server.connect() as client:
        client.sendall(head.encode() + b"content-length: 8000000\r\n\r\n")
        client.sendall(bytes(8_000_000))
        assert client.recv(65536).startswith(f"HTTP/1.1 {status}".encode())


def test_connections_beyond_the_limit_are_closed(serve):
    server = serve(limits={"connections": 3})
    with ExitStack() as stack:
        first = [stack.enter_context(server.connect()) for _ in range(3)]
        for connection in first:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        with server.connect() as fourth:
            assert until_closed(fourth) == b""
        first[0].close()
        wait_until(lambda: can_ask(server))


def can_ask(server) -> bool:
    try:
        return server.ask("GET", "/health/live").status == 200
    except OSError:
        return False


def test_an_answer_that_takes_too_long_is_given_up(serve, photos):
    server = serve(engine_seconds=1.0, limits={"request_seconds": 0.3})
    reply = server.ask("POST", "/predict", photos[0], PNG)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert "0.3 s" in reply.json["error"]


def test_all_requests_together_hold_no_more_than_they_may(serve):
    server = serve(limits={"held_bytes": 150_000})
    first = server.connect()
    first.sendall(HEAD + b"content-length: 110000\r\n\r\n" + b"x" * 100_000)
    reply = server.ask("POST", "/predict", padded(100_000), PNG)
    deadline = time.monotonic() + PATIENCE
    while reply.status in (200, 422):  # the first one's bytes may not have been read
        assert time.monotonic() < deadline
        reply = server.ask("POST", "/predict", padded(100_000), PNG)
    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    first.close()
    while server.ask("POST", "/predict", padded(100_000), PNG).status != 200:  # as soon as it has gone
        assert time.monotonic() < deadline
