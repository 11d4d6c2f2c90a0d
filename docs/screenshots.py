"""Pictures of the service's page for whoever changes it: `python docs/screenshots.py`, or `make screenshots`.

It serves the built-in models, gives the page a photo, and writes the whole page in each width, colour scheme and
language to build/screenshots/. They are to be looked at; nothing is compared. Takes two minutes; needs Chromium.
"""

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import skimage
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parents[1] / "build" / "screenshots"
PHOTO = Path(skimage.__file__).parent / "data" / "chelsea.png"  # a cat: a class of cifar10 and not of imagenette
MODELS = ("imagenette", "cifar10")
WIDTHS = (360, 820, 1280)  # pixels: a phone, a tablet, a desk
SCHEMES = ("light", "dark")
LANGUAGES = {"en": "en-GB", "zh": "zh-CN"}


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with served() as address, sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for width, scheme, (language, locale) in product(WIDTHS, SCHEMES, LANGUAGES.items()):
            context = browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme, locale=locale, reduced_motion="reduce"
            )
            page = context.new_page()
            for name, (path, prepare) in PAGES.items():
                page.goto(address + path)
                page.wait_for_selector(".layer")
                prepare(page)
                picture = FOLDER / f"{name}-{width}-{scheme}-{language}.png"
                page.screenshot(path=picture, full_page=True)
                print(picture)
            context.close()


@contextmanager
def served() -> Iterator[str]:
    """The address of a server of the built-in models."""
    command = [sys.executable, "-m", "verydeep", "serve", "--port", "0", *(f"--model={name}" for name in MODELS)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)  # noqa: S603, our own
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        threading.Thread(target=process.stderr.read, daemon=True).start()  # its log never fills the pipe
        yield found[0]
    finally:
        process.terminate()
        process.wait()


def ask_all(page: Any) -> None:
    """A photo's answer by two models, its reasons, and the maps of a layer."""
    page.set_input_files("#file", PHOTO)
    page.wait_for_selector("#seen-stage:not([hidden])")
    page.select_option("#other", MODELS[1])
    page.wait_for_selector(".answer + .answer")
    page.locator(".layer.conv").nth(1).click()
    page.click("#maps")
    page.wait_for_selector("#maps-picture img")
    page.wait_for_load_state("networkidle")
    page.hover("#seen-stage")
    page.wait_for_timeout(200)


PAGES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "answer": ("/", ask_all),
    "D": ("/network/D", lambda page: None),
}

if __name__ == "__main__":
    main()
