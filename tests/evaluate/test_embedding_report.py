"""Evaluations of embeddings: of photos of any classes, and of those that can be read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verydeep.architecture import Architecture
from verydeep.data.datasets import Dataset, open_folder
from verydeep.errors import DatasetError, NonFiniteError
from verydeep.evaluate.embedding_report import evaluate_embedding
from verydeep.evaluate.retrieval import nearest, neighbour_loss
from verydeep.nouns import Preprocessing
from verydeep.runtime.reference import ReferenceEngine
from verydeep.weights import ModelInfo

ARCHITECTURE = Architecture("toy", "embedding", 2, 32, dimensions=6)
INFO = ModelInfo(ARCHITECTURE, ("here", "there"), Preprocessing(resize=36, crop=32))


@pytest.fixture
def engine(random_weights: Callable[..., dict[str, np.ndarray]]) -> ReferenceEngine:
    return ReferenceEngine(ARCHITECTURE, random_weights(ARCHITECTURE))


def test_photos_of_other_classes_than_the_models_are_judged(engine: ReferenceEngine, class_folders: Path) -> None:
    (class_folders / "dog" / "broken.png").write_bytes(b"no photo")
    (class_folders / "fox").mkdir()
    (class_folders / "cat" / "0.png").rename(class_folders / "fox" / "only.png")
    report = evaluate_embedding(engine, INFO, open_folder(class_folders), batch_size=5, conditions="float32")
    assert report.classes == ("cat", "dog", "fox", "rocket")
    assert (report.n, report.found.left_out, len(report.paths)) == (23, 1, 24)
    assert [Path(failure.path).name for failure in report.failures] == ["broken.png"]
    rows = dict(report.class_rows)
    assert [rows[name].n for name in report.classes] == [7, 8, 0, 8]
    assert sum(row.successes for row in rows.values()) == round(report.score * report.n)
    assert sum(pair.photos for pair in report.top_confusions(100)) == report.n - round(report.score * report.n)
    said = json.loads(json.dumps(report.to_dict()))
    assert list(said)[:4] == ["protocol", "n", "left_out", "recall@1"]
    assert said["recall@8"]["value"] >= said["recall@1"]["value"]
    assert [len(photo["alike"]) for photo in said["photos"]] == [4] * 24
    assert report.headline.startswith(f"recall@1 {report.score:.1%} (95 % interval ")
    assert report.headline.endswith("each photo asks all others, by cosine, float32)")


def test_the_nearest_and_the_loss_are_those_of_the_definition() -> None:
    random = np.random.default_rng(0)
    vectors = random.normal(size=(30, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    labels = random.integers(0, 4, 30)
    labels[7] = 9  # alone
    cosines = vectors.astype(np.float64) @ vectors.T
    costs = []
    for i in set(range(30)) - {7}:
        others = [j for j in range(30) if j != i]
        counts = {j: np.exp(cosines[i, j] / 0.05) for j in others}
        costs.append(-np.log(sum(counts[j] for j in others if labels[j] == labels[i]) / sum(counts.values())))
    assert neighbour_loss(vectors, labels) == pytest.approx(np.mean(costs), rel=1e-5)
    positions, found = nearest(vectors, 3)
    for i in range(30):
        order = sorted((j for j in range(30) if j != i), key=lambda j: -cosines[i, j])[:3]
        assert positions[i].tolist() == order
        np.testing.assert_allclose(found[i], cosines[i, order], atol=1e-6)


def test_what_cannot_be_judged_is_told(engine: ReferenceEngine, class_folders: Path, tmp_path: Path) -> None:
    photos = open_folder(class_folders)
    gone = Dataset(("a",), (tmp_path / "gone.png", tmp_path / "gone2.png"), (0, 0))
    with pytest.raises(DatasetError, match="none of the 2 photos can be read"):
        evaluate_embedding(engine, INFO, gone)
    with pytest.raises(DatasetError, match="none of the 3 photos has another of its class"):
        evaluate_embedding(engine, INFO, photos.take([0, 8, 16]))

    class Broken:
        def run(self, images: np.ndarray, outputs: Any = ("logits",)) -> dict[str, np.ndarray]:
            return {"logits": np.full((len(images), 6), np.nan, np.float32)}

    with pytest.raises(NonFiniteError, match=r"the network gives NaN or infinity for .*0\.png"):
        evaluate_embedding(Broken(), INFO, photos)
