"""Inversion comes closer to what a layer saw, and its price on roughness has the right derivative."""

import numpy as np
import torch

from verydeep.explain.backward import Subject
from verydeep.explain.inversion import Mismatch, invert, roughness_gradient


def test_the_layer_sees_nearly_the_same_in_the_end(subject: Subject, image: np.ndarray) -> None:
    rebuilt, errors = invert(subject, image, "relu1_1", steps=40)
    assert rebuilt.shape == image.shape
    assert errors[-1] < 0.15 * errors[0]


def test_the_derivative_of_a_mismatch_and_of_roughness_are_torchs() -> None:
    x, wanted = (torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    goal = Mismatch("relu1_1", wanted.detach().numpy())
    ((x - wanted.detach()) ** 2).sum().div((wanted.detach() ** 2).sum()).backward()
    np.testing.assert_allclose(goal.signal({"relu1_1": x.detach().numpy()}), x.grad.numpy())
    x.grad = None
    ((x.diff(dim=1) ** 2).sum() + (x.diff(dim=2) ** 2).sum()).div(x.numel()).backward()
    np.testing.assert_allclose(roughness_gradient(x.detach().numpy()), x.grad.numpy())
