"""Arrays -> embeddings: what a network makes of a photo, as a vector of length 1. Those of like photos are near."""

import numpy as np

from verydeep.architecture import Architecture
from verydeep.errors import UsageError

LEAST_LENGTH = 1e-12  # a vector shorter than this is divided by it, so that zeros stay zeros: as in the unit layer


def embedding_output(architecture: Architecture) -> str:
    """The output that photos are compared by: "logits" of an embedding model, of a classifier the one below its last.

    That is "gap", or "relu7". Raises UsageError on a network that answers for pixels.
    """
    if architecture.task == "embed":
        return "logits"
    if architecture.task == "segment":
        raise UsageError(
            f"{architecture.name} answers for each pixel of a photo, and has no features of the photo as a whole.",
            "Take an embedding model, or a classifier.",
        )
    return "gap" if architecture.head == "gap" else "relu7"


def embeddings(features: np.ndarray) -> np.ndarray:
    """What `embedding_output` gives of N photos, (N, d) or maps (N, d, h, w) -> (N, d) float32, each of length 1.

    Maps, as the dense view has them, are averaged over their positions first. Zeros stay zeros.
    """
    vectors = features.astype(np.float64)
    if vectors.ndim == 4:
        vectors = vectors.mean(axis=(2, 3))
    lengths = np.sqrt((vectors * vectors).sum(axis=1, keepdims=True))
    unit: np.ndarray = (vectors / np.maximum(lengths, LEAST_LENGTH)).astype(np.float32)
    return unit
