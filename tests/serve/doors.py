"""Servers with a door left open, so that a test can show that it would notice; `harness` plants them."""

import contextlib
import hashlib
import traceback
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Response

from verydeep.serve import app, bodies, guard, open_inference, server, views
from verydeep.serve.app import Service
from verydeep.serve.decoding import Decoders
from verydeep.serve.guard import Guard, Refused
from verydeep.serve.metrics import Metrics


def plant(fault: str) -> None:
    """Where it is one of these."""
    FAULTS.get(fault, lambda: None)()


def _a_field_is_expected() -> None:
    """KeyError on a question without it, and TypeError where it is something else."""
    original = open_inference._input

    def of_question(question: Any, tensors: bytes) -> Any:
        assert len(question["inputs"][0]["shape"]) >= 0
        return original(question, tensors)

    open_inference._input = of_question


def _errors_tell_where() -> None:
    def body(self: Refused) -> dict[str, str]:
        return {"error": self.message, "hint": "".join(traceback.format_tb(self.__traceback__))}

    Refused.body = property(body)


def _images_are_fetched() -> None:
    original = bodies._base64

    def fetched(found: Any, limits: Any) -> list[bytes]:
        images = found.get("images") if isinstance(found, dict) else None
        for image in images if isinstance(images, list) else []:
            if str(image).startswith("http://127.0.0.1"):
                urllib.request.urlopen(image, timeout=1).read()  # noqa: S310, the fault
        return original(found, limits)

    bodies._base64 = fetched


def _names_are_opened() -> None:
    original = Service.model

    def model(self: Service, name: str | None) -> Any:
        if name is not None and name not in self.models:
            with contextlib.suppress(OSError, ValueError):
                Path("models", name).read_bytes()
        return original(self, name)

    Service.model = model


def _every_host_is_ours() -> None:
    guard._without_port = lambda host: "localhost"


def _origins_are_not_compared() -> None:
    original = Guard._check

    def check(self: Guard, scope: Any, headers: dict[bytes, bytes]) -> None:
        original(self, {**scope, "headers": [one for one in scope["headers"] if one[0] != b"origin"]}, headers)

    Guard._check = check


def _it_listens_on_all_addresses() -> None:
    original = server.listen
    server.listen = lambda host, port: original("0.0.0.0", port)  # noqa: S104, the fault


def _it_is_always_ready() -> None:
    Service.is_ready = property(lambda self: True)


def _it_is_ready_while_it_drains() -> None:
    Service.is_ready = property(lambda self: all(model.is_ready for model in self.models.values()))


def _decoders_are_not_replaced() -> None:
    original, spawned = Decoders._spawn, []

    async def spawn(self: Decoders) -> Any:
        spawned.append(1)
        if len(spawned) > self._limits.decoders:
            raise OSError("no more processes")
        return await original(self)

    Decoders._spawn = spawn


def _photos_are_kept() -> None:
    photos_of, add_routes, kept = app.photos_of, views.add_routes, {}

    async def keep(request: Any, limits: Any) -> Any:
        photos = await photos_of(request, limits)
        kept.update({hashlib.sha256(photo.data).hexdigest(): bytes(photo.data) for photo in photos})
        return photos

    def add(to: Any, service: Any) -> None:
        add_routes(to, service)

        @to.get("/uploads/{name}")
        async def upload(name: str) -> Response:
            if name not in kept:
                raise Refused(404, "there is no such photo.")
            return Response(kept[name], media_type="image/png")

    app.photos_of, views.add_routes = keep, add


def _it_keeps_a_diary() -> None:
    original = Metrics.count_batch

    def count_batch(self: Metrics, model: str, images: int, seconds: float) -> None:
        with Path("/dev/null").open("a") as file:
            file.write(f"{model} {images}\n")
        original(self, model, images, seconds)

    Metrics.count_batch = count_batch


FAULTS: dict[str, Callable[[], None]] = {
    "a field is expected": _a_field_is_expected,
    "errors tell where": _errors_tell_where,
    "images are fetched": _images_are_fetched,
    "names are opened": _names_are_opened,
    "every host is ours": _every_host_is_ours,
    "origins are not compared": _origins_are_not_compared,
    "it listens on all addresses": _it_listens_on_all_addresses,
    "always ready": _it_is_always_ready,
    "ready while it drains": _it_is_ready_while_it_drains,
    "decoders are not replaced": _decoders_are_not_replaced,
    "it keeps a diary": _it_keeps_a_diary,
    "photos are kept": _photos_are_kept,
}
