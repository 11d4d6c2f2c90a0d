"""The walk back against torch's gradients and captum's, for every kind of layer and head."""

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.errors import UsageError, VerydeepError
from verydeep.explain.backward import Rule, Subject, Target, record, signal_at, strongest
from verydeep.network import build
from verydeep.nouns import Weights

CLASS = Target("logits", 3)


def torch_gradient(subject: Subject, image: np.ndarray, target: Target, output: str) -> np.ndarray:
    network = build(subject.architecture, subject.weights).double()
    found = network.features(torch.from_numpy(image)[None].requires_grad_(), (output, target.output))
    score = found[target.output][(0, target.channel, *target.position)].mean()
    return torch.autograd.grad(score, found[output])[0][0].numpy()


@pytest.mark.parametrize("output", ["conv1_1", "relu2_1", "pool3", "conv5_1", "relu5_2"])
def test_the_gradient_of_a_class_at_any_layer_is_torchs(subject: Subject, image: np.ndarray, output: str) -> None:
    found = signal_at(subject, record(subject, image), CLASS, output)
    np.testing.assert_allclose(found, torch_gradient(subject, image, CLASS, output), atol=1e-12)


@pytest.mark.parametrize("output", ["conv4_1", "relu4_1", "pool4", "relu3_2"])
def test_the_gradient_of_a_layers_strongest_unit_is_torchs(subject: Subject, image: np.ndarray, output: str) -> None:
    values = record(subject, image, (output,))
    target = strongest(values, output)
    assert target.score(values) == values[output].max()
    found = signal_at(subject, values, target, "relu1_1")
    np.testing.assert_allclose(found, torch_gradient(subject, image, target, "relu1_1"), atol=1e-12)


def test_the_derivative_of_local_response_normalisation_is_torchs(
    make_subject: Callable[..., Subject], random_weights: Callable[..., Weights]
) -> None:
    architecture = Architecture("A-LRN", "gap", classes=4, width=0.25, input_size=32)
    weights = dict(random_weights(architecture))
    weights["conv1_1.weight"] = weights["conv1_1.weight"] * 60  # so that the normalisation is felt
    subject = make_subject(architecture, weights)
    image = np.random.default_rng(2).normal(size=(3, 40, 36))
    found = signal_at(subject, record(subject, image), CLASS, "conv1_1")
    expected = torch_gradient(subject, image, CLASS, "conv1_1")
    np.testing.assert_allclose(found, expected, atol=1e-9 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU", "ignore:Input Tensor")
@pytest.mark.parametrize(
    ("rule", "name"), [("gradient", "Saliency"), ("guided", "GuidedBackprop"), ("deconvnet", "Deconvolution")]
)
def test_each_rule_is_captums(  # noqa: PLR0917, four of them fixtures
    rule: Rule,
    name: str,
    subject: Subject,
    image: np.ndarray,
    make_twin: Callable[..., torch.nn.Module],
    captum: ModuleType,
) -> None:
    options = {"abs": False} if name == "Saliency" else {}
    oracle = getattr(captum, name)(make_twin(subject))
    expected = oracle.attribute(torch.from_numpy(image)[None].requires_grad_(), target=3, **options)[0].detach().numpy()
    found = signal_at(subject, record(subject, image), CLASS, rule=rule)
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())


class ReluByRule(torch.autograd.Function):
    """The three rules as their papers write them, for torch."""

    @staticmethod
    def forward(context, x, rule):
        context.save_for_backward(x)
        context.rule = rule
        return x.clamp(min=0)

    @staticmethod
    def backward(context, signal):
        (x,) = context.saved_tensors
        if context.rule != "deconvnet":
            signal = torch.where(x > 0, signal, 0)
        return (signal if context.rule == "gradient" else signal.clamp(min=0)), None


@pytest.mark.parametrize("rule", ["gradient", "guided", "deconvnet"])
def test_each_rule_is_its_papers(
    rule: Rule, subject: Subject, image: np.ndarray, make_twin: Callable[..., torch.nn.Module]
) -> None:
    x = pixels = torch.from_numpy(image)[None].requires_grad_()
    for module in make_twin(subject):
        x = ReluByRule.apply(x, rule) if isinstance(module, torch.nn.ReLU) else module(x)
    expected = torch.autograd.grad(x[0, 3], pixels)[0][0].numpy()
    found = signal_at(subject, record(subject, image), CLASS, rule=rule)
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())


def test_the_three_rules_differ(subject: Subject, image: np.ndarray) -> None:
    values = record(subject, image)
    gradient, guided, deconvnet = (
        signal_at(subject, values, CLASS, rule=rule) for rule in ("gradient", "guided", "deconvnet")
    )
    for one, other in ((gradient, guided), (guided, deconvnet), (gradient, deconvnet)):
        assert np.abs(one - other).max() > 0.1 * np.abs(one).max()


@pytest.mark.parametrize(
    ("architecture", "target"),
    [
        (Architecture("A", "segnet", 5, 32, width=0.125, batch_norm=True), Target("logits", 2, (7, 30))),
        (Architecture("SegNet-Basic", "segnet", 5, 32, width=0.25), Target("logits", 4)),
        (Architecture("toy", "embedding", 5, 32, dimensions=6), Target("logits", 3)),
    ],
    ids=["segnet", "SegNet-Basic", "embedding"],
)
def test_the_gradient_through_unpools_and_of_an_embedding_is_torchs(
    architecture: Architecture,
    target: Target,
    make_subject: Callable[..., Subject],
    random_weights: Callable[..., Weights],
    bordered: Callable[..., torch.Tensor],
) -> None:
    subject = make_subject(architecture, random_weights(architecture))
    image = np.random.default_rng(1).normal(size=(3, 37, 50))
    network = build(architecture, subject.weights).double()
    pixels = torch.tensor(image[np.newaxis], requires_grad=True)
    place = (target.channel, *target.position)
    answer = network(bordered(pixels, architecture))[0]
    answer = answer[:, :37, :50] if answer.ndim == 3 else answer
    expected = torch.autograd.grad(answer[place].mean(), pixels)[0][0].numpy()
    found = signal_at(subject, record(subject, image), target)
    np.testing.assert_allclose(found, expected, atol=1e-7 * np.abs(expected).max())


def test_a_layer_above_the_target_is_refused(subject: Subject, image: np.ndarray) -> None:
    values = record(subject, image)
    with pytest.raises(UsageError, match="relu3_1 does not come before relu2_1"):
        signal_at(subject, values, strongest(values, "relu2_1", 1), "relu3_1")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_network_that_overflows_is_told(
    subject: Subject, image: np.ndarray, make_subject: Callable[..., Subject]
) -> None:
    huge = {name: array.astype(np.float64) * 1e40 for name, array in subject.weights.items()}
    with pytest.raises(VerydeepError, match="NaN or infinity"):
        record(make_subject(subject.architecture, huge), image)
