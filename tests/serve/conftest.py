"""The service, run: one server for the tests that leave it as it is, others for those that do not."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from routes import start_watched
from serving import Server, end, make_photo, start

pytest.importorskip("fastapi", reason="needs the extra serve")


@pytest.fixture(scope="session")
def server(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One with the settings of everybody, which no test stops."""
    running = start(toy_model, tmp_path_factory.mktemp("server"))
    yield running
    end(running)


@pytest.fixture
def serve(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """A function (**settings of the harness) -> a Server of the test's own."""
    running: list[Server] = []

    def start_another(**settings: Any) -> Server:
        model = settings.pop("model", toy_model)
        running.append(start(model, tmp_path_factory.mktemp("server"), **settings))
        return running[-1]

    yield start_another
    for one in running:
        end(one)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, with a camera that shows a test picture."""
    from browsing import CHROMIUM, playwright

    with playwright.sync_playwright() as driver:
        flags = [
            "--no-sandbox",
            "--disable-gpu",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
        ]
        running = driver.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield running
        running.close()


@pytest.fixture(scope="session")
def photos() -> list[bytes]:
    """Forty different ones."""
    return [make_photo(number) for number in range(40)]


@pytest.fixture(scope="session")
def watched(toy_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One whose events are told, and which has been asked everything once, so that it has loaded what it loads late."""
    running = start_watched(toy_model, tmp_path_factory.mktemp("watched"))
    yield running
    end(running)


@pytest.fixture
def reached(request: pytest.FixtureRequest, toy_model: Path, tmp_path: Path, fault: str) -> Iterator[Server]:
    """That one; with a fault one of the test's own."""
    if not fault:
        yield request.getfixturevalue("watched")
        return
    running = start_watched(toy_model, tmp_path, fault=fault)
    yield running
    end(running)
