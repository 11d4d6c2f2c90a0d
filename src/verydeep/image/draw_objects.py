"""Objects drawn on their photo: boxes as outlines with the label, masks as half-transparent colours with a legend."""

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from verydeep.image.draw import PAPER, Colour, outline, readable_on, text_width, write

CARD_WIDTH = 400  # pixels
_TALLEST = 480  # pixels, of a photo on a card
_LETTERS = 15  # their size in pixels
_LINE = 22  # pixels from one line of the legend to the next
_MARGIN, _GAP, _SWATCH = 10, 14, 12
_LEGEND_LINES = 3
_MOST_NAMED = 100  # boxes of a photo that are labelled: more names than that cover it, and each seeks room among all
_FILLED = 0.5  # how much of a mask's colour covers the photo
_FAINT = (120, 128, 134)

# Colours that are told apart by most people on a photo: "20 simple, distinct colors" by Sasha Trubetskoy (2017),
# without black, white and grey, and without those that are hard to see as an outline.
_COLOURS: tuple[Colour, ...] = (
    (230, 25, 75), (60, 180, 75), (255, 225, 25), (0, 130, 200), (245, 130, 48), (145, 30, 180), (70, 240, 240),
    (240, 50, 230), (210, 245, 60), (250, 190, 212), (0, 128, 128), (220, 190, 255), (170, 110, 40), (128, 0, 0),
    (170, 255, 195), (128, 128, 0), (255, 215, 180), (0, 0, 128),
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """An object as it is to be drawn; with a mask the box is left out."""

    label: str
    box: tuple[float, float, float, float] | None = None  # left, top, right, bottom in pixels of the photo
    mask: np.ndarray | None = None  # (H, W) bool, of the photo's size


def class_colours(labels: Iterable[str]) -> dict[str, Colour]:
    """A colour for each label, which follows from its name; where two would share one, the later name gets the next.

    With more labels than there are colours, shades of them.
    """
    names = sorted(set(labels))
    shades = math.ceil(len(names) / len(_COLOURS))
    palette = [_shade(colour, number) for number in range(shades) for colour in _COLOURS]
    chosen: dict[int, str] = {}
    for name in names:
        place = int.from_bytes(hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=4).digest(), "big")
        place %= len(_COLOURS)
        while place % len(palette) in chosen:
            place += 1
        chosen[place % len(palette)] = name
    return {name: palette[place] for place, name in chosen.items()}


def object_card(
    image: np.ndarray,
    objects: Sequence[Drawn],
    colours: Mapping[str, Colour],
    caption: str = "",
    aside: str = "",
) -> Image.Image:
    """The photo with its objects, all cards of one width; below it the caption, and the labels of masks as a legend.

    image: (H, W, 3) uint8 RGB. colours: of the labels. aside: a word in faint ink at the caption's right.
    """
    photo = draw_objects(image, objects, colours, card_scale(image.shape[1], image.shape[0]))
    legend = _legend_lines(dict.fromkeys(one.label for one in objects if one.mask is not None))
    lines = bool(caption or aside) + len(legend)
    card = Image.new("RGB", (CARD_WIDTH, photo.height + (lines * _LINE + _MARGIN if lines else 0)), PAPER)
    card.paste(photo, ((CARD_WIDTH - photo.width) // 2, 0))
    draw = ImageDraw.Draw(card)
    middle = photo.height + _MARGIN / 2 + _LINE / 2
    if caption or aside:
        room = CARD_WIDTH - 2 * _MARGIN
        beside = text_width(aside, _LETTERS) if aside else 0
        write(draw, (_MARGIN, middle), caption, _LETTERS, room=room - beside - _GAP)
        write(draw, (CARD_WIDTH - _MARGIN - beside, middle), aside, _LETTERS, room=beside, colour=_FAINT)
        middle += _LINE
    for line in legend:
        _draw_legend(draw, line, middle, colours)
        middle += _LINE
    return card


def card_scale(width: int, height: int) -> float:
    """How much a photo of this size is enlarged or shrunk on its card."""
    return min(CARD_WIDTH / width, _TALLEST / height)


def draw_objects(
    image: np.ndarray, objects: Sequence[Drawn], colours: Mapping[str, Colour], scale: float = 1.0
) -> Image.Image:
    """The photo, (H, W, 3) uint8 RGB, enlarged or shrunk by `scale`, with the objects, the large ones below."""
    height, width = image.shape[:2]
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    photo = Image.fromarray(image)
    if photo.size != size:
        photo = photo.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)
    for one in sorted(objects, key=_area, reverse=True):
        if one.mask is not None:
            _tint(photo, one.mask, colours[one.label])
    _Boxes(photo, scale).draw([one for one in objects if one.mask is None and one.box], colours)
    return photo


class _Boxes:
    """Outlines, and their labels where these cover each other least."""

    def __init__(self, photo: Image.Image, scale: float) -> None:
        self.draw_on = ImageDraw.Draw(photo)
        self.width, self.height = photo.size
        self.scale = scale
        self.letters = min(_LETTERS, max(9, self.height // 12))
        self.taken: list[tuple[float, float, float, float]] = []  # by labels

    def draw(self, objects: Sequence[Drawn], colours: Mapping[str, Colour]) -> None:
        ordered = sorted(objects, key=_area, reverse=True)
        for one in ordered:
            outline(self.draw_on, self._edges(one), colours[one.label])
        for one in ordered[:_MOST_NAMED]:
            self._name(one, colours[one.label])

    def _edges(self, one: Drawn) -> tuple[float, float, float, float]:
        """Of its box in the picture, kept in sight."""
        assert one.box is not None
        left, top, right, bottom = (edge * self.scale for edge in one.box)
        last_x, last_y = self.width - 1, self.height - 1
        return (
            min(max(left, 0), last_x),
            min(max(top, 0), last_y),
            max(min(right, last_x), 0),
            max(min(bottom, last_y), 0),
        )

    def _name(self, one: Drawn, colour: Colour) -> None:
        left, top, right, bottom = self._edges(one)
        room = min(text_width(one.label, self.letters), self.width - 8.0)
        across, down = room + 8, self.letters + 5
        x = min(left, self.width - across)
        tries = [(x, top - down), (x, top), (x, bottom - down), (x, bottom), (max(0, right - across), top)]
        places = [(a, b, a + across, b + down) for a, b in tries if b >= 0 and b + down <= self.height]
        places = places or [(x, 0, x + across, down)]
        place = min(places, key=lambda spot: sum(_common(spot, other) for other in self.taken))  # the first of the best
        self.taken.append(place)
        self.draw_on.rectangle(place, fill=colour)
        write(
            self.draw_on,
            (place[0] + 4, (place[1] + place[3]) / 2),
            one.label,
            self.letters,
            room=room,
            colour=readable_on(colour),
        )


def _tint(photo: Image.Image, mask: np.ndarray, colour: Colour) -> None:
    """Half-transparent, with a whole outline."""
    cover = Image.fromarray(mask.astype(np.uint8) * 255).resize(photo.size, Image.Resampling.BILINEAR)
    photo.paste(colour, (0, 0, *photo.size), cover.point([round(_FILLED * value) for value in range(256)]))
    edge = ImageChops.subtract(cover, cover.filter(ImageFilter.MinFilter(3)))
    photo.paste(colour, (0, 0, *photo.size), edge)


def _legend_lines(labels: Iterable[str]) -> list[list[tuple[str, float, float]]]:
    """Lines of (label, x, room in pixels); what is too much is told by a number."""
    waiting = list(labels)
    lines: list[list[tuple[str, float, float]]] = []
    while waiting and len(lines) < _LEGEND_LINES:
        line: list[tuple[str, float, float]] = []
        x = float(_MARGIN)
        while waiting:
            room = min(text_width(waiting[0], _LETTERS), CARD_WIDTH / 2)
            if line and x + _SWATCH + 5 + room > CARD_WIDTH - _MARGIN:
                break
            line.append((waiting.pop(0), x, room))
            x += _SWATCH + 5 + room + _GAP
        lines.append(line)
    if waiting:
        lines[-1][-1] = (f"and {len(waiting) + 1} more", *lines[-1][-1][1:2], CARD_WIDTH - _MARGIN - lines[-1][-1][1])
    return lines


def _draw_legend(
    draw: ImageDraw.ImageDraw, line: Sequence[tuple[str, float, float]], middle: float, colours: Mapping[str, Colour]
) -> None:
    for label, x, room in line:
        if label not in colours:  # "and 3 more"
            write(draw, (x, middle), label, _LETTERS, room=room, colour=_FAINT)
            continue
        half = _SWATCH / 2
        draw.rectangle((x, middle - half, x + _SWATCH, middle + half), fill=colours[label], outline=_FAINT)
        write(draw, (x + _SWATCH + 5, middle), label, _LETTERS, room=room + 1)


def _shade(colour: Colour, number: int) -> Colour:
    """The colour itself, then darker and lighter ones in turns."""
    toward, share = ((0, 255)[number % 2 == 0], min(0.35, 0.35 * number) + min(0.25, 0.1 * (number // 2)))
    red, green, blue = (round(value + share * (toward - value)) for value in colour)
    return red, green, blue


def _area(one: Drawn) -> float:
    if one.mask is not None:
        return float(one.mask.sum())
    left, top, right, bottom = one.box or (0, 0, 0, 0)
    return (right - left) * (bottom - top)


def _common(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """The area that two rectangles share."""
    across = min(one[2], other[2]) - max(one[0], other[0])
    down = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, across) * max(0.0, down)
