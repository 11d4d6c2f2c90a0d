"""Boxes around what speaks for a class, against pixels that are joined one by one and against the maps themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from verydeep.explain.backward import Target
from verydeep.explain.boxes import hot_box, needed_outputs
from verydeep.explain.explanation import explain, subject_of
from verydeep.explain.gradcam import gradcam
from verydeep.nouns import Preprocessing
from verydeep.predict import Predictor
from verydeep.runtime import open_model


def largest_part(inside: np.ndarray) -> tuple[int, list[int]]:
    """The most pixels that hang together, and their edges, found by going from each to its neighbours."""
    left, parts = {(int(y), int(x)) for y, x in np.argwhere(inside)}, []
    while left:
        waiting, part = [min(left)], []
        left.discard(waiting[0])
        while waiting:
            y, x = waiting.pop()
            part.append((y, x))
            near = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)} & left
            left -= near
            waiting += near
        parts.append(part)
    best = max(parts, key=len)
    rows, columns = zip(*best, strict=True)
    return len(best), [min(columns), min(rows), max(columns) + 1, max(rows) + 1]


@pytest.mark.parametrize("density", [0.1, 0.4, 0.55, 0.6, 0.7, 0.95])
def test_the_largest_part_is_that_of_neighbours_joined_one_by_one(density: float) -> None:
    for seed in range(12):
        inside = np.random.default_rng(seed).uniform(size=(17, 23)) < density
        if not inside.any():
            continue
        size, _ = largest_part(inside)
        left, top, right, bottom = hot_box(inside.astype(float), 1.0).astype(int)
        alone = np.zeros_like(inside)
        alone[top:bottom, left:right] = inside[top:bottom, left:right]
        assert largest_part(alone) == (size, [left, top, right, bottom])


def test_the_share_is_of_the_largest_heat() -> None:
    heat = np.zeros((20, 30))
    heat[5:9, 10:20] = 1
    heat[5:12, 10:24] += 0.3
    heat[15:, :4] = 1.2
    assert hot_box(heat, 0.9).tolist() == [10, 5, 20, 9]
    assert hot_box(heat, 0.2).tolist() == [10, 5, 24, 12]
    assert hot_box(10 * heat, 0.2).tolist() == [10, 5, 24, 12]


@pytest.mark.parametrize("heat", [np.zeros((4, 6)), np.ones((4, 6))])
def test_a_map_without_contrast_is_the_whole_picture(heat: np.ndarray) -> None:
    assert hot_box(heat).tolist() == [0, 0, 6, 4]


@pytest.mark.parametrize("head", ["gap", "fc"])
def test_the_box_of_a_class_is_that_of_its_grad_cam(head: str, tmp_path: Path, make_toy: Callable[..., Path]) -> None:
    fields = {"configuration": "B", "head": head, "width": 0.125, "input_size": 64}
    model = make_toy(tmp_path / "model.safetensors", preprocessing=Preprocessing(72, 64), **fields)
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    predictor = Predictor(model, engine="reference", boxes=True)
    for score in predictor.predict(photo).scores:
        told = explain(predictor.model, photo, "gradcam", label=score.label)
        left, top, right, bottom = hot_box(told.map.heat)
        across, down = (told.box[2] - told.box[0]) / 64, (told.box[3] - told.box[1]) / 64
        expected = [told.box[0] + left * across, told.box[1] + top * down]
        expected += [told.box[0] + right * across, told.box[1] + bottom * down]
        assert score.box == pytest.approx(expected)


def test_with_the_gap_head_the_map_is_the_class_activation_map(toy_model: Path) -> None:
    model = open_model(toy_model, engine="reference")
    image = np.random.default_rng(0).normal(size=(1, 3, 32, 32)).astype(np.float32)
    names = needed_outputs(model.info.architecture)
    assert names == ("relu2_1", "pool2", "gap", "logits")
    values = {name: array[0] for name, array in model.engine.run(image, names).items()}
    subject = subject_of(model)
    for number in range(3):
        activation = np.tensordot(model.weights["fc8.weight"][number], values["relu2_1"], axes=1)
        found = gradcam(subject, values, Target("logits", number), "relu2_1")
        assert found * activation.size == pytest.approx(activation, rel=1e-3, abs=1e-5)
