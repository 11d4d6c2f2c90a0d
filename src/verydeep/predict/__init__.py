"""(opened model, photo) -> Prediction, or one of each pixel, and photos -> embeddings, to find those that are alike."""

from verydeep.predict.embedder import Embedder
from verydeep.predict.predictor import Predictor
from verydeep.predict.segmenter import Segmenter

__all__ = ["Embedder", "Predictor", "Segmenter"]
