"""What fits into memory: the size of a batch's parts, chosen before a training, and advice where it runs out.

Predicted by `accounting.memory`, and what that leaves out. Measured on a CPU, a step's peak above that of the program
was 16 % below to 11 % above the prediction: A, B and D, 0.2 to 2.4 GiB, float32 and bfloat16, 15 settings, one run
each. That distance, and the batch that the loader prepares meanwhile, is in `USABLE`. Where there is so much memory
that the process may keep what it frees, to be faster, it was 2 % below to 36 % above the prediction, in 7 settings.
"""

import torch

from verydeep import machine
from verydeep.accounting import account_layers
from verydeep.accounting.memory import training_memory
from verydeep.architecture import Architecture
from verydeep.errors import TrainingError
from verydeep.train.checkpoint import Progress
from verydeep.train.recipe import Recipe

USABLE = 0.8  # of the memory that there is
KEPT = 1.4  # times the prediction: what a process that keeps what it frees may come to hold
LIBRARIES_BYTES = 128 * 2**20  # that they load and compile at the first step, and take to work in
_GIB = 2**30
_MIB = 2**20
_SIGNS = (  # of memory that ran out, in the messages of torch and of the libraries below it
    "out of memory",
    "can't allocate memory",
    "cannot allocate memory",
    "not enough memory",
    "alloc_failed",
    "bad_alloc",
    "could not create a memory object",
)


def available_bytes(device: torch.device) -> int | None:
    """How much memory of the device this process may come to hold; None where that is not known."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    return machine.available_memory_bytes() if device.type == "cpu" else None


def needed_bytes(recipe: Recipe, architecture: Architecture, precision: str, micro_batch: int) -> int:
    """The prediction for a training whose batches are computed in parts of this many photos."""
    accounts = account_layers(architecture)
    kept = training_memory(architecture, accounts, micro_batch, precision, ema=recipe.ema_decay > 0)
    return kept.total_bytes + kept.gradients_bytes + LIBRARIES_BYTES  # the optimiser works on copies of the gradients


def fitting_micro_batch(recipe: Recipe, architecture: Architecture, device: torch.device, precision: str) -> int:
    """How many photos at once: the whole batch, or the largest power of two that fits. 1 where not even one fits.

    A batch whose photos are compared with each other has no parts.
    """
    available = available_bytes(device)
    if available is None or recipe.compares_photos:
        return recipe.batch_size
    return next((part for part in _parts(recipe) if _fits(recipe, architecture, precision, part, available)), 1)


def has_room_to_keep(
    recipe: Recipe, architecture: Architecture, device: torch.device, precision: str, micro_batch: int
) -> bool:
    """Whether the process may keep what it frees for the next step, `machine.keep_freed_memory`."""
    available = available_bytes(device) if device.type == "cpu" else None
    return available is not None and KEPT * needed_bytes(recipe, architecture, precision, micro_batch) <= (
        USABLE * available
    )


def held_bytes(
    recipe: Recipe, architecture: Architecture, device: torch.device, precision: str, micro_batch: int
) -> int:
    """What a training may come to hold here: where there is plenty, more than it needs."""
    is_kept = has_room_to_keep(recipe, architecture, device, precision, micro_batch)
    return round((KEPT if is_kept else 1) * needed_bytes(recipe, architecture, precision, micro_batch))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, of the processor or of the GPU."""
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error).lower() for sign in _SIGNS)


def explain_memory(
    recipe: Recipe, architecture: Architecture, progress: Progress, device: torch.device
) -> TrainingError:
    """What a training that ran out of memory needs, what there is, and what would fit."""
    precision, micro_batch = progress.precision, progress.micro_batch
    parts = f" in parts of {micro_batch}" if micro_batch < recipe.batch_size else ""
    needed = _size(needed_bytes(recipe, architecture, precision, micro_batch))
    available = available_bytes(device)
    there = f"it can have {_size(available)}" if available is not None else "there was less"
    return TrainingError(
        f"out of memory ({device.type}): a batch of {recipe.batch_size}{parts} needs about {needed}, {there}.",
        _advice(recipe, architecture, precision, micro_batch, available),
    )


def _advice(recipe: Recipe, architecture: Architecture, precision: str, micro_batch: int, available: int | None) -> str:
    """The largest part that should fit; always one smaller than that which did not."""
    smaller = [part for part in _parts(recipe) if part < micro_batch]
    fitting = [p for p in smaller if available is None or _fits(recipe, architecture, precision, p, available)]
    if fitting:
        needed = _size(needed_bytes(recipe, architecture, precision, fitting[0]))
        what, field = ("Batches", "batch_size") if recipe.compares_photos else ("Parts", "micro_batch")
        return (
            f"{what} of {fitting[0]} need about {needed}: train anew with --set {field}={fitting[0]}. "
            "Or close other programs, and go on with --resume."
        )
    needed = _size(needed_bytes(recipe, architecture, precision, 1))
    fc = ", or without the large fc6 and fc7, --set head=gap" if recipe.head == "fc" else ""
    return (
        f"Even one photo at a time needs about {needed}: take a narrower network, --set width={recipe.width / 2:g}, "
        f"or smaller pictures, --set input_size=...{fc}; or close other programs."
    )


def _parts(recipe: Recipe) -> list[int]:
    """The sizes to choose from, falling: the whole batch, then powers of two."""
    powers = [2**k for k in reversed(range(recipe.batch_size.bit_length()))]
    return [recipe.batch_size, *(power for power in powers if power < recipe.batch_size)]


def _fits(recipe: Recipe, architecture: Architecture, precision: str, part: int, available: int) -> bool:
    return needed_bytes(recipe, architecture, precision, part) <= USABLE * available


def _size(size: int) -> str:
    return f"{size / _GIB:.1f} GiB" if size >= _GIB else f"{size / _MIB:.0f} MiB"
