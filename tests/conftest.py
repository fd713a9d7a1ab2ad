"""Loads the pack as package `facegen` by path, as ComfyUI does, and gives the tests real photos."""

import importlib.util
import logging
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pack import load_pack

load_pack()


LONGEST = [
    Path(__file__).parent / name
    for name in (
        "standalone/test_tiny_portraits.py",
        "standalone/server/test_serve.py",
        "standalone/cli/test_verify.py",
        "scale/test_ray.py",
    )
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: where several processes share the files, the others take the rest meanwhile."""
    items.sort(key=lambda item: LONGEST.index(item.path) if item.path in LONGEST else len(LONGEST))
    if importlib.util.find_spec("timm") is None:
        for item in items:
            if item.get_closest_marker("timm"):
                item.add_marker(pytest.mark.skip(reason="needs timm"))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """A command that runs in the tests' process sets up the logging of all of it, to a stream that ends with the test."""
    root, hooks = logging.getLogger(), (sys.excepthook, threading.excepthook)
    handlers, level = [*root.handlers], root.level
    yield
    for handler in [*root.handlers]:
        if handler not in handlers and not type(handler).__module__.startswith("_pytest."):
            root.removeHandler(handler)
    root.setLevel(level)
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook = hooks


def _picture(rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(rgb)).float()[None] / 255


@pytest.fixture
def astronaut() -> torch.Tensor:
    """One woman, RGB [1, 512, 512, 3]."""
    from skimage import data

    return _picture(data.astronaut())


@pytest.fixture
def t1() -> torch.Tensor:
    """Six people, RGB [1, 886, 1280, 3]."""
    from insightface import data

    return _picture(data.get_image("t1")[..., ::-1])


@pytest.fixture
def tom_hanks() -> torch.Tensor:
    """One man, close up, RGB [1, 112, 112, 3]."""
    from insightface import data

    return _picture(data.get_image("Tom_Hanks_54745")[..., ::-1])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, and nothing in the environment that names a ComfyUI."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    monkeypatch.delenv("COMFYUI_PATH", raising=False)
    monkeypatch.delenv("PWD", raising=False)
    return home


@pytest.fixture
def dev(tmp_path, home):
    """dev.py in a folder of its own, beside requirement files."""
    from dev_tools import load_dev, place_pack

    module = load_dev(place_pack(tmp_path / "pack"))
    files = module.environments
    for path in (files.PACK_REQUIREMENTS, files.STANDALONE_REQUIREMENTS, files.DEV_REQUIREMENTS, files.HOST_REQUIREMENTS):
        path.write_text("numpy\n")
    return module
