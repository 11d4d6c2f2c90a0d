"""Architecture and Weights -> Network, and back."""

import numpy as np
import torch

from verydeep.architecture import Architecture
from verydeep.network.backbone import Network, load_weights
from verydeep.nouns import Weights


def build(architecture: Architecture, weights: Weights) -> Network:
    """A network ready to predict: the weights loaded as float32, in evaluation mode."""
    with torch.device("meta"):  # no memory and no random numbers for what is replaced at once
        network = Network(architecture)
    load_weights(network, {name: torch.from_numpy(np.asarray(weights[name], np.float32)) for name in weights})
    return network.eval()


def weights_of(network: Network) -> dict[str, np.ndarray]:
    """The arrays of a network as a model file holds them: float32, on the CPU, copied."""
    state = network.state_dict()
    return {name: state[name].detach().float().cpu().numpy().copy() for name in network.architecture.weight_shapes}
