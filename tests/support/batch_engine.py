"""An engine that makes requests in batches, step by step, and works that wait for it."""

import asyncio
import threading
import time
from types import SimpleNamespace

import torch

from engine_works import work
from facegen.errors import FaceGenError

MOST = 4  # pictures at once


class BatchEngine:
    """Takes three steps, each when `step` lets it. `batches`: the requests of each. `fails` is called with these at the end."""

    face_analysis = None

    def __init__(self):
        self.batches, self.fails, self.faceless = [], lambda requests: None, []
        self.step, self.steps = threading.Semaphore(0), 0

    def embed(self, photo):
        if self.faceless and self.faceless.pop(0):
            raise FaceGenError("No face found in the photo.")
        return SimpleNamespace(), None

    def generate_together(self, asked, watch):
        requests = [one.request for one in asked]
        self.batches.append(requests)
        for step in range(3):
            watch(step, 3)
            self.steps += 1
            assert self.step.acquire(timeout=60)
        watch(3, 3)
        self.fails(requests)
        return [
            SimpleNamespace(
                images=torch.full((request.samples, request.height, request.width, 3), request.seed / 255),
                flagged=[request.prompt == "unsafe"] * request.samples,
            )
            for request in requests
        ]


async def in_step(engine, number):
    """Until this step has begun, counted through all batches from 1."""
    deadline = time.monotonic() + 60
    while engine.steps < number:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.002)


async def behind(backend, engine, *works):
    """A first work is in its first step, and these wait. Gives the first."""
    first = work(seed=200)
    await backend.start(first)
    await in_step(engine, 1)
    for one in works:
        await backend.start(one)
    return first


async def queued(backend, engine, *works):
    """As behind; then all steps are let go on."""
    first = await behind(backend, engine, *works)
    engine.step.release(10_000)
    return first


def seeds(engine):
    return [[request.seed for request in batch] for batch in engine.batches]
