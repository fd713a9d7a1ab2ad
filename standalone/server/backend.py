"""The embedded engine as the backend of the local API: works wait for one thread, which makes them one after the other."""

import asyncio
import io
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from PIL import Image

from ...api.local.backend import CANCELLED, BackendError, Files, Phase, State, Work
from ...api.local.flavours import Flavour
from ...contract import FaceGenRequest
from ...errors import FaceGenError
from ..memory import devices, is_out_of_memory, make_room
from ..model_files import ModelFiles
from ..photos import read_photo
from .engines import Engines, told
from .made import make, not_enough_memory

if TYPE_CHECKING:
    from ..engine import Engine

CLOSING = 10  # seconds that the thread may take to end; a model that is being loaded takes longer
LOST = State(Phase.FAILED, "The request was lost. Send it again.")


class Observer(Protocol):
    """Whoever counts: told of each step and of each work's pictures, with the seconds that they took."""

    def step(self, seconds: float) -> None: ...
    def pictures(self, count: int, seconds: float) -> None: ...


class Unobserved:
    """The Observer of nobody."""

    def step(self, seconds: float) -> None: ...

    def pictures(self, count: int, seconds: float) -> None: ...


class Cancelled(Exception):
    """A work that was cancelled while it was made."""


@dataclass
class Entry:
    """What is known of a work. `context` is that of the call it came with, so that its log lines tell whose they are."""

    work: Work
    files: ModelFiles
    context: Context
    state: State = field(default_factory=lambda: State(Phase.WAITING))
    is_cancelled: bool = False
    pictures: list[bytes] = field(default_factory=list)


class EngineBackend:
    """A Backend, see api/local/backend.py. `styles` is the folder of the user's own styles."""

    def __init__(self, engines: Engines, observer: Observer | None = None):
        self._engines, self._observer = engines, observer or Unobserved()
        self._entries: dict[str, Entry] = {}
        self._waiting: deque[Callable[[], None]] = deque()
        self._wakes = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="facegen-engine", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether its thread goes on."""
        return self._thread.is_alive()

    def knows(self, id: str) -> bool:
        """Whether anything of a work is left; cancel deletes it once it has ended."""
        return id in self._entries

    # --- what the API asks

    async def check_room(self) -> None:
        """As many may wait as the settings allow."""

    async def files_of(self, flavour: Flavour) -> Files:
        return await asyncio.to_thread(self._engines.files_of, flavour)

    async def start(self, work: Work) -> Mapping[str, str]:
        try:
            files = await asyncio.to_thread(self._engines.files, work.flavour, work.request.style)
        except FaceGenError as error:
            raise BackendError(str(error)) from error
        entry = self._entries[work.id] = Entry(work, files, copy_context())
        self._put(lambda: entry.context.run(self._make, entry))
        return told(files)

    async def state(self, ids: Collection[str]) -> Mapping[str, State]:
        return {id: self._entries[id].state if id in self._entries else LOST for id in ids}

    async def cancel(self, id: str) -> None:
        entry = self._entries.get(id)
        if entry is None:
            return
        if entry.state.has_ended:
            del self._entries[id]
            return
        entry.is_cancelled = True
        if entry.state.phase is Phase.WAITING:
            entry.state = State(Phase.FAILED, CANCELLED)

    async def pictures(self, id: str) -> list[bytes]:
        entry = self._entries.get(id)
        if entry is None:
            raise BackendError(LOST.message)
        pictures, entry.pictures = entry.pictures, []  # the API keeps them
        return pictures

    async def details(self) -> Mapping[str, Any]:
        return {"torch_version": torch.__version__, "devices": devices()}

    async def close(self) -> None:
        for entry in self._entries.values():
            entry.is_cancelled = True
        self._is_closed = True
        self._put(lambda: None)
        await asyncio.to_thread(self._thread.join, CLOSING)

    async def load(self, flavour: Flavour) -> None:
        """Load a flavour's engine, when it is its turn. Raises FaceGenError."""
        done: Future[None] = Future()

        def work() -> None:
            if not done.set_running_or_notify_cancel():
                return
            try:
                self._engine(self._engines.files(flavour, ""))
            except Exception as error:
                done.set_exception(error)
            else:
                done.set_result(None)

        self._put(work)
        await asyncio.wrap_future(done)

    # --- the thread

    def _put(self, work: Callable[[], None]) -> None:
        with self._wakes:
            self._waiting.append(work)
            self._wakes.notify()

    def _run(self) -> None:
        while not self._is_closed:
            with self._wakes:
                self._wakes.wait_for(lambda: self._waiting)
                work = self._waiting.popleft()
            work()

    def _make(self, entry: Entry) -> None:
        """Make a work's pictures, or say what went wrong; nothing is raised."""
        if entry.is_cancelled:
            return
        began = time.monotonic()
        entry.state = State(Phase.RUNNING, progress=0.0)
        try:
            entry.state = self._engines.with_room(entry.files, lambda: self._made(entry, began))
        except Cancelled:
            entry.state = State(Phase.FAILED, CANCELLED)
        except FaceGenError as error:
            entry.state = State(Phase.FAILED, str(error))
        except Exception as error:
            entry.state = State(Phase.FAILED, self._what_failed(error, entry.work.request))
        outcome = entry.state.message if entry.state.phase is Phase.FAILED else "done"
        logging.info("FaceGen: work %s ended after %.2f s: %s", entry.work.id, time.monotonic() - began, outcome)

    def _what_failed(self, error: Exception, request: FaceGenRequest) -> str:
        """What a client is told; the rest is in the log. An error's traceback would hold on to the memory that lacked."""
        if is_out_of_memory(error):
            error.__traceback__ = None
            make_room()
            message = not_enough_memory(request)
            logging.error("FaceGen: %s", message)
            return message
        logging.error("FaceGen: the engine failed", exc_info=error)
        return f"The engine failed ({type(error).__name__}); the server's log says more."

    def _engine(self, files: ModelFiles) -> "Engine":
        if not self._engines.is_open(files):
            logging.info("FaceGen: loading %s", ", ".join(told(files).values()))
        return self._engines.get_with_room(files)

    def _made(self, entry: Entry, began: float) -> State:
        request, flavour = entry.work.request, entry.work.flavour
        engine = self._engine(entry.files)
        self._go_on(entry)
        face_embeds, _ = engine.embed(read_photo(entry.work.face))
        self._go_on(entry)
        made = make(engine, flavour, request, face_embeds, self._watch(entry))
        entry.pictures = [_png(image) for image in made.images]
        seconds = time.monotonic() - began
        self._observer.pictures(len(entry.pictures), seconds)
        return State(Phase.DONE, seconds=seconds, notes={"likeness": made.likeness})

    def _watch(self, entry: Entry) -> Callable[[int, int], None]:
        """Called before each step and after the last: tells how far the work is, and ends it when it was cancelled."""
        last: list[float] = []

        def watch(done: int, of: int) -> None:
            self._go_on(entry)
            now = time.monotonic()
            if last:
                self._observer.step(now - last[0])
            last[:] = [now]
            entry.state = State(Phase.RUNNING, progress=done / of)

        return watch

    def _go_on(self, entry: Entry) -> None:
        if entry.is_cancelled:
            raise Cancelled


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return file.getvalue()
