"""The memory estimates against hand counts and against what torch keeps for its backward pass."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from verydeep.accounting.layers import account_layers
from verydeep.accounting.memory import inference_memory, training_memory
from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.network import Network

D_PARAMETERS = 138_357_544


def test_inference_of_d_takes_its_weights_and_the_two_maps_around_conv1_2() -> None:
    memory = inference_memory(account_layers(Architecture("D")))
    assert memory.weights_bytes == 4 * D_PARAMETERS
    assert memory.activations_bytes == 4 * 2 * 224 * 224 * 64
    assert memory.total_bytes == memory.weights_bytes + memory.activations_bytes


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bfloat16", 2), ("float16", 2), ("int8", 1)])
def test_activations_of_inference_grow_with_the_batch_and_shrink_with_the_precision(precision: str, size: int) -> None:
    accounts = account_layers(Architecture("D"))
    assert inference_memory(accounts, 16, precision).activations_bytes == 16 * size * 2 * 224 * 224 * 64


def test_biases_stay_four_bytes_in_int8() -> None:
    memory = inference_memory(account_layers(Architecture("D")), precision="int8")
    assert memory.weights_bytes == 138_344_128 + 4 * 13_416


def test_training_keeps_weights_gradients_and_momentum_in_float32() -> None:
    architecture = Architecture("D")
    memory = training_memory(architecture, account_layers(architecture), 1, "float32")
    assert memory.weights_bytes == memory.gradients_bytes == memory.momentum_bytes == 4 * D_PARAMETERS
    assert memory.ema_bytes == memory.cast_weights_bytes == 0


def test_mixed_precision_adds_a_copy_of_the_weights_and_halves_the_activations() -> None:
    architecture = Architecture("E", head="gap")
    accounts = account_layers(architecture)
    single, mixed = (training_memory(architecture, accounts, 8, precision) for precision in ("float32", "bfloat16"))
    assert mixed.weights_bytes == single.weights_bytes == 2 * mixed.cast_weights_bytes
    pools = 8 * 8 * sum(account.activations for account in accounts if account.kind == "pool")  # the places stay int64
    assert mixed.activations_bytes - pools == (single.activations_bytes - pools) / 2


def test_a_moving_average_takes_as_much_as_the_weights() -> None:
    architecture = Architecture("A", batch_norm=True)
    accounts = account_layers(architecture)
    plain, averaged = (training_memory(architecture, accounts, ema=ema) for ema in (False, True))
    assert averaged.ema_bytes == averaged.weights_bytes == 4 * (132_868_840 + 5_504)  # running statistics too
    assert averaged.total_bytes - plain.total_bytes == averaged.ema_bytes


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("configuration", "batch_norm"), [("A", False), ("D", True), ("SegNet-Basic", True), ("SegNet-Basic", False)]
)
def test_the_estimate_of_a_decoder_is_what_torch_keeps(configuration: str, batch_norm: bool, precision: str) -> None:
    """Of the network itself: in torch's usual stack no layer hands its places to another."""
    architecture = Architecture(configuration, "segnet", 11, 32, width=0.25, batch_norm=batch_norm)
    kept = _bytes_kept(Network(architecture).train(), torch.rand(4, 3, 32, 32), precision)
    memory = training_memory(architecture, account_layers(architecture), 4, precision)
    logits = 4 * 11 * 32 * 32 * (4 if precision == "float32" else 2)  # the loss keeps them, which is not in the network
    assert memory.activations_bytes + memory.cast_weights_bytes - logits == pytest.approx(kept, rel=0.02)


def test_inference_keeps_the_places_of_pools_until_they_are_undone() -> None:
    architecture = Architecture("toy", "segnet", classes=2)
    accounts = {account.name: account for account in account_layers(architecture, (64, 64))}
    pair = 4 * (accounts["conv1_1"].activations + accounts["conv1_2"].activations)
    assert inference_memory(tuple(accounts.values()), 3).activations_bytes == 3 * pair
    deep = [accounts[name] for name in ("conv2_1", "pool2", "unpool2")]
    places = accounts["pool2"].activations
    expected = 4 * (accounts["conv2_1"].activations + accounts["pool2"].activations) + places
    assert inference_memory(deep).activations_bytes == expected


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("configuration", "head", "batch_norm"),
    [("A", "fc", False), ("A-LRN", "gap", False), ("C", "gap", True), ("D", "gap", False), ("E", "fc", True)],
)
def test_the_estimate_is_what_torch_keeps_for_the_backward_pass(
    *,
    torch_twin: Callable[[Architecture, str], nn.Sequential],
    configuration: str,
    head: str,
    batch_norm: bool,
    precision: str,
) -> None:
    architecture = Architecture(configuration, head=head, input_size=32, batch_norm=batch_norm)
    network = torch_twin(architecture, "cpu").train()
    kept = _bytes_kept(network, torch.rand(4, 3, 32, 32), precision)
    memory = training_memory(architecture, account_layers(architecture), 4, precision)
    assert memory.activations_bytes + memory.cast_weights_bytes == pytest.approx(kept, rel=0.02)


def _bytes_kept(network: nn.Module, images: torch.Tensor, precision: str) -> int:
    """Bytes of all tensors saved for the gradient, each storage once, weights apart but for their two-byte copies."""
    weights = {tensor.data_ptr() for tensor in network.state_dict().values()}
    storages: dict[int, torch.UntypedStorage] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.data_ptr() not in weights:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    casts = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16")
    with casts, torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        network(images)
    return sum(storage.nbytes() for storage in storages.values())


def test_what_cannot_be_is_refused() -> None:
    architecture = Architecture("toy", head="gap")
    accounts = account_layers(architecture)
    with pytest.raises(UsageError, match="batch of 0"):
        inference_memory(accounts, 0)
    with pytest.raises(UsageError, match="float32, bfloat16, float16, int8"):
        inference_memory(accounts, 1, "float8")
    with pytest.raises(UsageError, match="int8"):
        training_memory(architecture, accounts, 1, "int8")
