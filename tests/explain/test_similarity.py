"""Why two photos are alike: the gradient of their cosine against torch's, for classifiers and embedding models."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.explain import METHODS, Settings, explain, explain_similarity, similarity_to
from verydeep.explain.backward import Subject, record, signal_at, unit_back
from verydeep.explain.gradcam import gradcam
from verydeep.explain.similarity import METHODS_OF_A_SIMILARITY, Similarity
from verydeep.image import preprocess
from verydeep.network import build
from verydeep.nouns import Preprocessing, Weights
from verydeep.outputs import embedding_output
from verydeep.predict import Embedder
from verydeep.predict.embedder import most_alike
from verydeep.runtime import open_model
from verydeep.weights import ModelInfo, write_model

NETWORKS = {
    "embedding": Architecture("toy", "embedding", classes=2, input_size=32, batch_norm=True, dimensions=6),
    "gap": Architecture("toy", "gap", classes=2, input_size=32, batch_norm=True),
    "fc": Architecture("toy", "fc", classes=2, input_size=32, width=0.5),
    "conv, a larger image": Architecture("toy", "conv", classes=2, input_size=32, width=0.5),
}


@pytest.fixture(params=NETWORKS.values(), ids=NETWORKS)
def network(
    request: pytest.FixtureRequest,
    make_subject: Callable[..., Subject],
    random_weights: Callable[..., Weights],
) -> tuple[Subject, np.ndarray, Similarity]:
    """A network in float64, a picture for it, and the other photo."""
    architecture = request.param
    random = np.random.default_rng(1)
    image = random.normal(size=(3, *((41, 50) if architecture.head == "conv" else (32, 32))))
    subject = make_subject(architecture, random_weights(architecture))
    output = embedding_output(architecture)
    features = record(subject, image, (output,))[output]
    other = random.normal(size=len(features))
    return subject, image, Similarity(output, other / np.linalg.norm(other))


def torch_similarity(subject: Subject, image: np.ndarray, target: Similarity, output: str) -> tuple[float, np.ndarray]:
    """The cosine and its gradient by an output, as torch's own cosine has them."""
    module = build(subject.architecture, subject.weights).double()
    found = module.features(torch.from_numpy(image)[None].requires_grad_(), (output, target.output))
    features = found[target.output].flatten(2).mean(dim=2) if found[target.output].ndim == 4 else found[target.output]
    cosine = torch.cosine_similarity(features, torch.from_numpy(target.other)[None])[0]
    return cosine.item(), torch.autograd.grad(cosine, found[output])[0][0].numpy()


@pytest.mark.parametrize("output", ["conv1_1", "relu1_2", "pool1", "relu2_1"])
def test_the_cosine_and_its_gradient_are_torchs(network: tuple[Subject, np.ndarray, Similarity], output: str) -> None:
    subject, image, target = network
    values = record(subject, image, (target.output,))
    cosine, gradient = torch_similarity(subject, image, target, output)
    assert target.score(values) == pytest.approx(cosine, abs=1e-6)  # embeddings are float32
    found = signal_at(subject, values, target, output)
    np.testing.assert_allclose(found, gradient, atol=1e-10 * np.abs(gradient).max())


def test_the_map_is_grad_cams_formula_on_torchs_gradient(network: tuple[Subject, np.ndarray, Similarity]) -> None:
    subject, image, target = network
    values = record(subject, image, (target.output, "relu2_1"))
    _, gradient = torch_similarity(subject, image, target, "relu2_1")
    expected = np.tensordot(gradient.mean(axis=(1, 2)), values["relu2_1"], axes=1)
    found = gradcam(subject, values, target, "relu2_1")
    np.testing.assert_allclose(found, expected, atol=1e-10 * np.abs(expected).max())


def test_the_derivative_of_a_unit_vector_is_torchs_also_at_zero() -> None:
    random = np.random.default_rng(0)
    for x in (random.normal(size=5), 1e-9 * random.normal(size=5), np.zeros(5)):
        signal = random.normal(size=5)
        vector = torch.from_numpy(x).requires_grad_()
        unit = torch.nn.functional.normalize(vector, dim=0, eps=1e-12)
        (expected,) = torch.autograd.grad(unit, vector, torch.from_numpy(signal))
        np.testing.assert_allclose(unit_back(signal, x), expected.numpy(), rtol=1e-9)


# From model files and photos


@pytest.fixture(params=["embedding", "gap", "fc"])
def model(request: pytest.FixtureRequest, tmp_path: Path, random_weights: Callable[..., Weights]) -> Path:
    architecture = NETWORKS[request.param]
    write_model(
        tmp_path / "model.safetensors",
        ModelInfo(architecture, ("a", "b"), Preprocessing(36, 32)),
        random_weights(architecture),
    )
    return tmp_path / "model.safetensors"


@pytest.fixture(scope="session")
def pair() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(0, 256, (40, 60, 3), np.uint8), random.integers(0, 256, (50, 40, 3), np.uint8)


@pytest.mark.parametrize("is_dense", [False, True], ids=["crop", "whole"])
def test_every_method_explains_what_search_prints(
    is_dense: bool, model: Path, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    opened = open_model(model, engine="reference", is_dense=is_dense)
    target = similarity_to(opened, pair[1], is_dense=is_dense)
    for method in METHODS_OF_A_SIMILARITY:
        found = explain_similarity(opened, pair[0], target, method, is_dense=is_dense, settings=Settings(steps=40))
        assert found.map.heat.shape == ((36, 54) if is_dense else (32, 32))
        assert found.map.heat.min() >= 0
        assert np.isfinite(found.map.values).all()
        fields = json.loads(json.dumps(found.to_dict()))
        assert fields["target"] == {"output": target.output, "similarity": found.score}
        if method == "integrated":
            figures = found.map.figures
            assert figures["sum"] == pytest.approx(figures["gain"], rel=0.05, abs=0.02)
    if not is_dense:
        one, other = Embedder(model, engine="reference").embed_many(pair)
        assert most_alike(other[None], one)[1][0] == pytest.approx(found.score, abs=2e-6)


def test_a_photo_is_wholly_like_itself_and_nothing_could_make_it_more_so(
    model: Path, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    opened = open_model(model, engine="reference")
    found = explain_similarity(opened, pair[0], similarity_to(opened, pair[0]), "gradient")
    assert found.score == pytest.approx(1)
    elsewhere = explain_similarity(opened, pair[0], similarity_to(opened, pair[1]), "gradient")
    assert np.abs(found.map.values).max() < 1e-4 * np.abs(elsewhere.map.values).max()


def test_what_does_not_go_together_is_refused(model: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    opened = open_model(model, engine="reference")
    target = similarity_to(opened, pair[1])
    for arguments, message in (
        ({"method": "occlusion"}, "occlusion does not explain a similarity; gradcam, gradient"),
        ({"method": "lime"}, "lime does not explain a similarity"),
        ({"method": "guided", "layer": "relu1_1"}, "takes no layer where a similarity is explained"),
        ({"layer": "fc8"}, "fc8 has no map"),
    ):
        with pytest.raises(UsageError, match=message):
            explain_similarity(opened, pair[0], target, **arguments)


@pytest.mark.parametrize("model", ["embedding"], indirect=True)
@pytest.mark.parametrize("method", METHODS)
def test_an_embedding_model_has_no_class_to_explain(
    method: str, model: Path, pair: tuple[np.ndarray, np.ndarray]
) -> None:
    with pytest.raises(UsageError, match="an embedding names no class"):
        explain(open_model(model, engine="reference"), pair[0], method)


@pytest.mark.parametrize("model", ["embedding"], indirect=True)
def test_the_unit_layer_is_seen_by_nobody_as_a_map(model: Path, pair: tuple[np.ndarray, np.ndarray]) -> None:
    opened = open_model(model, engine="reference")
    image = preprocess(pair[0], opened.info.preprocessing)
    assert np.linalg.norm(opened.engine.run(image[None])["logits"]) == pytest.approx(1)
    with pytest.raises(UsageError, match="unit8 has no map"):
        explain_similarity(opened, pair[0], similarity_to(opened, pair[1]), layer="unit8")
