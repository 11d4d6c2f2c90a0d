"""More requests than the engine can answer, clients that keep the server waiting, and clients that go away."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from serving import PATIENCE, make_photo

PNG = {"content-type": "image/png"}
HEAD = b"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: image/png\r\n"


@pytest.mark.parametrize("fault", ["", "unbounded"])
def test_what_is_too_much_is_told_at_once_and_the_rest_is_answered(serve, photos, fault):
    """40 clients, room for 4 images: 503 with Retry-After, or 200; without a bound the test would notice."""
    server = serve(engine_seconds=0.05, limits={"largest_batch": 2, "queued_batches": 2}, fault=fault)

    def ask(number: int):
        return server.ask("POST", "/predict", photos[number % 40], PNG)

    with ThreadPoolExecutor(40) as clients:
        replies = list(clients.map(ask, range(120)))
    statuses = [reply.status for reply in replies]
    assert set(statuses) <= {200, 503}
    assert statuses.count(200) >= 4
    assert (503 in statuses) == (not fault)
    assert all(int(reply.headers["retry-after"]) >= 1 for reply in replies if reply.status == 503)
    assert server.ask("POST", "/predict", photos[0], PNG).status == 200, "and when it is over, all is as before"


def test_a_request_for_more_than_the_queue_holds_is_answered_when_it_is_empty(serve, photos):
    server = serve(limits={"largest_batch": 2, "queued_batches": 2})
    assert server.predict(*photos[:20]).status == 200


def test_batches_grow_with_the_load(serve, photos):
    server = serve(engine_seconds=0.02)
    with ThreadPoolExecutor(16) as clients:
        list(clients.map(lambda n: server.ask("POST", "/predict", photos[n % 40], PNG), range(64)))
    images, batches = server.metric("verydeep_batch_images_sum"), server.metric("verydeep_batch_images_count")
    assert images == 64
    assert batches <= 40, "several at once"
    server.ask("POST", "/predict", photos[0], PNG)
    assert server.metric("verydeep_batch_images_count") == batches + 1, "one alone is not kept waiting"


def is_closed(connection, within: float) -> bool:
    """Whether the server closes the connection in that time; an answer before it is read."""
    connection.settimeout(within)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return True


def sent_until_closed(connection, parts, pause: float) -> float:
    """The seconds until the server closes the connection on which these are sent, with pauses."""
    start = time.monotonic()
    try:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
    except ConnectionError:
        return time.monotonic() - start
    raise AssertionError("it was never closed")


DEADLINES = {"header_seconds": 0.5, "body_seconds": 0.5, "linger_seconds": 0.5, "keep_alive_seconds": 1}


@pytest.mark.parametrize("fault", ["", "no deadlines"])
def test_clients_that_stall_are_closed_and_fresh_ones_are_served_meanwhile(serve, photos, fault):
    server = serve(limits=DEADLINES, fault=fault)
    with ExitStack() as stack:
        silent, in_header, in_body, *crowd = (stack.enter_context(server.connect()) for _ in range(203))
        in_header.sendall(HEAD[:30])
        in_body.sendall(HEAD + b"content-length: 1000\r\n\r\nabc")
        for connection in crowd[::2]:
            connection.sendall(HEAD)
        assert server.ask("POST", "/predict", photos[0], PNG).status == 200
        assert is_closed(silent, 3) == (not fault)
        if not fault:
            assert is_closed(in_header, 3)
            assert is_closed(in_body, 5)
            assert all(is_closed(connection, 3) for connection in crowd)


def test_a_header_that_drips_is_closed_at_its_deadline(serve):
    server = serve(limits=DEADLINES)
    with server.connect() as connection:
        assert sent_until_closed(connection, (bytes([byte]) for byte in HEAD * 10), 0.05) < 5


def test_a_refused_body_that_never_ends_is_read_for_a_while_only(serve):
    server = serve(limits=DEADLINES | {"body_bytes": 1000})
    with server.connect() as connection:
        connection.sendall(HEAD + b"transfer-encoding: chunked\r\n\r\n")
        assert sent_until_closed(connection, itertools.repeat(b"400\r\n" + b"x" * 1024 + b"\r\n", 3000), 0.01) < 5


def test_who_goes_away_is_not_computed_for(serve, photos):
    """Thirty clients hang up while the engine is busy: their images never reach it, and nothing of them is left."""
    server = serve(engine_seconds=0.3, limits={"largest_batch": 1, "queued_batches": 64})
    requests = [
        HEAD + f"content-length: {len(photo)}\r\n\r\n".encode() + photo for photo in (make_photo(n) for n in range(30))
    ]
    connections = [server.connect() for _ in requests]
    for connection, request in zip(connections, requests, strict=True):
        connection.sendall(request)
    time.sleep(0.5)
    for connection in connections:
        connection.close()
    deadline = time.monotonic() + PATIENCE
    while server.metric("verydeep_requests_in_flight") > 1:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert server.metric("verydeep_batch_images_sum") <= 10
    assert server.metric('verydeep_requests_total{route="/predict",status="499"}') >= 20
    assert server.ask("POST", "/predict", photos[0], PNG).status == 200
