"""Requests spread over several ComfyUIs: who gets which, how they stand, and what is left of them."""

import asyncio
import io
import urllib.request
import uuid
from dataclasses import replace

import pytest
from PIL import Image

from facegen.api.local.backend import Phase, Work
from facegen.api.local.flavours import FLAVOURS
from facegen.contract import FaceGenRequest
from facegen.standalone.comfyuis.backend import ComfyUIs
from facegen.standalone.comfyuis.server import AHEAD, BLANK
from waiting import until


def hold(crowd, closed=True):
    for comfy in crowd.comfies:
        (comfy.gate.clear if closed else comfy.gate.set)()


def test_each_gets_its_share_and_the_rest_waits(crowd):
    here = crowd()
    hold(here)
    ids = [here.submit(seed=n) for n in range(2 * AHEAD + 3)]
    until(lambda: here.drawn == [AHEAD, AHEAD])
    assert {here.fetch(identifier)["status"] for identifier in ids} == {"processing"}
    hold(here, closed=False)
    answers = [here.end(identifier) for identifier in ids]
    assert {answer["status"] for answer in answers} == {"success"}
    assert sum(here.drawn) == len(ids) and min(here.drawn) >= AHEAD
    seeds = [graph["sampler"]["inputs"]["seed"] for comfy in here.comfies for graph in comfy.prompts]
    assert sorted(seeds) == list(range(len(ids))), "each was made once"
    assert answers[0]["meta"]["files"]["checkpoint"] == "sd15.safetensors"
    with Image.open(io.BytesIO(urllib.request.urlopen(answers[0]["output"][0]).read())) as picture:
        assert picture.size == (64, 72) and picture.getpixel((0, 0))[0] == pytest.approx(200, abs=3), "the photo's grey"


def test_the_least_busy_first(crowd, far):
    one, other = far("a"), far("b")
    one.foreign = 3
    here = crowd(one, other)
    hold(here)
    for drawn in ([0, 1], [0, 2], [1, 2]):  # the last one as the other has as many as it may
        here.submit()
        until(lambda drawn=drawn: here.drawn == drawn)
    hold(here, closed=False)


def test_one_that_has_the_model_gets_the_request(crowd, far):
    rich, poor = far("rich"), far("poor")
    poor.choices = poor.choices | {"CheckpointLoaderSimple": ["b.safetensors", "c.safetensors"]}
    here = crowd(poor, rich)
    for _ in range(3):
        assert here.end(here.submit())["status"] == "success"
    assert here.drawn == [0, 3]
    poor.choices = poor.choices | {"CheckpointLoaderSimple": []}
    rich.choices = rich.choices | {"FaceGenLoadFaceID": ["missing: a file"]}


def test_progress_comes_over_the_websocket(crowd, far):
    here = crowd(far())
    (comfy,) = here.comfies
    until(lambda: comfy.sockets)
    hold(here)
    identifier = here.submit()
    until(lambda: comfy.running)
    work_id = comfy.running[0][0]
    comfy.tell_progress(work_id, "somebody's node", 9, 10)
    comfy.tell_progress("another prompt", "sampler", 9, 10)
    comfy.tell_progress(work_id, "sampler", 3, 12)
    until(lambda: here.fetch(identifier)["meta"].get("progress") == 0.25)
    comfy.tell_progress(work_id, "sampler", "?", None)
    hold(here, closed=False)
    assert here.end(identifier)["status"] == "success"


@pytest.mark.parametrize("is_old", [False, True])
def test_cancelled_where_it_is(crowd, far, is_old):
    here = crowd(far(is_old=is_old))
    (comfy,) = here.comfies
    hold(here)
    ids = [here.submit() for _ in range(AHEAD + 1)]
    until(lambda: comfy.running and len(comfy.pending) == AHEAD - 1)
    for identifier in reversed(ids):  # in the front, in ComfyUI's queue, and running
        here.front.post(f"/api/v6/image_editing/cancel/{identifier}")
        assert here.end(identifier)["message"] == "The request was cancelled."
    until(lambda: not comfy.running and not comfy.pending)
    assert here.drawn == [AHEAD] and not comfy.gate.is_set()
    until(lambda: len(comfy.forgotten) == AHEAD)
    until(lambda: all(file.read_bytes() == BLANK for file in (comfy.temp / "facegen").iterdir()))


def test_stopped_in_comfyui_s_own_interface(crowd, far):
    here = crowd(far())
    (comfy,) = here.comfies
    hold(here)
    running, waiting = here.submit(), here.submit()
    until(lambda: comfy.running and comfy.pending)
    comfy.pending.clear()
    assert "taken out of ComfyUI's queue" in here.end(waiting)["message"]
    comfy.interrupted.add(comfy.running[0][0])
    assert here.end(running)["message"] == "The request was cancelled."
    assert here.drawn == [2]


def test_nothing_of_a_request_stays_there(crowd, far):
    here = crowd(far())
    (comfy,) = here.comfies
    assert here.end(here.submit(samples=2))["status"] == "success"
    until(lambda: comfy.forgotten)
    assert comfy.history == {}
    files = [file for file in comfy.temp.rglob("*") if file.is_file()]
    assert len(files) == 3 and all(file.read_bytes() == BLANK for file in files), "its photo and its pictures"
    with Image.open(io.BytesIO(BLANK)) as picture:
        picture.load()
        assert picture.size == (1, 1)


def test_what_a_node_says_reaches_the_client(crowd, far):
    here = crowd(far())
    (comfy,) = here.comfies
    comfy.break_with = "Load FaceID: the file is broken."
    assert here.end(here.submit())["message"] == comfy.break_with
    comfy.break_with, comfy.break_kind = "no face", "NoFaceError"
    assert here.end(here.submit())["message"].startswith("No face was found in face_image.")


def test_details_tell_of_each_and_name_no_address(crowd):
    here = crowd()
    here.end(here.submit())
    here.comfies[1].stop()
    until(lambda: not here.front.post("/api/v1/enterprise/face_gen/system_details")[1]["output"]["comfyuis"][1]["gets_work"])
    told = here.front.post("/api/v1/enterprise/face_gen/system_details")[1]["output"]["comfyuis"]
    assert told[0]["comfyui_version"] == "0.0.0" and told[0]["devices"][0]["vram_total"] == 8 and told[0]["queue"] == 0
    assert "comfyui_version" not in told[1] and "127.0.0.1" not in str(told)


# --- a work of a front that is gone


def photo(folder):
    path = folder / "photo.png"
    Image.new("RGB", (64, 64), (90, 90, 90)).save(path)
    return str(path)


def work(folder):
    request = FaceGenRequest("a sailor", photo(folder), width=64, height=64, seed=5, safety_checker=False)
    return Work(str(uuid.uuid4()), request, replace(FLAVOURS["sd15"], checkpoint="sd15.safetensors"))


async def finished(backend, identifier):
    while not (state := (await backend.state([identifier]))[identifier]).has_ended:
        await asyncio.sleep(0.02)
    return state


@pytest.mark.parametrize("stopped", ["running", "done", "interrupted", "unheard of"])
def test_taken_over_from_a_front_that_is_gone(tmp_path, far, stopped):
    """What it had put into a queue is made once; what it stopped when it ended is begun anew."""
    comfies, given = [far("a"), far("b")], work(tmp_path)
    urls = {comfy.url: "" for comfy in comfies}

    async def run():
        first = ComfyUIs(urls, tmp_path)
        if stopped != "unheard of":
            await first.start(given)
            while not any(comfy.running for comfy in comfies):
                await asyncio.sleep(0.02)
            for task in (*first._tasks, first._entries[given.id].task):  # as kill -9 ends it
                task.cancel()
        if stopped == "interrupted":
            await asyncio.gather(*(server.comfyui.cancel(given.id) for server in first._servers))
        if stopped != "running":
            for comfy in comfies:
                comfy.gate.set()
            while stopped != "unheard of" and not any(comfy.history for comfy in comfies):
                await asyncio.sleep(0.02)
        second = ComfyUIs(urls, tmp_path)
        await second.start(replace(given, again=True))
        for comfy in comfies:
            comfy.gate.set()
        state = await finished(second, given.id)
        pictures = await second.pictures(given.id)
        await asyncio.gather(second.close(), *(server.comfyui.close() for server in first._servers))
        return state, pictures

    for comfy in comfies:
        comfy.gate.clear()
    with comfies[0], comfies[1]:
        state, pictures = asyncio.run(run())
    assert state.phase is Phase.DONE and len(pictures) == 1 and state.notes["files"]["faceid"] == "plusv2.bin"
    assert sum(len(comfy.prompts) for comfy in comfies) == (2 if stopped == "interrupted" else 1)


def test_a_front_that_ends_takes_its_works_along(tmp_path, far):
    comfy, given = far(), work(tmp_path)
    comfy.gate.clear()

    async def run():
        backend = ComfyUIs({comfy.url: ""}, tmp_path)
        await backend.start(given)
        while not comfy.running:
            await asyncio.sleep(0.02)
        await backend.close()

    with comfy:
        asyncio.run(run())
        until(lambda: given.id in comfy.interrupted)
