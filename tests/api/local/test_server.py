"""The local Face Generator API over real HTTP: submit, wait, fetch, cancel, restart, clean up."""

import base64
import io
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from local_api_server import BODY, SUBMIT_URL
from waiting import until

# --- submit and fetch


@pytest.mark.parametrize(
    "family", ["v6/image_editing/face_gen", "v1/enterprise/image_editing/face_gen", "v1/enterprise/face_gen/make_gen"]
)
def test_a_request_becomes_pictures(any_server, family):
    answer = any_server.submit({**BODY, "samples": 2, "seed": 5}, family)
    assert answer["status"] == "success" and isinstance(answer["id"], int)
    assert answer["meta"]["seed"] == 5 and answer["generationTime"] == 1.5
    pictures = [any_server.picture(url) for url in answer["output"]]
    assert [p.size for p in pictures] == [(64, 72)] * 2
    assert [np.asarray(p)[0, 0].tolist() for p in pictures] == [[200, 0, 0], [200, 1, 0]]
    assert all(p.info == {} for p in pictures)
    again = any_server.post(f"/{family.rpartition('/')[0]}/fetch/{answer['id']}")[1]
    assert again == answer


def test_a_style_of_the_user_s_own_is_drawn_as_soon_as_its_file_is_there(server):
    refused = server.submit({**BODY, "style": "oil"})
    assert refused["message"] == {"style": ["The style field must be one of realistic, anime, 3d, chibi, comic, got 'oil'."]}
    server.styles.append("oil")
    assert server.submit({**BODY, "style": "oil"})["status"] == "success"
    (graph,) = server.made
    assert [n["inputs"]["style"] for n in graph.values() if n["class_type"] == "FaceGenStyle"] == ["oil"]


def test_the_graph_has_the_requests_values(server):
    server.submit({**BODY, "style": "anime", "negative_prompt": "blurry", "s_scale": 0.3, "guidance_scale": 4, "seed": 3})
    (graph,) = server.made
    by_class = {node["class_type"]: node["inputs"] for node in graph.values()}
    assert by_class["FaceGenStyle"] == {"style": "anime", "prompt": "a sailor", "negative_prompt": "blurry"}
    sampler = by_class["FaceGenSampler"]
    wanted = {"s_scale": 0.3, "guidance_scale": 4, "seed": 3, "width": 64, "height": 72, "num_inference_steps": 31}
    assert {name: sampler[name] for name in wanted} == wanted
    assert by_class["CLIPVisionLoader"] == {"clip_name": "vit_h.safetensors"}


def test_without_a_seed_each_request_has_its_own(any_server):
    seeds = [any_server.submit({**BODY, "seed": seed})["meta"]["seed"] for seed in (None, "null", -1)]
    assert len(set(seeds)) == 3 and all(isinstance(seed, int) for seed in seeds)


def test_a_slow_request_is_processing_then_fetched(any_server):
    any_server.configure(enabled=True, hold_seconds=0.2, poll_seconds=0.3)
    any_server.gate.clear()
    answer = any_server.submit({**BODY, "samples": 2})
    assert answer["status"] == "processing" and answer["output"] == [] and answer["eta"] >= 1
    assert answer["future_links"] == answer["proxy_links"] and len(answer["future_links"]) == 2
    began = time.monotonic()
    assert any_server.post(answer["fetch_result"])[1]["status"] == "processing"
    assert 0.25 < time.monotonic() - began < 60
    any_server.gate.set()
    until(lambda: any_server.fetch(answer["id"])["status"] != "processing")
    done = any_server.fetch(answer["id"])
    assert done["status"] == "success" and done["output"] == answer["future_links"]
    for path, body in ((f"/v6/images/fetch/{answer['id']}", {}), ("/api/v6/images/fetch", {"request_id": str(answer["id"])})):
        assert any_server.post(path, body)[1] == done


def test_waiting_on_a_link_that_was_handed_out_early(any_server):
    any_server.configure(enabled=True, hold_seconds=0)
    any_server.gate.clear()
    link = any_server.submit(BODY)["future_links"][0]
    threading.Timer(0.5, any_server.gate.set).start()
    assert any_server.picture(link).size == (64, 72)


def test_base64_pictures(any_server):
    answer = any_server.submit({**BODY, "base64": "yes"})
    (text,), (link,) = answer["output"], answer["proxy_links"]
    assert link.endswith(".base64") and any_server.get(link)[1].decode() == text
    assert Image.open(io.BytesIO(base64.b64decode(text, validate=True))).size == (64, 72)


@pytest.mark.parametrize("identifier", ["0", "-1", "999", "abc", "9" * 30, "1.0", "%00", "%D9%A1"])
def test_an_id_that_never_was(any_server, identifier):
    status, answer = any_server.post(f"/api/v6/image_editing/fetch/{identifier}")
    assert status == 200 and answer["status"] == "error" and "no request with this id" in answer["message"]
    assert "Its id is needed" in any_server.post("/api/v6/images/fetch", {})[1]["message"]


# --- failures

NO_FACE = "No face was found in face_image. Send a photo with one clear face and some room around it, down to the shoulders."


@pytest.mark.parametrize(
    ("node", "kind", "says", "told"),
    [
        ("FaceGenApplyFaceID", "WrongBaseModelError", "Apply FaceID: It is for SDXL.", "Apply FaceID: It is for SDXL."),
        ("VAEDecode", "OutOfMemoryError", "out of memory", "VAEDecode: out of memory"),
        ("FaceGenEmbedFace", "NoFaceError", "Embed Face: No face found. Lower min_confidence on the node.", NO_FACE),
        ("FaceGenCombineFaces", "NoFaceError", "Combine Faces: There are none.", "Combine Faces: There are none."),
    ],
)
def test_comfyui_says_why_a_picture_failed(server, node, kind, says, told):
    """Our nodes say their names themselves. Of a photo without a face a client is told without any."""
    server.comfy.break_at, server.comfy.break_with, server.comfy.break_kind = node, says, kind
    answer = server.submit(BODY)
    assert answer == {
        "status": "failed",
        "id": answer["id"],
        "output": "",
        "message": told,
    }
    assert server.fetch(answer["id"]) == answer


@pytest.mark.parametrize("stage", ["running", "pending"])
def test_cancel_by_id(server, stage):
    server.configure(enabled=True, hold_seconds=0.1, poll_seconds=0.1)
    server.comfy.gate.clear()
    ids = [server.submit(BODY)["id"] for _ in range(2)]
    server.comfy.wait_for(2)
    target, other = ids if stage == "running" else reversed(ids)
    answer = server.post(f"/api/v6/image_editing/cancel/{target}")[1]
    assert answer["status"] == "failed" and "cancelled" in answer["message"]
    server.comfy.gate.set()
    assert server.fetch(other, timeout=20)["status"] in ("processing", "success")
    until(lambda: server.fetch(other)["status"] == "success")
    assert server.fetch(target) == answer
    assert len(server.comfy.history) == (2 if stage == "running" else 1)


def test_cancelled_on_its_way_into_the_queue(server):
    server.configure(enabled=True, hold_seconds=0)
    server.comfy.gate.clear()
    server.comfy.door.clear()
    identifier = server.submit(BODY)["id"]
    until(lambda: server.comfy.knocked)
    answer = server.post(f"/api/v6/image_editing/cancel/{identifier}")[1]
    assert "cancelled" in answer["message"]
    server.comfy.door.set()
    until(lambda: not any(server.photos.iterdir()))
    assert len(server.made) == 1 and not server.comfy.pending
    assert not server.comfy.running
    assert server.fetch(identifier) == answer


def test_a_request_removed_from_comfyuis_queue_is_failed(server):
    server.configure(enabled=True, hold_seconds=10)
    server.comfy.gate.clear()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(server.submit, BODY)
        server.comfy.wait_for(1)
        second = pool.submit(server.submit, BODY)
        server.comfy.wait_for(2)
        server.comfy.pending.clear()
        assert "taken out of ComfyUI's queue" in second.result()["message"]
        server.comfy.gate.set()
        assert first.result()["status"] == "success"


def test_a_file_that_comfyui_lacks_names_the_setting(server):
    server.configure(enabled=True, flavours={"sd15": {"checkpoint": "gone.safetensors"}})
    answer = server.submit(BODY)
    assert answer["status"] == "failed"
    assert "checkpoint: gone.safetensors is missing; ComfyUI has sd15.safetensors" in answer["message"]


# --- load


def test_fifty_at_once_are_neither_lost_nor_doubled(server):
    server.configure(enabled=True, max_queued=50, hold_seconds=60)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda seed: server.submit({**BODY, "seed": seed}), range(50)))
    assert [a["status"] for a in answers] == ["success"] * 50
    assert len({a["id"] for a in answers}) == len(server.made) == 50
    assert [a["meta"]["seed"] for a in answers] == list(range(50))
    assert sorted(graph["sampler"]["inputs"]["seed"] for graph in server.made) == list(range(50))


def test_beyond_the_bound_requests_are_told_to_come_back(any_server):
    any_server.configure(enabled=True, max_queued=3, hold_seconds=30)
    any_server.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(any_server.post, SUBMIT_URL, BODY) for _ in range(8)]
        until(lambda: sum(future.done() for future in held) >= 5)
        any_server.gate.set()
        answers = [future.result() for future in held]
    refused = [answer for status, answer in answers if status == 429]
    assert len(refused) == 5 and sum(answer["status"] == "success" for _, answer in answers) == 3
    assert all(answer["retry_after"] >= 1 and "Maximum 3 queued requests" in answer["message"] for answer in refused)
