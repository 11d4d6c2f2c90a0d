"""(opened model, photo) -> Prediction."""

from verydeep.predict.predictor import Failure, Predictor

__all__ = ["Failure", "Predictor"]
