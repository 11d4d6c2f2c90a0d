"""(opened model, photo) -> Prediction."""

from verydeep.predict.predictor import Predictor

__all__ = ["Predictor"]
