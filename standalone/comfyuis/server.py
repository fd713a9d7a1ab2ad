"""One of the ComfyUIs: whether it may be given works, how busy it is, and what its queue says."""

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...api.local.backend import BackendError, Phase, State
from ...comfyui.checked import Graph
from ...comfyui.choices import LOADERS, Choices
from ...comfyui.client import ComfyUI, ComfyUIError, NotThere
from ...comfyui.outcome import left_behind
from .entry import Entry

LOOK, IDLE, AGAIN = 0.5, 2.0, 5.0  # seconds between two looks: with works there, without, and while it gets none
LEAST = 0.1  # seconds between two looks, however much happens there
PATIENCE = 30.0  # seconds without an answer after which its works go elsewhere: it may be busy loading a model
REFUSED = 3  # looks in a row that find nobody there, after which they do so at once
EXAMINED = 60.0  # seconds after which it is asked again what it offers
AHEAD = 2  # works at a time, so that one waits there while the other is made
OURS = tuple(kind for kind in LOADERS if kind.startswith("FaceGen"))
FOLDER = "facegen"  # in ComfyUI's temporary folder
# What a photo or picture is replaced with that nobody needs any more: one pixel. ComfyUI deletes none of them.
BLANK = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)


class Lost(Exception):
    """A work isn't at its ComfyUI any more, or can't be had from it."""


class Server:
    """`why` says why it gets no works now; "" while it may. `kinds` are the node classes that it has to be asked for, `turned`
    is called after each look, and `client_id` is whom it tells of this front's works."""

    def __init__(self, url: str, comfyui: ComfyUI, kinds: Collection[str], turned: Callable[["Server"], None], client_id: str):
        self.url, self.comfyui, self._kinds, self._turned, self._client_id = url, comfyui, kinds, turned, client_id
        self.why, self.is_away, self.absences = "it hasn't been asked yet", True, 0
        self.works: dict[str, Entry] = {}
        self.leftovers: dict[str, str] = {}  # ids that may be there and were begun elsewhere meanwhile -> their photos
        self.leaving: set[str] = set()  # ids that are being stopped there
        self.infos: dict[str, Mapping[str, Any]] = {}
        self.choices: Choices | None = None
        self.others, self.given = 0, 0.0  # prompts in its queue that aren't ours; when it was given one last
        self.was_looked_at = asyncio.Event()
        self._queue: Mapping[str, bool] = {}
        self._looked = self._answered = self._examined = self._rests = -math.inf
        self._refusals, self._hurry, self._looks = 0, asyncio.Event(), asyncio.Condition()

    @property
    def has_room(self) -> bool:
        return not self.why and len(self.works) < AHEAD

    @property
    def busy(self) -> tuple[int, float]:
        """To be compared: the prompts in its queue; of those with as many, the one that was given one longest ago."""
        return self.others + len(self.works), self.given

    def was_asked(self, kinds: Collection[str]) -> bool:
        """Whether it is known which files it has, and which of these node classes."""
        return self.choices is not None and {*kinds} <= self.infos.keys()

    def lacks(self, kinds: Collection[str]) -> list[str]:
        """Of these node classes, those that it doesn't have."""
        return sorted(kind for kind in kinds if not self.infos.get(kind))

    # --- in the background

    async def watch(self) -> None:
        """Look at it again and again; it doesn't end."""
        while True:
            try:
                await self._look()
                self._turned(self)
            except Exception:
                logging.exception("FaceGen: what %s answers isn't understood", self.url)
            self.was_looked_at.set()
            async with self._looks:
                self._looks.notify_all()
            await asyncio.sleep(LEAST)
            await self._pause(LOOK if self.works else AGAIN if self.why else IDLE)

    async def _pause(self, seconds: float) -> None:
        """Until it has to be looked at. (asyncio.wait_for may lose that the task is cancelled, before Python 3.12.)"""
        hurry = asyncio.ensure_future(self._hurry.wait())
        try:
            await asyncio.wait({hurry}, timeout=seconds)
        finally:
            hurry.cancel()
        self._hurry.clear()

    async def hear(self) -> None:
        """Hear how far its works are, where that can be heard; it doesn't end."""
        while True:
            with contextlib.suppress(BackendError):  # it is looked at all the same
                async for kind, told in self.comfyui.events(self._client_id):
                    self._heard(kind, told)
            await asyncio.sleep(AGAIN)

    def hurry(self) -> None:
        """Look at once."""
        self._hurry.set()

    def _heard(self, kind: str, told: Mapping[str, Any]) -> None:
        if kind == "status":  # its queue has changed
            self.hurry()
            return
        entry = self.works.get(str(told.get("prompt_id")))
        done, of = told.get("value"), told.get("max")
        if entry is None or told.get("node") != entry.sampler or not isinstance(done, (int, float)):
            return
        if isinstance(of, (int, float)) and 0 <= done <= of and of > 0:
            entry.stands(State(Phase.RUNNING, progress=done / of))

    async def _look(self) -> None:
        began = time.monotonic()
        try:
            if self.why or began - self._examined > EXAMINED:
                await self.examine()
            if self.works or self.leftovers:
                self._queue = await self.comfyui.queued()
                self.others = len(self._queue.keys() - self.works.keys())
            else:
                self.others = await self.comfyui.remaining()
        except ComfyUIError as error:
            self._failed(error)
        else:
            self._looked, self._answered, self._refusals, self.is_away = began, time.monotonic(), 0, False
            if began >= self._rests:
                self._tell(_lacking(self.lacks(OURS)))

    def _failed(self, error: ComfyUIError) -> None:
        self.absences += 1
        self._refusals = self._refusals + 1 if isinstance(error, NotThere) else 0
        self.is_away = self._refusals >= REFUSED or time.monotonic() - self._answered > PATIENCE
        self._tell(str(error))

    def trouble(self, error: BackendError) -> None:
        """Leave it out for a while."""
        self._rests = time.monotonic() + AGAIN
        self._tell(str(error))

    def _tell(self, why: str) -> None:
        if why and why != self.why:
            logging.warning("FaceGen: %s gets no work: %s", self.url, why)
        elif self.why and not why:
            logging.info("FaceGen: %s gets work", self.url)
        self.why = why

    # --- what is asked of it

    async def examine(self) -> None:
        """Ask it what it offers. Raises ComfyUIError."""
        infos = await self.comfyui.infos({*LOADERS, *self._kinds})
        self.choices, self.infos, self._examined = self.comfyui.choices_of(infos), infos, time.monotonic()

    def doubt(self) -> None:
        """Ask it anew with the next look what it offers: it has refused what fitted that."""
        self._examined = -math.inf

    async def learn(self) -> None:
        """Ask it about node classes that it hasn't been asked for yet. What is in the way keeps works from it for a while."""
        unknown = {*self._kinds} - self.infos.keys()
        if unknown and not self.is_away:
            try:
                self.infos |= await self.comfyui.infos(unknown)
            except ComfyUIError as error:
                self.trouble(error)

    async def refresh(self) -> None:
        """Ask it anew what it offers, unless it has just been asked."""
        if not self.is_away and time.monotonic() - self._examined > IDLE:
            try:
                await self.examine()
            except ComfyUIError as error:
                self.trouble(error)

    async def put(self, entry: Entry, graph: Graph, photo: bytes) -> None:
        """Put a work into its queue. Raises GraphRefused, and ComfyUIError: then it may be there all the same if it
        `is_posted`."""
        await self.comfyui.upload(entry.photo, photo, FOLDER)
        entry.is_posted = True
        await self.comfyui.queue(graph, entry.work.id, self._client_id)

    async def look_after(self, moment: float) -> tuple[Mapping[str, bool], float]:
        """Its queue as ComfyUI.queued() tells, by a look that began after that moment, and when that was. Raises Lost where it
        doesn't answer for so long that its works have to go elsewhere."""
        async with self._looks:
            await self._looks.wait_for(lambda: self.is_away or self._looked > moment)
        if self.is_away:
            raise Lost(self.why)
        return self._queue, self._looked

    async def tidy(self, id: str, photo: str) -> None:
        """Leave nothing there that could be seen of a work that has ended. Raises ComfyUIError."""
        entry = await self.comfyui.history(id)
        for subfolder, name in {*left_behind(entry), *([(FOLDER, photo)] if photo else [])}:
            await self.comfyui.upload(name, BLANK, subfolder)
        await self.comfyui.forget(id)

    async def leave(self, id: str, photo: str) -> None:
        """Stop what was begun elsewhere meanwhile, and leave nothing of it. Raises ComfyUIError."""
        self.leaving.add(id)
        try:
            await self.comfyui.cancel(id)
            for _ in range(round(PATIENCE / LOOK)):
                if id not in await self.comfyui.queued():
                    break
                await asyncio.sleep(LOOK)
            await self.tidy(id, photo)
        finally:
            self.leaving.discard(id)


def _lacking(kinds: Collection[str]) -> str:
    """Why a ComfyUI without these node classes of ours gets no works; "" without any."""
    if not kinds:
        return ""
    if len(kinds) == len(OURS):
        return "ComfyUI-FaceGen isn't installed there. Install it there, and restart that ComfyUI."
    return f"its ComfyUI-FaceGen is too old: it has no {', '.join(kinds)}. Update it there, and restart that ComfyUI."
