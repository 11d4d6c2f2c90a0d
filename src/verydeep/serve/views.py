"""What the page shows: itself, why a model answers so, and its network, layer by layer.

Explanations are of what the network gets, a square or the whole photo: it comes decoded and resized from a process of
its own, so no large photo is ever in this one.
"""

import importlib.resources
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from fastapi import FastAPI, Request, Response
from PIL import Image

from verydeep.accounting import account_layers, total
from verydeep.accounting.published import PUBLISHED
from verydeep.architecture import Architecture, Layer
from verydeep.errors import ImageError, UsageError
from verydeep.explain import (
    METHODS,
    check_segment,
    check_similarity,
    explain,
    explain_segment,
    explain_similarity,
    similarity_to,
)
from verydeep.explain.activations import activations
from verydeep.explain.backward import BoxEdge
from verydeep.explain.explanation import hottest_ninth, smallest_half, where
from verydeep.explain.picture import AnyExplanation, caption, cut_out, panel, segment_title, similarity_title, title
from verydeep.explain.segmentation import METHODS_OF_PIXELS
from verydeep.explain.sheets import map_tiles
from verydeep.explain.similarity import METHODS_OF_A_SIMILARITY
from verydeep.image.draw import data_uri
from verydeep.runtime import OpenedModel
from verydeep.serve.bodies import SIMILAR_TO, Photo, in_openapi, photo_and_other, photo_of
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


@dataclass(frozen=True)
class _Asked:
    """What an explanation shall be of, as `explain` takes it."""

    method: str
    label: str | None
    layer: str | None
    edge: str | None


def add_routes(app: FastAPI, service: "Service") -> None:
    """Adds the page and what it asks for."""
    files = {name: _file(name) for name in _FILES}

    async def pictures_of(photos: list[Photo], model: ServedModel) -> list[np.ndarray]:
        """The photos as the network gets them. Raises Refused."""
        found = []
        for picture in await service.pictures(model, photos):
            if isinstance(picture, ImageError):
                raise Refused(422, picture.message, picture.hint)
            pixels = picture.pixels
            found.append(np.asarray(Image.fromarray(pixels).convert("L").convert("RGB")) if model.is_grey else pixels)
        return found

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

    @app.post(
        "/explain",
        openapi_extra=in_openapi(photo="the one to explain", similar_to="another one that it is compared with"),
    )
    async def explain_photo(
        request: Request,
        *,
        model: str | None = None,
        method: str = "gradcam",
        label: str | None = None,
        layer: str | None = None,
        edge: str | None = None,
    ) -> dict[str, Any]:
        """Where in a photo the answer comes from: numbers in words, and two pictures as data addresses.

        edge: of a model with boxes left, top, right, bottom or all, how far the box reaches there. With a second file
        similar_to in a form: what makes the photo like that one, which is all that an embedding model can tell.
        """
        chosen = service.model(model)
        photos = await photo_and_other(request, service.limits)
        with service.place():
            pictures = await pictures_of(photos, chosen)
            return await service.in_turn(_explained, chosen, pictures, _Asked(method, label, layer, edge))

    @app.post("/activations", openapi_extra=in_openapi(photo="the one to look at"))
    async def maps(request: Request, layer: str, model: str | None = None) -> dict[str, Any]:
        """The maps that a layer makes of a photo, the most excited first, as pictures in data addresses."""
        chosen = service.model(model)
        photo = await photo_of(request, service.limits)
        with service.place():
            (picture,) = await pictures_of([photo], chosen)
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


def methods_of(model: ServedModel) -> list[str]:
    """The ways to explain that work for it."""
    return list(METHODS_OF_PIXELS if model.tells_pixels else METHODS_OF_A_SIMILARITY if model.embeds else METHODS)


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


def _explained(model: ServedModel, pictures: list[np.ndarray], asked: _Asked) -> dict[str, Any]:
    """pictures: of the photo, and of the one that it is compared with, if it is. Raises Refused on what does not go."""
    picture, *others = pictures
    try:
        if others:
            return _likened(model, picture, others[0], asked)
        return (_explained_pixels if model.tells_pixels else _explained_class)(model, picture, asked)
    except UsageError as error:
        raise Refused(422, error.message, error.hint) from error


def _explained_class(model: ServedModel, picture: np.ndarray, asked: _Asked) -> dict[str, Any]:
    """Or an edge of its box. Raises UsageError, as the others do."""
    if model.embeds:
        raise UsageError(
            "an embedding is explained beside a second photo; there is one photo.",
            f"Send both in a form: curl -F photo=@PHOTO -F {SIMILAR_TO}=@OTHER",
        )
    found = explain(
        _of_crops(model.opened), picture, asked.method, label=asked.label, layer=asked.layer, edge=asked.edge
    )
    reach = {"edge": found.target.edge, "reach": found.score} if isinstance(found.target, BoxEdge) else {}
    return {"label": found.label, "probability": found.probability, **reach, **_drawn(found, title(found), picture)}


def _explained_pixels(model: ServedModel, picture: np.ndarray, asked: _Asked) -> dict[str, Any]:
    """The same for a model of pixels, and the whole photo."""
    check_segment(model.opened, asked.method, label=asked.label, layer=asked.layer, edge=asked.edge)
    found = explain_segment(model.opened, picture, asked.method, label=asked.label, layer=asked.layer)
    return {"label": found.label, "share": found.share, **_drawn(found, segment_title(found), picture)}


def _likened(model: ServedModel, picture: np.ndarray, other: np.ndarray, asked: _Asked) -> dict[str, Any]:
    """What makes a photo like another one."""
    for name, value in (("label", asked.label), ("edge", asked.edge)):
        if value is not None:
            raise UsageError(f"{SIMILAR_TO} and {name} exclude each other.", f"Leave {name} out.")
    opened = _of_crops(model.opened)
    check_similarity(opened, asked.method, layer=asked.layer)
    found = explain_similarity(opened, picture, similarity_to(opened, other), asked.method, layer=asked.layer)
    return {"similarity": found.score, **_drawn(found, similarity_title(found, SIMILAR_TO), picture)}


def _drawn(found: AnyExplanation, heading: str, picture: np.ndarray) -> dict[str, Any]:
    """What was found, in words and as pictures."""
    heat = found.map.heat
    seen = cut_out(picture, found.box, heat.shape)
    is_hot = bool(heat.any())
    return {
        "method": found.method,
        "layer": found.layer,
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
