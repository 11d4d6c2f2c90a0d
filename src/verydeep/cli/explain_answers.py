"""Photos -> what `verydeep explain` shows of each: a drawing, lines for people, fields for JSON."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep import explain
from verydeep.architecture import Layer
from verydeep.cli.photos import read_sources
from verydeep.errors import ImageError, UsageError
from verydeep.explain.activations import Peaks, activations, peaks
from verydeep.explain.drawing import Drawing
from verydeep.explain.explanation import check_layer, last_map, subject_of, view, where
from verydeep.explain.inversion import invert
from verydeep.explain.picture import (
    caption,
    cut_out,
    draw,
    draw_segment,
    draw_similar,
    segment_title,
    similarity_title,
    title,
)
from verydeep.explain.sheets import Tile, activations_sheet, filters_sheet, inversion_sheet, patch, patches_sheet
from verydeep.explain.similarity import Similarity
from verydeep.image import crop_box, denormalize, preprocess
from verydeep.image.stream import Source, load
from verydeep.nouns import Failure
from verydeep.runtime import OpenedModel
from verydeep.weights import map_model

PATCHES = 8  # of a channel
CHANNELS = 8  # whose patches are shown where none is named
LISTED_CHANNELS = 5


@dataclass(frozen=True)
class Other:
    """A photo that others are compared with."""

    path: str
    seen: Image.Image  # the part that the network saw
    target: Similarity


@dataclass(frozen=True)
class Request:
    """What is asked about each photo."""

    methods: tuple[str, ...]
    label: str | None
    layer: str | None
    channel: int | None
    edge: str | None
    is_dense: bool
    settings: explain.Settings
    formats: Sequence[str]
    other: "Other | None" = None  # the photo whose likeness is explained, in place of a class

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


def check_request(model: OpenedModel, request: Request, similar_to: str | None = None) -> None:
    """What is refused whatever the photos. similar_to: the path of the other photo. Raises UsageError."""
    if similar_to is not None:
        _check_similar(model, request)
        return
    if request.method in explain.METHODS and model.info.architecture.task == "segment":
        for name in request.methods:
            explain.check_segment(
                model, name, label=request.label, layer=request.layer, channel=request.channel, edge=request.edge
            )
        return
    if request.method in explain.METHODS:
        for name in request.methods:
            explain.check_request(
                model,
                name,
                label=request.label,
                layer=request.layer,
                channel=request.channel,
                edge=request.edge,
                is_dense=request.is_dense,
            )
        return
    architecture = view(model, request.is_dense)
    if request.label is not None:
        raise UsageError(f"{request.method} looks at a layer, not at a class.", "Leave --class out.")
    if request.edge is not None:
        raise UsageError(f"{request.method} looks at a layer, not at a box.", "Leave --box-edge out.")
    if request.channel is not None and request.method != "patches":
        raise UsageError(f"{request.method} shows all channels.", "Leave --channel out.")
    if request.method == "filters":
        _check_filters(architecture.layers[0], request.layer)
    else:
        check_layer(architecture, request.layer or last_map(architecture), request.channel, needs_map=True)


def _check_similar(model: OpenedModel, request: Request) -> None:
    for option, value in (("--class", request.label), ("--channel", request.channel), ("--box-edge", request.edge)):
        if value is not None:
            raise UsageError(f"--similar-to and {option} exclude each other.", f"Leave {option} out.")
    for name in request.methods:
        explain.check_similarity(model, name, layer=request.layer, is_dense=request.is_dense)


def read_other(model: OpenedModel, path: str, is_dense: bool, formats: Sequence[str]) -> Other:
    """The photo that others are compared with. Raises ImageError where it cannot be read."""
    photo = load(read_sources([path])[0][1], formats)
    target = explain.similarity_to(model, photo, is_dense=is_dense)
    preprocessing = model.info.preprocessing
    shape = preprocess(photo, preprocessing, is_dense).shape[1:]
    return Other(path, cut_out(photo, crop_box(photo.shape, preprocessing, is_dense), shape), target)


def _check_filters(first: Layer, wanted: str | None) -> None:
    if wanted not in (None, first.name):
        raise UsageError(
            f"the filters of {wanted} are no pictures: they see channels, not colours.",
            f"Leave --layer out to see those of {first.name}.",
        )
    if first.in_channels not in (1, 3):
        raise UsageError(f"filters of {first.in_channels} channels are no pictures.", "Name another method.")


def answers(
    model: OpenedModel, request: Request, sources: Sequence[tuple[str, Source]], show: Callable[[int], None]
) -> Iterator[Answer | Failure]:
    """The answer for each photo, or why it cannot be read; filters gives one, and patches one after the failures.

    show: is called with the number of photos that are done.
    """
    if request.method == "filters":
        yield _filters(model)
    elif request.method == "patches":
        yield from _patches(model, request, sources, show)
    else:
        why = _explained_pixels if model.info.architecture.task == "segment" else _explained
        answer_for = _likened if request.other else _BY_PHOTO.get(request.method, why)
        for done, (path, source) in enumerate(sources, start=1):
            try:
                photo = load(source, request.formats)
                yield answer_for(model, request, path, photo)
            except ImageError as error:
                yield Failure(path, error.message, error.hint)
            show(done)


def _explained(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    found = [
        explain.explain(
            model,
            photo,
            method,
            label=request.label,
            layer=request.layer,
            channel=request.channel,
            edge=request.edge,
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


def _explained_pixels(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    found = [
        explain.explain_segment(
            model,
            photo,
            method,
            label=request.label,
            layer=request.layer,
            channel=request.channel,
            settings=request.settings,
        )
        for method in request.methods
    ]
    lines = [segment_title(found[0])]
    lines += [f"{caption(explanation)[0]}: {where(explanation.map.heat)}" for explanation in found]
    fields: dict[str, object] = {"path": path, "explanations": [explanation.to_dict() for explanation in found]}
    return Answer(path, draw_segment(photo, found), tuple(lines), fields)


def _likened(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    other = request.other
    assert other is not None
    found = [
        explain.explain_similarity(
            model,
            photo,
            other.target,
            method,
            layer=request.layer,
            is_dense=request.is_dense,
            settings=request.settings,
        )
        for method in request.methods
    ]
    lines = [similarity_title(found[0], other.path)]
    lines += [f"{caption(explanation)[0]}: {where(explanation.map.heat)}" for explanation in found]
    fields: dict[str, object] = {"path": path, "similar_to": other.path}
    fields["explanations"] = [explanation.to_dict() for explanation in found]
    return Answer(path, draw_similar(photo, other.seen, Path(other.path).name, found), tuple(lines), fields)


def _activations(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    layer = request.layer or last_map(model.info.architecture)
    found = activations(model, photo, layer, is_dense=request.is_dense)
    strongest = np.argsort(-found.peaks, kind="stable")[:LISTED_CHANNELS]
    listed = ", ".join(f"{channel} ({found.peaks[channel]:.3g})" for channel in strongest)
    lines = (f"{layer}: most excited are the channels {listed}",)
    return Answer(path, activations_sheet(photo, found), lines, {"path": path, "activations": found.to_dict()})


def _inversion(model: OpenedModel, request: Request, path: str, photo: np.ndarray) -> Answer:
    layer, preprocessing = request.layer or last_map(model.info.architecture), model.info.preprocessing
    image = preprocess(photo, preprocessing, request.is_dense)
    rebuilt, errors = invert(subject_of(model, request.is_dense), image, layer, request.settings.steps)
    seen = cut_out(photo, crop_box(photo.shape, preprocessing, request.is_dense), image.shape[1:])
    drawing = inversion_sheet(seen, denormalize(rebuilt, preprocessing), layer, errors[-1])
    lines = (f"{layer} takes another picture for the same, but for {100 * errors[-1]:.2g} % of its squared values",)
    return Answer(path, drawing, lines, {"path": path, "inversion": {"layer": layer, "errors": errors}})


_BY_PHOTO = {"activations": _activations, "inversion": _inversion}  # all other methods explain an answer


def _patches(
    model: OpenedModel, request: Request, sources: Sequence[tuple[str, Source]], show: Callable[[int], None]
) -> Iterator[Answer | Failure]:
    """Two passes over the photos: one finds what excites each channel, the other cuts the best of it out."""
    layer = request.layer or last_map(model.info.architecture)
    found: list[tuple[str, Source, Peaks]] = []
    for done, (path, source) in enumerate(sources, start=1):
        try:
            photo = load(source, request.formats)
            found.append((path, source, peaks(model, photo, layer, is_dense=request.is_dense)))
        except ImageError as error:
            yield Failure(path, error.message, error.hint)
        show(done)
    if found:
        largest = np.max([peak.values for _, _, peak in found], axis=0)
        strongest = np.argsort(-largest, kind="stable")[:CHANNELS].tolist()
        channels = strongest if request.channel is None else [request.channel]
        yield from _best_patches(layer, found, channels, request.formats)


def _best_patches(
    layer: str, found: Sequence[tuple[str, Source, Peaks]], channels: Sequence[int], formats: Sequence[str]
) -> Iterator[Answer | Failure]:
    """The photos that can be read no more are told, and others take their places."""
    rows: list[list[Tile]] = []
    fields = []
    gone: set[str] = set()
    for channel in channels:
        tiles: list[Tile] = []
        patches = []
        for path, source, peak in sorted(found, key=lambda one: -float(one[2].values[channel])):
            if path in gone:
                continue
            try:
                photo = load(source, formats)
            except ImageError as error:
                gone.add(path)
                yield Failure(path, error.message, error.hint)
                continue
            value, box = float(peak.values[channel]), peak.boxes[channel]
            tiles.append((patch(photo, box), f"{channel}: {value:.3g}"))
            patches.append({"path": path, "value": value, "box": box.tolist()})
            if len(tiles) == PATCHES:
                break
        rows.append(tiles)
        fields.append({"channel": channel, "patches": patches})
    if len(gone) < len(found):
        lines = (f"the channels {', '.join(map(str, channels))}; of {len(found)} photos those that excite each most",)
        yield Answer(layer, patches_sheet(layer, rows), lines, {"layer": layer, "channels": fields})


def _filters(model: OpenedModel) -> Answer:
    name = model.info.architecture.layers[0].name
    kernels = np.asarray(map_model(model.path)[1][f"{name}.weight"], np.float32)
    lines = (f"{len(kernels)} kernels of {kernels.shape[-1]} x {kernels.shape[-1]} pixels",)
    return Answer(name, filters_sheet(name, kernels), lines, {"layer": name, "kernels": kernels.tolist()})
