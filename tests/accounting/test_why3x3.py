"""Small kernels against large ones."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from verydeep.accounting.why3x3 import Stack, compare_stacks

TWO_3X3, ONE_5X5, THREE_3X3, ONE_7X7 = compare_stacks()


def test_stacks_see_as_much_as_the_kernel_they_replace() -> None:
    assert TWO_3X3.receptive_field == ONE_5X5.receptive_field == 5
    assert THREE_3X3.receptive_field == ONE_7X7.receptive_field == 7


def test_one_7x7_has_the_papers_81_percent_more_weights() -> None:
    assert (THREE_3X3.weights_per_square_channel, ONE_7X7.weights_per_square_channel) == (27, 49)
    assert round(100 * (ONE_7X7.weights / THREE_3X3.weights - 1)) == 81


@pytest.mark.parametrize("stack", compare_stacks(channels=8, map_size=10), ids=lambda stack: stack.name)
def test_torch_counts_the_same(stack: Stack) -> None:
    convs = [nn.Conv2d(8, 8, stack.kernel, padding=stack.kernel // 2, bias=False) for _ in range(stack.depth)]
    with FlopCounterMode(display=False) as counter:
        nn.Sequential(*convs)(torch.zeros(1, 8, 10, 10))
    assert counter.get_total_flops() == 2 * stack.macs
    assert sum(conv.weight.numel() for conv in convs) == stack.weights
    assert stack.nonlinearities == stack.depth
