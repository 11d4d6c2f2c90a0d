"""The state of a run in the midst of its work, in safetensors files: no pickle, so that loading one runs no code.

The newest two are kept, and two between epochs where a run may roll back to them. Each is written whole or not at all,
and holds a checksum over everything in it: one that was damaged later is stepped over.
"""

import contextlib
import copy
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from verydeep.data.datasets import Splits
from verydeep.errors import CheckpointError
from verydeep.files import remove_unfinished, replacing, storage_error
from verydeep.network import Network
from verydeep.train.guards import check_saveable
from verydeep.train.losses import PROXIES
from verydeep.train.optimize import AveragedWeights, MuonSGD
from verydeep.train.recipe import Recipe
from verydeep.train.run import STATE_FOLDER

_UNFINISHED = ".tmp"  # what the names begin with that safetensors writes to before it renames
_MAY_CHANGE = ("save_as", "checkpoint_minutes")  # fields of a recipe from which no number of a training follows
_KEPT = 2  # the last, and the one before in case that the last is damaged


@dataclass(frozen=True)
class Progress:
    """Where a run stands, and what was chosen for it when it began."""

    # Chosen once and kept: another choice would make other numbers.
    precision: str
    micro_batch: int
    threads: int
    versions: Mapping[str, str]  # of the libraries that compute; and, but for the oldest states, processor and device
    classes: list[str]  # of the photos, in the order of the network's outputs
    photos: str  # Splits.fingerprint: which photos are trained on and which validate
    recipe: dict[str, Any] = field(default_factory=dict)  # Recipe.to_dict; {} in the oldest states

    # How far it is
    epoch: int = 0  # how many are done
    batch: int = 0  # how many of the epoch's are done
    step: int = 0  # of the optimiser, in all
    losses: list[float] = field(default_factory=list)  # of the epoch's batches so far
    top1_history: list[float] = field(default_factory=list)  # of validation, after each epoch
    loss_history: list[float] = field(default_factory=list)  # the same
    unreadable: dict[str, str] = field(default_factory=dict)  # training photos, see `guards.Unreadable.known`
    unreadable_validation: dict[str, str] = field(default_factory=dict)
    rollbacks: int = 0  # how often the run went back and halved the learning rate

    # Seconds
    seconds: float = 0.0  # of training, in all
    epoch_seconds: float = 0.0  # of training, in the epoch so far
    waiting_seconds: float = 0.0  # of those, waiting for photos
    saving_seconds: float = 0.0  # in the epoch so far


@dataclass
class State:
    """All that changes while a network is trained."""

    network: Network
    optimizer: MuonSGD
    average: AveragedWeights
    progress: Progress
    best: dict[str, Tensor] | None = None  # the averaged weights of the best epoch, where a run may stop early
    class_weights: Tensor | None = None  # of each class in the loss: the recipe's, not saved

    @property
    def proxies(self) -> Tensor | None:
        """Of `losses.add_proxies`, where the loss has some."""
        return dict(self.network.named_parameters(recurse=False)).get(PROXIES)

    def kept(self) -> Network:
        """The network to be written: the averaged one, of the best epoch where a run may stop early."""
        if self.best is None:
            return self.average.network
        network = copy.deepcopy(self.average.network)
        network.load_state_dict(self.best)
        return network

    def arrays(self) -> dict[str, Tensor]:
        """Every number to save, by name. They are not copied: a step changes them."""
        arrays = {f"network.{name}": value for name, value in self.network.state_dict().items()}
        if self.average.network is not self.network:
            arrays |= {f"average.{name}": value for name, value in self.average.network.state_dict().items()}
        for name, parameter in self.network.named_parameters():
            if "momentum_buffer" in self.optimizer.state[parameter]:
                arrays[f"momentum.{name}"] = self.optimizer.state[parameter]["momentum_buffer"]
        arrays |= {f"best.{name}": value for name, value in (self.best or {}).items()}
        return {name: value.detach() for name, value in arrays.items()}


def save_state(run: Path, state: State) -> None:
    """Writes the state whole or not at all. Raises StorageError, and TrainingError where a number is not finite."""
    arrays = {name: value.cpu().contiguous() for name, value in state.arrays().items()}
    check_saveable(arrays)
    progress = json.dumps(asdict(state.progress))
    metadata = {"progress": progress, "checksum": _checksum(progress, arrays)}
    path = _path(run, state.progress)
    with replacing(path) as temporary, _as_os_error():
        safetensors.torch.save_file(arrays, temporary, metadata)
    newest = state_files(run)
    kept = newest[:_KEPT]
    if state.progress.recipe.get("on_nonfinite") == "roll back":
        kept += [each for each in newest if _is_at_epoch(each)][:_KEPT]
    for old in set(newest) - set(kept):
        with contextlib.suppress(OSError):  # it takes room, and harms nothing
            old.unlink()


def load_state(run: Path, state: State, splits: Splits, *, is_at_epoch: bool = False) -> list[str]:
    """Puts the newest whole state into place; where there is none, `state` stays as it is.

    is_at_epoch: the newest of those between two epochs, where there is one.
    Returns what is to be told: a sentence for each state that was stepped over. Raises CheckpointError where there are
    states and all are damaged, or where the state is of other photos than `splits` or of another recipe than `state`.
    """
    remove_unfinished(run / STATE_FOLDER, _UNFINISHED)
    told = []
    paths = state_files(run)
    if is_at_epoch:
        paths = [path for path in paths if _is_at_epoch(path)] or paths
    for path in paths:
        try:
            progress, arrays = _read(path)
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            told.append(f"{path} is damaged ({_reason(error)})")
            continue
        _check_photos(path, progress, splits)
        _check_recipe(run, progress.recipe, state.progress.recipe)
        _restore(path, state, progress, arrays)
        for damaged in paths[: len(told)]:  # no longer among those that are counted
            damaged.replace(damaged.with_suffix(".damaged"))
        return [f"{sentence}; going on from the state before it." for sentence in told]
    if told:
        raise CheckpointError(
            f"{'; '.join(told)}; no other is there.", "Start the training anew in another folder, --out FOLDER."
        )
    return []


def state_files(run: Path) -> list[Path]:
    """Those of a run, the newest first."""
    return sorted((run / STATE_FOLDER).glob("state-*.safetensors"), reverse=True)


def most_kept(recipe: Recipe) -> int:
    """How many states of a run are kept at most."""
    return 2 * _KEPT if recipe.on_nonfinite == "roll back" else _KEPT


def forget_newer(run: Path, progress: Progress) -> None:
    """Deletes the states of a run that are of later steps than where it stands. Raises StorageError."""
    for path in state_files(run):
        if path.name > _path(run, progress).name:
            try:
                path.unlink()
            except OSError as error:
                raise storage_error(path, error) from error


def _is_at_epoch(path: Path) -> bool:
    return path.stem.endswith(f"-{0:09}")


def _path(run: Path, progress: Progress) -> Path:
    return run / STATE_FOLDER / f"state-{progress.epoch:06}-{progress.batch:09}.safetensors"


def _read(path: Path) -> tuple[Progress, dict[str, Tensor]]:
    with safetensors.safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    if _checksum(metadata["progress"], arrays) != metadata["checksum"]:
        raise ValueError("its checksum differs")
    progress = json.loads(metadata["progress"])
    for name in ("unreadable", "unreadable_validation"):  # older states have no positions: they are told once more
        progress[name] = progress[name] if isinstance(progress.get(name), dict) else {}
    return Progress(**progress), arrays


def _checksum(progress: str, arrays: Mapping[str, Tensor]) -> str:
    """SHA-256 over where the run stands and every number, with their names, types and shapes."""
    digest = hashlib.sha256(progress.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"\0{name} {array.dtype} {tuple(array.shape)}\0".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _restore(path: Path, state: State, progress: Progress, arrays: Mapping[str, Tensor]) -> None:
    try:
        state.network.load_state_dict(_part(arrays, "network."))
        if state.average.network is not state.network:
            state.average.network.load_state_dict(_part(arrays, "average."))
    except RuntimeError as error:  # whole, but of another network
        raise CheckpointError(
            f"{path} cannot be resumed from: {_reason(error)}.",
            "Start the training anew in another folder, --out FOLDER.",
        ) from error
    state.best = _part(arrays, "best.") or None
    momentum = _part(arrays, "momentum.")
    state.optimizer.state.clear()
    for name, parameter in state.network.named_parameters():
        if name in momentum:
            state.optimizer.state[parameter]["momentum_buffer"] = torch.empty_like(parameter).copy_(momentum[name])
    state.optimizer.precision = progress.precision
    state.progress = replace(progress, recipe=progress.recipe or state.progress.recipe)


def _check_photos(path: Path, progress: Progress, splits: Splits) -> None:
    expected, got = progress.classes, list(splits.training.classes)
    if expected != got:
        changed = ", ".join(sorted(set(expected) ^ set(got))) or "their order"
        raise CheckpointError(
            f"{path} was trained on other classes than the photos have now: {changed} differs.",
            "Put the class folders back as they were, or start the training anew in another folder, --out FOLDER.",
        )
    if progress.photos != splits.fingerprint():
        raise CheckpointError(
            f"{path} was trained on other photos than are there now: some were added, removed or renamed.",
            "Put them back as they were, or start the training anew in another folder, --out FOLDER.",
        )


def _check_recipe(run: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises CheckpointError where a recipe has changed since a state of it was saved."""
    learns_all = before.get("trained") == "all" and not before.get("head_epochs")
    may_change = {*_MAY_CHANGE, *(["cache_gib"] if learns_all else [])}  # kept photos are as if read anew, features not
    changed = [
        f"{name} was {value}, is {now.get(name)}"
        for name, value in before.items()
        if name not in may_change and json.dumps(now.get(name)) != json.dumps(value)
    ]
    if changed:
        raise CheckpointError(
            f"the recipe in {run} was changed after the training began: {'; '.join(changed)}.",
            "Put recipe.json back as it was, or start the training anew in another folder, --out FOLDER.",
        )


@contextlib.contextmanager
def _as_os_error() -> Iterator[None]:
    """What safetensors says of a failed write, as the OSError that it was."""
    try:
        yield
    except safetensors.SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1]))) from error


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200].rstrip(".")


def _part(arrays: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
