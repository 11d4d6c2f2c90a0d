"""How far a box reaches is explained as a class is: the number is the box's, the gradient is its derivative."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.cli import explain as command
from verydeep.errors import UsageError
from verydeep.explain import explain
from verydeep.explain.backward import BOX_EDGES
from verydeep.image import preprocess
from verydeep.outputs.boxes import windows
from verydeep.runtime import OpenedModel, open_model


@pytest.fixture(scope="module", params=[("gap", "single"), ("gap", "class"), ("fc", "class")], ids="-".join)
def model(
    request: pytest.FixtureRequest, make_localizer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> OpenedModel:
    head, boxes = request.param
    path = tmp_path_factory.mktemp("models") / "boxes.safetensors"
    width = 0.5 if head == "gap" else 0.0625
    return open_model(make_localizer(path, box=None, head=head, boxes=boxes, width=width), engine="reference")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def centred(model: OpenedModel, image: np.ndarray, place: int) -> np.ndarray:
    """A class's box as middle, width and height, in sides of the picture."""
    answer = model.engine.run(image[np.newaxis])["logits"][0]
    first = 3 + (4 * place if model.info.architecture.boxes == "class" else 0)
    return np.asarray(answer[first : first + 4], np.float64)


def reach(box: np.ndarray, edge: str) -> float:
    x, y, width, height = box
    sides = {
        "left": 0.5 - (x - width / 2),
        "top": 0.5 - (y - height / 2),
        "right": x + width / 2 - 0.5,
        "bottom": y + height / 2 - 0.5,
    }
    return float(sides[edge] if edge in sides else sum(sides.values()))


@pytest.mark.parametrize("edge", BOX_EDGES)
def test_the_score_is_how_far_the_box_of_the_class_reaches(edge: str, model: OpenedModel, photo: np.ndarray) -> None:
    image = preprocess(photo, model.info.preprocessing)
    found = explain(model, photo, "gradcam", label="dog", edge=edge)
    box = centred(model, image, 1)
    assert found.score == pytest.approx(reach(box, edge), abs=1e-5)
    if (box[2:] > 0).all():
        seen = windows(model.engine.run(image[np.newaxis])["logits"][0], model.info.architecture, 32, (32, 32))
        left, top, right, bottom = seen.boxes[0, -1 if seen.boxes.shape[1] == 1 else 1]
        outwards = {"left": 0.5 - left, "top": 0.5 - top, "right": right - 0.5, "bottom": bottom - 0.5}
        assert found.score == pytest.approx(outwards.get(edge, sum(outwards.values())), abs=1e-5)
    assert found.label == "dog"
    assert not found.is_of_unit
    assert found.to_dict()["target"]["box_edge"] == edge


@pytest.mark.parametrize("edge", ["left", "all"])
def test_the_gradient_is_the_derivative_of_that_number(edge: str, model: OpenedModel, photo: np.ndarray) -> None:
    image = preprocess(photo, model.info.preprocessing).astype(np.float64)
    found = explain(model, photo, "gradient", label="cat", edge=edge).map.values
    direction = np.random.default_rng(1).normal(size=image.shape)
    step = 1e-3
    both = [reach(centred(model, (image + sign * step * direction).astype(np.float32), 0), edge) for sign in (1, -1)]
    assert (both[0] - both[1]) / (2 * step) == pytest.approx(float((found * direction).sum()), rel=0.05, abs=1e-3)


def test_what_cannot_be_explained_of_a_box_is_refused(model: OpenedModel, photo: np.ndarray, toy_model: Path) -> None:
    with pytest.raises(UsageError, match="a box has no edge 'middle'; there are left, top, right, bottom, all"):
        explain(model, photo, edge="middle")
    with pytest.raises(UsageError, match="occlusion tells what a class loses"):
        explain(model, photo, "occlusion", edge="left")
    with pytest.raises(UsageError, match="a box, or a unit of a layer"):
        explain(model, photo, "gradient", edge="left", layer="relu1_1")
    with pytest.raises(UsageError, match="Leave --whole out"):
        explain(model, photo, edge="left", is_dense=True)
    with pytest.raises(UsageError, match=r"^the model \(toy-bn-gap\) gives no boxes"):
        explain(open_model(toy_model, engine="reference"), photo, edge="left")


def test_the_command_explains_a_box(
    run: Callable[..., Any], model: OpenedModel, photo: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert command.BOX_EDGES == BOX_EDGES
    monkeypatch.chdir(tmp_path)
    Image.fromarray(photo).save("photo.png")
    settings = ("photo.png", "--model", model.path, "--engine", "reference")
    done = run("explain", *settings, "--box-edge", "left", "--class", "dog", "--method", "gradcam,gradient")
    assert done.code == 0
    assert "the left edge of the box of dog, " in done.out
    assert list(tmp_path.glob("photo-explained-*.png"))
    done = run("explain", *settings, "--box-edge", "all", "--json")
    (entry,) = json.loads(done.out)["photos"]
    assert entry["explanations"][0]["target"]["box_edge"] == "all"
    done = run("explain", *settings, "--box-edge", "all", "--method", "activations")
    assert (done.code, done.err.splitlines()[0]) == (2, "error: activations looks at a layer, not at a box.")


def test_an_edge_is_not_passed_over_by_a_model_of_pixels(
    run: Callable[..., Any], photo: np.ndarray, segnet_model: Path, tmp_path: Path
) -> None:
    Image.fromarray(photo).save(tmp_path / "photo.png")
    done = run(
        "explain", tmp_path / "photo.png", "--model", segnet_model, "--engine", "reference", "--box-edge", "left"
    )
    assert (done.code, done.err.splitlines()[0]) == (2, "error: a model of pixels gives no boxes.")
