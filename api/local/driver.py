"""Drives requests through a backend: from the start of a work to its outcome in the store, whatever that is."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ...picture_file import PictureError
from .backend import Backend, BackendError, Phase, State, Work, end_tasks, without_folders
from .days import today
from .files.result_files import Results
from .place import Place
from .store.database import StoreAway, StoreError
from .store.jobs import FAILED, SUCCESS, Job, JobStore

AGAIN = 1.0  # seconds after which an outcome that could not be stored is stored again
UNKNOWN = State(Phase.FAILED, "The request was lost. Send it again.")  # a backend that leaves a work out of its answer
NOT_STORED = "The outcome of this request could not be stored. Make room and send it again."


@dataclass
class Driven:
    """A request that this process drives. `ended` is its outcome where others set it meanwhile: a client that cancelled it, or
    another front."""

    job: Job
    task: "asyncio.Task[None] | None" = None
    end: "asyncio.Future[State] | None" = None  # the work's last state, once it was started
    state: State = field(default_factory=lambda: State(Phase.WAITING))
    ended: str | None = None

    def was_ended(self) -> bool:
        return self.ended is not None


class Driver:
    """`front` is the name of this process among those that share the store. `settled` is called for each request whose outcome
    was stored, or could not be, here; with whether it was set by this process."""

    def __init__(self, place: Place, backend: Backend, store: JobStore, results: Results, settled: Callable[[Job, bool], None]):
        self._place, self._backend, self._settled = place, backend, settled
        self._store, self._results = store, results
        self.front = uuid.uuid4().hex
        self.driven: dict[int, Driven] = {}
        self.unstored: dict[int, tuple[Job, str]] = {}  # failed ones whose outcome waits for room, with the message

    def drive(self, job: Job, work: Work) -> None:
        """Begin. The work's photo is deleted when it has ended."""
        entry = self.driven[job.id] = Driven(job)
        entry.task = asyncio.create_task(self._carry(entry, work))

    async def stop(self) -> None:
        """Let go of all of them, without an outcome."""
        await end_tasks(entry.task for entry in self.driven.values() if entry.task)

    def drives(self, job: Job) -> bool:
        """Whether its outcome is still to come from here."""
        return job.id in self.driven and job.id not in self.unstored

    def state(self, job: Job) -> State:
        """How the work of a request that isn't done stood when it was looked at last, here or by its own front."""
        if (entry := self.driven.get(job.id)) is not None:
            return entry.state
        return State(Phase.WAITING) if job.progress is None else State(Phase.RUNNING, progress=job.progress)

    def done_before(self, job: Job) -> float:
        """How many works' worth is done already of those driven here that came before it; without those that wait."""
        return sum(entry.state.progress or 0.0 for number, entry in self.driven.items() if number < job.id)

    async def watch(self) -> None:
        """Notice how the works stand. Raises BackendError."""
        ends = {entry.job.work_id: entry for entry in self.driven.values() if entry.end is not None}
        if not ends:
            return
        states = await self._backend.state(list(ends))
        for work_id, entry in ends.items():
            state = states.get(work_id, UNKNOWN)
            if state.has_ended and entry.end is not None and not entry.end.done():
                entry.end.set_result(state)
            else:
                entry.state = state

    async def cancel(self, job: Job, message: str) -> Job:
        """Give a waiting request up, wherever it is driven. Raises BackendError and StoreAway."""
        job = await self.finish(job, FAILED, message, is_patient=False)
        self.end(job)
        if job.id in self.driven or not self._store.is_shared:
            await self._backend.cancel(job.work_id)
        return job

    def end(self, job: Job) -> None:
        """Take notice of an outcome that was set elsewhere than in _carry."""
        if (entry := self.driven.get(job.id)) is not None and entry.ended is None:
            entry.ended = FAILED if job.is_waiting else job.state

    async def finish(
        self,
        job: Job,
        state: str,
        message: str = "",
        seconds: float | None = None,
        only_own: bool = False,
        is_patient: bool = True,
    ) -> Job:
        """Store an outcome; the request as it is then.

        With `only_own` not if another front drives it by now. While the database is away it waits, or raises StoreAway if it is
        not patient.
        """
        caller, only = (self.front if job.webhook else ""), (self.front if only_own else "")
        message, is_own = without_folders(message), False
        while True:
            try:
                found, is_own = await self._store.finish(job, state, message, seconds, today(), only, caller)
                break
            except StoreAway:
                if not is_patient:
                    raise
                await asyncio.sleep(AGAIN)
            except StoreError as error:
                logging.error("FaceGen: what became of request %s is lost. %s", job.id, error)
                self.unstored[job.id] = job, message if state == FAILED else NOT_STORED
                found = job
                break
        job = found or replace(job, state=FAILED)
        if is_own and self._store.is_shared:
            with contextlib.suppress(OSError):  # its row's end takes the photo along
                await self._results.delete_face(job.secret)
        self._settled(job, is_own)
        return job

    async def store_again(self) -> None:
        """Store the outcomes that could not be stored before. Raises StoreError."""
        for identifier, (job, message) in list(self.unstored.items()):
            found, is_own = await self._store.finish(job, FAILED, message, caller=self.front if job.webhook else "")
            del self.unstored[identifier]
            if found:
                self._settled(found, is_own)

    async def _carry(self, entry: Driven, work: Work) -> None:
        """From the start of the work to its end, whatever that is."""
        began, job = time.monotonic(), entry.job
        try:
            files = await self._backend.start(work)
            entry.end = asyncio.get_running_loop().create_future()
            if entry.was_ended():  # before the backend knew it
                await self._backend.cancel(work.id)
            await self._tell(entry, {"files": dict(files)})
            state = await entry.end
            if state.seconds is None:
                state = replace(state, seconds=time.monotonic() - began)
            await self._conclude(entry, state)
        except BackendError as error:
            await self.finish(job, FAILED, str(error), only_own=True)
            with contextlib.suppress(BackendError):
                await self._backend.cancel(work.id)
        except Exception as error:
            logging.exception("FaceGen: request %s failed", job.id)
            log = f"{self._place.program}'s log says more"
            await self.finish(job, FAILED, f"The request failed ({type(error).__name__}); {log}.", only_own=True)
        finally:
            work.face.unlink(missing_ok=True)
            self.driven.pop(job.id, None)

    async def _tell(self, entry: Driven, what: Mapping[str, Any]) -> None:
        """Add something to the request's meta. Pictures are worth more than that, so it may fail."""
        entry.job = replace(entry.job, meta={**entry.job.meta, **what})
        with contextlib.suppress(StoreError):
            await self._store.set_meta(entry.job.id, entry.job.meta)

    async def _conclude(self, entry: Driven, state: State) -> None:
        """Store the outcome of a work that has ended, and its pictures."""
        if entry.was_ended():  # when it was nearly done
            await self._backend.cancel(entry.job.work_id)
            return
        if state.phase is Phase.FAILED:
            await self.finish(entry.job, FAILED, state.message, only_own=True)
            return
        entry.job = job = replace(entry.job, meta={**entry.job.meta, **state.notes})
        pictures = await self._backend.pictures(job.work_id)
        if len(pictures) != job.samples:
            message = f"{len(pictures)} pictures were made; {job.samples} were asked for."
            await self.finish(job, FAILED, message, only_own=True)
            return
        if problem := await self._keep(job, pictures):
            job = await self.finish(job, FAILED, problem, only_own=True)
        elif not entry.was_ended():
            # Whoever has drawn it: pictures that are there are delivered.
            job = await self.finish(job, SUCCESS, seconds=round(state.seconds or 0.0, 2))
        else:  # while they were written
            await self._backend.cancel(job.work_id)
        if (entry.ended or job.state) == FAILED or job.id in self.unstored:
            await self._results.delete([job])  # nobody can fetch them: they would only fill the disk

    async def _keep(self, job: Job, pictures: list[bytes]) -> str:
        """Write its pictures; what is in the way, in words."""
        try:
            await self._results.keep(job, pictures)
        except PictureError as error:
            return f"What was made can't be delivered. {error}"
        except OSError as error:
            logging.error("FaceGen: the pictures of request %s can't be written. %s", job.id, error)
            reason = error.strerror or type(error).__name__
            return f"The pictures can't be written: {reason}. Make room and send the request again."
        return ""
