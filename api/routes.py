"""Where the local Face Generator API is reached. The rest is loaded by the first request, or at the start if it is on."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web

    from .server import LocalApi

FAMILIES = ("/v6/image_editing", "/v1/enterprise/image_editing", "/v1/enterprise/face_gen")
SUBMIT = ("/v6/image_editing/face_gen", "/v1/enterprise/image_editing/face_gen", "/v1/enterprise/face_gen/make_gen")
FETCH = (*(f"{family}/fetch/{{id}}" for family in FAMILIES), "/v6/images/fetch/{id}", "/v6/images/fetch")
CANCEL = tuple(f"{family}/cancel/{{id}}" for family in FAMILIES)
UPLOADS = {"/v6/base64_to_url": "base64_string", "/v6/image_editing/base64_to_url": "init_image"}
FILES = "/facegen/files/"
SETTINGS = "/facegen/settings"
ROUTES = (
    *(("POST", path) for path in (*SUBMIT, *FETCH, *CANCEL, *UPLOADS, SETTINGS)),
    ("GET", f"{FILES}{{name}}"),
    ("GET", SETTINGS),
)


def add_routes(app: "web.Application", routes: "web.RouteTableDef", settings: Path, make: Callable[[], "LocalApi"]) -> None:
    """Add the routes to those of ComfyUI's server. `make` is called once, at the latest by the first request."""
    api = functools.cache(make)

    def handler(method: str, path: str):
        async def handle(request: "web.Request") -> "web.StreamResponse":
            return await api().handlers[method, path](request)

        return handle

    for method, path in ROUTES:
        routes.route(method, path)(handler(method, path))

    async def start(app: "web.Application") -> None:
        if settings.exists():
            await api().start()

    async def stop(app: "web.Application") -> None:
        if api.cache_info().currsize:
            await api().stop()

    app.on_startup.append(start)
    app.on_shutdown.append(stop)
