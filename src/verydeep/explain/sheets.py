"""What layers see, drawn for people: maps, the parts of photos that excite channels, the filters of the first layer.

Each is a sheet of tiles in rows, with a caption below every tile.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from verydeep.explain.activations import Activations
from verydeep.explain.drawing import FAINT, GAP, MARGIN, SMALL, TITLE, Drawing, Placed, Text
from verydeep.explain.picture import coloured, cut_out, full_brightness, part_of
from verydeep.image.draw import PAPER, draw_filters

TILE, TILE_GAP, COLUMNS = 96, 6, 8  # the side of a tile, in pixels
MOST_MAPS = 48
TOP = MARGIN + TITLE + GAP  # of what is below the title

Tile = tuple[Image.Image, str]


def activations_sheet(photo: np.ndarray, found: Activations) -> Drawing:
    """What the network saw of a photo, and the maps that a layer made of it, the most excited channels first.

    photo: (H, W, 3) uint8 RGB.
    """
    tiles = map_tiles(found)
    rows = [tiles[first : first + COLUMNS] for first in range(0, len(tiles), COLUMNS)]
    title = f"{found.layer}: {len(tiles)} of {len(found.maps)} channels, the most excited first"
    return _sheet(title, rows, beside=cut_out(photo, found.box, found.image_size))


def map_tiles(found: Activations) -> list[Tile]:
    """The maps of the most excited channels, each with its channel's number; the most excited first.

    All maps have one scale; what is not above zero is dark.
    """
    order = np.argsort(-found.peaks, kind="stable")[:MOST_MAPS].tolist()
    maps = np.maximum(found.maps[order], 0)
    colours = np.round(coloured(maps / full_brightness(maps))).astype(np.uint8)
    longest = max(found.image_size)
    width, height = (max(1, side * TILE // longest) for side in found.image_size[::-1])
    return [
        (Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST), str(channel))
        for pixels, channel in zip(colours, order, strict=True)
    ]


def patches_sheet(layer: str, rows: Sequence[Sequence[Tile]]) -> Drawing:
    """For each of some channels of a layer a row of what excites it."""
    return _sheet(f"what excites {layer} most: the squares that its units see", rows)


def filters_sheet(layer: str, kernels: np.ndarray) -> Drawing:
    """The kernels of a first layer, (filters, 1 or 3, k, k)."""
    kernels_drawn = draw_filters(kernels)
    opaque = Image.new("RGB", kernels_drawn.size, PAPER)
    opaque.paste(kernels_drawn, mask=kernels_drawn)
    return _sheet(f"the filters of {layer}", [[(opaque, "zero is mid-grey; each at full contrast")]])


def patch(photo: np.ndarray, box: Sequence[float], side: int = TILE) -> Image.Image:
    """The part of a photo in a box that may reach over its edge, as a tile."""
    return part_of(photo, box, (side, side))


def inversion_sheet(seen: Image.Image, rebuilt: np.ndarray, layer: str, error: float) -> Drawing:
    """What the network saw, and beside it the picture that `layer` takes for the same, (h, w, 3) uint8 RGB."""
    picture = Image.fromarray(rebuilt).resize(seen.size, Image.Resampling.BICUBIC)
    captions = ("the part that the network saw", f"what {layer} takes for the same, but for {100 * error:.2g} %")
    return _sheet(f"what {layer} has kept", [list(zip((seen, picture), captions, strict=True))])


def _sheet(title: str, rows: Sequence[Sequence[Tile]], beside: Image.Image | None = None) -> Drawing:
    """Rows of tiles below a title; on their left, where there is one, a picture that they are about."""
    left = MARGIN + (beside.width + GAP if beside else 0)
    width = left + max(sum(image.width + TILE_GAP for image, _ in row) for row in rows) - TILE_GAP + MARGIN
    parts: list[Placed | Text] = [Text(MARGIN, MARGIN + TITLE // 2, title, TITLE, width - 2 * MARGIN)]
    parts += [Placed(MARGIN, TOP, beside)] if beside else []
    top = TOP
    for row in rows:
        x = left
        for image, caption in row:
            parts.append(Placed(x, top, image))
            parts.append(Text(x, top + image.height + SMALL, caption, SMALL, image.width, FAINT))
            x += image.width + TILE_GAP
        top += max(image.height for image, _ in row) + 2 * SMALL
    bottom = max(top, TOP + beside.height if beside else 0)
    return Drawing(width, bottom + MARGIN, tuple(parts))
