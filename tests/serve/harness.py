"""A server for tests, run as a program: `python harness.py MODEL SETTINGS`, where SETTINGS is JSON.

limits: fields of Limits. engine_seconds: that each image takes. token. fault: what is broken in it, so that a test can
show that it would notice: "swap" gives each image of a batch the answer of its neighbour; "unbounded" lets everybody
in; "no drain" stops at once; "no deadlines" waits for ever; "no count" forgets a status; "no CSP" lets a
page run whatever is in it.
"""

import dataclasses
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.serve import guard, server
from verydeep.serve.app import Service
from verydeep.serve.batching import Batcher
from verydeep.serve.guard import Access
from verydeep.serve.limits import Limits
from verydeep.serve.metrics import Metrics
from verydeep.serve.models import open_models


class SlowEngine:
    """The engine it is given, slowed down."""

    def __init__(self, engine: Any, seconds: float, fault: str) -> None:
        self._engine = engine
        self._seconds = seconds
        self._fault = fault
        self._runs = 0

    def run(self, images: np.ndarray, outputs: tuple[str, ...] = ("logits",)) -> dict[str, np.ndarray]:
        self._runs += 1
        if self._runs > 1:  # the first is the server's own, before it is ready
            time.sleep(self._seconds * len(images))
        found: dict[str, np.ndarray] = self._engine.run(images, outputs)
        if self._fault == "swap" and len(images) > 1:
            found = {name: np.roll(array, 1, axis=0) for name, array in found.items()}
        return found


def plant(fault: str) -> None:
    """Breaks the server."""
    if fault == "unbounded":
        Batcher.__init__.__kwdefaults__ = None
        original = Batcher.__init__

        def unbounded(self: Batcher, run: Any, largest: int, capacity: int, *rest: Any) -> None:
            original(self, run, largest, 1 << 30, *rest)

        Batcher.__init__ = unbounded  # type: ignore[method-assign]
    elif fault == "no drain":
        server._Server.handle_exit = lambda self, sig, frame: os._exit(0)  # type: ignore[method-assign]
    elif fault == "no deadlines":
        server._Deadlines._close_in = lambda self, seconds: None  # type: ignore[method-assign]
    elif fault == "no count":
        Metrics.count_batch = lambda self, model, images, seconds: None  # type: ignore[method-assign]
    elif fault == "no CSP":
        guard.SAFE_HEADERS[:] = [header for header in guard.SAFE_HEADERS if header[0] != b"content-security-policy"]


def main(model: str, settings: dict[str, Any]) -> None:
    fault = settings.get("fault", "")
    plant(fault)
    limits, metrics = dataclasses.replace(Limits(), **settings.get("limits", {})), Metrics()
    models = open_models((f"toy={model}", f"other={model}"), limits, metrics.count_batch, engine="reference")
    for served in models.values():
        engine = SlowEngine(served.opened.engine, settings.get("engine_seconds", 0.0), fault)
        served.opened = dataclasses.replace(served.opened, engine=engine)  # type: ignore[arg-type]  # the part that is used
    service = Service(models, limits, metrics, lambda line: print(line, file=sys.stderr, flush=True))
    listener = server.listen("127.0.0.1", 0)
    Path(settings["port_file"]).write_text(str(listener.getsockname()[1]), encoding="ascii")
    server.serve(service, Access({"localhost", "127.0.0.1"}, settings.get("token", "")), listener)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
