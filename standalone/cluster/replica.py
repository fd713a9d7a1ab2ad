"""What Ray runs on each GPU: an engine with its thread, which makes one work after the other and tells how far it is."""

import asyncio
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve

from ...api.local.backend import Phase, State, Work
from ..model_files import ModelFiles
from ..server.backend import EngineBackend
from ..server.engines import MOST, Engines
from .replica_metrics import ReplicaMetrics

if TYPE_CHECKING:
    from ..engine import Engine

LOOK = 0.02  # seconds between two looks at a work
TELL = 0.25  # seconds at least between two words on how far it is: each costs the front some milliseconds
Load = Callable[[ModelFiles], "Engine"]


def own() -> Load:
    """Opens the pack's engines, their safety checker before all else. Imports diffusers: a machine that lacks it says so before
    it gets work, and a front does without."""
    from ..engine import Engine

    return partial(Engine, checks=True)


class EngineReplica:
    """One for each GPU, or for some CPUs. `models` is the folder with the model files, on each machine under the same path;
    None has the tiny model alone. `load` opens an engine; None: as `own` does."""

    def __init__(self, models: str | None, load: Load | None = None):
        self._backend = EngineBackend(Engines(None if models is None else Path(models), load or own()), ReplicaMetrics())
        self._folder = tempfile.TemporaryDirectory(prefix="facegen-")
        self._leaving: set[asyncio.Task[None]] = set()

    async def make(self, work: Work, photo: bytes) -> AsyncIterator[tuple[State, list[bytes]]]:
        """How the work stands, again and again, and when it is done its pictures, too. Whoever stops listening, or cancels,
        stops it within a step."""
        await self.models_here(serve.get_multiplexed_model_id())
        face = Path(self._folder.name, f"{uuid.uuid4()}.png")
        face.write_bytes(photo)
        work = replace(work, request=replace(work.request, face_image=str(face)))
        try:
            await self._backend.start(work)
            state, told = State(Phase.WAITING), time.monotonic() - TELL
            while not state.has_ended:
                last, state = state, (await self._backend.state([work.id]))[work.id]
                if state.phase is not last.phase or (state != last and time.monotonic() - told >= TELL):
                    told = time.monotonic()
                    yield state, await self._backend.pictures(work.id) if state.phase is Phase.DONE else []
                elif state != last:
                    state = last
                if not state.has_ended:
                    await asyncio.sleep(LOOK)
        finally:
            face.unlink(missing_ok=True)
            task = asyncio.ensure_future(self._leave(work.id))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    @serve.multiplexed(max_num_models_per_replica=MOST)
    async def models_here(self, name: str) -> str:
        """Tells Ray which models are loaded here, so that works for them come here; they are loaded with the first work."""
        return name

    async def check_health(self) -> None:
        """Called by Ray, which replaces a replica that raises."""
        if not self._backend.is_alive:
            raise RuntimeError("the engine's thread has ended")

    async def process(self) -> int:
        """Its number, for whoever looks for it among this machine's processes."""
        return os.getpid()

    async def _leave(self, id: str) -> None:
        """Stop a work, and forget it."""
        await self._backend.cancel(id)
        while self._backend.knows(id):
            await asyncio.sleep(LOOK)
            await self._backend.cancel(id)
