"""The local API's routes on a real aiohttp server, with a stand-in for ComfyUI's own routes that tests can hold and break.

The stand-in keeps ComfyUI's interface (POST /prompt, /queue, /interrupt, GET /queue, /history, /object_info) and draws
noise. The same tests' counterparts in tests/host run in a real ComfyUI.
"""

import asyncio
import base64
import io
import json
import threading
import time
import urllib.error
import urllib.request

import numpy as np
from aiohttp import web
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facegen.api.local.routes import add_routes
from facegen.api.local.server import LocalApi
from facegen.nodes.host.local_api.comfyui import HostInfo
from facegen.nodes.host.local_api.graph import FILES
from host_server import free_port

KEY = "sk-live-of-a-hosted-account"


def data_uri(shade=200, size=(40, 50), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, (shade,) * 3).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


BODY = {"key": KEY, "prompt": "a sailor", "face_image": data_uri(), "width": 64, "height": 72}
CHOICES = {
    "CheckpointLoaderSimple": ["sd15.safetensors"],
    "CLIPVisionLoader": ["vit_h.safetensors"],
    "FaceGenLoadFaceAnalyzer": ["buffalo_l"],
    "FaceGenLoadFaceID": ["plusv2.bin"],
    "FaceGenLoadSafetyChecker": ["nudenet"],
    "LoraLoader": ["ink.safetensors"],
}
WIDGETS = dict(FILES.values()) | {"LoraLoader": "lora_name"}


class FakeComfy:
    """ComfyUI's queue. While `gate` is clear the prompt at its head keeps running, and while `door` is, none gets in;
    `break_with` makes prompts fail."""

    def __init__(self, temp):
        self.temp, self.prompts, self.running, self.pending, self.history = temp, [], [], [], {}
        self.knocked = 0
        self.gate, self.break_with, self.interrupted = threading.Event(), None, set()
        self.door = threading.Event()
        self.gate.set()
        self.door.set()

    def routes(self):
        return [
            web.post("/prompt", self.post_prompt),
            web.get("/queue", self.get_queue),
            web.post("/queue", self.post_queue),
            web.post("/interrupt", self.post_interrupt),
            web.get("/history/{id}", self.get_history),
            web.get("/object_info/{kind}", self.object_info),
        ]

    def wait_for(self, count):
        """Until so many prompts are in the queue."""
        deadline = time.monotonic() + 10
        while len(self.pending) + len(self.running) < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    async def post_prompt(self, request):
        body = await request.json()
        self.knocked += 1
        while not self.door.is_set():
            await asyncio.sleep(0.01)
        self.prompts.append(body["prompt"])
        self.pending.append((body["prompt_id"], body["prompt"]))
        return web.json_response({"prompt_id": body["prompt_id"]})

    async def get_queue(self, request):
        return web.json_response(
            {
                "queue_running": [[0, i, p] for i, p in self.running],
                "queue_pending": [[0, i, p] for i, p in self.pending],
            }
        )

    async def post_queue(self, request):
        gone = (await request.json())["delete"]
        self.pending = [(i, p) for i, p in self.pending if i not in gone]
        return web.Response()

    async def post_interrupt(self, request):
        self.interrupted |= {(await request.json())["prompt_id"]} & {i for i, _ in self.running}
        return web.Response()

    async def get_history(self, request):
        found = self.history.get(request.match_info["id"])
        return web.json_response({request.match_info["id"]: found} if found else {})

    async def object_info(self, request):
        kind = request.match_info["kind"]
        spec = [CHOICES[kind], {}] if kind.startswith("C") else ["COMBO", {"options": CHOICES[kind]}]
        return web.json_response({kind: {"input": {"required": {WIDGETS[kind]: spec}}}})

    async def work(self):
        while True:
            await asyncio.sleep(0.01)
            if not self.pending:
                continue
            identifier, graph = self.pending.pop(0)
            self.running.append((identifier, graph))
            while not self.gate.is_set() and identifier not in self.interrupted:
                await asyncio.sleep(0.01)
            self.history[identifier] = self.run(identifier, graph)
            self.running.clear()

    def run(self, identifier, graph):
        now = round(time.time() * 1000)
        messages = [["execution_start", {"timestamp": now - 1500}]]
        if identifier in self.interrupted:
            return {"outputs": {}, "status": {"messages": [*messages, ["execution_interrupted", {}]]}}
        if self.break_with:
            error = {"node_type": "FaceGenEmbedFace", "exception_message": self.break_with}
            return {"outputs": {}, "status": {"messages": [*messages, ["execution_error", error]]}}
        face = next(node for node in graph.values() if node["class_type"] == "LoadImage")["inputs"]["image"]
        with Image.open(self.temp / face.removesuffix(" [temp]")) as picture:
            shade = int(np.asarray(picture).mean())
        sampler = next(node for node in graph.values() if node["class_type"] == "FaceGenSampler")["inputs"]
        images = []
        for number in range(sampler["samples"]):
            name = f"ComfyUI_temp_{identifier}_{number}.png"
            text = PngInfo()
            text.add_text("prompt", json.dumps(graph))  # as ComfyUI does
            Image.new("RGB", (sampler["width"], sampler["height"]), (shade, number, 0)).save(self.temp / name, pnginfo=text)
            images.append({"filename": name, "subfolder": "", "type": "temp"})
        node = next(i for i, n in graph.items() if n["class_type"] == "PreviewImage")
        messages.append(["execution_success", {"timestamp": now}])
        return {"outputs": {node: {"images": images}}, "status": {"messages": messages}}


class LocalServer:
    """Serves in a thread, on a free loopback port. `listen` is what ComfyUI would have been told."""

    def __init__(self, base, listen=("127.0.0.1",), profiles=tuple, **settings):
        self.base, self.listen, self.profiles = base, listen, profiles
        self.config = base / "user" / "facegen" / "local_api.json"
        self.temp = base / "temp"
        for folder in (self.config.parent, self.temp):
            folder.mkdir(parents=True, exist_ok=True)
        if settings:
            self.configure(**settings)

    def configure(self, **settings):
        self.config.write_text(json.dumps(settings))
        self.config.chmod(0o600)

    def __enter__(self):
        self.port, self.comfy = free_port(), FakeComfy(self.temp)
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _serve(self, ready):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app, routes = web.Application(client_max_size=100 << 20), web.RouteTableDef()
        info = HostInfo(self.listen, self.port, False, self.temp, self.base / "user")
        add_routes(app, routes, self.config, lambda: LocalApi(info, self.profiles))
        app.add_routes([web.route(r.method, "/api" + r.path, r.handler) for r in routes])  # as ComfyUI does
        app.add_routes(routes)
        app.add_routes(self.comfy.routes())
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        work = asyncio.create_task(self.comfy.work())
        ready.set()
        await self._stop.wait()
        work.cancel()
        await runner.cleanup()

    def post(self, path, body=None, headers=(), raw=None, timeout=60):
        """(HTTP status, decoded answer)."""
        data = json.dumps(body or {}).encode() if raw is None else raw
        return self._open(path, data, {"Content-Type": "application/json", **dict(headers)}, timeout)

    def get(self, path, headers=(), timeout=60):
        return self._open(path, None, dict(headers), timeout)

    def submit(self, body, family="v6/image_editing/face_gen", **options):
        return self.post(f"/api/{family}", body, **options)[1]

    def fetch(self, identifier, **options):
        return self.post(f"/api/v6/image_editing/fetch/{identifier}", **options)[1]

    def _open(self, path, data, headers, timeout):
        url = path if "://" in path else f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
                status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, content = error.code, error.headers["Content-Type"], error.read()
        return status, json.loads(content) if "json" in (kind or "") else content
