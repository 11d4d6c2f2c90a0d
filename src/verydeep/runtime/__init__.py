"""Model file -> opened model: an engine with its classes and its preprocessing. Imports no torch by itself."""

from verydeep.runtime.open import (
    BUILT_IN,
    DEVICES,
    ENGINES,
    PRECISIONS,
    OpenedModel,
    built_in_models,
    find_model,
    open_model,
    task_of,
)

__all__ = [
    "BUILT_IN",
    "DEVICES",
    "ENGINES",
    "PRECISIONS",
    "OpenedModel",
    "built_in_models",
    "find_model",
    "open_model",
    "task_of",
]
