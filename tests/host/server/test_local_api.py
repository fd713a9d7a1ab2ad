"""The local Face Generator API in a real ComfyUI server, driven by the clients that were written for the hosted service."""

import base64
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from host_server import ComfyServer
from local_api_server import KEY
from pack import ROOT

POLLING_CLIENT = Path(__file__).parents[2] / "support" / "api" / "polling_client.mjs"
SMALL = {"width": 64, "height": 64, "num_inference_steps": 21}
needs_node = pytest.mark.skipif(not shutil.which("node"), reason="needs Node.js")


@pytest.fixture(scope="module")
def photo():
    from skimage import data

    file = io.BytesIO()
    Image.fromarray(data.astronaut()).save(file, "JPEG", quality=90)
    return file.getvalue()


@pytest.fixture(scope="module")
def face(photo):
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


@pytest.fixture(scope="module")
def face_url(photo):
    """The photo under a URL without an extension."""

    class Site(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(photo)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site) as site:
        threading.Thread(target=site.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{site.server_port}/generations/2f1c9a70"
        site.shutdown()


def configure(base, **settings):
    path = base / "user" / "facegen" / "local_api.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"enabled": True, "hold_seconds": 600, "allowed_hosts": ["127.0.0.1"], **settings}))
    path.chmod(0o600)


def switch(server, enabled):
    return json.loads(server.request("/facegen/settings", {"local_api": {"enabled": enabled}}))["local_api"]


@pytest.fixture(scope="module")
def api(server):
    """The running server's /api, with the local API turned on."""
    assert not server.get("/facegen/settings")["local_api"]["enabled"]
    configure(server.base)
    assert switch(server, True)["enabled"]
    yield f"http://127.0.0.1:{server.port}/api"
    switch(server, False)


def picture(url):
    with urllib.request.urlopen(url) as answer:
        return Image.open(io.BytesIO(answer.read()))


def check(answer, size=(64, 64), count=1):
    assert answer["status"] == "success", answer
    pictures = [np.asarray(picture(url), dtype=np.float32) for url in answer["output"]]
    assert [p.shape for p in pictures] == [(size[1], size[0], 3)] * count
    assert all(p.std() > 3 for p in pictures)
    return pictures


# --- official clients


# Either client at both endpoints: tests/standalone/server/test_serve.py.


@pytest.mark.newest
def test_the_python_sdk(api, face):
    from modelslab_py.core.apis.image_editing import Image_editing
    from modelslab_py.core.client import Client
    from modelslab_py.schemas.image_editing import FacegenSchema

    client = Client(KEY)
    client.base_url = f"{api}/"
    editing = Image_editing(client, enterprise=False)
    answer = editing.facegen(FacegenSchema(prompt="a sailor", face_image=face, width=64, height=64, samples=2))
    one, other = check(answer, count=2)
    assert np.abs(one - other).mean() > 1
    # The SDK's own defaults are outside the contract.
    assert "num_inference_steps was 20, which" in answer["tip"] and "s_scale was 7.5, which" in answer["tip"]
    assert answer["meta"]["s_scale"] == 1.0 and answer["meta"]["num_inference_steps"] == 31
    assert answer["meta"]["files"]["checkpoint"].startswith("sd15")
    assert editing.fetch(str(answer["id"])) == answer


@pytest.mark.newest
def test_the_enterprise_sdk_s_head_shot(api, face):
    from modelslab_py.core.apis.image_editing import Image_editing
    from modelslab_py.core.client import Client
    from modelslab_py.schemas.image_editing import FluxHeadshotSchema, HeadshotSchema

    client = Client(KEY)
    client.base_url = f"{api}/"
    editing = Image_editing(client, enterprise=True)
    answer = editing.headshot(HeadshotSchema(prompt="a sailor", face_image=face, **SMALL))
    check(answer)
    assert "style" not in answer["meta"] and answer["meta"]["guidance_scale"] == 5.0
    refused = editing.flux_headshot(FluxHeadshotSchema(prompt="a sailor", face_image=face))
    assert refused["status"] == "error" and "PuLID" in refused["message"]


@pytest.mark.newest
def test_the_python_sdk_as_the_page_says(api, photo, tmp_path):
    """docs/local-api.md, with this server's port, and small."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "local-api.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "face.jpg").write_bytes(photo)
    code = code.replace("http://127.0.0.1:8188/api", api).replace("face_image=face", "face_image=face, width=64, height=64")
    command = [sys.executable, "-c", f"{code}\nimport json\nprint(json.dumps(answer))"]
    check(json.loads(subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=120).stdout))


@pytest.mark.newest
@pytest.mark.skipif(not shutil.which("curl") or not shutil.which("bash"), reason="needs cURL and a shell")
def test_the_readme_s_command_without_model_files(server, api):
    """As it is printed, but for the port. The tiny model makes the picture while the usual files lack."""
    (command,) = re.findall(r"^printf .*$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    folder = server.base / "models" / "ipadapter"
    folder.rename(server.base / "aside")
    folder.mkdir()
    try:
        here = command.replace("127.0.0.1:8188", f"127.0.0.1:{server.port}") + " --silent"
        done = subprocess.run(["bash", "-c", here], cwd=ROOT, check=True, capture_output=True, timeout=120)
    finally:
        folder.rmdir()
        (server.base / "aside").rename(folder)
    answer = json.loads(done.stdout)
    check(answer, size=(256, 256))  # the photo's
    assert answer["meta"]["flavour"] == "tiny" and answer["meta"]["files"] == {"safety_checker": "nudenet"}
    assert "small demonstration model" in answer["tip"] and "faceid: ip-adapter-faceid-plusv2_sd15.bin is" in answer["tip"]


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


# As the service's pages show it: numbers as strings, "null", and a stray space in a name.
PAGE_BODY = {
    "key": KEY,
    "model_id": "some-model",
    "prompt": "a pirate on a boat",
    "style": "realistic",
    "negative_prompt": "blurry",
    "num_inference_steps": "21",
    "width": "64",
    "height": "64",
    "webhook": "null",
    " track_id": "null",
}


@pytest.mark.skipif(not shutil.which("curl"), reason="needs cURL")
def test_curl(api, face_url):
    url, data = f"{api}/v6/image_editing/face_gen", json.dumps({**PAGE_BODY, "face_image": face_url})
    command = [
        "curl",
        "--silent",
        "--request",
        "POST",
        "--url",
        url,
        "--header",
        "Content-Type: application/json",
        "--data",
        data,
    ]
    check(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


@pytest.mark.newest
def test_python_requests(api, face_url):
    import requests

    url = f"{api}/v1/enterprise/face_gen/make_gen"
    response = requests.post(
        url, headers={"Content-Type": "application/json"}, json={**PAGE_BODY, "face_image": face_url, "base64": "true"}
    )
    answer = response.json()
    assert Image.open(io.BytesIO(base64.b64decode(answer["output"][0]))).size == (64, 64)
    assert requests.get(answer["proxy_links"][0]).text == answer["output"][0]


@pytest.mark.newest
@needs_node
def test_javascript_fetch(api, face_url):
    script = f"""fetch("{api}/v1/enterprise/image_editing/face_gen", {{
        method: "POST", headers: {{ "Content-Type": "application/json" }},
        body: JSON.stringify({json.dumps({**PAGE_BODY, "face_image": face_url})}),
    }}).then(response => response.json()).then(data => console.log(JSON.stringify(data)));"""
    check(json.loads(subprocess.run(["node", "-e", script], check=True, capture_output=True).stdout))


@pytest.mark.newest
@needs_node
def test_a_polling_javascript_client(server, api, face):
    configure(server.base, hold_seconds=0.1, poll_seconds=2)
    body = json.dumps({"prompt": "a sailor", "face_image": face, **SMALL})
    output = subprocess.run(["node", POLLING_CLIENT, api, KEY, body], check=True, capture_output=True).stdout
    configure(server.base)
    answer = json.loads(output)
    assert answer["first"] == "processing"
    check(answer)


# --- ComfyUI's own queue


def submit(server, face, **values):
    return json.loads(server.request("/v6/image_editing/face_gen", {"prompt": "a", "face_image": face, **SMALL, **values}))


def fetch(server, identifier):
    return json.loads(server.request(f"/v6/image_editing/fetch/{identifier}", {}))


def finished(server, identifier):
    deadline = time.monotonic() + 180
    while (answer := fetch(server, identifier))["status"] == "processing":
        assert time.monotonic() < deadline, server.tail()
    return answer


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
def test_twenty_at_once_are_in_comfyuis_queue_and_can_be_cancelled(server, face, quick):
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda seed: submit(server, face, seed=seed), range(20)))
        ids = [answer["id"] for answer in answers]
        assert len(set(ids)) == 20 and {answer["status"] for answer in answers} <= {"processing", "success"}
        cancel = lambda identifier: json.loads(server.request(f"/v6/image_editing/cancel/{identifier}", {}))  # noqa: E731
        deadline = time.monotonic() + 60
        known = lambda: [e[1] for part in server.get("/queue").values() for e in part] + list(server.get("/history"))  # noqa: E731
        while len(server.get("/queue")["queue_pending"]) < 15:  # all but those that are done or running have arrived
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
def test_neither_key_nor_face_is_left_anywhere(server, api, face):
    """After all of the above: not in ComfyUI's history, log, output or user folder, nor in its temporary files."""
    check(submit(server, face, key=KEY))
    start = face.partition(",")[2][:200]
    texts = [json.dumps(server.get("/history")), server.log.read_text(errors="replace")]
    for folder in ("user", "output", "temp", "input"):
        texts += [file.read_bytes().decode("latin-1") for file in (server.base / folder).rglob("*") if file.is_file()]
    assert all(KEY not in text and start not in text for text in texts)
    assert not any((server.base / "temp" / "facegen").iterdir())


@pytest.mark.newest
def test_killed_in_mid_job(base_directory, tmp_path, face):
    """kill -9, then another start: what was done is there, what was in work is reported as failed, ids go on."""
    base = tmp_path / "comfyui"
    for name in ("input", "output", "temp", "user"):
        (base / name).mkdir(parents=True)
    for name in ("models", "custom_nodes"):
        (base / name).symlink_to(base_directory / name, target_is_directory=True)
    configure(base, hold_seconds=0.1)
    with ComfyServer(base) as first:
        done = finished(first, submit(first, face)["id"])
        check(done)
        interrupted = submit(first, face, width=512, height=512, num_inference_steps=41)
        waiting = submit(first, face)
        running(first)
        first.process.kill()
    with ComfyServer(base) as second:
        again = fetch(second, done["id"])
        assert again["status"] == "success" and again["meta"] == done["meta"]
        check({**again, "output": [url.replace(str(first.port), str(second.port)) for url in again["output"]]})
        for job in (interrupted, waiting):
            answer = fetch(second, job["id"])
            assert answer["status"] == "failed" and "stopped while this request was in work" in answer["message"]
        assert submit(second, "nothing")["status"] == "error"
