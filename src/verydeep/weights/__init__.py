"""Files <-> Weights. `read_model` and `write_model` are the only way in and out of a model file."""

from verydeep.weights.files import MappedWeights, ModelInfo, map_model, read_info, read_model, write_model

__all__ = ["MappedWeights", "ModelInfo", "map_model", "read_info", "read_model", "write_model"]
