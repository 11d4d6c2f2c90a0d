"""verydeep: the VGG networks as one system.

    from verydeep import Predictor

    Predictor().predict("photo.jpg").label

To understand it, read architecture.py, network/backbone.py, predict/predictor.py and train/loop.py, in this order.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from verydeep.architecture import Architecture
    from verydeep.classifier import Classifier
    from verydeep.predict import Predictor

__version__ = "0.1.0"

# Imported when they are asked for: `verydeep --help` must not wait for numpy, nor a prediction for torch.
_PUBLIC = {
    "Architecture": "verydeep.architecture",
    "Classifier": "verydeep.classifier",
    "Predictor": "verydeep.predict",
}
__all__ = ["Architecture", "Classifier", "Predictor"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'verydeep' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
