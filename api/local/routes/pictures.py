"""The answer to a picture's URL: the file, once its request is done."""

import base64

from aiohttp import web

from ...picture_bytes import TYPES
from ..files.result_files import BASE64, NAME, UPLOAD
from ..runner import Runner
from ..store.jobs import SUCCESS
from .access import Refused

NO_PICTURE = "There is no such picture."
WAIT = 300  # seconds that the URL of a picture in work is held open
HEADERS = {"Cache-Control": "private, max-age=3600", "X-Content-Type-Options": "nosniff"}


async def picture(runner: Runner, name: str) -> web.StreamResponse:
    """A picture or an upload, under a name that can't be guessed. If it isn't done yet, the answer waits for it.

    Raises Refused, StoreError and OSError.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise Refused(404, NO_PICTURE)
    secret, part, kind = found.groups()
    if part == UPLOAD and kind == BASE64:
        raise Refused(404, NO_PICTURE)
    if part != UPLOAD:
        await _done(runner, secret)
    if kind == BASE64:
        content = await _read(runner, f"{secret}-{part}.png")
        return web.Response(text=base64.b64encode(content).decode(), headers=HEADERS)
    headers = HEADERS | {"Content-Type": TYPES[kind]}
    if path := runner.results.on_disk(name):
        return web.FileResponse(path, headers=headers)
    return web.Response(body=await _read(runner, name), headers=headers)


async def _read(runner: Runner, name: str) -> bytes:
    try:
        return await runner.results.read(name)
    except FileNotFoundError:
        raise Refused(404, NO_PICTURE) from None


async def _done(runner: Runner, secret: str) -> None:
    """Wait for the request whose pictures have this name. Refused unless it has succeeded."""
    job = await runner.store.by_secret(secret)
    if job and job.is_waiting:
        job = await runner.wait(job, WAIT)
    if job is None or job.state != SUCCESS:
        waiting = job and job.is_waiting
        raise Refused(404, "The picture is not ready yet." if waiting else (job and job.message) or NO_PICTURE)
