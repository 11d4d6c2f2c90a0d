"""A segmented photo for people: each class in a colour of its own, half-transparent, with a legend below."""

import math
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw

from verydeep.errors import UsageError
from verydeep.image.draw import INK, NARROWEST, PAPER, Colour, photo_scale, text_width, write
from verydeep.image.draw_objects import Drawn, class_colours, draw_objects
from verydeep.nouns import ClassShare, SegmentationPrediction

_FAINT = (120, 128, 134)
_MOST_NAMED = 30  # classes in the legend
_MOST_NUMBERS = 256  # that a pixel of 8 bits can hold


def annotate_segments(
    image: np.ndarray, prediction: SegmentationPrediction, colours: Mapping[str, Colour] | None = None
) -> Image.Image:
    """The photo as a card: its classes as colours, each with an outline, and below it whose colour is whose.

    image: (H, W, 3) uint8 RGB, of the prediction's size; it is shown whole, its longer side 480 to 1280 pixels.
    colours: of the names, by default as `class_colours` gives them. Classes without a pixel are not in the legend.
    """
    colours = colours or class_colours(prediction.names)
    there = [Drawn(share.label, mask=prediction.mask(share.label)) for share in prediction.shares]
    photo = draw_objects(image, there, colours, photo_scale(image.shape[1], image.shape[0]))
    width = max(photo.width, NARROWEST)
    letters = min(max(width // 40, 14), 24)  # their size in pixels
    legend = _legend(prediction.shares, colours, width, letters)
    card = Image.new("RGB", (width, photo.height + legend.height), PAPER)
    card.paste(photo, ((width - photo.width) // 2, 0))
    card.paste(legend, (0, photo.height))
    return card


def palette_mask(prediction: SegmentationPrediction, colours: Mapping[str, Colour] | None = None) -> Image.Image:
    """The number of each pixel's class, its position in the model's classes, as a picture with a palette.

    colours: as for `annotate_segments`, the palette. Raises UsageError where the model has more than 256 classes.
    """
    if len(prediction.names) > _MOST_NUMBERS:
        raise UsageError(
            f"a mask has {_MOST_NUMBERS} numbers at most, and the model {len(prediction.names)} classes.",
            "Take the classes of the pixels in Python: verydeep.predict.Segmenter.",
        )
    colours = colours or class_colours(prediction.names)
    mask = Image.fromarray(prediction.classes.astype(np.uint8))
    mask.putpalette([part for name in prediction.names for part in colours[name]])
    return mask


def _legend(shares: tuple[ClassShare, ...], colours: Mapping[str, Colour], width: int, letters: int) -> Image.Image:
    """The largest class first, in as many columns of one width as there is room for."""
    shown = shares[:_MOST_NAMED]
    margin, swatch, gap, line = letters, letters, letters // 2, round(1.7 * letters)
    number = text_width("100.0 %", letters)
    longest = max(text_width(share.label, letters) for share in shown)
    room = width - 2 * margin
    cell = min(room, swatch + gap + longest + gap + number + 2 * gap)
    columns = min(len(shown), max(1, int(room // cell)))
    rows = math.ceil(len(shown) / columns)
    more = len(shares) - len(shown)
    picture = Image.new("RGB", (width, (rows + bool(more)) * line + margin), PAPER)
    draw = ImageDraw.Draw(picture)
    for place, share in enumerate(shown):
        left, middle = margin + place // rows * (room / columns), margin / 2 + (place % rows + 0.5) * line
        end = left + cell - 2 * gap
        half = swatch / 2
        draw.rounded_rectangle(
            (left, middle - half, left + swatch, middle + half), letters // 5, colours[share.label], outline=_FAINT
        )
        text = left + swatch + gap
        write(draw, (text, middle), share.label, letters, room=end - number - gap - text + 1, colour=INK)
        value = _per_cent(share.share)
        write(draw, (end - text_width(value, letters), middle), value, letters, room=number + 1, colour=_FAINT)
    if more:
        write(draw, (margin, margin / 2 + (rows + 0.5) * line), f"and {more} more", letters, room=room, colour=_FAINT)
    return picture


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.0005 else "< 0.1 %"
