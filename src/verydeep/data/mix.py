"""Two photos -> one, on a whole batch: the label becomes the share of each."""

import math

import numpy as np
import torch
from torch import Tensor


def cutmix(images: Tensor, targets: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Pastes a box of another photo of the batch into each (Yun et al. 2019).

    The box's area is uniform in [0, 1] of the photo's before it is cut at the photo's border.
    images: (n, channels, H, W). targets: (n, classes), rows sum to 1. Both are returned anew, in the same shapes.
    """
    order = torch.from_numpy(random.permutation(len(images))).to(images.device)
    height, width = images.shape[-2:]
    side = math.sqrt(random.random())  # of the box, as a share of the photo's
    center_y, center_x = random.uniform(0, height), random.uniform(0, width)
    top, bottom = (int(np.clip(center_y + sign * side * height / 2, 0, height)) for sign in (-1, 1))
    left, right = (int(np.clip(center_x + sign * side * width / 2, 0, width)) for sign in (-1, 1))
    mixed = images.clone(memory_format=torch.preserve_format)
    mixed[..., top:bottom, left:right] = images[order][..., top:bottom, left:right]
    share = (bottom - top) * (right - left) / (height * width)
    return mixed, (1 - share) * targets + share * targets[order]


def mixup(images: Tensor, targets: Tensor, random: np.random.Generator, alpha: float) -> tuple[Tensor, Tensor]:
    """Averages each photo with another of the batch, weighted by Beta(alpha, alpha) (Zhang et al. 2017)."""
    order = torch.from_numpy(random.permutation(len(images))).to(images.device)
    share = float(random.beta(alpha, alpha))
    return images.lerp(images[order], share), targets.lerp(targets[order], share)
