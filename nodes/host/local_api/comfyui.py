"""ComfyUI's own HTTP interface, called on loopback: its queue, its history, and the files that its loaders offer."""

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from ....api.local.backend import BackendError
from .checked import Graph
from .graph import FILES, LORA

CHOICES = (*FILES.values(), LORA)


class ComfyUI:
    """Each call raises BackendError if ComfyUI can't be asked at `url`; what it answers is taken as it comes."""

    def __init__(self, url: str):
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()

    async def queue(self, graph: Graph, prompt_id: str) -> None:
        """Put a graph into the queue. Raises BackendError with ComfyUI's words if it refuses it."""
        status, answer = await self._call("POST", "/prompt", {"prompt": graph, "prompt_id": prompt_id})
        if status != 200:
            raise BackendError(_reason(answer))

    async def queued(self) -> dict[str, bool]:
        """The ids of the prompts in the queue, and whether each is running (else it waits)."""
        _, answer = await self._call("GET", "/queue")
        parts = {"queue_running": True, "queue_pending": False}
        return {entry[1]: running for part, running in parts.items() for entry in answer[part]}

    async def history(self, prompt_id: str) -> Any:
        """What ComfyUI remembers of a prompt that has left the queue; None if it doesn't."""
        _, answer = await self._call("GET", f"/history/{prompt_id}")
        return answer.get(prompt_id)

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or stop it. Others, and one that isn't there, are left alone."""
        await self._call("POST", "/queue", {"delete": [prompt_id]})
        await self._call("POST", "/interrupt", {"prompt_id": prompt_id})

    async def choices(self) -> dict[str, list[str]]:
        """Loader's class -> the files it offers now."""
        infos = await asyncio.gather(*(self._call("GET", f"/object_info/{kind}") for kind, _ in CHOICES))
        return {kind: _options(answer, kind, widget) for (kind, widget), (_, answer) in zip(CHOICES, infos, strict=True)}

    async def details(self) -> dict[str, Any]:
        """Its version, its devices and their memory in bytes."""
        _, answer = await self._call("GET", "/system_stats")
        system, shown = answer.get("system", {}), ("name", "type", "vram_total", "vram_free")
        devices = [{name: device.get(name) for name in shown} for device in answer.get("devices", [])]
        return {"comfyui_version": system.get("comfyui_version"), "devices": devices}

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        if self._session is None:
            # It calls itself: a certificate made for another name is no reason to stop.
            connector = aiohttp.TCPConnector(ssl=False)
            self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=60), trust_env=False)
        try:
            async with self._session.request(method, self._url + path, json=body) as answer:
                text = await answer.read()
                return answer.status, await answer.json(content_type=None) if text.strip() else {}
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise BackendError(f"ComfyUI can't be asked at {self._url}{path} ({type(error).__name__}).") from error


def _options(answer: Mapping[str, Any], kind: str, widget: str) -> list[str]:
    inputs = answer.get(kind, {}).get("input", {})
    spec = (inputs.get("required", {}) | inputs.get("optional", {})).get(widget, [[]])
    return list(spec[0] if isinstance(spec[0], list) else spec[1].get("options", []))


def _reason(answer: Any) -> str:
    """ComfyUI's words for a refused graph."""
    parts = [answer.get("error", {})] if isinstance(answer.get("error"), dict) else []
    for node in answer.get("node_errors", {}).values():
        parts += [{**error, "message": f"{node.get('class_type')}: {error.get('message')}"} for error in node.get("errors", [])]
    return " ".join(f"{part.get('message', '')} {part.get('details', '')}".strip() for part in parts) or "ComfyUI refused it."
