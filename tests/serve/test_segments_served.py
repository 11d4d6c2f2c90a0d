"""The service with a model of pixels: shares and masks of whole photos, logits, reasons, and its limits."""

import base64
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import CHROMIUM, expect, give
from PIL import Image
from serving import Server, end, start, two_photos

from verydeep.image.decode import decode_numbers
from verydeep.image.draw_objects import class_colours
from verydeep.outputs import segment
from verydeep.predict import Segmenter
from verydeep.runtime.windows import WindowedEngine

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def served(segnet_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(segnet_model, tmp_path_factory.mktemp("server"))
    yield running
    end(running)


@pytest.fixture(scope="module")
def segmenter(segnet_model: Path) -> Segmenter:
    return Segmenter(segnet_model, engine="reference")


def make_photo(height: int, width: int, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def infer(server: Server, given: dict[str, Any], **more: Any) -> Any:
    return server.ask("POST", "/v2/models/toy/infer", json.dumps({"inputs": [given], **more}).encode(), JSON)


def photos_input(*photos: bytes) -> dict[str, Any]:
    data = [base64.b64encode(photo).decode() for photo in photos]
    return {"name": "photos", "datatype": "BYTES", "shape": [len(photos)], "data": data}


def test_predict_gives_the_shares_and_the_mask_of_each_whole_photo(served: Server, segmenter: Segmenter) -> None:
    photos = [make_photo(40, 60), make_photo(75, 50, seed=1)]
    reply = served.predict(*photos, b"no photo")
    assert reply.status == 200
    *answers, failed = reply.json["photos"]
    assert "error" in failed
    for answer, photo in zip(answers, photos, strict=True):
        expected = segment(segmenter.logits(photo)).classes
        mask = decode_numbers(base64.b64decode(answer["mask"]), "mask")
        assert mask.shape == (answer["height"], answer["width"]) == expected.shape
        assert min(mask.shape) == 36  # the shorter side, as the model takes it
        assert (mask == expected).mean() > 0.99
        shares = {share["label"]: share["share"] for share in answer["shares"]}
        assert sum(shares.values()) == pytest.approx(1)
        assert shares["sky"] == pytest.approx((mask == 0).mean())
    red, green, blue = class_colours(("sky", "road", "car"))["sky"]
    assert f"#{red:02x}{green:02x}{blue:02x}" in {share["colour"] for share in answers[0]["shares"]}
    described, *_ = served.ask("GET", "/models").json["models"]
    assert described["task"] == "segment"
    assert described["methods"] == ["gradcam", "gradient", "guided", "deconvnet"]
    assert described["edges"] == []


def test_the_open_inference_protocol_gives_the_logits_of_each_pixel(served: Server, segmenter: Segmenter) -> None:
    (output,) = served.ask("GET", "/v2/models/toy").json["outputs"]
    assert output == {"name": "logits", "datatype": "FP32", "shape": [-1, 3, -1, -1]}
    photo = make_photo(40, 60)
    expected = segmenter.logits(photo)
    (found,) = infer(served, photos_input(photo, photo)).json["outputs"]
    assert (found["name"], found["shape"]) == ("logits", [2, 3, 36, 54])
    np.testing.assert_allclose(np.reshape(found["data"], (2, 3, 36, 54))[1], expected, atol=1e-4)
    images = np.random.default_rng(1).normal(size=(1, 3, 33, 20)).astype(np.float32)
    given = {"name": "images", "datatype": "FP32", "shape": [1, 3, 33, 20], "data": images.ravel().tolist()}
    (found,) = infer(served, given).json["outputs"]
    expected = WindowedEngine(segmenter.model.engine, segmenter.model.info.architecture).run(images)["logits"]
    np.testing.assert_allclose(np.reshape(found["data"], (1, 3, 33, 20)), expected, atol=1e-4)


def test_what_makes_no_answer_is_refused(served: Server, serve: Callable[..., Server], segnet_model: Path) -> None:
    several = infer(served, photos_input(make_photo(40, 60), make_photo(60, 40)))
    assert (several.status, several.json["error"][:30]) == (400, "the photos are of several size")
    tiny = {"name": "images", "datatype": "FP32", "shape": [1, 3, 2, 20], "data": [0.0] * 120}
    assert infer(served, tiny).status == 400
    narrow = served.predict(make_photo(4, 100))
    assert narrow.status == 422
    assert "too narrow" in narrow.json["error"]
    strict = serve(model=segnet_model, limits={"whole_pixels": 3000, "answer_values": 8000})
    assert strict.predict(make_photo(40, 60)).status == 200  # 36 x 54 pixels
    long = strict.predict(make_photo(40, 100))
    assert long.status == 422
    assert "expected 3,000 at most" in long.json["error"]
    assert infer(strict, photos_input(make_photo(40, 60))).status == 200
    assert infer(strict, photos_input(make_photo(40, 60), make_photo(40, 60))).status == 413


def test_the_class_of_pixels_is_explained_and_maps_are_of_the_whole_photo(served: Server) -> None:
    photo = make_photo(40, 60)
    headers = {"content-type": "image/png"}
    found = served.ask("POST", "/explain?label=road", photo, headers).json
    assert (found["label"], found["layer"], found["method"]) == ("road", "relu2_1", "gradcam")
    assert found["in_words"].startswith(f"road, {100 * found['share']:.1f} % of the photo; Grad-CAM at relu2_1: ")
    seen = Image.open(io.BytesIO(base64.b64decode(found["seen"].partition(",")[2])))
    assert seen.size == (440, 293)
    assert served.ask("POST", "/explain?method=occlusion", photo, headers).status == 422
    edge = served.ask("POST", "/explain?edge=left", photo, headers)
    assert (edge.status, edge.json["error"]) == (422, "a model of pixels gives no boxes.")
    alike = served.ask("POST", "/explain", *two_photos(photo, photo))
    assert alike.status == 422
    assert "answers for each pixel of a photo" in alike.json["error"]
    maps = served.ask("POST", "/activations?layer=relu2_1_D", photo, headers).json
    assert maps["channels"] == 8
    assert served.ask("GET", "/models/toy/layers").status == 200


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: the Debian package chromium")
def test_the_page_lays_the_mask_over_the_photo_with_a_legend(browser: Any, served: Server) -> None:
    page = browser.new_context(locale="en-GB").new_page()
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{served.port}/")
    page.wait_for_selector(".layer")
    give(page, make_photo(40, 60))
    page.wait_for_selector("#mask:not([hidden])")
    page.wait_for_selector("#seen-stage:not([hidden])")
    assert page.is_hidden("#crop-box")
    mask, shown = page.locator("#mask").bounding_box(), page.locator("#shown").bounding_box()
    assert mask == pytest.approx(shown, abs=1)
    assert page.eval_on_selector("#mask", "image => [image.naturalWidth, image.naturalHeight]") == [54, 36]
    colours = page.locator(".swatch").evaluate_all("all => all.map((one) => getComputedStyle(one).backgroundColor)")
    assert set(colours) <= {f"rgb{colour}" for colour in class_colours(("sky", "road", "car")).values()}
    assert len(colours) == page.locator(".score").count() >= 2
    expect(page, "#explained").to_contain_text("%")
    assert page.locator("#method option").count() == 4
    page.select_option("#class", "car")
    expect(page, "#explained").to_contain_text("car, ")
    expect(page, "#kinds").to_contain_text("max unpooling")
    expect(page, "#trouble").to_have_text("")
    assert said == []
    page.context.close()
