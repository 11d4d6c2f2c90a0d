import io
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from verydeep.errors import ImageError, UsageError, VerydeepError
from verydeep.image.preprocess import preprocess
from verydeep.image.stream import load
from verydeep.nouns import Calibration, Failure, Prediction, Preprocessing
from verydeep.outputs import posteriors
from verydeep.predict import Predictor
from verydeep.weights import ModelInfo, read_model, write_model


@pytest.fixture(scope="module")
def predictor(toy_model: Path) -> Predictor:
    return Predictor(toy_model, engine="reference")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Ten photos, the fourth damaged."""
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(10):
        Image.fromarray(photo(seed)).save(folder / f"{seed}.png")
    (folder / "3.png").write_bytes((folder / "3.png").read_bytes()[:200])
    return sorted(folder.iterdir())


def photo(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    colour = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return np.asarray(Image.fromarray(colour).resize((width, height)))


def test_a_path_bytes_an_array_and_a_pillow_image_get_one_answer(predictor: Predictor, paths: list[Path]) -> None:
    expected = predictor.predict(paths[0])
    assert expected.path == str(paths[0])
    with Image.open(paths[0]) as picture:
        others = [predictor.predict(kind) for kind in (str(paths[0]), paths[0].read_bytes(), photo(0), picture)]
    assert [other.path for other in others] == [str(paths[0]), "", "", ""]
    assert all(other.scores == expected.scores for other in others)


def test_the_answer_is_the_steps_of_the_pipeline_one_after_the_other(predictor: Predictor, paths: list[Path]) -> None:
    info = predictor.model.info
    logits = predictor.model.engine.run(preprocess(load(paths[1]), info.preprocessing)[None])["logits"]
    expected = posteriors(logits)[0]
    prediction = predictor.predict(paths[1])
    assert prediction.label == info.classes[expected.argmax()]
    assert {score.label: score.probability for score in prediction.scores} == dict(
        zip(info.classes, expected.tolist(), strict=True)
    )


def test_k_is_how_many_classes_are_told(predictor: Predictor) -> None:
    assert [len(predictor.predict(photo(0), k).scores) for k in (1, 2, 5)] == [1, 2, 3]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_many_photos_get_the_answers_of_each_alone_in_order(
    batch_size: int, predictor: Predictor, paths: list[Path]
) -> None:
    answers = list(predictor.predict_many(paths, batch_size=batch_size))
    assert [answer.path for answer in answers] == [str(path) for path in paths]
    for position, (path, answer) in enumerate(zip(paths, answers, strict=True)):
        if position == 3:
            assert isinstance(answer, Failure)
            assert answer.path in answer.reason
        else:
            assert answer == predictor.predict(path)


def test_nothing_but_damaged_photos_gives_nothing_but_failures(predictor: Predictor, paths: list[Path]) -> None:
    assert [type(answer) for answer in predictor.predict_many([paths[3]] * 5, batch_size=2)] == [Failure] * 5


@pytest.mark.parametrize("method", ["predict_many", "predict_proba"])
def test_one_photo_is_not_many(method: str, predictor: Predictor, paths: list[Path]) -> None:
    for single in (str(paths[0]), paths[0], paths[0].read_bytes(), photo(0), Image.fromarray(photo(0)), None):
        with pytest.raises(UsageError, match="expected several photos"):
            getattr(predictor, method)(single)


def test_photos_come_from_any_iterable(predictor: Predictor, paths: list[Path]) -> None:
    expected = list(predictor.predict_many(paths))
    for photos in (
        iter(paths),
        (path for path in paths),
        dict.fromkeys(paths),
        np.array([str(path) for path in paths]),
    ):
        assert list(predictor.predict_many(photos, batch_size=4)) == expected
    good = [path for path in paths if path.name != "3.png"]
    assert np.array_equal(predictor.predict_proba(iter(good)), predictor.predict_proba(good))
    array = np.stack([photo(seed) for seed in range(3)])
    assert [answer.label for answer in predictor.predict_many(array)] == [answer.label for answer in expected[:3]]


def test_no_photos_give_no_answers(predictor: Predictor) -> None:
    assert list(predictor.predict_many([])) == []
    assert predictor.predict_proba([]).shape == (0, 3)


def test_probabilities_are_rows_in_the_order_of_the_classes(predictor: Predictor, paths: list[Path]) -> None:
    good = [path for path in paths if path.name != "3.png"]
    rows = predictor.predict_proba(good, batch_size=4)
    assert rows.shape == (9, 3)
    assert rows.sum(axis=1) == pytest.approx(np.ones(9))
    for row, path in zip(rows, good, strict=True):
        prediction = predictor.predict(path)
        assert prediction.label == predictor.classes[row.argmax()]
        assert prediction.probability == row.max()


def test_a_damaged_photo_among_probabilities_is_an_error_that_names_it(predictor: Predictor, paths: list[Path]) -> None:
    with pytest.raises(ImageError, match=r"3\.png"):
        predictor.predict_proba(paths)


def test_temperature_and_threshold_are_the_model_files(toy_model: Path, tmp_path: Path) -> None:
    info, weights = read_model(toy_model)
    calibrated = ModelInfo(info.architecture, info.classes, info.preprocessing, Calibration(3.0, 0.99, 100))
    write_model(tmp_path / "calibrated.safetensors", calibrated, weights)
    plain, soft = (Predictor(path, engine="reference") for path in (toy_model, tmp_path / "calibrated.safetensors"))
    assert soft.predict(photo(0)).probability < plain.predict(photo(0)).probability
    assert (plain.predict(photo(0)).is_known, soft.predict(photo(0)).is_known) == (True, False)


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_a_network_that_overflows_is_an_error_not_a_prediction(toy_model: Path, tmp_path: Path) -> None:
    info, weights = read_model(toy_model)
    weights = {name: array * np.float32(1e15) for name, array in weights.items()}
    write_model(tmp_path / "huge.safetensors", info, weights)
    with pytest.raises(VerydeepError, match=r"huge\.safetensors gives NaN or infinity"):
        Predictor(tmp_path / "huge.safetensors", engine="reference").predict(photo(0))


def test_a_grey_network_takes_colour_photos(tmp_path: Path, make_toy: Callable[..., Path]) -> None:
    grey = Preprocessing(36, 32, mean=(0.5,), std=(0.25,))
    model = make_toy(tmp_path / "grey.safetensors", preprocessing=grey, input_channels=1)
    assert len(Predictor(model, engine="reference").predict(photo(0)).scores) == 3


def test_threads_share_a_predictor(predictor: Predictor) -> None:
    photos = [photo(seed) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(predictor.predict, photos)) == [predictor.predict(image) for image in photos]


def test_formats_beyond_the_usual_are_accepted_where_asked_for(toy_model: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(photo(0)).save(file, "TIFF")
    with pytest.raises(ImageError, match="TIFF"):
        Predictor(toy_model, engine="reference").predict(file.getvalue())
    liberal = Predictor(toy_model, engine="reference", formats=("JPEG", "TIFF"))
    assert isinstance(liberal.predict(file.getvalue()), Prediction)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_photos(predictor: Predictor, paths: list[Path]) -> None:
    data = paths[0].read_bytes()

    def peak(photos: int) -> int:
        tracemalloc.start()
        try:
            for _ in predictor.predict_many([data] * photos, batch_size=4):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(20)
    assert peak(240) - peak(40) < 1e6  # bytes; the inputs of 200 photos are 2.5 MB, 3 * 32 * 32 * 4 bytes each
