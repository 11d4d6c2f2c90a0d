"""(opened model, photo) -> Prediction, and photos -> embeddings, to find those that are alike."""

from verydeep.predict.embedder import Embedder
from verydeep.predict.predictor import Predictor

__all__ = ["Embedder", "Predictor"]
