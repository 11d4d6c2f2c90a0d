"""A picture -> the picture, edited once at random: TrivialAugment (Müller and Hutter 2021).

One of fourteen edits, all equally likely, with a strength that is uniform over the edit's whole range: there is nothing
to tune. The ranges are those that the article calls wide; it gives them for pictures of 224 pixels.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_FILL = (124, 116, 104)  # the mean colour of ImageNet: what an edit moves into the picture is 0 to the network
_LARGEST_SHIFT = 32 / 224  # of the side
_LARGEST_SHEAR = 0.99  # pixels to the side for each pixel down
_LARGEST_TURN = 135  # degrees
_LARGEST_FACTOR = 0.99  # around 1, of brightness, contrast, colour and sharpness
_FEWEST_BITS = 2  # of each colour


def trivial_augment(picture: np.ndarray, numbers: Sequence[float]) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> the same shape. numbers: three in [0, 1): which edit, how strong, in which direction."""
    which, strength, direction = numbers
    edit = _EDITS[int(which * len(_EDITS))]
    return np.asarray(edit(Image.fromarray(picture), strength if direction < 0.5 else -strength))


def _factor(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, amount: kind(image).enhance(1 + _LARGEST_FACTOR * amount)


def _posterize(image: Image.Image, amount: float) -> Image.Image:
    return ImageOps.posterize(image, 8 - round((8 - _FEWEST_BITS) * abs(amount)))


def _solarize(image: Image.Image, amount: float) -> Image.Image:
    """Inverts what is brighter than a threshold: nothing at 0, all at 1."""
    return ImageOps.solarize(image, round(255 * (1 - abs(amount))))


def _turn(image: Image.Image, amount: float) -> Image.Image:
    angle = math.radians(_LARGEST_TURN * amount)
    return _move(image, (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle)))


def _shear_x(image: Image.Image, amount: float) -> Image.Image:
    return _move(image, (1, _LARGEST_SHEAR * amount), (0, 1))


def _shear_y(image: Image.Image, amount: float) -> Image.Image:
    return _move(image, (1, 0), (_LARGEST_SHEAR * amount, 1))


def _shift_x(image: Image.Image, amount: float) -> Image.Image:
    return _move(image, (1, 0), (0, 1), shift=(_LARGEST_SHIFT * amount * image.width, 0))


def _shift_y(image: Image.Image, amount: float) -> Image.Image:
    return _move(image, (1, 0), (0, 1), shift=(0, _LARGEST_SHIFT * amount * image.height))


_Pair = tuple[float, float]


def _move(image: Image.Image, for_x: _Pair, for_y: _Pair, shift: _Pair = (0, 0)) -> Image.Image:
    """Where each pixel comes from: (x, y) from (for_x . (x, y), for_y . (x, y)) around the centre, less `shift`."""
    x, y = image.width / 2, image.height / 2
    from_x = x - for_x[0] * x - for_x[1] * y - shift[0]
    from_y = y - for_y[0] * x - for_y[1] * y - shift[1]
    return image.transform(
        image.size,
        Image.Transform.AFFINE,
        (*for_x, from_x, *for_y, from_y),
        resample=Image.Resampling.BILINEAR,
        fillcolor=_FILL,
    )


_EDITS: tuple[Callable[[Image.Image, float], Image.Image], ...] = (  # (image, amount from -1 to 1) -> image
    lambda image, _: image,
    lambda image, _: ImageOps.autocontrast(image),
    lambda image, _: ImageOps.equalize(image),
    _posterize,
    _solarize,
    _factor(ImageEnhance.Color),
    _factor(ImageEnhance.Contrast),
    _factor(ImageEnhance.Brightness),
    _factor(ImageEnhance.Sharpness),
    _turn,
    _shear_x,
    _shear_y,
    _shift_x,
    _shift_y,
)
