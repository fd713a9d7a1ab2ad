"""The embedded engine as the backend of the local API: works wait for one thread, which makes them in their order."""

import asyncio
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any

import torch

from ...api.local.backend import BackendError, Files, Work
from ...api.local.flavours import Flavour
from ...errors import FaceGenError
from ..memory import devices
from .engines import Engines, told
from .made import made_request
from .queue.making import Making, Observer, Unobserved
from .queue.room import Room
from .queue.waiting import Entry, Waiting
from .works import Works

CLOSING = 10  # seconds that the thread may take to end; a model that is being loaded takes longer


class EngineBackend(Works[Entry]):
    """A Backend, see api/local/backend.py. `room` says how many pictures of requests that fit together are made at once."""

    def __init__(self, engines: Engines, observer: Observer | None = None, room: Room | None = None):
        super().__init__()
        room = room or Room()
        self._engines, self._waiting = engines, Waiting(room)
        self._making = Making(engines, room, observer or Unobserved())
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="facegen-engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread goes on."""
        return self._thread.is_alive()

    # --- what the API asks

    async def files_of(self, flavour: Flavour) -> Files:
        return await asyncio.to_thread(self._engines.files_of, flavour)

    async def start(self, work: Work) -> Mapping[str, str]:
        try:
            files = await asyncio.to_thread(self._engines.files, work.flavour, work.request.style)
            asked = made_request(work.flavour, work.request)
        except FaceGenError as error:
            raise BackendError(str(error)) from error
        self._waiting.put(self._know(Entry(work, files, asked, copy_context())))
        return told(files)

    async def details(self) -> Mapping[str, Any]:
        return {"torch_version": torch.__version__, "devices": devices()}

    async def close(self) -> None:
        for entry in self._entries.values():
            entry.is_cancelled = True
        self._is_closed = True
        self._waiting.put(lambda: None)
        await asyncio.to_thread(self._thread.join, CLOSING)

    async def load(self, flavour: Flavour) -> None:
        """Load a flavour's engine, when it is its turn. Raises FaceGenError."""
        done: Future[None] = Future()

        def work() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                self._making.engine(self._engines.files(flavour, ""))
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._waiting.put(work)
        await asyncio.wrap_future(done)

    # --- the thread

    def _run(self) -> None:
        while not self._is_closed:
            task = self._waiting.take()
            if isinstance(task, list):
                self._making.make(task)
            else:
                task()
