"""The files of the local API: finished pictures and uploads, under names that can't be guessed, until they are too old."""

import base64
import contextlib
import os
import re
import secrets
import time
from pathlib import Path

from yarl import URL

from ...atomic_write import OWNER, atomic_path, atomic_write
from ...errors import FaceGenError
from ...picture_file import open_rgb
from ..picture_bytes import TYPES
from .jobs import Job
from .routes.paths import FILES, PREFIX

BASE64 = "base64"
NAME = re.compile(rf"([0-9a-f]{{32}})-(\d|upload)\.({'|'.join(TYPES)}|{BASE64})")
UPLOAD = "upload"
MOST_UPLOADS, MOST_UPLOAD_BYTES = 500, 1 << 30  # that are kept at once


class TooManyUploads(FaceGenError):
    """More uploads, or more bytes of them, than are kept at once."""


def new_name() -> str:
    return secrets.token_hex(16)


class Results:
    """The files in `folder`, which is made where it lacks. Methods raise OSError; keep also PictureError."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def path(self, secret: str, part: int | str, kind: str = "png") -> Path:
        return self.folder / f"{secret}-{part}.{kind}"

    def keep(self, job: Job, pictures: list[bytes]) -> None:
        """Write the pictures of a request, whose files are given, without what a backend may have written into them."""
        for number, picture in enumerate(pictures):
            image = open_rgb(picture)
            with atomic_path(self.path(job.secret, number), OWNER) as part:
                image.save(part, "PNG")

    def are_there(self, job: Job) -> bool:
        start = f"{self.folder}/{job.secret}-"  # as text, and access(): this is asked with each fetch
        return all(os.access(f"{start}{number}.png", os.F_OK) for number in range(job.samples))

    def read_base64(self, job: Job) -> list[str]:
        return [base64.b64encode(self.path(job.secret, n).read_bytes()).decode() for n in range(job.samples)]

    def links(self, job: Job) -> tuple[str, ...]:
        """Where the pictures of a request are, or will be."""
        kind = BASE64 if job.as_base64 else "png"
        return tuple(self.link(self.path(job.secret, n, kind).name, job.origin) for n in range(job.samples))

    def keep_upload(self, content: bytes, kind: str) -> str:
        """Write a photo as it came, a picture of that kind; its name. Raises TooManyUploads."""
        sizes = [path.stat().st_size for path in self.folder.glob(f"*-{UPLOAD}.*") if not path.name.startswith(".")]
        if len(sizes) >= MOST_UPLOADS or sum(sizes) + len(content) > MOST_UPLOAD_BYTES:
            raise TooManyUploads(f"{len(sizes)} uploads with {sum(sizes) >> 20} MB are kept; no more fit.")
        path = self.path(new_name(), UPLOAD, kind)
        atomic_write(path, content)
        return path.name

    def link(self, name: str, origin: str) -> str:
        return f"{origin}{PREFIX}{FILES}{name}"

    def own_file(self, url: str, origin: str) -> Path | None:
        """The file behind one of our own URLs, which the guard would refuse as an address of this machine."""
        try:
            given, own = URL(url), URL(origin)
            if (given.host, given.port) != (own.host, own.port):
                return None
        except ValueError:  # reading the host decodes it
            return None
        found = NAME.fullmatch(given.path.removeprefix(PREFIX).removeprefix(FILES))
        path = self.path(*found.groups()) if found else None
        return path if path and path.is_file() else None

    def delete(self, job: Job) -> None:
        for number in range(job.samples):
            delete_file(self.path(job.secret, number))

    def delete_older_than(self, moment: float) -> None:
        """Uploads, and whatever a process that was killed left behind."""
        for path in self.folder.iterdir():
            with contextlib.suppress(OSError):  # renamed or deleted meanwhile
                if path.stat().st_mtime < moment:
                    path.unlink()


def delete_file(path: Path) -> None:
    """Delete it if possible; one that another program holds open must not keep the others from being deleted."""
    with contextlib.suppress(OSError):
        path.unlink()


def too_old(hours: float) -> float:
    """The moment, in seconds since the epoch, before which files and rows are deleted."""
    return time.time() - hours * 3600
