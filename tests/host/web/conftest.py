"""The front end in headless Chromium, loaded once for all browser tests of a process.

They come last: a page that is open draws all the time, and tests of nodes don't run beside Playwright's event loop.
"""

import json

import pytest

from front_end import CHROMIUM, FLAGS, IDLE, NODES_2, NOISE, SETTINGS, draws_nodes_2, open_front_end


@pytest.fixture(scope="session")
def browser():
    if not CHROMIUM:
        pytest.skip("needs Chromium or Chrome on PATH")
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def page(browser, server):
    """The front end, loaded; `page.errors` collects what the console and scripts complain of."""
    page = browser.new_context(viewport={"width": 1600, "height": 1000}).new_page()
    page.errors = []
    for name, value in SETTINGS.items():
        page.request.post(f"http://127.0.0.1:{server.port}/api/settings/{name}", data=json.dumps(value))
    page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    open_front_end(page, server)
    return page


@pytest.fixture
def reload(page, server):
    """reload() opens the front end anew, as a new tab does."""

    def opened():
        open_front_end(page, server)
        page.wait_for_timeout(1500)  # it opens once more what was open before
        page.errors.clear()  # 0.3.64 and 0.33.0 complain of themselves while they start

    return opened


@pytest.fixture
def alone(page):
    """Nothing is shown of the test before, nothing is left in work for the next, and no script complains."""
    page.evaluate("() => app.clean()")  # otherwise a node shows the pictures of one with the same number
    page.errors.clear()
    yield
    page.wait_for_function(IDLE, timeout=10_000)
    assert [error for error in page.errors if not any(noise in error for noise in NOISE)] == []


@pytest.fixture(scope="module")
def photo(server):
    """face.png in ComfyUI's input folder."""
    from PIL import Image
    from skimage import data

    Image.fromarray(data.astronaut()).resize((1024, 1024)).save(server.base / "input" / "face.png")


@pytest.fixture(scope="module", params=["canvas", "nodes2"])
def mode(request, page, server):
    """How nodes are drawn: on the classic canvas; as Nodes 2.0, where these are past their beginnings."""
    if request.param == "nodes2" and not draws_nodes_2(server):
        pytest.skip("this front end's Nodes 2.0 are a first draft")
    page.evaluate("([id, on]) => app.extensionManager.setting.set(id, on)", [NODES_2, request.param == "nodes2"])
    page.wait_for_function("on => !!LiteGraph.vueNodesMode === on", arg=request.param == "nodes2", timeout=20_000)
    yield request.param
    page.evaluate("id => app.extensionManager.setting.set(id, false)", NODES_2)
