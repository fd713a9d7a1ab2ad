"""Requests that fit together are made in one batch, and each of them ends by itself."""

import asyncio
import dataclasses
import io
import logging
from itertools import chain

import numpy as np
import pytest
import torch
from PIL import Image

from batch_engine import MOST, behind, in_step, queued, seeds
from engine_works import ended, run_with, work
from facegen.api.local.backend import Phase
from facegen.errors import FaceGenError
from facegen.standalone.server.engines import Engines
from facegen.standalone.server.logs import REQUEST_ID
from facegen.standalone.server.queue.room import Room


def levels(pictures):
    return [int(np.asarray(Image.open(io.BytesIO(picture)))[0, 0, 0]) for picture in pictures]


def test_what_waits_and_fits_is_made_at_once_and_each_gets_its_own(run, engine, counts):
    async def test(backend):
        works = [work(seed=10), work(seed=11, prompt="unsafe", s_scale=0.2, samples=2), work(seed=12, style="anime")]
        await queued(backend, engine, *works)
        states = await ended(backend, *works)
        return states, [levels(await backend.pictures(one.id)) for one in works]

    states, pictures = run(test)
    assert seeds(engine) == [[200], [10, 11, 12]] and counts.made == [1, 4]
    assert pictures == [[10], [11, 11], [12]]
    assert [state.phase for state in states] == [Phase.DONE] * 3
    assert [state.notes["likeness"] for state in states] == [[72], [None, None], [72]], "redacted ones have none"


def test_what_is_made_otherwise_waits_for_its_turn_and_a_batch_has_its_limit(run, engine):
    async def test(backend):
        others = [{"height": 264}, {"num_inference_steps": 41}, {"guidance_scale": 3.0}, {"safety_checker": False}]
        works = [work(seed=10), *(work(seed=20 + n, **other) for n, other in enumerate(others))]
        works += [work(seed=11, samples=2), work(seed=12, samples=2), work(seed=13), work(seed=14)]
        await queued(backend, engine, *works)
        return await ended(backend, *works)

    assert {state.phase for state in run(test)} == {Phase.DONE}
    assert seeds(engine) == [[200], [10, 11, 13], [20], [21], [22], [23], [12, 14]], "of four pictures, in their order"


def test_one_at_a_time_without_the_option(engine, counts):
    async def test(backend):
        works = [work(seed=10), work(seed=11)]
        await queued(backend, engine, *works)
        await ended(backend, *works)

    run_with(Engines(None, lambda files: engine), counts)(test)
    assert seeds(engine) == [[200], [10], [11]]


def test_nobody_waits_for_others_to_come(run, engine):
    async def test(backend):
        engine.step.release(10_000)
        one = work(seed=10)
        await backend.start(one)
        return await ended(backend, one)

    assert run(test)[0].phase is Phase.DONE and seeds(engine) == [[10]]


def test_one_that_is_cancelled_goes_and_the_others_go_on(run, engine):
    async def test(backend):
        works = [work(seed=10), work(seed=11), work(seed=12)]
        first = await behind(backend, engine, *works)
        await backend.cancel(works[2].id)
        engine.step.release(3)
        await ended(backend, first)
        await in_step(engine, 4)
        running = [(await backend.state([one.id]))[one.id].progress for one in works[:2]]
        await backend.cancel(works[0].id)
        engine.step.release()
        (cancelled,) = await ended(backend, works[0])
        still = (await backend.state([works[1].id]))[works[1].id].phase
        engine.step.release(2)
        (done,) = await ended(backend, works[1])
        await backend.cancel(works[0].id)
        return running, cancelled, still, done, levels(await backend.pictures(works[1].id)), backend.knows(works[0].id)

    running, cancelled, still, done, pictures, is_known = run(test)
    assert seeds(engine) == [[200], [10, 11]] and running == [0.0, 0.0]
    assert cancelled.message == "The request was cancelled." and still is Phase.RUNNING, "within a step, the others go on"
    assert done.phase is Phase.DONE and pictures == [11] and not is_known


def test_one_that_is_cancelled_after_its_last_step_is_not_said_to_be_done(run, engine):
    """As by a server that stops: whoever asks later is told that it was interrupted."""

    async def test(backend):
        loop, one = asyncio.get_running_loop(), work(seed=10)
        engine.fails = lambda requests: asyncio.run_coroutine_threadsafe(backend.cancel(one.id), loop).result(60)
        engine.step.release(10_000)
        await backend.start(one)
        return await ended(backend, one)

    (state,) = run(test)
    assert state.phase is Phase.FAILED and state.message == "The request was cancelled."


def test_all_cancelled_end_the_batch_within_a_step(run, engine):
    async def test(backend):
        works = [work(seed=10), work(seed=11)]
        first = await behind(backend, engine, *works)
        engine.step.release(3)
        await ended(backend, first)
        await in_step(engine, 4)
        for one in works:
            await backend.cancel(one.id)
        engine.step.release()  # of three
        await ended(backend, *works)
        await backend.start(last := work(seed=12))
        engine.step.release(3)
        return (await ended(backend, last))[0].phase

    assert run(test) is Phase.DONE and seeds(engine) == [[200], [10, 11], [12]]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.cuda.OutOfMemoryError("CUDA out of memory."), "There was not enough memory for 1 of 256x256 pixels. Ask for"),
        (FaceGenError("The checkpoint gave pictures that hold NaN."), "The checkpoint gave pictures that hold NaN."),
        (RuntimeError("a shape is wrong in /a/secret/place"), "The engine failed (RuntimeError); the server's log says more."),
    ],
)
def test_what_fails_together_is_made_one_by_one_and_fails_its_own_request_alone(run, engine, error, says):
    """In memory there is room for one that is no pilot."""

    def fails(requests):
        if any(request.prompt == "a pilot" for request in requests):
            raise error

    async def test(backend):
        engine.fails = fails
        works = [work(seed=10), work(seed=11, prompt="a pilot"), work(seed=12)]
        await queued(backend, engine, *works)
        return await ended(backend, *works)

    first, failed, last = run(test)
    assert seeds(engine) == [[200], [10, 11, 12], [10], [11], [12]]
    assert failed.phase is Phase.FAILED and failed.message.startswith(says)
    assert first.phase is last.phase is Phase.DONE


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("CUDA error: invalid configuration argument"),
    ],
    ids=["memory", "cuBLAS's memory", "a kernel's limit"],
)
def test_so_many_that_failed_by_their_number_are_not_tried_again(run, engine, error):
    def fails(requests):
        if len(requests) > 2:
            raise error

    async def test(backend):
        engine.fails = fails
        works = [work(seed=number) for number in range(10, 18)]
        larger = [work(seed=number, width=384, height=384) for number in (20, 21)]
        await queued(backend, engine, *works, *larger)
        return await ended(backend, *works, *larger)

    assert {state.phase for state in run(test)} == {Phase.DONE}
    once = [[number] for number in range(10, 14)]
    assert seeds(engine) == [[200], [10, 11, 12, 13], *once, [14, 15], [16, 17], [20, 21]]


def test_models_that_nobody_uses_make_room_for_a_batch(engine, counts):
    engines = Engines(None, lambda files: engine)

    def fails(requests):
        if engines.is_open("other"):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    async def test(backend):
        works = [work(seed=10), work(seed=11)]
        first = await behind(backend, engine, *works)
        engines.get("other")
        engine.fails = lambda requests: fails(requests) if len(requests) > 1 else None
        engine.step.release(10_000)
        return await ended(backend, first, *works)

    assert {state.phase for state in run_with(engines, counts, Room(MOST))(test)} == {Phase.DONE}
    assert seeds(engine) == [[200], [10, 11], [10, 11]] and not engines.is_open("other")


def test_a_photo_without_a_face_fails_alone(run, engine):
    async def test(backend):
        works = [work(seed=10), work(seed=11), work(seed=12)]
        engine.faceless = [False, False, True, False]
        await queued(backend, engine, *works)
        return await ended(backend, *works)

    first, failed, last = run(test)
    assert seeds(engine) == [[200], [10, 12]] and failed.message == "No face found in the photo."
    assert first.phase is last.phase is Phase.DONE


def test_each_s_log_line_has_its_own_request_s_id(run, engine, caplog):
    class Ids(logging.Filter):
        def filter(self, record):
            record.request = REQUEST_ID.get()
            return True

    caplog.handler.addFilter(ids := Ids())
    try:
        with caplog.at_level(logging.INFO):

            async def test(backend):
                works = [work(seed=10), work(seed=11)]
                await backend.start(first := work(seed=200))
                await in_step(engine, 1)
                for number, one in enumerate(works):
                    REQUEST_ID.set(f"request-{number}")
                    await backend.start(one)
                engine.step.release(10_000)
                await ended(backend, first, *works)
                return works

            works = run(test)
    finally:
        caplog.handler.removeFilter(ids)
    lines = [(record.getMessage().split(), record.request) for record in caplog.records]
    said = {words[2]: request for words, request in lines if "ended" in words}
    assert [said[one.id] for one in works] == ["request-0", "request-1"]


def test_pictures_are_those_that_each_request_gets_alone(tiny_engine, counts, monkeypatch):
    """The real engine, with three faces' worth of differences: words, seeds, styles, structure. In four steps, however many
    are asked for: what one takes from another's row, it takes in each."""
    set_timesteps = tiny_engine.checkpoint.scheduler.set_timesteps
    monkeypatch.setattr(tiny_engine.checkpoint.scheduler, "set_timesteps", lambda n, **more: set_timesteps(min(4, n), **more))
    tasks = [{"seed": 5, "s_scale": 0.2}, {"seed": 6, "samples": 2, "style": "anime"}, {"seed": 7, "negative_prompt": "hat"}]
    batches = []

    class Counted:
        def __getattr__(self, name):
            return getattr(tiny_engine, name)

        def generate_together(self, asked, watch):
            batches.append(len(asked))
            return tiny_engine.generate_together(asked, watch=watch)

    def made(most):
        async def test(backend):
            works = [work(width=128, height=128, num_inference_steps=21, **task) for task in tasks]
            first = work(width=64, height=64, num_inference_steps=21)
            for one in (first, *works):
                await backend.start(one)
            states = await ended(backend, first, *works)
            return states[1:], [await backend.pictures(one.id) for one in works]

        return run_with(Engines(None, lambda files: Counted()), counts, Room(most))(test)

    (alone, single), (together, pictures) = made(1), made(MOST)
    assert batches == [1, 1, 1, 1, 1, 3]
    assert [state.notes for state in together] == [state.notes for state in alone]
    for given, wanted in zip(chain(*pictures), chain(*single), strict=True):
        given, wanted = (np.asarray(Image.open(io.BytesIO(one)), dtype=float) for one in (given, wanted))
        assert np.abs(given - wanted).max() <= 1, "a level of 255, where rounding turns it"


def test_a_batch_needs_no_more_than_its_requests_differ_in():
    """Names of what may differ, so that a new field of a request is thought of."""
    from facegen.contract import FaceGenRequest
    from facegen.standalone.engine import shape_of

    one = work(seed=1).request
    same = {"prompt", "negative_prompt", "face_image", "style", "s_scale", "samples", "safety_checker", "safety_checker_type"}
    same |= {"base64", "seed", "webhook", "track_id", "endpoint"}
    changed = {"width": 264, "height": 264, "num_inference_steps": 41, "guidance_scale": 3.0}
    assert {field.name for field in dataclasses.fields(FaceGenRequest)} == same | set(changed)
    for name, value in changed.items():
        assert shape_of(dataclasses.replace(one, **{name: value})) != shape_of(one)
