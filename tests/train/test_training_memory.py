"""What is said to fit against the accounts, and a training that truly runs out of memory."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from verydeep import machine
from verydeep.accounting import account_layers
from verydeep.accounting.memory import training_memory
from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset, Splits
from verydeep.errors import TrainingError
from verydeep.train import memory
from verydeep.train.checkpoint import Progress
from verydeep.train.loop import begin
from verydeep.train.memory import (
    USABLE,
    explain_memory,
    fitting_micro_batch,
    held_bytes,
    is_out_of_memory,
    needed_bytes,
)
from verydeep.train.recipe import Recipe

CPU = torch.device("cpu")
GIB = 2**30
RECIPE = Recipe(configuration="D", batch_norm=False, head="fc", input_size=224, test_resize=256, test_crop=224)
RECIPE = replace(RECIPE, batch_size=256, ema_decay=0.0)
D = RECIPE.architecture(1000)
PROGRESS = Progress(precision="float32", micro_batch=64, threads=1, versions={}, classes=[], photos="")


def needed(photos: int, precision: str = "float32") -> int:
    return needed_bytes(RECIPE, D, precision, photos)


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """What the machine is made to offer, in bytes: set its only element."""
    offer: list[int | None] = [None]
    monkeypatch.setattr(memory, "available_bytes", lambda device: offer[0])
    return offer


def test_the_prediction_is_the_accounts_and_what_the_optimiser_and_the_libraries_take() -> None:
    averaging = replace(RECIPE, ema_decay=0.99)
    for recipe, precision in ((RECIPE, "float32"), (averaging, "bfloat16")):
        accounts = training_memory(D, account_layers(D), 8, precision, ema=recipe.ema_decay > 0)
        extra = needed_bytes(recipe, D, precision, 8) - accounts.total_bytes
        assert extra == 4 * 138_357_544 + 2**27  # the paper's 138 million parameters


@pytest.mark.parametrize("photos", [1, 2, 16, 128, 256])
def test_the_largest_part_is_taken_that_fits_into_four_fifths(photos: int, available: list[int | None]) -> None:
    exactly = -int(-needed(photos) // USABLE)
    available[0] = exactly + 1
    assert fitting_micro_batch(RECIPE, D, CPU, "float32") == photos
    available[0] = exactly - 1
    assert fitting_micro_batch(RECIPE, D, CPU, "float32") == max(1, photos // 2)


def test_a_whole_batch_that_fits_is_left_whole_and_another_becomes_a_power_of_two(available: list[int | None]) -> None:
    odd = replace(RECIPE, batch_size=100)
    assert fitting_micro_batch(odd, D, CPU, "float32") == 100  # nothing is known of the memory
    available[0] = 10**15
    assert fitting_micro_batch(odd, D, CPU, "float32") == 100
    available[0] = round(needed(99) / USABLE)
    assert fitting_micro_batch(odd, D, CPU, "float32") == 64


def test_the_average_of_the_weights_and_the_precision_count(available: list[int | None]) -> None:
    available[0] = round(needed(64) / USABLE) + 10**6
    averaging = replace(RECIPE, ema_decay=0.99)
    assert fitting_micro_batch(averaging, D, CPU, "float32") == 32
    assert fitting_micro_batch(RECIPE, D, CPU, "bfloat16") == 64
    available[0] = round(needed(256, "bfloat16") / USABLE) + 10**6
    assert fitting_micro_batch(RECIPE, D, CPU, "bfloat16") == 256


def test_the_error_says_what_is_needed_what_there_is_and_what_would_fit(available: list[int | None]) -> None:
    available[0] = 5 * GIB
    error = explain_memory(RECIPE, D, PROGRESS, CPU)
    assert isinstance(error, TrainingError)
    assert error.message == (
        f"out of memory (cpu): a batch of 256 in parts of 64 needs about {needed(64) / GIB:.1f} GiB, "
        "it can have 5.0 GiB."
    )
    assert needed(16) <= USABLE * 5 * GIB < needed(32)
    hint = f"Parts of 16 need about {needed(16) / GIB:.1f} GiB: train anew with --set micro_batch=16"
    assert error.hint.startswith(hint)


def test_a_part_that_should_have_fitted_is_halved(available: list[int | None]) -> None:
    for available[0] in (10**15, None):
        error = explain_memory(RECIPE, D, replace(PROGRESS, micro_batch=256), CPU)
        assert "a batch of 256 needs about" in error.message
        assert "--set micro_batch=128" in error.hint


def test_freed_memory_is_kept_where_two_fifths_more_than_is_needed_fit(available, monkeypatch) -> None:
    kept: list[bool] = []
    monkeypatch.setattr(machine, "keep_freed_memory", lambda: kept.append(True))
    recipe = Recipe(configuration="toy", input_size=32, test_resize=32, test_crop=32, precision="float32")
    photos = Dataset(("a", "b"), (Path("a"), Path("b")), (0, 1))
    needed = needed_bytes(recipe, recipe.architecture(2), "float32", recipe.batch_size)
    plenty = round(1.4 * needed / USABLE) + 1
    for offer, is_kept in ((plenty, True), (plenty - 2, False), (None, False)):
        available[0] = offer
        kept.clear()
        state = begin(recipe, Splits(photos, photos, is_drawn=False), CPU)
        assert bool(kept) is is_kept
        held = held_bytes(recipe, state.network.architecture, CPU, "float32", recipe.batch_size)
        assert held == (round(1.4 * needed) if is_kept else needed)


def test_where_not_one_photo_fits_another_network_is_advised(available: list[int | None]) -> None:
    available[0] = 2**20
    for micro_batch in (64, 1):
        error = explain_memory(RECIPE, D, replace(PROGRESS, micro_batch=micro_batch), CPU)
        assert "micro_batch=" not in error.hint
        for advice in ("--set width=0.5", "--set input_size=", "--set head=gap"):
            assert advice in error.hint


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("[enforce fail] DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_memory_that_ran_out_is_recognised(error: Exception) -> None:
    assert is_out_of_memory(error)


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1 and mat2 cannot be multiplied"), ValueError("out of memory"), KeyboardInterrupt()]
)
def test_other_errors_are_not_taken_for_it(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_what_this_machine_offers_is_between_nothing_and_all_of_it() -> None:
    available = memory.available_bytes(CPU)
    if available is None:
        pytest.skip("this system does not tell")
    assert 2**27 < available < 2**50


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_offers_what_is_free_and_what_this_process_holds() -> None:
    device = torch.device("cuda", 0)
    before = memory.available_bytes(device)
    held = torch.empty(2**28, dtype=torch.uint8, device=device)
    assert memory.available_bytes(device) == pytest.approx(before, abs=2**26)
    del held


TRULY = """
import resource, sys
import torch
from verydeep.architecture import Architecture
from verydeep.network import Network
from verydeep.train import memory

torch.set_num_threads(1)
part = int(sys.argv[1])
architecture = Architecture("B", head="gap", classes=10, input_size=64, width=0.25)
network = Network(architecture)
used = memory.machine._fields(memory.machine.Path("/proc/self/status"))["VmSize"]
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
try:
    network(torch.zeros(part, 3, 64, 64)).sum().backward()
except BaseException as error:
    print(memory.is_out_of_memory(error), memory.available_bytes(torch.device("cpu")) // 2**20, repr(error))
else:
    print("fits")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not hold a process to its limit")
def test_a_step_that_truly_runs_out_of_memory_is_recognised_and_the_part_that_is_predicted_to_fit_fits() -> None:
    limit = 700 * 2**20
    architecture = Architecture("B", head="gap", classes=10, input_size=64, width=0.25)
    recipe = Recipe(configuration="B", head="gap", input_size=64, width=0.25, batch_norm=False, test_crop=64)
    recipe = replace(recipe, batch_size=1024, ema_decay=0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda device: limit)
        fitting = fitting_micro_batch(recipe, architecture, CPU, "float32")
    assert 1 < fitting < 1024
    assert truly(fitting) == "fits"
    is_recognised, available, _ = truly(1024).split(maxsplit=2)
    assert is_recognised == "True"
    assert int(available) < 1200  # the limit that the process has, not the machine's memory


def truly(part: int) -> str:
    command = [sys.executable, "-c", TRULY, str(part)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout.strip()
