"""An evaluation against the same steps done one photo at a time, and against prediction."""

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from verydeep.data.datasets import Dataset, open_folder
from verydeep.errors import ArchitectureError, DatasetError, NonFiniteError, UsageError
from verydeep.evaluate import PROTOCOLS, Report, evaluate, evaluate_fused
from verydeep.image import preprocess, read_image
from verydeep.nouns import Calibration
from verydeep.outputs import softmax
from verydeep.predict import Predictor
from verydeep.runtime import OpenedModel, open_model

CLASSES = ("cat", "dog", "rocket")
RandomWeights = Callable[..., dict[str, np.ndarray]]


@pytest.fixture
def model(opinionated_model: Path) -> OpenedModel:
    return open_model(opinionated_model, engine="reference")


@pytest.fixture
def fc_model(tmp_path: Path, make_toy: Callable[..., Path]) -> Path:
    """A model file of a toy with the paper's head: fc6 takes a map of 8 x 8."""
    return make_toy(tmp_path / "fc.safetensors", CLASSES, head="fc", width=0.25)


def same_figures(one: Report, other: Report) -> bool:
    return one.to_dict() | {"photos": None} == other.to_dict() | {"photos": None}


def test_center_is_the_central_crop_of_each_photo(model: OpenedModel, class_folders: Path) -> None:
    report = evaluate(model.engine, model.info, open_folder(class_folders))
    assert report.logits is not None
    assert report.n == 24
    for i, path in enumerate(report.paths):
        image = preprocess(read_image(path), model.info.preprocessing)
        logits = model.engine.run(image[None])["logits"][0]
        assert np.array_equal(report.logits[i], logits)
        assert np.array_equal(report.posteriors[i], softmax(logits, 1.7))
        assert report.classes[report.labels[i]] == path.parent.name


@pytest.mark.parametrize("engine", ["reference", "torch"])
def test_evaluate_and_predict_agree_to_the_last_photo(
    opinionated_model: Path, class_folders: Path, engine: str
) -> None:
    pytest.importorskip(engine) if engine == "torch" else None
    predictor = Predictor(opinionated_model, engine=engine)
    report = evaluate(predictor.model.engine, predictor.model.info, open_folder(class_folders))
    assert np.array_equal(report.posteriors, predictor.predict_proba(report.paths))
    predictions = list(predictor.predict_many(report.paths))
    assert [prediction.label for prediction in predictions] == [
        photo["predictions"][0]["label"] for photo in report.to_dict()["photos"]
    ]
    assert len({prediction.label for prediction in predictions}) == 3
    assert sum(prediction.is_known for prediction in predictions) == report.answered.successes
    assert 0 < report.answered.successes < report.n
    right = [prediction.label == path.parent.name for prediction, path in zip(predictions, report.paths, strict=True)]
    assert sum(right) == report.top1.successes


def test_dense_with_a_gap_head_is_the_network_on_the_whole_photo_and_its_mirror_image(
    model: OpenedModel, class_folders: Path
) -> None:
    report = evaluate(model.engine, model.info, open_folder(class_folders), "dense")
    for i, path in enumerate(report.paths):
        image = preprocess(read_image(path), model.info.preprocessing, is_dense=True)
        assert min(image.shape[1:]) == 36
        straight, mirrored = (
            softmax(model.engine.run(view[None])["logits"][0], 1.7) for view in (image, image[..., ::-1])
        )
        assert report.posteriors[i] == pytest.approx((straight + mirrored) / 2, abs=1e-12)
    assert report.logits is None  # two soft-maxes were averaged: no logits belong to that


def test_dense_with_an_fc_head_is_torchs_network_with_its_layers_as_convolutions(
    fc_model: Path, class_folders: Path
) -> None:
    torch = pytest.importorskip("torch")
    from verydeep.network import build
    from verydeep.weights import read_model

    model = open_model(fc_model, engine="reference", is_dense=True)
    report = evaluate(model.engine, model.info, open_folder(class_folders).take(range(4)), "dense")
    network = build(model.info.architecture, read_model(fc_model)[1]).dense()
    with torch.inference_mode():
        for i, path in enumerate(report.paths):
            image = torch.from_numpy(preprocess(read_image(path), model.info.preprocessing, is_dense=True))
            maps = network(torch.stack([image, image.flip(-1)]))
            assert maps.shape[2:] == ((image.shape[1] - 32) // 4 + 1, (image.shape[2] - 32) // 4 + 1)
            expected = maps.mean(dim=(2, 3)).softmax(dim=1).mean(dim=0)
            assert report.posteriors[i] == pytest.approx(expected.numpy(), abs=1e-5)


def test_fused_models_say_the_mean_of_their_posteriors(
    toy_model: Path, class_folders: Path, say: Callable[..., Path]
) -> None:
    paths = (say(toy_model, "one", 0.5, 0.45, 0.05), say(toy_model, "other", 0.05, 0.45, 0.5, resize=40))
    one, other = (open_model(path, engine="reference") for path in paths)
    done: list[int] = []
    report = evaluate_fused([one, other], open_folder(class_folders), batch_size=12, on_progress=done.append)
    assert report.posteriors == pytest.approx(np.tile([0.275, 0.45, 0.275], (24, 1)), abs=1e-6)
    assert report.confusion.argmax(axis=1).tolist() == [1, 1, 1]  # which neither says
    assert report.top1.successes == 8
    assert report.loss == pytest.approx(-(2 * np.log(0.275) + np.log(0.45)) / 3, abs=1e-6)
    assert done == [6, 12, 18, 24]
    assert report.protocol == (
        "centre crop 32 of shorter side 36, bilinear, one crop and "
        "centre crop 32 of shorter side 40, bilinear, one crop, 2 models fused"
    )
    assert (report.logits, report.calibration) == (None, Calibration())


def test_each_of_fused_models_is_what_it_is_alone(model: OpenedModel, toy_model: Path, class_folders: Path) -> None:
    photos = open_folder(class_folders)
    other = open_model(toy_model, engine="reference")
    alone = [evaluate(each.engine, each.info, photos, "dense") for each in (model, other)]
    report = evaluate_fused([model, other], photos, "dense", conditions="float32")
    assert report.posteriors == pytest.approx(sum(each.posteriors for each in alone) / 2)
    assert report.protocol == f"{alone[0].protocol}, 2 models fused, float32"
    assert same_figures(evaluate_fused([model], photos, "dense"), alone[0])


def test_of_fused_models_a_photo_that_one_cannot_read_is_in_no_figure(
    model: OpenedModel, toy_model: Path, class_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = open_model(toy_model, engine="reference")
    photos = open_folder(class_folders)
    whole = evaluate_fused([model, other], photos)
    gone = Path(str(photos.paths[3]))
    evaluated = []

    def evaluate_then_lose(*arguments: object, **settings: object) -> Report:
        evaluated.append(evaluate(*arguments, **settings))  # type: ignore[arg-type]
        gone.write_bytes(b"no photo")
        return evaluated[-1]

    monkeypatch.setattr("verydeep.evaluate.protocols.evaluate", evaluate_then_lose)
    report = evaluate_fused([model, other], photos)
    assert [each.n for each in evaluated] == [24, 23]
    assert [failure.path for failure in report.failures] == [str(gone)]
    kept = [position for position in range(24) if position != 3]
    assert report.posteriors.tolist() == whole.posteriors[kept].tolist()
    assert report.labels.tolist() == whole.labels[kept].tolist()
    assert report.paths == tuple(photos.paths[position] for position in kept)


def test_dense_with_an_fc_head_needs_the_dense_view(fc_model: Path, class_folders: Path) -> None:
    model = open_model(fc_model, engine="reference")
    with pytest.raises(ArchitectureError, match="fc6 takes images of 32 x 32 only"):
        evaluate(model.engine, model.info, open_folder(class_folders), "dense")


@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_batch_size_changes_nothing(
    opinionated_model: Path, class_folders: Path, protocol: str, engine: str
) -> None:
    pytest.importorskip(engine) if engine == "torch" else None
    model = open_model(opinionated_model, engine=engine, is_dense=True)
    photos = open_folder(class_folders).take(range(10))
    one, other = (evaluate(model.engine, model.info, photos, protocol, batch_size=size) for size in (1, 4))
    assert other.posteriors == pytest.approx(one.posteriors, abs=1e-5)
    assert np.array_equal(other.confusion, one.confusion)


def test_the_order_of_the_photos_changes_no_figure(model: OpenedModel, class_folders: Path) -> None:
    photos = open_folder(class_folders)
    shuffled = photos.take(np.random.default_rng(0).permutation(len(photos)).tolist())
    one, other = (evaluate(model.engine, model.info, dataset) for dataset in (photos, shuffled))
    assert one.top1 == other.top1
    assert one.class_rows == other.class_rows
    assert one.loss == pytest.approx(other.loss)


def test_classes_are_matched_by_name(model: OpenedModel, class_folders: Path) -> None:
    photos = open_folder(class_folders)
    reversed_names = Dataset(photos.classes[::-1], photos.paths, tuple(2 - label for label in photos.labels))
    assert same_figures(evaluate(model.engine, model.info, photos), evaluate(model.engine, model.info, reversed_names))


def test_a_class_without_photos_has_no_recall(model: OpenedModel, class_folders: Path) -> None:
    for path in (class_folders / "dog").iterdir():
        path.unlink()
    report = evaluate(model.engine, model.info, open_folder(class_folders))
    cat, dog, rocket = report.class_rows
    assert (cat.recall.n, dog.recall.n, rocket.recall.n) == (8, 0, 8)
    assert dog.recall.value is None


def test_photos_of_a_class_that_the_model_does_not_know_are_refused(model: OpenedModel, class_folders: Path) -> None:
    (class_folders / "dog").rename(class_folders / "wolf")
    with pytest.raises(DatasetError, match="does not know: wolf"):
        evaluate(model.engine, model.info, open_folder(class_folders))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_photos_that_cannot_be_read_are_listed_and_in_no_figure(
    model: OpenedModel, class_folders: Path, protocol: str
) -> None:
    whole = evaluate(model.engine, model.info, open_folder(class_folders), protocol)
    broken = [class_folders / name for name in ("cat/00.png", "dog/2a.png", "rocket/9.jpg")]
    for path in broken:
        path.write_bytes(b"\xff\xd8\xff not a photo")
    report = evaluate(model.engine, model.info, open_folder(class_folders), protocol, batch_size=4)
    assert [failure.path for failure in report.failures] == [str(path) for path in broken]
    assert all(failure.reason for failure in report.failures)
    assert same_figures(whole, replace(report, failures=()))


def test_a_set_without_one_readable_photo_is_refused(model: OpenedModel, class_folders: Path) -> None:
    photos = open_folder(class_folders)
    for path in photos.paths:
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match="none of the 24 photos can be read"):
        evaluate(model.engine, model.info, photos)


def test_an_unknown_protocol_is_named_with_those_there_are(model: OpenedModel, class_folders: Path) -> None:
    with pytest.raises(UsageError, match="no protocol 'centre'; there are center, dense"):
        evaluate(model.engine, model.info, open_folder(class_folders), "centre")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_no_number_is_not_scored(model: OpenedModel, class_folders: Path, value: float) -> None:
    class Diverged:
        def run(self, images: np.ndarray, outputs: Sequence[str] = ("logits",)) -> dict[str, np.ndarray]:
            return {"logits": np.full((len(images), 3), value, np.float32)}

    with pytest.raises(NonFiniteError, match=r"NaN or infinity for .*cat/0\.png"):
        evaluate(Diverged(), model.info, open_folder(class_folders))


def test_progress_is_told_up_to_the_last_photo(model: OpenedModel, class_folders: Path) -> None:
    told: list[int] = []
    evaluate(model.engine, model.info, open_folder(class_folders), batch_size=10, on_progress=told.append)
    assert told == [10, 20, 24]


def test_the_report_says_its_protocol_in_a_sentence(model: OpenedModel, class_folders: Path) -> None:
    photos = open_folder(class_folders)
    report = evaluate(model.engine, model.info, photos, conditions="float32, engine reference")
    expected = "centre crop 32 of shorter side 36, bilinear, one crop, float32, engine reference"
    assert report.protocol == expected
    assert report.to_dict()["protocol"] == {"name": "center", "description": expected}
    assert "whole photo at shorter side 36" in evaluate(model.engine, model.info, photos, "dense").protocol


def test_evaluating_with_the_reference_engine_imports_no_torch(opinionated_model: Path, class_folders: Path) -> None:
    code = f"""
import sys
from verydeep.data.datasets import open_folder
from verydeep.evaluate import evaluate
from verydeep.runtime import open_model
model = open_model({str(opinionated_model)!r}, engine="reference")
report = evaluate(model.engine, model.info, open_folder({str(class_folders)!r}))
print(report.n, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["24", "False"]
