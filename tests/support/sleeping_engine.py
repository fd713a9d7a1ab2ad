"""Engines for Ray's replicas: one that sleeps instead of making pictures, and the tiny model with few steps."""

import os
import time
from pathlib import Path
from types import SimpleNamespace

import torch

from one_by_one import OneByOne

STEPS = 10
SECONDS = "SLEEPING_SECONDS"  # in the environment: how long a picture takes
PIDS = "SLEEPING_PIDS"  # in the environment: a folder in which each engine leaves a file with the number of its process


class SleepingEngine(OneByOne):
    """Takes STEPS steps; a picture's pixels are noise of its seed."""

    face_analysis = None

    def __init__(self, seconds):
        self.seconds = seconds

    def embed(self, photo, name="the photo"):
        return SimpleNamespace(), None

    def generate(self, request, face_embeds, watch):
        for step in range(STEPS):
            watch(step, STEPS)
            time.sleep(self.seconds / STEPS)
        watch(STEPS, STEPS)
        generator = torch.Generator().manual_seed(request.seed)
        images = torch.rand(request.samples, request.height, request.width, 3, generator=generator)
        return SimpleNamespace(images=images, flagged=[False] * request.samples)


def leave_number():
    """This process's, where it is asked for."""
    if PIDS in os.environ:
        Path(os.environ[PIDS], str(os.getpid())).touch()


def load(files):
    """In place of opening an engine. The likeness is the number of the process, so that it is known who made a picture."""
    from facegen.standalone.server import made

    leave_number()
    made.likenesses = lambda images, *_: [SimpleNamespace(percent=os.getpid())] * len(images)
    return SleepingEngine(float(os.environ.get(SECONDS, "0")))


def load_quick(files, pids=None):
    """The engine of batch_runs. With a folder `pids`, it leaves its process's number there, and takes its time."""
    import batch_runs

    batch_runs.made_module.likenesses = batch_runs.likenesses
    engine = batch_runs.QuickEngine()
    if pids is not None:
        Path(pids, str(os.getpid())).touch()
        engine.fails = lambda request: time.sleep(0.2)
    return engine


def load_few_steps(files, at_most=3):
    """The real one, with three steps or so however many are asked for."""
    from facegen.standalone.cli.generate import load_engine

    leave_number()
    engine = load_engine(files, checks=True)
    scheduler = engine.checkpoint.scheduler
    set_timesteps = scheduler.set_timesteps
    scheduler.set_timesteps = lambda steps, **options: set_timesteps(min(at_most, steps), **options)
    return engine
