"""The siblings of face_gen at the local API: each route, its own fields and defaults, sizes, and what the machine is asked."""

import io

import pytest
from PIL import Image

from facegen.api.local import runner as runner_module
from facegen.api.local.routes.paths import CLEAR, COUNT, DETAILS, SUBMIT
from facegen.contract import FLUX_HEADSHOT, MAKE_GEN
from local_api_server import BODY, ApiServer, LocalServer, data_uri
from memory_backend import MemoryBackend
from waiting import until

MADE = [path for path, endpoint in SUBMIT.items() if endpoint.name != FLUX_HEADSHOT]
FLUX = [path for path, endpoint in SUBMIT.items() if endpoint.name == FLUX_HEADSHOT]
SDXL = {"CheckpointLoaderSimple": ["RealVisXL_V4.0.safetensors"], "FaceGenLoadFaceID": ["ip-adapter-faceid-plusv2_sdxl.bin"]}


@pytest.fixture
def backend():
    return MemoryBackend()


@pytest.fixture
def held(tmp_path, backend, monkeypatch):
    """A server whose backend doesn't finish anything."""
    monkeypatch.setattr(runner_module, "POLL", 0.02)
    tokens = {"anna": "a-token-of-anna-123", "ben": "a-token-of-ben-4567"}
    settings = {"token": "the-token-of-the-owner", "tokens": tokens, "hold_seconds": 0, "poll_seconds": 0, "max_queued": 9}
    with ApiServer(tmp_path, backend, enabled=True, **settings) as running:
        backend.gate.clear()
        yield running


def as_owner(server, path, owner="the-token-of-the-owner", **body):
    return server.post(path, {**body, "key": owner})[1]


# --- the routes


@pytest.mark.parametrize("path", MADE)
def test_every_endpoint_makes_pictures_and_answers_below_its_own_room(held, backend, path):
    answer = as_owner(held, path, **{name: value for name, value in BODY.items() if name != "key"})
    room = SUBMIT[path].room
    assert answer["fetch_result"].endswith(f"/api{room}/fetch/{answer['id']}")
    backend.gate.set()
    until(lambda: as_owner(held, answer["fetch_result"])["status"] == "success")
    done = as_owner(held, f"{room}/fetch/{answer['id']}")
    assert done["meta"]["endpoint"] == path and ("style" in done["meta"]) == ("style" in SUBMIT[path].fields)
    assert done["meta"]["safety_checker_type"] == SUBMIT[path].fields["safety_checker_type"].default
    assert (SUBMIT[path].family == MAKE_GEN) == (done["meta"]["safety_checker_type"] == "sensitive_content_text")


@pytest.mark.parametrize("path", FLUX)
def test_flux_needs_a_method_that_no_flavour_has(shared_server, path):
    status, answer = shared_server.post(path, BODY)
    assert status == 200 and answer["status"] == "error"
    assert "flux_headshot is not made here: it needs a flavour that runs FLUX with the PuLID method" in answer["message"]


def test_a_flavour_of_one_s_own_makes_flux(tmp_path):
    flavours = {"own": {"workflow": "own", "endpoints": ["flux_headshot"]}}
    with ApiServer(tmp_path, MemoryBackend(), enabled=True, flavours=flavours) as server:
        answer = server.submit({**BODY, "width": 1024, "height": 1024}, "v6/image_editing/flux_headshot")
        assert answer["status"] == "success" and answer["meta"]["flavour"] == "own"
        assert (answer["meta"]["width"], answer["meta"]["num_inference_steps"]) == (1024, 25)
        assert server.submit(BODY)["meta"]["flavour"] == "sd15"


def test_head_shot_is_sdxl_s_graph_without_a_style(server):
    server.comfy.choices |= SDXL
    answer = server.submit({**BODY, "style": "anime", "guidance_scale": 4}, "v6/image_editing/head_shot")
    assert answer["status"] == "success" and answer["meta"]["flavour"] == "sdxl"
    (graph,) = server.comfy.prompts
    nodes = {node["class_type"]: node["inputs"] for node in graph.values()}
    assert "FaceGenStyle" not in nodes and "style" not in nodes["FaceGenSampler"]
    sampler = {name: nodes["FaceGenSampler"][name] for name in ("prompt", "width", "height", "guidance_scale")}
    assert sampler == {"prompt": "a sailor", "width": 128, "height": 144, "guidance_scale": 4}
    assert (nodes["ImageScale"]["width"], nodes["ImageScale"]["height"]) == (64, 72)


def test_head_shot_tells_what_sdxl_lacks(server):
    server.comfy.choices |= {"CheckpointLoaderSimple": [], "FaceGenLoadFaceID": []}
    answer = server.submit(BODY, "v6/image_editing/head_shot")
    assert answer["meta"]["flavour"] == "tiny" and "because sdxl lacks files. checkpoint: RealVisXL" in answer["tip"]


# --- sizes


def test_the_pictures_are_as_large_as_the_photo(tmp_path):
    with ApiServer(tmp_path, MemoryBackend(), enabled=True) as server:
        body = {name: value for name, value in BODY.items() if name not in ("width", "height")}
        answer = server.submit({**body, "face_image": data_uri(size=(300, 360)), "samples": 2})
        assert (answer["meta"]["width"], answer["meta"]["height"], answer["meta"]["samples"]) == (304, 360, 2)
        assert Image.open(io.BytesIO(server.get(answer["output"][0])[1])).size == (304, 360)
        answer = server.submit({**body, "face_image": data_uri(size=(1000, 1500)), "samples": 2})
        assert (answer["meta"]["width"], answer["meta"]["height"], answer["tip"]) == (512, 768, "samples is 1 at 512x768.")
        answer = server.submit({**body, "width": "768", "height": "432"})
        assert (answer["meta"]["width"], answer["meta"]["height"]) == (512, 288)
        assert answer["tip"] == "The size was 768x432 and is now 512x288."


# --- what the machine is asked


def test_how_many_are_in_work(held):
    for owner in ("a-token-of-anna-123", "a-token-of-anna-123", "a-token-of-ben-4567"):
        assert as_owner(held, "/v6/image_editing/face_gen", owner, **BODY | {"key": owner})["status"] == "processing"
    assert as_owner(held, COUNT)["request_count"] == 3
    assert as_owner(held, f"/api{COUNT}", "a-token-of-anna-123") == {
        "status": "success",
        "message": "2 requests are in work.",
        "request_count": 2,
    }
    status, answer = held.get(COUNT, headers={"Authorization": "Bearer a-token-of-ben-4567"})
    assert status == 200 and answer["request_count"] == 1 and answer["message"] == "1 request is in work."


@pytest.mark.parametrize("path", [COUNT, *DETAILS, *CLEAR])
def test_the_machine_is_asked_with_a_token_alone(held, path):
    for body in ({}, {"key": "not-a-token-of-ours"}):
        assert held.post(path, body)[0] == 401
    assert held.post(path, {"key": "the-token-of-the-owner"})[0] == 200


@pytest.mark.parametrize("path", CLEAR)
def test_clearing_the_queue_leaves_what_runs_and_what_is_another_s(held, backend, path):
    anna, ben = "a-token-of-anna-123", "a-token-of-ben-4567"
    running = as_owner(held, "/v6/image_editing/face_gen", anna, **{**BODY, "key": anna})["id"]
    until(lambda: len(backend.asked) > 2)
    backend.waiting = True
    ids = {owner: as_owner(held, "/v6/image_editing/face_gen", owner, **{**BODY, "key": owner})["id"] for owner in (anna, ben)}
    until(lambda: len(backend.works) == 3)
    queue = as_owner(held, DETAILS[0])["output"]["queue"]
    assert queue == {"running": 1, "waiting": 2, "most": 9}
    assert as_owner(held, path, anna) == {"status": "success", "message": "1 request was cancelled.", "cleared": 1}
    told = {owner: as_owner(held, f"/v6/image_editing/fetch/{id}", owner) for owner, id in ids.items()}
    assert told[anna]["message"] == "The request was cancelled." and told[ben]["status"] == "processing"
    assert as_owner(held, path)["cleared"] == 1, "the machine's own token clears everybody's"
    assert as_owner(held, f"/v6/image_editing/fetch/{ben and running}", anna)["status"] == "processing"


def test_what_the_machine_is_made_of(held, backend):
    answer = as_owner(held, DETAILS[0])
    assert answer["output"]["devices"] == [{"name": "memory"}] and answer["output"]["flavours"] == ["sd15", "sdxl", "tiny"]
    backend.away = "It can't be asked just now."
    assert held.post(DETAILS[0], {"key": "the-token-of-the-owner"})[0] == 503


def test_comfyui_tells_its_devices_and_no_paths(tmp_path):
    with LocalServer(tmp_path, enabled=True) as server:
        answer = server.post(DETAILS[0], {})[1]["output"]
        assert answer["comfyui_version"] == "0.0.0" and answer["devices"] == [
            {"name": "cpu", "type": "cpu", "vram_total": 8, "vram_free": 4}
        ]
