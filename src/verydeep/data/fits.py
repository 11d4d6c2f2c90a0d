"""How the photos of a set become squares at the least cost: what each fit does to them, and a suggestion."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median, quantiles

from verydeep.image.draw_fits import TYPICAL, Cost, cost_of
from verydeep.nouns import FITS, Fit

_SQUARE = 1.05  # the longer side over the shorter
_SHORT = 1.6  # 3 x 2 is, and 16 x 9 is not
_LONG = 2.0
_FEW = 0.1  # of the photos, and of the objects
_SEEN = 0.5  # of an object: of which a crop shows less, it has lost
_ALIKE = 1.25  # the width over the height of the widest photos, over that of the highest, a tenth left out at each end


@dataclass(frozen=True)
class FitCosts:
    """What each fit does to the photos, medians, and which of them suits these."""

    cut: float  # away by a crop, the share of the photo
    filled: float  # up by a letterbox, the share of the square
    stretched: float  # by a squash, how many times as narrow or as flat
    lost_objects: float | None  # the share of the boxes of which a crop shows less than half; None: there are no boxes
    suggested: Fit
    reason: str


def fit_costs(sizes: Sequence[tuple[int, int]], shown: Sequence[float] = ()) -> FitCosts | None:
    """sizes: width and height of each photo. shown: by a crop, the share of each object's box. None: there is no photo.

    The suggestion is a rule of thumb about proportions, which says nothing of where things are that have no box.
    """
    if not sizes:
        return None
    costs = {name: [cost_of((height, width), replace(TYPICAL, fit=name)) for width, height in sizes] for name in FITS}
    lost = sum(share < _SEEN for share in shown) / len(shown) if shown else None
    suggested, reason = _suggestion([width / height for width, height in sizes], lost or 0.0)
    return FitCosts(
        cut=median(cost.cut for cost in costs["crop"]),
        filled=median(cost.filled for cost in costs["letterbox"]),
        stretched=median(_stretch(cost) for cost in costs["squash"]),
        lost_objects=lost,
        suggested=suggested,
        reason=reason,
    )


def _suggestion(aspects: Sequence[float], lost: float) -> tuple[Fit, str]:
    """aspects: the width over the height of each photo. lost: the share of the objects that a crop loses."""
    lengths = [max(aspect, 1 / aspect) for aspect in aspects]
    middle, long = median(lengths), sum(length > _LONG for length in lengths) / len(lengths)
    if middle <= _SHORT and long <= _FEW and lost <= _FEW:
        if middle <= _SQUARE:
            return "crop", "most photos are nearly square"
        return "crop", f"half of the photos are at most {middle:.3g} times as long as wide, few over {_LONG:g}"
    tenths = quantiles(aspects, n=10, method="inclusive") if len(aspects) > 1 else list(aspects)
    why = f"a crop loses {lost:.0%} of the objects" if lost > _FEW else "the photos are long"
    if tenths[-1] / tenths[0] <= _ALIKE and middle <= _LONG:
        return "squash", f"{why}, and the photos are alike: all become about {middle:.3g} times as narrow or as flat"
    if lost > _FEW:
        return "letterbox", f"{why}, and the photos have several proportions"
    if long > _FEW:
        return "letterbox", f"{long:.0%} of the photos are over {_LONG:g} times as long as wide"
    return "letterbox", f"the photos are long, half of them over {middle:.3g} times, and of several proportions"


def _stretch(cost: Cost) -> float:
    return max(cost.narrowed, 1 / cost.narrowed)
