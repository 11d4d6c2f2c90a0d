"""What a training watches for at every step: numbers that are not finite, losses that stick or jump, bad photos.

A guard finds and tells; loop.py decides whether the run stops, goes back or goes on.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from verydeep.data.reading import REPLACE, refusal_of_unreadable
from verydeep.errors import DatasetError, NonFiniteError, printable
from verydeep.train.precision import autocast
from verydeep.train.recipe import Recipe

MOST_ROLLBACKS = 3  # in a run: what three halvings of the learning rate do not cure, a fourth will not
WINDOW = 200  # steps: on small pictures, what starts slowly falls measurably within them
BLOCKS = 10  # of a window
RECENT = 8  # steps: a spike is noticed within them
SIGMAS = 5.0  # robust standard deviations above its usual place: a spike
_ROUNDING = 1e-6  # of a loss, which may seem to be less than the entropy that it equals
_LEAST_SPREAD = 1e-30  # of which a logarithm can be taken
_MOST_NAMED = 10  # unreadable photos that are named in an error

Parts = Sequence[tuple[Tensor, Tensor]]  # the images and targets of a step: one pair for each of its micro-batches


# Numbers that are not finite


def checked_loss(loss: Tensor, network: nn.Module) -> float:
    """The loss of a step whose gradients are there; NaN where it, a gradient or a batch-norm statistic is not finite.

    Also NaN where the norm of all gradients is beyond float32: no step could be made with them. Everything is read at
    once, so that a GPU is waited for once.
    """
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    statistics = [values for values in network.buffers() if values.is_floating_point()]
    return float(loss.detach() + 0 * get_total_norm([*gradients, *statistics]))  # 0 * inf is NaN


def find_nonfinite(
    network: nn.Module, optimizer: torch.optim.Optimizer, parts: Parts, loss: float, precision: str
) -> str:
    """What was not finite first in a step: "a pixel", "conv3_1.weight", "the output of conv4_3", "the gradient of ...".

    Layers are called as in the literature. Call it with gradients, torch's random numbers and batch norm's statistics
    as they were in the step, the last two before it: the forward pass is repeated. It leaves the statistics alone.
    """
    suspects = _suspects(network, optimizer, parts, loss, precision)
    return next((what for what, is_fine in suspects if not is_fine), "the norm of all gradients together")


def nonfinite_error(  # noqa: PLR0917, where a step was
    what: str, recipe: Recipe, precision: str, step: int, epoch: int, rate: float
) -> NonFiniteError:
    """The error of a step at which `find_nonfinite` found `what`. step, epoch: counted from 0. rate: of learning."""
    remedies = _calming(recipe) + (["--set precision=float32"] if precision != "float32" else [])
    return NonFiniteError(
        f"{what} is not finite at step {step + 1:,} (epoch {epoch + 1}, learning rate {rate:.3g}); expected a number.",
        "Nothing of this step was kept. Train anew with " + ", or ".join(remedies) + ".",
    )


def _calming(recipe: Recipe) -> list[str]:
    """What keeps a training from diverging, the most likely first."""
    return [
        f"a lower learning rate, --set learning_rate={recipe.learning_rate / 4:.3g}",
        *([] if recipe.batch_norm else ["batch norm, --set batch_norm=true"]),
        "a longer warm-up, --set warmup_epochs=...",
    ]


def rate_factor(rollbacks: int) -> float:
    """What multiplies the learning rate of a run that went back `rollbacks` times: half each time."""
    return float(0.5**rollbacks)


def check_saveable(arrays: Mapping[str, Tensor | np.ndarray]) -> None:
    """Raises NonFiniteError where a number to be saved is not finite."""
    for name, values in arrays.items():
        if not _is_finite(torch.as_tensor(values)):
            raise NonFiniteError(
                f"{name} holds a number that is not finite; expected finite ones only, so nothing was saved.",
                "Go on from what was saved before, --resume, or train anew with a lower learning rate.",
            )


class KeptBuffers:
    """A network's batch-norm statistics before a step, which changes them: for one that is given up."""

    def __init__(self, network: nn.Module) -> None:
        self._buffers = list(network.buffers())
        self._copies = [values.clone() for values in self._buffers]

    def restore(self) -> None:
        """Puts them back."""
        for values, copy in zip(self._buffers, self._copies, strict=True):
            values.copy_(copy)


def _suspects(
    network: nn.Module, optimizer: torch.optim.Optimizer, parts: Parts, loss: float, precision: str
) -> Iterator[tuple[str, bool]]:
    """What a step computes with, and whether it is finite, in the order in which one comes from the other."""
    for images, targets in parts:
        yield "a pixel of the batch", _is_finite(images)
        yield "a target of the batch", _is_finite(targets)
    for name, parameter in network.named_parameters():
        momentum = optimizer.state[parameter].get("momentum_buffer")  # it made the weight what it is
        yield f"the momentum of {name}", momentum is None or _is_finite(momentum)
    for name, values in network.state_dict().items():
        yield name, _is_finite(values)
    yield from _forward(network, parts, precision)
    yield "the loss", math.isfinite(loss)
    for name, parameter in reversed(list(network.named_parameters())):
        yield f"the gradient of {name}", parameter.grad is None or _is_finite(parameter.grad)


def _forward(network: nn.Module, parts: Parts, precision: str) -> list[tuple[str, bool]]:
    """The output of each layer of weights in a forward pass, and the statistics that it leaves."""
    found: list[tuple[str, bool]] = []

    def note(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        return lambda _module, _inputs, output: found.append((f"the output of {name}", _is_finite(output)))

    before = KeptBuffers(network)
    hooks = [module.register_forward_hook(note(name)) for name, module in network.named_children()]
    try:
        for images, _ in parts:
            with torch.no_grad(), autocast(images.device, precision):
                network(images)
        found += [(name, _is_finite(values)) for name, values in network.named_buffers()]
    finally:
        before.restore()
        for hook in hooks:
            hook.remove()
    return found


def _is_finite(values: Tensor) -> bool:
    """Whether all of them are. One pass and no copy, unlike isfinite: what is not finite is a minimum or a maximum."""
    if not values.numel():
        return True
    low, high = torch.aminmax(values.detach())
    return bool(torch.isfinite(low) & torch.isfinite(high))


# A loss that is stuck


def prior_entropy(counts: Sequence[int], label_smoothing: float) -> float:
    """The loss of the best answer that does not look at the photo: the frequencies of the classes, smoothed as targets.

    counts: photos of each class. ln(classes) where they are equally many. Mixing photos changes nothing of it: the
    targets' mean stays.
    """
    shares = np.asarray(counts) / sum(counts)
    targets = (1 - label_smoothing) * shares + label_smoothing / len(shares)
    return float(-np.sum(targets * np.log(np.maximum(targets, np.finfo(float).tiny))))


class StuckLoss:
    """Notices a network that learns nothing: its loss stays where it is without looking at the photos.

    The last steps (a window of WINDOW steps, or an epoch where that is longer) are averaged in BLOCKS blocks, which are
    nearly independent of each other and tell how much is chance. It is stuck where all of these hold:

    - the mean loss is not below that of the classes' frequencies, by three standard errors. Whatever a network learns
      brings it below: over all the photos, no answer that ignores the photo can be.
    - the line through the losses does not fall, by two standard errors of its slope: so a slow start is left alone.
    - the line through the logarithms of the spread of the answers does not rise, in the same way. A deep network
      without batch norm may sit at that loss for hundreds of steps, while the share of the photo in its answers grows
      from next to nothing, by the same factor in each step: it takes off in the end. A stuck one answers all alike.

    There is no verdict before the warm-up is over and a window has passed since.
    """

    def __init__(self, recipe: Recipe, counts: Sequence[int], *, is_balanced: bool = False) -> None:
        """counts: training photos of each class. is_balanced: classes count alike, whatever their photos."""
        epoch = -(-sum(counts) // recipe.batch_size)  # steps
        self._recipe = recipe
        self._entropy = prior_entropy([1] * len(counts) if is_balanced else counts, recipe.label_smoothing)
        self._to_skip = math.ceil(recipe.warmup_epochs * epoch)
        self._block = -(-max(WINDOW, epoch) // BLOCKS)
        self._losses: deque[float] = deque(maxlen=BLOCKS * self._block)
        self._spreads: deque[float] = deque(maxlen=BLOCKS * self._block)
        self._seen = 0
        self._is_told = False

    def add(self, loss: float, spread: float | None = None) -> str | None:
        """Takes the next step. Returns what to tell, once, where the training is stuck.

        spread: how much the answers differ between the photos, see `spread_of`; None: only the loss decides.
        """
        self._seen += 1
        if self._is_told or self._seen <= self._to_skip:
            return None
        self._losses.append(loss)
        self._spreads.append(0.0 if spread is None else math.log(max(spread, _LEAST_SPREAD)))
        if len(self._losses) < BLOCKS * self._block or self._seen % self._block:
            return None
        losses, spreads = (
            np.reshape(values, (BLOCKS, self._block)).mean(axis=1) for values in (self._losses, self._spreads)
        )
        self._is_told = not (is_below(losses, self._entropy) or rises(-losses) or rises(spreads))
        return self._advice() if self._is_told else None

    def _advice(self) -> str:
        recipe = self._recipe
        remedies = [] if recipe.batch_norm else ["batch norm, --set batch_norm=true"]
        if recipe.initialization == "paper":
            remedies += ["another start, --set initialization=he or glorot"]
        remedies += ["another learning rate: `verydeep train --find-lr` looks for one", "a longer warm-up"]
        return (
            f"the loss has been {np.mean(self._losses):.3f} for {len(self._losses)} steps and does not fall. A network "
            f"that never looks at the photos reaches {self._entropy:.3f}: this one may be stuck. What helps, the most "
            f"likely first: {'; '.join(remedies)}."
        )


def spread_of(logits: Tensor) -> Tensor:
    """How much the answers differ between the photos of a batch: the standard deviation, averaged over the classes.

    logits: (n, classes). Returns a scalar, 0 for a single photo.
    """
    return logits.detach().float().std(dim=0, correction=0).mean()


def is_below(blocks: np.ndarray, entropy: float) -> bool:
    """Whether mean losses, each of as many steps, lie below `prior_entropy` by three standard errors."""
    return bool(blocks.mean() < entropy - 3 * blocks.std(ddof=1) / math.sqrt(len(blocks)) - _ROUNDING)


def rises(blocks: np.ndarray) -> bool:
    """Whether the line through values at equal distances rises by two standard errors of its slope."""
    places = np.arange(len(blocks)) - (len(blocks) - 1) / 2
    slope = places @ blocks / (places @ places)
    residuals = blocks - blocks.mean() - slope * places
    error = math.sqrt(residuals @ residuals / (len(blocks) - 2) / (places @ places))
    return bool(slope > 2 * error + _ROUNDING / len(blocks))


# A loss that jumps


class LossSpike:
    """Notices a loss that jumps, as it does where a step was too long and has thrown the weights off their way.

    The last RECENT steps are compared with the WINDOW steps before them. It is a spike where both of these hold:

    - their mean is more than SIGMAS standard deviations above the median of the window. Mean with mean: both are of
      the means of RECENT steps, and the deviation is the robust one, from the median distance to the median.
    - each of them is among the highest tenth of the window. So neither one odd batch is a spike, nor a row of mixed
      ones among plain ones, whose losses have two heights. In losses that come in random order, whatever their
      distribution, that happens by chance in 3 of 10^8 steps: C(27, 8) / C(208, 8).

    There is no verdict before a window has passed, nor before another has where the pictures grow: there the loss jumps
    by itself. While a spike lasts its losses stay out of the window. Where the loss never falls back, the window stays
    as it was, and no later jump is told.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._usual: deque[float] = deque(maxlen=WINDOW)
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._over_at: float | None = None  # the mean at which the spike is over that lasts now
        self._size = 0  # of the pictures of these losses

    def add(self, step: int, loss: float, size: int) -> str | None:
        """Takes the loss of a step, counted from 0. Returns what to tell where a spike is noticed, once for each.

        size: the side of the step's pictures, in pixels.
        """
        if size != self._size:
            self._size, self._over_at = size, None
            self._usual.clear()
            self._recent.clear()
        if self._over_at is None and len(self._recent) == RECENT:
            self._usual.append(self._recent[0])
        self._recent.append(loss)
        mean = float(np.mean(self._recent))
        if self._over_at is not None:
            if mean <= self._over_at:
                self._over_at = None
                self._recent.clear()  # the spike's last steps are not usual
            return None
        if len(self._usual) < WINDOW or len(self._recent) < RECENT:
            return None
        if min(self._recent) <= sorted(self._usual)[-(WINDOW // 10)]:
            return None
        usual, sigma = robust_statistics(np.reshape(self._usual, (-1, RECENT)).mean(axis=1))
        rise = SIGMAS * max(sigma, _ROUNDING)
        if mean <= usual + rise:
            return None
        self._over_at = usual + rise / 2  # not as soon as it shakes about the limit
        return (
            f"the loss has jumped at step {step + 1:,}: {mean:.3f} in the last {RECENT} steps, usually {usual:.3f}. "
            f"Where it does not fall back, or jumps again, train anew with {', or '.join(_calming(self._recipe))}."
        )


def robust_statistics(values: np.ndarray) -> tuple[float, float]:
    """The median, and the standard deviation as the median distance to it tells it: odd values change neither."""
    middle = float(np.median(values))
    return middle, 1.4826 * float(np.median(np.abs(values - middle)))  # 1.4826 = 1 / 0.6745, the normal's quartile


# Photos that cannot be read


class Unreadable:
    """The photos that could not be read, each told once."""

    def __init__(self, photos: int, known: Mapping[str, str] | None = None, *, what: str = "photos") -> None:
        """photos: how many there are in all. known: from before a restart, as `known`. what: to call them."""
        self._photos, self._what = photos, what
        self._known = {int(position): message for position, message in (known or {}).items()}

    @property
    def known(self) -> dict[str, str]:
        """The position of each so far in the data set, in digits, and what is wrong with it: to be saved as JSON.

        By position, since what is said names a path, and a run may go on with its photos in another place.
        """
        return {str(position): message for position, message in sorted(self._known.items())}

    def note(self, failures: Mapping[int, str]) -> list[str]:
        """Takes what is wrong with photos, by their positions, and returns what is said of new ones."""
        new = {position: message for position, message in failures.items() if position not in self._known}
        self._known.update(new)
        return list(new.values())

    def check(self) -> None:
        """Raises DatasetError where they are too many."""
        refusal = refusal_of_unreadable(len(self._known), self._photos, self._what)
        if refusal is None:
            return
        named = [f"({number}) {text}" for number, text in enumerate(list(self.known.values())[:_MOST_NAMED], start=1)]
        more = len(self._known) - len(named)
        raise DatasetError(
            f"{refusal}: {printable(' '.join(named))}{f' and {more} more.' if more else ''}",
            REPLACE,
        )
