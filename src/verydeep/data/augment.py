"""A photo -> one of the many pictures of it that a network is trained on.

Every random choice comes from a generator that is a pure function of (seed, epoch, photo): the picture is the same
however many processes load, and after any restart.
"""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image

# The eigenvalues and eigenvectors of the covariance of RGB over ImageNet's training set, for pixels in [0, 1]: the
# directions in which light changes colour (Krizhevsky et al. 2012, section 4.1; the paper, section 3.1).
COLOR_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
COLOR_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a photo in training."""

    crop: int  # pixels, the side of the picture
    scales: tuple[int, int] | None = None  # the shorter side in pixels before the crop, uniform (the paper's S)
    areas: tuple[float, float] | None = None  # instead: the share of its area that the crop takes, uniform but clipped
    flip: bool = True  # left and right, for half of the pictures
    color_shift: float = 0.0  # the standard deviation of the paper's alpha; 0.1 in the paper


def random_generator(seed: int, epoch: int, position: int) -> np.random.Generator:
    """The random numbers of one photo (or batch) in one epoch: no state, so nothing to save or to replay."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, 0, position, epoch]))


def augment(image: np.ndarray, augmentation: Augmentation, random: np.random.Generator) -> np.ndarray:
    """image: (H, W, 3) uint8 RGB -> (crop, crop, 3) uint8. Scaling and cropping are one resampling."""
    box = _area_box if augmentation.areas else _scale_box
    crop = augmentation.crop
    picture = Image.fromarray(image).resize(
        (crop, crop), Image.Resampling.BILINEAR, box=box(image.shape[1], image.shape[0], augmentation, random)
    )
    pixels = np.asarray(picture)
    if augmentation.flip and random.random() < 0.5:
        pixels = pixels[:, ::-1]
    if augmentation.color_shift:
        pixels = _shift_color(pixels, random.normal(0, augmentation.color_shift, 3))
    return np.ascontiguousarray(pixels)


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the photo


def _scale_box(width: int, height: int, augmentation: Augmentation, random: np.random.Generator) -> Box:
    """The crop from the photo resized so that its shorter side is uniform in `scales`, in the photo's own pixels."""
    smallest, largest = augmentation.scales or (augmentation.crop, augmentation.crop)
    scale = random.integers(smallest, largest, endpoint=True)
    side = augmentation.crop / scale * min(width, height)
    return _place(width, height, side, side, random)


def _area_box(width: int, height: int, augmentation: Augmentation, random: np.random.Generator) -> Box:
    """A crop of a random share of the area and an aspect of 3/4 to 4/3 (Szegedy et al. 2014, section 6).

    A box that is wider or higher than the photo is cut to it, so large shares are rarer than small ones on long photos.
    """
    smallest, largest = augmentation.areas or (1.0, 1.0)
    area = random.uniform(smallest, largest) * width * height
    aspect = math.exp(random.uniform(math.log(3 / 4), math.log(4 / 3)))
    return _place(width, height, min(width, math.sqrt(area * aspect)), min(height, math.sqrt(area / aspect)), random)


def _place(width: int, height: int, box_width: float, box_height: float, random: np.random.Generator) -> Box:
    left, top = random.uniform(0, width - box_width), random.uniform(0, height - box_height)
    return (left, top, min(width, left + box_width), min(height, top + box_height))


def _shift_color(pixels: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Adds the same colour to every pixel: sum of alpha * eigenvalue * eigenvector."""
    shift = 255 * COLOR_EIGENVECTORS @ (alpha * COLOR_EIGENVALUES)
    shifted: np.ndarray = np.clip(pixels + shift, 0, 255).round().astype(np.uint8)
    return shifted
