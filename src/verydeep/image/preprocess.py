"""Picture -> input of a network: one way in validation, evaluation and prediction.

`fit` makes the size, `normalize` the numbers; `preprocess` is one after the other. Training augments instead of
fitting, and ends with the same `normalize`.
"""

import numpy as np
from PIL import Image

from verydeep.errors import ImageError, UsageError
from verydeep.nouns import FITS, Preprocessing

MAX_ASPECT = 16  # the longer side over the shorter: 256 x 4,096 pixels after the resize, and no more


def preprocess(image: np.ndarray, preprocessing: Preprocessing, is_dense: bool = False) -> np.ndarray:
    """A network's input: (channels, crop, crop) float32 from (H, W, 3) uint8 RGB, or (channels, h, w) where dense.

    Raises ImageError where a dense picture is too narrow and UsageError where the preprocessing cannot be.
    """
    return normalize(fit(image, preprocessing, is_dense), preprocessing)


def fit(image: np.ndarray, preprocessing: Preprocessing, is_dense: bool = False) -> np.ndarray:
    """The picture as a square of `crop` pixels, as `preprocessing.fit` says; where dense, whole, whatever that says.

    crop       the central square of the picture whose shorter side became `resize` pixels
    letterbox  the whole picture, its longer side `crop` pixels, in the middle of a square of `fill_colour`
    squash     the whole picture, both sides `crop` pixels
    dense      the whole picture, its shorter side `resize` pixels

    image: (H, W, 3) uint8 RGB -> (crop, crop, 3), or (h, w, 3) where dense, uint8. The filter is Pillow's bilinear,
    which averages over all the pixels that shrink into one ("antialiased"); sizes and corners of a crop are rounded as
    torchvision's Resize and CenterCrop do. A picture longer than 16 times its shorter side is refused where dense,
    and loses its ends before a crop, so that 1 x 30,000 pixels do not become 144 x 4,320,000.
    """
    _check(image, preprocessing)
    height, width = image.shape[:2]
    side = preprocessing.crop
    if preprocessing.fit == "squash" and not is_dense:
        return _scaled(image, side, side)
    if preprocessing.fit == "letterbox" and not is_dense:
        inner = _inner(height, width, side)
        top, left = _corner(inner, side)
        square = np.full((side, side, 3), fill_colour(preprocessing), np.uint8)
        square[top : top + inner[0], left : left + inner[1]] = _scaled(image, *inner)
        return square
    if max(height, width) > MAX_ASPECT * min(height, width):
        if is_dense:
            raise ImageError(
                f"a picture of {width} x {height} pixels is too narrow for a dense evaluation; "
                f"its longer side may be {MAX_ASPECT} times the shorter.",
                "Use the center crop, or cut the picture into parts.",
            )
        image = _middle(image)
    resized = _scaled(image, *_resized(image.shape[0], image.shape[1], preprocessing.resize))
    if is_dense:
        return resized
    top, left = _corner(resized.shape, side)
    return resized[top : top + side, left : left + side]


def crop_box(
    shape: tuple[int, ...], preprocessing: Preprocessing, is_dense: bool = False
) -> tuple[float, float, float, float]:
    """Where the edges of what `fit` makes lie in a picture of (height, width, ...): left, top, right and bottom.

    In the picture's own pixels, which need not be whole numbers: whatever is found in the network's square has its
    place in the picture by these alone. Those of a letterbox lie beyond the picture, where it is filled up.
    """
    height, width = shape[:2]
    if is_dense or preprocessing.fit == "squash":
        return (0.0, 0.0, float(width), float(height))
    if preprocessing.fit == "letterbox":
        inner = _inner(height, width, preprocessing.crop)
        above, before = _corner(inner, preprocessing.crop)
        down, across = height / inner[0], width / inner[1]
        end_x, end_y = preprocessing.crop - before, preprocessing.crop - above
        return (-before * across, -above * down, end_x * across, end_y * down)
    longest = MAX_ASPECT * min(height, width)
    ends = [max(0, (side - longest) // 2) for side in (height, width)]  # that `_middle` cuts off
    kept = [side - 2 * end for side, end in zip((height, width), ends, strict=True)]
    resized = _resized(kept[0], kept[1], preprocessing.resize)
    scales = [before / after for before, after in zip(kept, resized, strict=True)]
    corner = _corner(resized, preprocessing.crop)
    top, left = (end + first * scale for end, first, scale in zip(ends, corner, scales, strict=True))
    right, bottom = left + preprocessing.crop * scales[1], top + preprocessing.crop * scales[0]
    return (left, top, min(right, float(width)), min(bottom, float(height)))  # rounding may lead over the edge


def fill_colour(preprocessing: Preprocessing) -> tuple[int, int, int]:
    """The RGB that a letterbox is filled up with: the mean, which `normalize` makes 0, but for the rounding to 8 bits.

    So it is at most 0.5 / 255 / std from 0, 0.009 with the deviations of ImageNet.
    """
    colour = [min(255, max(0, round(255 * mean))) for mean in preprocessing.mean]
    red, green, blue = colour if len(colour) == 3 else colour * 3
    return red, green, blue


def normalize(image: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """(h, w, 3) uint8 RGB -> (channels, h, w) float32: (value / 255 - mean) / std for each channel.

    One channel is the luma of ITU-R 601, 0.299 R + 0.587 G + 0.114 B, rounded to 8 bits.
    """
    _check(image, preprocessing)
    if preprocessing.channels == 1:
        image = np.asarray(Image.fromarray(image).convert("L"))[..., np.newaxis]
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    values = np.arange(256, dtype=np.float32)[:, np.newaxis] / np.float32(255)
    table = (values - mean) / std  # (256, channels): cheaper to look up than to compute for every pixel
    return np.stack([table[image[..., channel], channel] for channel in range(preprocessing.channels)])


def denormalize(values: np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """The inverse of `normalize`, as far as 8 bits go: (channels, h, w) -> (h, w, 3) uint8; grey has equal colours."""
    mean, std = (np.array(part)[:, None, None] for part in (preprocessing.mean, preprocessing.std))
    pixels = np.clip(np.round(255 * (values * std + mean)), 0, 255).astype(np.uint8).transpose(1, 2, 0)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def _middle(image: np.ndarray) -> np.ndarray:
    """The picture without its ends, at most MAX_ASPECT times as long as wide; its centre stays the centre."""
    longest = MAX_ASPECT * min(image.shape[:2])
    top, left = (max(0, (side - longest) // 2) for side in image.shape[:2])
    return image[top : image.shape[0] - top, left : image.shape[1] - left]


def _scaled(image: np.ndarray, height: int, width: int) -> np.ndarray:
    if image.shape[:2] == (height, width):
        return image
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    return shorter * height // min(height, width), shorter * width // min(height, width)


def _inner(height: int, width: int, side: int) -> tuple[int, int]:
    """Height and width of a picture whose longer side becomes `side` pixels."""
    longer = max(height, width)
    return max(1, round(side * height / longer)), max(1, round(side * width / longer))


def _corner(shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Top and left of the central square in a picture, or of a picture in the middle of that square."""
    top, left = (round(abs(length - side) / 2) for length in shape[:2])
    return top, left


def _check(image: np.ndarray, preprocessing: Preprocessing) -> None:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UsageError(
            f"a picture of shape {image.shape} and type {image.dtype}; expected (height, width, 3) uint8 RGB.",
            "Read it with verydeep.image.read_image.",
        )
    if not 1 <= preprocessing.crop <= preprocessing.resize:
        raise UsageError(
            f"a crop of {preprocessing.crop} pixels from a picture resized to {preprocessing.resize}.",
            "Choose 1 <= crop <= resize.",
        )
    if preprocessing.channels not in (1, 3) or len(preprocessing.std) != preprocessing.channels:
        raise UsageError(
            f"{len(preprocessing.mean)} means and {len(preprocessing.std)} deviations; expected 3 of each for RGB, "
            "or 1 of each for grey."
        )
    if preprocessing.fit not in FITS:
        raise UsageError(f"no fit {preprocessing.fit!r}; there are {', '.join(FITS)}.", "Choose one of these.")
    if min(preprocessing.std) <= 0:
        raise UsageError(f"a standard deviation of {min(preprocessing.std)}; expected numbers above 0.")
