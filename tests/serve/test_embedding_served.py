"""The service with an embedding model: it answers with the vectors of `Embedder`."""

import base64
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import CHROMIUM, expect, give
from serving import Server, end, start, two_photos

from verydeep.explain.similarity import METHODS_OF_A_SIMILARITY
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
    assert reply.status == 422
    assert reply.json["error"] == "an embedding is explained beside a second photo; there is one photo."
    assert "-F similar_to=@OTHER" in reply.json["hint"]


def test_beside_a_second_photo_it_says_what_makes_them_alike(served: Server, model: Path, photos: list[bytes]) -> None:
    one, other = Embedder(model, engine="reference").embed_many(photos[:2])
    described, *_ = served.ask("GET", "/models").json["models"]
    assert described["methods"] == list(METHODS_OF_A_SIMILARITY)
    panels = set()
    for method in described["methods"]:
        reply = served.ask("POST", f"/explain?method={method}", *two_photos(photos[0], photos[1]))
        assert reply.status == 200, reply.body
        assert reply.json["similarity"] == pytest.approx(float(one @ other), abs=1e-5)
        assert reply.json["in_words"].startswith(f"{one @ other:.3f} like similar_to; ")
        panels.add(reply.json["panel"])
    assert len(panels) == len(METHODS_OF_A_SIMILARITY)
    unquoted = served.ask("POST", "/explain", *two_photos(photos[0], photos[1], b"name=similar_to"))
    assert unquoted.json["similarity"] == pytest.approx(float(one @ other), abs=1e-5)
    copy = served.ask("POST", "/explain?layer=relu1_1", *two_photos(photos[0], photos[0])).json
    assert (copy["similarity"], copy["layer"]) == (pytest.approx(1), "relu1_1")


def test_what_cannot_be_compared_is_refused_in_a_sentence(served: Server, photos: list[bytes]) -> None:
    for query, error in (
        ("?method=occlusion", "the method occlusion does not explain a similarity"),
        ("?method=magic", "the method magic does not explain a similarity"),
        ("?label=here", "similar_to and label exclude each other."),
        ("?edge=left", "similar_to and edge exclude each other."),
        ("?layer=conv9_9", "conv9_9 is no layer of the network"),
    ):
        reply = served.ask("POST", f"/explain{query}", *two_photos(photos[0], photos[1]))
        assert (reply.status, set(reply.json)) == (422, {"error", "hint"})
        assert error in reply.json["error"]
    for one, other, error in (
        (b"no photo", photos[0], "the photo is not a "),
        (photos[0], b"no photo", "similar_to is not a "),
        (photos[0], b"", "similar_to is empty"),
    ):
        reply = served.ask("POST", "/explain", *two_photos(one, other))
        assert reply.status == 422
        assert error in reply.json["error"]
    for name in (b'name="photo"', b'name="x"; filename="form-data; name=similar_to; "'):
        reply = served.ask("POST", "/explain", *two_photos(photos[0], photos[1], name))
        assert (reply.status, reply.json["error"]) == (422, "2 photos; expected one.")
    body, headers = two_photos(photos[0], photos[1])
    reply = served.ask("POST", "/explain", body.replace(b'"photo"', b'"similar_to"'), headers)
    assert (reply.status, reply.json["error"]) == (422, "0 photos and 2 called similar_to; expected one of each.")


def test_the_limits_hold_for_the_second_photo(serve: Callable[..., Server], model: Path, photos: list[bytes]) -> None:
    strict = serve(model=model, limits={"parts": 2, "body_bytes": 40_000})
    body, headers = two_photos(photos[0], photos[1])
    assert strict.ask("POST", "/explain", body, headers).status == 200
    three = body.replace(b"--cut--", b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n--cut--')
    assert strict.ask("POST", "/explain", three, headers).status == 413
    large = np.random.default_rng(0).integers(0, 256, 30_000, np.uint8).tobytes()
    assert strict.ask("POST", "/explain", *two_photos(photos[0], large)).status == 422, "no photo, but not too large"
    assert strict.ask("POST", "/explain", *two_photos(large, large)).status == 413


def test_a_classifier_says_what_makes_photos_alike_too(server: Server, toy_model: Path, photos: list[bytes]) -> None:
    one, other = Embedder(toy_model, engine="reference").embed_many(photos[:2])
    found = server.ask("POST", "/explain?method=gradient", *two_photos(photos[0], photos[1])).json
    assert found["similarity"] == pytest.approx(float(one @ other), abs=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: the Debian package chromium")
def test_the_page_compares_two_photos(browser: Any, served: Server, photos: list[bytes]) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.wait_for_selector(".layer")
    give(page, photos[0])
    expect(page, "#answers").to_contain_text("A vector of 6 numbers")
    for selector in ("#seen-stage", "#class-choice", "#edge-choice", "#second-shown"):
        assert page.is_hidden(selector)
    offered = page.locator("#method option").evaluate_all("all => all.map((one) => one.value)")
    assert offered == list(METHODS_OF_A_SIMILARITY)
    page.set_input_files("#second-file", {"name": "b.txt", "mimeType": "text/plain", "buffer": b"text"})
    expect(page, "#trouble").to_have_text("That is no JPEG, PNG or WebP picture.")
    page.set_input_files("#second-file", {"name": "b.png", "mimeType": "image/png", "buffer": photos[1]})
    page.wait_for_selector("#seen-stage:not([hidden])")
    expect(page, "#trouble").to_have_text("")
    similarity = served.ask("POST", "/explain", *two_photos(photos[0], photos[1])).json["similarity"]
    expect(page, "#explained").to_contain_text(f"{similarity:.3f} like the other photo · ")
    assert page.is_visible("#second-shown")
    for method in offered[1:]:
        before = page.get_attribute("#heat", "src")
        page.select_option("#method", method)
        expect(page, "#heat").not_to_have_attribute("src", before)
    page.select_option("#language", "zh")
    expect(page, "#explained").to_contain_text(f"相似度 {similarity:.3f}")
    expect(page, "#trouble").to_have_text("")
    assert said == []
    page.context.close()
