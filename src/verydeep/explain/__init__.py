"""(opened model, photo) -> Explanation: why this prediction. Nothing here imports torch."""

from verydeep.explain.explanation import Explanation, check_request, explain
from verydeep.explain.methods import METHODS, Settings
from verydeep.explain.segmentation import SegmentExplanation, check_segment, explain_segment
from verydeep.explain.similarity import check_similarity, explain_similarity, similarity_to

__all__ = [
    "METHODS",
    "Explanation",
    "SegmentExplanation",
    "Settings",
    "check_request",
    "check_segment",
    "check_similarity",
    "explain",
    "explain_segment",
    "explain_similarity",
    "similarity_to",
]
