"""What the routes of the local Face Generator API answer. Described by openapi.json in the folder api."""

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence

from aiohttp import web

from ....atomic_write import atomic_write
from ....contract import FACE_GEN, STYLES, ContractError, Endpoint
from ....errors import FaceGenError, MissingLibraryError
from ...download import DownloadError, Guard, RefusedURL
from ...response import ERROR, SUCCESS, FaceGenResponse
from ..backend import Backend, BackendError, Phase, without_folders
from ..config import ConfigError, ConfigFile, LocalConfig
from ..files.result_files import TooManyUploads
from ..flavours import TINY, fitting
from ..incoming.face_photos import check_photo
from ..incoming.lenient_request import read_request, unusable
from ..place import Place, address_file
from ..runner import Full, Order, Runner
from ..store.database import StoreAway, StoreError
from ..store.jobs import Job
from .access import Caller, Refused, check_begun, check_host, check_key, is_trusted, usable_config, why_unavailable
from .bodies import LARGE, SMALL, Room, decode_body, read_body
from .call import Call, Handler
from .housekeeping import clear_queue, request_count, system_details
from .paths import (
    ASKED_IN_VAIN,
    CANCEL,
    CLEAR,
    COUNT,
    DETAILS,
    FETCH,
    FILES,
    IN_USE,
    PREFIX,
    SETTINGS,
    SUBMIT,
    UPLOADS,
)
from .pictures import picture

DESCRIBED = "docs/local-api.md in the pack's folder has an example, and api/openapi.json describes every field."
NOT_TRUSTED = (
    "Only a browser on this machine, at {url}, or a call with a token can turn the local API on or off. Whoever may edit its "
    "settings file can change enabled there."
)
NO_FLAVOUR = (
    "{name} is not made here: it needs a flavour that runs FLUX with the PuLID method, and the settings have none whose "
    "endpoints name it. face_gen and head_shot are made here."
)
LACKING = "{name} can't be made yet: {usual} lacks files. {lacks}"
NO_ID = "Which request? Its id is needed, in the path or as request_id in the body."
UNKNOWN = "There is no request with this id here; requests are forgotten {hours:g} hours after they are done."

UNUSABLE = (ConfigError, MissingLibraryError)  # what is set can't be used here

Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class NotMadeHere(FaceGenError):
    """No flavour can make what an endpoint is asked for."""


class LocalApi:
    """Answers the routes; `handlers` has one for each of paths.ROUTES and paths.ASKED_IN_VAIN. Nothing is in work before the
    settings say so.
    """

    def __init__(
        self,
        place: Place,
        backend: Backend,
        profiles: Callable[[], Iterable[str]] = tuple,
        styles: Callable[[], Collection[str]] = lambda: STYLES,
    ):
        """`backend` is closed by stop(). `profiles` names the ModelsLab profiles, for the settings dialog, and `styles` those
        that the backend knows."""
        self._place, self._backend, self._profiles, self._styles = place, backend, profiles, styles
        self._config = ConfigFile(place.folder / "local_api.json", styles, place.is_on, place.flavours)
        self._runner: Runner | None = None
        self._starting = asyncio.Lock()
        self._room = Room()
        self._uploading = asyncio.Lock()  # so that they are counted one after the other

        guarded: dict[str, Handler] = {}
        guarded |= {path: functools.partial(self._submit, endpoint) for path, endpoint in SUBMIT.items()}
        guarded |= dict.fromkeys(FETCH, self._fetch)
        guarded |= dict.fromkeys(CANCEL, self._cancel)
        guarded |= {path: functools.partial(self._upload, name) for path, name in UPLOADS.items()}
        guarded |= {COUNT: request_count, **dict.fromkeys(CLEAR, clear_queue)}
        guarded |= dict.fromkeys(DETAILS, functools.partial(system_details, backend))
        self.handlers: dict[tuple[str, str], Answering] = {
            ("GET", COUNT): self._guarded(COUNT, request_count),
            **{("POST", path): self._guarded(path, handler) for path, handler in guarded.items()},
            **dict.fromkeys(ASKED_IN_VAIN, _answering(self._post_it)),
            ("GET", f"{FILES}{{name}}"): _answering(self._file),
            ("GET", SETTINGS): self._settings,
            ("GET", IN_USE): _answering(self._in_use),
            ("POST", SETTINGS): self._change_settings,
        }

    # --- life

    async def start(self) -> str | None:
        """Begin, if the settings say so; what is in the way is logged and returned."""
        try:
            config = self._config.read()
            reason = why_unavailable(config, self._place) if config.enabled else None
            if config.enabled and not reason:
                await self._running()
        except (*UNUSABLE, StoreError, OSError) as error:
            reason = str(error)
        if reason:
            logging.error("FaceGen: the local Face Generator API did not start. %s", reason)
        return reason

    async def stop(self) -> None:
        if self._runner:
            await self._runner.stop()
            self._runner = None

    @property
    def styles(self) -> Collection[str]:
        """Those that the backend knows now."""
        return self._styles()

    def caller(self, request: web.Request) -> tuple[LocalConfig, Caller]:
        """The last settings that could be read, and who calls. Raises Refused for a name that isn't ours."""
        config, _ = self._known()
        return config, check_host(request, config)

    @property
    def why_away(self) -> str:
        """Why the database can't be reached; "" while it can."""
        return self._runner.why_away if self._runner else ""

    def queue(self) -> dict[str, int]:
        """How many requests are being made by this process, and how many wait for it."""
        runner = self._runner
        jobs = runner.driven if runner else []
        running = sum(runner.state(job).phase is Phase.RUNNING for job in jobs) if runner else 0
        return {"running": running, "waiting": len(jobs) - running}

    def in_work(self) -> list[int]:
        """The ids of the requests that this process makes and that are not done."""
        return [job.id for job in self._runner.driven] if self._runner else []

    async def _running(self) -> Runner:
        """Raises StoreError, OSError and UNUSABLE."""
        if self._runner is None:
            async with self._starting:
                return self._runner or await self._begin()
        return self._runner

    async def _begin(self) -> Runner:
        runner = await Runner.open(self._place, self._backend, self._config)
        await runner.start()
        self._runner = runner
        atomic_write(address_file(self._place.folder), self._place.url.encode())
        logging.info("FaceGen: the local Face Generator API is on, at %s%s%s", self._place.url, PREFIX, next(iter(SUBMIT)))
        return runner

    def _guarded(self, path: str, handler: Handler) -> Answering:
        """The handler behind the checks that all of them share."""
        limit, may_be_empty = LARGE if path in (*SUBMIT, *UPLOADS) else SMALL, path in (*FETCH, COUNT)

        @_answering
        async def handle(request: web.Request) -> web.Response:
            config, caller = usable_config(request, self._config, self._place)
            # Without a body no page needs to ask before it sends: fine for a question, and not for what changes something.
            with self._room.share() as share:
                raw = await read_body(request, limit, share, may_be_empty)
                check_begun(request, raw, config)
                body = decode_body(raw, request.charset)
                del raw
                owner = check_key(request, body, config)
                return await handler(Call(await self._running(), request, config, caller.origin, body, share, owner))

        return handle

    async def _post_it(self, request: web.Request) -> web.StreamResponse:
        _, caller = usable_config(request, self._config, self._place)
        raise Refused(405, f"Send a POST with a JSON body to {caller.origin}{request.path}. {DESCRIBED}")

    # --- the contract

    async def _submit(self, endpoint: Endpoint, call: Call) -> web.Response:
        began = time.monotonic()
        guard = Guard(call.config.allowed_hosts)
        wanted = read_request(call.body, endpoint, guard, self._styles())
        webhook_tip = await _webhook_tip(wanted.webhook, guard)
        name, flavour_tip = await self._flavour(endpoint, call)
        tip = " ".join(filter(None, (webhook_tip, flavour_tip)))
        job = await call.runner.submit(Order(wanted, name, call.config.flavours[name], tip, call.origin, call.owner))
        call.body.clear()  # the photo is on the disk, and the client may wait for long
        del wanted
        call.share.give_back()
        left = call.patience(call.config.hold_seconds) - (time.monotonic() - began)
        return await _state(call, await call.runner.wait(job, max(0, left)))

    async def _flavour(self, endpoint: Endpoint, call: Call) -> tuple[str, str]:
        """The name of the flavour for a request, and a tip where it is not what its caller may expect."""
        config = call.config
        asked = config.flavour_of(call.body.get("model_id"))
        if asked in fitting(endpoint.name, config.flavours):
            return str(asked), ""
        name, lacks = await self._usual_flavour(endpoint.name, config)
        if not lacks:
            return name, ""
        usual = next(iter(fitting(endpoint.name, config.flavours)))
        why = f"because {usual} lacks files. {' '.join(lacks)}"
        return name, f"These pictures are made by the small demonstration model, which can't make real portraits, {why}"

    async def _usual_flavour(self, endpoint: str, config: LocalConfig) -> tuple[str, Sequence[str]]:
        """The name of the flavour for requests to an endpoint that ask for none, and what the usual one lacks if the tiny one
        stands in for it. Raises NotMadeHere where there is none for it."""
        flavours = fitting(endpoint, config.flavours)
        if not flavours:
            raise NotMadeHere(NO_FLAVOUR.format(name=endpoint))
        if config.default in flavours:
            return str(config.default), ()
        usual = next(iter(flavours))
        if not config.chooses_flavour:
            return usual, ()
        missing = {}
        for name, flavour in flavours.items():
            if name == TINY:
                break
            missing[name] = (await self._backend.files_of(flavour)).missing
            if not missing[name]:
                return name, ()
        if TINY not in flavours:
            raise NotMadeHere(LACKING.format(name=endpoint, usual=usual, lacks=" ".join(missing[usual])))
        return TINY, missing[usual]

    async def _fetch(self, call: Call) -> web.Response:
        job = await _asked(call)
        return await _state(call, await call.runner.wait(job, call.patience(call.config.poll_seconds)) if job else None)

    async def _cancel(self, call: Call) -> web.Response:
        job = await _asked(call)
        return await _state(call, await call.runner.cancel(job) if job else None)

    async def _upload(self, name: str, call: Call) -> web.Response:
        picture = call.body.get(name) if isinstance(call.body, dict) else None
        if not isinstance(picture, str) or not picture.strip() or "://" in picture[:20]:
            raise ContractError({name: [f"The {name} field must be a picture as base64 or data URI."]})
        content, kind = await check_photo(name, picture)
        try:
            async with self._uploading:
                file = await call.runner.results.keep_upload(content, kind)
        except TooManyUploads as full:
            raise Refused(429, f"{full} Each is deleted {call.config.keep_hours:g} hours after it came.") from full
        link = call.runner.results.link(file, call.origin)
        return web.json_response({"status": SUCCESS, "message": "Base64 to URL", "output": [link], "link": link})

    async def _file(self, request: web.Request) -> web.StreamResponse:
        usable_config(request, self._config, self._place)
        return await picture(await self._running(), request.match_info["name"])

    # --- settings

    def _known(self) -> tuple[LocalConfig, str | None]:
        """The settings, or the last that could be read, and why the API can't be on."""
        try:
            config = self._config.read()
            return config, why_unavailable(config, self._place)
        except ConfigError as error:
            return self._config.last, str(error)

    async def _settings(self, request: web.Request) -> web.Response:
        config, reason = self._known()
        enabled, profiles = config.enabled and not reason, list(self._profiles())
        try:
            caller = check_host(request, config)
        except Refused as refused:
            if enabled:
                return refused.answer()
            reason, profiles = str(refused), []  # a page that was opened by another name has nothing to complain of
        else:
            if reason and not caller.is_local:
                reason = without_folders(reason)
        state = {"enabled": enabled, "available": not reason, "reason": reason}
        return web.json_response({"local_api": state, "modelslab": {"profiles": profiles}})

    async def _in_use(self, request: web.Request) -> web.Response:
        """Where the API is reached, and with which files: for the settings dialog and for `doctor`."""
        config, reason = self._known()
        caller = check_host(request, config)
        if reason and not caller.is_local:
            reason = without_folders(reason)
        usual, _ = await self._usual_flavour(FACE_GEN, config)
        flavours = {}
        for name, flavour in config.flavours.items():
            files = await self._backend.files_of(flavour)
            flavours[name] = {"files": dict(files.used), "missing": list(files.missing)}
        state = {"enabled": config.enabled and not reason, "reason": reason, "default": usual, "flavours": flavours}
        return web.json_response({"address": f"{caller.origin}{PREFIX}{next(iter(SUBMIT))}", **state})

    async def _change_settings(self, request: web.Request) -> web.Response:
        try:
            config, reason = self._known()
            caller = check_host(request, config)
            with self._room.share() as share:
                body = decode_body(await read_body(request, SMALL, share), request.charset)
            if not is_trusted(request, body, config, caller):
                raise Refused(403, NOT_TRUSTED.format(url=self._place.url))
            enabled = body["local_api"]["enabled"] if isinstance(body, dict) else None
            if not isinstance(enabled, bool):
                raise TypeError
            if enabled and reason:
                raise ConfigError(reason)
            self._config.enable(enabled)
            if enabled:
                await self._running()
        except Refused as refused:
            return web.json_response({"error": str(refused)}, status=refused.status)
        except (KeyError, TypeError):
            return web.json_response({"error": 'Send {"local_api": {"enabled": true}} or false.'}, status=400)
        except (*UNUSABLE, StoreError, OSError) as error:
            return web.json_response({"error": str(error)}, status=409)
        return await self._settings(request)


async def _webhook_tip(webhook: str | None, guard: Guard) -> str:
    """What has to be said of a webhook now. Raises ContractError if it would never be called."""
    if webhook is None:
        return ""
    try:
        await guard.check_name(webhook)
    except RefusedURL as error:
        raise ContractError({"webhook": [unusable("webhook", error)]}) from error
    except DownloadError as error:
        return f"The webhook may not be reached. {error}"
    return ""


async def _asked(call: Call) -> Job | None:
    """The caller's own request whose id is in the path or the body."""
    text = _identifier(call)
    job = await call.runner.store.get(int(text)) if text.isascii() and text.isdigit() and len(text) < 20 else None
    return job if job and job.owner == call.owner else None


def _identifier(call: Call) -> str:
    identifier = call.request.match_info.get("id")
    if identifier is None:
        identifier = call.body.get("request_id") if isinstance(call.body, dict) else None
    return str(identifier).strip() if isinstance(identifier, (str, int)) else ""


async def _state(call: Call, job: Job | None) -> web.Response:
    if job is None:
        message = UNKNOWN.format(hours=call.config.keep_hours) if _identifier(call) else NO_ID
        return _answer(FaceGenResponse(ERROR, message=message))
    return web.Response(body=await call.runner.answer(job), content_type="application/json", charset="utf-8")


def _answering(handler: Answering) -> Answering:
    """The handler, where what it refuses or can't do becomes an answer in the contract's shape."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except Refused as refused:
            return refused.answer()
        except Full as full:
            return Refused(429, str(full), full.retry_after).answer()
        except ContractError as error:
            return _answer(FaceGenResponse(ERROR, message=error.errors))
        except NotMadeHere as error:
            return _answer(FaceGenResponse(ERROR, message=str(error)))
        except StoreAway as error:
            return Refused(503, str(error), error.retry_after).answer()
        except (StoreError, BackendError, *UNUSABLE) as error:
            return Refused(503, str(error)).answer()
        except OSError as error:
            logging.error("FaceGen: the local Face Generator API can't use its files. %s", error)
            return Refused(503, f"The local API can't use its files: {error.strerror or type(error).__name__}.").answer()

    return handle


def _answer(response: FaceGenResponse) -> web.Response:
    return web.json_response(response.as_dict())
