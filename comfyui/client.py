"""ComfyUI's own HTTP interface: its queue, its history, its files, and what its loaders offer."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar
from urllib.parse import quote

import aiohttp

from ..api.local.backend import BackendError
from .checked import Graph
from .choices import LOADERS, Choices, offered

USUAL, QUICK, CONNECT = 30.0, 10.0, 5.0  # seconds that a call, a small one, and its connection may take
MOST_ANSWER = 32 << 20  # bytes: other people's graphs are in a queue, with the workflows they came from
MOST_PICTURE = 64 << 20
T = TypeVar("T")
EVENTS = {"status", "progress"}


class ComfyUIError(BackendError):
    """ComfyUI can't be asked: it isn't there, takes too long, refuses the token, or answers with what makes no sense."""


class NotThere(ComfyUIError):
    """Nothing of a call has arrived: there is no connection."""


class GraphRefused(BackendError):
    """ComfyUI doesn't take a graph; the message has its words."""


class ComfyUI:
    """Each call raises ComfyUIError if ComfyUI can't be asked at `url`; what it answers is taken as it comes.

    `token` goes along in a Bearer header, for what stands before it. Without `verify`, its certificate may be anybody's.
    """

    def __init__(self, url: str, token: str = "", verify: bool = True):
        self._url, self._verify = url.rstrip("/"), verify
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None

    # --- its queue

    async def queue(self, graph: Graph, prompt_id: str, client_id: str = "") -> None:
        """Put a graph into the queue; `client_id` hears how it goes on, see events(). Raises GraphRefused with its words."""
        body = {"prompt": graph, "prompt_id": prompt_id} | ({"client_id": client_id} if client_id else {})
        status, answer = await self._call("POST", "/prompt", body, may_be={400})
        if status != 200:
            raise GraphRefused(_reason(answer))
        if _as_told(lambda: answer["prompt_id"], "/prompt") != prompt_id:
            raise ComfyUIError(f"ComfyUI at {self._url} doesn't keep the id that a prompt is given.")

    async def queued(self) -> dict[str, bool]:
        """The ids of the prompts in the queue, and whether each is running (else it waits)."""
        _, answer = await self._call("GET", "/queue", seconds=QUICK)
        parts = {"queue_running": True, "queue_pending": False}
        return _as_told(lambda: {entry[1]: running for part, running in parts.items() for entry in answer[part]}, "/queue")

    async def remaining(self) -> int:
        """How many prompts are in the queue."""
        _, answer = await self._call("GET", "/prompt", seconds=QUICK)
        return _as_told(lambda: int(answer["exec_info"]["queue_remaining"]), "/prompt")

    async def history(self, prompt_id: str) -> Any:
        """What ComfyUI remembers of a prompt that has left the queue; None if it doesn't."""
        _, answer = await self._call("GET", f"/history/{prompt_id}", seconds=QUICK)
        return _as_told(lambda: answer.get(prompt_id), "/history")

    async def forget(self, prompt_id: str) -> None:
        """Delete what it remembers of a prompt."""
        await self._call("POST", "/history", {"delete": [prompt_id]}, seconds=QUICK)

    async def cancel(self, prompt_id: str) -> None:
        """Take a prompt out of the queue, or stop it. Others, and one that isn't there, are left alone."""
        unknown = {400, 404, 405}  # a ComfyUI before 0.33; there, one that has just ended may leave the stop to the next
        status, _ = await self._call("POST", f"/api/jobs/{prompt_id}/cancel", {}, unknown, QUICK)
        if status in unknown:
            await self._call("POST", "/queue", {"delete": [prompt_id]}, seconds=QUICK)
            await self._call("POST", "/interrupt", {"prompt_id": prompt_id}, seconds=QUICK)

    async def events(self, client_id: str) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
        """What happens, as it happens: (kind, what is told) of the kinds in EVENTS, until the connection ends. Of progress a
        client hears only with its own graphs."""
        try:
            async with self._open().ws_connect(
                f"{self._url}/ws", params={"clientId": client_id}, headers=self._headers, heartbeat=30.0
            ) as socket:
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:  # a preview
                        continue
                    told = json.loads(message.data)
                    if isinstance(told, dict) and told.get("type") in EVENTS and isinstance(told.get("data"), dict):
                        yield told["type"], told["data"]
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise ComfyUIError(f"ComfyUI can't be heard at {self._url}/ws ({type(error).__name__}).") from error

    # --- its files

    async def choices(self) -> Choices:
        """Loader's class -> the files it offers now."""
        return self.choices_of(await self.infos(LOADERS))

    def choices_of(self, infos: Mapping[str, Mapping[str, Any]]) -> Choices:
        """The same, of what infos() has told."""
        return _as_told(lambda: {kind: offered(infos[kind], kind) for kind in LOADERS}, "/object_info")

    async def infos(self, kinds: Iterable[str]) -> dict[str, Mapping[str, Any]]:
        """Node class -> what ComfyUI tells of it; nothing of one that it doesn't know."""
        asked = [*kinds]
        paths = [f"/object_info/{quote(kind, safe='')}" for kind in asked]
        answers = await asyncio.gather(*(self._call("GET", path, seconds=QUICK) for path in paths))
        told = {kind: answer for kind, (_, answer) in zip(asked, answers, strict=True)}
        return _as_told(lambda: {kind: answer.get(kind, {}) for kind, answer in told.items()}, "/object_info")

    async def upload(self, name: str, content: bytes, subfolder: str = "") -> None:
        """Put a picture into its temporary folder, over one of that name."""
        form = aiohttp.FormData({"type": "temp", "overwrite": "true", "subfolder": subfolder})
        form.add_field("image", content, filename=name, content_type="image/png")
        _, answer = await self._call("POST", "/upload/image", form)
        if _as_told(lambda: (answer["name"], answer["type"]), "/upload/image") != (name, "temp"):
            raise ComfyUIError(f"ComfyUI at {self._url} puts a picture elsewhere than it was asked to.")

    async def picture(self, image: Mapping[str, str]) -> bytes:
        """A picture, as ComfyUI's history tells of one."""
        asked = {name: image[name] for name in ("filename", "subfolder", "type")}
        _, content = await self._raw("GET", "/view", MOST_PICTURE, USUAL, params=asked)
        return content

    async def details(self) -> dict[str, Any]:
        """Its version, its devices and their memory in bytes."""
        _, answer = await self._call("GET", "/system_stats", seconds=QUICK)
        shown = ("name", "type", "vram_total", "vram_free")

        def told() -> dict[str, Any]:
            devices = [{name: device.get(name) for name in shown} for device in answer.get("devices", [])]
            return {"comfyui_version": answer.get("system", {}).get("comfyui_version"), "devices": devices}

        return _as_told(told, "/system_stats")

    # --- how it is asked

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector() if self._verify else aiohttp.TCPConnector(ssl=False)
            stays = aiohttp.TraceConfig()
            stays.on_request_redirect.append(_stay)  # a token is for one address; ws_connect can't be told otherwise
            self._session = aiohttp.ClientSession(connector=connector, trust_env=False, trace_configs=[stays])
        return self._session

    async def _call(
        self, method: str, path: str, body: Any = None, may_be: Collection[int] = (), seconds: float = 0
    ) -> tuple[int, Any]:
        """The status, which is 200 or one that it may be, and the JSON. `seconds`: USUAL unless they are given."""
        content = {"data": body} if isinstance(body, aiohttp.FormData) else {"json": body}
        status, text = await self._raw(method, path, MOST_ANSWER, seconds or USUAL, may_be, **content)
        if status == 200 or text.lstrip()[:1] == b"{":
            try:
                return status, json.loads(text) if text.strip() else {}
            except ValueError as error:
                raise ComfyUIError(f"What answers at {self._url}{path} isn't ComfyUI: it sends no JSON.") from error
        return status, {}

    async def _raw(
        self, method: str, path: str, most: int, seconds: float, may_be: Collection[int] = (), **content: Any
    ) -> tuple[int, bytes]:
        limits = aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT)
        where = self._url + path
        try:
            async with self._open().request(
                method, where, headers=self._headers, timeout=limits, allow_redirects=False, **content
            ) as answer:
                if answer.status != 200 and answer.status not in may_be:
                    raise ComfyUIError(f"ComfyUI at {self._url} {_status(answer.status)}")
                parts, size = [], 0
                async for part in answer.content.iter_chunked(1 << 16):
                    parts.append(part)
                    if (size := size + len(part)) > most:
                        raise ComfyUIError(f"ComfyUI's answer at {where} is longer than {most >> 20} MiB.")
                return answer.status, b"".join(parts)
        except ComfyUIError:
            raise
        except aiohttp.ClientConnectorError as error:
            raise NotThere(f"ComfyUI can't be asked at {where} ({type(error).__name__}).") from error
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            raise ComfyUIError(f"ComfyUI can't be asked at {where} ({type(error).__name__}).") from error


async def _stay(*_: Any) -> None:
    raise ComfyUIError("ComfyUI leads elsewhere.")


def _as_told(read: Callable[[], T], path: str) -> T:
    """What is read from an answer. Raises ComfyUIError where the answer is of another shape."""
    try:
        return read()
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise ComfyUIError(f"ComfyUI's answer from {path} can't be read ({type(error).__name__}).") from error


def _status(status: int) -> str:
    if status in (401, 403):
        return f"answers {status}: the token is wrong, or none is set for it."
    if 300 <= status < 400:
        return f"answers {status}: it leads elsewhere. Give the address where ComfyUI itself answers."
    return f"answers with HTTP status {status}."


def _reason(answer: Any) -> str:
    """ComfyUI's words for a refused graph."""
    parts = [answer.get("error", {})] if isinstance(answer.get("error"), dict) else []
    for node in (answer.get("node_errors") or {}).values():
        parts += [{**error, "message": f"{node.get('class_type')}: {error.get('message')}"} for error in node.get("errors", [])]
    return " ".join(f"{part.get('message', '')} {part.get('details', '')}".strip() for part in parts) or "ComfyUI refused it."
