"""Stand-ins for ComfyUIs on other machines, and the front of `serve` that spreads requests over them, all over real HTTP."""

import contextlib

import pytest

from facegen.comfyui import client
from facegen.standalone.comfyuis import server
from facegen.standalone.comfyuis.backend import ComfyUIs
from far_comfy import FarComfy
from local_api_server import BODY
from serve_server import ServeServer
from waiting import until

HASTE = {"LOOK": 0.05, "IDLE": 0.05, "AGAIN": 0.2, "LEAST": 0.01, "PATIENCE": 2.0}


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    """Nobody waits for long."""
    for name, seconds in HASTE.items():
        monkeypatch.setattr(server, name, seconds)
    monkeypatch.setattr(client, "QUICK", 1.0)
    monkeypatch.setattr(client, "USUAL", 1.5)


class Crowd:
    """ComfyUIs, and the `front` before them."""

    def __init__(self, base, comfies, tokens=(), **settings):
        self.comfies, tokens = comfies, dict(tokens)
        urls = {comfy.url: tokens.get(comfy, "") for comfy in comfies}
        settings = {"enabled": True, "hold_seconds": 0, "poll_seconds": 0, "max_queued": 100, "default": "sd15", **settings}
        self.front = ServeServer(base, ComfyUIs(urls, base / "workflows"), **settings)

    def submit(self, **values):
        answer = self.front.submit({**BODY, **values})
        assert answer["status"] in ("processing", "success"), answer
        return answer["id"]

    def fetch(self, identifier):
        return self.front.fetch(identifier)

    def end(self, identifier, seconds=60):
        """The answer of a request that is done."""
        until(lambda: self.fetch(identifier)["status"] != "processing", seconds)
        return self.fetch(identifier)

    @property
    def drawn(self):
        """How many graphs each ComfyUI was given."""
        return [len(comfy.prompts) for comfy in self.comfies]

    def in_use(self):
        """What each flavour is made with."""
        return self.front.get("/facegen/local_api")[1]

    def ready(self):
        self.front.front.is_ready = True
        return self.front.get("/readyz")


@pytest.fixture
def crowd(tmp_path):
    """crowd(FarComfy…, …) -> a Crowd of them, which runs until the test's end; without any, of two."""
    with contextlib.ExitStack() as stack:

        def make(*comfies, running=True, **settings):
            comfies = comfies or (FarComfy(tmp_path / "a"), FarComfy(tmp_path / "b"))
            for comfy in comfies if running else ():
                stack.enter_context(comfy)
            made = Crowd(tmp_path / "front", comfies, **settings)
            stack.enter_context(made.front)
            made.in_use()  # as `serve` does: it looks at all of them first
            return made

        yield make


@pytest.fixture
def far(tmp_path):
    """far("a") -> a FarComfy that doesn't run yet."""
    return lambda name="a", **options: FarComfy(tmp_path / name, **options)
