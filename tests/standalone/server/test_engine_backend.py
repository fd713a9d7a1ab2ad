"""The engine as the API's backend: one work after the other, cancelled within a step, and nothing that ends the thread."""

import asyncio
import io
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from engine_works import TINY_FLAVOUR, Counts, ended, run_with, work
from facegen.api.local.backend import BackendError, Files, Phase
from facegen.api.local.flavours import FLAVOURS, Flavour, StyleFiles
from facegen.errors import FaceGenError
from facegen.models.controlnet_kind import ControlNetKind
from facegen.models.tiny_files import TINY
from facegen.standalone.checkpoints import controlnet, opening
from facegen.standalone.model_files import find_model_files
from facegen.standalone.server import made as made_module
from facegen.standalone.server import works as works_module
from facegen.standalone.server.backend import EngineBackend
from facegen.standalone.server.engines import Engines, told
from one_by_one import OneByOne


class FakeEngine(OneByOne):
    """Takes `steps` steps, each when `step` lets it; then fails with `error`, if there is one."""

    face_analysis = None

    def __init__(self, steps=5):
        self.steps, self.error, self.requests, self.seen = steps, None, [], []
        self.gate = threading.Event()
        self.gate.set()
        self.in_step = threading.Event()

    def embed(self, photo):
        self.seen.append(tuple(photo.shape))
        return SimpleNamespace(), None

    def generate(self, request, face_embeds, watch):
        self.requests.append(request)
        for step in range(self.steps):
            watch(step, self.steps)
            self.in_step.set()
            assert self.gate.wait(10)
        watch(self.steps, self.steps)
        if self.error:
            raise self.error
        images = torch.zeros(request.samples, request.height, request.width, 3)
        return SimpleNamespace(images=images, flagged=[False] * request.samples)


@pytest.fixture
def engine(monkeypatch):
    monkeypatch.setattr(made_module, "likenesses", lambda images, *_: [SimpleNamespace(percent=71.6)] * len(images))
    return FakeEngine()


@pytest.fixture
def counts():
    return Counts()


@pytest.fixture
def run(engine, counts):
    return run_with(Engines(None, lambda files: engine), counts)


def test_a_work_becomes_pictures_of_the_size_that_was_asked_for(run, engine, counts):
    async def test(backend):
        one = work(samples=2)
        assert await backend.start(one) == told(find_model_files(TINY))
        (state,) = await ended(backend, one)
        return state, await backend.pictures(one.id)

    state, pictures = run(test)
    assert state.phase is Phase.DONE and state.seconds > 0 and state.notes == {"likeness": [72, 72]}
    assert [Image.open(io.BytesIO(picture)).size for picture in pictures] == [(256, 256)] * 2
    (asked,) = engine.requests
    assert (asked.width, asked.height) == (256, 256), "what the tiny model was trained for"
    assert asked.guidance_scale == pytest.approx(7.5 * 0.27) and engine.seen == [(1, 256, 256, 3)]
    assert len(counts.steps) == 5 and counts.made == [2]


def test_they_are_made_one_after_the_other_and_progress_is_told(run, engine):
    async def test(backend):
        engine.gate.clear()
        works = [work() for _ in range(3)]
        for one in works:
            await backend.start(one)
        await asyncio.to_thread(engine.in_step.wait, 10)
        first, *others = (await backend.state([one.id for one in works])).values()
        assert first.phase is Phase.RUNNING and first.progress == 0.0
        assert [state.phase for state in others] == [Phase.WAITING] * 2
        engine.gate.set()
        return [state.phase for state in await ended(backend, *works)]

    assert run(test) == [Phase.DONE] * 3


def test_cancel_reaches_sampling_within_a_step(run, engine):
    async def test(backend):
        engine.gate.clear()
        one, waits, other = work(), work(), work()
        for each in (one, waits, other):
            await backend.start(each)
        await asyncio.to_thread(engine.in_step.wait, 10)
        await backend.cancel(one.id)
        await backend.cancel(waits.id)
        assert (await backend.state([waits.id]))[waits.id].phase is Phase.FAILED
        engine.gate.set()
        states = await ended(backend, one, waits, other)
        for each in (one, one, waits):
            await backend.cancel(each.id)
        return [state.message or state.phase for state in states], await backend.state([one.id])

    states, after = run(test)
    assert states == ["The request was cancelled."] * 2 + [Phase.DONE]
    assert len(engine.requests) == 2 and [state.message for state in after.values()] == ["The request was lost. Send it again."]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (FaceGenError("No face found in the photo."), "No face found in the photo."),
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "There was not enough memory for 1 of 256x256 pixels. Ask for"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "There was not enough memory for 1 of 256x256"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "There was not enough memory for 1"),
        (MemoryError(), "There was not enough memory for 1 of"),
        (RuntimeError("a shape is wrong in /a/secret/place"), "The engine failed (RuntimeError); the server's log says more."),
    ],
)
def test_what_goes_wrong_fails_its_own_request_alone(run, engine, error, says):
    async def test(backend):
        engine.error = error
        one, other = work(), work()
        await backend.start(one)
        (failed,) = await ended(backend, one)
        engine.error = None
        await backend.start(other)
        return failed, (await ended(backend, other))[0]

    failed, done = run(test)
    assert failed.phase is Phase.FAILED and failed.message.startswith(says) and done.phase is Phase.DONE


def test_models_that_need_the_memory_of_others_get_it(counts):
    class Full(Engines):
        tried = 0

        def get(self, files):
            self.tried += 1
            if self.tried == 2:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return super().get(files)

    engines, forgotten = Full(None, lambda files: FakeEngine()), []
    engines.forget = lambda: forgotten.append(True)

    async def test():
        backend = EngineBackend(engines)
        await backend.load(TINY_FLAVOUR)
        await backend.load(TINY_FLAVOUR)
        await backend.close()

    asyncio.run(test())
    assert engines.tried == 3 and forgotten == [True]


def test_a_picture_that_needs_the_memory_of_other_models_gets_it(engine):
    """Else those that nobody uses would keep each further one from being made."""
    loaded = []
    engines = Engines(None, lambda files: loaded.append(files) or engine)

    async def test():
        backend = EngineBackend(engines)
        engines.get("other")
        generate = engine.generate

        def full(*args, **kwargs):
            if engines.is_open("other"):
                raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
            return generate(*args, **kwargs)

        engine.generate = full
        one = work()
        await backend.start(one)
        (state,) = await ended(backend, one)
        await backend.close()
        return state

    state = asyncio.run(test())
    assert state.phase is Phase.DONE and len(loaded) == 2


def test_works_that_ended_long_ago_are_forgotten(run, engine, monkeypatch):
    """But none whose pictures nobody has taken, and none that goes on."""
    monkeypatch.setattr(works_module, "MOST_ENDED", 2)

    async def test(backend):
        kept = work()
        await backend.start(kept)
        await ended(backend, kept)
        others = [work() for _ in range(4)]
        for number, one in enumerate(others):
            engine.error = FaceGenError("No face found.") if number % 2 else None
            await backend.start(one)
            await ended(backend, one)
            await backend.pictures(one.id)
        engine.gate.clear()
        last = [work(), work()]
        for one in last:
            await backend.start(one)
        known = [backend.knows(one.id) for one in (*others, *last)]
        engine.gate.set()
        return known, len(await backend.pictures(kept.id))

    known, pictures = run(test)
    assert known == [False, False, True, True, True, True] and pictures == 1


@pytest.mark.parametrize("opened", ["checkpoint", "ControlNet"])
def test_out_of_memory_while_models_are_loaded_is_known_as_that(monkeypatch, opened):
    """Else the models of others would stay where they are, and every further try would fail as well."""
    full = torch.cuda.OutOfMemoryError("CUDA out of memory.")

    def fails(*_, **__):
        raise full

    kind = SimpleNamespace(base="SDXL", require_supported=lambda: None)
    monkeypatch.setattr(opening, "kind_of", lambda path: kind)
    monkeypatch.setattr(opening, "_parts", fails)
    monkeypatch.setattr(controlnet, "controlnet_kind", lambda path: ControlNetKind(1, 2))
    monkeypatch.setattr(controlnet, "read_tensors", fails)
    unet = SimpleNamespace(config=SimpleNamespace(cross_attention_dim=1, projection_class_embeddings_input_dim=2))
    with pytest.raises(torch.cuda.OutOfMemoryError):
        if opened == "checkpoint":
            opening.open_checkpoint(Path("one.safetensors"))
        else:
            controlnet.open_controlnet(Path("one.safetensors"), unet, torch.device("cpu"), torch.float32)


def test_what_a_flavour_lacks(tmp_path):
    engines = Engines(tmp_path)
    assert engines.files_of(TINY_FLAVOUR) == Files(told(find_model_files(TINY)), [])
    (lacks,) = engines.files_of(FLAVOURS["sd15"]).missing
    assert lacks.startswith(f"{tmp_path} lacks an SD1.5")
    assert (
        "sdxl needs real model files, and serve was started without any" in Engines(None).files_of(FLAVOURS["sdxl"]).missing[0]
    )
    assert "workflows of one's own need ComfyUI" in engines.files_of(Flavour("own")).missing[0]
    with pytest.raises(BackendError, match="The style anime has LoRAs"):
        engines.files(Flavour("local_tiny", styles={"anime": StyleFiles(loras={"a": 1.0})}), "anime")


def test_few_engines_are_kept():
    loaded = []
    engines = Engines(None, lambda files: loaded.append(files) or FakeEngine())
    names = [(number,) for number in range(3)]
    for name in (names[0], names[1], names[0], names[2], names[0], names[1]):
        engines.get(name)
    assert loaded == [names[0], names[1], names[2], names[1]], "the one that was used longest ago goes"


def test_a_missing_file_is_said_at_the_start(run):
    async def test(backend):
        with pytest.raises(BackendError, match="sd15 needs real model files"):
            await backend.start(work(FLAVOURS["sd15"]))

    run(test)


def test_the_tiny_model_makes_a_portrait_and_is_stopped_in_the_middle(tiny_engine):
    """The real engine: its sampling loop tells its steps."""

    async def test():
        backend = EngineBackend(Engines(None, lambda files: tiny_engine))
        one = work(width=256, height=256, num_inference_steps=21)
        await backend.start(one)
        (state,) = await ended(backend, one)
        stopped = work(width=256, height=256, num_inference_steps=41)
        await backend.start(stopped)
        while ((now := (await backend.state([stopped.id]))[stopped.id]).progress or 0) < 0.1:
            assert not now.has_ended, "its steps are not told"
            await asyncio.sleep(0.001)
        began = time.monotonic()
        await backend.cancel(stopped.id)
        (end,) = await ended(backend, stopped)
        took = time.monotonic() - began
        await backend.close()
        return state, end, took

    state, end, took = asyncio.run(test())
    assert state.phase is Phase.DONE and state.notes["likeness"][0] > 20
    # What was left of it takes nearly twice as long as all of the first.
    assert end.message == "The request was cancelled." and took < state.seconds
