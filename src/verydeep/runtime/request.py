"""What every engine asks of its input before it starts."""

from collections.abc import Sequence

import numpy as np

from verydeep.architecture import Architecture
from verydeep.errors import ArchitectureError, UsageError


def check_request(architecture: Architecture, images: np.ndarray, outputs: Sequence[str]) -> None:
    """Raises ArchitectureError where the images do not fit and UsageError where an output is unknown."""
    if images.ndim != 4 or images.shape[0] == 0 or images.shape[1] != architecture.input_channels:
        raise ArchitectureError(
            f"{architecture.name} got images of shape {images.shape}; expected "
            f"(N, {architecture.input_channels}, height, width) with N of at least 1.",
            "A photo becomes such an array by verydeep.image.preprocess.",
        )
    architecture.check_input(*images.shape[2:])
    unknown = sorted(set(outputs) - set(architecture.outputs))
    if unknown:
        raise UsageError(
            f"{architecture.name} has no output {', '.join(unknown)}.", f"It has {', '.join(architecture.outputs)}."
        )
