"""The seam between the API and whoever makes the pictures: real HTTP before it, a backend in memory behind it, no ComfyUI."""

import base64
import io
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from facegen.api.local import runner as runner_module
from facegen.api.local.backend import BackendError, Files
from facegen.api.local.place import Place
from facegen.api.local.routes.local_api import LocalApi
from facegen.api.local.routes.paths import IN_USE
from local_api_server import BODY, SUBMIT_URL, ApiServer, data_uri
from memory_backend import MemoryBackend
from serve_server import ServeServer
from waiting import until


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture(params=[ApiServer, ServeServer], ids=["comfyui", "serve"])
def server(request, tmp_path, backend, monkeypatch):
    monkeypatch.setattr(runner_module, "POLL", 0.02)
    monkeypatch.setattr(runner_module, "PATIENCE", 0.1)
    with request.param(tmp_path, backend, enabled=True, poll_seconds=0.1) as running:
        yield running


@pytest.fixture
def held(server, backend):
    """The server while the backend doesn't finish anything."""
    server.configure(enabled=True, hold_seconds=0, poll_seconds=0, max_queued=50)
    backend.gate.clear()
    return server


def cancel(server, identifier):
    return server.post(f"/api/v6/image_editing/cancel/{identifier}")


def shade(picture):
    return np.asarray(Image.open(io.BytesIO(picture)))[0, 0].tolist()


# --- what a backend is given and gives


def test_a_request_becomes_the_backends_pictures(server, backend):
    answer = server.submit({**BODY, "samples": 2, "seed": 7, "base64": True, "track_id": "a"})
    assert answer["status"] == "success" and answer["generationTime"] == 1.5
    assert [shade(base64.b64decode(text)) for text in answer["output"]] == [[200, 0, 0], [200, 1, 0]]
    assert server.fetch(answer["id"]) == answer


@pytest.mark.parametrize("seed", [7, None])
def test_a_work_is_complete(server, backend, seed):
    answer = server.submit({**BODY, "seed": seed, "style": "anime", "model_id": "ai-avatar-generatorface-gen"})
    (work,) = backend.works.values()
    assert work.request.seed == answer["meta"]["seed"] and (seed is None or work.request.seed == seed)
    assert (work.request.style, work.request.width, work.request.prompt) == ("anime", 64, "a sailor")
    assert work.flavour.workflow == "local_sdxl" and work.request.webhook is None
    assert work.id == work.id.lower() and len(work.id) == 36
    assert work.face.parent == server.photos and not work.face.exists(), "the photo is there until the work has ended"


def test_without_a_time_of_the_backends_the_api_takes_its_own(server, backend):
    backend.seconds = None
    backend.gate.clear()
    threading.Timer(0.3, backend.gate.set).start()
    assert 0.05 < server.submit(BODY)["generationTime"] < 10


def test_the_state_of_many_is_asked_in_one_call(held, backend):
    ids = [held.submit(BODY)["id"] for _ in range(5)]
    until(lambda: any(len(asked) == 5 for asked in backend.asked))
    backend.gate.set()
    until(lambda: all(held.fetch(identifier)["status"] == "success" for identifier in ids))

    def nothing_is_asked():
        asked = len(backend.asked)
        time.sleep(0.3)
        return len(backend.asked) == asked

    until(nothing_is_asked)  # for works that have ended


def test_a_caller_may_be_held_for_less_time(tmp_path, backend):
    with ApiServer(tmp_path, backend, enabled=True, hold_seconds=600, poll_seconds=600) as server:
        backend.gate.clear()
        began = time.monotonic()
        answer = server.submit(BODY, headers={"Prefer": "respond-async, wait=0"})
        assert answer["status"] == "processing"
        assert server.fetch(answer["id"], headers={"prefer": "wait=1"})["status"] == "processing"
        assert 0.9 < time.monotonic() - began < 60
        backend.gate.set()
        assert server.fetch(answer["id"], headers={"Prefer": "wait=9999"})["status"] == "success"


def test_what_a_backend_notes_of_its_pictures_is_in_the_meta(server, backend):
    backend.notes = {"likeness": [87]}
    answer = server.submit(BODY)
    assert answer["meta"]["likeness"] == [87] and answer["meta"]["files"] == {"checkpoint": "memory.safetensors"}
    assert server.fetch(answer["id"]) == answer


def test_progress_is_optional_and_makes_the_eta_better(held, backend):
    (etas := []).append(held.submit(BODY)["eta"])
    backend.progress = 0.5
    until(lambda: held.fetch(1)["eta"] < etas[0])
    assert etas[0] == 30 and held.fetch(1)["eta"] == 15
    assert held.fetch(1)["meta"]["progress"] == 0.5


def test_whoever_is_made_beside_another_has_its_eta(held, backend):
    """Two works at once in one batch, half done: what is left of the first is not waited for as if it began only now."""
    backend.progress = 0.5
    for _ in range(2):
        held.submit(BODY)
    until(lambda: held.fetch(1)["eta"] == 15)
    until(lambda: held.fetch(2)["eta"] == 30)
    backend.progress = 0.9
    until(lambda: held.fetch(2)["eta"] == 6)


def test_two_hundred_callers_that_hang_up_leave_a_server_that_works(server, backend):
    """Each sends its request and goes away without its answer; the works are made all the same, and none is lost."""
    server.configure(enabled=True, hold_seconds=60, max_queued=300)
    body = json.dumps(BODY).encode()
    lines = ("POST /v6/image_editing/face_gen HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json")
    head = "\r\n".join((*lines, f"Content-Length: {len(body)}", "", ""))
    backend.gate.clear()
    for _ in range(200):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(head.encode() + body)
    until(lambda: len(backend.works) == 200, 60)
    backend.gate.set()
    until(lambda: all(server.fetch(identifier)["status"] == "success" for identifier in (1, 100, 200)), 60)
    assert server.submit(BODY)["id"] == 201 and not any(server.photos.iterdir())


def test_fifty_at_once_are_neither_lost_nor_doubled(server, backend):
    server.configure(enabled=True, max_queued=50, hold_seconds=60)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda seed: server.submit({**BODY, "seed": seed}), range(50)))
    assert [a["status"] for a in answers] == ["success"] * 50
    assert [a["meta"]["seed"] for a in answers] == list(range(50))
    assert sorted(work.request.seed for work in backend.works.values()) == list(range(50))


# --- which files


def test_an_answer_says_what_its_pictures_are_made_with(server, backend):
    meta = server.submit({**BODY, "style": "anime"})["meta"]
    assert (meta["flavour"], meta["style"]) == ("sd15", "anime") and meta["files"] == {"checkpoint": "memory.safetensors"}


def test_while_files_lack_the_tiny_model_makes_the_pictures(server, backend):
    backend.lacks = ["checkpoint: nothing there.", "faceid: nothing there."]
    answer = server.submit({**BODY, "s_scale": 3})
    assert answer["meta"]["flavour"] == "tiny" and [w.flavour.workflow for w in backend.works.values()] == ["local_tiny"]
    assert answer["tip"].startswith("s_scale was 3 and is now 2. These pictures are made by the small demonstration model")
    assert "checkpoint: nothing there. faceid: nothing there." in answer["tip"]
    backend.lacks = []
    answer = server.submit(BODY)
    assert answer["meta"]["flavour"] == "sd15" and "tip" not in answer


def test_where_the_user_has_chosen_nothing_takes_their_place(server, backend):
    backend.lacks = ["checkpoint: nothing there."]
    chosen = ({"default": "sdxl"}, "sdxl"), ({"flavours": {"sd15": {"checkpoint": "a"}}}, "sd15"), ({"default": "tiny"}, "tiny")
    for settings, flavour in chosen:
        server.configure(enabled=True, **settings)
        answer = server.submit(BODY)
        assert answer["meta"]["flavour"] == flavour and "tip" not in answer
    for model_id, flavour in (("tiny", "tiny"), ("sdxl", "sdxl"), ("ai-avatar-generatorface-gen", "sdxl")):
        server.configure(enabled=True)
        answer = server.submit({**BODY, "model_id": model_id})
        assert answer["meta"]["flavour"] == flavour and "tip" not in answer


def test_a_flavour_whose_files_are_there_comes_before_the_tiny_one(server, backend, monkeypatch):
    async def files_of(flavour):
        return Files({}, ["no file."] if flavour.workflow == "local_sd15" else [])

    backend.files_of = files_of
    answer = server.submit(BODY)
    assert answer["meta"]["flavour"] == "sdxl" and "tip" not in answer


def test_where_it_is_and_with_which_files_can_be_asked(server, backend):
    """While it is off, too: so that a user sees it before turning it on."""
    used = {"files": {"checkpoint": "memory.safetensors"}, "missing": []}
    expected = {
        "address": f"http://127.0.0.1:{server.port}{SUBMIT_URL}",
        "enabled": True,
        "reason": None,
        "default": "sd15",
        "flavours": {"sd15": used, "sdxl": used, "tiny": used},
    }
    assert server.get(IN_USE) == (200, expected)
    server.configure(enabled=False, flavours={"mine": {"workflow": "own"}})
    answer = server.get(IN_USE, headers={"Host": f"localhost:{server.port}"})[1]
    assert answer["address"] == f"http://localhost:{server.port}{SUBMIT_URL}" and answer["enabled"] is False
    assert list(answer["flavours"]) == ["sd15", "sdxl", "tiny", "mine"] and answer["default"] == "sd15"
    backend.lacks = ["checkpoint: nothing there."]
    server.configure(enabled=True)
    answer = server.get(IN_USE)[1]
    assert answer["default"] == "tiny" and answer["flavours"]["tiny"] == used
    assert answer["flavours"]["sdxl"]["missing"] == ["checkpoint: nothing there."]
    assert server.get(IN_USE, headers={"Host": "evil.example"})[0] == 403
    backend.away = "The workers can't be reached."
    status, answer = server.get(IN_USE)
    assert status == 503 and answer["message"] == "The workers can't be reached."


def test_styles_of_one_s_own_reach_the_backend(tmp_path, backend):
    class Styled(ApiServer):
        def make_api(self):
            words = {"turn_on": "turn it on with the switch.", "set_token": "Set a token."}
            place = Place("The program", ("127.0.0.1",), self.port, False, self.config.parent, self.photos, **words)
            return LocalApi(place, self.backend, styles=lambda: ["realistic", "anime", "Oil painting"])

    with Styled(tmp_path, backend, enabled=True) as server:
        for given, style in (("Oil painting", "Oil painting"), ("oil PAINTING", "Oil painting"), ("ANIME", "anime")):
            answer = server.submit({**BODY, " style": f" {given} "})
            assert answer["status"] == "success" and answer["meta"]["style"] == style
            assert list(backend.works.values())[-1].request.style == style
        answer = server.submit({**BODY, "style": "oil"})
        assert answer["message"]["style"][0].endswith("realistic, anime, Oil painting, got 'oil'.")


# --- what goes wrong


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"refuse": "There is no checkpoint."}, "There is no checkpoint."),
        ({"fail": "No face found in the 40x50 picture."}, "No face found in the 40x50 picture."),
        ({"crash": BackendError("The worker is gone.")}, "The worker is gone."),
        ({"crash": RuntimeError("secret")}, "The request failed (RuntimeError); "),
        ({"extra": 1}, "2 pictures were made; 1 were asked for."),
        ({"lose": True}, "The request was lost. Send it again."),
        ({"broken": True}, "What was made can't be delivered. The picture is damaged"),
    ],
)
def test_an_error_in_words_reaches_the_client(server, backend, broken, says):
    vars(backend).update(broken)
    answer = server.submit(BODY)
    assert answer == {"status": "failed", "id": answer["id"], "output": "", "message": answer["message"]}
    assert answer["message"].startswith(says) and not any((server.config.parent / "local_api" / "results").iterdir())
    assert server.fetch(answer["id"]) == answer
    assert not any(server.photos.iterdir())


def test_a_backend_that_cannot_be_asked_for_a_while_is_asked_again(server, backend, caplog):
    backend.away = "The workers can't be reached."
    server.configure(enabled=True, default="sd15", hold_seconds=0.2, poll_seconds=0)
    identifier = server.submit(BODY)["id"]
    until(lambda: "The workers can't be reached." in caplog.text)
    assert server.fetch(identifier)["status"] == "processing"
    backend.away = None
    until(lambda: server.fetch(identifier)["status"] == "success")


# --- cancelling


def test_a_cancelled_work_is_watched_to_its_end_and_nothing_of_it_stays(held, backend):
    identifier = held.submit(BODY)["id"]
    until(lambda: backend.works)
    (work,) = backend.works.values()
    status, answer = cancel(held, identifier)
    assert status == 200 and answer["message"] == "The request was cancelled."
    assert backend.cancelled == [work.id] and work.face.exists(), "it may be reading the photo still"
    assert cancel(held, identifier)[1] == answer
    backend.gate.set()
    until(lambda: not work.face.exists())
    assert set(backend.cancelled) == {work.id} and len(backend.cancelled) == 2
    assert held.fetch(identifier) == answer


def test_cancelled_on_its_way_to_the_backend(held, backend):
    backend.door.clear()
    identifier = held.submit(BODY)["id"]
    until(lambda: backend.knocked)
    assert cancel(held, identifier)[1]["status"] == "failed" and len(backend.cancelled) == 1
    backend.door.set()
    until(lambda: len(backend.cancelled) >= 2)
    backend.gate.set()
    until(lambda: not any(held.photos.iterdir()))
    assert set(backend.cancelled) == set(backend.knocked)


def test_a_backend_that_cannot_be_told_to_stop(held, backend):
    identifier = held.submit(BODY)["id"]
    until(lambda: backend.works)
    backend.away = "The workers can't be reached."
    status, answer = cancel(held, identifier)
    assert status == 503 and answer["message"] == "The workers can't be reached."
    assert held.fetch(identifier)["message"] == "The request was cancelled."


# --- the end


def test_what_is_too_old_is_deleted_at_the_backend_too(server, backend, tmp_path, monkeypatch):
    monkeypatch.setattr(runner_module, "CLEAN_EVERY", 0.02)
    with ApiServer(tmp_path / "other", backend, enabled=True) as other:
        identifier = other.submit(BODY)["id"]
        assert backend.files
        monkeypatch.setattr(runner_module, "too_old", lambda hours: time.time() + 1)
        until(lambda: other.fetch(identifier)["status"] == "error")
        assert not backend.files


def test_what_was_in_work_at_the_end_is_failed_when_the_api_is_there_again(tmp_path, backend):
    with ApiServer(tmp_path, backend, enabled=True, hold_seconds=0) as first:
        backend.gate.clear()
        identifier = first.submit(BODY)["id"]
        until(lambda: backend.works)
    assert backend.is_closed
    with ApiServer(tmp_path, MemoryBackend()) as second:
        answer = second.fetch(identifier)
        assert answer["message"] == "The program was stopped while this request was in work. Send it again."
        assert second.submit(BODY)["status"] in ("processing", "success")


def test_the_api_speaks_of_the_program_that_serves_it(tmp_path, backend):
    with ApiServer(tmp_path, backend) as server:
        status, answer = server.post(SUBMIT_URL, BODY)
        assert status == 404
        assert answer["message"] == "The local Face Generator API is off: turn it on with the switch."
        backend.fail = "It failed."
        server.configure(enabled=True)
        answers = [answer, server.submit(BODY), server.submit({}), server.fetch(99), server.submit({**BODY, "face_image": "x"})]
        assert "ComfyUI" not in json.dumps(answers)


def test_an_uploaded_face_needs_no_backend(server, backend):
    (link,) = server.post("/v6/base64_to_url", {"base64_string": data_uri(120)})[1]["output"]
    assert not backend.knocked
    (url,) = server.submit({**BODY, "face_image": link})["output"]
    assert shade(server.get(url)[1])[0] == 120
