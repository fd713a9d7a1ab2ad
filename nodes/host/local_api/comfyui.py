"""ComfyUI as the local API sees it: its own HTTP interface on loopback, and two folders."""

import asyncio
import contextlib
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import aiohttp

from .graph import FILES, LORA, Graph

CHOICES = (*FILES.values(), LORA)


class HostError(RuntimeError):
    """ComfyUI refused a graph or can't be reached; the message is what it said."""


@dataclass(frozen=True)
class HostInfo:
    """What nodes/ hands over. `listen`: the addresses ComfyUI listens on; `temp`: its temporary folder, which LoadImage reads
    and PreviewImage writes; `user`: its user folder."""

    listen: tuple[str, ...]
    port: int
    tls: bool
    temp: Path
    user: Path

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can call."""
        return all(_is_loopback(address) for address in self.listen)

    @property
    def url(self) -> str:
        """Where ComfyUI can be called from this machine."""
        address = next(filter(_is_loopback, self.listen), self.listen[0])
        if address in ("", "0.0.0.0", "::"):
            address = "127.0.0.1" if address != "::" else "::1"
        host = f"[{address}]" if ":" in address else address
        return f"http{'s' if self.tls else ''}://{host}:{self.port}"


def _is_loopback(address: str) -> bool:
    with contextlib.suppress(ValueError):
        return ip_address(address).is_loopback
    return address == "localhost"


class Host:
    """ComfyUI's queue, history and node choices. Each call raises HostError if ComfyUI can't be asked."""

    def __init__(self, info: HostInfo):
        self.info = info
        # It calls itself: a certificate made for another name is no reason to stop.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False), timeout=aiohttp.ClientTimeout(total=60), trust_env=False
        )

    async def close(self) -> None:
        await self._session.close()

    async def queue(self, graph: Graph, prompt_id: str) -> None:
        status, answer = await self._call("POST", "/prompt", {"prompt": graph, "prompt_id": prompt_id})
        if status != 200:
            raise HostError(_reason(answer))

    async def queued(self) -> set[str]:
        """The ids of the prompts that run or wait."""
        _, answer = await self._call("GET", "/queue")
        return {entry[1] for part in ("queue_running", "queue_pending") for entry in answer[part]}

    async def history(self, prompt_id: str) -> dict[str, Any] | None:
        _, answer = await self._call("GET", f"/history/{prompt_id}")
        return answer.get(prompt_id)

    async def cancel(self, prompt_id: str) -> None:
        await self._call("POST", "/queue", {"delete": [prompt_id]})
        await self._call("POST", "/interrupt", {"prompt_id": prompt_id})

    async def choices(self) -> dict[str, list[str]]:
        """Loader's class -> the files it offers now."""
        infos = await asyncio.gather(*(self._call("GET", f"/object_info/{kind}") for kind, _ in CHOICES))
        return {kind: _options(answer, kind, widget) for (kind, widget), (_, answer) in zip(CHOICES, infos, strict=True)}

    async def _call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        try:
            async with self._session.request(method, self.info.url + path, json=body) as answer:
                text = await answer.read()
                return answer.status, await answer.json(content_type=None) if text.strip() else {}
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise HostError(f"ComfyUI can't be asked at {self.info.url}{path} ({type(error).__name__}).") from error


def _options(answer: dict, kind: str, widget: str) -> list[str]:
    inputs = answer.get(kind, {}).get("input", {})
    spec = (inputs.get("required", {}) | inputs.get("optional", {})).get(widget, [[]])
    return list(spec[0] if isinstance(spec[0], list) else spec[1].get("options", []))


def _reason(answer: Any) -> str:
    """ComfyUI's words for a refused graph."""
    parts = [answer.get("error", {})] if isinstance(answer.get("error"), dict) else []
    for node in answer.get("node_errors", {}).values():
        parts += [{**error, "message": f"{node.get('class_type')}: {error.get('message')}"} for error in node.get("errors", [])]
    return " ".join(f"{part.get('message', '')} {part.get('details', '')}".strip() for part in parts) or "ComfyUI refused it."
