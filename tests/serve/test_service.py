"""What the service answers: the same as `Predictor`, however it is asked."""

import asyncio
import base64
import hashlib
import io
import json
import re
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from clients import Answer, ask_in_turn, post
from PIL import Image
from serving import make_photo, wait_until

from verydeep.explain import METHODS, explain
from verydeep.image import decode
from verydeep.image.preprocess import fit, preprocess
from verydeep.predict import Predictor
from verydeep.runtime import find_model
from verydeep.serve.server import listen


def form(*photos: bytes) -> tuple[bytes, dict[str, str]]:
    """As `curl -F photo=@a.png` sends them, with one field that is no file."""
    lines = [b'--cut\r\ncontent-disposition: form-data; name="comment"\r\n\r\nnice\r\n']
    for photo in photos:
        head = b'--cut\r\ncontent-disposition: form-data; name="photo"; filename="../../a.png"\r\n\r\n'
        lines.append(head + photo + b"\r\n")
    return b"".join(lines) + b"--cut--\r\n", {"content-type": "multipart/form-data; boundary=cut"}


@pytest.fixture
def expected(toy_model: Path, photos: list[bytes]) -> np.ndarray:
    """(photos, classes): what the program says of them alone."""
    predictor = Predictor(toy_model, engine="reference")
    return np.concatenate([predictor.predict_proba([photo]) for photo in photos])


def assert_is(answer: dict, photo: bytes, expected: np.ndarray) -> None:
    assert answer["sha256"] == hashlib.sha256(photo).hexdigest()
    classes = ("cat", "dog", "rocket")
    got = {score["label"]: score["probability"] for score in answer["predictions"]}
    assert [got[name] for name in classes] == pytest.approx(expected, abs=1e-5)


def test_a_body_a_form_and_json_get_the_answer_of_the_predictor(server, photos, expected):
    reply = server.ask("POST", "/predict", photos[0], {"content-type": "image/png"})
    assert reply.status == 200
    assert reply.json["model"] == "toy"
    assert_is(reply.json["photos"][0], photos[0], expected[0])
    body, headers = form(*photos[:3])
    answers = server.ask("POST", "/predict", body, headers).json["photos"]
    for answer, photo, row in zip(answers, photos[:3], expected[:3], strict=True):
        assert_is(answer, photo, row)
    reply = server.predict(*photos)
    assert len(reply.json["photos"]) == len(photos)
    for answer, photo, row in zip(reply.json["photos"], photos, expected, strict=True):
        assert_is(answer, photo, row)
    top = server.predict(photos[0], query="?top=1&model=other").json
    assert top["model"] == "other"
    assert len(top["photos"][0]["predictions"]) == 1


def test_a_photo_that_cannot_be_read_is_told_in_its_place_and_fails_the_request_only_where_all_do(server, photos):
    before = server.metric('verydeep_photos_total{model="toy",result="unreadable"}', default=0.0)
    reply = server.predict(photos[0], b"nonsense", photos[1])
    assert reply.status == 200
    assert [sorted(answer) for answer in reply.json["photos"]] == [
        ["is_known", "predictions", "sha256"],
        ["error", "hint", "sha256"],
        ["is_known", "predictions", "sha256"],
    ]
    assert reply.json["photos"][1]["error"].startswith("photo 2 is not ")
    assert server.predict(b"nonsense").status == 422
    assert server.metric('verydeep_photos_total{model="toy",result="unreadable"}') == before + 2


@pytest.mark.soak(
    "S1, S14",
    goal="1,000 clients, 500 images, 20,000 answers on a CPU: none wrong, none exchanged; memory within 5 %, handles 2",
    here="200 clients, 500 images, 20,000 answers of the built-in model; memory from the first 4,000 on",
)
@pytest.mark.parametrize("fault", ["", "swap", "leak"])
def test_of_many_clients_each_gets_its_own_answer_and_nothing_is_left(serve, toy_model, amount, measured, fault):
    """Clients at once with a connection each; of rows exchanged or of memory and files kept the test would notice."""
    clients, images, requests = amount((8, 40, 240), (200, 500, 20_000))
    model, engine = amount((toy_model, "reference"), (find_model(None), "auto"))
    photos = [make_photo(number, side=amount(40, 200)) for number in range(images)]
    predictor = Predictor(model, engine=engine)
    right = np.concatenate([predictor.predict_proba([photo]) for photo in photos])
    places = {name: place for place, name in enumerate(predictor.model.info.classes)}
    room = {"queued_batches": 16}  # for all of them
    server = serve(model=model, engine=engine, fault=fault, engine_seconds=amount(0.001, 0.0), limits=room)
    memory, wrong = [], []

    def request(number: int) -> bytes:
        return post("/predict?top=1000", photos[number % images], "image/png", f"request-{number}")

    def check(answer: Answer) -> None:
        found = json.loads(answer.body)["photos"][0] if answer.status == 200 else {}
        got = np.zeros(len(places))
        for score in found.get("predictions", ()):
            got[places[score["label"]]] = score["probability"]
        is_own = found.get("sha256") == hashlib.sha256(photos[answer.number % images]).hexdigest()
        is_own = is_own and f"x-request-id: request-{answer.number}\r\n".encode() in answer.headers
        if not (is_own and np.allclose(got, right[answer.number % images], atol=1e-5)):
            wrong.append(answer.number)
        if answer.number % (requests // 20) == 0:
            memory.append(server.memory())

    asyncio.run(ask_in_turn(server.port, request, clients=clients, requests=requests // 5))
    before, start = server.handles(), time.monotonic()
    answers = asyncio.run(ask_in_turn(server.port, request, clients=clients, requests=requests, on_answer=check))
    seconds = time.monotonic() - start
    wait_until(lambda: server.metric("verydeep_requests_in_flight") == 1)
    after = server.handles()
    growth = float(np.polyfit(np.arange(len(memory)), memory, 1)[0]) * len(memory) / memory[0]
    measured(answers=answers.statuses[200], wrong=len(wrong), photos_a_second=f"{requests / seconds:.0f}")
    measured(memory_growth=f"{growth:.4f}", **{f"{name}_more": after[name] - before[name] for name in after})
    is_flat = growth <= amount(0.3, 0.05) and all(after[name] - before[name] <= 2 for name in after)
    assert answers.statuses == {200: requests}
    assert (not wrong) == (fault != "swap"), wrong[:10]
    assert is_flat == (fault != "leak"), (growth, before, after)


def test_a_localiser_answers_with_boxes_in_pixels_of_the_upright_photo(serve, make_localizer, tmp_path):
    path = make_localizer(tmp_path / "localizer.safetensors", None, boxes="class")
    server = serve(model=path)
    predictor = Predictor(path, engine="reference")
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    answers = server.predict(file.getvalue(), make_photo(3)).json["photos"]
    for answer, photo in zip(answers, (file.getvalue(), make_photo(3)), strict=True):
        expected = predictor.predict(photo)
        assert [score["label"] for score in answer["predictions"]] == [score.label for score in expected.scores]
        for got, score in zip(answer["predictions"], expected.scores, strict=True):
            assert got["box"] == pytest.approx(score.box.to_dict(), abs=0.02)
    assert answers[0]["predictions"][0]["box"]["bottom"] <= 70
    photo = make_photo(3)
    described, *_ = server.ask("GET", "/models").json["models"]
    assert described["edges"] == ["left", "top", "right", "bottom", "all"]
    for edge in described["edges"]:
        found = server.ask("POST", f"/explain?label=dog&edge={edge}", photo, {"content-type": "image/png"}).json
        right = explain(predictor.model, decode(photo, "photo"), label="dog", edge=edge)
        assert (found["label"], found["edge"], found["reach"]) == ("dog", edge, pytest.approx(right.score, abs=1e-4))
        assert " of the box of dog, " in found["in_words"]
    for query, error in (
        ("edge=middle", "a box has no edge 'middle'; there are left, top, right, bottom, all."),
        ("edge=left&method=occlusion", "occlusion tells what a class loses, not a box."),
        ("edge=left&method=gradient&layer=relu1_1", "gradient explains a box, or a unit of a layer."),
    ):
        reply = server.ask("POST", f"/explain?{query}", photo, {"content-type": "image/png"})
        assert (reply.status, reply.json["error"]) == (422, error)
    photo = {"name": "photos", "datatype": "BYTES", "shape": [1]}
    photo["data"] = [base64.b64encode(file.getvalue()).decode()]
    (output,) = infer(server, {"inputs": [photo]}).json["outputs"]
    assert output["data"] == pytest.approx(predictor.predict_proba([file.getvalue()])[0], abs=1e-5)


def infer(server, question: dict, tensors: bytes = b"", name: str = "toy"):
    head = json.dumps(question).encode()
    headers = {"inference-header-content-length": str(len(head))} if tensors else {}
    return server.ask("POST", f"/v2/models/{name}/infer", head + tensors, headers)


def test_the_open_inference_protocol_takes_photos_pixels_and_images_in_json_and_in_binary(
    server, photos, expected, toy_model
):
    some, right = photos[:3], expected[:3]
    preprocessing = Predictor(toy_model, engine="reference").model.info.preprocessing
    pictures = [decode(photo, "") for photo in some]
    pixels = np.stack([fit(picture, preprocessing) for picture in pictures])
    images = np.stack([preprocess(picture, preprocessing) for picture in pictures])
    framed = b"".join(len(photo).to_bytes(4, "little") + photo for photo in some)
    for name, kind, shape, data, raw in (
        ("photos", "BYTES", [3], [base64.b64encode(photo).decode() for photo in some], framed),
        ("pixels", "UINT8", list(pixels.shape), pixels.ravel().tolist(), pixels.tobytes()),
        ("images", "FP32", list(images.shape), images.ravel().tolist(), images.astype("<f4").tobytes()),
    ):
        given = {"name": name, "datatype": kind, "shape": shape}
        reply = infer(server, {"id": "7", "inputs": [given | {"data": data}]})
        assert reply.status == 200, reply.body
        output = reply.json["outputs"][0]
        assert (output["name"], output["datatype"], output["shape"]) == ("probabilities", "FP32", [3, 3])
        if name != "pixels":  # they are resized once more, from 32 to 36 pixels, before the crop
            np.testing.assert_allclose(np.reshape(output["data"], (3, 3)), right, atol=1e-5)
        assert reply.json["id"] == "7"
        binary = {"parameters": {"binary_data_size": len(raw)}}
        asked = [{"name": "probabilities", "parameters": {"binary_data": True}}]
        reply2 = infer(server, {"inputs": [given | binary], "outputs": asked}, raw)
        length = int(reply2.headers["inference-header-content-length"])
        rows = np.frombuffer(reply2.body[length:], "<f4").reshape(3, 3)
        np.testing.assert_allclose(rows, np.reshape(output["data"], (3, 3)), atol=1e-6)
    assert server.ask("GET", "/v2").json["extensions"] == ["binary_tensor_data"]
    assert server.ask("GET", "/v2/models/toy").json["outputs"][0]["shape"] == [-1, 3]
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/toy/ready"):
        assert server.ask("GET", path).status == 200


def test_the_protocols_misuse_is_refused_with_a_sentence(server):
    images = {"name": "images", "datatype": "FP32", "shape": [1, 3, 32, 32]}
    for question in (
        [],
        {},
        {"inputs": []},
        {"inputs": ["images"]},
        {"inputs": [{"name": "other", "datatype": "FP32", "shape": [1], "data": [1]}]},
        {"inputs": [{"name": "images", "datatype": "INT8", "shape": [1], "data": [1]}]},
        {"inputs": [images | {"data": [1.0]}]},
        {"inputs": [images | {"data": "abc"}]},
        {"inputs": [images | {"data": [float("nan")] * 3072}]},
        {"inputs": [images | {"shape": [1, -3, 32, 32]}]},
        {"inputs": [images | {"shape": [1, 3, 33, 32], "data": [0.0] * 3168}]},
        {"inputs": [images | {"data": [0.0] * 3072}], "outputs": [{"name": "logits"}]},
        {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 256, 0]}]},
        {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [2], "data": ["AAAA"]}]},
        {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "data": ["AAAA"]}]},
        {"inputs": [images | {"parameters": {"binary_data_size": 5}}]},
    ):
        reply = infer(server, question)
        assert reply.status == 400, question
        assert set(reply.json) <= {"error", "hint"}, question
    assert infer(server, {}, name="nobody").status == 404
    assert server.ask("GET", "/health/ready").status == 200


HOSTILE = [
    {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1], "data": [*[""] * 200_000, "a" * 100_000]}]},
    {"inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0.5, 256]}]},
    {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "data": [""] * 1_000_000}]},
    {"inputs": [{"name": [], "datatype": "FP32", "shape": [1], "data": [1]}]},
    {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1048575] * 100_000, "data": ["AAAA"]}]},
    {"inputs": [{"name": "photos", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": "\ud800"}}]},
]


def test_hostile_questions_are_refused_and_never_break_the_server(server):
    for question in HOSTILE:
        assert infer(server, question).status == 400
    body = json.dumps({"inputs": []}).encode()
    for length in ("\xb2", "9" * 5000, "-1", "1e3"):
        headers = {"inference-header-content-length": length}
        assert server.ask("POST", "/v2/models/toy/infer", body, headers).status == 400, length
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0, 0, 0]}
    reply = infer(server, {"id": "\ud800", "inputs": [pixels]})
    assert (reply.status, reply.json["id"]) == (200, "\ud800")


def test_a_body_of_empty_photos_is_not_counted_to_its_end(server):
    zeros = bytes(4 << 20)
    tensor = {"name": "photos", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(zeros)}}
    head = json.dumps({"inputs": [tensor]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    assert server.ask("POST", "/v2/models/toy/infer", head + zeros, headers).status == 400


def test_explanations_have_so_many_places_and_what_finds_none_is_not_decoded(serve, photos):
    server = serve(engine_seconds=1, limits={"explanations": 1})
    decoded = server.metric("verydeep_photos_total")
    with ThreadPoolExecutor(4) as clients:
        png = {"content-type": "image/png"}
        replies = list(clients.map(lambda n: server.ask("POST", "/explain", photos[n], png), range(4)))
    assert sorted(reply.status for reply in replies) == [200, 503, 503, 503]
    assert server.metric("verydeep_photos_total") == decoded + 1


def test_an_answer_comes_with_its_reasons(server, photos):
    png = {"content-type": "image/png"}
    found = server.ask("POST", "/explain", photos[0], png)
    assert found.status == 200
    assert found.json["method"] == "gradcam"
    assert found.json["panel"].startswith("data:image/")
    other = server.ask("POST", "/explain?method=occlusion&label=rocket&model=other", photos[0], png).json
    assert other["label"] == "rocket"
    maps = server.ask("POST", "/activations?layer=relu1_1", photos[0], png).json
    assert maps["channels"] == len(maps["maps"]) == 8
    assert all(one["picture"].startswith("data:image/png;base64,") for one in maps["maps"])
    layers = server.ask("GET", "/models/toy/layers").json["layers"]
    assert [layer["name"] for layer in layers][:2] == ["input", "conv1_1"]
    assert sum(layer["parameters"] for layer in server.ask("GET", "/networks/D").json["layers"]) == 138_357_544
    for path, status in (
        ("/explain?method=magic", 422),
        ("/explain?label=nobody", 422),
        ("/explain?method=occlusion&layer=relu1_1", 422),
        ("/explain?model=nobody", 404),
        ("/explain?edge=left", 422),
        ("/activations?layer=fc8", 422),
        ("/activations", 422),
    ):
        reply = server.ask("POST", path, photos[0], png)
        assert (reply.status, set(reply.json)) == (status, {"error", "hint"}), path
    assert server.ask("POST", "/explain", b"nonsense", png).status == 422
    edge = server.ask("POST", "/explain?edge=left", photos[0], png)
    assert edge.json["error"] == "the model (toy-bn-gap) gives no boxes."
    assert server.ask("GET", "/networks/F").status == 404
    networks = server.ask("GET", "/networks").json["networks"]
    assert {one["name"]: one["totals"]["weight_layers"] for one in networks} == {
        "A": 11, "A-LRN": 11, "B": 13, "C": 16, "D": 16, "E": 19
    }  # fmt: skip


def test_an_answer_does_not_wait_for_the_clients_acknowledgement_of_its_header():
    """asyncio sets TCP_NODELAY where the socket names its protocol; without, each answer took 44 ms."""
    with closing(listen("127.0.0.1", 0)) as listener:
        assert listener.proto == socket.IPPROTO_TCP


def test_the_example_of_the_docs_runs(server, photos, tmp_path):
    page = (Path(__file__).parents[2] / "docs/concepts/serving.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```py\n(.*?)```", page, re.DOTALL)
    for data, said in ((photos[0], "'probability'"), (b"nonsense", "422 ")):
        (tmp_path / "cat.jpg").write_bytes(data)
        code = example.replace(":8000", f":{server.port}")
        done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert said in done.stdout


def test_what_is_served_is_described_for_people_and_for_programs(server):
    described = server.ask("GET", "/models").json["models"]
    assert [model["name"] for model in described] == ["toy", "other"]
    assert described[0]["classes"] == ["cat", "dog", "rocket"]
    paths = server.ask("GET", "/openapi.json").json["paths"]
    assert [model["methods"] for model in described] == 2 * [list(METHODS)]
    asked = {one["name"] for one in paths["/explain"]["post"]["parameters"]}
    assert asked == {"model", "method", "label", "layer", "edge"}
    forms = {
        path: set(paths[path]["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"])
        for path in ("/predict", "/explain", "/activations")
    }
    assert forms == {"/predict": {"photo"}, "/explain": {"photo", "similar_to"}, "/activations": {"photo"}}
    assert {"/predict", "/models", "/metrics", "/health/ready", "/v2/models/{name}/infer"} <= set(paths)


def test_every_request_is_counted_whatever_its_answer(server, photos):
    before = server.metric("verydeep_requests_total")
    for photo in (photos[0], b"nonsense", b""):
        server.ask("POST", "/predict", photo, {"content-type": "image/png"})
    server.ask("GET", "/nothing-here")
    server.ask("GET", "/models", headers={"host": "example.com"})
    assert server.metric("verydeep_requests_total") - before == 5 + 1, "five, and the first look at the metrics"
    assert server.metric("verydeep_requests_in_flight") == 1, "the one that asks"
    labels = server.ask("GET", "/metrics").body.decode()
    assert "nothing-here" not in labels, "a client cannot add labels"
