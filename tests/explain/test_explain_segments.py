"""What pixels are taken for, explained: the gradient of a class's score against torch's, pictures, refusals."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from verydeep.architecture import Architecture
from verydeep.errors import UsageError
from verydeep.explain import check_segment, explain, explain_segment
from verydeep.explain.activations import activations
from verydeep.explain.backward import Subject, record, signal_at
from verydeep.explain.explanation import last_map
from verydeep.explain.gradcam import gradcam
from verydeep.explain.segmentation import METHODS_OF_PIXELS, PixelScore
from verydeep.image import preprocess
from verydeep.network import build
from verydeep.nouns import Weights
from verydeep.predict import Segmenter
from verydeep.runtime import open_model
from verydeep.runtime.windows import WindowedEngine

NETWORKS = {
    "toy, batch norm": Architecture("toy", "segnet", classes=4, input_size=32, batch_norm=True),
    "A": Architecture("A", "segnet", classes=3, input_size=32, width=0.125),
    "SegNet-Basic": Architecture("SegNet-Basic", "segnet", classes=3, input_size=32, width=0.125, batch_norm=True),
}
SIDES = {"toy, batch norm": (33, 27), "A": (37, 51), "SegNet-Basic": (35, 40)}


@pytest.fixture(params=NETWORKS)
def network(
    request: pytest.FixtureRequest, make_subject: Callable[..., Subject], random_weights: Callable[..., Weights]
) -> tuple[Subject, np.ndarray]:
    """A network in float64, and a picture for it, of odd sides."""
    architecture = NETWORKS[request.param]
    image = np.random.default_rng(1).normal(size=(3, *SIDES[request.param]))
    return make_subject(architecture, random_weights(architecture)), image


Bordered = Callable[[torch.Tensor, Architecture], torch.Tensor]


def torch_score(
    subject: Subject, image: np.ndarray, target: PixelScore, output: str, bordered: Bordered
) -> tuple[float, np.ndarray]:
    """The score and its gradient by an output, by autograd."""
    module = build(subject.architecture, subject.weights).double()
    pixels = torch.from_numpy(image)[None].requires_grad_()
    names = ("logits",) if output == "image" else (output, "logits")
    found = {"image": pixels} | module.features(bordered(pixels, subject.architecture), names)
    logits = found["logits"][0, :, : image.shape[1], : image.shape[2]]
    score = logits[target.channel][torch.from_numpy(target.where)].mean()
    return score.item(), torch.autograd.grad(score, found[output])[0][0].numpy()


@pytest.mark.parametrize("output", ["image", "conv1_1", "pool1", "bottom", "top"])
def test_the_score_and_its_gradient_are_torchs(
    output: str, network: tuple[Subject, np.ndarray], bordered: Bordered
) -> None:
    subject, image = network
    bottom = last_map(subject.architecture)
    output = {"bottom": bottom, "top": subject.architecture.layers[-2].name}.get(output, output)
    values = record(subject, image, () if output == "image" else (output,))
    assert values["logits"].shape[1:] == image.shape[1:]
    target = PixelScore.of(values["logits"], int(values["logits"].argmax(axis=0).max()))
    assert 0 < target.where.sum() < target.where.size
    score, gradient = torch_score(subject, image, target, output, bordered)
    assert target.score(values) == pytest.approx(score, rel=1e-9)
    found = signal_at(subject, values, target, output)
    np.testing.assert_allclose(found, gradient, atol=1e-9 * np.abs(gradient).max())
    if output == bottom:
        expected = np.tensordot(gradient.mean(axis=(1, 2)), values[bottom], axes=1)
        np.testing.assert_allclose(
            gradcam(subject, values, target, bottom), expected, atol=1e-9 * np.abs(expected).max()
        )


def test_the_layer_before_the_decoder_is_looked_at() -> None:
    found = [last_map(architecture) for architecture in NETWORKS.values()]
    assert found == ["relu2_1", "relu5_2", "relu4_1"]
    assert last_map(Architecture("D", "fc")) == "relu5_3"


def test_of_a_class_that_no_pixel_is_taken_for_its_strongest_pixel_is_explained() -> None:
    logits = np.zeros((3, 2, 4))
    logits[0] = 5
    logits[2, 1, 3] = 4
    target = PixelScore.of(logits, 2)
    assert target.where.sum() == 1
    assert target.score({"logits": logits}) == 4
    assert target.signal({"logits": logits})[2, 1, 3] == 1


# From a model file and a photo


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (41, 62, 3), np.uint8)  # 36 x 54 to the network, of stride 4


@pytest.mark.parametrize("method", METHODS_OF_PIXELS)
def test_every_method_explains_the_class_of_the_most_pixels(method: str, segnet_model: Path, photo: np.ndarray) -> None:
    opened = open_model(segnet_model, engine="reference")
    found = explain_segment(opened, photo, method)
    logits = Segmenter(segnet_model, engine="reference").logits(photo)
    taken = np.bincount(logits.argmax(axis=0).ravel())
    assert found.label == opened.info.classes[taken.argmax()]
    assert found.share == pytest.approx(taken.max() / taken.sum())
    assert found.score == pytest.approx(
        logits[taken.argmax()][logits.argmax(axis=0) == taken.argmax()].mean(), rel=1e-4
    )
    assert found.box == (0, 0, 62, 41)
    assert found.map.heat.shape == logits.shape[1:] == (36, 54)
    assert found.map.heat.min() >= 0
    fields = json.loads(json.dumps(found.to_dict()))
    assert fields["target"]["pixels"] == taken.max()
    assert np.shape(fields["values"]) == found.map.values.shape


@pytest.mark.parametrize(("layer", "size"), [("relu1_2", (36, 54)), ("relu2_1", (18, 27)), ("conv1_1_D", (36, 54))])
def test_maps_are_those_of_the_photo_and_not_of_its_border(
    layer: str, size: tuple[int, int], segnet_model: Path, photo: np.ndarray
) -> None:
    opened = open_model(segnet_model, engine="reference")
    found = activations(opened, photo, layer, is_dense=True)
    assert (found.maps.shape[1:], found.image_size) == (size, (36, 54))
    image = preprocess(photo, opened.info.preprocessing, is_dense=True)
    seen = WindowedEngine(opened.engine, opened.info.architecture).run(image[None], (layer,))[layer][0]
    assert np.array_equal(found.maps, seen[:, : size[0], : size[1]])


def test_another_class_and_a_unit_can_be_explained(segnet_model: Path, photo: np.ndarray) -> None:
    opened = open_model(segnet_model, engine="reference")
    labels = [explain_segment(opened, photo, label=label).label for label in ("sky", "ROAD", "car")]
    assert labels == ["sky", "road", "car"]
    unit = explain_segment(opened, photo, "guided", layer="relu2_1", channel=3)
    assert unit.is_of_unit
    assert unit.to_dict()["target"]["channel"] == 3
    assert len(unit.to_dict()["target"]["position"]) == 2


def test_what_does_not_go_together_is_refused(segnet_model: Path, toy_model: Path, photo: np.ndarray) -> None:
    opened = open_model(segnet_model, engine="reference")
    for method, fields, told in (
        ("occlusion", {}, "does not explain the class of pixels"),
        ("integrated", {}, "does not explain the class of pixels"),
        ("gradient", {"label": "sky", "layer": "relu2_1"}, "exclude each other"),
        ("gradcam", {"label": "bus"}, "no class 'bus'"),
        ("gradcam", {"layer": "relu9_9"}, "relu9_9"),
    ):
        with pytest.raises(UsageError, match=told):
            check_segment(opened, method, **fields)
    with pytest.raises(UsageError, match="no class of the whole photo"):
        explain(opened, photo)


def test_the_command_draws_the_pixels_and_says_what_the_score_is(
    run: Callable[..., Any], segnet_model: Path, photo: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    arguments = ("explain", tmp_path / "photo.png", "--model", segnet_model, "--method", "gradcam,gradient")
    done = run(*arguments, "--out", tmp_path / "out")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[1].endswith(" % of the photo")
    assert lines[2].startswith("  Grad-CAM at relu2_1: ")
    with Image.open(tmp_path / "out" / "photo-explained-gradcam+gradient.png") as picture:
        assert picture.width > 4 * 440  # the photo, its pixels, and a panel for each
    document = json.loads(run(*arguments, "--class", "car", "--json").out)
    (one,) = document["photos"]
    assert [found["label"] for found in one["explanations"]] == ["car", "car"]
    svg = run(*arguments, "--svg", "--out", tmp_path / "out")
    assert svg.code == 0
    assert "the mean over them" in (tmp_path / "out" / "photo-explained-gradcam+gradient.svg").read_text()
    refused = run("explain", tmp_path / "photo.png", "--model", segnet_model, "--method", "occlusion")
    assert refused.code == 2
    for method in ("activations", "filters"):  # the views of layers are as of any model
        photos = () if method == "filters" else (tmp_path / "photo.png",)
        assert run("explain", *photos, "--model", segnet_model, "--method", method, "--json").code == 0
