"""A backend of the local API in a few lines, on nothing but memory: tests hold it, break it and read what it was asked."""

import asyncio
import io
import threading

from PIL import Image

from facegen.api.local.backend import CANCELLED, BackendError, Files, Phase, State

FILES = {"checkpoint": "memory.safetensors"}


class MemoryBackend:
    """Makes pictures in the grey of the request's photo, at once.

    While `gate` is clear works keep running, with `progress` (those that come while it is `waiting` wait), and while `door` is,
    none is taken on. `busy` is raised where there is no room, `refuse` is what start says, `fail` what works end with, `away`
    what everything says while the backend can't be asked, and `lose` makes it forget works. `lacks` is what any flavour but the
    tiny one lacks. `seconds` is how long a picture is said to take, and `notes` what is said of it. An exception in `crash` is
    raised by pictures(), whose files are cut short if they are `broken`.
    """

    def __init__(self):
        self.gate, self.door = threading.Event(), threading.Event()
        self.gate.set()
        self.door.set()
        self.busy = self.refuse = self.fail = self.away = self.crash = self.progress = None
        self.waiting, self.queued, self.notes = False, set(), {}
        self.lose, self.broken, self.seconds, self.extra = False, False, 1.5, 0
        self.works, self.files, self.stopped, self.lacks = {}, {}, set(), []
        self.knocked, self.cancelled, self.asked, self.is_closed, self.why_away = [], [], [], False, ""

    async def files_of(self, flavour):
        if self.away:
            raise BackendError(self.away)
        return Files(FILES, [] if flavour.workflow == "local_tiny" else self.lacks)

    async def check_room(self):
        if self.busy:
            raise self.busy

    async def start(self, work):
        self.knocked.append(work.id)
        while not self.door.is_set():
            await asyncio.sleep(0.01)
        if self.refuse:
            raise BackendError(self.refuse)
        if self.waiting:
            self.queued.add(work.id)
        with Image.open(work.face) as photo:
            shade = photo.getpixel((0, 0))[0]
        self.works[work.id] = work
        self.files[work.id] = [self._picture(work, shade, n) for n in range(work.request.samples + self.extra)]
        return FILES

    def _picture(self, work, shade, number):
        file = io.BytesIO()
        Image.new("RGB", (work.request.width, work.request.height), (shade, number, 0)).save(file, "PNG")
        return file.getvalue()

    async def state(self, ids):
        if self.away:
            raise BackendError(self.away)
        self.asked.append(list(ids))
        return {} if self.lose else {id: self._state(id) for id in ids}

    def _state(self, id):
        if id in self.stopped and (self.gate.is_set() or id in self.queued):
            return State(Phase.FAILED, CANCELLED)
        if not self.gate.is_set():
            return State(Phase.WAITING) if id in self.queued else State(Phase.RUNNING, progress=self.progress)
        return State(Phase.FAILED, self.fail) if self.fail else State(Phase.DONE, seconds=self.seconds, notes=self.notes)

    async def cancel(self, id):
        if self.away:
            raise BackendError(self.away)
        self.cancelled.append(id)
        self.stopped.add(id)
        self.files.pop(id, None)

    async def pictures(self, id):
        if self.crash:
            raise self.crash
        return [file[:60] for file in self.files[id]] if self.broken else self.files[id]

    async def details(self):
        if self.away:
            raise BackendError(self.away)
        return {"devices": [{"name": "memory"}]}

    async def close(self):
        self.is_closed = True
