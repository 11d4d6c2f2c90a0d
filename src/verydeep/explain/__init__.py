"""(opened model, photo) -> Explanation: why this prediction. Nothing here imports torch."""

from verydeep.explain.explanation import Explanation, check_request, explain
from verydeep.explain.methods import METHODS, Settings

__all__ = ["METHODS", "Explanation", "Settings", "check_request", "explain"]
