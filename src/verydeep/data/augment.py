"""A photo -> one of the many pictures of it that a network is trained on.

Every random choice is a pure function of (seed, epoch, place), the place of the picture in the epoch's order: the
picture is the same however many processes load, in batches of any size, and after any restart. The eight random
numbers of a picture stand in a row, one column a choice, so that no choice depends on which others are made:

0  the scale, or the share of the area     3      the crop's place from top to bottom
1  the crop's aspect (areas only)          4      mirrored, where below 0.5
2  the crop's place from left to right     5 to 7  the colour shift along each eigenvector, or the edit
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from PIL import Image

from verydeep.data.edits import trivial_augment
from verydeep.nouns import Fit

# The eigenvalues and eigenvectors of the covariance of RGB over ImageNet's training set, for pixels in [0, 1]: the
# directions in which light changes colour (Krizhevsky et al. 2012, section 4.1; the paper, section 3.1).
COLOR_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
COLOR_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a photo in training.

    With fit="letterbox" `scales` and `areas` are of the filled-up square in place of the photo: along each of its sides
    the photo is shown as far as the crop reaches, and whole, somewhere, where the crop is longer than it. With
    fit="squash" the crops are as oblong as the photo, give or take what `areas` does, and lose that in the picture.
    """

    crop: int  # pixels, the side of the picture
    scales: tuple[int, int] | None = None  # the shorter side in pixels before the crop, uniform (the paper's S)
    areas: tuple[float, float] | None = None  # instead: the share of its area that the crop takes, uniform but clipped
    border: float = 0.0  # with scales: the mirrored border around the photo, as a share of its shorter side
    flip: bool = True  # left and right, for half of the pictures
    color_shift: float = 0.0  # the standard deviation of the paper's alpha; 0.1 in the paper
    trivial_augment: bool = False  # instead: one random edit
    fit: Fit = "crop"  # as photos to predict become squares
    fill: tuple[int, int, int] = (0, 0, 0)  # RGB, of what a letterbox's crop shows beside the photo

    @property
    def reading_side(self) -> int:
        """The shorter side, in pixels, from which on no crop is magnified: no photo is worth keeping larger.

        A crop of the smallest area, with an aspect of 1 from a square photo of this side, has the picture's pixels.
        """
        if self.scales:
            return self.scales[1]
        return math.ceil(self.crop / math.sqrt(self.areas[0])) if self.areas else self.crop

    def margin(self, width: int, height: int) -> int:
        """How wide the border around a photo of that size is, in its own pixels."""
        return round(self.border * min(width, height))


_NUMBERS = 8  # of a picture
_PICTURES = 0  # the stream of random numbers that pictures use; `loader` counts on from there


def random_generator(seed: int, epoch: int, stream: int, start: int = 0) -> np.random.Generator:
    """Random numbers that are a pure function of these four: no state, so nothing to save or to replay.

    Philox enciphers a counter of 256 bits, and has four numbers of 64 bits for each value of it. start: how many of
    these values are passed over, at no cost. stream: independent numbers for another purpose.
    """
    return np.random.Generator(np.random.Philox(key=seed, counter=[start, 0, stream, epoch]))


def picture_numbers(seed: int, epoch: int, places: range) -> list[list[float]]:
    """The random numbers in [0, 1) of the pictures at these places of the epoch's order, a row of eight for each.

    One generator serves them all: making one a picture would take as long as cutting a picture out.
    """
    random = random_generator(seed, epoch, _PICTURES, places.start * _NUMBERS // 4)
    rows: list[list[float]] = random.random((len(places), _NUMBERS)).tolist()
    return rows


def augment(
    photo: np.ndarray, augmentation: Augmentation, numbers: Sequence[float], out: np.ndarray | None = None
) -> np.ndarray:
    """photo: (H, W, 3) uint8 RGB -> (crop, crop, 3) uint8, written into `out` where it is given.

    numbers: one row of `picture_numbers`. Scaling and cropping are one resampling; where the photo has the scale
    already, the crop is taken at whole pixels, without any.
    """
    height, width = photo.shape[:2]
    crop = augmentation.crop
    if margin := augmentation.margin(width, height):
        photo = photo[_mirrored(height, margin)[:, None], _mirrored(width, margin)]
    out = np.empty((crop, crop, 3), np.uint8) if out is None else out
    pixels = _cut(photo, _box(width, height, augmentation, numbers), crop, augmentation.fill)
    is_mirrored = _is_mirrored(augmentation, numbers)
    if is_mirrored:
        pixels = pixels[:, ::-1]
    if augmentation.trivial_augment:
        out[...] = trivial_augment(np.ascontiguousarray(pixels), numbers[5:])
    elif augmentation.color_shift:
        tables = _color_tables(augmentation.color_shift, numbers[5:])
        for channel in range(3):
            out[..., channel] = tables[channel].take(pixels[..., channel])
    elif is_mirrored:
        for channel in range(3):  # NumPy copies a mirrored row four times as fast in channels as in pixels of three
            out[..., channel] = pixels[..., channel]
    else:
        out[...] = pixels
    return out


@dataclass(frozen=True)
class View:
    """The part of a photo that a picture shows: the edges of the crop as shares of the photo's width and height."""

    left: float = 0.0
    top: float = 0.0
    right: float = 1.0
    bottom: float = 1.0
    is_mirrored: bool = False


def view_of(width: int, height: int, augmentation: Augmentation, numbers: Sequence[float]) -> View:
    """What `augment` shows of a photo of that size with the same numbers.

    Edges may lie beyond the photo, in its border or in what a letterbox is filled up with; the picture then has the
    photo's own edges at whole pixels, up to half a pixel from here.
    """
    left, top, right, bottom = _box(width, height, augmentation, numbers)
    margin = augmentation.margin(width, height)
    return View(
        (left - margin) / width,
        (top - margin) / height,
        (right - margin) / width,
        (bottom - margin) / height,
        _is_mirrored(augmentation, numbers),
    )


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the photo


def _box(width: int, height: int, augmentation: Augmentation, numbers: Sequence[float]) -> Box:
    """The crop. With a border, in the pixels of the photo with its border."""
    return (_area_box if augmentation.areas else _scale_box)(width, height, augmentation, numbers)


def _is_mirrored(augmentation: Augmentation, numbers: Sequence[float]) -> bool:
    return augmentation.flip and numbers[4] < 0.5


def _scale_box(width: int, height: int, augmentation: Augmentation, numbers: Sequence[float]) -> Box:
    """The crop from the photo resized so that its shorter side is uniform in `scales`, in the photo's own pixels.

    The longer side for a letterbox, and each side for a squashed photo. With a border, in the pixels of the photo with
    its border.
    """
    crop, shorter, margin = augmentation.crop, min(width, height), augmentation.margin(width, height)
    width, height = width + 2 * margin, height + 2 * margin
    smallest, largest = augmentation.scales or (crop, crop)
    scale = smallest + int(numbers[0] * (largest - smallest + 1))
    if augmentation.fit == "letterbox":
        side = crop / scale * max(width, height)
        return _place(width, height, side, side, numbers)
    if augmentation.fit == "squash":
        across, down = width - 2 * margin, height - 2 * margin
        return _place(width, height, crop / scale * across, crop / scale * down, numbers)
    if scale == shorter:
        left, top = int(numbers[2] * (width - crop + 1)), int(numbers[3] * (height - crop + 1))
        return (left, top, left + crop, top + crop)
    side = crop / scale * shorter
    return _place(width, height, side, side, numbers)


def _area_box(width: int, height: int, augmentation: Augmentation, numbers: Sequence[float]) -> Box:
    """A crop of a random share of the area and an aspect of 3/4 to 4/3 (Szegedy et al. 2014, section 6).

    A box that is wider or higher than the photo is cut to it, so large shares are rarer than small ones on long photos.
    The area is that of the filled-up square for a letterbox; the aspect of a squashed photo is that of its picture.
    """
    smallest, largest = augmentation.areas or (1.0, 1.0)
    widest, highest = (max(width, height),) * 2 if augmentation.fit == "letterbox" else (width, height)
    area = (smallest + numbers[0] * (largest - smallest)) * widest * highest
    aspect = (4 / 3) ** (2 * numbers[1] - 1)  # uniform in its logarithm
    aspect *= width / height if augmentation.fit == "squash" else 1
    box = min(widest, math.sqrt(area * aspect)), min(highest, math.sqrt(area / aspect))
    return _place(width, height, *box, numbers)


def _place(width: int, height: int, box_width: float, box_height: float, numbers: Sequence[float]) -> Box:
    """The box somewhere within the photo, or about it where it is the longer one."""
    left, top = numbers[2] * (width - box_width), numbers[3] * (height - box_height)
    right, bottom = left + box_width, top + box_height
    return (
        left,
        top,
        right if box_width > width else min(width, right),  # rounding may lead over the edge
        bottom if box_height > height else min(height, bottom),
    )


def _mirrored(length: int, border: int) -> np.ndarray:
    """The positions 0 to length - 1 with a border on both sides that runs back from the ends; border < length."""
    positions = np.abs(np.arange(-border, length + border))
    mirrored: np.ndarray = np.minimum(positions, 2 * (length - 1) - positions)
    return mirrored


def _cut(photo: np.ndarray, box: Box, crop: int, fill: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    """The box of the photo as crop x crop pixels, of the colour `fill` where it reaches beyond the photo."""
    left, top, right, bottom = box
    height, width = photo.shape[:2]
    if left < 0 or top < 0 or right > width or bottom > height:
        columns, rows = _shown(left, right, width, crop), _shown(top, bottom, height, crop)
        picture = np.empty((crop, crop, 3), np.uint8)
        picture[...] = fill
        inside = (max(0, left), max(0, top), min(width, right), min(height, bottom))
        picture[rows, columns] = _resampled(photo, inside, columns.stop - columns.start, rows.stop - rows.start)
        return picture
    if right - left == bottom - top == crop and left == int(left) and top == int(top):
        return photo[int(top) : int(bottom), int(left) : int(right)]
    return _resampled(photo, box, crop, crop)


def _shown(start: float, end: float, length: int, crop: int) -> slice:
    """The pixels of a picture, one at least, that show a photo of this length, of the box from `start` to `end`."""
    scale = crop / (end - start)
    first = min(crop - 1, round(max(0.0, -start) * scale))
    return slice(first, max(first + 1, round((min(length, end) - start) * scale)))


def _resampled(photo: np.ndarray, box: Box, across: int, down: int) -> np.ndarray:
    """The box of the photo, which is within it, as (down, across) pixels."""
    left, top, right, bottom = box
    # Pillow copies what it is given: hand it no more than the pixels that its filter reaches from the box.
    reach_x, reach_y = math.ceil(max(1, (right - left) / across)), math.ceil(max(1, (bottom - top) / down))
    x, y = max(0, int(left) - reach_x), max(0, int(top) - reach_y)
    part = photo[y : math.ceil(bottom) + reach_y, x : math.ceil(right) + reach_x]
    box = (left - x, top - y, min(part.shape[1], right - x), min(part.shape[0], bottom - y))
    return np.asarray(Image.fromarray(part).resize((across, down), Image.Resampling.BILINEAR, box=box))


_NORMAL = NormalDist()
_SMALLEST = 2.0**-54  # for a number that is 0: the normal distribution has no value there
_BRIGHTNESS = np.arange(256.0)


def _color_tables(deviation: float, numbers: Sequence[float]) -> np.ndarray:
    """(3, 256) uint8: what each brightness of R, G and B becomes. Looked up, not computed for every pixel.

    The same colour is added to all pixels: the sum of alpha * eigenvalue * eigenvector, alpha normal.
    """
    alpha = [deviation * _NORMAL.inv_cdf(max(number, _SMALLEST)) for number in numbers]
    shift = 255 * (COLOR_EIGENVECTORS * (alpha * COLOR_EIGENVALUES)).sum(axis=1, keepdims=True)
    tables: np.ndarray = (_BRIGHTNESS + shift).clip(0, 255).round().astype(np.uint8)
    return tables
