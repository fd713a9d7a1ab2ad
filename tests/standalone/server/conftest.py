"""The page of `serve` in a real browser, from a server whose pictures are made in memory."""

import pytest

from front_end import CHROMIUM, FLAGS
from memory_backend import MemoryBackend
from serve_page import NAME
from serve_server import ServeServer

NAMES = [f"--host-resolver-rules=MAP {NAME} 127.0.0.1"]
NOISE = "Failed to load resource"  # of answers that are refusals, and of a server that is away


@pytest.fixture(scope="module")
def browser():
    """Closed at the end of each file: its event loop would be in the way of other tests' own."""
    if not CHROMIUM:
        pytest.skip("needs Chromium or Chrome on PATH")
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *NAMES])
        yield running
        running.close()


@pytest.fixture
def open_page(browser):
    """open_page(url): the page there, ready, in a fresh profile; what its scripts complain of fails the test."""
    contexts, errors = [], []

    def opened(url, **options):
        contexts.append(browser.new_context(locale="en-GB", **options))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda m: errors.append(m.text) if m.type == "error" and NOISE not in m.text else None)
        page.goto(url)
        page.wait_for_selector("body[data-ready]", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert errors == []


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def server(tmp_path, backend):
    with ServeServer(tmp_path, backend, enabled=True) as running:
        running.url = f"http://127.0.0.1:{running.port}/"
        yield running
