"""ComfyUIs that aren't there, end in the middle, come back, refuse, answer slowly, too much or nonsense: the client's id ends
once, and the log says what is wrong with which."""

import asyncio
import json
import logging

import pytest
from aiohttp import web

from facegen.api.local.backend import BackendError, Phase
from facegen.comfyui import client
from facegen.comfyui.graph import load_workflow
from facegen.standalone.comfyuis.backend import TRIES
from facegen.standalone.comfyuis.server import BLANK
from waiting import until

TOKEN = "a-token-for-what-stands-before"


def running_at(comfies):
    """(the one of two that is at work, the other one)."""
    until(lambda: any(comfy.running for comfy in comfies))
    return sorted(comfies, key=lambda comfy: not comfy.running)


def said(caplog, *words):
    return any(all(word in record.getMessage() for word in words) for record in caplog.records)


# --- one that is gone


def test_one_that_dies_in_the_middle_is_replaced(crowd, caplog):
    here = crowd()
    for comfy in here.comfies:
        comfy.gate.clear()
    identifier = here.submit(seed=7)
    dead, other = running_at(here.comfies)
    work_id = dead.running[0][0]
    dead.stop()
    until(lambda: other.running)
    assert here.fetch(identifier)["status"] == "processing" and other.running[0][0] == work_id
    other.gate.set()
    answer = here.end(identifier)
    assert answer["status"] == "success" and here.drawn == [1, 1]
    assert said(caplog, dead.url, "gets no work")
    # As after a crash: it comes back with nothing, and is given work again.
    dead.restart()
    dead.gate.set()
    until(lambda: here.end(here.submit())["status"] == "success" and len(dead.prompts) > 1)
    assert here.fetch(identifier) == answer


def test_one_that_was_cut_off_and_comes_back_with_the_picture_delivers_nothing_twice(crowd):
    here = crowd()
    for comfy in here.comfies:
        comfy.gate.clear()
    identifier = here.submit(seed=7)
    lonely, other = running_at(here.comfies)
    work_id = lonely.running[0][0]
    lonely.is_cut = True
    until(lambda: other.running)
    other.gate.set()
    answer = here.end(identifier)
    lonely.gate.set()
    until(lambda: work_id in lonely.history)
    lonely.is_cut = False
    until(lambda: work_id in lonely.forgotten)
    assert answer["status"] == "success" and here.fetch(identifier) == answer and here.drawn == [1, 1]
    until(lambda: all(file.read_bytes() == BLANK for file in lonely.temp.rglob("*.png")))


def test_what_cannot_be_removed_is_said_and_the_picture_is_delivered_all_the_same(crowd, far, caplog):
    here = crowd(far())
    (comfy,) = here.comfies
    comfy.faults["POST /history"] = 500
    answer = here.end(here.submit())
    assert answer["status"] == "success"
    until(lambda: said(caplog, comfy.url, "can't be stopped or removed", "HTTP status 500"))


def test_one_that_comes_back_while_its_work_still_waits_delivers_it(crowd, far, caplog):
    """Drawn once: nobody else could make it meanwhile."""
    here = crowd(far())
    (comfy,) = here.comfies
    comfy.gate.clear()
    identifier = here.submit()
    until(lambda: comfy.running)
    comfy.is_cut = True
    until(lambda: said(caplog, "is lost at", comfy.url))
    assert here.fetch(identifier)["status"] == "processing"
    comfy.gate.set()
    until(lambda: comfy.history)
    comfy.is_cut = False
    assert here.end(identifier)["status"] == "success" and here.drawn == [1]


def test_a_short_break_moves_nothing(crowd):
    here = crowd()
    for comfy in here.comfies:
        comfy.gate.clear()
    identifier = here.submit()
    at, _ = running_at(here.comfies)
    at.is_cut = True
    until(lambda: here.fetch(identifier)["status"] == "processing")
    at.is_cut = False
    at.gate.set()
    assert here.end(identifier)["status"] == "success" and sum(here.drawn) == 1


def test_one_that_was_restarted_in_a_moment_makes_it_anew(crowd, far, caplog):
    """It was gone for less long than its works are left with it, and knows nothing of them."""
    here = crowd(far())
    (comfy,) = here.comfies
    comfy.gate.clear()
    identifier = here.submit()
    until(lambda: comfy.running)
    comfy.is_cut = True
    until(lambda: said(caplog, comfy.url, "gets no work"))
    comfy.interrupted.add(comfy.running[0][0])
    until(lambda: not comfy.running)
    comfy.history.clear()
    comfy.interrupted.clear()
    comfy.gate.set()
    comfy.is_cut = False
    assert here.end(identifier)["status"] == "success" and here.drawn == [2]


def test_without_any_requests_wait_and_readyz_says_so(crowd, far):
    here = crowd(far("a"), far("b"))
    assert here.ready() == (200, {"status": "ready"})
    for comfy in here.comfies:
        comfy.stop()
    until(lambda: here.ready()[0] == 503)
    assert here.ready()[1]["reason"] == "None of the 2 ComfyUIs can make pictures just now; the log says why."
    ids = [here.submit(seed=n) for n in range(3)]
    cancelled = here.submit()
    here.front.post(f"/api/v6/image_editing/cancel/{cancelled}")
    assert here.end(cancelled)["status"] == "failed"
    assert {here.fetch(identifier)["status"] for identifier in ids} == {"processing"} and here.drawn == [0, 0]
    here.comfies[1].start()
    assert {here.end(identifier)["status"] for identifier in ids} == {"success"} and here.drawn == [0, 3]
    assert here.ready()[0] == 200


def test_none_of_them_has_ever_been_there(crowd, far):
    here = crowd(far(), running=False)
    identifier = here.submit()
    assert here.fetch(identifier)["status"] == "processing" and here.ready()[0] == 503
    with here.comfies[0]:
        assert here.end(identifier)["status"] == "success"


def test_a_request_that_ends_comfyuis_ends_itself(crowd, far):
    here = crowd(far())
    (comfy,) = here.comfies
    comfy.gate.clear()
    identifier = here.submit()
    until(lambda: here.front.backend._entries)
    (entry,) = here.front.backend._entries.values()
    for _ in range(TRIES):
        until(lambda: entry.state.phase is Phase.RUNNING)
        comfy.stop()
        until(lambda: entry.state.phase is not Phase.RUNNING)
        comfy.restart()
    answer = here.end(identifier)
    assert answer["status"] == "failed" and f"lost {TRIES} times" in answer["message"] and here.drawn == [TRIES]


# --- one that gets no work


def test_a_wrong_token_is_named_and_never_told(crowd, far, caplog):
    caplog.set_level(logging.INFO)
    locked, open_one = far("locked", token=TOKEN), far("open")
    here = crowd(locked, open_one, tokens={locked: "another-token"})
    for _ in range(2):
        assert here.end(here.submit())["status"] == "success"
    assert here.drawn == [0, 2] and said(caplog, locked.url, "answers 401: the token is wrong")
    assert open_one.tokens == {""} and "another-token" not in caplog.text


def test_the_right_token_goes_to_its_own_alone(crowd, far, caplog):
    caplog.set_level(logging.DEBUG)
    locked, open_one = far("locked", token=TOKEN), far("open")
    here = crowd(locked, open_one, tokens={locked: TOKEN})
    for _ in range(4):
        here.end(here.submit())
    until(lambda: locked.sockets)
    assert len(locked.prompts) and locked.tokens == {f"Bearer {TOKEN}"} and open_one.tokens == {""}
    assert TOKEN not in caplog.text


def test_a_token_isn_t_carried_elsewhere(crowd, far, caplog):
    other = far("other")

    async def elsewhere(request):
        raise web.HTTPFound(other.url + request.path)

    with other:
        moved = far("moved", token=TOKEN)
        moved.faults["GET /"] = elsewhere
        crowd(moved, tokens={moved: TOKEN})
        until(lambda: said(caplog, moved.url, "answers 302: it leads elsewhere"))
        assert other.asked == []


def test_without_the_pack(crowd, far, caplog):
    bare, whole = far("bare"), far("whole")
    bare.unknown = {"FaceGenLoadFaceAnalyzer", "FaceGenLoadFaceID", "FaceGenLoadSafetyChecker", "FaceGenSampler"}
    here = crowd(bare, whole)
    for _ in range(3):
        assert here.end(here.submit())["status"] == "success"
    assert here.drawn == [0, 3] and said(caplog, bare.url, "ComfyUI-FaceGen isn't installed there")
    bare.unknown = set()  # installed, and restarted
    until(lambda: here.end(here.submit())["status"] == "success" and len(bare.prompts))


def test_with_an_older_pack_that_lacks_a_node_of_all_workflows(crowd, far, caplog):
    old = far()
    old.unknown = {"FaceGenLoadFaceID"}
    here = crowd(old)
    assert here.ready()[0] == 503 and said(caplog, old.url, "is too old: it has no FaceGenLoadFaceID")
    answer = here.end(here.submit())
    assert answer["status"] == "failed" and "needs nodes that the ComfyUI doesn't have: FaceGenLoadFaceID" in answer["message"]


def test_with_an_older_pack_that_lacks_a_node_of_one_workflow(crowd, far):
    old, new = far("old"), far("new")
    old.unknown = {"FaceGenLoadTinyModel"}
    here = crowd(old, new, default="tiny")
    for _ in range(3):
        assert here.end(here.submit())["status"] == "success"
    assert here.drawn == [0, 3]


def test_files_that_nobody_has_are_named(crowd, far):
    comfies = far("a"), far("b")
    for comfy in comfies:
        comfy.choices = comfy.choices | {"FaceGenLoadFaceID": ["missing: a file -> models/ipadapter"]}
    here = crowd(*comfies)
    missing = here.in_use()["flavours"]["sd15"]["missing"]
    assert "faceid: ip-adapter-faceid-plusv2_sd15.bin is missing" in missing[0]
    assert here.end(here.submit())["message"] == " ".join(missing)
    for comfy in comfies:  # and put there
        comfy.choices = comfy.choices | {"FaceGenLoadFaceID": ["plusv2.bin"]}
    until(lambda: here.end(here.submit())["status"] == "success")


@pytest.mark.parametrize("running", [True, False])
def test_a_workflow_that_doesn_t_fit_is_named(crowd, far, tmp_path, running):
    """Also if no ComfyUI could be asked yet when it came."""
    graph = load_workflow("local_sd15", tmp_path)
    own = {number: node for number, node in graph.items() if node["class_type"] not in ("PreviewImage", "FaceGenSampler")}
    (tmp_path / "front" / "workflows").mkdir(parents=True)
    (tmp_path / "front" / "workflows" / "own.json").write_text(json.dumps(own))
    here = crowd(far(), running=running, default="own", flavours={"own": {"workflow": "own"}})
    identifier = here.submit()
    if not running:
        assert here.fetch(identifier)["status"] == "processing"
        here.comfies[0].start()
    try:
        assert "has 0 " in here.end(identifier)["message"] and here.drawn == [0]
    finally:
        here.comfies[0].stop()


# --- one that does strange things


async def refuses(request):
    return web.json_response({"error": {"message": "Prompt has no outputs"}, "node_errors": {}}, status=400)


def test_one_that_refuses_the_graph(crowd, far, caplog):
    proud, kind = far("proud"), far("kind")
    proud.faults["POST /prompt"] = refuses
    here = crowd(proud, kind)
    for _ in range(3):
        assert here.end(here.submit())["status"] == "success"
    assert here.drawn == [0, 3] and said(caplog, proud.url, "refuses work", "Prompt has no outputs")
    kind.faults["POST /prompt"] = refuses
    assert here.end(here.submit())["message"] == "Prompt has no outputs"


async def hangs(request):
    await asyncio.sleep(30)


async def is_huge(request):
    answer = web.StreamResponse()
    await answer.prepare(request)
    for _ in range(100):
        await answer.write(b" " * (1 << 20))
    return answer


async def page(request):
    return web.Response(text="<html>Log in</html>", content_type="text/html")


async def another_shape(request):
    return web.json_response([1, 2])


async def breaks_off(request):
    request.transport.abort()
    return web.Response()


FAULTS = {"500": 500, "503": 503, "slow": hangs, "huge": is_huge, "page": page, "shape": another_shape, "off": breaks_off}
# Whatever /view gives is taken for a picture, and whoever keeps it looks whether it is one.
OTHERS = ["POST /upload", "GET /history", "GET /view", "GET /prompt", "GET /object_info"]
CASES = [(call, fault) for call in ("POST /prompt", "GET /queue") for fault in FAULTS]
CASES += [*((call, fault) for call in OTHERS for fault in ("500", "off")), ("GET /view", "huge"), ("GET /object_info", "slow")]


@pytest.mark.parametrize(("call", "fault"), CASES)
def test_the_other_one_makes_what_one_can_t(crowd, far, call, fault, caplog, monkeypatch):
    monkeypatch.setattr(client, "MOST_ANSWER", 1 << 20)
    monkeypatch.setattr(client, "MOST_PICTURE", 1 << 20)
    broken, whole = far("broken"), far("whole")
    broken.faults[call] = FAULTS[fault]
    here = crowd(broken, whole)
    ids = [here.submit(seed=n) for n in range(3)]
    answers = [here.end(identifier, 30) for identifier in ids]
    assert [answer["status"] for answer in answers] == ["success"] * 3, answers
    assert said(caplog, broken.url)
    broken.faults.clear()
    before = len(broken.prompts)
    until(lambda: here.end(here.submit())["status"] == "success" and len(broken.prompts) > before)


def test_alone_with_what_always_fails_it_ends_in_words(crowd, far):
    here = crowd(far())
    (comfy,) = here.comfies
    comfy.faults["POST /prompt"] = 500
    answer = here.end(here.submit())
    assert answer["status"] == "failed" and "lost 3 times" in answer["message"] and comfy.prompts == []


def test_what_is_no_picture_is_not_delivered(crowd, far):
    here = crowd(far())
    here.comfies[0].faults["GET /view"] = page
    answer = here.end(here.submit())
    assert answer["status"] == "failed" and "can't be delivered" in answer["message"]


def test_what_came_instead_of_an_answer_is_told(far):

    async def ask(fault):
        comfy.faults = {"GET /": fault}
        comfyui = client.ComfyUI(comfy.url)
        try:
            with pytest.raises(BackendError) as error:
                await comfyui.queued()
            return str(error.value)
        finally:
            await comfyui.close()

    with far() as comfy:
        told = {name: asyncio.run(ask(fault)) for name, fault in FAULTS.items() if name != "huge"}
    assert "HTTP status 500" in told["500"] and "sends no JSON" in told["page"] and "can't be read" in told["shape"]
    assert "TimeoutError" in told["slow"] and "ServerDisconnected" in told["off"]
