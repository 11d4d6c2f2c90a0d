"""How the photos of a set become squares at the least cost: what each fit does to them, and a suggestion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles

from verydeep.image.draw_fits import TYPICAL, Cost, cost_of
from verydeep.nouns import FITS, Fit

_NEARLY_SQUARE = 1.6  # the longer side over the shorter: 3 x 2 is, 16 x 9 is not
_LONG = 2.0
_FEW = 0.1  # of the photos
_ALIKE = 1.25  # the width over the height of the widest photos, over that of the highest, a tenth left out at each end


@dataclass(frozen=True)
class FitCosts:
    """What each fit does to the photos, medians, and which of them suits their proportions."""

    cut: float  # away by a crop, the share of the photo
    filled: float  # up by a letterbox, the share of the square
    stretched: float  # by a squash, how many times as narrow or as flat
    suggested: Fit
    reason: str


def fit_costs(sizes: Sequence[tuple[int, int]]) -> FitCosts | None:
    """sizes: width and height of each photo. None: there is no photo.

    The suggestion is a rule of thumb about proportions, which says nothing of where things are in the photos.
    """
    if not sizes:
        return None
    costs = {name: [cost_of((height, width), replace(TYPICAL, fit=name)) for width, height in sizes] for name in FITS}
    suggested, reason = _suggestion([width / height for width, height in sizes])
    return FitCosts(
        cut=median(cost.cut for cost in costs["crop"]),
        filled=median(cost.filled for cost in costs["letterbox"]),
        stretched=median(_stretch(cost) for cost in costs["squash"]),
        suggested=suggested,
        reason=reason,
    )


def _suggestion(aspects: Sequence[float]) -> tuple[Fit, str]:
    """aspects: the width over the height of each photo."""
    lengths = [max(aspect, 1 / aspect) for aspect in aspects]
    middle, long = median(lengths), sum(length > _LONG for length in lengths) / len(lengths)
    if middle <= _NEARLY_SQUARE and long <= _FEW:
        return (
            "crop",
            f"half of the photos are at most {middle:.3g} times as long as wide, few over {_LONG:g}",
        )
    tenths = quantiles(aspects, n=10, method="inclusive") if len(aspects) > 1 else list(aspects)
    if tenths[-1] / tenths[0] <= _ALIKE and middle <= _LONG:
        return "squash", f"the photos are long, and alike: all become about {middle:.3g} times as narrow or as flat"
    if long > _FEW:
        return "letterbox", f"{long:.0%} of the photos are over {_LONG:g} times as long as wide"
    return "letterbox", f"the photos are long, half of them over {middle:.3g} times, and of several proportions"


def _stretch(cost: Cost) -> float:
    return max(cost.narrowed, 1 / cost.narrowed)
