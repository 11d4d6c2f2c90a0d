"""Which learning rate suits: a short training whose rate rises from step to step (Smith 2017, section 3.3)."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from verydeep.data.cache import PhotoCache
from verydeep.data.datasets import Splits
from verydeep.data.loader import batch_random, load_batches
from verydeep.errors import NonFiniteError, TrainingError
from verydeep.train.checkpoint import State
from verydeep.train.interrupt import Interruption
from verydeep.train.order import batch_order
from verydeep.train.recipe import Recipe
from verydeep.train.step import learn_batch

_LOWEST, _HIGHEST = 1e-5, 10.0
_SMOOTHING = 0.9  # of the loss, an exponential average without its bias
_BLOWN_UP = 2.0  # times the lowest loss: the rate is too high by then
_MARGIN = 4.0  # below the rate at which the loss was lowest: there it is about to rise
_LEARNT = 0.05  # of the first loss: where so little is left, hardly a rate makes it rise, and the lowest tells nothing


@dataclass(frozen=True)
class RateSearch:
    """The smoothed loss at each learning rate, and the rate to train with."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return asdict(self)


def find_rate(
    recipe: Recipe,
    splits: Splits,
    state: State,
    cache: PhotoCache | None,
    *,
    steps: int = 100,
    on_step: Callable[[int, int], None] = lambda done, steps: None,
) -> RateSearch:
    """Trains for `steps` steps, the rate from 1e-5 to 10. state: of `begin`; it is worthless afterwards.

    All of them are on pictures of the full size, also where those of the recipe begin smaller.

    Raises TrainingError where no rate makes the loss fall.
    """
    batches = load_batches(
        splits.training,
        [recipe.augmentation] * steps,  # an epoch has a step at least
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        start=(0, 0),
        order=batch_order(recipe, splits.training.labels),
        cache=cache,
    )
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    for step, rate in enumerate(np.geomspace(_LOWEST, _HIGHEST, steps)):
        random = batch_random(recipe.seed, 0, step)
        try:
            learn_batch(state, next(batches), recipe, rate=float(rate), random=random, interruption=Interruption())
        except NonFiniteError:
            break
        average = _SMOOTHING * average + (1 - _SMOOTHING) * state.progress.losses[-1]
        rates.append(float(rate))
        losses.append(average / (1 - _SMOOTHING ** (step + 1)))
        on_step(step + 1, steps)
        if losses[-1] > _BLOWN_UP * min(losses):
            break
    return RateSearch(tuple(rates), tuple(losses), suggest(rates, losses))


def suggest(rates: list[float], losses: list[float]) -> float:
    """A quarter of the rate at which the loss was lowest, or first next to nothing, to two digits.

    Raises TrainingError where it never fell.
    """
    if not losses or min(losses) > 0.98 * losses[0]:
        raise TrainingError(
            f"the loss did not fall at any learning rate from {_LOWEST:g} to {_HIGHEST:g}.",
            "Look whether the photos are in the right class folders; without batch norm try --set batch_norm=true.",
        )
    is_lowest = np.asarray(losses) <= max(min(losses), _LEARNT * losses[0])
    rate = rates[int(np.argmax(is_lowest))] / _MARGIN
    digits = 1 - math.floor(math.log10(rate))
    return round(rate, digits)
