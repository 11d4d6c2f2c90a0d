"""Row S16: no text from outside becomes markup in the page, and no upload is ever served.

300 texts that would run as programs (`payloads`) come to the page in every way that a text can. Nothing runs, nothing
is asked of another host, no element is made of them, and the policy of the page's headers has nothing to stop.
"""

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browsing import IN_BROWSER, give, playwright, wait_for_answer
from payloads import WATCHED, Payload, payloads
from PIL import Image, PngImagePlugin
from serving import Server, end, make_photo, start

pytestmark = IN_BROWSER
GOAL = "300 XSS payloads in file names, EXIF, labels, errors -> 0 executed in a headless browser"
FAULTS = ["", "innerHTML", "innerHTML, no CSP"]
DOCUMENTS = ("/", "/docs", "/network/D")
ADDRESSES = (
    *("/{}", "/page/{}", "/networks/{}", "/models/{}/layers", "/v2/models/{}", "/network/{}"),
    *("/?{}#{}", "/docs?{}#{}", "/network/D?{}#{}"),
)

# Tells of what the page's own checks do not: elements made of a payload, and what the policy had to stop.
_OBSERVE = """
new MutationObserver((records) => {
    for (const { addedNodes } of records) for (const node of addedNodes)
        if (node.matches?.("[pwned]") || node.querySelector?.("[pwned]")) marked();
}).observe(document, { childList: true, subtree: true });
document.addEventListener("securitypolicyviolation", ({ effectiveDirective }) => violated(effectiveDirective));
"""


@dataclass
class Watch:
    """What payloads have done in a browser, by their numbers."""

    ran: set[int] = field(default_factory=set)
    asked: set[int] = field(default_factory=set)
    elements: int = 0
    violations: list[str] = field(default_factory=list)
    texts: int = 0  # that were shown as they are

    def saw(self, page: Any, selector: str, texts: "list[str]") -> None:
        """Counts the texts that elements hold as they are."""
        found = page.locator(selector).evaluate_all("elements => elements.map(one => one.textContent)")
        self.texts += sum(any(given in shown for shown in found) for given in texts)

    @property
    def is_calm(self) -> bool:
        return not (self.ran or self.asked or self.elements or self.violations)

    @property
    def figures(self) -> dict[str, Any]:
        return {
            "texts": self.texts,
            "executed": len(self.ran),
            "requests": len(self.asked),
            "elements": self.elements,
            "violations": len(self.violations),
        }


@contextmanager
def opened(browser: Any, server: Server, watch: Watch, fault: str = "", **settings: Any) -> Iterator[Any]:
    """The page, watched; with a fault until that is noticed. settings: of the browser's context."""
    context = browser.new_context(locale="en-GB", **settings)
    context.expose_binding("pwned", lambda source, number: watch.ran.add(number))
    context.expose_binding("marked", lambda source: setattr(watch, "elements", watch.elements + 1))
    context.expose_binding("violated", lambda source, directive: watch.violations.append(directive))
    context.add_init_script(_OBSERVE)

    def note(route: Any) -> None:
        watch.asked.add(int((re.findall(r"\d+", route.request.url) or ["-1"])[-1]))  # -1: another base
        route.abort()

    context.route(re.compile(rf"^\w+://{re.escape(WATCHED)}/"), note)
    if fault:
        context.route(re.compile(r"/page/\w+\.js$"), lambda route: change(route, lambda text: broken(text, fault)))
    page = context.new_page()
    page.set_default_timeout(2000 if fault else 30_000)
    try:
        page.goto(f"http://127.0.0.1:{server.port}/", timeout=30_000)
        yield page
        page.wait_for_timeout(300)  # for what runs late
    except playwright.Error:
        if not fault:  # with one, the page may not work any more
            raise
        with suppress(playwright.Error):  # nor be there
            until(lambda: page.wait_for_timeout(20) or is_noticed(watch, fault))
    finally:
        context.close()


def change(route: Any, mend: Callable[[str], str]) -> None:
    reply = route.fetch()
    route.fulfill(response=reply, body=mend(reply.text()))


def broken(script: str, fault: str) -> str:
    """A script of the page with the fault in it."""
    if fault.startswith("file name"):
        return script.replace('$("stage").hidden = false', '$("trouble").innerHTML = file.name')
    if fault.startswith("address"):
        return f'{script}\ndocument.body.insertAdjacentHTML("beforeend", decodeURIComponent(location.search));'
    return script.replace("textContent", "innerHTML").replace("{ value, text }", "{ value, innerHTML: text }")


def until(condition: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def judge(watch: Watch, fault: str, texts: int) -> None:
    """That nothing happened; with a fault, that it was noticed."""
    if not fault:
        assert watch.is_calm, watch
        assert watch.texts == texts, "each is shown, as text"
        return
    assert is_noticed(watch, fault), watch
    if "no CSP" not in fault:
        assert not watch.ran, "the policy stops what the page does not"


def is_noticed(watch: Watch, fault: str) -> bool:
    """Whether what the fault lets through was seen; of no policy two payloads that ran, and one that asked."""
    return len(watch.ran) >= 2 and bool(watch.asked) if "no CSP" in fault else not watch.is_calm


@pytest.fixture
def labelled(tmp_path: Path, make_toy: Callable[..., Path]) -> Iterator[Callable[..., Server]]:
    """A function (labels, fault) -> a server of a model whose classes are called so."""
    running: list[Server] = []

    def start_another(labels: "list[str]", fault: str = "") -> Server:
        path = make_toy(tmp_path / "labelled.safetensors", labels, batch_norm=True)
        running.append(start(path, tmp_path, fault="no CSP" if "no CSP" in fault else ""))
        return running[-1]

    yield start_another
    for one in running:
        end(one)


@pytest.mark.soak("S16", goal=GOAL, here="300 payloads as classes of a served model")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_class_is_text(browser, labelled, photos, *, amount, measured, fault):
    texts, watch = [payload.text for payload in payloads(amount(40, 300))], Watch()
    walk = range(0, len(texts), amount(5, 1))
    server = labelled(texts, fault)
    with opened(browser, server, watch, fault) as page:
        page.route(re.compile("/predict"), lambda route: route.continue_(url=f"{route.request.url}&top={len(texts)}"))
        until(lambda: page.locator("#class option").count() > len(texts), 10 if not fault else 2)
        watch.saw(page, "#class option:not(:first-child)", texts)
        give(page, photos[0])
        if fault:
            until(lambda: page.wait_for_timeout(20) or is_noticed(watch, fault))
        else:
            wait_for_answer(page)
            labels = page.locator(".score span:first-child").all_text_contents()
            watch.texts += len(set(labels) & set(texts))
            for place in walk:
                page.select_option("#class", index=1 + place)
                watch.texts += until(lambda p=place: page.text_content("#explained").startswith(f"{texts[p]}, "))
    measured(payloads=len(texts), **watch.figures)
    judge(watch, fault, 2 * len(texts) + len(walk))


def layers(texts: "list[str]") -> "list[dict[str, Any]]":
    """As a model's layers come, with these names."""
    sizes = {"output_shape": [3, 32, 32], "parameters": 1, "macs": 1, "activations": 1, "weights": 1, "biases": 3}
    field = {"receptive_field": 3, "stride": 1, "center": 0.5}
    return [{"name": f"{text}1", "kind": "conv", "kernel": 3, "has_map": True, **field, **sizes} for text in texts]


def answer_with(body: Any) -> Callable[[Any], None]:
    return lambda route: route.fulfill(json=body)


def pretend(page: Any, texts: "list[str]") -> None:
    """Answers with JSON in which each text stands wherever one can: a server that has been taken over sends such."""
    preprocessing = {"resize": 36, "crop": 32, "fit": "crop"}
    models = [
        {"name": text, "classes": texts, "layers_with_map": texts, "preprocessing": preprocessing, "engine": text}
        for text in texts
    ]
    scores = [{"label": text, "probability": 0.5} for text in texts]
    keys = ("weight_layers", "parameters", "macs", "activations", "file_bytes", "fc_parameters", "conv_macs")
    totals = dict.fromkeys(keys, 1)
    picture = layers(["input"])[0] | {"kind": "input"}
    errors = [{"train_scale": text, "test_scales": [text], "top1": 1.0, "top5": 1.0} for text in texts]
    pixel = "data:image/gif;base64,R0lGODlhAQABAAAAACw="
    explained = {"label": texts[0], "probability": 0.5, "half_in": 0.5, "most_in": 4, "seen": pixel, "panel": pixel}
    routes = {
        text: {"get": {"description": text, "parameters": [{"name": text, "in": text, "schema": {"default": text}}]}}
        for text in texts
    }
    answers = {
        r"/models$": {"models": models, "methods": {f"method {n}": text for n, text in enumerate(texts)}},
        r"/models/.*layers$": {"layers": layers(texts)},
        r"/networks/": {"name": texts[0], "totals": totals, "layers": [picture, *layers(texts)], "errors": errors},
        r"/networks$": {"networks": [{"name": text, "totals": totals, "errors": errors} for text in texts]},
        r"/predict": {"photos": [{"predictions": scores, "is_known": False}]},
        r"/explain": explained,
        r"/openapi.json": {"paths": routes},
    }
    for pattern, body in answers.items():
        page.route(re.compile(pattern), answer_with(body))


@pytest.mark.soak("S16", goal=GOAL, here="300 payloads as every other text of a model, and as texts of /openapi.json")
@pytest.mark.parametrize("fault", ["", FAULTS[-1]])
def test_every_other_text_of_a_model_is_text(browser, serve, photos, *, amount, measured, fault):
    texts, watch = [payload.text for payload in payloads(amount(40, 300), first=1000)], Watch()
    walk = range(0, len(texts), amount(5, 3))
    with opened(browser, serve(fault="no CSP" if "no CSP" in fault else ""), watch, fault) as page:
        pretend(page, texts)
        page.reload()
        until(lambda: page.locator(".layer").count() == len(texts), 10 if not fault else 2)
        for control in ("#model", "#method", "#other", "#layer", "#shown-network"):
            watch.saw(page, f"{control} option", texts)
        for place in walk:
            page.locator(".layer").nth(place).dispatch_event("click")
            watch.texts += page.locator("#layer-facts dd").first.text_content() == f"{texts[place]}1"
        give(page, photos[0])
        if not fault:
            wait_for_answer(page)
            watch.saw(page, ".score span:first-child", texts)
            for place in walk:
                page.select_option("#model", index=place)
                watch.texts += until(lambda p=place: page.locator(".answer h3").first.text_content() == texts[p])
        base = page.url.rstrip("/")
        page.goto(f"{base}/network/D")
        until(lambda: page.locator(".block tbody tr").count() == len(texts), 10 if not fault else 2)
        for names in ("#configurations a", "#beside tbody th", ".block tbody th", "#errors tbody td:nth-child(2)"):
            watch.saw(page, names, texts)
        page.goto(f"{base}/docs")
        until(lambda: page.locator("#routes section").count() == len(texts), 10 if not fault else 2)
        for part in ("h2", "p", "dt", "dd"):
            watch.saw(page, f"#routes {part}", texts)
    measured(payloads=len(texts), **watch.figures)
    judge(watch, fault, 14 * len(texts) + 2 * len(walk))


@pytest.mark.soak("S16", goal=GOAL, here="300 payloads as a label or a layer that a request names, told in its error")
@pytest.mark.parametrize("fault", ["", FAULTS[-1]])
def test_an_error_is_text(browser, serve, photos, *, amount, measured, fault):
    given = payloads(amount(16, 300), first=2021)
    watch = Watch()
    with opened(browser, serve(fault="no CSP" if "no CSP" in fault else ""), watch, fault) as page:
        page.wait_for_selector("#method option", state="attached")
        give(page, photos[0])
        wait_for_answer(page) if not fault else page.wait_for_timeout(1000)
        asked: list[Payload] = []

        def name(route: Any) -> None:
            kind = "label" if asked[-1].number % 2 else "layer"
            route.continue_(url=re.sub(r"\?.*", f"?method=gradcam&{kind}={asked[-1].quoted}", route.request.url))

        page.route(re.compile("/explain"), name)
        for payload in given:
            asked.append(payload)
            with page.expect_response(re.compile("/explain")) as reply:
                page.locator("#method").dispatch_event("change")
            error = reply.value.json()["error"]
            assert payload.text in error or repr(payload.text) in error
            watch.texts += until(lambda error=error: error in page.text_content("#trouble"), 10 if not fault else 0.05)
    measured(payloads=len(given), **watch.figures)
    judge(watch, fault, len(given))


@pytest.mark.soak("S16", goal=GOAL, here="300 payloads as addresses of the page and of JSON, opened in the browser")
@pytest.mark.parametrize("fault", ["", "address shown, no CSP"])
def test_an_address_is_text(browser, serve, amount, measured, fault):
    given = payloads(amount(21, 300), first=3008)
    watch, repeated = Watch(), []
    with opened(browser, serve(fault="no CSP" if fault else ""), watch, fault) as page:
        base = page.url.rstrip("/")
        for place, payload in enumerate(given):
            address = ADDRESSES[place % len(ADDRESSES)]
            page.goto(base + address.replace("{}", payload.quoted))
            if payload.text in page.text_content("html"):
                repeated.append(payload)
    measured(payloads=len(given), **watch.figures)
    assert fault or not repeated
    judge(watch, fault, 0)


def annotated(photo: bytes, text: str, kind: str) -> bytes:
    """The photo with the text in every place of the file that holds one."""
    with Image.open(io.BytesIO(photo)) as image:
        pixels = image.convert("RGB")
    exif = Image.Exif()
    for tag in (0x010E, 0x010F, 0x0110, 0x013B, 0x8298, 0x0131):  # description, maker, model, artist, rights, software
        exif[tag] = text
    file = io.BytesIO()
    if kind == "image/png":
        chunks = PngImagePlugin.PngInfo()
        for key in ("Title", "Description", "Comment"):
            chunks.add_itxt(key, text)
        pixels.save(file, "PNG", pnginfo=chunks, exif=exif)
    elif kind == "image/jpeg":
        pixels.save(file, "JPEG", comment=text.encode(), exif=exif)
    else:
        pixels.save(file, "WEBP", exif=exif, xmp=text.encode())
    return file.getvalue()


def impostor(text: str) -> bytes:
    """An SVG, or a page, under the name of a photo."""
    return f'<svg xmlns="http://www.w3.org/2000/svg"><title>{text}</title></svg><!doctype html>{text}'.encode()


@pytest.mark.soak("S16", goal=GOAL, here="300 payloads as a photo's file name and in its EXIF, comments and XMP")
@pytest.mark.parametrize("fault", ["", "file name shown, no CSP"])
def test_what_a_photo_is_called_and_says_is_no_program(browser, serve, amount, measured, fault):
    given = payloads(amount(16, 300), first=4000)
    kinds = ("image/png", "image/jpeg", "image/webp")
    watch = Watch()
    with opened(browser, serve(fault="no CSP" if "no CSP" in fault else ""), watch, fault) as page:
        page.wait_for_selector(".layer")
        for place, payload in enumerate(given):
            kind = kinds[place % 3]
            is_photo = place % 4 != 3
            data = annotated(make_photo(place), payload.text, kind) if is_photo else impostor(payload.text)
            with page.expect_response(re.compile("/explain" if is_photo and not fault else "/predict")) as reply:
                give(page, data, kind, f"{payload.text}.{kind[6:]}")
            assert reply.value.status == (200 if is_photo else 422)
            assert json.dumps(payload.text)[1:-1] not in json.dumps(reply.value.json()), "the answer repeats nothing"
    measured(payloads=len(given), **watch.figures)
    judge(watch, fault, 0)


def policy(server: Server, path: str) -> "dict[str, list[str]]":
    headers = server.ask("GET", path).headers
    assert headers["x-content-type-options"] == "nosniff"
    given = [part.split() for part in headers.get("content-security-policy", "").split(";")]
    return {name: sources for name, *sources in filter(None, given)}


def is_strict(found: "dict[str, list[str]]") -> bool:
    """Scripts and styles are the server's own files, and nothing leads elsewhere."""
    sources = {source for name in found for source in found[name]}
    return (
        found.get("default-src") == ["'self'"]
        and not {"script-src", "style-src", "connect-src", "frame-src"} & set(found)
        and sources <= {"'self'", "'none'", "blob:", "data:", "'script'"}
        and found["img-src"] == ["'self'", "blob:", "data:"]
        and all(found.get(name) == ["'none'"] for name in ("frame-ancestors", "base-uri", "form-action"))
        and found.get("require-trusted-types-for") == ["'script'"]
        and found.get("trusted-types") == ["'none'"]
    )


@pytest.mark.soak("S16", goal="CSP default-src 'self', no inline, nosniff", here="the headers of every route")
@pytest.mark.parametrize("fault", ["", "no CSP"])
def test_the_headers_of_every_answer_allow_no_inline_script(serve, measured, fault):
    server = serve(fault=fault)
    routes = [path for path, methods in server.ask("GET", "/openapi.json").json["paths"].items() if "get" in methods]
    paths = [*DOCUMENTS, "/page/app.js", "/page/style.css", "/openapi.json", "/nothing", *routes]
    strict = [is_strict(policy(server, re.sub(r"\{.*?\}", "toy", path))) for path in paths]
    measured(routes=len(paths))
    assert all(strict) == (not fault), paths


@pytest.mark.soak("S16", goal="no uploads ever served back", here="every route asked for an upload, by all its names")
@pytest.mark.parametrize("fault", ["", "photos are kept"])
def test_no_upload_is_served(serve, measured, fault):
    server = serve(fault=fault)
    mark = "what-only-this-photo-says"
    photo = annotated(make_photo(7), mark, "image/png")
    form = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="evil.html"\r\n\r\n%b\r\n--b--\r\n' % photo
    png = {"content-type": "image/png"}
    answers = [
        server.ask("POST", "/predict", photo, png),
        server.ask("POST", "/predict", form, {"content-type": "multipart/form-data; boundary=b"}),
        server.predict(photo),
        server.ask("POST", "/explain", photo, png),
        server.ask("POST", "/activations?layer=conv1_1", photo, png),
    ]
    assert [answer.status for answer in answers] == [200] * 5
    digest = answers[0].json["photos"][0]["sha256"]
    names = [digest, f"{digest}.png", "evil.html", "photo", answers[0].headers["x-request-id"]]
    folders = ["", "page/", "models/", "networks/", "photos/", "uploads/", "files/", "tmp/", "file=", "static/"]
    paths = [f"/{folder}{name}" for folder in folders for name in names]
    paths += [path for path in server.ask("GET", "/openapi.json").json["paths"] if "{" not in path] + list(DOCUMENTS)
    asked = [server.ask("GET", path) for path in paths]
    guessed = asked[: len(folders) * len(names)]
    measured(addresses=len(paths))
    is_served = [mark.encode() in reply.body or photo[:200] in reply.body for reply in answers + asked]
    assert any(is_served) == any(reply.status != 404 for reply in guessed) == bool(fault)
    for reply in answers + asked:
        kind = reply.headers.get("content-type", "")
        assert fault or not kind.startswith("image/")
        assert fault or kind.startswith("application/json") or b"evil" not in reply.body
    for text in (json.dumps(answer.json) for answer in answers):
        assert not re.search(r'"(https?:|/)[^"]*"', text), "no address to fetch it from"
