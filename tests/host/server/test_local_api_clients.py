"""The local Face Generator API in a real ComfyUI server, driven by the clients that were written for the hosted service."""

import base64
import io
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from local_api_calls import SMALL, check, configure, submit
from local_api_server import KEY
from official_clients import (
    head_shot_by_the_python_sdk,
    needs_node,
    polled_by_javascript,
    portraits_by_the_python_sdk,
)
from pack import ROOT

# Either client at both endpoints: tests/standalone/server/test_serve.py.


@pytest.mark.newest
def test_the_python_sdk(api, face):
    answer = portraits_by_the_python_sdk(api, face, enterprise=False, width=64, height=64)
    one, other = check(answer, count=2)
    assert np.abs(one - other).mean() > 1
    assert answer["meta"]["files"]["checkpoint"].startswith("sd15")


@pytest.mark.newest
def test_the_enterprise_sdk_s_head_shot(api, face):
    check(head_shot_by_the_python_sdk(api, face, enterprise=True, width=64, height=64))


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
    answer = polled_by_javascript(api, KEY, face_image=face, **SMALL)
    configure(server.base)
    check(answer)


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
