"""The page in Chromium, as tests drive it."""

import shutil
from typing import Any

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright, of the extra dev")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

IN_BROWSER = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: the Debian package chromium"),
]


def give(page: Any, photo: bytes, kind: str = "image/png", name: str = "photo.png") -> None:
    page.set_input_files("#file", {"name": name, "mimeType": kind, "buffer": photo})


def expect(page: Any, selector: str) -> Any:
    """playwright's own, which waits without evaluating texts: the page forbids that."""
    return playwright.expect(page.locator(selector))


def wait_for_answer(page: Any) -> None:
    page.wait_for_selector(".answer .score")
    page.wait_for_selector("#seen-stage:not([hidden])")
