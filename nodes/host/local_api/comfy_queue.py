"""ComfyUI's queue as the backend of the local API: a work is a prompt, with the work's id."""

import asyncio
import contextlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ....api.local.backend import BackendError, Files, Phase, State, Work
from ....api.local.flavours import Flavour
from ....comfyui.client import ComfyUI
from ....comfyui.graph import build_graph, flavour_files, load_workflow, result_node
from ....comfyui.outcome import NOT_TEMPORARY, TEMPORARY, VANISHED, Image, outcome


@dataclass
class Prompt:
    """What is known of a work. `node` shows the pictures; it is empty until the graph is on its way to ComfyUI."""

    node: str = ""
    is_cancelled: bool = False
    has_ended: bool = False
    pictures: list[Path] = field(default_factory=list)


class ComfyQueue:
    """A Backend, see api/local/backend.py.

    `temp` is ComfyUI's temporary folder, which LoadImage reads and PreviewImage writes: photos have to be in it, and pictures
    stay there, for ComfyUI's own pages to show, until their work is deleted. `workflows` is the folder of the user's own.
    """

    def __init__(self, url: str, temp: Path, workflows: Path):
        # It calls itself: a certificate made for another name is no reason to stop.
        self._comfyui = ComfyUI(url, verify=False)
        self._temp, self._workflows = temp, workflows
        self._prompts: dict[str, Prompt] = {}

    async def files_of(self, flavour: Flavour) -> Files:
        try:
            template = load_workflow(flavour.workflow, self._workflows)
        except BackendError as error:
            return Files({}, [str(error)])
        return flavour_files(template, flavour, await self._comfyui.choices())

    async def check_room(self) -> None:
        """As many may wait in ComfyUI's queue as the settings allow."""

    async def start(self, work: Work) -> Mapping[str, str]:
        prompt = self._prompts[work.id] = Prompt()
        try:
            template = load_workflow(work.flavour.workflow, self._workflows)
            face = f"{work.face.relative_to(self._temp).as_posix()}{TEMPORARY}"
            choices = await self._comfyui.choices()
            graph, files = build_graph(template, work.flavour, work.request, face, choices)
            if prompt.is_cancelled:
                return files
            prompt.node = result_node(graph)
            await self._comfyui.queue(graph, work.id)
            return files
        except Exception:
            del self._prompts[work.id]
            if prompt.node:  # it may have been queued all the same
                with contextlib.suppress(BackendError):
                    await self._comfyui.cancel(work.id)
            raise

    async def state(self, ids: Collection[str]) -> Mapping[str, State]:
        queued = await self._comfyui.queued()
        return dict(zip(ids, await asyncio.gather(*(self._state(id, queued) for id in ids)), strict=True))

    async def _state(self, id: str, queued: Mapping[str, bool]) -> State:
        if id in queued:
            return State(Phase.RUNNING if queued[id] else Phase.WAITING)
        if (prompt := self._prompts.get(id)) is None:
            return VANISHED
        entry = await self._comfyui.history(id)
        prompt.has_ended = True
        if not entry:
            return VANISHED
        ended = outcome(entry, prompt.node)
        try:
            prompt.pictures = [self._picture(image) for image in ended.images]
        except BackendError as error:
            return State(Phase.FAILED, str(error))
        return ended.state

    def _picture(self, image: Image) -> Path:
        path = (self._temp / image["subfolder"] / image["filename"]).resolve()
        if self._temp.resolve() not in path.parents:
            raise BackendError(NOT_TEMPORARY)
        return path

    async def cancel(self, id: str) -> None:
        prompt = self._prompts.get(id)
        if prompt is None:
            return
        if prompt.has_ended:
            del self._prompts[id]
            for path in prompt.pictures:
                with contextlib.suppress(OSError):
                    path.unlink()
            return
        prompt.is_cancelled = True
        if prompt.node:
            await self._comfyui.cancel(id)

    async def pictures(self, id: str) -> list[bytes]:
        paths = self._prompts[id].pictures if id in self._prompts else []
        try:
            return await asyncio.to_thread(lambda: [path.read_bytes() for path in paths])
        except OSError as error:
            raise BackendError(f"ComfyUI's picture can't be read: {error.strerror or type(error).__name__}.") from error

    async def details(self) -> Mapping[str, Any]:
        return await self._comfyui.details()

    async def close(self) -> None:
        await self._comfyui.close()
