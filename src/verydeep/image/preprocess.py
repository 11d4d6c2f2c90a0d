"""Picture -> input of a network: one way in validation, evaluation and prediction.

`fit` makes the size, `normalize` the numbers; `preprocess` is one after the other. Training augments instead of
fitting, and ends with the same `normalize`.
"""

import numpy as np
from PIL import Image

from verydeep.errors import ImageError, UsageError
from verydeep.nouns import Preprocessing

MAX_ASPECT = 16  # the longer side over the shorter: 256 x 4,096 pixels after the resize, and no more


def preprocess(image: np.ndarray, preprocessing: Preprocessing, is_dense: bool = False) -> np.ndarray:
    """A network's input: (channels, crop, crop) float32 from (H, W, 3) uint8 RGB, or (channels, h, w) where dense.

    Raises ImageError where a dense picture is too narrow and UsageError where the preprocessing cannot be.
    """
    return normalize(fit(image, preprocessing, is_dense), preprocessing)


def fit(image: np.ndarray, preprocessing: Preprocessing, is_dense: bool = False) -> np.ndarray:
    """The central square of the picture whose shorter side became `resize` pixels; all of that picture where dense.

    image: (H, W, 3) uint8 RGB -> (crop, crop, 3), or (h, w, 3) where dense, uint8. The filter is Pillow's bilinear,
    which averages over all the pixels that shrink into one ("antialiased"); sizes and corners are rounded as
    torchvision's Resize and CenterCrop do. A picture longer than 16 times its shorter side is refused where dense,
    and otherwise loses its ends before the resize, so that 1 x 30,000 pixels do not become 144 x 4,320,000.
    """
    _check(image, preprocessing)
    height, width = image.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        if is_dense:
            raise ImageError(
                f"a picture of {width} x {height} pixels is too narrow for a dense evaluation; "
                f"its longer side may be {MAX_ASPECT} times the shorter.",
                "Use the center crop, or cut the picture into parts.",
            )
        image = _middle(image)
    resized = _resize(image, preprocessing.resize)
    if is_dense:
        return resized
    top, left = _corner(resized.shape, preprocessing)
    return resized[top : top + preprocessing.crop, left : left + preprocessing.crop]


def crop_box(
    shape: tuple[int, ...], preprocessing: Preprocessing, is_dense: bool = False
) -> tuple[float, float, float, float]:
    """What `fit` keeps of a picture of (height, width, ...): left, top, right and bottom in the picture's own pixels.

    They need not be whole numbers. A dense evaluation keeps all.
    """
    height, width = shape[:2]
    if is_dense:
        return (0.0, 0.0, float(width), float(height))
    longest = MAX_ASPECT * min(height, width)
    ends = [max(0, (side - longest) // 2) for side in (height, width)]  # that `_middle` cuts off
    kept = [side - 2 * end for side, end in zip((height, width), ends, strict=True)]
    resized = _resized(kept[0], kept[1], preprocessing.resize)
    scales = [before / after for before, after in zip(kept, resized, strict=True)]
    corner = _corner(resized, preprocessing)
    top, left = (end + first * scale for end, first, scale in zip(ends, corner, scales, strict=True))
    right, bottom = left + preprocessing.crop * scales[1], top + preprocessing.crop * scales[0]
    return (left, top, min(right, float(width)), min(bottom, float(height)))  # rounding may lead over the edge


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


def _resize(image: np.ndarray, shorter: int) -> np.ndarray:
    if min(image.shape[:2]) == shorter:
        return image
    height, width = _resized(image.shape[0], image.shape[1], shorter)
    return np.array(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))


def _resized(height: int, width: int, shorter: int) -> tuple[int, int]:
    return shorter * height // min(height, width), shorter * width // min(height, width)


def _corner(shape: tuple[int, ...], preprocessing: Preprocessing) -> tuple[int, int]:
    """Top and left of the central square."""
    top, left = (round((side - preprocessing.crop) / 2) for side in shape[:2])
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
    if min(preprocessing.std) <= 0:
        raise UsageError(f"a standard deviation of {min(preprocessing.std)}; expected numbers above 0.")
