"""Where the local Face Generator API is reached. The rest is loaded by the first request, or at the start if it is on."""

import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from .paths import ASKED_IN_VAIN, ROUTES

if TYPE_CHECKING:
    from aiohttp import web

    Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Served(Protocol):
    """What answers the routes: `handlers` has one for each of paths.ROUTES and paths.ASKED_IN_VAIN."""

    handlers: "dict[tuple[str, str], Answering]"

    async def start(self) -> object: ...
    async def stop(self) -> None: ...


def add_routes(app: "web.Application", routes: "web.RouteTableDef", settings: Path, make: Callable[[], Served]) -> None:
    """Add the routes to a server's. `make` is called once: by the first request, or at the start if the file `settings` exists.

    The caller mirrors each under paths.PREFIX, if its server doesn't.
    """
    api = functools.cache(make)

    def handler(method: str, path: str) -> "Answering":
        async def handle(request: "web.Request") -> "web.StreamResponse":
            return await api().handlers[method, path](request)

        return handle

    for method, path in (*ROUTES, *ASKED_IN_VAIN):
        routes.route(method, path)(handler(method, path))

    async def start(app: "web.Application") -> None:
        if settings.exists():
            await api().start()

    async def stop(app: "web.Application") -> None:
        if api.cache_info().currsize:
            await api().stop()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
