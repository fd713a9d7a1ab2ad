"""What makes works step by step, and who counts."""

from types import SimpleNamespace

import pytest

from batch_engine import MOST, BatchEngine
from engine_works import Counts, run_with
from facegen.standalone.server import made as made_module
from facegen.standalone.server.engines import Engines
from facegen.standalone.server.queue.room import Room


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(made_module, "likenesses", lambda images, *_: [SimpleNamespace(percent=71.6)] * len(images))
    return BatchEngine()


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def run(engine, counts):
    return run_with(Engines(None, lambda files: engine), counts, Room(MOST))
