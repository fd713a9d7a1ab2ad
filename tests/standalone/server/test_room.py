"""How many pictures may be made in one batch, where that is measured."""

from types import SimpleNamespace

import pytest

from facegen.contract import FaceGenRequest
from facegen.standalone.server.room import KEPT, MeasuredRoom, Room


def one(samples=1, files="sd15", **changes):
    return SimpleNamespace(files=files, asked=FaceGenRequest("a sailor", "face.png", samples=samples, **changes))


def batches(room, *counts, seconds=lambda count: 1.0, **kind):
    """Batches of so many pictures were made."""
    for count in counts:
        room.took([one(**kind)] * count, seconds(count))


@pytest.mark.parametrize(
    ("before", "room"),
    [([], 1), ([1], 1), ([1, 1], 2), ([1, 1, 2], 2), ([1, 1, 2, 2], 4), ([1, 1, 2, 2, 4, 4], 8), ([1, 1, 3, 2], 4)],
)
def test_a_size_is_tried_once_the_one_below_is_known(before, room):
    measured = MeasuredRoom(8)
    batches(measured, *before)
    assert measured.of(one()) == room


def test_the_first_run_which_chooses_kernels_does_not_decide():
    measured = MeasuredRoom(4)
    for count, seconds in ((1, 9.0), (1, 1.0), (2, 30.0), (2, 1.0), (4, 30.0), (4, 3.0)):
        measured.took([one()] * count, seconds)
    assert measured.of(one()) == 2, "of 1.0, 0.5 and 0.75 seconds a picture"


def test_a_twentieth_less_time_is_not_worth_that_the_first_waits_for_the_last():
    measured = MeasuredRoom()
    batches(measured, 1, 1, 2, 2, seconds=lambda count: 1.9 if count == 2 else 1.0)
    assert measured.of(one()) == 1


def test_each_model_size_step_count_and_guidance_is_judged_by_itself():
    measured = MeasuredRoom()
    batches(measured, 1, 1, 2, 2, 4, 4)
    assert measured.of(one()) == 8
    others = [{"files": "sdxl"}, {"width": 256}, {"height": 256}, {"num_inference_steps": 41}, {"guidance_scale": 1.0}]
    assert [measured.of(one(**other)) for other in others] == [1] * 5
    assert measured.of(one(s_scale=0.2, style="anime", seed=3)) == 8, "those may differ within a batch"


def test_several_pictures_of_one_request_begin_with_their_number():
    measured = MeasuredRoom()
    assert measured.of(one(samples=2)) == 2, "so that nothing is put beside them yet"
    for _ in range(2):
        measured.took([one(samples=2)], 1.0)
    assert measured.of(one(samples=2)) == 4
    assert measured.of(one()) == 1, "of one by itself nothing is known"


def test_the_memory_has_the_last_word():
    measured = MeasuredRoom()
    batches(measured, 1, 1, 2, 2, 4, 4)
    measured.had_none([one()] * 8)
    assert measured.of(one()) == 4
    measured.had_none([one()] * 4)
    assert measured.of(one()) == 2
    assert measured.of(one(samples=2)) == 2


def test_a_number_of_one_s_own_is_not_measured():
    room = Room(5)
    batches(room, 1, 1, 2, 2, seconds=float)
    assert room.of(one()) == 5


def test_clients_that_choose_ever_other_guidance_fill_no_memory():
    import tracemalloc

    measured = MeasuredRoom()

    def ask(numbers):
        for number in numbers:
            batches(measured, 1, 1, 2, 2, guidance_scale=1 + number / 1e5)

    ask(range(2 * KEPT))
    tracemalloc.start()
    ask(range(2 * KEPT, 20 * KEPT))
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 1e6, "of 3,600 kinds 200 are kept"
    assert measured.of(one(guidance_scale=1 + (20 * KEPT - 1) / 1e5)) == 4 and measured.of(one(guidance_scale=1.0)) == 1
