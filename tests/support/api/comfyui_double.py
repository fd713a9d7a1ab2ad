"""A stand-in for ComfyUI's own routes that tests can hold and break.

It keeps ComfyUI's interface (POST /prompt, /queue, /interrupt, GET /queue, /history, /object_info) and makes plain pictures.
The same tests' counterparts in tests/host run in a real ComfyUI.
"""

import asyncio
import json
import threading
import time

import numpy as np
from aiohttp import web
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from facegen.comfyui.choices import LOADERS
from waiting import until

CHOICES = {
    "CheckpointLoaderSimple": ["sd15.safetensors"],
    "CLIPVisionLoader": ["vit_h.safetensors"],
    "FaceGenLoadFaceAnalyzer": ["buffalo_l"],
    "FaceGenLoadFaceID": ["plusv2.bin"],
    "FaceGenLoadSafetyChecker": ["nudenet"],
    "LoraLoader": ["ink.safetensors"],
}


class FakeComfy:
    """ComfyUI's queue. While `gate` is clear the prompt at its head keeps running, and while `door` is, none gets in.

    `break_with` makes prompts fail, at `break_at` and as `break_kind`; while `is_deaf` nothing is taken out or stopped; so many
    next looks at the queue get an answer that makes no sense as `strange` says.
    """

    def __init__(self, temp):
        self.temp, self.prompts, self.running, self.pending, self.history = temp, [], [], [], {}
        self.knocked, self.strange, self.is_deaf = 0, 0, False
        self.gate, self.break_with, self.interrupted = threading.Event(), None, set()
        self.break_at, self.break_kind = "FaceGenEmbedFace", "FaceGenError"
        self.door, self.choices = threading.Event(), dict(CHOICES)
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
            web.get("/system_stats", self.system_stats),
        ]

    def wait_for(self, count):
        """Until so many prompts are in the queue."""
        until(lambda: len(self.pending) + len(self.running) >= count)

    async def post_prompt(self, request):
        body = await request.json()
        self.knocked += 1
        while not self.door.is_set():
            await asyncio.sleep(0.01)
        self.prompts.append(body["prompt"])
        self.pending.append((body["prompt_id"], body["prompt"]))
        return web.json_response({"prompt_id": body["prompt_id"]})

    async def get_queue(self, request):
        if self.strange:
            self.strange -= 1
            return web.json_response({})
        return web.json_response(
            {
                "queue_running": [[0, i, p] for i, p in self.running],
                "queue_pending": [[0, i, p] for i, p in self.pending],
            }
        )

    async def post_queue(self, request):
        gone = [] if self.is_deaf else (await request.json())["delete"]
        self.pending = [(i, p) for i, p in self.pending if i not in gone]
        return web.Response()

    async def post_interrupt(self, request):
        if not self.is_deaf:
            self.interrupted |= {(await request.json())["prompt_id"]} & {i for i, _ in self.running}
        return web.Response()

    async def get_history(self, request):
        found = self.history.get(request.match_info["id"])
        return web.json_response({request.match_info["id"]: found} if found else {})

    async def object_info(self, request):
        kind = request.match_info["kind"]
        spec = [self.choices[kind], {}] if kind.startswith("C") else ["COMBO", {"options": self.choices[kind]}]
        return web.json_response({kind: {"input": {"required": {LOADERS[kind]: spec}}}})

    async def system_stats(self, request):
        device = {"name": "cpu", "type": "cpu", "index": None, "vram_total": 8, "vram_free": 4, "torch_vram_total": 8}
        return web.json_response({"system": {"comfyui_version": "0.0.0", "argv": ["/a/path"]}, "devices": [device]})

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
            error = {"node_type": self.break_at, "exception_message": self.break_with, "exception_type": self.break_kind}
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
