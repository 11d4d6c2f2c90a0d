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
    answers, chance = Answers(), random.Random(0)  # noqa: S311, no secret
    tasks: set[asyncio.Task[None]] = set()
    free: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []  # since when, the newest last
    start, due = time.perf_counter(), 0.0

    async def ask(number: int, due: float) -> None:
        status, writer = 0, None
        try:
            is_fresh = free and time.perf_counter() - free[-1][0] < FRESH
            _, reader, writer = free.pop() if is_fresh else (0.0, *await asyncio.open_connection("127.0.0.1", port))
            writer.write(request(number))
            status, _, _ = await asyncio.wait_for(_answer(reader), PATIENCE)
            free.append((time.perf_counter(), reader, writer))
        except (OSError, EOFError, asyncio.TimeoutError):
            if writer is not None:
                writer.close()
        answers.add(Answer(number, status, time.perf_counter() - start - due))

    number = 0
    while (due := due + chance.expovariate(rate)) < seconds:
        await asyncio.sleep(max(0.0, start + due - time.perf_counter()))
        if len(tasks) >= MOST_AT_ONCE:
            raise RuntimeError("more requests are open than this client can hold: lower the rate")
        task = asyncio.create_task(ask(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        number += 1
    await asyncio.gather(*tasks)
    for _, _, writer in free:
        writer.close()
    return answers


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bytes]:
    """Status, headers and body."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return int(head[9:12]), head, await reader.readexactly(int(length[1]) if length else 0)
