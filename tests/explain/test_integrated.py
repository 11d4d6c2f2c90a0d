"""Integrated gradients against captum's, and their sum against what it must be."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch

from verydeep.explain.backward import Subject, Target
from verydeep.explain.integrated import gain, integrated_gradients

CLASS = Target("logits", 1)


def test_they_are_captums(
    subject: Subject, image: np.ndarray, make_twin: Callable[..., torch.nn.Module], captum: ModuleType
) -> None:
    oracle = captum.IntegratedGradients(make_twin(subject))
    expected = oracle.attribute(torch.from_numpy(image)[None], target=1, n_steps=7)[0].numpy()
    found = integrated_gradients(subject, image, CLASS, steps=7)
    # captum holds the points of the rule in float32
    np.testing.assert_allclose(found, expected, atol=1e-6 * np.abs(expected).max())


def test_they_add_up_to_the_gain_over_the_baseline(subject: Subject, image: np.ndarray) -> None:
    found = integrated_gradients(subject, image, CLASS, steps=60)
    assert found.sum() == pytest.approx(gain(subject, image, CLASS), rel=0.05)
