"""Arrays -> Prediction: what the numbers of a network mean."""

from verydeep.outputs.classify import class_logits, classify, posteriors, softmax
from verydeep.outputs.embeddings import embedding_output, embeddings
from verydeep.outputs.segments import Segments, segment, segmentation

__all__ = [
    "Segments",
    "class_logits",
    "classify",
    "embedding_output",
    "embeddings",
    "posteriors",
    "segment",
    "segmentation",
    "softmax",
]
