"""Architecture -> torch module. `build` makes one, `weights_of` takes its arrays out again."""

from verydeep.network.backbone import Network, Tail, load_weights
from verydeep.network.build import build, weights_of
from verydeep.network.initialize import INITIALIZERS, initialize, whiten

__all__ = ["INITIALIZERS", "Network", "Tail", "build", "initialize", "load_weights", "weights_of", "whiten"]
