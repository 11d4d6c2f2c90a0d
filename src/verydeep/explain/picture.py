"""Explanations drawn for people: the part of the photo that the network saw, and beside it a panel for each method.

`draw` makes a list of pictures and texts; `to_png` and `to_svg` write them down.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image, ImageDraw

from verydeep.errors import printable
from verydeep.explain.activations import Activations
from verydeep.explain.explanation import Explanation
from verydeep.explain.methods import METHODS
from verydeep.image.draw import INK, PAPER, TRACK, Colour, data_uri, write
from verydeep.image.draw import draw_filters as image_of_filters

PANEL = 440  # pixels, the longer side of a panel
MARGIN, GAP = 20, 16
TITLE, LETTERS, SMALL = 26, 17, 12  # pixels, the size of letters
TILE, TILE_GAP, COLUMNS = 96, 6, 8  # of the pictures on a sheet, in pixels
MOST_MAPS = 48  # on a sheet
FAINT: Colour = (96, 105, 117)
SCALE_SIZE = (110, 12)  # pixels
OF_SIGNALS = ("guided", "deconvnet")  # methods whose pictures have the colours of the image, about grey
CONTOUR = 0.5  # of the largest heat: what is hotter is enclosed by a line
BRIGHTEST = 99.5  # per cent of the pixels that are not drawn at full brightness: a few would leave the others dark

# Dark to bright: evenly so, also in grey and to the colour-blind. Seven colours of matplotlib's "inferno" (CC0).
_SCALE = np.array(
    [(0, 0, 4), (51, 10, 94), (120, 28, 109), (188, 55, 84), (237, 105, 37), (251, 181, 26), (252, 255, 164)], float
)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Placed:
    """A picture in a picture."""

    left: int
    top: int
    image: Image.Image


@dataclass(frozen=True)
class Text:
    """A line of text; x is its start, y the middle of its height."""

    x: int
    y: int
    text: str
    size: int
    room: int  # pixels
    colour: Colour = INK


@dataclass(frozen=True)
class Drawing:
    """What is drawn where, in pixels."""

    width: int
    height: int
    parts: tuple["Placed | Text", ...]


def draw(photo: np.ndarray, explanations: Sequence[Explanation]) -> Drawing:
    """What the network saw of a photo, and one panel for each explanation of it, with a title and captions.

    photo: (H, W, 3) uint8 RGB. explanations: at least one, all of this photo.
    """
    seen = cut_out(photo, explanations[0].box, explanations[0].map.heat.shape)
    width, height = seen.size
    top = MARGIN + TITLE + GAP
    parts: list[Placed | Text] = [Text(MARGIN, MARGIN + TITLE // 2, title(explanations[0]), TITLE, 2 * width + GAP)]
    captions = [("what the network saw", "")] + [caption(explanation) for explanation in explanations]
    panels = [seen] + [panel(seen, explanation) for explanation in explanations]
    for number, (image, lines) in enumerate(zip(panels, captions, strict=True)):
        left = MARGIN + number * (width + GAP)
        parts.append(Placed(left, top, image))
        for line, text in enumerate(lines):
            y = top + height + GAP + LETTERS // 2 + line * round(1.5 * LETTERS)
            parts.append(Text(left, y, text, LETTERS, width, INK if line == 0 else FAINT))
        if number and explanations[number - 1].method not in OF_SIGNALS:
            parts.append(Placed(left + width - SCALE_SIZE[0], top + height + GAP, scale()))
    total = 2 * MARGIN + len(panels) * (width + GAP) - GAP
    return Drawing(total, top + height + GAP + 3 * LETTERS + MARGIN, tuple(parts))


def draw_activations(photo: np.ndarray, found: Activations) -> Drawing:
    """What the network saw of a photo, and the maps that a layer made of it, the most excited channels first.

    photo: (H, W, 3) uint8 RGB. All maps have one scale; what is not above zero is dark.
    """
    order = [int(channel) for channel in np.argsort(-found.peaks, kind="stable")[:MOST_MAPS]]
    shares = np.maximum(found.maps, 0) / _full(np.maximum(found.maps[order], 0))
    maps = [Image.fromarray(np.round(coloured(shares[channel])).astype(np.uint8)) for channel in order]
    seen = cut_out(photo, found.box, found.image_size)
    size = (max(1, seen.width * TILE // PANEL), max(1, seen.height * TILE // PANEL))
    tiles = [
        (map.resize(size, Image.Resampling.NEAREST), str(channel)) for map, channel in zip(maps, order, strict=True)
    ]
    shown = f"{len(order)} of {len(found.maps)} channels" if len(order) < len(found.maps) else f"{len(order)} channels"
    parts: list[Placed | Text] = [Placed(MARGIN, MARGIN + TITLE + GAP, seen)]
    left = MARGIN + seen.width + GAP
    rows = [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    return _sheet(
        f"{found.layer}: {shown}, the most excited first", rows, left, parts, MARGIN + TITLE + GAP + seen.height
    )


def draw_patches(layer: str, rows: Sequence[Sequence[tuple[Image.Image, str]]]) -> Drawing:
    """For each of some channels of a layer a row of what excites it, each square with its caption."""
    return _sheet(f"what excites {layer} most: the squares that its units see", rows, MARGIN, [], 0)


def draw_filters(layer: str, kernels: np.ndarray) -> Drawing:
    """The kernels of a first layer, (filters, 1 or 3, k, k): see `image.draw.draw_filters`."""
    sheet = image_of_filters(kernels)
    on_paper = Image.new("RGB", sheet.size, PAPER)
    on_paper.paste(sheet, mask=sheet)
    return _sheet(f"the filters of {layer}", [[(on_paper, "zero is mid-grey; each at full contrast")]], MARGIN, [], 0)


def patch(photo: np.ndarray, box: Sequence[float], side: int = TILE) -> Image.Image:
    """The part of a photo, (H, W, 3) uint8 RGB, in a box that may reach over its edge; grey is what lies outside."""
    left, top, right, bottom = box
    height, width = photo.shape[:2]
    inside = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
    scales = (side / (right - left), side / (bottom - top)) * 2
    place = [round((edge - first) * scale) for edge, first, scale in zip(inside, (left, top) * 2, scales, strict=True)]
    size = (max(1, place[2] - place[0]), max(1, place[3] - place[1]))
    sheet = Image.new("RGB", (side, side), TRACK)
    sheet.paste(Image.fromarray(photo).resize(size, Image.Resampling.BICUBIC, box=inside), (place[0], place[1]))
    return sheet


def _sheet(
    title: str,
    rows: Sequence[Sequence[tuple[Image.Image, str]]],
    left: int,
    parts: Sequence[Placed | Text],
    bottom: int,
) -> Drawing:
    """Rows of tiles with captions, from `left` on, beside or below what is in `parts` and ends at `bottom`."""
    top = MARGIN + TITLE + GAP
    width = left + max(sum(image.width + TILE_GAP for image, _ in row) for row in rows) + MARGIN - TILE_GAP
    drawn = [Text(MARGIN, MARGIN + TITLE // 2, title, TITLE, width - 2 * MARGIN), *parts]
    for row in rows:
        x = left
        for image, caption in row:
            drawn.append(Placed(x, top, image))
            drawn.append(Text(x, top + image.height + SMALL, caption, SMALL, image.width, FAINT))
            x += image.width + TILE_GAP
        top += max(image.height for image, _ in row) + 2 * SMALL
    return Drawing(width, max(top, bottom) + MARGIN, tuple(drawn))


def to_png(drawing: Drawing) -> bytes:
    """The drawing as a PNG file."""
    sheet = Image.new("RGB", (drawing.width, drawing.height), PAPER)
    pen = ImageDraw.Draw(sheet)
    for part in drawing.parts:
        if isinstance(part, Placed):
            sheet.paste(part.image, (part.left, part.top))
        else:
            write(pen, (part.x, part.y), part.text, part.size, room=part.room, colour=part.colour)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def to_svg(drawing: Drawing) -> str:
    """The drawing as an SVG file that holds its pictures and needs no other; its text can be searched."""
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawing.width} {drawing.height}" '
        f'width="{drawing.width}" height="{drawing.height}" font-family="system-ui, sans-serif">',
        f'<rect width="100%" height="100%" fill="rgb{PAPER}"/>',
    ]
    for part in drawing.parts:
        if isinstance(part, Placed):
            lines.append(
                f'<image x="{part.left}" y="{part.top}" width="{part.image.width}" height="{part.image.height}" '
                f'href="{data_uri(part.image, "JPEG", quality=88)}"/>'
            )
        else:
            lines.append(
                f'<text x="{part.x}" y="{part.y}" font-size="{part.size}" fill="rgb{part.colour}" '
                f'dominant-baseline="central">{escape(printable(part.text))}</text>'
            )
    return "\n".join([*lines, "</svg>", ""])


def title(explanation: Explanation) -> str:
    """What is explained, in words: "golf ball, 88.0 %", or "channel 7 of relu4_2"."""
    if explanation.is_of_unit:
        return f"channel {explanation.target.channel} of {explanation.target.output}"
    named = f"{explanation.label}, {100 * explanation.probability:.1f} %"
    answer = explanation.prediction
    if not answer.is_known:
        return f"{named}; probably none of the model's classes"
    return named if answer.label == explanation.label else f"{named}; the model's answer is {answer.label}"


def caption(explanation: Explanation) -> tuple[str, str]:
    """The method, and what its panel shows."""
    method = METHODS[explanation.method]
    if not explanation.map.heat.any():
        return method.title, "nothing in the photo speaks for it"
    name = f"{method.title} at {explanation.layer}" if explanation.method == "gradcam" else method.title
    if explanation.method == "occlusion":
        least = explanation.probability - explanation.map.figures["largest_drop"]
        return name, f"one covered square leaves {100 * least:.3g} % or more"
    return name, method.meaning


def scale() -> Image.Image:
    """The colours from nothing, on the left, to the most."""
    width, height = SCALE_SIZE
    return _image(coloured(np.linspace(0, 1, width)[np.newaxis].repeat(height, axis=0)))


def cut_out(photo: np.ndarray, box: tuple[float, float, float, float], shape: tuple[int, ...]) -> Image.Image:
    """What the network saw of a photo, from the photo's own pixels, PANEL pixels on its longer side.

    shape: of the network's image, (height, width): the picture is as oblong as that.
    """
    height, width = shape
    scale = PANEL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.LANCZOS if box[2] - box[0] > size[0] else Image.Resampling.BICUBIC
    return Image.fromarray(photo).resize(size, way, box=box)


def panel(seen: Image.Image, explanation: Explanation) -> Image.Image:
    """The picture of an explanation, as large as what the network saw."""
    if explanation.method in ("gradcam", "occlusion"):
        return _overlaid(seen, explanation.map.heat)
    if explanation.method in OF_SIGNALS:
        return _signal(explanation.map.values, seen.size)
    return _glowing(seen, explanation.map.heat)


def coloured(shares: np.ndarray) -> np.ndarray:
    """(h, w) from 0 to 1 -> (h, w, 3) float from 0 to 255, from dark to bright."""
    places = np.clip(shares, 0, 1) * (len(_SCALE) - 1)
    channels = [np.interp(places, range(len(_SCALE)), _SCALE[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1)


def _overlaid(seen: Image.Image, heat: np.ndarray) -> Image.Image:
    """The photo in grey where it is cold and coloured where it is hot, with a line about what is hotter than half."""
    shares = np.clip(_resized(heat / max(float(heat.max()), _TINY), seen.size), 0, 1)
    opacity = 0.7 * np.sqrt(shares)[..., None]
    mixed = (1 - opacity) * 0.85 * _grey(seen) + opacity * coloured(shares)
    mixed[_outline(shares >= CONTOUR)] = 255
    return _image(mixed)


def _glowing(seen: Image.Image, heat: np.ndarray) -> Image.Image:
    """The hot pixels as light, over a hint of the photo."""
    shares = _resized(heat / _full(heat), seen.size)
    return _image(np.maximum(0.2 * _grey(seen), coloured(shares)))


def _signal(signal: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """What came back to the image as its colours: zero is mid-grey."""
    pixels = signal if len(signal) == 3 else signal[:1].repeat(3, axis=0)
    shares = np.stack([_resized(channel / _full(np.abs(signal)), size) for channel in pixels], axis=-1)
    return _image(127.5 + 127.5 * np.clip(shares, -1, 1))


def _full(heat: np.ndarray) -> float:
    """The heat that is drawn at full brightness."""
    return max(float(np.percentile(heat, BRIGHTEST)), float(heat.max()) / 20, _TINY)


def _outline(inside: np.ndarray) -> np.ndarray:
    """The pixels of an area within two of its edge; the edge of the picture is none."""
    padded = np.pad(inside, 2, mode="edge")
    height, width = inside.shape
    shifted = [
        padded[2 + dy : 2 + dy + height, 2 + dx : 2 + dx + width] for dy, dx in ((-2, 0), (2, 0), (0, -2), (0, 2))
    ]
    outline: np.ndarray = inside & ~np.logical_and.reduce(shifted)
    return outline


def _grey(picture: Image.Image) -> np.ndarray:
    """(h, w, 1) from 0 to 255."""
    return np.asarray(picture.convert("L"), float)[..., np.newaxis]


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
