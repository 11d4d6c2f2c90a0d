"""Explanations drawn for people: the part of the photo that the network saw, and beside it a panel for each method."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from PIL import Image

from verydeep.explain.backward import BoxEdge
from verydeep.explain.drawing import FAINT, GAP, LETTERS, MARGIN, TITLE, Drawing, Placed, Text
from verydeep.explain.explanation import Explanation
from verydeep.explain.methods import METHODS
from verydeep.explain.segmentation import PixelScore, SegmentExplanation
from verydeep.explain.similarity import SimilarityExplanation
from verydeep.image.draw import INK, TRACK
from verydeep.image.draw_objects import Drawn, class_colours, draw_objects

AnyExplanation: TypeAlias = Explanation | SimilarityExplanation | SegmentExplanation
AnyExplanations: TypeAlias = Sequence[Explanation] | Sequence[SimilarityExplanation] | Sequence[SegmentExplanation]

PANEL = 440  # pixels, the longer side of a panel
SCALE_SIZE = (110, 12)  # pixels
CONTOUR = 0.5  # of the largest heat: what is hotter is enclosed by a line
BRIGHTEST = 99.5  # percentile of the heat that is fully bright: a few hotter pixels would leave all others dark

# Dark to bright: evenly so, also in grey and to the colour-blind. Seven colours of matplotlib's "inferno" (CC0).
_SCALE = np.array(
    [(0, 0, 4), (51, 10, 94), (120, 28, 109), (188, 55, 84), (237, 105, 37), (251, 181, 26), (252, 255, 164)], float
)
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class _Column:
    """A picture, and what is written below it."""

    image: Image.Image
    caption: tuple[str, str]
    has_scale: bool = False


def draw(photo: np.ndarray, explanations: Sequence[Explanation]) -> Drawing:
    """What the network saw of a photo, and one panel for each explanation of it, with a title and captions.

    photo: (H, W, 3) uint8 RGB. explanations: at least one, all of this photo.
    """
    return _drawing(title(explanations[0]), _columns(photo, explanations))


def draw_similar(
    photo: np.ndarray, seen_of_other: Image.Image, name: str, explanations: Sequence[SimilarityExplanation]
) -> Drawing:
    """The same of what makes a photo like another one, with that beside it.

    seen_of_other: what the network saw of that, from `cut_out`; name: what to call it.
    """
    other = _Column(seen_of_other, ("the photo that it is compared with", name))
    return _drawing(similarity_title(explanations[0], name), [*_columns(photo, explanations), other])


def draw_segment(photo: np.ndarray, explanations: Sequence[SegmentExplanation]) -> Drawing:
    """The same of what made pixels be taken for a class, with those pixels beside the photo."""
    first, *others = _columns(photo, explanations, "the photo")
    target, label = explanations[0].target, explanations[0].label
    if isinstance(target, PixelScore):
        where = np.asarray(Image.fromarray(target.where).resize(first.image.size, Image.Resampling.NEAREST))
        pixels = draw_objects(np.asarray(first.image), [Drawn(label, mask=where)], class_colours([label]))
        told = (
            "the pixels that are taken for it" if explanations[0].share else "none is taken for it; the nearest to it"
        )
        others.insert(0, _Column(pixels, (told, "its score is the mean over them")))
    return _drawing(segment_title(explanations[0]), [first, *others])


def segment_title(explanation: SegmentExplanation) -> str:
    """In words: "road, 31.2 % of the photo", or "channel 7 of relu4_2"."""
    if explanation.is_of_unit:
        return f"channel {explanation.target.channel} of {explanation.target.output}"
    return f"{explanation.label}, {100 * explanation.share:.1f} % of the photo"


def _columns(
    photo: np.ndarray, explanations: AnyExplanations, what: str = "the part that the network saw"
) -> list[_Column]:
    seen = cut_out(photo, explanations[0].box, explanations[0].map.heat.shape)
    columns = [_Column(seen, (what, ""))]
    for explanation in explanations:
        has_scale = METHODS[explanation.method].look != "colours"
        columns.append(_Column(panel(seen, explanation), caption(explanation), has_scale))
    return columns


def _drawing(heading: str, columns: Sequence[_Column]) -> Drawing:
    top = MARGIN + TITLE + GAP
    height = max(column.image.height for column in columns)
    parts: list[Placed | Text] = []
    left = MARGIN
    for column in columns:
        width = column.image.width
        parts.append(Placed(left, top, column.image))
        for line, text in enumerate(column.caption):
            y = top + height + GAP + LETTERS // 2 + line * round(1.5 * LETTERS)
            parts.append(Text(left, y, text, LETTERS, width, INK if line == 0 else FAINT))
        if column.has_scale:
            parts.append(Placed(left + width - SCALE_SIZE[0], top + height + GAP, scale()))
        left += width + GAP
    total = left - GAP + MARGIN
    parts.insert(0, Text(MARGIN, MARGIN + TITLE // 2, heading, TITLE, total - 2 * MARGIN))
    return Drawing(total, top + height + GAP + 3 * LETTERS + MARGIN, tuple(parts))


def similarity_title(explanation: SimilarityExplanation, name: str) -> str:
    """In words: "0.873 like photos/bee.jpg"."""
    return f"{explanation.score:.3f} like {name}"


def title(explanation: Explanation) -> str:
    """What is explained, in words: "golf ball, 88.0 %", or "channel 7 of relu4_2"."""
    if explanation.is_of_unit:
        return f"channel {explanation.target.channel} of {explanation.target.output}"
    named = f"{explanation.label}, {100 * explanation.probability:.1f} %"
    if isinstance(explanation.target, BoxEdge):
        edge = "all edges" if explanation.target.edge == "all" else f"the {explanation.target.edge} edge"
        named = f"{edge} of the box of {named}"
    answer = explanation.prediction
    if not answer.is_known:
        return f"{named}; probably none of the model's classes"
    return named if answer.label == explanation.label else f"{named}; the model's answer is {answer.label}"


def caption(explanation: AnyExplanation) -> tuple[str, str]:
    """The method, and what its panel shows."""
    method = METHODS[explanation.method]
    if not explanation.map.heat.any():
        return method.title, "nothing in the photo speaks for it"
    name = f"{method.title} at {explanation.layer}" if explanation.method == "gradcam" else method.title
    if isinstance(explanation, Explanation) and explanation.method == "occlusion":
        least = explanation.probability - explanation.map.figures["largest_drop"]
        return name, f"one covered square leaves {100 * least:.3g} % or more"
    return name, method.meaning


def scale() -> Image.Image:
    """The colours from nothing, on the left, to the most."""
    width, height = SCALE_SIZE
    return _image(coloured(np.linspace(0, 1, width)[np.newaxis].repeat(height, axis=0)))


def cut_out(photo: np.ndarray, box: tuple[float, float, float, float], shape: tuple[int, ...]) -> Image.Image:
    """What the network saw of a photo, from the photo's own pixels, PANEL pixels on its longer side.

    shape: of the network's image, (height, width): the picture is as oblong as that. Grey is what lies beyond the
    photo, where a letterbox is filled up.
    """
    height, width = shape
    scale = PANEL / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    way = Image.Resampling.LANCZOS if box[2] - box[0] > size[0] else Image.Resampling.BICUBIC
    return part_of(photo, box, size, way)


def part_of(
    photo: np.ndarray, box: Sequence[float], size: tuple[int, int], way: Image.Resampling = Image.Resampling.BICUBIC
) -> Image.Image:
    """A box of a photo, (H, W, 3) uint8 RGB, that may reach over its edges; grey is what lies outside.

    size: width and height of the picture.
    """
    left, top, right, bottom = box
    height, width = photo.shape[:2]
    inside = (max(0.0, left), max(0.0, top), min(float(width), right), min(float(height), bottom))
    scales = (size[0] / (right - left), size[1] / (bottom - top)) * 2
    place = [round((edge - first) * scale) for edge, first, scale in zip(inside, (left, top) * 2, scales, strict=True)]
    shown = (max(1, place[2] - place[0]), max(1, place[3] - place[1]))
    picture = Image.new("RGB", size, TRACK)
    picture.paste(Image.fromarray(photo).resize(shown, way, box=inside), (place[0], place[1]))
    return picture


def panel(seen: Image.Image, explanation: AnyExplanation) -> Image.Image:
    """The picture of an explanation, as large as what the network saw."""
    look = METHODS[explanation.method].look
    if look == "overlay":
        return _overlaid(seen, explanation.map.heat)
    if look == "light":
        return _glowing(seen, explanation.map.heat)
    return _in_colours(explanation.map.values, seen.size)


def coloured(shares: np.ndarray) -> np.ndarray:
    """(..., h, w) from 0 to 1 -> (..., h, w, 3) float from 0 to 255, from dark to bright."""
    places = np.clip(shares, 0, 1) * (len(_SCALE) - 1)
    channels = [np.interp(places, range(len(_SCALE)), _SCALE[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1)


def full_brightness(heat: np.ndarray) -> float:
    """The heat that is drawn at full brightness: BRIGHTEST, and at least a twentieth of the largest."""
    return max(float(np.percentile(heat, BRIGHTEST)), float(heat.max()) / 20, _TINY)


def _overlaid(seen: Image.Image, heat: np.ndarray) -> Image.Image:
    """The photo in grey where it is cold and coloured where it is hot, with a line about what is hotter than half."""
    shares = np.clip(_resized(heat / max(float(heat.max()), _TINY), seen.size), 0, 1)
    opacity = 0.7 * np.sqrt(shares)[..., None]
    mixed = (1 - opacity) * 0.85 * _grey(seen) + opacity * coloured(shares)
    mixed[_outline(shares >= CONTOUR)] = 255
    return _image(mixed)


def _glowing(seen: Image.Image, heat: np.ndarray) -> Image.Image:
    """The hot pixels as light, over a hint of the photo."""
    shares = _resized(heat / full_brightness(heat), seen.size)
    return _image(np.maximum(0.2 * _grey(seen), coloured(shares)))


def _in_colours(signal: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """What came back to the image as its colours: zero is mid-grey."""
    pixels = signal if len(signal) == 3 else signal[:1].repeat(3, axis=0)
    shares = np.stack([_resized(channel / full_brightness(np.abs(signal)), size) for channel in pixels], axis=-1)
    return _image(127.5 + 127.5 * np.clip(shares, -1, 1))


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
