"""The HTTP front: the API's routes, the page for people, health, metrics, and a log line for each request."""

import functools
import json
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from ...api.local.routes.access import Refused, is_trusted
from ...api.local.routes.local_api import LocalApi
from ...api.local.routes.paths import PREFIX, SUBMIT, UPLOADS
from ...errors import FaceGenError
from .access_log import AccessLog
from .logs import REQUEST_ID, new_request_id
from .metrics import Metrics
from .page_files import page_routes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
STATUS = re.compile(rb'^\{"status": "(\w+)"')
DESCRIPTION = Path(__file__).resolve().parents[2] / "api" / "openapi.json"
BUSY = {*SUBMIT, *UPLOADS}  # what is refused while the server stops
RETRY = 30  # seconds after which one that stops may be there again
METRICS_ARE = "Metrics are told to callers on this machine, and to those with a token in a Bearer header."


class Front:
    """What the server's app answers with. `api` is started and stopped with it; `why_away` says why its backend can't make
    anything, "" while it can."""

    def __init__(self, api: LocalApi, metrics: Metrics, why_away: Callable[[], str] = str):
        self._why_away = why_away
        self.api, self._metrics, self._answers, self._log = api, metrics, metrics.answers, AccessLog()
        self.is_ready, self.why_not, self.is_stopping = False, "the models are being loaded", False

    def app(self) -> web.Application:
        app = web.Application(middlewares=[self._watched])
        for (method, path), handler in self.api.handlers.items():
            app.router.add_route(method, path, handler)
            app.router.add_route(method, PREFIX + path, handler)
        app.router.add_get("/healthz", self._health)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._tell_metrics)
        app.router.add_get("/openapi.json", self._describe)
        app.router.add_routes(page_routes(self.api))
        app.on_startup.append(self._start)
        app.on_shutdown.append(self._stop)
        app.on_cleanup.append(self._end)
        return app

    async def _start(self, _: web.Application) -> None:
        if reason := await self.api.start():
            raise FaceGenError(reason)

    async def _stop(self, _: web.Application) -> None:
        await self.api.stop()

    async def _end(self, _: web.Application) -> None:
        self._log.flush()  # after the last answer

    @web.middleware
    async def _watched(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Counts and logs a request: its route, never its body or its query."""
        request_id = new_request_id(request.headers.get("X-Request-Id"))
        token = REQUEST_ID.set(request_id)
        began, outcome = time.monotonic(), "aborted"
        route = _route(request)
        self._answers.begun()
        try:
            if self.is_stopping and route.removeprefix(PREFIX) in BUSY:
                response: web.StreamResponse = Refused(503, "The server is stopping and takes nothing more.", RETRY).answer()
            else:
                response = await handler(request)
            outcome = _outcome(response)
            if not response.prepared:
                response.headers["X-Request-Id"] = request_id
            return response
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed) as error:
            outcome = str(error.status)
            return _not_here(request, error, request_id)
        except web.HTTPException as error:
            outcome = str(error.status)
            raise
        finally:
            seconds = time.monotonic() - began
            self._answers.answered(route, outcome, seconds)
            self._log.write(request.method, route, outcome, seconds)
            REQUEST_ID.reset(token)

    async def _health(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def _ready(self, _: web.Request) -> web.Response:
        why = "the server is stopping"
        if not self.is_stopping:
            why = (self.api.why_away or self._why_away()) if self.is_ready else self.why_not
        if not why:
            return web.json_response({"status": "ready"})
        return web.json_response({"status": "not ready", "reason": why}, status=503)

    async def _tell_metrics(self, request: web.Request) -> web.Response:
        try:
            config, caller = self.api.caller(request)
            if not is_trusted(request, None, config, caller):
                raise Refused(403, METRICS_ARE)
        except Refused as refused:
            return refused.answer()
        return web.Response(body=self._metrics.text(self.api.queue), headers={"Content-Type": self._metrics.content_type})

    async def _describe(self, _: web.Request) -> web.Response:
        return web.json_response(_description())


@functools.cache
def _description() -> dict[str, Any]:
    """The API's, with the addresses of this server, whichever it has: relative to that of the description."""
    described: dict[str, Any] = json.loads(DESCRIPTION.read_text(encoding="utf-8"))
    described["servers"] = [{"url": PREFIX, "description": "This server"}]
    for path in described["paths"].values():
        for operation in path.values():
            if "servers" in operation:  # what isn't under the prefix
                operation["servers"] = [{"url": "/"}]
    return described


def _not_here(request: web.Request, error: web.HTTPException, request_id: str) -> web.Response:
    """As every other answer of the API, for clients that read JSON."""
    message = "There is nothing at this address; openapi.json at the root of this server says what there is."
    if isinstance(error, web.HTTPMethodNotAllowed):
        message = f"{request.method} is not answered at this address. It takes {', '.join(sorted(error.allowed_methods))}."
    response = Refused(error.status, message).answer()
    response.headers["X-Request-Id"] = request_id
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


def _route(request: web.Request) -> str:
    """The route's pattern, so that ids and names of pictures are in no log; "unknown" where there is none."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"


def _outcome(response: web.StreamResponse) -> str:
    """The status in the answer's body where it has one, else HTTP's."""
    body: Any = response.body if isinstance(response, web.Response) else None
    found = STATUS.match(body) if response.status == 200 and isinstance(body, bytes) else None
    return found[1].decode() if found else str(response.status)
