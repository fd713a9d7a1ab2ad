"""A loopback server that speaks the hosted Face Generator's contract, counts what it would bill, and fails on demand.

Left alone it does what the service does: takes a request, says "processing" with an id, and some fetches later names links
to pictures. `submits`, `fetches` and `files` script it otherwise, answer by answer; the last answer of a script stays.
"""

import asyncio
import base64
import io
import json
import socket
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

KEY = "sk-facegen-0123456789/abc+DEF"  # with characters that URLs write differently
RED, BLUE = (200, 30, 40), (20, 40, 220)


def png(size=(64, 96), colour=RED) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, colour).save(file, "PNG")
    return file.getvalue()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Reply:
    """An HTTP answer. A dict is sent as JSON. `length` is a Content-Length that is wrong; `drip` seconds pass per byte."""

    body: Any = b""
    code: int = 200
    headers: dict = field(default_factory=dict)
    length: int | None = None
    drip: float = 0.0
    delay: float = 0.0
    billed: bool | None = None  # None: if the body says success or processing


@dataclass
class Reset:
    """The connection is reset: on accepting it, after the headers of the request, or after all of it (then it is billed)."""

    when: str = "after"  # connect, headers, after


def processing(number=123, **more) -> dict:
    return {"status": "processing", "tip": "", "eta": 0, "message": "in queue", "id": number, "output": [], **more}


def success(*output, number=123, **more) -> dict:
    return {"status": "success", "generationTime": 2.9, "id": number, "output": list(output), "meta": {}, **more}


def error(message, **more) -> dict:
    return {"status": "error", "message": message, **more}


FAILED = {"status": "failed", "id": "", "message": "Failed, Try Again", "output": ""}
RATE = error("Rate limit exceeded. Maximum 5 queued requests allowed.")


class ModelsLabServer:
    """Runs in a thread while its `with` block does."""

    def __init__(self, polls: int = 1, eta: float = 0):
        self.polls, self.eta = polls, eta  # fetches that say "processing" before a success
        self.submits: list = []
        self.fetches: list = []
        self.files: dict[str, list] = {"/result/a": [Reply(png())], "/result/b": [Reply(png(colour=BLUE))]}
        self.billed = 0
        self.bodies: list[dict] = []  # of submits that arrived whole
        self.fetched: list[tuple[str, dict]] = []  # path and body
        self.downloaded: list[str] = []
        self.heads: list[str] = []  # request lines and headers
        self.connections = 0
        self._counts: dict[str, int] = {}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_):
        self.hang_up()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def listen(self) -> None:
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", self.port))

    def hang_up(self) -> None:
        """Refuse connections until `listen`."""

        async def close():
            self._server.close()
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        self._call(close())

    def listen_later(self, seconds: float) -> None:
        async def later():
            await asyncio.sleep(seconds)
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

        asyncio.run_coroutine_threadsafe(later(), self._loop)

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def link(self, path="/result/a") -> str:
        return self.url + path

    def _next(self, name: str, script: list):
        """The script's next answer; its last one stays."""
        number = self._counts.get(name, 0)
        self._counts[name] = number + 1
        return script[min(number, len(script) - 1)]

    async def _serve(self, reader, writer):
        self.connections += 1
        try:
            step = self.submits[0] if self.submits else None
            if isinstance(step, Reset) and step.when == "connect":
                return _reset(writer)
            first = await reader.readexactly(1)
            if first == b"\x16":  # the begin of a TLS handshake
                return writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            method, path, _ = head.split(" ", 2)
            path = path.partition("?")[0]
            headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head.split("\r\n")[1:])}
            if method == "GET":
                self.downloaded.append(path)
                step = self._next(path, self.files.get(path, [Reply("gone", 404)]))
            elif path.endswith(("/face_gen", "/head_shot", "/flux_headshot", "/make_gen")):
                step = self._next("submit", self.submits) if self.submits else None
                if isinstance(step, Reset) and step.when == "headers":
                    return _reset(writer)
                step = self._submit(step, await self._body(reader, headers))
            else:
                body = await self._body(reader, headers)
                self.fetched.append((path, body))
                step = self._next("fetch", self.fetches) if self.fetches else self._fetch(path, body)
            if isinstance(step, Reset):
                return _reset(writer)
            await _send(writer, step if isinstance(step, Reply) else Reply(step))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _body(self, reader, headers) -> dict:
        return json.loads(await reader.readexactly(int(headers["content-length"])))

    def _submit(self, step, body):
        self.bodies.append(body)
        if step is None:
            step = self._usual(body)
        reply = step if isinstance(step, Reply) else Reply(step)
        status = reply.body.get("status") if isinstance(reply.body, dict) else None
        said = status in ("success", "processing") if reply.billed is None else reply.billed
        self.billed += isinstance(step, Reset) or said
        return step

    def _usual(self, body):
        if body.get("key") != KEY:
            return Reply(error("Invalid API Key"), 401)
        if not str(body.get("face_image")).startswith(("https://", "http://", "data:image/jpeg;base64,")):
            return error({"face_image": ["The face image must be a URL or base64."]})
        links = [self.link("/result/a"), self.link("/result/b")][: body["samples"]]
        return processing(eta=self.eta, fetch_result=f"{self.url}/api/v6/image_editing/fetch/123", future_links=links)

    def _fetch(self, path, body):
        if body.get("key") != KEY:
            return Reply(error("Invalid API Key"), 401)
        if len(self.fetched) <= self.polls:
            return {"status": "processing", "message": "in work", "output": "", "tip": ""}
        samples = self.bodies[-1]["samples"] if self.bodies else 1
        return success(*[self.link(p) for p in ("/result/a", "/result/b")[:samples]])


def _reset(writer) -> None:
    """Close with RST instead of FIN."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _send(writer, reply: Reply) -> None:
    await asyncio.sleep(reply.delay)
    body = reply.body
    kind = "application/json" if isinstance(body, dict) else "text/html" if str(body)[:1] == "<" else "application/octet-stream"
    if isinstance(body, dict):
        body = json.dumps(body)
    body = body.encode() if isinstance(body, str) else body
    length = len(body) if reply.length is None else reply.length
    headers = {"Content-Type": kind, "Content-Length": length, "Connection": "close", **reply.headers}
    lines = [f"HTTP/1.1 {reply.code} Code", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode())
    if reply.drip:
        for number in range(len(body)):
            writer.write(body[number : number + 1])
            await writer.drain()
            await asyncio.sleep(reply.drip)
    else:
        writer.write(body)
    await writer.drain()
