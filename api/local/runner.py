"""What clients ask for: requests are taken on, waited for, cancelled and answered, whichever front drives them."""

import asyncio
import contextlib
import json
import logging
import secrets
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ...atomic_write import USUAL, atomic_write
from ...contract import ENDPOINTS
from ...errors import FaceGenError, printable
from ..response import FAILED, PROCESSING, SUCCESS, FaceGenResponse
from .backend import CANCELLED, Backend, BackendError, Busy, Phase, State, Work, end_tasks
from .config import ConfigFile
from .days import left_of_day, today, yesterday
from .driver import Driver
from .files.folder import delete_file
from .files.result_files import Results, new_name, too_old
from .flavours import Flavour
from .fronts import BEATS, Fronts
from .incoming.face_photos import save_face
from .incoming.lenient_request import Wanted
from .opening import open_results, open_store
from .place import Place
from .routes.paths import PREFIX
from .store import jobs
from .store.database import StoreError
from .store.jobs import Job, JobStore, Load
from .webhook_calls import WebhookCalls

POLL = 0.25  # seconds between two looks at the backend
PATIENCE = 5.0  # seconds before the next look when the backend could not be asked
CLEAN_EVERY = 600  # seconds
CLEANED_AT_ONCE = 200  # requests
FIRST_GUESS = 30.0  # seconds that a request takes, before one was measured
NOT_IN_META = ("face_image", "webhook")
MOST_TAKEOVERS = 3
ALL = 1_000_000
RATE = "Rate limit exceeded. Maximum {} queued requests allowed."
QUOTA = "The quota of this key is {} pictures a day, with {} left until midnight UTC."


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

    def __init__(self, place: Place, backend: Backend, config: ConfigFile, store: JobStore, results: Results):
        self._place, self._backend, self._config = place, backend, config
        self.store, self.results = store, results
        self._driver = Driver(place, backend, store, results, self._settled)
        self._calls = WebhookCalls(self._driver.front, store, config, self.response, self._in_background)
        self._adding: set[str] = set()  # secrets of requests on their way into the store, or being taken over
        lease = config.last.lease_seconds
        self._fronts = Fronts(lease, store, self._driver, self._calls, self._adding, self._take, self._notice)
        self._ends: dict[int, asyncio.Event] = {}  # of the requests that somebody waits for
        self._arriving: Counter[str] = Counter()  # owner -> requests whose photo is being fetched
        self._usual = FIRST_GUESS  # seconds that a request took when it was asked last
        self._answers: dict[int, tuple[Job, bytes]] = {}
        self._background: set[asyncio.Future[None]] = set()

    @classmethod
    async def open(cls, place: Place, backend: Backend, config: ConfigFile) -> "Runner":
        """With the store and the files that the place or the settings name. Raises FaceGenError and OSError."""
        results = await open_results(place, config.last)
        return cls(place, backend, config, await open_store(place, config.last), results)

    async def start(self) -> None:
        """Raises StoreError."""
        program = self._place.program
        alive = await self.store.alive(self._fronts.lease) if self.store.is_shared else set()
        for photo in self._place.photos.glob("*"):  # what killed processes left behind
            if photo.name.lstrip(".").partition("-")[0] not in alive:
                delete_file(photo)
        if self.store.is_shared:
            self._in_background(_repeated(self._fronts.listen, 0))
            self._in_background(_repeated(self._fronts.beat, self._fronts.lease / BEATS, self._fronts.lease / BEATS))
        else:
            await self._calls.take(0, ALL)
            for job in await self.store.waiting():
                message = f"{program} was stopped while this request was in work. Send it again."
                await self._driver.finish(job, jobs.FAILED, message)
                logging.warning("FaceGen: request %s was interrupted by the end of %s.", job.id, program)
        self._in_background(_repeated(self._driver.store_again, PATIENCE))
        self._in_background(_repeated(self._driver.watch, POLL))
        self._in_background(_repeated(self._clean, CLEAN_EVERY))

    async def stop(self) -> None:
        await self._driver.stop()
        await end_tasks(self._background)
        if self.store.is_shared:
            with contextlib.suppress(StoreError):
                await self.store.leave(self._driver.front)
        await self._backend.close()
        await self.store.close()

    @property
    def why_away(self) -> str:
        """Why the database can't be reached; "" while it can."""
        return self._fronts.why_away

    @property
    def driven(self) -> list[Job]:
        """The requests that are made by this process."""
        return [entry.job for entry in self._driver.driven.values() if entry.ended is None and self._driver.drives(entry.job)]

    # --- what clients ask for

    async def submit(self, order: Order) -> Job:
        """Take a request on; its photo is here and it is in the store and in work when this returns.

        Raises Full, StoreError, OSError, and ContractError about the photo.
        """
        config, wanted = self._config.last, order.wanted
        try:
            await self._backend.check_room()
        except Busy as busy:
            raise Full(str(busy), busy.seconds or self._usual) from busy
        await self._check_room(order.owner)
        face = self._new_photo()
        self._arriving[order.owner] += 1
        try:
            own = partial(self.results.own_file, origin=order.origin)
            size = await save_face(wanted.face_image, face, own, config.allowed_hosts)
        finally:
            self._arriving[order.owner] -= 1
        request, tip = wanted.request(size)
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        meta = {name: value for name, value in request.as_dict().items() if name not in NOT_IN_META}
        meta |= {"seed": seed, "flavour": order.flavour_name, "endpoint": request.endpoint}
        secret = new_name()
        self._adding.add(secret)
        try:
            if self.store.is_shared:
                await self.results.keep_face(secret, face)
            job = await self.store.add(
                today(),
                partial(self._check, order.owner, request.samples),
                secret=secret,
                work_id=str(uuid.uuid4()),
                samples=request.samples,
                as_base64=request.base64,
                tip=" ".join(filter(None, (tip, order.tip))),
                meta=meta,
                webhook=request.webhook,
                track_id=request.track_id,
                origin=order.origin,
                owner=order.owner,
                front=self._driver.front,
            )
            complete = replace(request, face_image=str(face), seed=seed, webhook=None)
            self._driver.drive(job, Work(job.work_id, complete, order.flavour))
        except BaseException:
            face.unlink(missing_ok=True)
            if self.store.is_shared:
                with contextlib.suppress(OSError):
                    await self.results.delete_face(secret)
            raise
        finally:
            self._adding.discard(secret)
        return job

    def _new_photo(self) -> Path:
        """A name that others may see: it is in the work. It says whose it is."""
        return self._place.photos / f"{self._driver.front}-{new_name()}.png"

    async def _check_room(self, owner: str) -> None:
        """Raises Full when as many requests are in work as the settings allow, in all or of this owner; those count whose photo
        is on its way."""
        load = await self.store.load(owner, today())
        with_arriving = replace(
            load, queued=load.queued + self._arriving.total(), own=load.own + self._arriving[owner], pictures=0
        )
        try:
            self._check(owner, 0, with_arriving)
        except Full as full:
            self._usual = await self.store.usual_seconds(FIRST_GUESS)
            raise Full(str(full), self._usual) from None

    def _check(self, owner: str, samples: int, load: Load) -> None:
        """Raises Full when a request more, or its pictures, would be more than the settings allow."""
        config = self._config.last
        rights = config.rights(owner)
        if load.queued >= config.max_queued:
            raise Full(RATE.format(config.max_queued), self._usual)
        if rights.max_queued is not None and load.own >= rights.max_queued:
            raise Full(RATE.format(rights.max_queued), self._usual)
        quota = rights.pictures_a_day
        if quota is not None and load.pictures + samples > quota:
            raise Full(QUOTA.format(quota, max(0, quota - load.pictures) or "none"), left_of_day())

    async def wait(self, job: Job, seconds: float) -> Job | None:
        """The request as it is when it is done, or after that time; None if it has been deleted. Raises StoreError."""
        if not self._may_end(job):
            return job
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            event = self._ends.setdefault(job.id, asyncio.Event())  # before the look, so that no end is missed
            found = await self.store.get(job.id)
            if found is None or not self._may_end(found):
                self._wake(job.id)
                return found
            if (left := deadline - asyncio.get_running_loop().time()) <= 0:
                return found
            del found  # many may be held for long
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(event.wait(), left)

    def _wake(self, identifier: int) -> None:
        """Whoever waits for that request looks again."""
        if event := self._ends.pop(identifier, None):
            event.set()

    def _may_end(self, job: Job) -> bool:
        return job.is_waiting and (self.store.is_shared or self._driver.drives(job))

    async def cancel(self, job: Job) -> Job:
        """Stop a request, wherever it is; one that is done stays as it is. Raises BackendError and StoreError."""
        return await self._driver.cancel(job, CANCELLED) if job.is_waiting else job

    async def clear(self, owner: str | None) -> int:
        """Cancel what waits and isn't being made yet, of one owner or, with None, of all; how many requests that were.

        Raises BackendError and StoreError.
        """
        waiting = [job for job in await self.in_work(owner) if self.state(job).phase is Phase.WAITING]
        for job in waiting:
            await self.cancel(job)
        return len(waiting)

    async def in_work(self, owner: str | None) -> list[Job]:
        """The requests that are not done, of one owner or, with None, of all. Raises StoreError."""
        waiting = await self.store.waiting()
        return [job for job in waiting if job.id not in self._driver.unstored and owner in (None, job.owner)]

    def state(self, job: Job) -> State:
        """How the work of a request that isn't done stood when it was looked at last."""
        return self._driver.state(job)

    async def answer(self, job: Job) -> bytes:
        """response() as JSON. That of a finished request is written once, as clients ask for the same ones."""
        known, text = self._answers.get(job.id, (None, b""))
        if known is job and (job.state != jobs.SUCCESS or await self.results.are_still_there(job)):
            return text
        response = await self.response(job)
        text = json.dumps(response.as_dict()).encode()
        if response.status == SUCCESS and not job.as_base64:
            if len(self._answers) >= jobs.MOST_REMEMBERED:
                self._answers.clear()
            self._answers[job.id] = (job, text)
        return text

    async def response(self, job: Job) -> FaceGenResponse:
        """The answer that says how a request stands. Raises StoreError and OSError."""
        answer = FaceGenResponse(FAILED, id=job.id, tip=job.tip, meta=job.meta)
        if job.state == jobs.SUCCESS and not await self.results.are_there(job):
            return replace(answer, message="The pictures of this request were deleted.")
        if job.state == jobs.SUCCESS:
            links = self.results.links(job)
            output = tuple(await self.results.read_base64(job)) if job.as_base64 else links
            return replace(answer, status=SUCCESS, output=output, proxy_links=links, generation_time=job.seconds)
        if job.state == jobs.FAILED:
            return replace(answer, message=job.message)
        if job.id in self._driver.unstored:
            log = f"{self._place.program}'s log says why"
            return replace(answer, message=f"What became of this request could not be stored; {log}. Send it again.")
        room = ENDPOINTS[job.meta["endpoint"]].room
        progress = self.state(job).progress
        left = await self.store.ahead(job.id) - self._driver.done_before(job) + 1 - (progress or 0.0)
        self._usual = await self.store.usual_seconds(FIRST_GUESS)
        return replace(
            answer,
            meta=job.meta if progress is None else job.meta | {"progress": round(progress, 3)},
            status=PROCESSING,
            eta=max(1, round(left * self._usual)),
            message="The request is in work.",
            fetch_result=f"{job.origin}{PREFIX}{room}/fetch/{job.id}",
            future_links=self.results.links(job),
        )

    # --- other fronts

    def _take(self, job: Job) -> None:
        """Begin to drive a request of a front that is gone."""
        self._adding.add(job.secret)
        self._in_background(self._drive_again(job))

    async def _drive_again(self, job: Job) -> None:
        try:
            if job.id in self._driver.driven:  # which this front has held on to
                return
            if job.takeovers > MOST_TAKEOVERS:
                raise BackendError(f"The request was interrupted {job.takeovers} times. Send it again.")
            work = await self._same_work(job)
        except (FaceGenError, OSError) as error:
            what = "The request was interrupted, and its photo is lost. Send it again." if isinstance(error, OSError) else error
            await self._driver.finish(job, jobs.FAILED, str(what), only_own=True)
        else:
            self._driver.drive(job, work)
        finally:
            self._adding.discard(job.secret)

    async def _same_work(self, job: Job) -> Work:
        """What its first front began, with the same id and seed. Raises FaceGenError and OSError."""
        name, endpoint = job.meta["flavour"], ENDPOINTS[job.meta["endpoint"]]
        if name not in self._config.last.flavours:
            raise BackendError(f"The request was interrupted, and {self._place.program} has no flavour {name} any more.")
        face = self._new_photo()
        values = {field: job.meta[field] for field in endpoint.fields if field not in NOT_IN_META}
        request = endpoint.request(**values, face_image=str(face))
        atomic_write(face, await self.results.face(job.secret), USUAL)
        return Work(job.work_id, request, self._config.last.flavours[name], again=True)

    async def _notice(self, identifier: int | None) -> None:
        """Others stored the outcome of a request; with None, maybe of any. Raises StoreError."""
        for waited_for in [*self._ends] if identifier is None else [identifier]:
            self._wake(waited_for)
        if (entry := self._driver.driven.get(identifier or 0)) is None or entry.ended is not None:
            return
        job = await self.store.get(entry.job.id)
        if job is None or not job.is_waiting:
            self._driver.end(replace(entry.job, state=job.state if job else jobs.FAILED))
            with contextlib.suppress(BackendError):
                await self._backend.cancel(entry.job.work_id)

    def _settled(self, job: Job, is_own: bool) -> None:
        self._wake(job.id)
        if is_own:
            self._calls.call(job)

    # --- in the background

    def _in_background(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _clean(self) -> None:
        """Forget what is too old: finished requests with their files, uploads, and what a killed process left behind."""
        moment = too_old(self._config.last.keep_hours)
        while old := await self.store.older_than(moment, CLEANED_AT_ONCE):
            await self.results.delete(old)
            for job in old:
                with contextlib.suppress(BackendError):  # what it keeps of old works is no reason to keep ours
                    await self._backend.cancel(job.work_id)
            await self.store.delete([job.id for job in old])
        await self.store.forget_days(yesterday())
        await self.results.delete_older_than(moment)


async def _repeated(work: Callable[[], Awaitable[None]], seconds: float, patience: float | None = None) -> None:
    """Do it again and again. What goes wrong is logged and doesn't end it; then it waits for its patience, too."""
    while True:
        try:
            await work()
        except Exception as error:
            logging.warning("FaceGen: %s", printable(error), exc_info=not isinstance(error, (BackendError, StoreError)))
            await asyncio.sleep(PATIENCE if patience is None else patience)
        await asyncio.sleep(seconds)
