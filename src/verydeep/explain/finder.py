"""Boxes of activation for an evaluation: what a classifier that has learnt no boxes is worth as a localiser."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from verydeep.errors import ImageError
from verydeep.evaluate.localization import Finder, Found, answers
from verydeep.explain.boxes import SHARE, activation_box, needed_outputs
from verydeep.explain.explanation import subject_of
from verydeep.image.preprocess import crop_box
from verydeep.nouns import StoredPhoto
from verydeep.outputs import class_logits, posteriors
from verydeep.outputs.boxes import clip, to_region
from verydeep.runtime import OpenedModel


def activation_finder(
    model: OpenedModel, *, share: float = SHARE, batch_size: int = 32, threads: int | None = None
) -> Finder:
    """Of each photo the classes, and of each class its box of activation: one window, the square that it becomes."""
    info, subject, names = model.info, subject_of(model), needed_outputs(model.info.architecture)
    classes = len(info.classes)

    def find(paths: Sequence[StoredPhoto]) -> Iterator[Found | ImageError]:
        run = partial(model.engine.run, outputs=names)
        for one in answers(run, paths, info.preprocessing, batch_size=batch_size, threads=threads):
            if isinstance(one, ImageError):
                yield one
                continue
            boxes = [activation_box(subject, one.values, number, one.shape, share) for number in range(classes)]
            region = np.array(crop_box(one.size, info.preprocessing))
            logits = class_logits(one.values["logits"][np.newaxis], classes)
            found = posteriors(logits, info.calibration.temperature)
            placed = clip(to_region(np.stack(boxes), region), one.size)
            yield Found(one.size, found[0], region[np.newaxis], placed[np.newaxis], found)

    return find
