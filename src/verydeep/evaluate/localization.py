"""(finders, photos with boxes) -> LocalizationReport: where things are, by the rules of ILSVRC and the paper.

A finder says of each photo which classes it shows, and where: a localiser on a square of it (the paper's protocol 1),
on whole photos of several sizes (its protocol 2), or whatever else gives boxes. Several are fused as in the paper's
appendix A: the mean of their class posteriors, the union of their boxes before they are merged.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from verydeep.data.datasets import Dataset
from verydeep.data.picture_targets import BoxTargets
from verydeep.errors import DatasetError, ImageError, UsageError
from verydeep.evaluate.finite import check_finite
from verydeep.evaluate.localization_report import TOP, LocalizationReport
from verydeep.evaluate.protocols import check_same_classes, fused_protocol
from verydeep.image.decode import name_of
from verydeep.image.preprocess import crop_box
from verydeep.image.stream import batches, stream
from verydeep.nouns import Calibration, Engine, Failure, Preprocessing, StoredPhoto, Weights
from verydeep.outputs.boxes import class_boxes, clip, slide, to_region, windows
from verydeep.outputs.classify import best_classes, class_logits, posteriors, softmax
from verydeep.runtime import OpenedModel
from verydeep.weights.files import ModelInfo

BOX_PROTOCOLS = {
    "center": "{seen}; the box of each class",
    "dense": "{seen}, dense view, class scores averaged over the map and the sizes; the boxes of all windows merged "
    "greedily, rated by the class scores of their windows",
}


@dataclass(frozen=True, eq=False)
class Found:
    """What a model says of one photo. Boxes are edges in pixels of the upright photo."""

    size: tuple[int, int]  # height and width of the photo
    posteriors: np.ndarray  # (classes,) float64
    windows: np.ndarray  # (n, 4): what it looked at
    boxes: np.ndarray  # (n, 1 or classes, 4): where it sees whatever there is, or each class
    ratings: np.ndarray  # (n, classes): how much each window shows each class, such as its posteriors


Finder: TypeAlias = Callable[[Sequence[StoredPhoto]], Iterator[Found | ImageError]]
"""What is found in these photos, in order."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs of a network for one photo."""

    values: dict[str, np.ndarray]
    shape: tuple[int, int]  # height and width of what the network got
    size: tuple[int, int]  # height and width of the photo


def evaluate_localization(
    models: Sequence[OpenedModel],
    dataset: Dataset,
    protocol: str = "center",
    *,
    scales: Sequence[int] = (),
    classifier: OpenedModel | None = None,
    batch_size: int = 32,
    conditions: str = "",
    threads: int | None = None,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> LocalizationReport:
    """How well localisers, fused where there are several, say what photos show and where.

    protocol: a name of `BOX_PROTOCOLS`; "dense" with an fc head needs models opened as dense views. scales: for
    "dense", the shorter sides in pixels, by default the one of each model's preprocessing. classifier: names the
    classes, and rates the windows that it shares with the localisers, in their place. The rest as `localize`, and
    UsageError on an unknown protocol, and where a model gives no boxes or knows other classes.
    """
    if protocol not in BOX_PROTOCOLS:
        raise UsageError(f"no protocol {protocol!r}; there are {', '.join(BOX_PROTOCOLS)}.", "Choose one of these.")
    if scales and protocol != "dense":
        raise UsageError(f"the protocol {protocol} has no scales.", "Leave them out, or use the protocol dense.")
    _check_models(models, classifier)

    def finder(model: OpenedModel) -> Finder:
        if protocol == "center":
            return center_finder(model.engine, model.info, batch_size=batch_size, threads=threads)
        return dense_finder(model.engine, model.info, model.weights, scales, batch_size=batch_size, threads=threads)

    report = localize(
        [finder(model) for model in models],
        dataset,
        models[0].info.classes,
        classifiers=[finder(classifier)] if classifier else [],
        on_progress=on_progress,
    )
    told = describe_protocol(models, protocol, scales, classifier)
    naming = [classifier] if classifier else models
    return replace(
        report,
        protocol=", ".join(filter(None, (told, conditions))),
        protocol_name=protocol,
        calibration=naming[0].info.calibration if len(naming) == 1 else Calibration(),  # none is known of a mean
    )


def describe_protocol(
    models: Sequence[OpenedModel],
    protocol: str,
    scales: Sequence[int] = (),
    classifier: OpenedModel | None = None,
) -> str:
    """What photos go through in `evaluate_localization`, in a sentence."""

    def seen(preprocessing: Preprocessing) -> str:
        sizes = ", ".join(map(str, scales or (preprocessing.resize,)))
        is_dense = protocol == "dense"
        return f"whole photo at shorter side {sizes}, bilinear" if is_dense else preprocessing.in_words

    told = fused_protocol([BOX_PROTOCOLS[protocol].format(seen=seen(model.info.preprocessing)) for model in models])
    if classifier:
        told += f"; classes named by {classifier.info.architecture.name}, {seen(classifier.info.preprocessing)}"
    return told


def localize(
    finders: Sequence[Finder],
    dataset: Dataset,
    classes: tuple[str, ...],
    *,
    classifiers: Sequence[Finder] = (),
    protocol: str = "",
    on_progress: Callable[[int], None] = lambda photos: None,
) -> LocalizationReport:
    """What finders of the same classes say of the photos, beside what is true. Photos that cannot be read are told.

    dataset: opened for the task "localize", so that it has boxes; a photo without any is in no figure. classifiers:
    give the class posteriors in place of the finders. Raises DatasetError where classes differ, or no photo has a box
    or can be read, and NonFiniteError where a network gives NaN or infinity.
    """
    photos = len(dataset)
    dataset, shares = _boxed(dataset.relabeled(classes))
    top = min(TOP, len(classes))
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # posteriors, boxes of the best classes and of the own
    truth: list[np.ndarray] = []
    read: list[int] = []
    failures: list[Failure] = []
    streams = [finder(dataset.paths) for finder in (*finders, *classifiers)]
    for position, told in enumerate(zip(*streams, strict=True)):
        if errors := [one for one in told if isinstance(one, ImageError)]:
            failures.append(Failure(name_of(dataset.paths[position]), errors[0].message, errors[0].hint))
        else:
            found = [one for one in told if isinstance(one, Found)]
            fused = fuse(found[: len(finders)], found[len(finders) :])
            wanted = [*best_classes(fused.posteriors, top).tolist(), dataset.labels[position]]
            boxes = class_boxes(fused.boxes, fused.ratings, wanted)
            rows.append((fused.posteriors, boxes[:-1], boxes[-1]))
            truth.append(to_region(shares[position], np.array((0, 0, *fused.size[::-1]))))
            read.append(position)
        on_progress(position + 1)
    if not read:
        raise DatasetError(f"none of the {len(dataset)} photos can be read: {failures[0].reason}", "Check the folder.")
    probabilities, top_boxes, own_boxes = (np.stack(column) for column in zip(*rows, strict=True))
    return LocalizationReport(
        protocol=protocol,
        protocol_name="",
        classes=classes,
        paths=tuple(dataset.paths[position] for position in read),
        labels=np.array(dataset.labels, np.int64)[read],
        true_boxes=tuple(truth),
        posteriors=probabilities,
        top_boxes=top_boxes,
        own_boxes=own_boxes,
        failures=tuple(failures),
        without_box=photos - len(dataset),
    )


def fuse(found: Sequence[Found], classifiers: Sequence[Found] = ()) -> Found:
    """What several say of one photo: the mean of their class posteriors, their windows together.

    Where classifiers are given, their posteriors count in place of the others', and so do their ratings of windows that
    they look at, too.
    """
    with_boxes = [one for one in found if one.boxes.shape[1]]
    most = max(one.boxes.shape[1] for one in with_boxes)
    boxes = [np.broadcast_to(one.boxes, (len(one.boxes), most, 4)) for one in with_boxes]  # one box is that of each
    return Found(
        found[0].size,
        np.mean([one.posteriors for one in classifiers or found], axis=0),
        np.concatenate([one.windows for one in with_boxes]),
        np.concatenate(boxes),
        np.concatenate([_ratings(one, classifiers) for one in with_boxes]),
    )


def center_finder(engine: Engine, info: ModelInfo, *, batch_size: int = 32, threads: int | None = None) -> Finder:
    """What a localiser says of a photo made square, as `predict` does. A classifier finds classes, and no box."""

    def find(paths: Sequence[StoredPhoto]) -> Iterator[Found | ImageError]:
        for one in answers(engine.run, paths, info.preprocessing, batch_size=batch_size, threads=threads):
            yield one if isinstance(one, ImageError) else _found(one, info, info.preprocessing)

    return find


def dense_finder(
    engine: Engine,
    info: ModelInfo,
    weights: Weights,
    scales: Sequence[int] = (),
    *,
    batch_size: int = 32,
    threads: int | None = None,
) -> Finder:
    """What a localiser says of every window of whole photos whose shorter side is each of `scales` pixels.

    engine: of the dense view, with an fc head. weights: for the gap head, whose linear layer is applied to every square
    of its last maps as large as that of the crop. Raises UsageError on a scale below the crop.
    """
    chosen = tuple(scales) or (info.preprocessing.resize,)
    if min(chosen) < info.preprocessing.crop:
        raise UsageError(
            f"a scale of {min(chosen)} pixels; expected at least {info.preprocessing.crop}, the crop of the model "
            f"({info.architecture.name}).",
            "Leave out the smaller ones.",
        )
    run = _dense_run(engine, info, weights)

    def find(paths: Sequence[StoredPhoto]) -> Iterator[Found | ImageError]:
        scaled = [replace(info.preprocessing, resize=scale) for scale in chosen]
        streams = [answers(run, paths, each, is_dense=True, batch_size=batch_size, threads=threads) for each in scaled]
        for several in zip(*streams, strict=True):
            errors = [one for one in several if isinstance(one, ImageError)]
            parts = [_found(one, info, None) for one in several if isinstance(one, Answer)]
            yield errors[0] if errors else _joined(parts)

    return find


def answers(
    run: Callable[[np.ndarray], dict[str, np.ndarray]],
    paths: Sequence[StoredPhoto],
    preprocessing: Preprocessing,
    *,
    is_dense: bool = False,
    batch_size: int = 32,
    threads: int | None = None,
) -> Iterator[Answer | ImageError]:
    """What `run` makes of each photo, in order. Raises NonFiniteError where the logits are not finite."""
    sizes: dict[int, tuple[int, int]] = {}
    items = stream(paths, preprocessing, is_dense, threads, ahead=2 * batch_size, sizes=sizes)
    for batch in batches(items, batch_size):
        images = [loaded for _, loaded in batch if isinstance(loaded, np.ndarray)]
        values = run(np.stack(images)) if images else {}
        rows = iter(range(len(images)))
        for position, loaded in batch:
            if isinstance(loaded, ImageError):
                yield loaded
                continue
            row = next(rows)
            own = {name: array[row] for name, array in values.items()}
            check_finite(own["logits"][np.newaxis], [paths[position]])
            yield Answer(own, (loaded.shape[1], loaded.shape[2]), sizes.pop(position))


def _found(one: Answer, info: ModelInfo, cropped: Preprocessing | None) -> Found:
    """What a network's answer means in the photo, of whose square it is, or of all of it."""
    height, width = one.size
    region = np.array(crop_box(one.size, cropped) if cropped else (0.0, 0.0, width, height))
    seen = windows(one.values["logits"], info.architecture, info.preprocessing.crop, one.shape)
    temperature = info.calibration.temperature
    return Found(
        one.size,
        posteriors(class_logits(one.values["logits"][np.newaxis], len(info.classes)), temperature)[0],
        to_region(seen.places, region),
        clip(to_region(seen.boxes, region), one.size),
        softmax(seen.logits, temperature),
    )


def _dense_run(engine: Engine, info: ModelInfo, weights: Weights) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """Images -> {"logits": (N, scores, h, w)}."""
    architecture = info.architecture
    if architecture.head != "gap":
        return engine.run
    linear = architecture.layers[-1].name
    last = architecture.layers[-3].name  # the pool before the average
    weight, bias = (np.asarray(weights[f"{linear}.{part}"], np.float32) for part in ("weight", "bias"))
    cells = info.preprocessing.crop // architecture.stride
    return lambda images: {"logits": slide(engine.run(images, (last,))[last], weight, bias, cells)}


def _joined(parts: Sequence[Found]) -> Found:
    """What one model says of one photo at several sizes."""
    return Found(
        parts[0].size,
        np.mean([one.posteriors for one in parts], axis=0),
        np.concatenate([one.windows for one in parts]),
        np.concatenate([one.boxes for one in parts]),
        np.concatenate([one.ratings for one in parts]),
    )


def _ratings(one: Found, classifiers: Sequence[Found]) -> np.ndarray:
    same = [
        other.ratings
        for other in classifiers
        if other.windows.shape == one.windows.shape and np.allclose(other.windows, one.windows)
    ]
    return np.mean(same, axis=0) if same else one.ratings


def _check_models(models: Sequence[OpenedModel], classifier: OpenedModel | None) -> None:
    if not models:
        raise UsageError("no model was given.", "Give one that has boxes.")
    for model in models:
        if model.info.architecture.task != "localize":
            raise UsageError(
                f"the model {model.path} ({model.info.architecture.name}) gives no boxes.",
                "Train one with boxes=single or boxes=class.",
            )
    if classifier and classifier.info.architecture.task not in ("classify", "localize"):
        raise UsageError(
            f"the model {classifier.path} ({classifier.info.architecture.name}) names no class of a photo.",
            "Give a classifier of the same classes.",
        )
    for other in [*models[1:], *([classifier] if classifier else [])]:
        check_same_classes(models[0].path, models[0].info, other.path, other.info)


def _boxed(dataset: Dataset) -> tuple[Dataset, tuple[np.ndarray, ...]]:
    """The photos that have a box, and the boxes of each, as shares of its sides. Raises DatasetError."""
    if not isinstance(dataset.targets, BoxTargets):
        raise DatasetError("the photos have no boxes; expected one in each.", "Give annotations that have some.")
    boxes = dataset.targets.boxes
    chosen = [position for position, found in enumerate(boxes) if len(found)]
    if not chosen:
        raise DatasetError(f"none of the {len(dataset)} photos has a box of its class.", "Annotate some.")
    return dataset.take(chosen), tuple(boxes[position] for position in chosen)
