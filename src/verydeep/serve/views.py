"""What the page shows: itself, why a model answers so, and its network, layer by layer.

Explanations are of what the network gets, a square or the whole photo: it comes decoded and resized from a process of
its own, so no large photo is ever in this one.
"""

import importlib.resources
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request, Response
from PIL import Image

from verydeep.accounting import account_layers, total
from verydeep.accounting.published import PUBLISHED
from verydeep.architecture import Architecture, Layer
from verydeep.errors import ImageError, UsageError
from verydeep.explain import Explanation, SegmentExplanation, explain, explain_segment
from verydeep.explain.activations import activations
from verydeep.explain.explanation import hottest_ninth, smallest_half, where
from verydeep.explain.picture import caption, cut_out, panel, segment_title, title
from verydeep.explain.sheets import map_tiles
from verydeep.image.draw import data_uri
from verydeep.runtime import OpenedModel
from verydeep.serve.bodies import Photo, photos_of
from verydeep.serve.guard import Refused
from verydeep.serve.models import ServedModel

if TYPE_CHECKING:
    from verydeep.serve.app import Service

_FILES = {
    "index.html": "text/html",
    "configuration.html": "text/html",
    "docs.html": "text/html",
    "style.css": "text/css",
    "app.js": "text/javascript",
    "configuration.js": "text/javascript",
    "docs.js": "text/javascript",
    "kept.js": "text/javascript",
    "network.js": "text/javascript",
    "parts.js": "text/javascript",
    "words.js": "text/javascript",
}
_TIMED_RUNS = 3


def add_routes(app: FastAPI, service: "Service") -> None:
    """Adds the page and what it asks for."""
    files = {name: _file(name) for name in _FILES}

    async def photo_of(request: Request) -> Photo:
        """The one photo of a request. Raises Refused."""
        photo, *others = await photos_of(request, service.limits)
        if others:
            raise Refused(422, f"{1 + len(others)} photos; expected one.", "Ask for each by itself.")
        return photo

    async def picture_of(photo: Photo, model: ServedModel) -> np.ndarray:
        """The photo as the network gets it. Raises Refused."""
        (picture,) = await service.pictures(model, [photo])
        if isinstance(picture, ImageError):
            raise Refused(422, picture.message, picture.hint)
        pixels = picture.pixels
        seen = Image.fromarray(pixels).convert("L").convert("RGB") if model.is_grey else pixels
        return np.asarray(seen)

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return files["index.html"]

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return files["docs.html"]

    @app.get("/network/{configuration}", include_in_schema=False)
    async def configuration_page(configuration: str) -> Response:
        _check_published(configuration)
        return files["configuration.html"]

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        if name not in files:
            raise Refused(404, "the page has no such file.")
        return files[name]

    @app.post("/explain")
    async def explain_photo(
        request: Request,
        model: str | None = None,
        method: str = "gradcam",
        label: str | None = None,
        layer: str | None = None,
    ) -> dict[str, Any]:
        """Where in a photo the answer comes from: numbers in words, and two pictures as data addresses."""
        chosen = service.model(model)
        photo = await photo_of(request)
        with service.place():
            picture = await picture_of(photo, chosen)
            explain_it = _explained_pixels if chosen.tells_pixels else _explained
            return await service.in_turn(explain_it, chosen.opened, picture, method, label, layer)

    @app.post("/activations")
    async def maps(request: Request, layer: str, model: str | None = None) -> dict[str, Any]:
        """The maps that a layer makes of a photo, the most excited first, as pictures in data addresses."""
        chosen = service.model(model)
        photo = await photo_of(request)
        with service.place():
            picture = await picture_of(photo, chosen)
            return await service.in_turn(_maps, chosen.opened, picture, layer, chosen.tells_pixels)

    @app.get("/networks")
    async def networks() -> dict[str, Any]:
        """The configurations of the paper: what each costs, and the errors that the paper gives for it."""
        return {"networks": [_configuration(name) for name in PUBLISHED]}

    @app.get("/models/{name}/layers")
    async def layers(name: str) -> dict[str, Any]:
        """The layers of a model, with their accounts and the share of the time that each takes on this machine."""
        chosen = service.model(name)
        with service.place():
            shares = await service.in_turn(_time_shares, chosen)
        preprocessing, architecture = chosen.opened.info.preprocessing, chosen.opened.info.architecture
        found = _accounts(architecture, (preprocessing.crop, preprocessing.crop))
        return {"layers": [{**layer, **shares.get(layer["name"], {})} for layer in found]}

    @app.get("/networks/{configuration}")
    async def network(configuration: str) -> dict[str, Any]:
        """A configuration of the paper: its layers with their accounts, their sums, and the errors published for it."""
        _check_published(configuration)
        return _configuration(configuration) | {"layers": _accounts(Architecture(configuration))}


def layers_with_map(architecture: Architecture) -> list[str]:
    """The outputs whose maps can be looked at, in the order of the network."""
    return [layer.relu_name if layer.has_relu else layer.name for layer in architecture.layers if _has_map(layer)]


def _has_map(layer: Layer) -> bool:
    return layer.kind not in ("fc", "gap", "unit")


def _check_published(configuration: str) -> None:
    """Raises Refused."""
    if configuration not in PUBLISHED:
        raise Refused(404, "there is no such configuration.", f"There are {', '.join(PUBLISHED)}.")


def _configuration(name: str) -> dict[str, Any]:
    totals = total(account_layers(Architecture(name)))
    return {"name": name, "totals": totals.to_dict(), "errors": [error.to_dict() for error in PUBLISHED[name]]}


def _file(name: str) -> Response:
    path = importlib.resources.files("verydeep") / "serve" / "page" / name
    return Response(path.read_bytes(), media_type=f"{_FILES[name]}; charset=utf-8")


def _explained(
    opened: OpenedModel, picture: np.ndarray, method: str, label: str | None, layer: str | None
) -> dict[str, Any]:
    """Raises Refused on a name that there is not."""
    try:
        found = explain(_of_crops(opened), picture, method, label=label, layer=layer)
    except UsageError as error:
        raise Refused(422, error.message, error.hint) from error
    return {"probability": found.probability, **_drawn(found, title(found), picture)}


def _explained_pixels(
    opened: OpenedModel, picture: np.ndarray, method: str, label: str | None, layer: str | None
) -> dict[str, Any]:
    """The same for a model of pixels, and the whole photo. Raises Refused on a name that there is not."""
    try:
        found = explain_segment(opened, picture, method, label=label, layer=layer)
    except UsageError as error:
        raise Refused(422, error.message, error.hint) from error
    return {"share": found.share, **_drawn(found, segment_title(found), picture)}


def _drawn(found: Explanation | SegmentExplanation, heading: str, picture: np.ndarray) -> dict[str, Any]:
    """What was found, in words and as pictures."""
    heat = found.map.heat
    seen = cut_out(picture, found.box, heat.shape)
    is_hot = bool(heat.any())
    return {
        "method": found.method,
        "layer": found.layer,
        "label": found.label,
        "in_words": f"{heading}; {': '.join(caption(found))}; {where(heat)}",
        "half_in": smallest_half(heat) if is_hot else None,  # the share of the picture
        "most_in": hottest_ninth(heat) if is_hot else None,  # of nine parts, row by row
        "seen": data_uri(seen, "JPEG", quality=90),
        "panel": data_uri(panel(seen, found), "JPEG", quality=90),
    }


def _maps(opened: OpenedModel, picture: np.ndarray, layer: str, is_whole: bool) -> dict[str, Any]:
    """Raises Refused on a layer that has no map. is_whole: the picture is no crop."""
    try:
        found = activations(opened if is_whole else _of_crops(opened), picture, layer, is_dense=is_whole)
    except UsageError as error:
        raise Refused(422, error.message, error.hint) from error
    maps = [{"channel": int(channel), "picture": data_uri(tile, "PNG")} for tile, channel in map_tiles(found)]
    return {"layer": layer, "channels": len(found.maps), "maps": maps}


def _of_crops(opened: OpenedModel) -> OpenedModel:
    """The model as it takes a picture that has been resized and cropped already."""
    preprocessing = replace(opened.info.preprocessing, resize=opened.info.preprocessing.crop)
    return replace(opened, info=replace(opened.info, preprocessing=preprocessing))


def _accounts(architecture: Architecture, image_size: tuple[int, int] | None = None) -> list[dict[str, Any]]:
    """The input and each layer as JSON holds them."""
    layers = {layer.name: layer for layer in architecture.layers}
    with_map = {name for name, layer in layers.items() if _has_map(layer)}
    kernels = {name: layer.kernel for name, layer in layers.items()}
    return [
        account.to_dict() | {"has_map": account.name in with_map, "kernel": kernels.get(account.name, 1)}
        for account in account_layers(architecture, image_size)
    ]


def _time_shares(model: ServedModel) -> Mapping[str, Mapping[str, float]]:
    """The share of each layer, by its name; measured once. Empty where the engine cannot time its layers."""
    if model.time_shares is None:
        engine = model.opened.engine
        side, channels = model.opened.info.preprocessing.crop, model.opened.info.preprocessing.channels
        image = np.random.default_rng(0).normal(size=(1, channels, side, side)).astype(np.float32)
        runs = [engine.time_layers(image) for _ in range(_TIMED_RUNS)] if hasattr(engine, "time_layers") else []
        seconds = {name: sorted(run[name] for run in runs)[len(runs) // 2] for name in runs[0]} if runs else {}
        whole = sum(seconds.values())
        model.time_shares = {name: {"time_share": share / whole} for name, share in seconds.items()}
    return model.time_shares
