"""(Engine, photos, protocol) -> Report: how accurate a model is, and on what terms.

A protocol is what a photo goes through on its way to one row of posteriors. The same network differs by two points
of accuracy between protocols, so no figure is shown without its own. Several networks are fused as in the paper's
section 4.4: the mean of their posteriors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np

from verydeep.data.datasets import Dataset
from verydeep.errors import DatasetError, ImageError, UsageError
from verydeep.evaluate.finite import check_finite
from verydeep.evaluate.report import Report
from verydeep.image.decode import name_of
from verydeep.image.stream import Item, batches, stream
from verydeep.nouns import Calibration, Engine, Failure, Preprocessing, StoredPhoto
from verydeep.outputs.classify import class_logits, posteriors
from verydeep.runtime import OpenedModel
from verydeep.weights.files import ModelInfo

Inputs: TypeAlias = Callable[[Sequence[StoredPhoto], Preprocessing], Iterator[Item]]
"""Gives what `stream` gives of these photos."""


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate."""

    description: str  # {fit} stands for how the model's photos become squares, {resize} for its pixels
    is_dense: bool = False  # the whole photo through the dense view, its class-score map averaged
    is_flipped: bool = False  # also the mirror image, the posteriors of the two averaged

    def describe(self, preprocessing: Preprocessing) -> str:
        return self.description.format(fit=preprocessing.in_words, resize=preprocessing.resize)


PROTOCOLS: dict[str, Protocol] = {
    # what `predict` does
    "center": Protocol("{fit}"),
    # Simonyan & Zisserman (2015), section 3.2, at one scale
    "dense": Protocol(
        "whole photo at shorter side {resize}, bilinear, dense view, class scores averaged over the map, "
        "posteriors averaged with the mirror image's",
        is_dense=True,
        is_flipped=True,
    ),
}


def protocol_named(name: str) -> Protocol:
    """A row of `PROTOCOLS`. Raises UsageError."""
    if name not in PROTOCOLS:
        raise UsageError(f"no protocol {name!r}; there are {', '.join(PROTOCOLS)}.", "Choose one of these.")
    return PROTOCOLS[name]


def evaluate(
    engine: Engine,
    info: ModelInfo,
    dataset: Dataset,
    protocol: str = "center",
    *,
    batch_size: int = 32,
    conditions: str = "",
    threads: int | None = None,
    inputs: Inputs | None = None,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> Report:
    """How well the engine recognises the photos. Photos that cannot be read are listed in the report, not scored.

    protocol: a name of `PROTOCOLS`; "dense" with an fc head needs an engine of the dense view. The classes of the
    photos are matched to the model's by name. conditions: what else the report's protocol should say, such as
    "float32, engine torch". threads: for decoding. inputs: reads the photos in place of `stream`, for the
    protocol "center". on_progress is told after each batch how many photos are done.
    Raises UsageError on an unknown protocol, DatasetError where classes differ or no photo can be read, and
    NonFiniteError where the network gives NaN or infinity.
    """
    chosen = protocol_named(protocol)
    dataset = dataset.relabeled(info.classes)
    logits = np.zeros((len(dataset), len(info.classes)), np.float32)
    scores = np.zeros(logits.shape)  # float64, as in a prediction: the two agree to the last digit
    errors: dict[int, ImageError] = {}
    if inputs is None:
        items = stream(dataset.paths, info.preprocessing, chosen.is_dense, threads, ahead=2 * batch_size)
    else:
        items = inputs(dataset.paths, info.preprocessing)
    for batch in batches(items, batch_size):
        errors |= {position: loaded for position, loaded in batch if isinstance(loaded, ImageError)}
        if positions := [position for position, _ in batch if position not in errors]:
            images = np.stack([loaded for _, loaded in batch if isinstance(loaded, np.ndarray)])
            views = [_logits(engine, view, len(info.classes)) for view in _views(images, chosen)]
            for view in views:
                check_finite(view, [dataset.paths[position] for position in positions])
            logits[positions] = views[0]
            scores[positions] = np.mean([posteriors(view, info.calibration.temperature) for view in views], axis=0)
        on_progress(batch[-1][0] + 1)
    read = [position for position in range(len(dataset)) if position not in errors]
    if not read:
        raise DatasetError(f"none of the {len(dataset)} photos can be read: {errors[0].message}", "Check the folder.")
    return Report(
        protocol=", ".join(filter(None, (chosen.describe(info.preprocessing), conditions))),
        protocol_name=protocol,
        classes=info.classes,
        paths=tuple(dataset.paths[position] for position in read),
        labels=np.array(dataset.labels, np.int64)[read],
        posteriors=scores[read],
        logits=None if chosen.is_flipped else logits[read],
        calibration=info.calibration,
        failures=tuple(
            Failure(name_of(dataset.paths[position]), error.message, error.hint) for position, error in errors.items()
        ),
    )


def evaluate_fused(
    models: Sequence[OpenedModel],
    dataset: Dataset,
    protocol: str = "center",
    *,
    batch_size: int = 32,
    conditions: str = "",
    threads: int | None = None,
    on_progress: Callable[[int], None] = lambda photos: None,
) -> Report:
    """How well classifiers recognise the photos together; of one, what `evaluate` says of it.

    Each sees the photos by its own preprocessing and divides its logits by its own temperature; what all of them can
    read is scored. on_progress: is told how many photos all models together come to. The rest as `evaluate`, and
    UsageError where models cannot be fused.
    """
    check_fusable([(model.path, model.info) for model in models])
    reports: list[Report] = []

    def show(photos: int) -> None:
        on_progress((len(reports) * len(dataset) + photos) // len(models))

    for one in models:
        report = evaluate(
            one.engine, one.info, dataset, protocol, batch_size=batch_size, threads=threads, on_progress=show
        )
        reports.append(report)
    text = fused_protocol([report.protocol for report in reports])
    return replace(_fused(reports), protocol=", ".join(filter(None, (text, conditions))))


def check_fusable(models: Sequence[tuple[Path, ModelInfo]]) -> None:
    """Raises UsageError where several models cannot be one: they do not answer the same, or not of the same classes."""
    (first, info), *others = models
    task = info.architecture.task
    if others and task not in ("classify", "localize"):
        raise UsageError(
            f"{first} is a model to {task} with; expected classifiers or localisers, which alone are fused.",
            "Evaluate it by itself.",
        )
    for path, other in others:
        if path.resolve() == first.resolve():
            raise UsageError(f"{path} is given twice; expected different models.", "Leave one out.")
        if other.architecture.task != task:
            raise UsageError(
                f"{first} is a model to {task} with, {path} one to {other.architecture.task} with; expected the same.",
                "Fuse classifiers with classifiers, and localisers with localisers.",
            )
        check_same_classes(first, info, path, other)


def check_same_classes(first: Path, info: ModelInfo, path: Path, other: ModelInfo) -> None:
    """Raises UsageError where two models do not know the same classes in the same order."""
    told = ""
    if len(info.classes) != len(other.classes):
        told = f"{first} knows {len(info.classes)} classes, {path} {len(other.classes)}"
    elif differing := [pair for pair in zip(info.classes, other.classes, strict=True) if len(set(pair)) > 1]:
        told = f"{first} knows {differing[0][0]!r} where {path} knows {differing[0][1]!r}"
    if told:
        raise UsageError(
            f"{told}; expected the same classes in the same order.", "Take models that were trained on the same ones."
        )


def fused_protocol(protocols: Sequence[str]) -> str:
    """What the photos of several models went through, in a sentence: what all have in common once."""
    text = " and ".join(dict.fromkeys(protocols))
    return f"{text}, {len(protocols)} models fused" if len(protocols) > 1 else text


def _fused(reports: Sequence[Report]) -> Report:
    """Of the photos that all could read, by the mean of the posteriors; no calibration is known of that."""
    if len(reports) == 1:
        return reports[0]
    failures = {failure.path: failure for report in reports for failure in report.failures}
    rows = [[i for i, path in enumerate(report.paths) if name_of(path) not in failures] for report in reports]
    if not rows[0]:
        raise DatasetError("no photo can be read by all of the models.", "Check the folder.")
    return replace(
        reports[0],
        paths=tuple(reports[0].paths[position] for position in rows[0]),
        labels=reports[0].labels[rows[0]],
        posteriors=np.mean([report.posteriors[own] for report, own in zip(reports, rows, strict=True)], axis=0),
        logits=None,
        calibration=Calibration(),
        failures=tuple(failures.values()),
    )


def _views(images: np.ndarray, protocol: Protocol) -> list[np.ndarray]:
    return [images, np.ascontiguousarray(images[..., ::-1])] if protocol.is_flipped else [images]


def _logits(engine: Engine, images: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes): the class-score map of a dense head is averaged over its positions."""
    logits = class_logits(engine.run(images)["logits"], classes)
    return logits.mean(axis=(2, 3), dtype=np.float64) if logits.ndim == 4 else logits
