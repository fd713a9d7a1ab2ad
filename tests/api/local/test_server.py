"""The local Face Generator API over real HTTP: submit, wait, fetch, cancel, restart, clean up."""

import base64
import io
import json
import logging
import os
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from facegen.api.local import runner as runner_module
from facegen.api.local.routes.paths import UPLOADS
from local_api_server import BODY, KEY, SUBMIT_URL, LocalServer, data_uri
from pictures import HEIC
from waiting import until


def picture(server, url):
    status, content = server.get(url)
    assert status == 200, content
    return Image.open(io.BytesIO(content))


# --- submit and fetch


@pytest.mark.parametrize(
    "family", ["v6/image_editing/face_gen", "v1/enterprise/image_editing/face_gen", "v1/enterprise/face_gen/make_gen"]
)
def test_a_request_becomes_pictures(any_server, family):
    answer = any_server.submit({**BODY, "samples": 2, "seed": 5}, family)
    assert answer["status"] == "success" and isinstance(answer["id"], int)
    assert answer["meta"]["seed"] == 5 and answer["generationTime"] == 1.5
    pictures = [picture(any_server, url) for url in answer["output"]]
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


def test_a_slow_request_is_processing_then_fetched(server):
    server.configure(enabled=True, hold_seconds=0.2, poll_seconds=0.3)
    server.comfy.gate.clear()
    answer = server.submit({**BODY, "samples": 2})
    assert answer["status"] == "processing" and answer["output"] == [] and answer["eta"] >= 1
    assert answer["future_links"] == answer["proxy_links"] and len(answer["future_links"]) == 2
    began = time.monotonic()
    assert server.post(answer["fetch_result"])[1]["status"] == "processing"
    assert 0.25 < time.monotonic() - began < 5
    server.comfy.gate.set()
    until(lambda: server.fetch(answer["id"])["status"] != "processing")
    done = server.fetch(answer["id"])
    assert done["status"] == "success" and done["output"] == answer["future_links"]
    for path, body in ((f"/v6/images/fetch/{answer['id']}", {}), ("/api/v6/images/fetch", {"request_id": str(answer["id"])})):
        assert server.post(path, body)[1] == done


def test_waiting_on_a_link_that_was_handed_out_early(server):
    server.configure(enabled=True, hold_seconds=0)
    server.comfy.gate.clear()
    link = server.submit(BODY)["future_links"][0]
    threading.Timer(0.5, server.comfy.gate.set).start()
    assert picture(server, link).size == (64, 72)


def test_base64_pictures(any_server):
    answer = any_server.submit({**BODY, "base64": "yes"})
    (text,), (link,) = answer["output"], answer["proxy_links"]
    assert link.endswith(".base64") and any_server.get(link)[1].decode() == text
    assert Image.open(io.BytesIO(base64.b64decode(text, validate=True))).size == (64, 72)


def test_a_face_as_bare_base64(any_server):
    answer = any_server.submit({**BODY, "face_image": data_uri(90).partition(",")[2], "base64": True})
    assert np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["output"][0]))))[0, 0, 0] == 90


@pytest.mark.parametrize(
    ("path", "name"), [("v6/base64_to_url", "base64_string"), ("v6/image_editing/base64_to_url", "init_image")]
)
def test_an_uploaded_face_is_used(any_server, path, name):
    (link,) = any_server.post(f"/api/{path}", {"key": KEY, name: data_uri(120)})[1]["output"]
    (url,) = any_server.submit({**BODY, "face_image": link})["output"]
    assert np.asarray(picture(any_server, url))[0, 0, 0] == 120
    error = any_server.post(f"/api/{path}", {"key": KEY, name: "no picture"})[1]
    assert error["status"] == "error" and name in error["message"]


def test_a_result_is_used_as_the_next_face(any_server):
    (first,) = any_server.submit({**BODY, "face_image": data_uri(0)})["output"]
    assert any_server.submit({**BODY, "face_image": first})["status"] == "success"


@pytest.mark.parametrize("identifier", ["0", "-1", "999", "abc", "9" * 30, "1.0", "%00", "%D9%A1"])
def test_an_id_that_never_was(any_server, identifier):
    status, answer = any_server.post(f"/api/v6/image_editing/fetch/{identifier}")
    assert status == 200 and answer["status"] == "error" and "no request with this id" in answer["message"]


# --- failures

NO_FACE = "No face was found in face_image. Send a photo with one clear face and some room around it, down to the shoulders."


def test_a_photo_of_an_iphone_is_told_what_to_do(any_server):
    text = base64.b64encode(HEIC).decode()
    for photo in (text, f"data:image/heic;base64,{text}", f"data:image/jpeg;base64,{text}"):
        answer = any_server.submit({**BODY, "face_image": photo})
        assert "It is a HEIC picture" in answer["message"]["face_image"][0], answer
        for path, name in UPLOADS.items():
            assert "Save it as JPEG first." in any_server.post(path, {name: photo})[1]["message"][name][0]


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


def test_beyond_the_bound_requests_are_told_to_come_back(server):
    server.configure(enabled=True, max_queued=3, hold_seconds=30)
    server.comfy.gate.clear()
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(server.post, SUBMIT_URL, BODY) for _ in range(8)]
        until(lambda: sum(future.done() for future in held) >= 5, 20)
        server.comfy.gate.set()
        answers = [future.result() for future in held]
    refused = [answer for status, answer in answers if status == 429]
    assert len(refused) == 5 and sum(answer["status"] == "success" for _, answer in answers) == 3
    assert all(answer["retry_after"] >= 1 and "Maximum 3 queued requests" in answer["message"] for answer in refused)


@pytest.mark.parametrize("as_base64", [False, True])
def test_pictures_that_somebody_deleted(any_server, as_base64):
    answer = any_server.submit({**BODY, "base64": as_base64})
    for path in (any_server.config.parent / "local_api" / "results").iterdir():
        path.unlink()
    gone = any_server.fetch(answer["id"])
    assert gone["status"] == "failed" and "were deleted" in gone["message"]
    assert any_server.get(answer["proxy_links"][0])[0] == 404


def test_photos_that_are_none(any_server):
    file = io.BytesIO()
    Image.new("L", (9000, 9000)).save(file, "PNG")
    whole, jpeg = (base64.b64decode(data_uri(kind=kind).partition(",")[2]) for kind in ("PNG", "JPEG"))
    wrong = {
        "neither a link nor base64": "me.jpg",
        "no JPEG, PNG, WebP": "data:image/png;base64," + base64.b64encode(b"GIF89a" + bytes(50)).decode(),
        "damaged": base64.b64encode(whole[:60]).decode(),
        "damaged (OSError)": base64.b64encode(jpeg[:100]).decode(),
        "million": base64.b64encode(file.getvalue()).decode(),
        "not a public address, so nothing is sent there. If it may be reached, name it in allowed_hosts": "http://10.0.0.1/a",
        "not a public address": " http://localhost/face.jpg",
        "That is not a URL": "http://xn--a\0.example/face.jpg",
        "more than 20 MB": "A" * (28 << 20),
    }
    for message, photo in wrong.items():
        answer = any_server.submit({**BODY, "face_image": photo})
        assert answer["status"] == "error" and message in answer["message"]["face_image"][0], (message, answer)
    assert not any_server.made and not any(any_server.photos.glob("*"))


def test_the_ways_to_write_base64(any_server):
    """Wrapped lines, the URL-safe alphabet without padding, and a data URI that names another type than the picture has."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 31, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "PNG")
    plain = base64.b64encode(file.getvalue()).decode()
    assert "+" in plain and "/" in plain
    wrapped = "\r\n ".join(plain[at : at + 76] for at in range(0, len(plain), 76))
    urlsafe = base64.urlsafe_b64encode(file.getvalue()).decode().rstrip("=")
    for photo in (wrapped, urlsafe, f"data:image/jpeg;base64,{urlsafe}", f"data:application/octet-stream;base64,{plain}"):
        assert any_server.submit({**BODY, "face_image": photo})["status"] == "success"


@pytest.mark.parametrize("kind", ["grey16", "CMYK", "P", "LA", "animated"])
def test_photos_of_every_kind_keep_their_brightness(any_server, kind):
    level = np.full((30, 40), 100 * 257, dtype=np.uint16)
    image, options = Image.fromarray(level), {}
    if kind != "grey16":
        image = Image.new("RGB", (40, 30), (100,) * 3)
    if kind == "animated":
        options = {"save_all": True, "append_images": [Image.new("RGB", (40, 30), "white")]}
    elif kind != "grey16":
        image = image.convert("L").convert(kind) if kind == "LA" else image.convert(kind)
    file = io.BytesIO()
    image.save(file, "JPEG" if kind == "CMYK" else "PNG", **options)
    answer = any_server.submit({**BODY, "face_image": base64.b64encode(file.getvalue()).decode(), "base64": True})
    shade = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["output"][0]))))[0, 0, 0]
    assert abs(int(shade) - 100) < 4


def test_a_photo_lies_on_its_side(server):
    """EXIF orientation is applied, and no metadata is kept."""
    image, exif = Image.new("RGB", (40, 20), (250, 0, 0)), Image.Exif()
    image.paste((0, 0, 250), (0, 0, 20, 20))
    exif[0x0112], exif[0x010F] = 6, "Camera"
    file = io.BytesIO()
    image.save(file, "JPEG", exif=exif, quality=95)
    server.configure(enabled=True, hold_seconds=0)
    server.comfy.gate.clear()
    server.submit({**BODY, "face_image": base64.b64encode(file.getvalue()).decode()})
    server.comfy.wait_for(1)
    (path,) = server.photos.glob("*.png")
    with Image.open(path) as saved:
        assert saved.size == (20, 40) and saved.info == {} and saved.getpixel((10, 5))[2] > 200
    server.comfy.gate.set()


def test_the_face_is_gone_from_disk_when_the_picture_is_there(any_server):
    answer = any_server.submit(BODY)
    assert answer["status"] == "success"
    assert not any(any_server.photos.iterdir())


def test_old_results_are_deleted(tmp_path, monkeypatch):
    age = [0.0]  # hours by which everything is older than it is
    too_old = runner_module.too_old
    monkeypatch.setattr(runner_module, "too_old", lambda hours: too_old(hours - age[0]))
    monkeypatch.setattr(runner_module, "CLEAN_EVERY", 0.05)
    with LocalServer(tmp_path, enabled=True, keep_hours=5) as server:
        answer = server.submit(BODY)
        (upload,) = server.post("/v6/base64_to_url", {"base64_string": data_uri()})[1]["output"]
        age[0] = 4.9
        time.sleep(0.3)
        assert server.fetch(answer["id"]) == answer and server.get(upload)[0] == 200
        age[0] = 5.1
        until(lambda: server.fetch(answer["id"])["status"] != "success" and server.get(upload)[0] != 200)
        assert "no request with this id" in server.fetch(answer["id"])["message"]
        assert server.get(answer["output"][0])[0] == 404
        assert not list(server.temp.glob("*.png"))


# --- restart


def test_every_id_answers_truthfully_after_a_restart(tmp_path):
    with LocalServer(tmp_path, enabled=True, hold_seconds=60) as first:
        done = first.submit(BODY)
        first.configure(enabled=True, hold_seconds=0)
        first.comfy.gate.clear()
        running, pending = (first.submit(BODY)["id"] for _ in range(2))
    with LocalServer(tmp_path) as second:
        again = second.fetch(done["id"])
        assert again["status"] == "success"
        path = again["output"][0].partition("/api/")[2]
        assert picture(second, f"/api/{path}").size == (64, 72)
        for identifier in (running, pending):
            answer = second.fetch(identifier)
            assert answer["status"] == "failed" and "stopped while this request was in work" in answer["message"]
        assert second.submit(BODY)["id"] == pending + 1


def test_two_processes_do_not_share_one_store(server):
    with LocalServer(server.base) as other:
        status, answer = other.post(SUBMIT_URL, BODY)
        assert (
            status == 503
            and "another process" in answer["message"]
            and "user/facegen/local_api/jobs.sqlite" in answer["message"]
        )
    assert server.submit(BODY)["status"] == "success"


# --- secrets


def test_the_clients_key_and_face_are_stored_nowhere(server, caplog):
    """Neither while the request is in work nor afterwards, in no file, no graph and no log, whatever its level."""
    caplog.set_level(logging.DEBUG)
    face = BODY["face_image"].partition(",")[2]

    def check():
        texts = [caplog.text, json.dumps(server.made), json.dumps(server.comfy.history), json.dumps(answer)]
        texts += [path.read_bytes().decode("latin-1") for path in server.base.rglob("*") if path.is_file()]
        assert all(KEY not in text and face not in text for text in texts)

    server.configure(enabled=True, hold_seconds=0)
    server.comfy.gate.clear()
    answer = server.submit({**BODY, "track_id": 5})
    server.comfy.wait_for(1)
    assert any(server.photos.iterdir())
    check()
    server.comfy.gate.set()
    while (answer := server.fetch(answer["id"]))["status"] == "processing":
        pass
    assert answer["status"] == "success"
    check()
    answer = server.submit({**BODY, "style": "oil", "webhook": 5})
    assert answer["status"] == "error"
    check()


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_settings_and_store_are_the_owners_alone(any_server):
    assert any_server.post("/facegen/settings", {"local_api": {"enabled": True}})[0] == 200
    any_server.submit(BODY)
    folder = any_server.config.parent / "local_api"
    for path in (any_server.config, folder / "jobs.sqlite"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "results").stat().st_mode) == 0o700
