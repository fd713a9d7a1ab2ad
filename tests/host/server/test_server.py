"""The sample workflow, queued over HTTP to a real ComfyUI server with small models of the real formats."""

import copy
import json
import time
import urllib.request

import numpy as np
import pytest
from PIL import Image

import workflows
from host_server import COMFYUI

SMALL = {"1": {"ckpt_name": "sd15.safetensors"}, "3": {"clip_name": "vit_l.safetensors"}}


@pytest.fixture(scope="session")
def photo(base_directory):
    from skimage import data

    Image.fromarray(data.astronaut()).save(base_directory / "input" / "face.jpg", quality=95)


@pytest.fixture
def graph(server, photo):
    """portrait_sd15 with the test's model files, small and quick."""
    graph = workflows.with_photos(workflows.load("api/portrait_sd15.json"))
    for node, inputs in SMALL.items():
        graph[node]["inputs"] |= inputs
    graph["8"]["inputs"] |= {"width": 64, "height": 96, "samples": 2, "num_inference_steps": 3}
    return graph


def pictures(server, entry, node="11"):
    for image in entry["outputs"][node]["images"]:
        folder = server.base / image["type"] / image["subfolder"]
        yield folder / image["filename"]


def test_photo_to_portrait(server, graph):
    entry = server.run(graph)
    assert entry["status"]["status_str"] == "success", server.tail()
    files = list(pictures(server, entry))
    assert len(files) == 2
    drawn = [np.asarray(Image.open(f).convert("RGB"), dtype=np.float32) for f in files]
    assert [d.shape for d in drawn] == [(96, 64, 3)] * 2
    assert all(d.std() > 5 for d in drawn) and np.abs(drawn[0] - drawn[1]).mean() > 1
    assert json.loads(Image.open(files[0]).text["prompt"])["8"]["class_type"] == "FaceGenSampler"


def test_a_second_run_is_all_cached(server, graph):
    server.run(graph)
    cached = server.messages(server.run(graph))["execution_cached"]["nodes"]
    # Output nodes without a change are cached too, and the style file was not touched.
    assert set(graph) == set(cached)


def test_the_person_is_in_the_picture(server, graph):
    """Without FaceID the same seed gives another picture; removing the node gives the plain one back, bit for bit."""

    def stock(model):
        plain = {k: copy.deepcopy(graph[k]) for k in ("1", "2", "3", "4", "5", "6")}
        plain["20"] = {"class_type": "CLIPTextEncode", "inputs": {"text": "a woman", "clip": ["1", 1]}}
        plain["21"] = {"class_type": "EmptyLatentImage", "inputs": {"width": 64, "height": 64, "batch_size": 1}}
        plain["22"] = {
            "class_type": "FaceGenApplyFaceID",
            "inputs": {
                "model": ["1", 0],
                "faceid": ["6", 0],
                "face_embeds": ["5", 0],
                "weight": 1.0,
                "s_scale": 1.0,
                "lora_strength": 1.0,
                "start_percent": 0.0,
                "end_percent": 1.0,
                "layer_weights": "",
            },
        }
        plain["23"] = {
            "class_type": "KSampler",
            "inputs": {
                "model": model,
                "positive": ["20", 0],
                "negative": ["20", 0],
                "latent_image": ["21", 0],
                "seed": 1,
                "steps": 2,
                "cfg": 5.0,
                "sampler_name": "euler",
                "scheduler": "normal",
                "denoise": 1.0,
            },
        }
        plain["24"] = {"class_type": "VAEDecode", "inputs": {"samples": ["23", 0], "vae": ["1", 2]}}
        plain["25"] = {"class_type": "SaveImage", "inputs": {"images": ["24", 0], "filename_prefix": "stock"}}
        entry = server.run(plain)
        assert entry["status"]["status_str"] == "success", server.tail()
        cached = server.messages(entry)["execution_cached"]["nodes"]
        assert "23" not in cached  # drawn anew, on the model that stayed loaded
        (file,) = pictures(server, entry, "25")
        return np.asarray(Image.open(file))

    plain, faceid, again = stock(["1", 0]), stock(["22", 0]), stock(["1", 0])
    assert np.abs(plain.astype(int) - faceid).mean() > 0.5
    assert np.array_equal(plain, again)


def test_cancel_in_mid_sampling_leaves_the_server_working(server, graph):
    graph["8"]["inputs"] |= {"num_inference_steps": 200, "seed": 99, "width": 256, "height": 256}
    prompt = server.queue(graph)
    deadline = time.monotonic() + 120
    while not sampling(server):
        assert time.monotonic() < deadline, server.tail()
        time.sleep(0.05)
    time.sleep(1)
    server.request("/interrupt", {})
    entry = server.wait(prompt, timeout=60)
    assert "execution_interrupted" in server.messages(entry)
    graph["8"]["inputs"] |= {"num_inference_steps": 2, "seed": 5, "width": 64, "height": 64}
    assert server.run(graph)["status"]["status_str"] == "success", server.tail()


def sampling(server):
    """Whether the sampler's progress bar has begun to move."""
    return " 0/200" in server.tail(3) or "/200 [" in server.tail(3)


def error_of(server, entry):
    assert entry["status"]["status_str"] == "error", entry["status"]
    return server.messages(entry)["execution_error"]


def test_no_face_says_so_in_the_graph(server, graph):
    Image.new("RGB", (320, 200)).save(server.base / "input" / "black.png")
    graph["2"]["inputs"]["image"] = "black.png"
    error = error_of(server, server.run(graph))
    assert error["node_type"] == "FaceGenEmbedFace"
    assert error["exception_message"].startswith("Embed Face: No face found in the 320x200 picture")
    assert error["exception_type"] == "NoFaceError"  # shown before the message, and no path
    advice, details = (error["exception_message"].index(text) for text in ("lower min_confidence on", "Detector sizes tried"))
    assert advice < details


def test_a_file_that_is_not_faceid_says_so_in_the_graph(server, graph):
    (server.base / "models" / "ipadapter" / "notes.safetensors").write_bytes(b"hello")
    try:
        graph["6"]["inputs"]["faceid_file"] = "notes.safetensors"
        error = error_of(server, server.run(graph))
    finally:
        (server.base / "models" / "ipadapter" / "notes.safetensors").unlink()
    assert error["node_type"] == "FaceGenLoadFaceID"
    assert "notes.safetensors" in error["exception_message"]


# Loader and its input -> what it opens, below the base folder; a name of such a file; what the message says of folder and cure.
LOADERS = {
    ("FaceGenLoadFaceID", "faceid_file"): (
        "models/ipadapter/ip-adapter-faceid-plusv2_sd15.bin",
        "ip-adapter-faceid-plusv2_sd15.bin",
        (
            "models/ipadapter",
            "(157 MB; licence: non-commercial research only; source: https://huggingface.co/h94/IP-Adapter-FaceID",
            "models download faceid-plusv2_sd15",
        ),
    ),
    ("FaceGenLoadFaceAnalyzer", "model_pack"): (
        "models/insightface/models/buffalo_l",
        "buffalo_l",
        (
            "models/insightface/models/buffalo_l",
            "models download buffalo_l",
            "289 MB; licence: non-commercial research only",
            "source: https://github.com/deepinsight/insightface",
        ),
    ),
    ("FaceGenLoadFaceEmbeds", "face_file"): (
        "user/facegen/faces",
        "anna_00001_.safetensors",
        ("user/facegen/faces", "Save Face Embeds"),
    ),
}


@pytest.fixture(params=LOADERS, ids=lambda loader: loader[0])
def without_file(server, request):
    """A loader, its input and what it would open, which is out of sight."""
    path = server.base / LOADERS[request.param][0]
    aside = server.base / "aside"
    moved = path.exists()
    if moved:
        path.rename(aside)
    yield *request.param, *LOADERS[request.param][1:]
    if moved:
        aside.rename(path)


def offered(server, kind, name):
    spec = server.get(f"/object_info/{kind}")[kind]["input"]["required"][name]
    return spec[0] if isinstance(spec[0], list) else spec[1]["options"]


def test_a_loader_without_files_says_what_to_do(server, without_file):
    """In its list, and when it is queued all the same: with that entry, or with the file that a saved workflow names."""
    kind, name, file, words = without_file
    (entry,) = offered(server, kind, name)
    assert entry.startswith("missing: ") and words[0].removesuffix("/buffalo_l") in entry and words[1].rsplit("/")[-1] in entry
    others = {"provider": "CPU", "min_confidence": 0.5, "recogniser": "any"}
    for value in (entry, file):
        graph = {
            "1": {"class_type": kind, "inputs": {name: value, **others}},
            "2": {"class_type": "PreviewAny", "inputs": {"source": ["1", 0]}},
        }
        with pytest.raises(RuntimeError) as refused:
            server.queue(graph)
        said = json.loads(str(refused.value).split(": 400 ")[1])["node_errors"]["1"]["errors"][0]["details"]
        assert all(word in said for word in words), said
        assert value != file or file in said


def test_a_new_file_is_offered_at_once(server):
    """As the front end's R key asks for it."""
    folder = server.base / "models" / "ipadapter"
    before = offered(server, "FaceGenLoadFaceID", "faceid_file")
    (folder / "new.safetensors").write_bytes(b"")
    try:
        assert offered(server, "FaceGenLoadFaceID", "faceid_file") == sorted([*before, "new.safetensors"])
    finally:
        (folder / "new.safetensors").unlink()


def test_unsafe_pictures_are_saved_redacted(server, graph):
    """At threshold 0 every picture counts as unsafe."""
    graph["10"]["inputs"]["threshold"] = 0.0
    for file in pictures(server, server.run(graph)):
        assert np.asarray(Image.open(file)).max() == 0


def test_nothing_failed_while_loading(server):
    assert "IMPORT FAILED" not in server.log.read_text()
    assert urllib.request.urlopen(f"http://127.0.0.1:{server.port}/system_stats").status == 200
    assert COMFYUI


def test_the_registry_s_archive_is_all_that_it_takes(server):
    """Every test on this server runs the files that are shipped; so are all nodes there, each from these files."""
    pack = server.base / "custom_nodes" / "my-faces"
    assert not pack.is_symlink() and not (pack / "tests").exists() and not (pack / "tools").exists()
    offered = server.get("/object_info")
    ours = {name for name, node in offered.items() if node["python_module"] == "custom_nodes.my-faces"}
    assert ours == set(json.loads((pack / "node_list.json").read_text(encoding="utf-8")))
