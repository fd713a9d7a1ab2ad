"""Fetch a large file: progress, resuming, a checksum, and never a half file under its own name."""

import hashlib
import http.client
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ...errors import FaceGenError
from ...models.published import Download, megabytes

CHUNK = 1 << 20
TIMEOUT = 30  # seconds without a byte
TRIES = 3  # connections that end early, before giving up
SPARE = 64 << 20  # bytes that stay free on the disk
GO_ON = "Run the command again: it goes on where it stopped."
Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all


def download(wanted: Download, folder: Path, progress: Progress) -> Path:
    """The file, whole and checked, as <folder>/<name>. What arrived before a stop is in <name>.part, and is gone on with.

    Raises FaceGenError when it can't be had, or isn't what was published; a wrong file is deleted.
    """
    target, part = folder / wanted.name, folder / f"{wanted.name}.part"
    if target.is_file() and is_right(target, wanted):
        return target
    with made_folder(folder):
        _fetch_whole(wanted, part, progress)
        if not is_right(part, wanted):
            part.unlink()
            raise FaceGenError(f"{wanted.address} is not the file that was published (other size or SHA-256). It was deleted.")
        part.replace(target)
    return target


def _fetch_whole(wanted: Download, part: Path, progress: Progress) -> None:
    try:
        for number in range(TRIES):
            if _fetch(wanted, part, progress):
                break
            if number == TRIES - 1:
                have = megabytes(part.stat().st_size) if part.exists() else "nothing"
                raise FaceGenError(
                    f"{wanted.address}: the connection ended early ({have} arrived). Run the command again: it goes on."
                )
    except urllib.error.HTTPError as error:
        raise FaceGenError(f"{wanted.address} can't be downloaded: the server answers {error.code} {error.reason}.") from error
    except (OSError, http.client.HTTPException) as error:
        raise FaceGenError(f"{wanted.address} can't be downloaded: {getattr(error, 'reason', error)}. {GO_ON}") from error


@contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """The folder, made where it lacks. After an error nothing is left of what was made and is empty."""
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in new:
            with suppress(OSError):  # it isn't empty
                path.rmdir()
        raise


def _fetch(wanted: Download, part: Path, progress: Progress) -> bool:
    """Add to `part` what is missing; whether all is there now."""
    have = part.stat().st_size if part.exists() else 0
    if wanted.size is not None and have >= wanted.size:
        return True
    request = urllib.request.Request(wanted.address, headers={"User-Agent": "ComfyUI-FaceGen"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return True  # there is no more; the checksum decides
        raise
    with answer:
        if answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server begins anew
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length else wanted.size
        _require_space(part.parent, (total or 0) - have)
        with open(part, "ab" if have else "wb") as file:
            try:
                while chunk := answer.read(CHUNK):
                    file.write(chunk)
                    have += len(chunk)
                    progress(have, total)
            except (TimeoutError, ConnectionError, http.client.HTTPException):
                return False
    return total is None or have >= total


def _require_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE:
        raise FaceGenError(f"{folder} has {megabytes(free)} free; {megabytes(needed + SPARE)} are needed. Make room.")


def is_right(path: Path, wanted: Download) -> bool:
    """Whether the file has the published size and SHA-256, as far as they are known."""
    if wanted.size is not None and path.stat().st_size != wanted.size:
        return False
    return wanted.sha256 is None or sha256(path) == wanted.sha256


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


class Bar:
    """A progress bar in the terminal, one line; outside a terminal, a line for every tenth."""

    def __init__(self, name: str, stream: TextIO | None = None):
        self.name, self.stream = name, stream or sys.stderr
        self.live = self.stream.isatty()
        self._shown, self._at = -1, 0.0

    def __call__(self, have: int, total: int | None) -> None:
        share = int(100 * have / total) if total else -1
        step = share if self.live else share // 10
        if step == self._shown if total else time.monotonic() - self._at < 1:
            return
        self._shown, self._at = step, time.monotonic()
        of = f" of {megabytes(total)}" if total else ""
        bar = f"[{'#' * (share // 4):25}] {share:3d} %  " if total else ""
        end = "\n" if not self.live or have == total else ""
        self.stream.write(f"{chr(13) if self.live else ''}{self.name} {bar}{megabytes(have)}{of}{end}")
        self.stream.flush()
