"""The engine with the tiny model, loaded once for all tests of these folders."""

import pytest

from facegen.models.tiny_files import TINY


@pytest.fixture(scope="session")
def tiny_engine():
    """Tests change nothing on it but through monkeypatch."""
    from facegen.standalone.engine import Engine
    from facegen.standalone.model_files import find_model_files

    return Engine(find_model_files(TINY))


@pytest.fixture(autouse=True)
def no_comfyui_around(monkeypatch):
    """Whatever ComfyUIs this machine has: commands find none by themselves."""
    from facegen.standalone.cli import comfyui

    monkeypatch.setattr(comfyui, "known_comfyuis", lambda: iter(()))
