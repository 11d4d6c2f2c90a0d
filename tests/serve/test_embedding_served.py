"""The service with an embedding model: it answers with the vectors of `Embedder`."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving import Server, end, start

from verydeep.predict import Embedder


@pytest.fixture(scope="module")
def model(make_toy: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "toy.safetensors"
    return make_toy(path, ("here", "there"), head="embedding", dimensions=6)


@pytest.fixture(scope="module")
def served(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(model, tmp_path_factory.mktemp("server"))
    yield running
    end(running)


def test_predict_gives_the_vector_of_each_photo(served: Server, model: Path, photos: list[bytes]) -> None:
    expected = list(Embedder(model, engine="reference").embed_many(photos[:3]))
    reply = served.predict(*photos[:2], b"no photo")
    assert reply.status == 200
    answers = reply.json["photos"]
    for answer, vector in zip(answers[:2], expected, strict=False):
        assert set(answer) == {"sha256", "embedding"}
        np.testing.assert_allclose(answer["embedding"], vector, atol=1e-5)
    assert "error" in answers[2]
    assert served.predict(b"no photo").status == 422
    described, *_ = served.ask("GET", "/models").json["models"]
    assert described["task"] == "embed"


def test_the_open_inference_protocol_has_an_output_of_its_own(served: Server, model: Path, photos: list[bytes]) -> None:
    (output,) = served.ask("GET", "/v2/models/toy").json["outputs"]
    assert output == {"name": "embedding", "datatype": "FP32", "shape": [-1, 6]}
    data = [base64.b64encode(photo).decode() for photo in photos[:2]]
    question: dict[str, Any] = {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [2], "data": data}]}
    headers = {"content-type": "application/json"}
    reply = served.ask("POST", "/v2/models/toy/infer", json.dumps(question).encode(), headers)
    (found,) = reply.json["outputs"]
    assert (found["name"], found["shape"]) == ("embedding", [2, 6])
    vectors = np.reshape(found["data"], (2, 6))
    np.testing.assert_allclose(vectors, list(Embedder(model, engine="reference").embed_many(photos[:2])), atol=1e-5)
    question["outputs"] = [{"name": "probabilities"}]
    refused = served.ask("POST", "/v2/models/toy/infer", json.dumps(question).encode(), headers)
    assert refused.status == 400
    assert "There is embedding." in refused.body.decode()


def test_an_explanation_without_a_second_photo_is_refused_in_a_sentence(served: Server, photos: list[bytes]) -> None:
    reply = served.ask("POST", "/explain", photos[0], {"content-type": "image/png"})
    assert 400 <= reply.status < 500
    assert "an embedding names no class" in reply.json["error"]
