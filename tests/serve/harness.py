"""A server for tests, run as a program: `python harness.py MODEL SETTINGS`, where SETTINGS is JSON.

limits: fields of Limits. engine: of `open_models`. engine_seconds: that each image takes. wrong_models: whose engines
are off by a hundredth. token. audit: what it opens and connects to goes into the file "events" beside the log. fault:
what is broken in it, so that a test can show that it would notice; those of `doors`, and:

swap          gives each image of a batch the answer of its neighbour
leak          keeps each batch, and an open file
unbounded     lets everybody in
no drain      stops at once
no grace      closes connections that have not asked yet
no deadlines  waits for ever
hoard         keeps what it refuses
greedy        takes bodies in a second copy
no look       computes for clients that have gone
no CSP        lets a page run whatever is in it
"""

import asyncio
import dataclasses
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

import audit
import doors
import numpy as np

from verydeep.serve import bodies, guard, server
from verydeep.serve.app import Service
from verydeep.serve.batching import Batcher
from verydeep.serve.decoding import Decoders
from verydeep.serve.guard import Access, Guard, _Body
from verydeep.serve.limits import Limits
from verydeep.serve.metrics import Metrics
from verydeep.serve.models import open_models


class SlowEngine:
    """The engine it is given, slowed down."""

    def __init__(self, engine: Any, seconds: float, fault: str, is_wrong: bool = False) -> None:
        self._engine = engine
        self._seconds = seconds
        self._fault = fault
        self._is_wrong = is_wrong
        self._runs = 0
        self._kept: list[Any] = []

    def run(self, images: np.ndarray, outputs: tuple[str, ...] = ("logits",)) -> dict[str, np.ndarray]:
        self._runs += 1
        if self._runs > 1:  # the first is the server's own, before it is ready
            time.sleep(self._seconds * len(images))
        found: dict[str, np.ndarray] = self._engine.run(images, outputs)
        if self._fault == "swap" and len(images) > 1:
            found = {name: np.roll(array, 1, axis=0) for name, array in found.items()}
        if self._fault == "leak":
            self._kept.append((np.ones(1 << 17), os.dup(2)))  # a MiB
        return {name: 1.01 * array for name, array in found.items()} if self._is_wrong else found


def plant(fault: str) -> None:
    """Breaks the server."""
    if fault == "unbounded":
        original = Batcher.__init__

        def unbounded(self: Batcher, run: Any, largest: int, capacity: int, *rest: Any) -> None:
            original(self, run, largest, 1 << 30, *rest)

        Batcher.__init__ = unbounded  # type: ignore[method-assign]
    elif fault == "no drain":
        server._Server.handle_exit = lambda self, sig, frame: os._exit(0)  # type: ignore[method-assign]
    elif fault == "no grace":
        server._FIRST_REQUESTS_SECONDS = 0.0
    elif fault == "no deadlines":
        server._Deadlines._close_in = lambda self, seconds: None  # type: ignore[method-assign]
    elif fault == "hoard":
        kept: list[Any] = []
        check = Guard._check

        def hoard(self: Guard, scope: Any, headers: Any) -> None:
            kept.append(np.ones(1 << 13))  # 64 KiB
            check(self, scope, headers)

        Guard._check = hoard  # type: ignore[method-assign]
    elif fault == "greedy":
        body_of = bodies.body_of

        async def twice(request: Any) -> bytearray:
            return bytearray(bytes(await body_of(request)))

        bodies.body_of = twice
    elif fault == "no look":

        async def never(self: Any) -> None:
            await asyncio.sleep(3600)

        _Body.until_gone = never  # type: ignore[method-assign]
    elif fault == "no CSP":
        guard.SAFE_HEADERS[:] = [header for header in guard.SAFE_HEADERS if header[0] != b"content-security-policy"]
    doors.plant(fault)


def main(model: str, settings: dict[str, Any]) -> None:
    fault = settings.get("fault", "")
    plant(fault)
    limits, metrics = dataclasses.replace(Limits(), **settings.get("limits", {})), Metrics()
    engine = settings.get("engine", "reference")
    models = open_models((f"toy={model}", f"other={model}"), limits, metrics.count_batch, engine=engine)
    for served in models.values():
        is_wrong = served.name in settings.get("wrong_models", ())
        slow = SlowEngine(served.opened.engine, settings.get("engine_seconds", 0.0), fault, is_wrong)
        served.opened = dataclasses.replace(served.opened, engine=slow)  # type: ignore[arg-type]  # the part that is used
    if settings.get("audit"):
        events = str(Path(settings["port_file"]).with_name("events"))
        audit.watch(events)
        decoders = Decoders(limits, (audit.__file__, events))
    else:
        decoders = Decoders(limits)
    service = Service(models, limits, metrics, lambda line: print(line, file=sys.stderr, flush=True), decoders)
    listener = server.listen("127.0.0.1", 0)
    Path(settings["port_file"]).write_text(str(listener.getsockname()[1]), encoding="ascii")
    access = Access({"localhost", "127.0.0.1"}, settings.get("token", ""))
    asyncio.run(_serve(service, access, listener))
    os._exit(0)


async def _serve(service: Service, access: Access, listener: socket.socket) -> None:
    await service.decoders.start()
    await server.serve(service, access, listener)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
