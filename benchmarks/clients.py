"""Clients of the service, hundreds of them in one process, for `service.py` and for the tests of what it promises."""

import asyncio
import random
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FRESH = 3.0  # seconds: a server closes connections that were idle for longer
PATIENCE = 60.0  # seconds
MOST_AT_ONCE = 1900  # connections of a Poisson process

_, _most = resource.getrlimit(resource.RLIMIT_NOFILE)  # each is an open file, of which shells allow a thousand
resource.setrlimit(resource.RLIMIT_NOFILE, (_most, _most))


@dataclass(frozen=True)
class Answer:
    """To the request of that number."""

    number: int
    status: int  # 0: there was none
    seconds: float  # since it was sent, or should have been
    headers: bytes = b""
    body: bytes = b""


@dataclass
class Answers:
    """What clients got."""

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=dict)  # status -> of each answer
    start: float = field(default_factory=time.perf_counter)
    end: float = 0.0  # when the last answer came: those that came late count, and so does their time

    def rate(self, status: int) -> float:
        """Such answers a second."""
        return self.statuses[status] / (self.end - self.start)

    def add(self, answer: Answer) -> None:
        self.statuses[answer.status] += 1
        self.seconds.setdefault(answer.status, []).append(answer.seconds)
        self.end = time.perf_counter()


def merged(several: Sequence[Answers]) -> Answers:
    """All of them as one, for what does not look at the time between."""
    whole = Answers()
    for answers in several:
        whole.statuses += answers.statuses
        for status, seconds in answers.seconds.items():
            whole.seconds.setdefault(status, []).extend(seconds)
    return whole


def post(path: str, body: bytes, content_type: str, request_id: str = "") -> bytes:
    """A request whole, on a connection that stays open."""
    head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
    return head.encode() + (f"x-request-id: {request_id}\r\n" if request_id else "").encode() + b"\r\n" + body


async def ask_in_turn(
    port: int,
    request: Callable[[int], bytes],
    *,
    clients: int,
    seconds: float = float("inf"),
    requests: int | None = None,
    on_answer: Callable[[Answer], None] = lambda answer: None,
) -> Answers:
    """So many clients, each of which asks again when it is answered, until the seconds or the requests are over."""
    answers, end = Answers(), time.perf_counter() + seconds
    sent = 0

    async def client() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            while (requests is None or sent < requests) and (start := time.perf_counter()) < end:
                number, sent = sent, sent + 1
                writer.write(request(number))
                status, headers, body = await asyncio.wait_for(_answer(reader), PATIENCE)
                answer = Answer(number, status, time.perf_counter() - start, headers, body)
                answers.add(answer)
                on_answer(answer)
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return answers


async def ask_at_random(port: int, request: Callable[[int], bytes], *, rate: float, seconds: float) -> Answers:
    """Requests at the moments of a Poisson process, whether those before are answered or not; no answer has status 0.

    Each is timed from when it should have been sent. Raises RuntimeError where too many are open.
    """
    crowd, chance = _Crowd(port), random.Random(0)  # noqa: S311, no secret
    start, due, number = time.perf_counter(), 0.0, 0
    while (due := due + chance.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        if len(crowd.open) >= MOST_AT_ONCE:
            raise RuntimeError("more requests are open than this client can hold: lower the rate")
        crowd.ask(request(number), number, start + due)
        number += 1
    await crowd.finish()
    return crowd.answers


class _Crowd:
    """As many connections as are needed. Callbacks, no streams: those took as much of the cores as the server did."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connections: set[_Connection] = set()
        self._free: list[tuple[float, _Connection]] = []  # since when, the newest last
        self._connecting: set[asyncio.Task[None]] = set()
        self.open: dict[int, float] = {}  # number of a request that is not answered -> when it should have been sent
        self.answers = Answers()

    def ask(self, request: bytes, number: int, due: float) -> None:
        self.open[number] = due
        if self._free and time.perf_counter() - self._free[-1][0] < FRESH:
            self._free.pop()[1].ask(request, number)
        else:
            task = asyncio.create_task(self._connect(request, number))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, request: bytes, number: int) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._port)
        except OSError:
            self.answered(number, 0)
            return
        self._connections.add(connection)
        connection.ask(request, number)

    def answered(self, number: int, status: int, connection: "_Connection | None" = None) -> None:
        """connection: the one that is free now."""
        if number in self.open:
            self.answers.add(Answer(number, status, time.perf_counter() - self.open.pop(number)))
        if connection is not None:
            self._free.append((time.perf_counter(), connection))

    def lost(self, connection: "_Connection") -> None:
        self._connections.discard(connection)
        self._free = [one for one in self._free if one[1] is not connection]

    async def finish(self) -> None:
        end = time.perf_counter() + PATIENCE
        while self.open and time.perf_counter() < end:
            await asyncio.sleep(0.01)
        for task in self._connecting:
            task.cancel()
        for number in list(self.open):
            self.answered(number, 0)
        for connection in self._connections:
            connection.transport.abort()


class _Connection(asyncio.Protocol):
    """Of a crowd: one request at a time."""

    transport: asyncio.Transport

    def __init__(self, crowd: _Crowd) -> None:
        self._crowd = crowd
        self._number = -1  # of the request that waits for its answer
        self._received = bytearray()

    def ask(self, request: bytes, number: int) -> None:
        self._number = number
        self.transport.write(request)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0 or len(self._received) < head + 4 + _length(self._received[:head]):
            return
        status, number = int(self._received[9:12]), self._number
        self._received.clear()
        self._number = -1
        self._crowd.answered(number, status, self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lost(self)
        if self._number >= 0:
            self._crowd.answered(self._number, 0)


def _length(head: bytes | bytearray) -> int:
    """Of the body."""
    found = re.search(rb"(?i)content-length: (\d+)", head)
    return int(found[1]) if found else 0


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, headers and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    return int(head[9:12]), head, await reader.readexactly(_length(head))
