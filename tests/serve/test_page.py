"""The page in Chromium, used as a person would: every control, and what is told when something goes wrong."""

import base64
import io
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import IN_BROWSER, expect, give, wait_for_answer
from PIL import Image
from serving import end, start

from verydeep.predict import Predictor

pytestmark = IN_BROWSER


@pytest.fixture
def page(browser: Any, server: Any) -> Iterator[Any]:
    """The page, open; whatever it complains of in the console fails the test."""
    context = browser.new_context(locale="en-GB", permissions=["camera"])
    opened = context.new_page()
    said: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(f"http://127.0.0.1:{server.port}/")
    opened.wait_for_selector(".layer")
    yield opened
    context.close()
    assert [text for text in said if "status of 422" not in text] == []  # of photos that were to be refused


def change(page: Any, control: str, value: str) -> None:
    """Chooses, and waits for the answer that follows."""
    with page.expect_response(lambda reply: reply.request.method == "POST") as reply:
        page.select_option(control, value)
    assert reply.value.ok
    page.wait_for_load_state("networkidle")


def test_a_photo_gets_its_answer_and_its_reasons(page, server, photos):
    give(page, photos[0])
    wait_for_answer(page)
    answer = server.ask("POST", "/predict", photos[0], {"content-type": "image/png"}).json["photos"][0]
    shown = page.locator(".score").all_inner_texts()
    assert [re.split(r"\s{2,}|\n+", text)[0] for text in shown] == [score["label"] for score in answer["predictions"]]
    assert f"{100 * answer['predictions'][0]['probability']:.1f} %" in shown[0]
    expect(page, "#explained").to_contain_text("%")


def redraw(page: Any, control: str, value: str) -> str:
    """Chooses, and waits until the map is another one; returns it."""
    before = page.get_attribute("#heat", "src")
    page.select_option(control, value)
    expect(page, "#heat").not_to_have_attribute("src", before)
    return str(page.get_attribute("#heat", "src"))


def test_each_method_class_and_layer_draws_another_map(page, photos):
    give(page, photos[1])
    wait_for_answer(page)
    maps = [page.get_attribute("#heat", "src")]
    maps += [redraw(page, "#method", name) for name in ("gradient", "guided", "deconvnet", "integrated", "occlusion")]
    assert len(set(maps)) == 6
    assert redraw(page, "#method", "gradcam") == maps[0]
    layers = page.locator("#layer option").evaluate_all("options => options.map(option => option.value)")
    redraw(page, "#layer", layers[1])
    redraw(page, "#method", "occlusion")  # which takes no layer
    expect(page, "#trouble").to_have_text("")
    redraw(page, "#method", "gradcam")
    page.select_option("#class", "rocket")
    expect(page, "#explained").to_contain_text("rocket, ")


def test_the_slider_fades_and_the_pointer_shows_what_a_unit_sees(page, photos):
    give(page, photos[2])
    wait_for_answer(page)
    page.fill("#opacity", "25")
    assert page.eval_on_selector("#heat", "element => element.style.opacity") == "0.25"
    assert page.is_hidden("#field")
    page.hover("#seen-stage")
    field = page.locator("#field").bounding_box()
    seen = page.locator("#seen").bounding_box()
    layer = page.locator("#layer-facts dd").nth(6).inner_text()
    assert field["width"] / seen["width"] == pytest.approx(int(layer.split()[0]) / 32, rel=0.05)


def test_two_models_are_compared_on_one_photo(page, photos):
    give(page, photos[3])
    wait_for_answer(page)
    change(page, "#other", "other")
    expect(page, ".answer h3").to_have_text(["toy", "other"])
    change(page, "#model", "other")
    expect(page, ".answer h3").to_have_text(["other"])  # a model is not compared with itself


def hold(page: Any, pattern: str) -> "list[Any]":
    """The next request to an address like this, once it has come: it is not let through."""
    held: list[Any] = []

    def keep(route: Any) -> None:
        held.append(route)

    page.route(re.compile(pattern), keep, times=1)
    return held


def test_an_answer_waits_for_no_layers_and_goes_without_them(page, photos):
    page.route(re.compile("models/other/layers"), lambda route: route.fulfill(status=422, json={"error": "too slow"}))
    give(page, photos[3])
    wait_for_answer(page)
    change(page, "#model", "other")
    expect(page, ".answer h3").to_have_text(["other"])
    expect(page, "#trouble").to_have_text("too slow")
    expect(page, "#trouble").to_be_in_viewport()
    page.select_option("#method", "gradient")
    expect(page, "#explained").to_contain_text("small change")
    expect(page, "#trouble").to_have_text("too slow")
    assert page.is_disabled("#maps")
    change(page, "#model", "toy")
    expect(page, "#maps").to_be_enabled()
    expect(page, "#trouble").to_have_text("")


def test_what_was_overtaken_is_not_shown_and_its_failure_not_told(page, photos):
    answer, maps = hold(page, "predict"), hold(page, "activations")
    give(page, photos[4])
    page.click("#maps")
    page.wait_for_timeout(200)
    give(page, photos[5])
    wait_for_answer(page)
    for route in (answer[0], maps[0]):
        route.fulfill(status=422, json={"error": "of the photo before"})
    page.wait_for_timeout(200)
    expect(page, "#trouble").to_have_text("")
    expect(page, ".answer").to_have_count(1)
    maps = hold(page, "activations")
    page.click("#maps")
    page.wait_for_timeout(200)
    change(page, "#model", "other")
    maps[0].continue_()
    page.wait_for_load_state("networkidle")
    expect(page, "#maps-picture img").to_have_count(0)


@pytest.mark.parametrize("shape", [(40, 160), (160, 40), (30, 30)])
def test_a_photo_keeps_its_shape_and_the_outline_is_its_middle(page, shape):
    file = io.BytesIO()
    Image.new("RGB", shape).save(file, "PNG")
    give(page, file.getvalue())
    wait_for_answer(page)
    photo, box = page.locator("#shown").bounding_box(), page.locator("#crop-box").bounding_box()
    assert photo["width"] / photo["height"] == pytest.approx(shape[0] / shape[1], rel=0.02)
    assert box["width"] == pytest.approx(min(photo["width"], photo["height"]) * 32 / 36, abs=1)
    assert box["height"] == pytest.approx(box["width"])
    for side, length in (("x", "width"), ("y", "height")):
        assert box[side] + box[length] / 2 == pytest.approx(photo[side] + photo[length] / 2, abs=1)


def test_a_photo_that_is_seen_whole_has_no_outline_and_is_shown_filled_up(browser, serve, toy_model, refitted):
    path = refitted(toy_model, "letterbox")
    server = serve(model=path)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector(".layer")
    file = io.BytesIO()
    Image.new("RGB", (144, 72), (255, 0, 0)).save(file, "PNG")
    give(page, file.getvalue())
    wait_for_answer(page)
    assert page.is_visible("#shown")
    assert page.is_hidden("#crop-box")
    expect(page, "#explained").to_contain_text("%")
    data = page.get_attribute("#seen", "src").partition(",")[2]
    seen = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))), int)
    places = seen[[20, 220, 420], 220]  # of 440 rows
    assert np.abs(places - [(124, 116, 104), (255, 0, 0), (124, 116, 104)]).max() <= 8  # it is a JPEG
    answer = server.ask("POST", "/predict", file.getvalue(), {"content-type": "image/png"}).json["photos"][0]
    expected = Predictor(path, engine="reference").predict(file.getvalue())
    assert answer["predictions"][0]["probability"] == pytest.approx(expected.probability, abs=1e-5)
    context.close()


def test_the_box_of_the_answer_is_drawn_on_the_photo(browser, serve, make_localizer, tmp_path):
    server = serve(model=make_localizer(tmp_path / "localizer.safetensors", (0.25, 0.5, 0.5, 1)))
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector(".layer")
    file = io.BytesIO()
    Image.new("RGB", (144, 72)).save(file, "PNG")
    assert page.is_hidden("#found-box")
    give(page, file.getvalue())
    wait_for_answer(page)
    photo, box = page.locator("#shown").bounding_box(), page.locator("#found-box").bounding_box()
    scale = photo["width"] / 144
    for side, pixels in (("width", 32), ("height", 64)):  # the left half of the crop, which is 64 of 72 pixels
        assert box[side] == pytest.approx(pixels * scale, abs=1)
    assert box["x"] - photo["x"] == pytest.approx((72 - 32) * scale, abs=1)
    assert box["y"] - photo["y"] == pytest.approx(4 * scale, abs=1)
    assert page.locator("#edge option").count() == 6
    for edge, words in (("left", "the left edge of its box"), ("all", "all edges of its box")):
        page.select_option("#edge", edge)
        expect(page, "#explained").to_contain_text(f" · {words} · ")
    page.select_option("#method", "occlusion")  # which explains a class
    expect(page, "#explained").not_to_contain_text("edge")
    expect(page, "#trouble").to_have_text("")
    assert page.is_disabled("#edge")
    context.close()


def test_the_network_is_walked_by_keys_and_by_pointer(page, photos):
    page.focus("#layers")
    name = page.locator("#layer-facts dd").first
    last = name.inner_text()
    page.keyboard.press("ArrowLeft")
    assert name.inner_text() != last
    page.locator(".layer").first.click()
    assert name.inner_text() == "input"
    page.locator(".layer").nth(2).hover()
    assert name.inner_text() == "conv1_2"
    expect(page, ".layer[aria-selected=true]").to_have_id("layer-0")
    page.hover("#network-title")
    assert name.inner_text() == "input", "what is pointed at is shown in passing"
    page.focus("#layers")
    page.keyboard.press("End")
    expect(page, ".layer:last-child").to_have_attribute("aria-selected", "true")
    page.keyboard.press("Home")
    assert name.inner_text() == "input"
    page.select_option("#shown-network", "D")
    expect(page, ".layer").to_have_count(22)
    assert "138.4M parameters" in page.inner_text("#network-text")
    page.locator("[aria-label^='fc6']").click()
    assert "102,764,544" in page.inner_text("#layer-facts")
    page.select_option("#shown-network", "")
    give(page, photos[4])
    wait_for_answer(page)
    page.locator(".layer.conv").first.click()
    page.click("#maps")
    expect(page, "#maps-picture img").to_have_count(8)


def test_the_camera_takes_a_photo(page):
    page.click("#camera")
    page.wait_for_selector("#live:not([hidden])")
    page.click("#shoot")
    wait_for_answer(page)
    assert page.is_hidden("#live")
    expect(page, "#camera").to_be_focused()


def test_a_camera_that_fails_is_let_go(page):
    page.evaluate("() => { HTMLVideoElement.prototype.play = () => Promise.reject(new Error('no')); }")
    page.click("#camera")
    expect(page, "#trouble").to_contain_text("no camera")
    assert page.evaluate("video.srcObject.getTracks().map(track => track.readyState)") == ["ended"]
    expect(page, "#camera").to_be_enabled()


def test_a_photo_is_taken_by_drop_and_by_paste(page, photos):
    hand_over = """([kind, target, name, bytes]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
        const event = new kinds[kind](kind, { bubbles: true, cancelable: true, [name]: files });
        return !document.querySelector(target).dispatchEvent(event);
    }""".replace("kinds", "({ drop: DragEvent, paste: ClipboardEvent })")
    assert page.evaluate(hand_over, ["drop", "#network", "dataTransfer", list(photos[5])]), "the browser stays here"
    wait_for_answer(page)
    first = page.get_attribute("#seen", "src")
    page.evaluate(hand_over, ["paste", "body", "clipboardData", list(photos[6])])
    expect(page, "#seen").not_to_have_attribute("src", first)


def test_trouble_is_told_in_words(page, browser, toy_model, tmp_path, photos):
    give(page, b"nonsense")
    expect(page, "#trouble").to_contain_text("the photo is not")
    expect(page, "#answers").to_have_text("No answer yet.")
    give(page, b"text", "text/plain")
    expect(page, "#trouble").to_have_text("That is no JPEG, PNG or WebP picture.")
    give(page, b"\x89PNG" + bytes(21 << 20))
    expect(page, "#trouble").to_contain_text("20 MiB")
    give(page, photos[0])
    wait_for_answer(page)
    assert page.inner_text("#trouble") == ""


def test_a_server_that_has_gone_is_told(browser, toy_model, tmp_path, photos):
    running = start(toy_model, tmp_path)
    page = browser.new_page(locale="en-GB")
    page.goto(f"http://127.0.0.1:{running.port}/")
    page.wait_for_selector(".layer")
    end(running)
    give(page, photos[0])
    expect(page, "#trouble").to_contain_text("still running")
    page.close()


def test_a_server_with_a_token_asks_for_it(browser, toy_model, tmp_path, photos):
    running = start(toy_model, tmp_path, token="secret")  # noqa: S106, of a test
    page = browser.new_page(locale="en-GB")
    page.goto(f"http://127.0.0.1:{running.port}/")
    page.fill("#token", "secret")
    page.press("#token", "Enter")
    page.wait_for_selector(".layer")
    assert page.is_hidden("#key")
    give(page, photos[0])
    wait_for_answer(page)
    page.close()
    end(running)


def test_a_photo_may_come_before_the_token(browser, serve, photos):
    token = "Schlüssel 密钥"  # noqa: S105, of a test
    server = serve(token=token)
    page = browser.new_page(locale="en-GB")
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(f"http://127.0.0.1:{server.port}/")
    expect(page, "#trouble").to_contain_text("token")
    page.select_option("#language", "zh")
    give(page, photos[0])
    page.fill("#token", "密")
    page.click("#key button")
    expect(page, "#trouble").to_contain_text("token")
    page.fill("#token", token)
    page.click("#key button")
    wait_for_answer(page)
    expect(page, "#trouble").to_have_text("")
    assert page.inner_text("#answer-title") == "结果"
    assert said == []
    page.close()


def test_a_browser_that_keeps_nothing_shows_the_page_as_well(browser, serve, photos):
    server = serve(token="secret")  # noqa: S106, of a test
    page = browser.new_page(locale="zh-CN")
    page.add_init_script("""for (const store of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, store, { get() { throw new DOMException("blocked", "SecurityError"); } });""")
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.fill("#token", "secret")
    page.press("#token", "Enter")
    page.wait_for_selector(".layer")
    give(page, photos[0])
    wait_for_answer(page)
    page.close()


def test_what_programs_can_ask_is_listed(page):
    page.goto(page.url.rstrip("/") + "/docs")
    page.wait_for_selector("text=POST /predict")


def test_every_word_has_its_translation(page, photos):
    give(page, photos[0])
    wait_for_answer(page)
    page.locator(".layer.conv").first.click()
    page.click("#maps")
    page.wait_for_selector("#maps-picture img")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.select_option("#language", "zh")
    expect(page, "html").to_have_attribute("lang", "zh-Hans")
    assert "亮处" in page.inner_text("#explained")
    assert "通道" in page.inner_text("#maps-title")
    expect(page, ".layer[aria-selected=true]").to_have_id("layer-1")
    page.wait_for_timeout(200)
    assert [url for url in asked if not url.startswith(("blob:", "data:"))] == [], "nothing is asked anew"
    assert page.inner_text("#answer-title") == "结果"
    page.reload()
    page.wait_for_selector(".layer")
    assert page.inner_text("#why-title") == "为什么", "the choice is remembered"
    keys = page.evaluate("import('./page/words.js').then(({ WORDS }) => [WORDS.en, WORDS.zh].map(Object.keys))")
    assert sorted(keys[0]) == sorted(keys[1])
    pairs = page.evaluate(
        "import('./page/words.js').then(({ WORDS: { en, zh } }) => Object.keys(en).map(key => [en[key], zh[key]]))"
    )
    for english, chinese in pairs:
        assert set(re.findall(r"{\w+}", english)) == set(re.findall(r"{\w+}", chinese)), chinese


def test_a_language_that_another_program_stored_does_no_harm(page):
    for word in ("de-DE", "constructor", ""):
        page.evaluate("word => localStorage.setItem('language', word)", word)
        page.reload()
        page.wait_for_selector(".layer")
        assert page.inner_text("#answer-title") == "Answer"


CONFIGURATIONS = ["A", "A-LRN", "B", "C", "D", "E"]


@pytest.fixture
def explained(page: Any, server: Any) -> Any:
    """A function (configuration) that opens its page."""

    def open_page(name: str) -> Any:
        page.goto(f"http://127.0.0.1:{server.port}/network/{name}")
        page.wait_for_selector(".block")
        return page

    return open_page


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_each_configuration_is_walked_from_the_picture_to_the_scores(explained, server, name):
    page = explained(name)
    assert page.title() == f"Configuration {name} · verydeep"
    found = server.ask("GET", f"/networks/{name}").json
    layers = found["layers"][1:]
    rows = page.locator(".block tbody tr")
    assert rows.count() == len(layers)
    for row, layer in zip(rows.all(), layers, strict=True):
        text = row.inner_text()
        assert row.locator("th").inner_text() == layer["name"]
        assert f"{layer['parameters']:,}" in text
        assert f"{layer['macs']:,}" in text
        formula = row.locator("td:nth-child(4) small").all_text_contents() or ["0"]
        assert product(formula[0]) == layer["parameters"]
    paths = page.locator(".path").all_inner_texts()
    assert paths[0] == "224 × 224 × 3"
    assert paths[-1] == "7 × 7 × 512 → 1,000"
    assert f"{found['totals']['parameters']:,}" in page.inner_text("#totals")
    shown = page.locator("#errors tbody tr").all_inner_texts()
    assert [re.findall(r"[\d.]+(?= %)", row) for row in shown] == [
        [f"{error['top1']:.1f}", f"{error['top5']:.1f}"] for error in found["errors"]
    ]
    assert page.locator("#beside tbody tr").count() == 6
    assert page.inner_text("#beside .here th") == page.inner_text("#configurations [aria-current]") == name


def product(text: str) -> int:
    """ "3 × 3 × 64 + 64" -> 640."""
    weights, _, biases = text.partition(" + ")
    return math.prod(whole(factor) for factor in weights.split(" × ")) + whole(biases or "0")


def whole(text: str) -> int:
    return int(text.replace(",", ""))


def test_a_configurations_page_speaks_chinese_and_is_walked_by_keys(explained):
    page = explained("A-LRN")
    page.select_option("#language", "zh")
    assert page.inner_text("#title") == "配置 A-LRN"
    assert "归一化" in page.inner_text("#lead")
    assert set(re.findall("[a-zA-Z]{5,}", page.inner_text("#walk"))) == {"softmax"}
    page.focus("#layers")
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    assert page.locator("#layer-facts dd").first.inner_text() == "pool1"
    page.focus("#configurations a")
    page.keyboard.press("Enter")
    page.wait_for_url("**/network/A")
    expect(page, "#title").to_have_text("配置 A")


def test_the_page_leads_to_its_configurations_and_back(page):
    page.select_option("#shown-network", "C")
    expect(page, "#all-about").to_have_text("All about configuration C")
    page.click("#all-about")
    page.wait_for_url("**/network/C")
    page.click("#configurations >> text=B")
    expect(page, "#title").to_have_text("Configuration B")
    page.click("h1 a")
    page.wait_for_selector("#drop")


def test_there_is_no_page_of_another_configuration(server):
    for name in ("F", "toy", "d", "D%00", ".."):
        assert server.ask("GET", f"/network/{name}").status == 404


def test_a_configurations_page_asks_for_the_token(browser, serve):
    server = serve(token="secret")  # noqa: S106, of a test
    page = browser.new_page(locale="en-GB")
    page.goto(f"http://127.0.0.1:{server.port}/network/D")
    page.fill("#token", "secret")
    page.press("#token", "Enter")
    page.wait_for_selector(".block")
    assert page.is_hidden("#key")
    page.close()


@pytest.mark.parametrize("name", ["A-LRN", "E"])
@pytest.mark.parametrize("width", [320, 660, 740, 820])
def test_no_configurations_page_is_wider_than_the_window(browser, server, name, width):
    for locale in ("en-GB", "zh-CN"):
        page = browser.new_page(viewport={"width": width, "height": 800}, locale=locale)
        page.goto(f"http://127.0.0.1:{server.port}/network/{name}")
        page.wait_for_selector(".block")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        texts = page.locator(".block td small")
        assert texts.evaluate_all("all => all.every(one => one.scrollWidth <= one.closest('td').clientWidth)")
        page.close()


@pytest.mark.parametrize("width", [320, 390, 820, 1280])
def test_nothing_is_wider_than_the_window(browser, server, photos, width):
    page = browser.new_page(viewport={"width": width, "height": 800}, locale="zh-CN")
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector(".layer")
    give(page, photos[7])
    wait_for_answer(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.close()


def test_on_a_touch_screen_each_layer_has_room_for_a_finger(browser, server):
    page = browser.new_page(viewport={"width": 320, "height": 800}, has_touch=True, is_mobile=True)
    page.goto(f"http://127.0.0.1:{server.port}/")
    page.wait_for_selector(".layer")
    page.select_option("#shown-network", "E")
    expect(page, ".layer").to_have_count(25)
    assert min(page.locator(".layer").evaluate_all("all => all.map(one => one.offsetWidth)")) >= 24
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    page.close()


def test_no_address_of_another_host_is_in_the_page():
    for file in (Path(__file__).parents[2] / "src/verydeep/serve/page").iterdir():
        assert not re.search(r"(https?:)?//[a-z]", re.sub(r"(?m)^\s*//.*$", "", file.read_text())), file
