"""The process that serves: it listens, keeps slow clients to their deadlines, and stops without losing a request.

uvicorn waits for ever for the rest of a request's header, so connections have deadlines of their own here. At the
first Ctrl-C or SIGTERM the server takes no new connections, answers what has come, and ends; at the second at once.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import socket
import struct
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from verydeep.errors import UsageError
from verydeep.serve.app import Service, make_app
from verydeep.serve.guard import NO_ROUTE, SAFE_HEADERS, Access, Guard

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_SHELL_BASE = 128
_BACKLOG = 128  # connections that the system accepts before the server does
_UNREAD_BYTES = 1 << 16  # of answers that the system keeps for a client; else it takes megabytes before one has to read
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_NO_NEWCOMERS = (  # code, jump if true, jump if false, operand: linux/filter.h
    (0x30, 0, 0, 13),  # load the byte of TCP's flags
    (0x45, 0, 1, 0x14),  # is ACK or RST among them?
    (0x06, 0, 0, 0xFFFFFFFF),  # the whole packet
    (0x06, 0, 0, 0),  # nothing of it
)
_MOST_JOINED_BYTES = 1 << 16
_OTHER_FILES = 64  # beside connections
_LAST_REQUESTS_SECONDS = 0.3  # from the signal: what clients have sent by then is answered
_TICK_SECONDS = 0.02
_FIRST_REQUESTS_SECONDS = 2.0  # after that, where a connection has sent no request yet, or the beginning of one


async def serve(service: Service, access: Access, listener: socket.socket, greeting: str = "") -> None:
    """Serves until a signal stops it. greeting: for the log, once a signal would."""
    limits = service.limits
    _allow_files(limits.connections + _OTHER_FILES)
    guarded = Guard(
        make_app(service),
        access,
        limits=limits,
        metrics=service.metrics,
        log=service.log,
        is_draining=lambda: service.is_draining,
        check_room=service.check_room,
    )
    config = uvicorn.Config(
        guarded,
        http=_connection_class(service),
        ws="none",
        lifespan="on",
        log_level="error",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=int(limits.keep_alive_seconds),
        timeout_graceful_shutdown=int(limits.body_seconds + limits.request_seconds),
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    await _Server(config, service, greeting).serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; port 0: a free one. Raises UsageError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # else asyncio sets no TCP_NODELAY
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)
    try:
        listener.bind((host, port))
        listener.listen(_BACKLOG)  # who comes before the server has started waits
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot listen on {host} port {port}: {reason}.", "Choose another --port.") from error
    return listener


def _ignore_newcomers(listener: socket.socket) -> None:
    """Nobody begins a connection any more; who is half way in gets in, and who has got in is accepted as ever.

    By a filter that drops what has neither TCP's flag ACK nor RST, the first packet of a connection: who asks hears
    nothing, asks again, and is refused once the listener is closed. Without it, who gets in between the last accept
    and the close would be reset. Linux has it; elsewhere that moment stays.
    """
    if sys.platform != "linux":
        return
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in _NO_NEWCOMERS)
    instructions = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(_NO_NEWCOMERS), ctypes.addressof(instructions))
    with contextlib.suppress(OSError):
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


class _Server(uvicorn.Server):
    """Stops as said above."""

    def __init__(self, config: uvicorn.Config, service: Service, greeting: str) -> None:
        super().__init__(config)
        self._service = service
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._greeting:
            self._service.log(self._greeting)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """uvicorn would raise the signal again at the end: an orderly stop is a success."""
        before = {number: signal.signal(number, self.handle_exit) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._service.decoders.kill()
            os._exit(_SHELL_BASE + sig)
        self._service.is_draining = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Connections first end their requests, those that are on their way included; then all of them close."""
        for listener in sockets or []:
            _ignore_newcomers(listener)
        await asyncio.sleep(_LAST_REQUESTS_SECONDS)
        for listening in self.servers:
            listening.close()
        end = asyncio.get_running_loop().time() + _FIRST_REQUESTS_SECONDS
        await asyncio.sleep(_TICK_SECONDS)  # for those that were accepted last
        while asyncio.get_running_loop().time() < end and any(made.is_asking for made in self._connections()):
            await asyncio.sleep(_TICK_SECONDS)
        await super().shutdown(sockets)

    def _connections(self) -> "list[_Deadlines]":
        connections = list(self.server_state.connections)
        assert all(isinstance(connection, _Deadlines) for connection in connections)
        return connections  # type: ignore[return-value]  # as asserted


class _Joining:
    """A transport that sends at once what is written in one turn of the loop: who asked wakes once for an answer."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, part: bytes) -> None:
        if not self._parts:
            asyncio.get_running_loop().call_soon(self._send)
        self._parts.append(part)
        if sum(map(len, self._parts)) > _MOST_JOINED_BYTES:
            self._send()

    def close(self) -> None:
        self._send()
        self._transport.close()

    def _send(self) -> None:
        if self._parts:
            whole = b"".join(self._parts)
            self._parts.clear()
            self._transport.write(whole)


class _Deadlines(H11Protocol):
    """A connection that is closed where its client keeps it waiting."""

    service: Service

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in H11Protocol
        super().connection_made(_Joining(transport))  # type: ignore[arg-type]  # has all that a transport has
        self._limits = self.service.limits
        self._deadline: asyncio.TimerHandle | None = None
        self._await_header()
        transport.set_write_buffer_limits(high=0)  # whatever the client has not read is noticed
        if len(self.connections) > self._limits.connections:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._deadline is None and (self.cycle is None or self.cycle.response_complete):
            self._await_header()
        super().data_received(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    @property
    def is_asking(self) -> bool:
        """Whether a request may be on its way: the first, or one whose header has begun."""
        return self.cycle is None or (self.cycle.response_complete and bool(self.conn.trailing_data[0]))

    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:  # a header has come
            self._forget()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._close_in(self._limits.body_seconds)  # unless it reads

    def resume_writing(self) -> None:
        self._forget()
        if self.cycle is None or self.cycle.response_complete:
            self._await_header()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """As every answer: counted, and with the headers that all have. After an answer there is none.

        Where the header was in order and the body is not, the guard counts a client that has gone.
        """
        body = b'{"error": "this is no HTTP request."}'
        if self.cycle is not None and not self.cycle.response_complete:  # the guard counts this request
            body = b"" if self.scope["method"] == "HEAD" else body
            self.cycle.disconnected = True  # what the app answers now is not sent as well
            self.cycle.message_event.set()
        elif self.conn.our_state is h11.IDLE:
            self.service.metrics.requests.labels(NO_ROUTE, 400).inc()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.abort()
            return
        headers = [*SAFE_HEADERS, (b"content-type", b"application/json"), (b"connection", b"close")]
        for event in (h11.Response(status_code=400, headers=headers), h11.Data(data=body), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def on_response_complete(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:  # of a body that was refused, and does not end
            self.transport.close()
        super().on_response_complete()

    def _await_header(self) -> None:
        self._close_in(self._limits.header_seconds)

    def _close_in(self, seconds: float) -> None:
        self._forget()
        self._deadline = self.loop.call_later(seconds, self.transport.abort)

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _connection_class(service: Service) -> type[Any]:
    return type("_Connection", (_Deadlines,), {"service": service})


def _allow_files(wanted: int) -> None:
    """Each connection is an open file, of which a process may often have a thousand only."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # no such limit, or it cannot be raised
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
