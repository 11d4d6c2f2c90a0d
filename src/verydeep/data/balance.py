"""How much each class weighs in the loss of a segmentation, so that the road does not drown the cyclist."""

from collections.abc import Iterable

import numpy as np

from verydeep.data.targets import IGNORED


def median_frequency_weights(masks: Iterable[np.ndarray], classes: int, ignored: int = IGNORED) -> np.ndarray:
    """The weight of each class by median frequency balancing, (classes,) float64.

    masks: of the training photos, (H, W) integers. With freq(c) the pixels of c divided by all pixels of the photos in
    which c is present, the weight of c is the median of all freq divided by freq(c). Ignored pixels count as pixels of
    a photo. A class without a pixel has no frequency: it is left out of the median and weighs nothing, as nothing of it
    is ever in the loss. Source: Eigen & Fergus (2015), section 6.1.3; Badrinarayanan et al. (2015), section 3.3.
    """
    of_class = np.zeros(classes)
    of_photos = np.zeros(classes)  # where the class is present
    for mask in masks:
        counts = np.bincount(mask[mask != ignored].ravel(), minlength=classes)[:classes]
        of_class += counts
        of_photos += mask.size * (counts > 0)
    is_present = of_class > 0
    weights = np.zeros(classes)
    if is_present.any():
        frequencies = of_class[is_present] / of_photos[is_present]
        weights[is_present] = np.median(frequencies) / frequencies
    return weights
