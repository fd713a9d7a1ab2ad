"""The local API's routes on a real aiohttp server: with any backend, or with ComfyUI's queue on a stand-in for ComfyUI."""

import asyncio
import base64
import io
import json
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace

from aiohttp import web
from PIL import Image

from comfyui_double import FakeComfy
from facegen.api.local.config import LOOK
from facegen.api.local.flavours import FLAVOURS
from facegen.api.local.place import Place
from facegen.api.local.routes.add_routes import add_routes
from facegen.api.local.routes.local_api import LocalApi
from facegen.api.local.routes.paths import CANCEL, FETCH, SUBMIT, UPLOADS
from facegen.contract import STYLES
from facegen.nodes.host.local_api.comfy_queue import ComfyQueue
from facegen.nodes.host.local_api.place import comfyui_place
from host_server import free_port
from waiting import until

KEY = "sk-live-of-a-hosted-account"
TOKEN = "a-token-of-some-length"
SUBMIT_URL = "/api/v6/image_editing/face_gen"
ROUTES = [path.replace("{id}", "4711") for path in (*SUBMIT, *FETCH, *CANCEL, *UPLOADS)]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def data_uri(shade=200, size=(40, 50), kind="JPEG"):
    file = io.BytesIO()
    Image.new("RGB", size, (shade,) * 3).save(file, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(file.getvalue()).decode()}"


BODY = {"key": KEY, "prompt": "a sailor", "face_image": data_uri(), "width": 64, "height": 72}


class ApiServer:
    """Serves the API in a thread, on a free loopback port, with a backend of the caller's. Its files are in `base`."""

    flavours = FLAVOURS  # that are built in

    def __init__(self, base, backend, listen=("127.0.0.1",), profiles=tuple, **settings):
        """`listen`: what the program would have been told; `profiles` names those of the hosted service."""
        self.base, self.backend, self.listen, self.profiles = base, backend, listen, profiles
        self.config, self.photos = base / "user" / "facegen" / "local_api.json", base / "photos"
        self.config.parent.mkdir(parents=True, exist_ok=True)
        if settings:
            self.configure(**settings)

    def configure(self, **settings):
        self.config.write_text(json.dumps(settings))
        self.config.chmod(0o600)
        time.sleep(2 * LOOK)  # until it is seen

    def __enter__(self):
        self.port = free_port()
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(ready)), daemon=True)
        self._thread.start()
        assert ready.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)
        assert not self._thread.is_alive()

    def make_place(self):
        words = {"turn_on": "turn it on with the switch.", "set_token": "Set a token."}
        return Place("The program", self.listen, self.port, False, self.config.parent, self.photos, **words)

    @property
    def place(self):
        """As the program tells of itself."""
        return replace(self.make_place(), flavours=self.flavours)

    def make_api(self):
        return LocalApi(self.place, self.backend, self.profiles)

    def make_app(self):
        app, routes = web.Application(client_max_size=100 << 20), web.RouteTableDef()
        add_routes(app, routes, self.config, self.make_api)
        app.add_routes([web.route(r.method, "/api" + r.path, r.handler) for r in routes])  # as ComfyUI does
        app.add_routes(routes)
        app.add_routes(self.own_routes())
        return app

    def own_routes(self):
        """Routes beside the API's."""
        return []

    @property
    def made(self):
        """What the backend was given to do, in order."""
        return list(self.backend.works.values())

    @property
    def told(self):
        """All that the backend was told and tells others, as a text."""
        return repr(self.made)

    @property
    def left(self):
        """Pictures that the backend still has."""
        return list(self.backend.files.values())

    @property
    def gate(self):
        """While it is clear, what is made is not done."""
        return self.backend.gate

    def fail_with(self, message):
        """What is made from now on fails with this; with None it doesn't."""
        self.backend.fail = message

    def wait_for(self, count):
        """Until so many works have reached the backend."""
        until(lambda: len(self.made) >= count)

    async def work(self):
        """What goes on beside answering."""

    async def _serve(self, ready):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self.make_app(), shutdown_timeout=0.1, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        work = asyncio.create_task(self.work())
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

    def picture(self, url):
        """The one at a link of an answer."""
        status, content = self.get(url)
        assert status == 200, content
        return Image.open(io.BytesIO(content))

    def _open(self, path, data, headers, timeout):
        url = path if "://" in path else f"http://127.0.0.1:{self.port}{path}"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=timeout) as answer:
                status, kind, content = answer.status, answer.headers["Content-Type"], answer.read()
        except urllib.error.HTTPError as error:
            status, kind, content = error.code, error.headers["Content-Type"], error.read()
        return status, json.loads(content) if "json" in (kind or "") else content


class LocalServer(ApiServer):
    """The API as ComfyUI serves it, beside the stand-in `comfy`."""

    def __init__(self, base, **settings):
        super().__init__(base, None, **settings)
        self.temp, self.styles = base / "temp", [*STYLES]
        self.photos = self.temp / "facegen"
        self.temp.mkdir(parents=True, exist_ok=True)

    def __enter__(self):
        self.comfy = FakeComfy(self.temp)
        return super().__enter__()

    @property
    def made(self):
        return self.comfy.prompts

    @property
    def told(self):
        return json.dumps([self.made, self.comfy.history])

    @property
    def left(self):
        return list(self.temp.glob("*.png"))

    @property
    def gate(self):
        return self.comfy.gate

    def fail_with(self, message):
        self.comfy.break_with = message

    def wait_for(self, count):
        self.comfy.wait_for(count)

    def make_place(self):
        return comfyui_place(self.listen, self.port, False, self.temp, self.base / "user")

    def make_api(self):
        queue = ComfyQueue(self.place.url, self.temp, self.place.folder / "workflows")
        return LocalApi(self.place, queue, self.profiles, lambda: self.styles)

    def own_routes(self):
        return self.comfy.routes()

    async def work(self):
        await self.comfy.work()
