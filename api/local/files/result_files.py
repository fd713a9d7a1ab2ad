"""The files of the local API: finished pictures, uploads and photos in work, under names that can't be guessed."""

import asyncio
import base64
import io
import re
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from yarl import URL

from ....errors import FaceGenError
from ....picture_file import open_rgb
from ...picture_bytes import TYPES
from ..routes.paths import FILES, PREFIX
from ..store.jobs import Job
from .storage import Storage

T = TypeVar("T")
BASE64 = "base64"
NAME = re.compile(rf"([0-9a-f]{{32}})-(\d|upload)\.({'|'.join(TYPES)}|{BASE64})")
UPLOAD, FACE = "upload", "face"
MOST_UPLOADS, MOST_UPLOAD_BYTES = 500, 1 << 30  # that are kept at once


PATIENCE, AGAIN = 60.0, 2.0  # seconds for which a place behind a network is tried, and between two tries


class TooManyUploads(FaceGenError):
    """More uploads, or more bytes of them, than are kept at once."""


def new_name() -> str:
    return secrets.token_hex(16)


class Results:
    """The files in a storage. Methods raise OSError; keep also PictureError."""

    def __init__(self, storage: Storage):
        self._storage = storage

    # --- pictures

    async def keep(self, job: Job, pictures: list[bytes]) -> None:
        """Write the pictures of a request, whose files are given, without what a backend may have written into them. One that
        is there already may have been delivered, and stays."""
        deadline = time.monotonic() + (0 if self._storage.is_near else PATIENCE)
        while True:
            try:
                return await asyncio.to_thread(self._keep, job, pictures)
            except OSError:
                if time.monotonic() > deadline:
                    raise
            await asyncio.sleep(AGAIN)

    def _keep(self, job: Job, pictures: list[bytes]) -> None:
        for name, picture in zip(_names(job), pictures, strict=True):
            file = io.BytesIO()
            open_rgb(picture).save(file, "PNG")
            self._storage.put(name, file.getvalue())

    async def are_there(self, job: Job) -> bool:
        return await self._ask(self._storage.are_there, _names(job))

    async def are_still_there(self, job: Job) -> bool:
        """Of pictures that were there before: looked at again only where that takes no time."""
        return not self._storage.is_near or self._storage.are_there(_names(job))

    async def read_base64(self, job: Job) -> list[str]:
        return [base64.b64encode(await self.read(name)).decode() for name in _names(job)]

    async def read(self, name: str) -> bytes:
        """Raises FileNotFoundError."""
        return await asyncio.to_thread(self._storage.get, name)

    def on_disk(self, name: str) -> Path | None:
        """The file, where this machine's disk has it."""
        return self._storage.path(name)

    def links(self, job: Job) -> tuple[str, ...]:
        """Where the pictures of a request are, or will be."""
        return tuple(self.link(name, job.origin) for name in _names(job, BASE64 if job.as_base64 else "png"))

    def link(self, name: str, origin: str) -> str:
        return f"{origin}{PREFIX}{FILES}{name}"

    async def delete(self, jobs: Iterable[Job]) -> None:
        """The pictures of these, and their photos."""
        await self._ask(self._storage.delete, [name for job in jobs for name in (*_names(job), _face(job.secret))])

    async def delete_older_than(self, moment: float) -> None:
        """Uploads, and whatever a process that was killed left behind."""
        await asyncio.to_thread(self._storage.delete_older_than, moment)

    # --- photos

    async def keep_upload(self, content: bytes, kind: str) -> str:
        """Write a photo as it came, a picture of that kind; its name. Raises TooManyUploads."""
        sizes = await asyncio.to_thread(self._storage.sizes, UPLOAD)
        if len(sizes) >= MOST_UPLOADS or sum(sizes) + len(content) > MOST_UPLOAD_BYTES:
            raise TooManyUploads(f"{len(sizes)} uploads with {sum(sizes) >> 20} MB are kept; no more fit.")
        name = f"{new_name()}-{UPLOAD}.{kind}"
        await asyncio.to_thread(self._storage.put, name, content)
        return name

    async def own_file(self, url: str, origin: str) -> bytes | None:
        """What is behind one of our own URLs, which the guard would refuse as an address of this machine."""
        try:
            given, own = URL(url), URL(origin)
            if (given.host, given.port) != (own.host, own.port):
                return None
        except ValueError:  # reading the host decodes it
            return None
        found = NAME.fullmatch(given.path.removeprefix(PREFIX).removeprefix(FILES))
        try:
            return await self.read(found[0]) if found else None
        except FileNotFoundError:
            return None

    async def keep_face(self, secret: str, photo: Path) -> None:
        """A request's photo, for whichever front drives it next."""
        await asyncio.to_thread(lambda: self._storage.put(_face(secret), photo.read_bytes()))

    async def face(self, secret: str) -> bytes:
        """Raises FileNotFoundError."""
        return await self.read(_face(secret))

    async def delete_face(self, secret: str) -> None:
        await self._ask(self._storage.delete, [_face(secret)])

    async def _ask(self, call: Callable[..., T], *args: Any) -> T:
        return call(*args) if self._storage.is_near else await asyncio.to_thread(call, *args)


def _names(job: Job, kind: str = "png") -> list[str]:
    return [f"{job.secret}-{number}.{kind}" for number in range(job.samples)]


def _face(secret: str) -> str:
    return f"{secret}-{FACE}.png"


def too_old(hours: float) -> float:
    """The moment, in seconds since the epoch, before which files and rows are deleted."""
    return time.time() - hours * 3600
