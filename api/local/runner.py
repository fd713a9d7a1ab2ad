"""Carries requests through ComfyUI's queue: photo, graph, waiting, pictures, webhook, and cleaning up afterwards."""

import asyncio
import contextlib
import logging
import secrets
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from ...contract import FaceGenRequest
from ...nodes.host.local_api.comfyui import Host, HostError, HostInfo
from ...nodes.host.local_api.graph import build_graph, load_workflow, result_node
from ..response import FAILED, PROCESSING, SUCCESS, FaceGenResponse
from . import jobs, webhooks
from .config import ConfigError, ConfigFile, Flavour
from .faces import save_face
from .results import Results, delete_file, new_name, too_old

POLL = 0.25  # seconds between two looks at ComfyUI's queue
PATIENCE = 5.0  # seconds before the next look when ComfyUI could not be asked
CLEAN_EVERY = 600  # seconds
FIRST_GUESS = 30.0  # seconds that a request takes, before one was measured
VANISHED = "The request was taken out of ComfyUI's queue."
CANCELLED = "The request was cancelled."
LOST = "What became of this request could not be stored; ComfyUI's log says why. Send it again."
NOT_IN_META = ("face_image", "webhook")


class QueueFull(Exception):
    """More requests are waiting than the settings allow. `retry_after` is in seconds."""

    def __init__(self, limit: int, retry_after: int):
        self.retry_after = retry_after
        super().__init__(f"Rate limit exceeded. Maximum {limit} queued requests allowed.")


class Runner:
    """Started and stopped with ComfyUI's server; everything runs in its event loop."""

    def __init__(self, info: HostInfo, config: ConfigFile):
        folder = info.user / "facegen" / "local_api"
        self._info, self._config = info, config
        self._own_workflows = info.user / "facegen" / "workflows"
        self.results = Results(folder / "results")
        self.store = jobs.JobStore(folder / "jobs.sqlite")
        self._host = Host(info)
        self._done: dict[int, asyncio.Event] = {}
        self._arriving = 0  # requests whose photo is being fetched
        self._tasks: dict[int, asyncio.Task] = {}
        self._queued: dict[int, asyncio.Event] = {}  # set when the prompt has left ComfyUI's queue
        self._background: set[asyncio.Task] = set()

    def start(self) -> None:
        for job in self.store.fail_interrupted():
            logging.warning("FaceGen: request %s was interrupted by the end of ComfyUI.", job.id)
        for job in self.store.unanswered():
            self._in_background(self._call_webhook(job))
        self._in_background(_repeated(self._watch, POLL))
        self._in_background(_repeated(self._clean, CLEAN_EVERY))

    async def stop(self) -> None:
        tasks = [*self._tasks.values(), *self._background]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._host.close()
        self.store.close()

    # --- what clients ask for

    async def submit(self, request: FaceGenRequest, tip: str, flavour: Flavour, origin: str) -> jobs.Job:
        """Take a request on; its photo is here and it is in the store and in work when this returns.

        Raises QueueFull, and ContractError about the photo.
        """
        config = self._config.last
        if len(self._done) + self._arriving >= config.max_queued:
            raise QueueFull(config.max_queued, max(1, round(self.store.usual_seconds(FIRST_GUESS))))
        secret = new_name()
        face = self._face(secret)
        self._arriving += 1
        try:
            await save_face(request.face_image, face, lambda url: self.results.own_file(url, origin), config.allowed_hosts)
        finally:
            self._arriving -= 1
        seed = secrets.randbelow(2**32) if request.seed is None else request.seed
        meta = {name: value for name, value in request.as_dict().items() if name not in NOT_IN_META} | {"seed": seed}
        try:
            job = self.store.add(
                secret=secret,
                prompt_id=str(uuid.uuid4()),
                samples=request.samples,
                as_base64=request.base64,
                tip=tip,
                meta=meta,
                webhook=request.webhook,
                track_id=request.track_id,
                origin=origin,
            )
        except jobs.StoreError:
            face.unlink(missing_ok=True)
            raise
        self._done[job.id] = asyncio.Event()
        self._tasks[job.id] = asyncio.create_task(self._work(job, request, flavour, seed))
        return job

    async def wait(self, job: jobs.Job, seconds: float) -> jobs.Job | None:
        """The request as it is when it is done, or after that time; None if it has been deleted meanwhile."""
        if event := self._done.get(job.id):
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(event.wait(), seconds)
        return self.store.get(job.id)

    async def cancel(self, job: jobs.Job) -> jobs.Job:
        """Stop a request, wherever it is; one that is done stays as it is."""
        if job.is_waiting:
            job = self._finish(job, jobs.FAILED, CANCELLED)
            await self._host.cancel(job.prompt_id)
        return job

    def response(self, job: jobs.Job) -> FaceGenResponse:
        """The answer that says how a request stands."""
        common = {"id": job.id, "tip": job.tip, "meta": job.meta}
        if job.state == jobs.SUCCESS and not self.results.are_there(job):
            return FaceGenResponse(FAILED, message="The pictures of this request were deleted.", **common)
        if job.state == jobs.SUCCESS:
            links = self.results.links(job)
            output = tuple(self.results.read_base64(job)) if job.as_base64 else links
            return FaceGenResponse(SUCCESS, output=output, proxy_links=links, generation_time=job.seconds, **common)
        if job.state == jobs.FAILED:
            return FaceGenResponse(FAILED, message=job.message, **common)
        if not self._is_wanted(job):
            return FaceGenResponse(FAILED, message=LOST, **common)
        ahead = sum(other < job.id for other in self._done)
        return FaceGenResponse(
            PROCESSING,
            eta=max(1, round((ahead + 1) * self.store.usual_seconds(FIRST_GUESS))),
            message="The request is in work.",
            fetch_result=f"{job.origin}/api/v6/image_editing/fetch/{job.id}",
            future_links=self.results.links(job),
            **common,
        )

    # --- one request

    def _face(self, secret: str) -> Path:
        return self._info.temp / "facegen" / f"{secret}.png"

    async def _work(self, job: jobs.Job, request: FaceGenRequest, flavour: Flavour, seed: int) -> None:
        face = self._face(job.secret)
        try:
            template = load_workflow(flavour.workflow, self._own_workflows)
            choices = await self._host.choices()
            graph = build_graph(template, flavour, request, seed, f"facegen/{face.name} [temp]", choices)
            if not self._is_wanted(job):
                return
            await self._host.queue(graph, job.prompt_id)
            left = self._queued[job.id] = asyncio.Event()
            if not self._is_wanted(job):  # cancelled before ComfyUI knew it
                await self._host.cancel(job.prompt_id)
            await left.wait()
            await self._collect(job, result_node(graph))
        except (ConfigError, HostError) as error:
            self._finish(job, jobs.FAILED, str(error))
            with contextlib.suppress(HostError):  # it may have been queued all the same
                await self._host.cancel(job.prompt_id)
        except Exception as error:
            logging.exception("FaceGen: request %s failed", job.id)
            self._finish(job, jobs.FAILED, f"The request failed ({type(error).__name__}); ComfyUI's log says more.")
        finally:
            face.unlink(missing_ok=True)
            self._queued.pop(job.id, None)
            self._tasks.pop(job.id, None)

    def _is_wanted(self, job: jobs.Job) -> bool:
        return job.id in self._done

    async def _collect(self, job: jobs.Job, node: str) -> None:
        """Read the outcome of a prompt that has left the queue from ComfyUI's history."""
        entry = await self._host.history(job.prompt_id)
        pictures = [self._picture(image) for image in (entry or {"outputs": {}})["outputs"].get(node, {}).get("images", [])]
        if not self._is_wanted(job):  # cancelled when it was nearly done
            for path in pictures:
                delete_file(path)
            return
        if entry is None:
            self._finish(job, jobs.FAILED, VANISHED)
            return
        messages = dict(entry["status"]["messages"])
        if "execution_success" not in messages:
            error = messages.get("execution_error", {})
            said = f"{error.get('node_type')}: {error.get('exception_message')}".strip() if error else CANCELLED
            self._finish(job, jobs.FAILED, said)
            return
        if len(pictures) != job.samples:
            self._finish(job, jobs.FAILED, f"The workflow made {len(pictures)} pictures; {job.samples} were asked for.")
            return
        await asyncio.to_thread(self.results.keep, job, pictures)
        seconds = (messages["execution_success"]["timestamp"] - messages["execution_start"]["timestamp"]) / 1000
        self._finish(job, jobs.SUCCESS, seconds=round(seconds, 2), temporary=[str(path) for path in pictures])

    def _picture(self, image: dict) -> Path:
        path = (self._info.temp / image["subfolder"] / image["filename"]).resolve()
        if image["type"] != "temp" or self._info.temp.resolve() not in path.parents:
            raise HostError("The workflow of the local API has to end in a Preview Image node.")
        return path

    def _finish(self, job: jobs.Job, state: str, message: str = "", seconds=None, temporary=()) -> jobs.Job:
        event = self._done.pop(job.id, None)
        try:
            job = self.store.finish(job.id, state, message, seconds, temporary)
        except jobs.StoreError as error:
            logging.error("FaceGen: what became of request %s is lost. %s", job.id, error)
        if event:
            event.set()
            if job.webhook:
                self._in_background(self._call_webhook(job))
        return job

    async def _call_webhook(self, job: jobs.Job) -> None:
        config = self._config.last
        body = webhooks.webhook_body(job, self.response(job))
        if not await webhooks.deliver(job, body, config.webhook_secret, config.allowed_hosts):
            logging.warning("FaceGen: the webhook of request %s was given up; fetching it still works.", job.id)
        self.store.webhook_done(job.id)

    # --- in the background

    def _in_background(self, work) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _watch(self) -> None:
        """Notice which prompts have left ComfyUI's queue."""
        if not (mine := dict(self._queued)):
            return
        queued = await self._host.queued()
        for identifier, left in mine.items():
            job = self.store.get(identifier)
            if job and job.prompt_id not in queued:
                left.set()

    async def _clean(self) -> None:
        """Forget what is too old: finished requests with their files, uploads, and what a killed process left behind."""
        moment = too_old(self._config.last.keep_hours)
        for job in self.store.older_than(moment):
            self.results.delete(job)
            for path in job.temporary:
                delete_file(Path(path))
            self.store.delete(job.id)
        await asyncio.to_thread(self.results.delete_older_than, moment)


async def _repeated(work: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Do it again and again. What goes wrong is logged and doesn't end it."""
    while True:
        try:
            await work()
        except Exception as error:
            logging.warning("FaceGen: %s", error, exc_info=not isinstance(error, (HostError, jobs.StoreError)))
            await asyncio.sleep(PATIENCE)
        await asyncio.sleep(seconds)
