"""What the curve of a run's score says: whether more epochs would help. For tasks whose score is no share of photos."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from verydeep.train.recipe import Recipe
from verydeep.train.tasks import Rows, Task

LAST_PART = 0.2  # of the epochs: the end of a run
FEWEST_EPOCHS = 5  # under it, the end of the run is most of it
GAIN = 0.01  # in the last part: less comes and goes between two epochs
MUCH_BELOW = 0.7  # of the validation loss: a training loss below it is of photos known by heart


def trend(
    metrics: Rows, task: Task[Any], recipe: Recipe, *, is_fine_tuned: bool, are_losses_alike: bool = True
) -> Iterator[str]:
    """Was it still improving, and does it know its photos by heart? Sentences.

    is_fine_tuned: whether it began from a trained model, whose network is not to be changed. are_losses_alike: whether
    training and validation have the same loss, so that the two can be compared.
    """
    if not metrics:
        yield "How the training went was not recorded."
        return
    scores = [row[f"validation_{task.metric}"] for row in metrics]
    longer = f"`--set epochs={2 * recipe.epochs}`"
    if len(metrics) < FEWEST_EPOCHS:
        yield f"After {len(metrics)} epochs it is too early to see where it goes; try {longer}."
        return
    count = max(2, round(LAST_PART * len(scores)))
    gain = float(np.mean(scores[-count:]) - np.mean(scores[-2 * count : -count]))
    told = f"over the last {2 * count} epochs validation {task.metric_in_words} changed by {100 * gain:+.1f} points"
    if gain > GAIN:
        yield f"It was still improving: {told}. Try {longer}."
    elif gain < -GAIN:
        best = int(np.argmax(scores)) + 1
        yield f"It was getting worse: {told}; it was best after epoch {best}. Try `--set epochs={best}`."
    else:
        yield f"It had levelled off: {told}."
    last = metrics[-1]
    if are_losses_alike and recipe.class_weights == "none" and last["loss"] < MUCH_BELOW * last["validation_loss"]:
        narrower = "" if is_fine_tuned else f", or a narrower network, `--set width={recipe.width / 2:g}`"
        yield (
            f"Overfitting: the training loss ended at {last['loss']:.2f}, that of validation at "
            f"{last['validation_loss']:.2f}. More annotated photos would help most{narrower}."
        )
