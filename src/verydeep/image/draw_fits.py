"""The ways in which a photo becomes a square, beside each other: what each costs it, in numbers and to be seen."""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw

from verydeep.image.draw import PAPER, outline, write
from verydeep.image.preprocess import crop_box, fit
from verydeep.nouns import FITS, Preprocessing

TYPICAL = Preprocessing(resize=256, crop=224)  # the paper's; the other recipes crop seven eighths, too
_GAP, _LINE, _LETTERS = 12, 26, 15  # pixels
_OUTLINE = (129, 199, 132)


@dataclass(frozen=True)
class Cost:
    """What becomes of a photo on its way to a square."""

    cut: float  # the share of the photo that is not in the square
    filled: float  # the share of the square that is not of the photo
    narrowed: float  # how much narrower it is than in the photo; below 1: how much flatter

    @property
    def in_words(self) -> str:
        """ "49 % cut away", "33 % filled up", "1.5 times as narrow" or, where it costs nothing, "as it is"."""
        if self.cut > 0.005:
            return f"{self.cut:.0%} cut away".replace("%", " %")
        if self.filled > 0.005:
            return f"{self.filled:.0%} filled up".replace("%", " %")
        stretch = max(self.narrowed, 1 / self.narrowed)
        return f"{stretch:.3g} times as {'narrow' if self.narrowed > 1 else 'flat'}" if stretch > 1.005 else "as it is"


def cost_of(shape: tuple[int, ...], preprocessing: Preprocessing) -> Cost:
    """Of a photo of (height, width, ...)."""
    height, width = shape[:2]
    left, top, right, bottom = crop_box(shape, preprocessing)
    shown = (min(right, width) - max(left, 0)) * (min(bottom, height) - max(top, 0))
    narrowed = (right - left) / (bottom - top)
    return Cost(1 - shown / (width * height), 1 - shown / ((right - left) * (bottom - top)), narrowed)


def fit_card(photo: np.ndarray, size: tuple[int, int] | None = None) -> Image.Image:
    """The photo with its central crop outlined, and beside it the square that each fit makes, with what it costs.

    photo: (H, W, 3) uint8 RGB. size: its height and width before it was reduced.
    """
    height, width = size or photo.shape[:2]
    squares = [replace(TYPICAL, fit=name) for name in FITS]
    tiles = [(_outlined(photo), f"the photo, {width} x {height}")]
    for way in squares:
        tiles.append((Image.fromarray(fit(photo, way)), f"{way.fit}: {cost_of((height, width), way).in_words}"))
    side = TYPICAL.crop
    card = Image.new("RGB", (len(tiles) * (side + _GAP) + _GAP, side + _GAP + _LINE), PAPER)
    draw = ImageDraw.Draw(card)
    for number, (tile, caption) in enumerate(tiles):
        left = _GAP + number * (side + _GAP)
        card.paste(tile, (left + (side - tile.width) // 2, _GAP + (side - tile.height) // 2))
        write(draw, (left, side + _GAP + _LINE / 2), caption, _LETTERS, room=side)
    return card


def _outlined(photo: np.ndarray) -> Image.Image:
    """The photo, its longer side as long as a square's, with an outline of what the central crop keeps."""
    scale = TYPICAL.crop / max(photo.shape[:2])
    size = (max(1, round(photo.shape[1] * scale)), max(1, round(photo.shape[0] * scale)))
    small = Image.fromarray(photo).resize(size, Image.Resampling.LANCZOS)
    left, top, right, bottom = crop_box(photo.shape, TYPICAL)
    outline(ImageDraw.Draw(small), (left * scale, top * scale, right * scale - 1, bottom * scale - 1), _OUTLINE)
    return small
