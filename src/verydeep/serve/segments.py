"""What a service says of the pixels of a photo: shares, and the mask as a small picture."""

import base64
import io
from typing import Any

import numpy as np

from verydeep.image.draw_objects import class_colours
from verydeep.image.draw_segments import palette_mask
from verydeep.outputs.segments import segment, segmentation
from verydeep.weights import ModelInfo


def segmented(logits: np.ndarray, info: ModelInfo) -> dict[str, Any]:
    """As JSON holds it. logits: (classes, h, w).

    The mask is a PNG in base64, of the size that the network looked at: the whole photo, smaller or larger. Its pixels
    are the classes' numbers, and its palette has their colours.
    """
    prediction = segmentation(segment(logits, temperature=info.calibration.temperature), info.classes)
    colours = class_colours(info.classes)
    file = io.BytesIO()
    palette_mask(prediction, colours).save(file, "PNG")
    height, width = prediction.classes.shape
    return {
        "shares": [
            {**share.to_dict(), "colour": "#{:02x}{:02x}{:02x}".format(*colours[share.label])}
            for share in prediction.shares
        ],
        "mean_probability": float(prediction.probabilities.mean()),
        "width": width,
        "height": height,
        "mask": base64.b64encode(file.getvalue()).decode(),
    }
