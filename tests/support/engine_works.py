"""Works for the engine as the API's backend, and waiting for their ends."""

import asyncio
import time
import uuid

from facegen.api.local.backend import Work
from facegen.api.local.flavours import FLAVOURS
from facegen.contract import FaceGenRequest
from facegen.models.tiny_files import DRAWN_FACE, TINY
from facegen.standalone.server.backend import EngineBackend

TINY_FLAVOUR = FLAVOURS["tiny"]


class Counts:
    """An Observer."""

    def __init__(self):
        self.steps, self.made = [], []

    def step(self, seconds):
        self.steps.append(seconds)

    def pictures(self, count, seconds):
        self.made.append(count)


def run_with(engines, observer=None, room=None):
    """run(test): what an async function of the backend gives, in a loop of its own, with the backend closed after it."""

    def run(test):
        async def inside():
            backend = EngineBackend(engines, observer, room)
            try:
                return await test(backend)
            finally:
                await backend.close()

        return asyncio.run(inside())

    return run


def work(flavour=TINY_FLAVOUR, prompt="a sailor", **changes):
    request = FaceGenRequest(prompt, str(TINY / DRAWN_FACE), **{"seed": 1, "width": 256, "height": 256, **changes})
    return Work(str(uuid.uuid4()), request, flavour)


async def ended(backend, *works, within=60):
    """The last states. within: seconds."""
    ids = [one.id for one in works]
    states, deadline = await backend.state(ids), time.monotonic() + within
    while not all(state.has_ended for state in states.values()):
        assert time.monotonic() < deadline, states
        await asyncio.sleep(0.005)
        states = await backend.state(ids)
    return [states[id] for id in ids]
