"""Arrays -> Prediction: what the numbers of a network mean."""

from verydeep.outputs.classify import classify, posteriors, softmax
from verydeep.outputs.segments import Segments, segment, segmentation

__all__ = ["Segments", "classify", "posteriors", "segment", "segmentation", "softmax"]
