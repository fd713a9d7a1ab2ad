"""What the local API asks of whoever makes the pictures, and all that it knows of them.

The API saves the photo, starts a work, looks how it stands, takes its pictures over, and answers. All methods of a backend are
called from the API's event loop, several may be under way at once, and none may block it. Where the work is done (this
process, another one, other machines) is the backend's own business.
"""

import asyncio
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from ...contract import FaceGenRequest
from ...errors import FaceGenError
from .flavours import Flavour

CANCELLED = "The request was cancelled."
TOLD_AGAIN = 5.0  # seconds that a task has for what it does at its end
# The folders of an absolute path; not those of a URL or a relative path.
FOLDERS = re.compile(r"(?<![\w:/.\\-])(?:[A-Za-z]:[/\\]|[/\\]{1,2})(?:[^\s/\\'\"]+[/\\])*(?=[^\s/\\'\"])")


def without_folders(text: str) -> str:
    """A message for clients, in which a file of this machine is named without its folder."""
    home = Path.home()
    if len(home.parts) > 1:  # whose name may have a space in it
        text = re.sub(re.escape(str(home)) + r"[/\\]", "", text)
    return FOLDERS.sub("", text)


class BackendError(FaceGenError):
    """A backend can't do something, or can't be asked. Clients read the message: no paths of this machine, no secrets."""


class Busy(BackendError):
    """A backend takes no more now. `seconds` is after how many it may, None where that isn't known."""

    def __init__(self, message: str, seconds: float | None = None):
        self.seconds = seconds
        super().__init__(message)


@dataclass(frozen=True)
class Work:
    """One request to a backend.

    `id` is made by the API before anything is started, so that even a work whose start got lost can be cancelled: a UUID,
    in lower case with hyphens. `request` is complete: its seed is set, and its face_image is a file, see `face`. `flavour`
    says which files the user has chosen; what it leaves out is the backend's choice. `again`: another front, which is gone, may
    have started it.
    """

    id: str
    request: FaceGenRequest
    flavour: Flavour
    again: bool = False

    @property
    def face(self) -> Path:
        """The photo: an upright RGB PNG without metadata on this machine's disk, there until the work has ended."""
        return Path(self.request.face_image)


@dataclass(frozen=True)
class Files:
    """The files of a flavour: `used` are those that a work of it would be made with, by what they are; `missing` says what it
    would lack, each in words, and nothing if it can be made."""

    used: Mapping[str, str]
    missing: Sequence[str]


class Phase(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True)
class State:
    """How a work stands.

    `message` says what went wrong, in words that a client can do something with (FAILED). `seconds` is how long the pictures
    took to make, without waiting, and of works that were made at once the share of each (DONE): whoever waits is told by it
    how long. Without it the API takes the time since the start. `progress` is from 0 to 1, None where it isn't known; it makes
    the answers' eta better. `notes` are JSON values that the answer's meta tells of the pictures (DONE).
    """

    phase: Phase
    message: str = ""
    seconds: float | None = None
    progress: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_ended(self) -> bool:
        return self.phase in (Phase.DONE, Phase.FAILED)


class Backend(Protocol):
    """Makes the pictures of works. A work that was cancelled is FAILED."""

    async def files_of(self, flavour: Flavour) -> Files:
        """What a work of this flavour would be made with now. Raises BackendError if that can't be said."""
        ...

    async def check_room(self) -> None:
        """Asked before a request is taken on. Raises Busy where its work could not wait."""
        ...

    async def start(self, work: Work) -> Mapping[str, str]:
        """Take a work on. Returns when it waits or runs, and not when it is done: the files that it is made with, by what
        they are. Each work is started once, unless the front that started it is gone: then another front's backend gets it,
        with the same id and seed.

        Raises BackendError if it can't be done; nothing of it waits or runs then.
        """
        ...

    async def state(self, ids: Collection[str]) -> Mapping[str, State]:
        """How these works stand, all in one call, which comes several times a second.

        Asked only for works whose start has returned, until they have ended. Every id is in the answer; a work that the
        backend knows nothing of (any more) is FAILED. Raises BackendError if that can't be said just now: it is asked again
        some seconds later.
        """
        ...

    async def cancel(self, id: str) -> None:
        """Stop the work if it waits or runs, and delete what is left of it, its pictures included.

        Idempotent, and nothing happens for an id that was never seen. It may come while `start` is under way; it then comes
        once more after it. A work need not have stopped when this returns: its state is asked for until it has ended, and
        then this is called again. It is also called for works whose results have become too old.
        Raises BackendError if the backend can't be told.
        """
        ...

    async def pictures(self, id: str) -> list[bytes]:
        """The pictures of a work that is DONE, in order, each the bytes of a picture file (PNG); `request.samples` of them.

        Bytes and not paths, so that nothing has to be on a disk that both can read. They are few: the contract allows two.
        Raises BackendError if they can't be had; the request has failed then.
        """
        ...

    async def details(self) -> Mapping[str, Any]:
        """What whoever runs it wants to know of the machine, as JSON values: devices and their memory in bytes, versions. No
        paths, and nothing of a request. Raises BackendError if that can't be said.
        """
        ...

    async def close(self) -> None:
        """The API ends, and with it every work: it is reported as failed when the API is there again. Nothing follows."""
        ...


async def end_tasks(tasks: "Iterable[asyncio.Future[Any]]") -> None:
    """Cancel them, and wait until all have ended; what they raise is dropped.

    Before Python 3.12 asyncio.wait_for, on which libraries rely, may lose that its task is cancelled: then it is told again.
    """
    left = every = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=TOLD_AGAIN)
    await asyncio.gather(*every, return_exceptions=True)
