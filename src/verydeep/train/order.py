"""Which photos each batch of a training shows."""

from collections.abc import Sequence

import numpy as np

from verydeep.data.class_batches import ClassBatches
from verydeep.data.loader import Order, Shuffled
from verydeep.errors import DatasetError
from verydeep.train.recipe import Recipe


def batch_order(recipe: Recipe, labels: Sequence[int]) -> Order:
    """Every photo once an epoch; where the loss compares photos, as many photos of each class in every batch.

    labels: of all training photos. Where there are too few classes for `photos_per_class`, a batch has all of them and
    more photos of each. Raises DatasetError where there is one class.
    """
    if not recipe.compares_photos:
        return Shuffled(len(labels), recipe.batch_size, recipe.seed)
    present = len(set(labels))
    if present < 2:
        raise DatasetError(
            f"all {len(labels)} photos are of one class; expected two or more, to be told apart.", "Add others."
        )
    classes = min(present, recipe.batch_size // recipe.photos_per_class)
    return ClassBatches(np.array(labels, np.int64), classes, recipe.batch_size // classes, recipe.seed)


def batch_in_words(recipe: Recipe, order: Order) -> str:
    """ "batch 64"; "batch 60: 6 photos of each of 10 classes" """
    if isinstance(order, ClassBatches):
        count = order.classes * order.photos
        return f"batch {count}: {order.photos} photos of each of {order.classes} classes"
    return f"batch {recipe.batch_size}"
