"""The page for people: its files, and what it has to know of this server."""

from pathlib import Path
from typing import Any

from aiohttp import web

from ...api.local.config import LocalConfig
from ...api.local.flavours import fitting
from ...api.local.routes.access import Refused
from ...api.local.routes.local_api import LocalApi
from ...contract import ENDPOINTS, Field

FOLDER = Path(__file__).parent / "page"
KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
FILES = {path.name: path for path in FOLDER.iterdir() if path.suffix in KINDS}
# No other page may be put around it or read along, and no script but its own runs in it.
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
SIZE = ("width", "height")  # where the form leaves them empty, the picture is as large as the photo
FORM = ("prompt", "negative_prompt", "style", "s_scale", "samples", "num_inference_steps", "guidance_scale", "seed", *SIZE)


def page_routes(api: LocalApi) -> list[web.AbstractRouteDef]:
    """Where the page and its files are."""

    async def page(request: web.Request) -> web.StreamResponse:
        path = FILES.get(request.match_info.get("name", "index.html"))
        if path is None:
            raise web.HTTPNotFound
        kind = f"{KINDS[path.suffix]}; charset=utf-8"
        return web.FileResponse(path, headers={**HEADERS, "Content-Type": kind, "Cache-Control": "no-cache"})

    async def options(request: web.Request) -> web.Response:
        try:
            config, _ = api.caller(request)
        except Refused as refused:
            return refused.answer()
        return web.json_response(what_the_page_offers(api, config))

    return [web.get("/", page), web.get("/page/options.json", options), web.get("/page/{name}", page)]


def what_the_page_offers(api: LocalApi, config: LocalConfig) -> dict[str, Any]:
    """Whether a key is needed, and for each endpoint that a flavour serves its path and the ranges, steps, defaults and
    choices of its form's fields."""
    endpoints: dict[str, Any] = {}
    for endpoint in ENDPOINTS.values():
        if not fitting(endpoint.name, config.flavours):
            continue
        fields = {}
        for name in FORM:
            if rule := endpoint.fields.get(name):
                fields[name] = _shown(rule, list(api.styles) if name == "style" else list(rule.choices))
        endpoints.setdefault(endpoint.name, {"path": endpoint.path, "fields": fields})
    return {"needs_key": bool(config.known_tokens), "endpoints": endpoints}


def _shown(rule: Field, choices: list[str]) -> dict[str, Any]:
    default = None if rule.name in SIZE else rule.default
    shown = {"default": default, "min": rule.minimum, "max": rule.maximum, "step": rule.multiple_of, "choices": choices or None}
    return {key: value for key, value in shown.items() if value is not None}
