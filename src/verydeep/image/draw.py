"""Pictures for people: a photo with its classes below it, many such cards on one sheet, and a first layer's kernels."""

import base64
import io
import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from verydeep.nouns import Prediction

SHOWN = 5  # classes on a card at most

Colour: TypeAlias = tuple[int, int, int]
_Font: TypeAlias = ImageFont.FreeTypeFont | ImageFont.ImageFont

_PHOTO_SIDE = (480, 1280)  # pixels: a smaller photo is enlarged, a larger one shrunk, by its longer side
NARROWEST = 360  # pixels; a narrower photo stands in the middle of its card
PAPER, INK, TRACK = (255, 255, 255), (33, 37, 41), (236, 239, 241)
_BEST, _OTHER = (129, 199, 132), (187, 222, 251)  # the bars: green for the answer, blue for the others
_DOUBT, _DOUBTED = (255, 213, 79), (207, 216, 220)  # where it may be none of the classes: a yellow line, grey bars

# Fonts that many machines have and that know more scripts than the one in Pillow, which knows unaccented Latin only.
_WIDE_FONTS = (
    "DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "wqy-zenhei.ttc",  # Linux
    "Arial Unicode.ttf", "PingFang.ttc",  # macOS
    "arial.ttf", "msyh.ttc", "msgothic.ttc", "malgun.ttf",  # Windows
)  # fmt: skip


class _Row(NamedTuple):
    """A line of a card: a bar with the label over it, and the value beside it."""

    label: str
    value: str
    share: float  # of the bar's full length, 0 to 1
    colour: Colour


def annotate(image: np.ndarray, prediction: Prediction) -> Image.Image:
    """The photo as a card: below it the best classes with their probabilities as bars, and a line where it is unknown.

    The box of the best class, if it has one, is drawn on the photo. image: (H, W, 3) uint8 RGB of any size, upright; it
    is shown whole, its longer side 480 to 1280 pixels.
    """
    photo = _scaled(Image.fromarray(image))
    if prediction.box is not None:
        across, down = photo.width / image.shape[1], photo.height / image.shape[0]
        left, top, right, bottom = prediction.box
        edges = (left * across, top * down, right * across - 1, bottom * down - 1)
        outline(ImageDraw.Draw(photo), edges, _BEST if prediction.is_known else _DOUBT)
    width = max(photo.width, NARROWEST)
    letters = min(max(width // 28, 15), 30)  # their size in pixels
    height, margin, gap = round(1.7 * letters), round(0.6 * letters), round(0.3 * letters)
    rows = _rows(prediction)
    card = Image.new("RGB", (width, photo.height + len(rows) * (height + gap) - gap + 2 * margin), PAPER)
    card.paste(photo, ((width - photo.width) // 2, 0))
    draw = ImageDraw.Draw(card)
    for number, row in enumerate(rows):
        top = photo.height + margin + number * (height + gap)
        _draw_row(draw, (margin, top, width - margin, top + height), row, letters)
    return card


def outline(draw: ImageDraw.ImageDraw, edges: tuple[float, float, float, float], colour: Colour) -> None:
    """A rectangle with a dark or light line on either side, so that it is seen on any photo.

    edges: left, top, right, bottom in pixels of the picture. Nothing is drawn where they enclose nothing.
    """
    left, top, right, bottom = edges
    if right < left or bottom < top:
        return
    draw.rectangle((left - 1, top - 1, right + 1, bottom + 1), outline=readable_on(colour), width=4)
    draw.rectangle((left, top, right, bottom), outline=colour, width=2)


def readable_on(colour: Colour) -> Colour:
    """Dark or light letters, by the luminance of ITU-R 601."""
    return INK if np.dot(colour, (0.299, 0.587, 0.114)) > 130 else PAPER


def contact_sheet(cards: Sequence[Image.Image], columns: int = 0) -> Image.Image:
    """The cards on one sheet, all as wide as the narrowest, each in the column that is shortest so far.

    cards: at least one. columns: 0 for about as many as there are rows.
    """
    columns = min(columns or math.ceil(math.sqrt(len(cards))), len(cards))
    width = min(card.width for card in cards)
    gap = width // 40
    ends, places = [gap] * columns, []
    for card in cards:
        height = round(card.height * width / card.width)
        column = ends.index(min(ends))
        places.append((gap + column * (width + gap), ends[column], height))
        ends[column] += height + gap
    sheet = Image.new("RGB", (columns * (width + gap) + gap, max(ends)), TRACK)
    for card, (left, top, height) in zip(cards, places, strict=True):
        sheet.paste(card.resize((width, height), Image.Resampling.LANCZOS), (left, top))
    return sheet


def draw_filters(kernels: np.ndarray) -> Image.Image:
    """The kernels of a first layer, enlarged, 16 a row: a weight of zero is mid-grey, each kernel at full contrast.

    kernels: (filters, channels, height, width), one channel, drawn in grey, or three, drawn as red, green and blue.
    """
    largest = np.abs(kernels).max(axis=(1, 2, 3), keepdims=True)
    values = 0.5 + 0.5 * kernels / np.maximum(largest, np.finfo(np.float32).tiny)
    pixels = np.round(255 * values).astype(np.uint8).transpose(0, 2, 3, 1)
    if pixels.shape[-1] == 1:
        pixels = pixels.repeat(3, axis=-1)
    side, gap, columns = 42, 8, min(16, len(pixels))  # a kernel and the space to the next, in pixels
    step, rows = side + gap, math.ceil(len(pixels) / columns)
    sheet = Image.new("RGBA", (columns * step - gap, rows * step - gap))
    for number, kernel in enumerate(pixels):
        row, column = divmod(number, columns)
        tile = Image.fromarray(kernel).resize((side, side), Image.Resampling.NEAREST)
        sheet.paste(tile, (column * step, row * step))
    return sheet


def data_uri(picture: Image.Image, kind: str, **options: int) -> str:
    """A picture as the address of an <img>. kind: "JPEG" or "PNG", with Pillow's options."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def _rows(prediction: Prediction) -> list[_Row]:
    rows = [
        _Row(score.label, f"{100 * score.probability:.1f} %", score.probability, _OTHER)
        for score in prediction.scores[:SHOWN]
    ]
    if prediction.is_known:
        return [rows[0]._replace(colour=_BEST), *rows[1:]]
    return [_Row("probably none of the classes", "", 1.0, _DOUBT), *(row._replace(colour=_DOUBTED) for row in rows)]


def photo_scale(width: int, height: int) -> float:
    """How much a photo of this size is enlarged or shrunk on its card."""
    smallest, largest = _PHOTO_SIDE
    longer = max(width, height)
    return min(max(smallest, longer), largest) / longer


def _scaled(photo: Image.Image) -> Image.Image:
    scale = photo_scale(*photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.LANCZOS)


def _draw_row(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], row: _Row, letters: int) -> None:
    left, top, right, bottom = box
    middle, pad, radius = (top + bottom) / 2, letters // 2, letters // 4
    if row.value:
        font = ImageFont.load_default(letters)
        draw.text((right, middle), row.value, INK, font, anchor="rm")
        right -= round(font.getlength("100.0 %")) + pad
    draw.rounded_rectangle((left, top, right, bottom), radius, TRACK)
    if filled := round(row.share * (right - left)):
        draw.rounded_rectangle((left, top, left + filled, bottom), radius, row.colour)
    write(draw, (left + pad, middle), row.label, letters, room=right - left - 2 * pad)


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    letters: int,
    *,
    room: float,
    colour: Colour = INK,
) -> None:
    """One line of text from outside, shortened to `room` pixels, in a font that has its letters.

    place: of its left end, half-way up. letters: their size in pixels.
    """
    text, font = _writable(text, letters)
    draw.text(place, _shortened(text, font, room), colour, font, anchor="lm")


def text_width(text: str, letters: int) -> float:
    """The pixels that `write` needs for the whole of a text from outside."""
    text, font = _writable(text, letters)
    return font.getlength(text)


def _shortened(text: str, font: _Font, room: float) -> str:
    """The text, or as much of its beginning as fits into `room` pixels with an ellipsis."""
    if font.getlength(text) <= room:
        return text
    kept = len(text)
    while kept and font.getlength(text[:kept].rstrip() + "…") > room:
        kept -= 1
    return text[:kept].rstrip() + "…"


def _writable(text: str, size: int) -> tuple[str, _Font]:
    """The text on one line and a font that has its letters; where none has them all, accents go, then letters."""
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())[:200]
    fonts: list[_Font] = [ImageFont.load_default(size), *_wide_fonts(size)]
    for font in fonts:
        if not _missing(text, font):
            return text, font
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    font = min(fonts, key=lambda font: len(_missing(bare, font)))
    missing = _missing(bare, font)
    return "".join("?" if c in missing else c for c in bare), font


def _missing(text: str, font: _Font) -> set[str]:
    """The letters for which the font draws its box for an unknown letter."""
    unknown = bytes(font.getmask("\uffff"))
    return {c for c in set(text) if not c.isspace() and bytes(font.getmask(c)) == unknown}


@lru_cache(maxsize=8)
def _wide_fonts(size: int) -> tuple[_Font, ...]:
    found: list[_Font] = []
    for name in _WIDE_FONTS:
        try:
            found.append(ImageFont.truetype(name, size))
        except OSError:  # not on this machine
            continue
    return tuple(found)
