"""What runs beside an event loop's other work ends with it."""

import asyncio
import contextlib
import time

import pytest

from facegen.api.local import backend as backend_module
from facegen.api.local.backend import end_tasks
from local_api_server import BODY, ApiServer
from memory_backend import MemoryBackend
from waiting import until


@pytest.fixture(autouse=True)
def hurried(monkeypatch):
    monkeypatch.setattr(backend_module, "TOLD_AGAIN", 0.2)


async def loses_a_cancel():
    """As asyncio.wait_for may, before Python 3.12."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


async def for_ever(lost, seen):
    """`lost` cancels are lost."""
    for _ in range(lost):
        await loses_a_cancel()
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0.01)  # its own end takes a while
        seen.append(lost)


async def fails():
    raise OSError("full")


def test_tasks_end_though_they_lose_that_they_are_cancelled():
    async def scene():
        seen = []
        tasks = [asyncio.create_task(work) for work in (for_ever(0, seen), for_ever(2, seen), fails())]
        await asyncio.sleep(0)
        await asyncio.wait_for(end_tasks(tasks), 20)
        assert seen == [0, 2] and all(task.done() for task in tasks)
        await end_tasks([])

    asyncio.run(scene())


class Hears(MemoryBackend):
    """Loses once that whoever asks for states is cancelled."""

    is_lost = False

    async def state(self, ids):
        if not self.is_lost and self.works:
            self.is_lost = True
            await loses_a_cancel()
        return await super().state(ids)


def test_a_server_stops_though_a_library_loses_that_it_is_cancelled(tmp_path):
    backend = Hears()
    backend.gate.clear()
    began = time.monotonic()
    with ApiServer(tmp_path, backend, enabled=True, hold_seconds=0) as server:  # whose end waits for it
        server.submit(BODY)
        until(lambda: backend.is_lost)
    assert time.monotonic() - began < 30
