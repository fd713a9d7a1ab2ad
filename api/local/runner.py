"""Carries requests through a backend: photo, start, waiting, pictures, webhook, and cleaning up afterwards."""

import asyncio
import contextlib
import functools
import json
import logging
import secrets
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ...contract import ENDPOINTS
from ...errors import FaceGenError, printable
from ...picture_file import PictureError
from ..response import FAILED, PROCESSING, SUCCESS, FaceGenResponse
from . import jobs, webhooks
from .backend import CANCELLED, Backend, BackendError, Busy, Phase, State, Work, without_folders
from .config import ConfigFile
from .days import left_of_day, today
from .flavours import Flavour
from .incoming.face_photos import save_face
from .incoming.lenient_request import Wanted
from .place import Place
from .result_files import Results, delete_file, new_name, too_old
from .routes.paths import PREFIX

POLL = 0.25  # seconds between two looks at the backend
PATIENCE = 5.0  # seconds before the next look when the backend could not be asked
CLEAN_EVERY = 600  # seconds
FIRST_GUESS = 30.0  # seconds that a request takes, before one was measured
UNKNOWN = State(Phase.FAILED, "The request was lost. Send it again.")  # a backend that leaves a work out of its answer
NOT_IN_META = ("face_image", "webhook")


@dataclass(frozen=True)
class Order:
    """What a client asks for: all of a valid request but its photo, the flavour with its name, what has to be said of that,
    the origin that was called, and whose token came with it."""

    wanted: Wanted
    flavour_name: str
    flavour: Flavour
    tip: str
    origin: str
    owner: str


class Full(FaceGenError):
    """No more can be taken now. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: float):
        self.retry_after = max(1, round(retry_after))
        super().__init__(message)


class Runner:
    """Started and stopped with the program that serves; everything runs in its event loop."""

    def __init__(self, place: Place, backend: Backend, config: ConfigFile):
        folder = place.folder / "local_api"
        self._place, self._backend, self._config = place, backend, config
        self.results = Results(folder / "results")
        self.store = jobs.JobStore(folder / "jobs.sqlite")
        self._done: dict[int, asyncio.Event] = {}
        self._arriving: Counter[str] = Counter()  # owner -> requests whose photo is being fetched
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._ends: dict[str, asyncio.Future[State]] = {}  # work id -> its last state; of the works that were started
        self._states: dict[str, State] = {}  # work id -> how it stood last; of the works that have not ended
        self._answers: dict[int, tuple[jobs.Job, bytes]] = {}
        self._background: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        program = self._place.program
        for photo in self._place.photos.glob("*"):  # nothing is in work yet: what a killed process left behind
            delete_file(photo)
        for job in self.store.fail_interrupted(f"{program} was stopped while this request was in work. Send it again."):
            logging.warning("FaceGen: request %s was interrupted by the end of %s.", job.id, program)
        for job in self.store.unanswered():
            self._in_background(self._call_webhook(job))
        self._in_background(_repeated(self._watch, POLL))
        self._in_background(_repeated(self._clean, CLEAN_EVERY))

    async def stop(self) -> None:
        tasks = [*self._tasks.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._backend.close()
        self.store.close()

    # --- what clients ask for

    async def submit(self, order: Order) -> jobs.Job:
        """Take a request on; its photo is here and it is in the store and in work when this returns.

        Raises Full, StoreError, OSError, and ContractError about the photo.
        """
        config, wanted = self._config.last, order.wanted
        try:
            await self._backend.check_room()
        except Busy as busy:
            raise Full(str(busy), busy.seconds or self.store.usual_seconds(FIRST_GUESS)) from busy
        self._check_room(order.owner)
        face = self._place.photos / f"{new_name()}.png"  # a name that others may see: it is in the work
        self._arriving[order.owner] += 1
        try:
            own = functools.partial(self.results.own_file, origin=order.origin)
            size = await save_face(wanted.face_image, face, own, config.allowed_hosts)
        finally:
            self._arriving[order.owner] -= 1
        request, tip = wanted.request(size)
        try:
            self._check_quota(order.owner, request.samples)
        except FaceGenError:
            face.unlink(missing_ok=True)
            raise
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        meta = {name: value for name, value in request.as_dict().items() if name not in NOT_IN_META}
        meta |= {"seed": seed, "flavour": order.flavour_name, "endpoint": request.endpoint}
        try:
            job = self.store.add(
                secret=new_name(),
                work_id=str(uuid.uuid4()),
                samples=request.samples,
                as_base64=request.base64,
                tip=" ".join(filter(None, (tip, order.tip))),
                meta=meta,
                webhook=request.webhook,
                track_id=request.track_id,
                origin=order.origin,
                owner=order.owner,
            )
        except jobs.StoreError:
            face.unlink(missing_ok=True)
            raise
        complete = replace(request, face_image=str(face), seed=seed, webhook=None)
        work = Work(job.work_id, complete, order.flavour)
        self._done[job.id] = asyncio.Event()
        self._tasks[job.id] = asyncio.create_task(self._carry(job, work))
        return job

    def _check_room(self, owner: str) -> None:
        """Raises Full when as many requests are in work as the settings allow, in all or of this owner."""
        config, rate = self._config.last, "Rate limit exceeded. Maximum {} queued requests allowed."
        limit = config.rights(owner).max_queued
        if len(self._done) + self._arriving.total() >= config.max_queued:
            raise Full(rate.format(config.max_queued), self.store.usual_seconds(FIRST_GUESS))
        if limit is not None and len(self.in_work(owner)) + self._arriving[owner] >= limit:
            raise Full(rate.format(limit), self.store.usual_seconds(FIRST_GUESS))

    def _check_quota(self, owner: str, samples: int) -> None:
        """Raises Full when the owner's pictures of today would be more than the settings allow."""
        quota, day = self._config.last.rights(owner).pictures_a_day, today()
        if quota is None:
            return
        used = self.store.used(owner, day) + sum(job.samples for job in self.in_work(owner))
        if used + samples > quota:
            left = max(0, quota - used) or "none"
            raise Full(f"The quota of this key is {quota} pictures a day, with {left} left until midnight UTC.", left_of_day())

    async def wait(self, job: jobs.Job, seconds: float) -> jobs.Job | None:
        """The request as it is when it is done, or after that time; None if it has been deleted meanwhile."""
        if (event := self._done.get(job.id)) is None:
            return job
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(event.wait(), seconds)
        return self.store.get(job.id)

    async def cancel(self, job: jobs.Job) -> jobs.Job:
        """Stop a request, wherever it is; one that is done stays as it is. Raises BackendError."""
        if job.is_waiting:
            job = self._finish(job, jobs.FAILED, CANCELLED)
            await self._backend.cancel(job.work_id)
        return job

    async def clear(self, owner: str | None) -> int:
        """Cancel what waits and isn't being made yet, of one owner or, with None, of all; how many requests that were.

        Raises BackendError.
        """
        waiting = [job for job in self.in_work(owner) if self.state(job).phase is Phase.WAITING]
        for job in waiting:
            await self.cancel(job)
        return len(waiting)

    def in_work(self, owner: str | None) -> list[jobs.Job]:
        """The requests that are not done, of one owner or, with None, of all. Raises StoreError."""
        return [job for job in self.store.waiting() if self._is_wanted(job) and owner in (None, job.owner)]

    def state(self, job: jobs.Job) -> State:
        """How the work of a request that isn't done stood when it was looked at last."""
        return self._states.get(job.work_id, State(Phase.WAITING))

    def answer(self, job: jobs.Job) -> bytes:
        """response() as JSON. That of a finished request is written once, as clients ask for the same ones."""
        known, text = self._answers.get(job.id, (None, b""))
        if known is job and (job.state != jobs.SUCCESS or self.results.are_there(job)):
            return text
        response = self.response(job)
        text = json.dumps(response.as_dict()).encode()
        if response.status == SUCCESS and not job.as_base64:
            if len(self._answers) >= jobs.MOST_REMEMBERED:
                self._answers.clear()
            self._answers[job.id] = (job, text)
        return text

    def response(self, job: jobs.Job) -> FaceGenResponse:
        """The answer that says how a request stands."""
        answer = FaceGenResponse(FAILED, id=job.id, tip=job.tip, meta=job.meta)
        if job.state == jobs.SUCCESS and not self.results.are_there(job):
            return replace(answer, message="The pictures of this request were deleted.")
        if job.state == jobs.SUCCESS:
            links = self.results.links(job)
            output = tuple(self.results.read_base64(job)) if job.as_base64 else links
            return replace(answer, status=SUCCESS, output=output, proxy_links=links, generation_time=job.seconds)
        if job.state == jobs.FAILED:
            return replace(answer, message=job.message)
        if not self._is_wanted(job):
            log = f"{self._place.program}'s log says why"
            return replace(answer, message=f"What became of this request could not be stored; {log}. Send it again.")
        room = ENDPOINTS[job.meta["endpoint"]].room
        ahead = sum(other < job.id for other in self._done)
        progress = self.state(job).progress
        left = ahead + 1 - (progress or 0.0)
        return replace(
            answer,
            meta=job.meta if progress is None else job.meta | {"progress": round(progress, 3)},
            status=PROCESSING,
            eta=max(1, round(left * self.store.usual_seconds(FIRST_GUESS))),
            message="The request is in work.",
            fetch_result=f"{job.origin}{PREFIX}{room}/fetch/{job.id}",
            future_links=self.results.links(job),
        )

    # --- one request

    async def _carry(self, job: jobs.Job, work: Work) -> None:
        """From the start of the work to its end, whatever that is."""
        began = time.monotonic()
        try:
            files = await self._backend.start(work)
            end = self._ends[work.id] = asyncio.get_running_loop().create_future()
            if not self._is_wanted(job):  # cancelled before the backend knew it
                await self._backend.cancel(work.id)
            job = self._tell(job, {"files": dict(files)})
            state = await end
            if state.seconds is None:
                state = replace(state, seconds=time.monotonic() - began)
            await self._conclude(job, state)
        except BackendError as error:
            self._finish(job, jobs.FAILED, str(error))
            with contextlib.suppress(BackendError):
                await self._backend.cancel(work.id)
        except Exception as error:
            logging.exception("FaceGen: request %s failed", job.id)
            log = f"{self._place.program}'s log says more"
            self._finish(job, jobs.FAILED, f"The request failed ({type(error).__name__}); {log}.")
        finally:
            work.face.unlink(missing_ok=True)
            self._ends.pop(work.id, None)
            self._states.pop(work.id, None)
            self._tasks.pop(job.id, None)

    def _tell(self, job: jobs.Job, what: Mapping[str, Any]) -> jobs.Job:
        """Add something to the request's meta. Pictures are worth more than that, so it may fail."""
        job = replace(job, meta={**job.meta, **what})
        with contextlib.suppress(jobs.StoreError):
            self.store.set_meta(job.id, job.meta)
        return job

    def _is_wanted(self, job: jobs.Job) -> bool:
        return job.id in self._done

    async def _conclude(self, job: jobs.Job, state: State) -> None:
        """Store the outcome of a work that has ended, and its pictures."""
        if not self._is_wanted(job):  # cancelled when it was nearly done
            await self._backend.cancel(job.work_id)
            return
        if state.phase is Phase.FAILED:
            self._finish(job, jobs.FAILED, state.message)
            return
        pictures = await self._backend.pictures(job.work_id)
        if len(pictures) != job.samples:
            self._finish(job, jobs.FAILED, f"{len(pictures)} pictures were made; {job.samples} were asked for.")
            return
        try:
            await asyncio.to_thread(self.results.keep, job, pictures)
        except PictureError as error:
            self.results.delete(job)
            self._finish(job, jobs.FAILED, f"What was made can't be delivered. {error}")
            return
        except OSError as error:
            self.results.delete(job)
            logging.error("FaceGen: the pictures of request %s can't be written. %s", job.id, error)
            reason = error.strerror or type(error).__name__
            self._finish(job, jobs.FAILED, f"The pictures can't be written: {reason}. Make room and send the request again.")
            return
        if not self._is_wanted(job):  # cancelled while they were written
            self.results.delete(job)
            await self._backend.cancel(job.work_id)
            return
        if state.notes:
            self._tell(job, state.notes)
        with contextlib.suppress(jobs.StoreError):
            self.store.count(job, today())
        if self._finish(job, jobs.SUCCESS, seconds=round(state.seconds or 0.0, 2)).state != jobs.SUCCESS:
            self.results.delete(job)  # nobody can fetch them: they would only fill the disk
            self._finish(job, jobs.FAILED, "The outcome of this request could not be stored. Make room and send it again.")

    def _finish(self, job: jobs.Job, state: str, message: str = "", seconds: float | None = None) -> jobs.Job:
        event = self._done.pop(job.id, None)
        try:
            job = self.store.finish(job.id, state, without_folders(message), seconds) or job
        except jobs.StoreError as error:
            logging.error("FaceGen: what became of request %s is lost. %s", job.id, error)
        if event:
            event.set()
            if job.webhook:
                self._in_background(self._call_webhook(job))
        return job

    async def _call_webhook(self, job: jobs.Job) -> None:
        if not job.webhook:
            return
        config = self._config.last
        body = webhooks.webhook_body(job, self.response(job))
        if not await webhooks.deliver(job, job.webhook, body, config.webhook_secret, config.allowed_hosts):
            logging.warning("FaceGen: the webhook of request %s was given up; fetching it still works.", job.id)
        self.store.webhook_done(job.id)

    # --- in the background

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _watch(self) -> None:
        """Notice how the works stand."""
        if not (ends := dict(self._ends)):
            return
        states = await self._backend.state(list(ends))
        for work_id, end in ends.items():
            state = states.get(work_id, UNKNOWN)
            if state.has_ended and not end.done():
                end.set_result(state)
            elif work_id in self._ends:
                self._states[work_id] = state

    async def _clean(self) -> None:
        """Forget what is too old: finished requests with their files, uploads, and what a killed process left behind."""
        moment = too_old(self._config.last.keep_hours)
        for job in self.store.older_than(moment):
            self.results.delete(job)
            with contextlib.suppress(BackendError):  # what it keeps of old works is no reason to keep ours
                await self._backend.cancel(job.work_id)
            self.store.delete(job.id)
        await asyncio.to_thread(self.results.delete_older_than, moment)


async def _repeated(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do it again and again. What goes wrong is logged and doesn't end it."""
    while True:
        try:
            await work()
        except Exception as error:
            logging.warning("FaceGen: %s", printable(error), exc_info=not isinstance(error, (BackendError, jobs.StoreError)))
            await asyncio.sleep(PATIENCE)
        await asyncio.sleep(seconds)
