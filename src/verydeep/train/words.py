"""What a training says of itself before it begins, and where it goes on."""

from collections.abc import Mapping

import torch

from verydeep import machine
from verydeep.data.datasets import Splits
from verydeep.data.loader import Order
from verydeep.errors import printable
from verydeep.network import Network
from verydeep.train.checkpoint import Progress
from verydeep.train.features import Features
from verydeep.train.order import batch_in_words
from verydeep.train.recipe import Recipe, Stage

COMPUTES = ("torch", "numpy", "pillow")
_MOST_LISTED = 10  # classes that are shown with their number of photos


def title(recipe: Recipe, splits: Splits, progress: Progress, device: torch.device, order: Order) -> str:
    """The photos and their classes, then the network and how it is trained: two lines."""
    photos = splits.training
    classes = len(photos.classes)
    counts = [f"{printable(name)} {count}" for name, count in zip(photos.classes, photos.counts(), strict=True)]
    if photos.targets and photos.targets.are_of_pixels:
        counts = [printable(name) for name in photos.classes]
    listing = ", ".join(counts[:_MOST_LISTED]) + (", ..." if classes > _MOST_LISTED else "")
    parts = f" in parts of {progress.micro_batch}" if progress.micro_batch < recipe.batch_size else ""
    validation = f"{len(splits.validation)} to validate on" if len(splits.validation) else "validated by the folds"
    return (
        f"{len(photos)} photos to train on, of {classes} classes: {listing}; {validation}\n"
        f"{recipe.architecture(classes).name} at {recipe.sizes_in_words}, {recipe.epochs} epochs; "
        f"{device.type}, {progress.precision}, {batch_in_words(recipe, order)}{parts}"
    )


def stage_in_words(network: Network, stage: Stage, features: Features | None) -> str:
    """ "epochs 1 to 5: fc8 learns, from the features (gap) of 8 pictures of each photo" """
    learning = [layer.name for layer in network.architecture.layers if _learns(network, layer.name)]
    named = learning[0] if len(learning) == 1 else f"{learning[0]} to {learning[-1]}"
    verb = "learns" if len(learning) == 1 else "learn"
    source = f", from the features ({features.layer}) of {features.views} pictures of each photo" if features else ""
    epochs = f"epochs {stage.first + 1} to {stage.end}" if stage.end - stage.first > 1 else f"epoch {stage.end}"
    return f"{epochs}: {named} {verb}{source}"


def _learns(network: Network, layer: str) -> bool:
    module = dict(network.named_children()).get(layer)
    return module is not None and any(parameter.requires_grad for parameter in module.parameters())


def versions_of(device: torch.device) -> dict[str, str]:
    """What the last digits of every number depend on: the libraries, the processor and the device."""
    gpu = f" ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else ""
    return machine.versions(*COMPUTES) | {
        "processor": " ".join([machine.processor(), *machine.instruction_sets()]),
        "device": f"{device.type}{gpu}",
    }


def change_in_words(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """What to tell where a run goes on with other `versions_of`. What an older state lacks is not compared."""
    changed = [name for name in before if now.get(name) != before[name]]
    if not changed:
        return None
    old, new = (", ".join(f"{name} {made.get(name, '-')}" for name in changed) for made in (before, now))
    return f"{old} began this run, {new} goes on: the numbers may differ in their last digits."
