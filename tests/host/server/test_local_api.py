"""The local Face Generator API in a real ComfyUI server: its queue, workflows of one's own, and what becomes of requests."""

import base64
import io
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from host_server import BESIDE, ComfyServer
from local_api_calls import SMALL, check, configure, fetch, finished, submit
from pack import ROOT


@pytest.mark.newest
def test_a_style_of_ones_own(server, api, face):
    folder = server.base / "user" / "facegen" / "styles"
    folder.mkdir(exist_ok=True)
    (folder / "Oil painting.json").write_text('{"prompt": "oil painting of {prompt}"}')
    try:
        answer = submit(server, face, style="Oil painting")
        check(answer)
        assert answer["meta"]["style"] == "Oil painting"
    finally:
        (folder / "Oil painting.json").unlink()


@pytest.mark.newest
def test_a_workflow_of_ones_own_whose_pictures_nobody_checks(server, api, face):
    graph = json.loads((ROOT / "workflows" / "api" / "local_sd15.json").read_text(encoding="utf-8"))
    del graph["sampler"]["inputs"]["safety_checker"]
    folder = server.base / "user" / "facegen" / "workflows"
    folder.mkdir(exist_ok=True)
    (folder / "unchecked.json").write_text(json.dumps(graph))
    configure(server.base, default="own", flavours={"own": {"workflow": "unchecked"}})
    try:
        answer = submit(server, face)
        assert answer["status"] == "failed" and "that no safety checker has seen" in answer["message"]
        check(submit(server, face, safety_checker="no"))
    finally:
        configure(server.base)


@pytest.mark.newest
def test_a_flavour_of_one_s_own_makes_flux_headshot_with_stock_nodes(server, api, face):
    """SD1.5 in FLUX's place: the graph is as one for FLUX would be."""
    graph = json.loads((ROOT / "workflows" / "api" / "local_sd15.json").read_text(encoding="utf-8"))
    sampler = graph.pop("sampler")["inputs"]
    del graph["style"]
    nodes = {
        "patched": ("FaceGenApplyFaceID", {"model": ["checkpoint", 0], "faceid": ["faceid", 0], "face_embeds": ["face", 0]}),
        "positive": ("CLIPTextEncode", {"clip": ["checkpoint", 1], "text": ""}),
        "negative": ("ConditioningZeroOut", {"conditioning": ["positive", 0]}),
        "guidance": ("FluxGuidance", {"conditioning": ["positive", 0], "guidance": 3.5}),
        "latent": ("EmptyLatentImage", {"width": 8, "height": 8, "batch_size": 1}),
        "ksampler": (
            "KSampler",
            {
                **{"model": ["patched", 0], "positive": ["guidance", 0], "negative": ["negative", 0]},
                **{"latent_image": ["latent", 0], "seed": 0, "steps": 1, "cfg": 1.0, "denoise": 1.0},
                **{name: sampler[name] for name in ("sampler_name", "scheduler")},
            },
        ),
        "decoded": ("VAEDecode", {"samples": ["ksampler", 0], "vae": ["checkpoint", 2]}),
        "filter": ("FaceGenSafetyFilter", {"image": ["decoded", 0], "safety_checker": ["checker", 0]}),
    }
    graph |= {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    for node in (graph["patched"], graph["filter"]):
        widgets = server.get(f"/object_info/{node['class_type']}")[node["class_type"]]["input"]["required"]
        defaults = {name: spec[1]["default"] for name, spec in widgets.items() if len(spec) > 1 and "default" in spec[1]}
        node["inputs"] = defaults | node["inputs"]
    graph["result"]["inputs"]["images"] = ["filter", 0]
    folder = server.base / "user" / "facegen" / "workflows"
    folder.mkdir(exist_ok=True)
    (folder / "stock.json").write_text(json.dumps(graph))
    configure(server.base, flavours={"own": {"workflow": "stock", "endpoints": ["flux_headshot"]}})
    try:
        body = {"prompt": "a sailor", "face_image": face, **SMALL, "samples": 2}
        answer = json.loads(server.request("/v6/image_editing/flux_headshot", body, timeout=300))
        check(answer, count=2)
        assert answer["meta"]["flavour"] == "own" and answer["meta"]["num_inference_steps"] == 21
    finally:
        configure(server.base)


# --- ComfyUI's own queue


@pytest.fixture
def quick(server, api):
    configure(server.base, hold_seconds=0.1, poll_seconds=0.5, max_queued=50)
    yield
    configure(server.base)


def running(server):
    deadline = time.monotonic() + 60
    while not (queue := server.get("/queue"))["queue_running"]:
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.05)
    return queue


@pytest.mark.newest
def test_fifty_at_once_are_in_comfyuis_queue_and_can_be_cancelled(server, face, quick):
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda seed: submit(server, face, seed=seed), range(50)))
        ids = [answer["id"] for answer in answers]
        assert len(set(ids)) == 50 and {answer["status"] for answer in answers} <= {"processing", "success"}
        cancel = lambda identifier: json.loads(server.request(f"/v6/image_editing/cancel/{identifier}", {}))  # noqa: E731
        deadline = time.monotonic() + 60
        known = lambda: [e[1] for part in server.get("/queue").values() for e in part] + list(server.get("/history"))  # noqa: E731
        while len(server.get("/queue")["queue_pending"]) < 45:  # all but those that are done or running have arrived
            assert time.monotonic() < deadline, server.tail()
            time.sleep(0.1)
        assert len(known()) == len(set(known()))
        stopped = list(pool.map(cancel, ids[3:]))
    assert all(answer["status"] in ("failed", "success") for answer in stopped)
    for identifier in ids[:3]:
        check(finished(server, identifier))
    assert all(finished(server, answer["id"])["status"] == answer["status"] for answer in stopped)
    assert not any(server.get("/queue").values())


def test_interrupted_from_comfyuis_own_interface(server, face, quick):
    identifier = submit(server, face, num_inference_steps=41, width=256, height=256)["id"]
    running(server)
    server.request("/interrupt", {})
    assert finished(server, identifier) == {
        "status": "failed",
        "id": identifier,
        "output": "",
        "message": "The request was cancelled.",
    }


@pytest.mark.newest
def test_a_photo_without_a_face(server, api):
    file = io.BytesIO()
    Image.new("RGB", (300, 200)).save(file, "PNG")
    answer = submit(server, f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}")
    assert answer["status"] == "failed" and answer["message"].startswith("No face was found in face_image. Send a photo")


@pytest.mark.newest
def test_killed_in_mid_job(base_directory, tmp_path, face):
    """kill -9, then another start: what was done is there, what was in work is reported as failed, ids go on."""
    base = tmp_path / "comfyui"
    for name in ("input", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    for name in ("models", "custom_nodes"):
        (base / name).symlink_to(base_directory / name, target_is_directory=True)
    configure(base, hold_seconds=0.1)
    with ComfyServer(base, *BESIDE) as first:
        done = finished(first, submit(first, face)["id"])
        check(done)
        interrupted = submit(first, face, width=512, height=512, num_inference_steps=41)
        waiting = submit(first, face)
        running(first)
        first.process.kill()
    with ComfyServer(base, *BESIDE) as second:
        again = fetch(second, done["id"])
        assert again["status"] == "success" and again["meta"] == done["meta"]
        check({**again, "output": [url.replace(str(first.port), str(second.port)) for url in again["output"]]})
        for job in (interrupted, waiting):
            answer = fetch(second, job["id"])
            assert answer["status"] == "failed" and "stopped while this request was in work" in answer["message"]
        assert submit(second, "nothing")["status"] == "error"
