"""The state of a run between two epochs, in one safetensors file: no pickle, so that loading it runs no code."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from verydeep.data.datasets import Splits
from verydeep.errors import CheckpointError
from verydeep.files import atomic_write
from verydeep.network import Network
from verydeep.train.optimize import AveragedWeights

STATE_FILE = Path("training") / "state.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a run stands."""

    epoch: int  # how many are done
    step: int  # of the optimiser, in all
    precision: str  # chosen at the start, kept for the whole run
    top1_history: list[float] = field(default_factory=list)  # of validation, after each epoch
    seconds: float = 0.0  # of training so far
    classes: list[str] = field(default_factory=list)  # of the photos, in the order of the network's outputs
    photos: str = ""  # Splits.fingerprint: which photos are trained on and which validate


def save_state(
    run: Path, progress: Progress, network: Network, optimizer: torch.optim.Optimizer, average: AveragedWeights
) -> None:
    """Writes the state whole or not at all. Raises StorageError."""
    arrays = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average.network is not network:
        arrays |= {f"average.{name}": value for name, value in average.network.state_dict().items()}
    for name, parameter in network.named_parameters():
        if "momentum_buffer" in optimizer.state[parameter]:
            arrays[f"momentum.{name}"] = optimizer.state[parameter]["momentum_buffer"]
    content = {name: value.detach().cpu().contiguous() for name, value in arrays.items()}
    atomic_write(run / STATE_FILE, safetensors.torch.save(content, {"progress": json.dumps(asdict(progress))}))


def load_state(
    run: Path, splits: Splits, network: Network, optimizer: torch.optim.Optimizer, average: AveragedWeights
) -> Progress | None:
    """Puts the saved state into place; None where the run has not saved one yet.

    Raises CheckpointError where the state is damaged, or was trained on other photos than those of `splits`.
    """
    path = run / STATE_FILE
    if not path.exists():
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            progress = Progress(**json.loads(file.metadata()["progress"]))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
        _check_photos(path, progress, splits)
        network.load_state_dict(_part(arrays, "network."))
        if average.network is not network:
            average.network.load_state_dict(_part(arrays, "average."))
        momentum = _part(arrays, "momentum.")
        for name, parameter in network.named_parameters():
            if name in momentum:
                optimizer.state[parameter]["momentum_buffer"] = momentum[name].to(parameter)
    except CheckpointError:
        raise
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        raise CheckpointError(
            f"{path} cannot be resumed from: {reason}.", "Start the training anew in another folder."
        ) from error
    return progress


def _check_photos(path: Path, progress: Progress, splits: Splits) -> None:
    expected, got = progress.classes, list(splits.training.classes)
    if expected and expected != got:  # states of the first versions hold neither classes nor fingerprint
        changed = ", ".join(sorted(set(expected) ^ set(got))) or "their order"
        raise CheckpointError(
            f"{path} was trained on other classes than the photos have now: {changed} differs.",
            "Put the class folders back as they were, or start the training anew in another folder.",
        )
    if progress.photos and progress.photos != splits.fingerprint():
        raise CheckpointError(
            f"{path} was trained on other photos than are there now: some were added, removed or renamed.",
            "Put them back as they were, or start the training anew in another folder.",
        )


def _part(arrays: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
