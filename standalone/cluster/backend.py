"""Ray's replicas as the backend of the local API."""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RequestCancelledError
from ray.serve.handle import DeploymentHandle

from ...api.local.backend import CANCELLED, BackendError, Busy, Files, Phase, State, Work, end_tasks
from ...api.local.flavours import Flavour
from ...errors import FaceGenError, printable
from ..server.engines import Engines, told
from ..server.works import LOST, KnownWork, Works

TRIES = 2  # that a work gets: the second when the replica with the first has ended
FULL = "All machines are busy, and {} requests wait already."
DIED = State(Phase.FAILED, "The machines that made this ended twice while they were at it. Send it again.")
AGAIN = 0.5  # seconds before Ray is asked again whether there is room


@dataclass
class Entry(KnownWork):
    """A work with what Ray knows its models by."""

    models: str
    answers: Any = None  # of the replica
    task: "asyncio.Task[None] | None" = None


class RayBackend(Works[Entry]):
    """A Backend, see api/local/backend.py. `engines` finds the files, and loads nothing; `most` is how many may wait."""

    def __init__(self, handle: "DeploymentHandle[Any]", engines: Engines, most: int):
        super().__init__()
        self._handle, self._engines, self._most = handle, engines, most

    async def load(self, flavour: Flavour) -> None:
        """Nothing: replicas load what they need."""

    async def files_of(self, flavour: Flavour) -> Files:
        return await asyncio.to_thread(self._engines.files_of, flavour)

    async def check_room(self) -> None:
        waiting = sum(entry.state.phase is Phase.WAITING for entry in self._entries.values())
        if waiting >= self._most:
            raise Busy(FULL.format(waiting))

    async def start(self, work: Work) -> Mapping[str, str]:
        try:
            files = await asyncio.to_thread(self._engines.files, work.flavour, work.request.style)
            photo = await asyncio.to_thread(work.face.read_bytes)
        except FaceGenError as error:
            raise BackendError(str(error)) from error
        names = told(files)
        entry = self._know(Entry(work, "/".join(names.values())))
        entry.task = asyncio.get_running_loop().create_task(self._carry(entry, photo))
        return names

    async def _stop(self, entry: Entry) -> None:
        if entry.answers is not None:
            entry.answers.cancel()

    async def details(self) -> Mapping[str, Any]:
        """What Ray has in all, and what of it is free."""
        try:
            total, free = await asyncio.to_thread(lambda: (ray.cluster_resources(), ray.available_resources()))
        except RayError as error:
            raise BackendError("Ray can't be asked just now.") from error
        kinds = {"CPU": "cpus", "GPU": "gpus"}
        counts = {name: {"total": total.get(kind, 0), "free": free.get(kind, 0)} for kind, name in kinds.items()}
        return {"ray_version": ray.__version__, "machines": len(ray.nodes()), **counts}

    async def close(self) -> None:
        for id in list(self._entries):
            await self.cancel(id)
        await end_tasks(entry.task for entry in self._entries.values() if entry.task)

    # --- one work

    async def _carry(self, entry: Entry, photo: bytes) -> None:
        """Until it has ended. A replica that dies takes nothing with it: the work is begun again elsewhere, with its seed."""
        tries = 0
        while not entry.is_cancelled:
            try:
                await self._made(entry, photo)
                return
            except BackPressureError:  # the settings of the application allow fewer to wait than this front does
                await asyncio.sleep(AGAIN)
            except (RequestCancelledError, asyncio.CancelledError):
                break
            except RayTaskError as error:
                entry.state = State(Phase.FAILED, _what_failed(error))
                return
            except RayError as error:
                logging.warning("FaceGen: work %s lost its replica (%s)", entry.work.id, type(error).__name__)
                if (tries := tries + 1) == TRIES:
                    entry.state = DIED
                    return
                entry.state = State(Phase.WAITING)
        entry.state = State(Phase.FAILED, CANCELLED)

    async def _made(self, entry: Entry, photo: bytes) -> None:
        """Follow one try. The pictures are here before the state says that they are."""
        work = replace(entry.work, id=str(uuid.uuid4()))  # a replica that comes back may remember the first try
        asked = self._handle.options(stream=True, multiplexed_model_id=entry.models)
        entry.answers = answers = asked.make.remote(work, photo)
        if entry.is_cancelled:
            answers.cancel()
        state = LOST
        async for state, pictures in answers:
            entry.pictures = pictures
            if state.phase is not Phase.DONE:
                entry.state = state
        entry.state = state


def _what_failed(error: RayTaskError) -> str:
    """What a client is told of an error in a replica."""
    if isinstance(error.cause, FaceGenError):
        return str(error.cause)
    logging.error("FaceGen: the engine failed: %s", printable(error))
    return f"The engine failed ({type(error.cause).__name__}); Ray's log says more."
