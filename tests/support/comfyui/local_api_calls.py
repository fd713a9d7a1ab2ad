"""Calls of the local API in a running ComfyUI, and what answers have to be."""

import io
import json
import time
import urllib.request

import numpy as np
from PIL import Image

SMALL = {"width": 64, "height": 64, "num_inference_steps": 21}


def configure(base, **settings):
    path = base / "user" / "facegen" / "local_api.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"enabled": True, "hold_seconds": 600, "allowed_hosts": ["127.0.0.1"], **settings}))
    path.chmod(0o600)


def switch(server, enabled):
    return json.loads(server.request("/facegen/settings", {"local_api": {"enabled": enabled}}))["local_api"]


def picture(url):
    with urllib.request.urlopen(url) as answer:
        return Image.open(io.BytesIO(answer.read()))


def check(answer, size=(64, 64), count=1):
    assert answer["status"] == "success", answer
    pictures = [np.asarray(picture(url), dtype=np.float32) for url in answer["output"]]
    assert [p.shape for p in pictures] == [(size[1], size[0], 3)] * count
    assert all(p.std() > 3 for p in pictures)
    return pictures


def submit(server, face, **values):
    """The first of a server also waits for the models."""
    body = {"prompt": "a", "face_image": face, **SMALL, **values}
    return json.loads(server.request("/v6/image_editing/face_gen", body, timeout=300))


def fetch(server, identifier):
    return json.loads(server.request(f"/v6/image_editing/fetch/{identifier}", {}))


def finished(server, identifier):
    deadline = time.monotonic() + 180
    while (answer := fetch(server, identifier))["status"] == "processing":
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.1)
    return answer
