"""(Engine, photos, protocol) -> Report: how accurate a model is, and on what terms.

A protocol is what a photo goes through on its way to one row of posteriors. The same network differs by two points
of accuracy between protocols, so no figure is shown without its own.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from verydeep.data.datasets import Dataset
from verydeep.errors import DatasetError, ImageError, NonFiniteError, UsageError
from verydeep.evaluate.report import Report
from verydeep.image.decode import name_of
from verydeep.image.stream import Item, batches, stream
from verydeep.nouns import Engine, Failure, Preprocessing, StoredPhoto
from verydeep.outputs.classify import class_logits, posteriors
from verydeep.weights.files import ModelInfo

Inputs: TypeAlias = Callable[[Sequence[StoredPhoto], Preprocessing], Iterator[Item]]
"""Gives what `stream` gives of these photos."""


@dataclass(frozen=True)
class Protocol:
    """One way to evaluate."""

    description: str  # {resize} and {crop} stand for the model's, in pixels
    is_dense: bool = False  # the whole photo through the dense view, its class-score map averaged
    is_flipped: bool = False  # also the mirror image, the posteriors of the two averaged

    def describe(self, preprocessing: Preprocessing) -> str:
        return self.description.format(resize=preprocessing.resize, crop=preprocessing.crop)


PROTOCOLS: dict[str, Protocol] = {
    # what `predict` does
    "center": Protocol("centre crop {crop} of shorter side {resize}, bilinear, one crop"),
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
            _check_finite(views, dataset, positions)
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


def _views(images: np.ndarray, protocol: Protocol) -> list[np.ndarray]:
    return [images, np.ascontiguousarray(images[..., ::-1])] if protocol.is_flipped else [images]


def _logits(engine: Engine, images: np.ndarray, classes: int) -> np.ndarray:
    """(n, classes): the class-score map of a dense head is averaged over its positions."""
    logits = class_logits(engine.run(images)["logits"], classes)
    return logits.mean(axis=(2, 3), dtype=np.float64) if logits.ndim == 4 else logits


def _check_finite(views: list[np.ndarray], dataset: Dataset, positions: list[int]) -> None:
    for view in views:
        if not (is_finite := np.isfinite(view).all(axis=1)).all():
            raise NonFiniteError(
                f"the network gives NaN or infinity for {name_of(dataset.paths[positions[int(is_finite.argmin())]])}.",
                "In training: it diverged, lower the learning rate. Otherwise: run it with precision float32.",
            )
