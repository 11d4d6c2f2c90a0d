"""Which layers learn: those of a fine-tuned network that do not keep their weights and batch norm's statistics."""

from verydeep.architecture import Architecture
from verydeep.network import Network
from verydeep.train.recipe import Trained


def freeze(network: Network, trained: Trained) -> None:
    """From now on the layers named by `trained` learn, and no others.

    The batch norm of a frozen layer normalises by its stored statistics, as in prediction, and leaves them alone.
    """
    learning = set(_layers(network.architecture)[first_trained(network.architecture, trained) :])
    for name, module in network.named_children():
        is_learning = _layer_of(name) in learning
        module.requires_grad_(is_learning)
        module.train(is_learning)


def first_trained(architecture: Architecture, trained: Trained) -> int:
    """The position of the first layer that learns, in `Architecture.layers`."""
    pools = [position for position, layer in enumerate(architecture.layers) if layer.kind == "pool"]
    if trained == "all":
        return 0
    if trained == "last-block":
        return pools[-2] + 1 if len(pools) > 1 else 0
    return next(p for p in range(pools[-1] + 1, len(architecture.layers)) if architecture.layers[p].has_weights)


def features_layer(architecture: Architecture, trained: Trained) -> str | None:
    """The frozen layer whose output goes into the first one that learns: "pool4", "gap"; None where all learn."""
    first = first_trained(architecture, trained)
    return architecture.layers[first - 1].name if first else None


def depth_of_layers(architecture: Architecture) -> dict[str, int]:
    """Of each layer, and of each batch norm by its name, how many blocks above it there are; the head has 0."""
    pools = sum(layer.kind == "pool" for layer in architecture.layers)
    depths: dict[str, int] = {}
    for layer in architecture.layers:
        depths[layer.name] = depths[layer.batch_norm_name] = pools
        pools -= layer.kind == "pool"
    return depths


def learning_names(network: Network) -> set[str]:
    """Of the parameters that learn now, and of the statistics that follow the photos."""
    names = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    for child, module in network.named_children():
        if module.training:
            names |= {f"{child}.{name}" for name, _ in module.named_buffers()}
    return names


def _layers(architecture: Architecture) -> list[str]:
    return [layer.name for layer in architecture.layers]


def _layer_of(module: str) -> str:
    """bn1_1 -> conv1_1: a batch norm learns with its convolution."""
    return "conv" + module.removeprefix("bn") if module.startswith("bn") else module
