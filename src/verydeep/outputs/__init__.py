"""Arrays -> Prediction: what the numbers of a network mean."""

from verydeep.outputs.classify import classify, posteriors, softmax

__all__ = ["classify", "posteriors", "softmax"]
