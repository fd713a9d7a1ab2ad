"""How many pictures may be made in one batch, where that is measured."""

import logging
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from facegen.contract import FaceGenRequest
from facegen.standalone.model_files import ModelFiles
from facegen.standalone.server.queue import room as room_module
from facegen.standalone.server.queue.room import AGAIN, KEPT, MeasuredRoom, Room


def one(samples=1, files="sd15", **changes):
    files = ModelFiles(checkpoint=Path(f"{files}.safetensors"), face_pack=Path("buffalo_l"))
    return SimpleNamespace(files=files, asked=FaceGenRequest("a sailor", "face.png", samples=samples, **changes))


def of(samples):
    """A work of so many pictures, more than one endpoint allows among them."""
    return SimpleNamespace(files=one().files, asked=SimpleNamespace(samples=samples))


def batches(room, *counts, seconds=lambda count: 1.0, **kind):
    """Batches of so many pictures were made, each within `seconds`, as long as the number of its pictures says."""
    for count in counts:
        room.took([one(**kind)] * count, seconds(count))


@pytest.mark.parametrize(
    ("before", "room"), [([], 1), ([1], 1), ([1, 1], 2), ([1, 1, 2], 2), ([1, 1, 2, 2], 4), ([1, 1, 2, 2, 4, 4], 8)]
)
def test_a_size_is_tried_once_the_one_below_is_known(before, room):
    measured = MeasuredRoom(8)
    batches(measured, *before)
    assert measured.of(one()) == room


@pytest.mark.parametrize("slow", [0, 1], ids=["first", "last"])
def test_the_best_run_of_a_size_decides(slow):
    """A first one chooses kernels, and beside any there may be something else on the GPU."""
    measured = MeasuredRoom(4)
    for count, seconds in ((1, 1.0), (2, 1.0), (4, 3.0)):
        for run in (0, 1):
            measured.took([one()] * count, 30.0 if run == slow else seconds)
    assert measured.of(one()) == 2, "of 1.0, 0.5 and 0.75 seconds a picture"


@pytest.mark.parametrize(("together", "room"), [(1.59, 2), (1.61, 1)])
def test_a_larger_batch_pays_if_a_picture_takes_a_fifth_less_time(together, room):
    measured = MeasuredRoom(2)
    batches(measured, 1, 1, 2, 2, seconds={1: 1.0, 2: together}.get)
    assert measured.of(one()) == room


def test_each_kind_is_judged_by_itself():
    measured = MeasuredRoom()
    batches(measured, 1, 1, 2, 2, 4, 4)
    assert measured.of(one()) == 8
    others = [{"files": "sdxl"}, {"width": 256}, {"height": 256}, {"num_inference_steps": 41}, {"guidance_scale": 1.0}]
    others.append({"safety_checker": False})
    assert [measured.of(one(**other)) for other in others] == [1] * 6
    assert measured.of(one(s_scale=0.2, style="anime", seed=3)) == 8, "those may differ within a batch"


def test_several_pictures_of_one_request_begin_with_their_number():
    measured = MeasuredRoom()
    assert measured.of(one(samples=2)) == 2, "so that nothing is put beside them yet"
    for _ in range(2):
        measured.took([one(samples=2)], 1.0)
    assert measured.of(one(samples=2)) == 4
    assert measured.of(one()) == 1, "of one by itself nothing is known"


@pytest.mark.parametrize(
    ("samples", "left"),
    [([1] * 7, 4), ([1] * 8, 8), ([1] * 3, 2), ([2, 1, 1, 2], 3), ([2, 2, 2], 2), ([1, 2], 1), ([3, 2], 1), ([1], 1)],
)
def test_only_numbers_that_are_measured_are_made(samples, left):
    """Otherwise five to seven were made on and on, and judged by what four took."""
    batch = [of(n) for n in samples]
    assert MeasuredRoom().cut(batch) == batch[:left]
    assert Room(8).cut(batch) == batch


@pytest.mark.parametrize(("number", "left"), [(8, 4), (7, 4), (4, 2), (2, 1), (1, 1)])
def test_the_memory_has_the_last_word(number, left):
    measured = MeasuredRoom()
    batches(measured, 1, 1, 2, 2, 4, 4)
    measured.had_none([one()] * number)
    assert measured.of(one()) == left
    assert measured.of(one(guidance_scale=3.0)) == 1
    batches(measured, 1, 1, 2, 2, 4, 4, guidance_scale=3.0)
    assert measured.of(one(guidance_scale=3.0)) == left, "guidance takes no memory"


def test_after_many_batches_all_is_measured_anew():
    """So that what was beside it once, or lacked once, isn't held against it for ever."""
    measured = MeasuredRoom()
    batches(measured, 1, 1, 2, 2, seconds=float)
    measured.had_none([one()] * 2)
    batches(measured, *[1] * (AGAIN - 4))
    assert measured.of(one()) == 1
    batches(measured, 1, 1)
    assert measured.of(one()) == 2
    batches(measured, 2, 2)
    assert measured.of(one()) == 4


def test_what_was_found_is_said_once_and_a_batch_of_no_use_gives_its_memory_back(caplog, monkeypatch):
    given = []
    monkeypatch.setattr(room_module, "make_room", lambda: given.append(True))
    measured = MeasuredRoom()
    with caplog.at_level(logging.INFO):
        batches(measured, 2, 2, 1, 1, 1, seconds={1: 1.0, 2: 1.0}.get, files="dream", num_inference_steps=25)
        assert not given
        batches(measured, 4, 4, 4, seconds=lambda count: 4.0, files="dream", num_inference_steps=25)
    assert caplog.messages == [
        "FaceGen: dream.safetensors, 512x512, 25 steps: with 2 at once, a picture takes 0.50 of the time that it takes with 1, "
        "so that is kept",
        "FaceGen: dream.safetensors, 512x512, 25 steps: with 4 at once, a picture takes 2.00 of the time that it takes with 2, "
        "so that is not done",
    ]
    assert given == [True]


def test_a_number_of_one_s_own_is_not_measured():
    room = Room(5)
    batches(room, 1, 1, 2, 2, seconds=float)
    assert room.of(one()) == 5
    room.had_none([one()] * 5)
    assert room.of(one()) == 2


def test_clients_that_choose_ever_other_guidance_fill_no_memory():
    measured = MeasuredRoom()

    def ask(numbers):
        for number in numbers:
            batches(measured, 1, 1, 2, 2, guidance_scale=1 + number / 1e5)

    batches(measured, 1, 1)
    ask(range(KEPT - 1))
    assert measured.of(one()) == 2
    batches(measured, 2, 2)
    ask(range(KEPT, 2 * KEPT - 1))
    assert measured.of(one()) == 4, "it was asked for after the others"
    tracemalloc.start()
    ask(range(2 * KEPT, 20 * KEPT))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1e6, "of 3,600 kinds 200 are kept"
    assert measured.of(one(guidance_scale=1 + (20 * KEPT - 1) / 1e5)) == 4 and measured.of(one()) == 1
