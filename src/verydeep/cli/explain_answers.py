"""Photos -> what `verydeep explain` shows of each: a drawing, lines for people, fields for JSON."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verydeep import explain
from verydeep.architecture import Layer
from verydeep.cli.photos import STANDARD_INPUT, read_standard_input
from verydeep.errors import ImageError, UsageError
from verydeep.explain.activations import Peaks, activations, peaks
from verydeep.explain.explanation import check_layer, last_map, view, where
from verydeep.explain.picture import Drawing, caption, draw, draw_activations, draw_filters, draw_patches, patch, title
from verydeep.image import Limits
from verydeep.image.stream import Source, load
from verydeep.nouns import Failure
from verydeep.runtime import OpenedModel
from verydeep.weights import map_model

PATCHES = 8  # of a channel
CHANNELS = 8  # whose patches are shown where none is named
LISTED_CHANNELS = 5


@dataclass(frozen=True)
class Request:
    """What is asked about each photo."""

    methods: tuple[str, ...]
    label: str | None
    layer: str | None
    channel: int | None
    is_dense: bool
    settings: explain.Settings
    formats: Sequence[str]

    @property
    def method(self) -> str:
        return self.methods[0]


@dataclass(frozen=True)
class Answer:
    """What is shown of one photo, or of a layer."""

    path: str  # of the photo as it was given, or the layer's name
    drawing: Drawing
    lines: tuple[str, ...]  # for people
    fields: dict[str, object]  # for JSON


def check_request(model: OpenedModel, request: Request) -> None:
    """What is refused whatever the photos. Raises UsageError."""
    if request.method in explain.METHODS:
        for name in request.methods:
            explain.check_request(
                model,
                name,
                label=request.label,
                layer=request.layer,
                channel=request.channel,
                is_dense=request.is_dense,
            )
        return
    architecture = view(model, request.is_dense)
    if request.label is not None:
        raise UsageError(f"{request.method} looks at a layer, not at a class.", "Leave --class out.")
    if request.channel is not None and request.method != "patches":
        raise UsageError(f"{request.method} shows all channels.", "Leave --channel out.")
    if request.method == "filters":
        _check_filters(architecture.layers[0], request.layer)
    else:
        check_layer(architecture, request.layer or last_map(architecture), request.channel, needs_map=True)


def _check_filters(first: Layer, wanted: str | None) -> None:
    if wanted not in (None, first.name):
        raise UsageError(
            f"the filters of {wanted} are no pictures: they see channels, not colours.",
            f"Leave --layer out to see those of {first.name}.",
        )
    if first.in_channels not in (1, 3):
        raise UsageError(f"filters of {first.in_channels} channels are no pictures.", "Name another method.")


def read_sources(paths: Sequence[str]) -> list[tuple[str, Source]]:
    """Each photo's path and what it is loaded from. Raises UsageError where nothing is on standard input."""
    limit = Limits().file_bytes
    return [(path, read_standard_input(limit) if path == STANDARD_INPUT else path) for path in paths]


def answers(model: OpenedModel, request: Request, sources: Sequence[tuple[str, Source]]) -> Iterator[Answer | Failure]:
    """The answer for each photo, or why it cannot be read; filters gives one, and patches one after the failures."""
    if request.method == "filters":
        yield _filters(model)
    elif request.method == "patches":
        yield from _patches(model, request, sources)
    else:
        for path, source in sources:
            try:
                photo = load(source, request.formats)
                yield (_activations if request.method == "activations" else _explained)(model, request, path, photo)
            except ImageError as error:
                yield Failure(path, error.message, error.hint)


def _explained(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    found = [
        explain.explain(
            model,
            photo,
            method,
            label=request.label,
            layer=request.layer,
            channel=request.channel,
            is_dense=request.is_dense,
            settings=request.settings,
        )
        for method in request.methods
    ]
    lines = [title(found[0])]
    lines += [f"{caption(explanation)[0]}: {where(explanation.map.heat)}" for explanation in found]
    return Answer(
        path,
        draw(photo, found),
        tuple(lines),
        {"path": path, "explanations": [explanation.to_dict() for explanation in found]},
    )


def _activations(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    layer = request.layer or last_map(model.info.architecture)
    found = activations(model, photo, layer, is_dense=request.is_dense)
    strongest = np.argsort(-found.peaks, kind="stable")[:LISTED_CHANNELS]
    listed = ", ".join(f"{channel} ({found.peaks[channel]:.3g})" for channel in strongest)
    lines = (f"{layer}: most excited are the channels {listed}",)
    return Answer(path, draw_activations(photo, found), lines, {"path": path, "activations": found.to_dict()})


def _patches(model: OpenedModel, request: Request, sources: Sequence[tuple[str, Source]]) -> Iterator[Answer | Failure]:
    """Two passes over the photos: one finds the patches, the other cuts them out."""
    layer = request.layer or last_map(model.info.architecture)
    found: list[tuple[str, Source, Peaks]] = []
    for path, source in sources:
        try:
            photo = load(source, request.formats)
            found.append((path, source, peaks(model, photo, layer, is_dense=request.is_dense)))
        except ImageError as error:
            yield Failure(path, error.message, error.hint)
    if not found:
        return
    values = np.stack([peak.values for _, _, peak in found])  # (photos, channels)
    strongest = np.argsort(-values.max(axis=0), kind="stable")[:CHANNELS]
    channels = strongest.tolist() if request.channel is None else [request.channel]
    rows, fields = [], []
    for channel in channels:
        best = np.argsort(-values[:, channel], kind="stable")[:PATCHES]
        entries = [(found[place][0], found[place][1], found[place][2].boxes[channel].tolist()) for place in best]
        cut = [patch(load(source, request.formats), box) for _, source, box in entries]
        captions = [f"{channel}: {value:.3g}" for value in values[best, channel]]
        rows.append(list(zip(cut, captions, strict=True)))
        listed = zip(entries, values[best, channel].tolist(), strict=True)
        patches = [{"path": path, "value": value, "box": box} for (path, _, box), value in listed]
        fields.append({"channel": channel, "patches": patches})
    lines = (f"the channels {', '.join(map(str, channels))}, of {len(found)} photos those that excite each most",)
    yield Answer(layer, draw_patches(layer, rows), lines, {"layer": layer, "channels": fields})


def _filters(model: OpenedModel) -> Answer:
    name = model.info.architecture.layers[0].name
    kernels = np.asarray(map_model(model.path)[1][f"{name}.weight"], np.float32)
    lines = (f"{len(kernels)} kernels of {kernels.shape[-1]} x {kernels.shape[-1]} pixels",)
    return Answer(name, draw_filters(name, kernels), lines, {"layer": name, "kernels": kernels.tolist()})
