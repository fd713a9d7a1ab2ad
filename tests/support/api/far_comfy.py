"""A stand-in for a ComfyUI on another machine, over real HTTP on a port of its own: tests stop it, start it and break it."""

import asyncio
import json
import threading

from aiohttp import web

from comfyui_double import CHOICES, FakeComfy
from facegen.comfyui.graph import WORKFLOWS
from host_server import free_port

KNOWN = {node["class_type"] for file in WORKFLOWS.glob("*.json") for node in json.loads(file.read_text("utf-8")).values()}


class FarComfy(FakeComfy):
    """Runs while its `with` block does, and between start() and stop(); `temp` is its temporary folder. While it `is_cut` off,
    it goes on and nobody gets through to it. `faults` says by method and path how calls end: with a status, or with what a
    function of the request answers. `unknown` are node classes that it doesn't have, `token` is what it wants to be shown,
    `foreign` are other people's prompts in its queue. `is_old`: without the routes that came with ComfyUI 0.33."""

    def __init__(self, temp, token="", is_old=False):
        super().__init__(temp)
        temp.mkdir(parents=True, exist_ok=True)
        self.port, self.token, self.is_old = free_port(), token, is_old
        self.faults, self.unknown, self.foreign = {}, set(), 0
        self.is_cut = False
        self.forgotten, self.asked, self.tokens, self.sockets = [], [], set(), []
        self._thread = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(20)

    def stop(self):
        """Not answering any more; what it was at stays as it is."""
        if self._thread:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
            self._thread = None

    def restart(self):
        """As after a crash: its queue, its history and its pictures are gone."""
        self.stop()
        self.pending, self.running, self.history = [], [], {}
        self.start()

    def routes(self):
        routes = [
            *super().routes(),
            web.get("/prompt", self.get_prompt),
            web.post("/history", self.post_history),
            web.post("/upload/image", self.upload),
            web.get("/view", self.view),
            web.get("/ws", self.listen),
        ]
        return routes if self.is_old else [*routes, web.post("/api/jobs/{id}/cancel", self.cancel_job)]

    async def _serve(self, ready):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=100 << 20, middlewares=[self._met])
        app.add_routes(self.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        work = asyncio.create_task(self.work())
        ready.set()
        await self._stop.wait()
        work.cancel()
        await asyncio.gather(*(socket.close() for socket in self.sockets), return_exceptions=True)
        await runner.cleanup()

    @web.middleware
    async def _met(self, request, handler):
        if self.is_cut:
            request.transport.abort()
            return web.Response()
        self.asked.append((request.method, request.path))
        self.tokens.add(request.headers.get("Authorization", ""))
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401)
        called = f"{request.method} {request.path}"
        fault = next((fault for path, fault in self.faults.items() if called.startswith(path)), None)
        if isinstance(fault, int):
            return web.Response(status=fault, text="out of order")
        return await (fault or handler)(request)

    async def get_prompt(self, request):
        count = len(self.pending) + len(self.running) + self.foreign
        return web.json_response({"exec_info": {"queue_remaining": count}})

    async def get_queue(self, request):
        answer = json.loads((await super().get_queue(request)).body)
        answer["queue_pending"] += [[0, f"somebody's {n}", {}] for n in range(self.foreign)]
        return web.json_response(answer)

    async def post_prompt(self, request):
        body = await request.json()
        unknown = {node["class_type"] for node in body["prompt"].values()} & self.unknown
        if unknown:
            return web.json_response({"error": {"message": f"Node {unknown.pop()} not found"}, "node_errors": {}}, status=400)
        answer = await super().post_prompt(request)
        await self.say("status", {"status": {"exec_info": {"queue_remaining": len(self.pending)}}})
        return answer

    async def post_history(self, request):
        for identifier in (await request.json())["delete"]:
            self.forgotten.append(identifier)
            self.history.pop(identifier, None)
        return web.Response()

    async def cancel_job(self, request):
        identifier = request.match_info["id"]
        self.pending = [(i, p) for i, p in self.pending if i != identifier]
        self.interrupted |= {identifier} & {i for i, _ in self.running}
        return web.json_response({"cancelled": True})

    async def upload(self, request):
        form = await request.post()
        assert form["type"] == "temp" and form["overwrite"] == "true"
        folder = self.temp / form["subfolder"]
        folder.mkdir(exist_ok=True)
        (folder / form["image"].filename).write_bytes(form["image"].file.read())
        return web.json_response({"name": form["image"].filename, "subfolder": form["subfolder"], "type": "temp"})

    async def view(self, request):
        path = self.temp / request.query["subfolder"] / request.query["filename"]
        return web.Response(body=path.read_bytes()) if path.is_file() else web.Response(status=404)

    async def object_info(self, request):
        kind = request.match_info["kind"]
        if kind in self.unknown or kind not in KNOWN | set(CHOICES):
            return web.json_response({})
        return await super().object_info(request) if kind in self.choices else web.json_response({kind: {"input": {}}})

    async def listen(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        await socket.send_bytes(b"a preview")
        async for _ in socket:
            pass
        self.sockets.remove(socket)
        return socket

    async def say(self, kind, data):
        for socket in self.sockets:
            await socket.send_json({"type": kind, "data": data})

    def tell_progress(self, identifier, node, value, of):
        told = {"prompt_id": identifier, "node": node, "value": value, "max": of}
        asyncio.run_coroutine_threadsafe(self.say("progress", told), self._loop).result(10)

    def run(self, identifier, graph):
        return super().run(identifier, graph) | {"prompt": [0, identifier, graph, {}, []]}
