"""Several ComfyUIs as the backend of the local API: each work is put into the queue of the least busy one that can make it."""

import asyncio
import contextlib
import logging
import time
import uuid
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...api.local.backend import CANCELLED, BackendError, Files, Phase, State, Work, end_tasks
from ...api.local.flavours import Flavour
from ...comfyui.checked import Graph
from ...comfyui.client import ComfyUI, ComfyUIError, GraphRefused, NotThere
from ...comfyui.graph import build_graph, flavour_files, kinds, load_workflow, result_node, sampler_node
from ...comfyui.outcome import TEMPORARY, VANISHED, outcome
from ..server.works import Works
from .entry import Entry
from .server import BLANK, FOLDER, Lost, Server

FIRST_LOOK = 15.0  # seconds that a start waits for all ComfyUIs to have been looked at
CLOSING = 5.0  # seconds that the works of a front that ends may take to be told so
TRIES = 3  # that a work gets, where ComfyUIs end while they make it
VAIN = 5  # times that what a work has become is asked in vain before it is lost
NOT_ONE = "None of the {} ComfyUIs can make pictures just now; the log says why."
LACKS = "The workflow {} needs nodes that {}: {}. Update ComfyUI-FaceGen there, or install the pack that they are of."
DIED = State(Phase.FAILED, f"The ComfyUIs that made this were lost {TRIES} times while they were at it. Send it again.")
STOPPED = State(Phase.FAILED, CANCELLED)
PHOTO_GONE = State(Phase.FAILED, "The photo of this request is lost. Send it again.")


class ComfyUIs(Works[Entry]):
    """A Backend, see api/local/backend.py. `urls` say where the ComfyUIs are, with the token of each that has one; `workflows`
    is the folder of the user's own."""

    def __init__(self, urls: Mapping[str, str], workflows: Path):
        super().__init__()
        self._workflows, self._kinds, client_id = workflows, set[str](), uuid.uuid4().hex
        self._servers = [Server(url, ComfyUI(url, token), self._kinds, self._turned, client_id) for url, token in urls.items()]
        self._waiting: deque[Entry] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._first_look: asyncio.Task[Any] | None = None
        self._is_closed = False

    @property
    def why_away(self) -> str:
        return "" if any(not server.why for server in self._servers) else NOT_ONE.format(len(self._servers))

    async def load(self, flavour: Flavour) -> None:
        """Nothing of it: look at the ComfyUIs, which load what they need."""
        await self._begin()

    async def _begin(self) -> None:
        """Returns when each ComfyUI has been looked at, or has taken too long for that."""
        if self._first_look is None:
            for server in self._servers:
                self._in_background(server.watch())
                self._in_background(server.hear())
            looks = [asyncio.ensure_future(server.was_looked_at.wait()) for server in self._servers]
            self._first_look = asyncio.ensure_future(asyncio.wait(looks, timeout=FIRST_LOOK))
        await asyncio.shield(self._first_look)

    # --- what the API asks

    async def files_of(self, flavour: Flavour) -> Files:
        try:
            template = await self._template(flavour)
        except BackendError as error:
            return Files({}, [str(error)])
        there = [self._files_at(server, template, flavour) for server in self._asked(template)]
        if not there:
            raise BackendError(NOT_ONE.format(len(self._servers)))
        return next((files for files in there if not files.missing), there[0])

    def _files_at(self, server: Server, template: Graph, flavour: Flavour) -> Files:
        if lacks := server.lacks(kinds(template)):
            return Files({}, [self._lacking(lacks, flavour)])
        return flavour_files(template, flavour, server.choices or {})

    async def start(self, work: Work) -> Mapping[str, str]:
        template = await self._template(work.flavour)
        entry = Entry(work, template, result_node(template), sampler_node(template))
        files = self._usual_files(entry)
        if files is None:  # somebody may just have put there what lacks
            await asyncio.gather(*(server.refresh() for server in self._servers))
            files = self._usual_files(entry)
        if files is None:
            raise BackendError(self._why_not(entry))
        entry.files = files
        self._know(entry)
        if work.again and (server := await self._found(entry)):
            self._place(entry, server, None)
        else:
            self._waiting.append(entry)
            self._turn()
        return entry.files

    async def _template(self, flavour: Flavour) -> Graph:
        """A flavour's workflow, about whose nodes the ComfyUIs have been asked. Raises BackendError."""
        await self._begin()
        template = await asyncio.to_thread(load_workflow, flavour.workflow, self._workflows)
        self._kinds |= kinds(template)
        await asyncio.gather(*(server.learn() for server in self._servers))
        return template

    async def _stop(self, entry: Entry) -> None:
        if entry in self._waiting:
            self._waiting.remove(entry)
        if (server := self._where(entry)) and entry.is_posted:  # it is told again as long as the work is in its queue
            self._in_background(_tidily(server, server.comfyui.cancel(entry.work.id)))
            server.hurry()

    async def details(self) -> Mapping[str, Any]:
        """Of each ComfyUI in the order in which they were named, without its address."""

        async def of(server: Server) -> Mapping[str, Any]:
            try:
                told = await server.comfyui.details()
            except ComfyUIError:
                told = {}
            return {"gets_work": not server.why, "queue": server.others + len(server.works), **told}

        return {"comfyuis": await asyncio.gather(*map(of, self._servers))}

    async def close(self) -> None:
        self._is_closed = True
        there = [(server, id) for server in self._servers for id, entry in server.works.items() if entry.is_posted]
        carrying = [entry.task for entry in self._entries.values() if entry.task]
        await end_tasks([*self._tasks, *carrying, *([self._first_look] if self._first_look else [])])
        leaving = asyncio.gather(*(server.comfyui.cancel(id) for server, id in there), return_exceptions=True)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(leaving, CLOSING)
        await asyncio.gather(*(server.comfyui.close() for server in self._servers))

    # --- which ComfyUI gets which work

    def _graph(self, server: Server, entry: Entry, photo: str) -> tuple[Graph, dict[str, str]]:
        """The graph of a work for a ComfyUI, and the files in it. Raises BackendError where that one can't make it."""
        if lacks := server.lacks(kinds(entry.template)):
            raise BackendError(self._lacking(lacks, entry.work.flavour))
        if refusal := entry.refusals.get(server.url):
            raise BackendError(refusal)
        face = f"{FOLDER}/{photo}{TEMPORARY}"
        return build_graph(entry.template, entry.work.flavour, entry.work.request, face, server.choices or {})

    def _asked(self, template: Graph) -> list[Server]:
        """Those of which it is known whether they can make what this workflow does."""
        return [server for server in self._servers if server.was_asked(kinds(template))]

    def _lacking(self, lacks: Sequence[str], flavour: Flavour) -> str:
        whom = "the ComfyUI doesn't have" if len(self._servers) == 1 else "none of the ComfyUIs has"
        return LACKS.format(f"{flavour.workflow}.json", whom, ", ".join(lacks))

    def _usual_files(self, entry: Entry) -> Mapping[str, str] | None:
        """The files of the first ComfyUI that can make a work; None where no one can; none while nothing is known of any."""
        known = self._asked(entry.template)
        for server in known:
            with contextlib.suppress(BackendError):
                return self._graph(server, entry, "")[1]
        return None if known else {}

    def _why_not(self, entry: Entry) -> str:
        """What is in the way of a work that no ComfyUI can make."""
        for server in self._asked(entry.template):
            try:
                self._graph(server, entry, "")
            except BackendError as error:
                return str(error)
        return NOT_ONE.format(len(self._servers))

    def _turned(self, server: Server) -> None:
        """A ComfyUI has been looked at. What it had when it got lost goes on there, unless it was begun elsewhere."""
        if server.why or self._is_closed:
            self._turn()
            return
        leftovers, server.leftovers = server.leftovers, {}
        for id, photo in leftovers.items():
            entry = self._entries.get(id)
            if entry is not None and entry in self._waiting:
                self._waiting.remove(entry)
                entry.photo = photo
                self._place(entry, server, None)
            elif id not in server.works:
                self._leave(server, id, photo)
        self._turn()

    def _turn(self) -> None:
        """Hand out what waits, in its order, as long as there is room for it. What no one can make has failed."""
        for entry in [*self._waiting]:
            free = sorted((server for server in self._servers if server.has_room), key=lambda server: server.busy)
            if self._is_closed or (not free and not self.why_away):
                return
            if self._hand_out(entry, free):
                self._waiting.remove(entry)
            elif self._usual_files(entry) is None:
                self._waiting.remove(entry)
                entry.stands(State(Phase.FAILED, self._why_not(entry)))

    def _hand_out(self, entry: Entry, free: Sequence[Server]) -> bool:
        photo = f"{uuid.uuid4()}.png"  # a new one for each try: ComfyUI keeps what it has made with the same
        for server in free:
            if entry.work.id in server.leaving:
                continue
            with contextlib.suppress(BackendError):
                graph, entry.files = self._graph(server, entry, photo)
                entry.photo = photo
                self._place(entry, server, graph)
                return True
        return False

    def _place(self, entry: Entry, server: Server, graph: Graph | None) -> None:
        """Have a work made there; without a graph it may be there already."""
        server.works[entry.work.id], server.given = entry, time.monotonic()
        if graph is None:
            entry.is_posted = True
            with contextlib.suppress(BackendError):
                entry.files = self._graph(server, entry, "")[1]
        entry.task = asyncio.get_running_loop().create_task(self._carry(entry, server, graph))
        server.hurry()

    def _where(self, entry: Entry) -> Server | None:
        return next((server for server in self._servers if server.works.get(entry.work.id) is entry), None)

    async def _found(self, entry: Entry) -> Server | None:
        """The ComfyUI that has a work of a front that is gone. Those that can't be asked are asked when they are back."""

        async def has_it(server: Server) -> bool:
            try:
                return entry.work.id in await server.comfyui.queued() or bool(await server.comfyui.history(entry.work.id))
            except ComfyUIError:
                server.leftovers[entry.work.id] = ""
                return False

        there = await asyncio.gather(*map(has_it, self._servers))
        found = [server for server, has in zip(self._servers, there, strict=True) if has]
        for server in found[1:]:
            self._leave(server, entry.work.id, "")
        return next(iter(found), None)

    # --- one work at one ComfyUI

    async def _carry(self, entry: Entry, server: Server, graph: Graph | None) -> None:
        id = entry.work.id
        try:
            if graph is not None:
                photo = await asyncio.to_thread(entry.work.face.read_bytes)
                await server.put(entry, graph, photo)
            state, pictures = await self._end(entry, server, graph is None)
        except GraphRefused as refusal:
            entry.refusals[server.url] = str(refusal)
            server.doubt()
            logging.warning("FaceGen: %s refuses work %s: %s", server.url, id, refusal)
            self._wait_again(entry)
        except (Lost, ComfyUIError) as error:
            self._lost(entry, server, error)
        except OSError:
            entry.stands(PHOTO_GONE)
        except Exception as error:
            logging.exception("FaceGen: work %s failed", id)
            entry.stands(State(Phase.FAILED, f"The request failed ({type(error).__name__}); the server's log says more."))
        else:
            entry.pictures = pictures
            entry.stands(state)
            self._in_background(_tidily(server, server.tidy(id, entry.photo)))
        finally:
            del server.works[id]
            self._turn()

    async def _end(self, entry: Entry, server: Server, is_found: bool) -> tuple[State, list[bytes]]:
        """How a work ended there, and its pictures. Raises Lost and ComfyUIError.

        `is_found`: it was begun before, so that who stopped it may be a front that is gone.
        """
        id, absences, vain, moment = entry.work.id, server.absences, 0, time.monotonic()
        while True:
            queue, moment = await server.look_after(moment)
            try:
                if id in queue:
                    if entry.is_cancelled:
                        await server.comfyui.cancel(id)
                    _tell(entry, queue[id])
                    continue
                history = await server.comfyui.history(id)
                if entry.is_cancelled:
                    return STOPPED, []
                if not history:
                    if is_found or absences != server.absences:
                        raise Lost("it has forgotten it")
                    return VANISHED, []
                ended = outcome(history, entry.node)
                if ended.state == STOPPED and is_found:
                    raise Lost("it was stopped there")
                if ended.state.phase is Phase.FAILED:
                    return ended.state, []
                pictures = [await server.comfyui.picture(image) for image in ended.images]
                if BLANK in pictures:
                    raise Lost("its pictures are gone")
                return replace(ended.state, notes={"files": dict(entry.files)}), pictures
            except ComfyUIError:
                if (vain := vain + 1) == VAIN:
                    raise

    def _lost(self, entry: Entry, server: Server, error: Exception) -> None:
        """A ComfyUI is gone, or something is wrong with it. If it has the work, nothing becomes of that."""
        id, was_being_made = entry.work.id, entry.state.phase is Phase.RUNNING
        if isinstance(error, ComfyUIError):
            server.trouble(error)
            was_being_made = was_being_made or (entry.is_posted and not isinstance(error, NotThere))
        if entry.is_posted and (server.is_away or not isinstance(error, Lost)):
            server.leftovers[id] = entry.photo
        if entry.is_cancelled:
            entry.stands(STOPPED)
            return
        logging.warning("FaceGen: work %s is lost at %s: %s", id, server.url, error)
        entry.losses += was_being_made
        if entry.losses >= TRIES:
            entry.stands(DIED)
            return
        self._wait_again(entry)

    def _wait_again(self, entry: Entry) -> None:
        """Before all others."""
        entry.is_posted = False
        if entry.is_cancelled:
            entry.stands(STOPPED)
            return
        entry.stands(State(Phase.WAITING))
        self._waiting.appendleft(entry)

    def _leave(self, server: Server, id: str, photo: str) -> None:
        self._in_background(_tidily(server, server.leave(id, photo)))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _tidily(server: Server, work: Coroutine[Any, Any, None]) -> None:
    """No client waits for this; whoever runs the server hears when it fails, as a photo may be left there."""
    try:
        await work
    except BackendError as error:
        logging.warning("FaceGen: what %s has of a work can't be stopped or removed: %s", server.url, error)


def _tell(entry: Entry, is_running: bool) -> None:
    """How it stands in a queue; how far it is comes otherwise."""
    phase = Phase.RUNNING if is_running else Phase.WAITING
    if entry.state.phase is not phase:
        entry.stands(State(phase))
