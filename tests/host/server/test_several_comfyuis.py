"""`serve --comfyui` before two real ComfyUI servers: the official SDK, progress, cancel, one that is killed in the middle."""

import base64
import io
import json
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from facegen.models.tiny_files import DRAWN_FACE, TINY
from host_server import BESIDE, ComfyServer
from local_api_server import KEY
from serve_process import ServeProcess
from waiting import until

FACE = f"data:image/png;base64,{base64.b64encode((TINY / DRAWN_FACE).read_bytes()).decode()}"
SUBMIT = "/api/v6/image_editing/face_gen"
SETTINGS = {"hold_seconds": 0, "poll_seconds": 1, "max_queued": 50}


def base_of_its_own(base_directory, folder):
    """A ComfyUI base folder with the models and packs of another one."""
    for name in ("input", "output", "temp", "user"):
        (folder / name).mkdir(parents=True)
    for name in ("models", "custom_nodes"):
        (folder / name).symlink_to(base_directory / name, target_is_directory=True)
    return folder


def url(comfy):
    return f"http://127.0.0.1:{comfy.port}"


def drawn(comfy):
    """How many graphs it was given."""
    return comfy.log.read_text(errors="replace").count("got prompt")


@pytest.fixture(scope="module")
def two(base_directory, tmp_path_factory):
    bases = [base_of_its_own(base_directory, tmp_path_factory.mktemp("comfies") / name) for name in ("a", "b")]
    with ComfyServer(bases[0], *BESIDE) as first, ComfyServer(bases[1], *BESIDE) as second:
        yield first, second


@pytest.fixture(scope="module")
def front(two, tmp_path_factory):
    options = [word for comfy in two for word in ("--comfyui", url(comfy))]
    with ServeProcess(tmp_path_factory.mktemp("front"), *options, default="tiny", **SETTINGS) as serve:
        serve.wait_until_ready()
        yield serve


def submit(front, **values):
    return front.post(SUBMIT, {"prompt": "a sailor", "face_image": FACE, "num_inference_steps": 21, **values})["id"]


def fetch(front, identifier):
    return front.post(f"/api/v6/image_editing/fetch/{identifier}", {})


def finished(front, identifier, seconds=180):
    until(lambda: fetch(front, identifier)["status"] != "processing", seconds)
    return fetch(front, identifier)


def pictures(answer):
    assert answer["status"] == "success", answer
    read = [Image.open(io.BytesIO(urllib.request.urlopen(link).read())) for link in answer["output"]]
    assert all(np.asarray(picture, dtype=np.float32).std() > 3 for picture in read)
    return read


def test_the_python_sdk(front, two):
    from modelslab_py.core.apis.image_editing import Image_editing
    from modelslab_py.core.client import Client
    from modelslab_py.schemas.image_editing import FacegenSchema

    client = Client(KEY)
    client.base_url = f"{front.url}/api/"
    editing = Image_editing(client)
    answer = editing.facegen(
        FacegenSchema(prompt="a sailor", face_image=FACE, width=128, height=192, samples=2, safety_checker_type="blur")
    )
    done = finished(front, answer["id"])
    one, other = pictures(done)
    assert one.size == (128, 192) and np.abs(np.asarray(one, float) - np.asarray(other, float)).mean() > 1
    assert done["meta"]["flavour"] == "tiny" and done["meta"]["files"] == {"safety_checker": "nudenet"}
    assert editing.fetch(str(answer["id"])) == done


def test_many_at_once_are_spread_and_nothing_of_them_stays(front, two):
    before = [drawn(comfy) for comfy in two]
    with ThreadPoolExecutor(6) as pool:
        ids = list(pool.map(lambda seed: submit(front, seed=seed, width=64, height=64), range(6)))
    assert all(pictures(finished(front, identifier)) for identifier in ids)
    got = [drawn(comfy) - count for comfy, count in zip(two, before, strict=True)]
    assert sum(got) == 6 and min(got) >= 2, "each was made once, and neither was idle"
    until(lambda: not any(comfy.get("/history") or any(comfy.get("/queue").values()) for comfy in two))
    left = [file for comfy in two for file in (comfy.base / "temp").rglob("*.png")]
    assert len(left) >= 12 and all(file.stat().st_size < 100 for file in left), "photos and pictures are one pixel now"


@pytest.mark.newest
def test_which_one_makes_it_is_no_difference(front, two):
    """The same request, with one and with the other out of reach."""
    alone = []
    for comfy in two:
        folder = front.base / f"alone-{comfy.port}"
        folder.mkdir()
        with ServeProcess(folder, "--comfyui", url(comfy), default="tiny", **SETTINGS) as serve:
            serve.wait_until_ready()
            (picture,) = pictures(finished(serve, submit(serve, seed=11, width=64, height=64)))
            alone.append(np.asarray(picture))
    assert np.array_equal(*alone)


def test_progress_and_cancel(front, two):
    identifier = submit(front, width=512, height=768, samples=2, num_inference_steps=41, seed=1)
    until(lambda: 0 < fetch(front, identifier).get("meta", {}).get("progress", 0) < 1, 120)
    began = time.monotonic()
    front.post(f"/api/v6/image_editing/cancel/{identifier}", {})
    until(lambda: not any(any(comfy.get("/queue").values()) for comfy in two), 60)
    assert time.monotonic() - began < 30 and fetch(front, identifier)["message"] == "The request was cancelled."
    assert pictures(finished(front, submit(front, width=64, height=64)))


@pytest.mark.newest
def test_a_comfyui_without_the_pack_is_named(base_directory, two, tmp_path):
    bare = ComfyServer(base_of_its_own(base_directory, tmp_path / "bare"), *BESIDE, "--disable-all-custom-nodes")
    (tmp_path / "front").mkdir()
    options = ("--comfyui", url(bare), "--comfyui", url(two[0]))
    with bare, ServeProcess(tmp_path / "front", *options, default="tiny", **SETTINGS) as front:
        front.wait_until_ready()
        assert all(pictures(finished(front, submit(front, width=64, height=64))) for _ in range(2))
        assert drawn(bare) == 0
        (line,) = [json.dumps(line) for line in front.lines() if url(bare) in line["message"]]
        assert "ComfyUI-FaceGen isn't installed there" in line


@pytest.mark.newest
def test_one_is_killed_in_the_middle(two, tmp_path):
    """The other one makes the same picture. When the first is there again, it is given work again."""
    mortal, unhurt = two
    values = {"width": 192, "height": 192, "seed": 5}
    (tmp_path / "front").mkdir()
    options = ("--comfyui", url(mortal), "--comfyui", url(unhurt))
    with ServeProcess(tmp_path / "front", *options, default="tiny", **SETTINGS) as front:
        front.wait_until_ready()
        ids = [submit(front, **values), submit(front, **values)]
        until(lambda: mortal.get("/queue")["queue_running"], 60)
        mortal.process.kill()
        mortal.process.wait()
        answers = [finished(front, identifier, 300) for identifier in ids]
        made = [[np.asarray(picture) for picture in pictures(answer)] for answer in answers]
        assert all(np.array_equal(one, other) for one, other in zip(*made, strict=True))
        lines = [line for line in front.lines() if line.get("level") == "warning"]
        assert any(url(mortal) in line["message"] and "gets no work" in line["message"] for line in lines)
        mortal.__exit__()
        mortal.__enter__()  # with a new log
        until(lambda: finished(front, submit(front, width=64, height=64))["status"] == "success" and drawn(mortal), 120)
        assert [fetch(front, identifier) for identifier in ids] == answers
