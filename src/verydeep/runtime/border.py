"""The border that a photo gets before a network of pixels sees it, so that no strip of the photo is left out.

A pool that meets an odd side leaves out the last row or column, and the unpool that undoes it has zeros there. Five
pools so leave out up to 31 pixels at the bottom and at the right, of which the deepest maps tell nothing; and in
training, whose crops are multiples of the stride, the network has never met such a strip.
"""

import numpy as np

from verydeep.architecture import Architecture


def border_of(architecture: Architecture, height: int, width: int) -> tuple[int, int]:
    """The rows below a photo and the columns to its right that are its border; none but for a network of pixels.

    Raises ArchitectureError where the photo is too small for the network.
    """
    architecture.check_input(height, width)
    if architecture.task != "segment":
        return 0, 0
    return -height % architecture.stride, -width % architecture.stride


def with_border(images: np.ndarray, architecture: Architecture) -> np.ndarray:
    """Images (..., H, W) with sides that are multiples of the network's stride; those that have them are as they were.

    The border is below and to the right, so that the pools meet the photo's pixels as they would without it. It is the
    photo's mirror image: what lies there has the texture of a photo, as all crops of training have, where the last row
    repeated up to 31 times would be streaks. Raises ArchitectureError as `border_of`.
    """
    below, beside = border_of(architecture, *images.shape[-2:])
    if not below and not beside:
        return images
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(0, below), (0, beside)], "symmetric")


def border_back(signal: np.ndarray, height: int, width: int) -> np.ndarray:
    """The transpose of `with_border`: (channels, H, W), with the border's -> (channels, height, width), without.

    What arrives at a pixel of the border belongs to the pixel of the photo that it mirrors.
    """
    for axis, side in ((1, height), (2, width)):
        if signal.shape[axis] > side:
            kept, border = np.split(signal, [side], axis)
            before = [(0, 0)] * 3
            before[axis] = (side - border.shape[axis], 0)
            signal = kept + np.pad(np.flip(border, axis), before)
    return signal
