"""Boxes in predictions: pixels of the upright photo, whatever the model, the engine and the way the photo lies."""

import importlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import UsageError, VerydeepError
from verydeep.image import crop_box
from verydeep.nouns import Box, Fit, Prediction
from verydeep.predict import Predictor
from verydeep.runtime import ENGINES
from verydeep.weights import read_model, write_model

MakeLocalizer = Callable[..., Path]
# How a camera that lies this way stores an upright photo: what it does to it, by the value of the EXIF tag
STORED = {
    1: lambda photo: photo,
    2: lambda photo: photo[:, ::-1],
    3: lambda photo: photo[::-1, ::-1],
    4: lambda photo: photo[::-1],
    5: lambda photo: photo.transpose(1, 0, 2),
    6: lambda photo: photo.transpose(1, 0, 2)[::-1],
    7: lambda photo: photo.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda photo: photo.transpose(1, 0, 2)[:, ::-1],
}


def photo(height: int = 48, width: int = 80, seed: int = 0) -> np.ndarray:
    colour = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(colour).resize((width, height)))


def predictor(path: Path, *, engine: str = "reference", boxes: bool = False) -> Predictor:
    return Predictor(path, engine=engine, boxes=boxes)


def test_a_box_is_in_pixels_of_the_photo(make_localizer: MakeLocalizer, tmp_path: Path) -> None:
    path = make_localizer(tmp_path / "model.safetensors", (0.25, 0.5, 0.5, 0.25))
    for shape in ((48, 80), (80, 48), (300, 200)):
        left, top, right, bottom = crop_box(shape, predictor(path).model.info.preprocessing)
        expected = (left, top + (bottom - top) * 3 / 8, (left + right) / 2, top + (bottom - top) * 5 / 8)
        prediction = predictor(path).predict(photo(*shape))
        assert prediction.box == pytest.approx(expected)
        assert all(score.box == prediction.box for score in prediction.scores)  # there is one for all classes


@pytest.mark.parametrize("shape", [(48, 80), (80, 48)])
def test_a_box_is_in_pixels_of_the_photo_whatever_the_fit(
    shape: tuple[int, int], make_localizer: MakeLocalizer, refitted: Callable[[Path, Fit], Path], tmp_path: Path
) -> None:
    """Its middle half lies in a strip that a letterbox fills up, at both of the photo's longer sides."""
    path = make_localizer(tmp_path / "model.safetensors", (0.5, 0.5, 0.5, 0.9))
    height, width = shape
    squashed = predictor(refitted(path, "squash")).predict(photo(*shape)).box
    assert squashed == pytest.approx((width / 4, height / 20, width * 3 / 4, height * 19 / 20))
    boxed = predictor(refitted(path, "letterbox")).predict(photo(*shape)).box
    expected = (20, 0, 60, 48) if width > height else (4, 4, 44, 76)  # of the square of 80 about the photo
    assert boxed == pytest.approx(expected, abs=2)  # a pixel of the letterbox is 2.5 of these


def test_a_box_may_reach_beyond_the_crop_but_not_beyond_the_photo(
    make_localizer: MakeLocalizer, tmp_path: Path
) -> None:
    path = make_localizer(tmp_path / "model.safetensors", (0.5, 0.5, 9, 9))
    assert predictor(path).predict(photo(48, 80)).box == (0, 0, 80, 48)
    away = make_localizer(tmp_path / "away.safetensors", (-5, 0.5, 1, -1))
    left, top, right, bottom = predictor(away).predict(photo(48, 80)).box or ()
    assert (left, right, top) == (0, 0, bottom)


def test_each_class_has_a_box_of_its_own(make_localizer: MakeLocalizer, tmp_path: Path) -> None:
    path = make_localizer(tmp_path / "model.safetensors", None, boxes="class")
    info, weights = read_model(path)
    weights["fc8.weight"][3:] = 0
    weights["fc8.bias"][3:] = [0.2, 0.5, 0.4, 1, 0.5, 0.5, 0.4, 1, 0.8, 0.5, 0.4, 1]
    write_model(path, info, weights)
    boxes = {score.label: score.box for score in predictor(path).predict(photo(32, 32)).scores}
    across = {label: (box.left, box.right) for label, box in boxes.items() if box}
    for label, expected in (("cat", (0, 12.8)), ("dog", (9.6, 22.4)), ("rocket", (19.2, 32))):
        crop = np.array([16 + (edge - 16) * 32 / 36 for edge in expected])  # the central 32 of 36 pixels
        assert across[label] == pytest.approx(crop, abs=1e-4)


@pytest.mark.parametrize("turn", STORED)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photo_that_lies_on_its_side_has_the_box_of_the_upright_one(
    turn: int, kind: str, make_localizer: MakeLocalizer, tmp_path: Path
) -> None:
    path = make_localizer(tmp_path / "model.safetensors", None)
    upright = photo(64, 96)
    exif = Image.Exif()
    exif[0x0112] = turn
    file = io.BytesIO()
    stored = Image.fromarray(np.ascontiguousarray(STORED[turn](upright)))
    stored.save(file, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
    model = predictor(path)
    expected = model.predict(upright)
    for prediction in (model.predict(file.getvalue()), next(model.predict_many([file.getvalue()]))):
        assert isinstance(prediction, Prediction)
        assert prediction.label == expected.label
        assert prediction.box == pytest.approx(expected.box, abs=1e-9 if kind == "PNG" else 1.0)


def test_many_photos_have_the_boxes_of_each_alone(make_localizer: MakeLocalizer, tmp_path: Path) -> None:
    model = predictor(make_localizer(tmp_path / "model.safetensors", None, boxes="class"))
    photos: list[np.ndarray | bytes] = [photo(40 + 7 * n, 90 - 5 * n, n) for n in range(9)]
    alone = [model.predict(one) for one in photos]
    photos.insert(4, b"no photo")
    several = list(model.predict_many(photos, batch_size=4))
    del several[4]
    for one, other in zip(alone, several, strict=True):
        assert isinstance(other, Prediction)
        assert [score.label for score in other.scores] == [score.label for score in one.scores]
        for score, same in zip(one.scores, other.scores, strict=True):
            assert score.box == pytest.approx(same.box, abs=1e-3)


@pytest.mark.parametrize("engine", ["native", "torch"])
@pytest.mark.parametrize("fields", [{"boxes": "single"}, {"boxes": "class", "head": "fc"}], ids=["gap", "fc"])
def test_every_engine_gives_the_boxes_of_the_reference(
    engine: str, fields: dict[str, str], make_localizer: MakeLocalizer, tmp_path: Path
) -> None:
    pytest.importorskip(ENGINES[engine].split(":")[0], reason=f"the engine {engine} is not built here")
    if engine == "torch":
        importlib.import_module("torch")
    path = make_localizer(tmp_path / "model.safetensors", None, **fields)
    expected, found = (predictor(path, engine=name).predict(photo()) for name in ("reference", engine))
    assert found.label == expected.label
    assert found.probability == pytest.approx(expected.probability, abs=1e-5)
    assert found.box == pytest.approx(expected.box, abs=1e-2)


def test_probabilities_are_of_the_classes_alone(make_localizer: MakeLocalizer, tmp_path: Path) -> None:
    path = make_localizer(tmp_path / "model.safetensors", (1e4, 1e4, 1, 1), boxes="class")
    model = predictor(path)
    rows = model.predict_proba([photo(seed=seed) for seed in range(3)])
    assert rows.shape == (3, 3)
    assert rows.sum(axis=1) == pytest.approx(np.ones(3))
    assert model.predict(photo()).probability == pytest.approx(rows[0].max())


def test_a_classifier_says_where_only_when_it_is_asked(toy_model: Path) -> None:
    plain, asked = predictor(toy_model), predictor(toy_model, boxes=True)
    assert (plain.has_boxes, asked.has_boxes) == (False, True)
    before, after = plain.predict(photo()), asked.predict(photo())
    assert [score.box for score in before.scores] == [None] * 3
    assert [score.probability for score in after.scores] == [score.probability for score in before.scores]
    for score in after.scores:
        assert score.box is not None
        assert 0 <= score.box.left < score.box.right <= 80
        assert 0 <= score.box.top < score.box.bottom <= 48


def test_a_model_without_classes_of_photos_has_no_boxes(tmp_path: Path, make_localizer: MakeLocalizer) -> None:
    path = make_localizer(tmp_path / "model.safetensors", None, head="embedding", boxes="none", dimensions=8)
    with pytest.raises(UsageError, match="tells no classes"):
        predictor(path, boxes=True)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_box_that_overflows_is_an_error_not_a_prediction(make_localizer: MakeLocalizer, tmp_path: Path) -> None:
    path = make_localizer(tmp_path / "model.safetensors")
    info, weights = read_model(path)
    weights["fc8.weight"][3:] = 3e38
    write_model(path, info, weights)
    with pytest.raises(VerydeepError, match="NaN or infinity"):
        predictor(path).predict(photo())


def test_json_has_the_box_beside_the_class_where_there_is_one(make_localizer: MakeLocalizer, tmp_path: Path) -> None:
    path = make_localizer(tmp_path / "model.safetensors", (0.5, 0.5, 0.5, 0.5))
    (told, *_) = (score.to_dict() for score in predictor(path).predict(photo(36, 36)).scores)
    assert told["box"] == {"left": 10.0, "top": 10.0, "right": 26.0, "bottom": 26.0}
    assert Box(1 / 3, 0, 2 / 3, 1).to_dict() == {"left": 0.33, "top": 0.0, "right": 0.67, "bottom": 1.0}
