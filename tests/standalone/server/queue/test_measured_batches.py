"""Batches are as large as pays: what is measured, and what a trial costs the others."""

from types import SimpleNamespace

import pytest
import torch

from batch_engine import MOST, behind, queued, seeds
from engine_works import ended, run_with, work
from facegen.api.local.backend import Phase
from facegen.standalone.server.engines import Engines
from facegen.standalone.server.queue import making as making_module
from facegen.standalone.server.queue.room import MeasuredRoom, Room


class Clock:
    """In place of `time`: stands still unless it is told that time passes."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(
    ("takes", "sizes"),
    [
        (lambda count: 1.0 + 0.1 * count, [1, 1, 2, 2, 4, 4, 8, 8, 8, 4, 2, 1]),
        (lambda count: float(count), [1, 1, 2, 2, *[1] * 20]),
        (lambda count: max(1.0, count / 2), [1, 1, 2, 2, 4, 4, *[2] * 10]),
    ],
    ids=["more always pay", "more never pay", "two at once pay"],
)
def test_as_many_at_once_as_pay_where_that_is_measured(engine, counts, monkeypatch, takes, sizes):
    monkeypatch.setattr(making_module, "time", clock := Clock())

    def pass_time(requests):
        clock.now += takes(len(requests))

    def embed(photo):
        clock.now += 50  # each request costs it, whoever is made beside it
        return SimpleNamespace(), None

    async def test(backend):
        engine.fails, engine.embed = pass_time, embed
        works = [work(seed=number) for number in range(1, sum(sizes))]
        await queued(backend, engine, *works)
        return await ended(backend, *works)

    states = run_with(Engines(None, lambda files: engine), counts, MeasuredRoom())(test)
    assert {state.phase for state in states} == {Phase.DONE}
    assert [len(batch) for batch in engine.batches] == sizes


class Told(Room):
    """`heard`: (the seeds of a batch, its seconds)."""

    def __init__(self, most):
        super().__init__(most)
        self.heard = []

    def took(self, batch, seconds):
        self.heard.append(([one.asked.seed for one in batch], seconds))


def test_what_is_measured_is_the_making_of_those_that_are_made(engine, counts, monkeypatch):
    """Not the loading of the models, and not those without a face; and each work's share of it is what the API is told."""
    monkeypatch.setattr(making_module, "time", clock := Clock())
    room = Told(MOST)

    def load(files):
        clock.now += 1000
        return engine

    def pass_time(requests):
        clock.now += 6

    async def test(backend):
        engine.fails, engine.faceless = pass_time, [False, False, True, False]
        works = [work(seed=10), work(seed=11), work(seed=12, samples=2)]
        await queued(backend, engine, *works)
        return await ended(backend, *works)

    first, faceless, last = run_with(Engines(None, load), counts, room)(test)
    assert room.heard == [([200], 6), ([10, 12], 6)]
    assert faceless.phase is Phase.FAILED and first.seconds == last.seconds == 3


def test_a_batch_that_is_only_tried_takes_no_model_s_place(engine, counts):
    """Two models that are both used would otherwise be loaded again and again."""
    engines = Engines(None, lambda files: engine)

    def fails(requests):
        if len(requests) > 1 and engines.is_open("other"):
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    async def test(backend):
        works = [work(seed=number) for number in range(10, 16)]
        first = await behind(backend, engine, *works)
        engines.get("other")
        engine.fails = fails
        engine.step.release(10_000)
        return await ended(backend, first, *works)

    assert {state.phase for state in run_with(engines, counts, MeasuredRoom())(test)} == {Phase.DONE}
    assert seeds(engine) == [[200], [10], [11, 12], [11], [12], [13], [14], [15]] and engines.is_open("other")
