"""SIGTERM and Ctrl-C: what was accepted is answered, then the server ends."""

import http.client
import random
import signal
import socket
import sys
import threading
import time
from contextlib import closing

import pytest
from processes import are_gone, children
from serving import PATIENCE, wait_until

from verydeep.serve.server import _ignore_newcomers, listen

PNG = {"content-type": "image/png"}


class Load(threading.Thread):
    """A client that asks until the server is gone, or once. lost: requests that were read and never answered."""

    def __init__(self, server, photo: bytes, *, once: bool = False) -> None:
        super().__init__()
        self._server, self._photo, self._once = server, photo, once
        self.answered = self.lost = 0
        self.statuses: set[int] = set()

    def run(self) -> None:
        while not (self._once and self.answered):
            with closing(http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=PATIENCE)) as connection:
                try:
                    connection.connect()
                except OSError:
                    return  # it listens no more
                try:
                    connection.request("POST", "/predict", self._photo, PNG)
                    self.statuses.add(connection.getresponse().status)
                    self.answered += 1
                except (ConnectionError, http.client.HTTPException):
                    self.lost += 1
                    return


@pytest.mark.soak(
    "S11",
    goal="200 SIGTERMs at random moments of a load: no accepted request lost, code 0, no process left",
    here="198 SIGTERMs and 22 SIGINTs within 0.3 s of six clients' first answers",
)
@pytest.mark.parametrize("fault", ["", "no drain"])
def test_a_signal_at_a_random_moment_loses_no_request(serve, photos, amount, measured, fault):
    """Every tenth is Ctrl-C."""
    chance = random.Random(0)
    times = 3 if fault else amount(20, 220)
    lost, answered, slowest = 0, 0, 0.0
    for turn in range(times):
        server = serve(engine_seconds=0.02, fault=fault)
        started = children(server.process.pid)
        clients = [Load(server, photo) for photo in photos[:6]]
        for client in clients:
            client.start()
        wait_until(lambda clients=clients: all(client.answered for client in clients))
        time.sleep(0.3 * chance.random())
        server.process.send_signal(signal.SIGTERM if turn % 10 else signal.SIGINT)
        start = time.monotonic()
        assert server.process.wait(PATIENCE) == 0
        slowest = max(slowest, time.monotonic() - start)
        for client in clients:
            client.join(PATIENCE)
        wait_until(lambda started=started: are_gone(started))
        assert set().union(*(client.statuses for client in clients)) <= {200}
        lost += sum(client.lost for client in clients)
        answered += sum(client.answered for client in clients)
    measured(signals=times, answered=answered, lost=lost, slowest_seconds=f"{slowest:.2f}")
    assert (lost == 0) == (not fault)


ASK = b"GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n"


def one_answer(connection: socket.socket) -> bytes:
    """To that question; what there is of it where the connection ends."""
    found = b""
    while not found.endswith(b'{"live":true}') and (part := connection.recv(1 << 16)):
        found += part
    return found


@pytest.mark.parametrize("fault", ["", "no grace"])
@pytest.mark.parametrize("sent", [b"", ASK[:20], ASK + ASK[:20]], ids=["nothing", "half", "one and a half"])
def test_a_connection_made_before_the_signal_may_still_ask(serve, sent, fault):
    server = serve(fault=fault)
    with server.connect() as connection:
        connection.sendall(sent)
        if len(sent) > len(ASK):
            assert one_answer(connection).startswith(b"HTTP/1.1 200")
        server.process.send_signal(signal.SIGTERM)
        time.sleep(1)
        connection.sendall((2 * ASK)[len(sent) :] if len(sent) > len(ASK) else ASK[len(sent) :])
        try:
            answer = one_answer(connection)
        except ConnectionError:
            answer = b""
    assert answer.startswith(b"HTTP/1.1 200") == (not fault)
    assert server.process.wait(PATIENCE) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has such filters")
def test_while_it_stops_nobody_new_gets_in():
    """Else there were always somebody between the last accept and the close."""
    with closing(listen("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with closing(socket.create_connection(address)):
            _ignore_newcomers(listener)
            with pytest.raises(TimeoutError):
                socket.create_connection(address, timeout=0.3)
            listener.settimeout(PATIENCE)
            accepted, _ = listener.accept()
            accepted.close()


def test_it_is_not_ready_from_the_signal_on_and_answers_what_is_on_its_way(serve, photos):
    server = serve(engine_seconds=2)
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)) as idle:
        idle.request("GET", "/health/ready")
        assert idle.getresponse().read() == b'{"ready":true}'
        slow = Load(server, photos[0], once=True)
        slow.start()
        wait_until(lambda: server.metric("verydeep_requests_in_flight") == 2)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.05)
        idle.request("GET", "/health/ready")
        reply = idle.getresponse()
        assert (reply.status, reply.getheader("connection")) == (503, "close")
    slow.join(PATIENCE)
    assert (slow.answered, slow.lost) == (1, 0)
    assert server.process.wait(PATIENCE) == 0


def test_the_second_signal_ends_it_at_once_and_no_process_is_left(serve, photos):
    server = serve(engine_seconds=30)
    started = children(server.process.pid)
    client = Load(server, photos[0])
    client.start()
    wait_until(lambda: server.metric("verydeep_requests_in_flight") == 2)
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert server.process.poll() is None, "it waits for the answer"
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(5) == 128 + signal.SIGINT
    wait_until(lambda: are_gone(started))
    client.join(PATIENCE)
    assert client.lost == 1
