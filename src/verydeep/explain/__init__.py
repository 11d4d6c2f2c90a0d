"""(opened model, photo) -> Explanation: why this prediction. Nothing here imports torch."""

from verydeep.explain.explanation import Explanation, check_request, explain
from verydeep.explain.methods import METHODS, Settings
from verydeep.explain.similarity import check_similarity, explain_similarity, similarity_to

__all__ = [
    "METHODS",
    "Explanation",
    "Settings",
    "check_request",
    "check_similarity",
    "explain",
    "explain_similarity",
    "similarity_to",
]
