"""A front as `serve` is one, but with an engine that sleeps: run as a program, with its port, data folder and the rest. The
prompt "sleep 3" takes three seconds, any other a fifth of one.

Each drawing begins with a line in drawn.log of the folder that all fronts share: which work, and in which process.
"""

import argparse
import asyncio
import contextlib
import io
import os
import signal
import sys
from pathlib import Path

from PIL import Image

SUPPORT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SUPPORT), str(SUPPORT / "api"), str(SUPPORT / "comfyui")]

from pack import load_pack  # noqa: E402

load_pack()

from aiohttp import web  # noqa: E402

from facegen.api.local.backend import CANCELLED, Files, Phase, State  # noqa: E402
from facegen.api.local.place import Place  # noqa: E402
from facegen.api.local.routes.local_api import LocalApi  # noqa: E402
from facegen.standalone.server.app import Front  # noqa: E402
from facegen.standalone.server.logs import log_as_json  # noqa: E402
from facegen.standalone.server.metrics import Metrics  # noqa: E402

STEPS, USUAL = 10, 0.2


class SleepingBackend:
    """Makes pictures whose colours are those of the seed and the photo, `at_once` of them beside each other."""

    def __init__(self, log, at_once):
        self.log = log
        self.places, self.states, self.files, self.tasks = asyncio.Semaphore(at_once), {}, {}, {}

    async def files_of(self, flavour):
        return Files({"checkpoint": "asleep"}, [])

    async def check_room(self): ...

    async def start(self, work):
        with Image.open(work.face) as photo:
            shade = photo.getpixel((0, 0))[0]
        self.states[work.id] = State(Phase.WAITING)
        self.tasks[work.id] = asyncio.create_task(self._make(work, shade))
        return {"checkpoint": "asleep"}

    async def _make(self, work, shade):
        words = work.request.prompt.split()
        seconds = float(words[1]) if words[0] == "sleep" else USUAL
        async with self.places:
            with self.log.open("a") as log:
                log.write(f"{work.id} {os.getpid()}\n")
            for step in range(STEPS):
                self.states[work.id] = State(Phase.RUNNING, progress=step / STEPS)
                await asyncio.sleep(seconds / STEPS)
            size, seed = (work.request.width, work.request.height), work.request.seed
            self.files[work.id] = []
            for number in range(work.request.samples):
                file = io.BytesIO()
                Image.new("RGB", size, (shade, seed % 256, number)).save(file, "PNG")
                self.files[work.id].append(file.getvalue())
            self.states[work.id] = State(Phase.DONE, seconds=seconds)

    async def state(self, ids):
        return {id: self.states.get(id, State(Phase.FAILED, "lost")) for id in ids}

    async def cancel(self, id):
        if id in self.tasks and not self.states[id].has_ended:
            self.tasks[id].cancel()
            self.states[id] = State(Phase.FAILED, CANCELLED)

    async def pictures(self, id):
        return self.files.pop(id)

    async def details(self):
        return {"devices": []}

    async def close(self):
        pass


async def main():
    parser = argparse.ArgumentParser()
    for name in ("data", "log"):
        parser.add_argument(f"--{name}", type=Path)
    for name in ("jobs", "results"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--port", type=int)
    parser.add_argument("--at-once", type=int, default=4)
    given = parser.parse_args()
    log_as_json()
    place = Place(
        *("front", ("127.0.0.1",), given.port, False, given.data, given.data / "photos", "", ""),
        is_on=True,
        jobs=given.jobs,
        results=given.results,
    )
    front = Front(LocalApi(place, SleepingBackend(given.log, given.at_once)), Metrics())
    front.is_ready = True
    runner = web.AppRunner(front.app(), shutdown_timeout=0.5, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", given.port).start()
    try:
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
