"""Who may ask, and how much: an ASGI layer around the app. What it refuses never reaches the app.

host        the name in the Host header is one of the server's: a page elsewhere that rebinds its own name to this
            machine sends its own (DNS rebinding)
origin      a page of another origin may not POST, PUT or DELETE
token       where there is one, all but /health and the files of the page need it
body        its length as declared, and as it arrives; how long it takes; how much all requests hold together
"""

import asyncio
import contextlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from verydeep.serve.limits import Limits
from verydeep.serve.metrics import Metrics

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = "VERYDEEP_TOKEN"  # noqa: S105, the name of a variable: on a command line everybody could read the token
SAFE_HEADERS = [
    (
        b"content-security-policy",
        b"default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
        b"require-trusted-types-for 'script'; trusted-types 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
]
_OPEN_PATHS = (
    "/health/",
    "/v2/health/",
    "/page/",
    "/network/",
    "/docs",
)  # a supervisor has no token, nor has a browser when it opens the page
NO_ROUTE = "(none)"
_PREDICT, _INFER = "/predict", "/v2/models/{name}/infer"
_LENGTH = re.compile(rb"[0-9]{1,15}")
_PORT = re.compile(r":[0-9]*\Z")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


@dataclass(frozen=True)
class Access:
    """Who may ask."""

    hosts: Collection[str]  # names without a port, in lower case
    token: str = ""  # empty: none is needed


class Refused(Exception):  # noqa: N818, an answer
    """A request that gets an error as its answer. status: of HTTP. closes: whether its connection ends with it."""

    def __init__(
        self, status: int, message: str, hint: str = "", *, retry_after: int | None = None, closes: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.hint, self.retry_after = status, message, hint, retry_after
        self.closes = closes

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.message} | ({"hint": self.hint} if self.hint else {})

    @property
    def headers(self) -> dict[str, str]:
        found = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return found | ({"connection": "close"} if self.closes else {})


class Guard:
    """Wraps an app, which reads the body by `receive` as ever; `Refused` raised anywhere becomes an answer.

    log: takes a line for each request. is_draining: whether each connection is to end with its next answer.
    check_room: raises Refused where the app would refuse photos for the model of that name, None: the first one; here
    that takes half the time.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        *,
        limits: Limits,
        metrics: Metrics,
        log: Callable[[str], None],
        is_draining: Callable[[], bool],
        check_room: Callable[[str | None], None],
    ) -> None:
        self._app = app
        self._check_room = check_room
        self._is_draining = is_draining
        self._access = access
        self._limits = limits
        self._metrics = metrics
        self._log = log
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex.encode()
        is_empty = headers.get(b"content-length", b"0") == b"0" and b"transfer-encoding" not in headers
        body = _Body(receive, self, self._limits, is_empty=is_empty)
        answer = _Answer(send, body, request_id, self._is_draining)
        start = time.perf_counter()
        try:
            with self._metrics.in_flight.track_inprogress():
                await self._answer(scope, headers, body, answer)
        finally:
            self._held_bytes -= body.held_bytes
            seconds, route = time.perf_counter() - start, _route(scope)
            self._metrics.requests.labels(route, answer.status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            self._log(
                f"{answer.request_id.decode()} {route} {answer.status} {1000 * seconds:.1f} ms, {body.held_bytes} bytes"
            )

    async def _answer(self, scope: Scope, headers: dict[bytes, bytes], body: "_Body", answer: "_Answer") -> None:
        try:
            self._check(scope, headers)
            await self._run(scope, body, answer)
        except Refused as refused:
            if not answer.status:  # else it has begun, and nothing else can be said
                await answer.refuse(refused)

    async def _run(self, scope: Scope, body: "_Body", answer: "_Answer") -> None:
        """The app, for as long as the client waits for its answer and may wait for it."""
        work = asyncio.ensure_future(self._app(scope, body.receive, answer.send))
        gone, late = asyncio.ensure_future(body.until_gone()), asyncio.ensure_future(body.until_late())
        try:
            await asyncio.wait({work, gone, late}, return_when=asyncio.FIRST_COMPLETED)
            if answer.status:  # it has begun: how fast the client reads is the connection's matter
                await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait({work})
                raise _gone() if gone.done() else _late(self._limits)
            work.result()
        finally:
            for task in (work, gone, late):
                task.cancel()

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        """Raises Refused."""
        header_bytes = len(scope["raw_path"]) + len(scope["query_string"])
        header_bytes += sum(len(name) + len(value) for name, value in scope["headers"])
        if header_bytes > self._limits.header_bytes:  # h11 counts only what comes in several pieces
            raise Refused(431, f"the header has more than {self._limits.header_bytes} bytes.", "Make it shorter.")
        if b"content-length" in headers and b"transfer-encoding" in headers:  # a proxy may read it as two requests
            raise Refused(400, "the length of the body is told twice.", "Leave Content-Length out.", closes=True)
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if _without_port(host) not in self._access.hosts:
            raise Refused(
                421,
                "this server does not answer for the host named in the request.",
                "Start it with --allow-host NAME.",
            )
        is_reading = scope["method"] in ("GET", "HEAD", "OPTIONS")
        origins = [value.decode("latin-1").lower() for name, value in scope["headers"] if name == b"origin"]
        if not is_reading and any(origin.partition("://")[2] != host for origin in origins):
            raise Refused(403, "a page of another origin may not use this server.", "Open the page of this server.")
        is_open = scope["path"] == "/" or scope["path"].startswith(_OPEN_PATHS)
        if self._access.token and not is_open:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, b"Bearer " + self._access.token.encode()):
                raise Refused(401, "a token is needed.", "Send the header: Authorization: Bearer TOKEN")
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refused(415, "the body is compressed.", "Send it as it is.")
        declared = headers.get(b"content-length", b"0")
        if not _LENGTH.fullmatch(declared) or int(declared) > self._limits.body_bytes:
            raise too_large(self._limits)
        if scope["method"] == "POST" and (route := _photo_route(scope)):
            self._check_room(_asked_model(route, scope))

    def hold(self, size: int) -> None:
        """Raises Refused where all requests together would hold more than they may."""
        if self._held_bytes + size > self._limits.held_bytes:
            raise Refused(503, "too many large requests at once.", "Try again.", retry_after=1)
        self._held_bytes += size


class _Body:
    """The body as it arrives."""

    def __init__(self, receive: Receive, guard: Guard, limits: Limits, *, is_empty: bool) -> None:
        self._receive = receive
        self._guard = guard
        self._limits = limits
        self._deadline = time.monotonic() + limits.body_seconds
        self._has_more = not is_empty  # that may still come
        self._whole = asyncio.Event()
        self.held_bytes = 0

    async def until_gone(self) -> None:
        """Returns when the client has closed its connection after the whole body."""
        await self._whole.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def until_late(self) -> None:
        """Returns when an answer to the whole body has taken too long."""
        if self._has_more:
            await self._whole.wait()
        await asyncio.sleep(self._limits.request_seconds)

    async def read_rest(self) -> None:
        """Reads and throws away, for a while, what nobody wants: a connection closed before resets the answer."""
        if self._has_more:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._until_read(), self._limits.linger_seconds)

    async def _until_read(self) -> None:
        while (message := await self._receive())["type"] != "http.disconnect" and message.get("more_body", False):
            pass

    async def receive(self) -> Message:
        """As ASGI has it. Raises Refused."""
        try:
            message = await asyncio.wait_for(self._receive(), max(0, self._deadline - time.monotonic()))
        except asyncio.TimeoutError as error:
            self._has_more = False
            raise Refused(
                408, f"the body took longer than {self._limits.body_seconds:g} s.", "Send it again."
            ) from error
        if message["type"] == "http.disconnect":
            raise _gone()
        size = len(message.get("body", b""))
        if self.held_bytes + size > self._limits.body_bytes:
            raise too_large(self._limits)
        self._guard.hold(size)
        self.held_bytes += size
        if not message.get("more_body", False):
            self._has_more = False
            self._whole.set()
        return message


class _Answer:
    """What is sent, with the headers that every answer has."""

    def __init__(self, send: Send, body: _Body, request_id: bytes, is_draining: Callable[[], bool]) -> None:
        self._send = send
        self._body = body
        self._is_draining = is_draining
        self.request_id = request_id
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = [*SAFE_HEADERS, (b"x-request-id", self.request_id)]
            if self._is_draining():
                own.append((b"connection", b"close"))
            message = {**message, "headers": [*message.get("headers", []), *own]}
        elif not message.get("more_body", False):
            await self._send({**message, "more_body": True})
            await self._body.read_rest()
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        text = json.dumps(refused.body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(text)).encode())]
        headers += [(name.encode(), value.encode()) for name, value in refused.headers.items()]
        await self.send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self.send({"type": "http.response.body", "body": text})


def _gone() -> Refused:
    return Refused(499, "the client has gone.")  # nginx's number: nobody gets it, but it is counted


def _late(limits: Limits) -> Refused:
    return Refused(503, f"no answer within {limits.request_seconds:g} s.", "Try again.", retry_after=1)


def too_large(limits: Limits) -> Refused:
    return Refused(413, f"the body is larger than {limits.body_bytes >> 20} MiB.", "Send fewer or smaller photos.")


def _without_port(host: str) -> str:
    """ "localhost:8000" -> "localhost"; "[::1]:8000" -> "[::1]"; what is neither -> itself."""
    return _PORT.sub("", host)


def _route(scope: Scope) -> str:
    """The route's pattern, as in "/v2/models/{name}/infer": what a client wrote is in no log and in no label."""
    route = scope.get("route")
    return getattr(route, "path", None) or _photo_route(scope) or NO_ROUTE


def _photo_route(scope: Scope) -> str | None:
    """The same, of a route that runs a model on photos; known before the app has looked."""
    path = scope["path"]
    if path == _PREDICT:
        return _PREDICT
    return _INFER if path.startswith("/v2/models/") and path.endswith("/infer") else None


def _asked_model(route: str, scope: Scope) -> str | None:
    """The model's name as the app will read it; None where there is none."""
    if route == _INFER:
        name: str = scope["path"].removeprefix("/v2/models/").removesuffix("/infer")
        return name
    return dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)).get("model")
