"""The blueprints in graphs of their own, and the template that judges the pictures of any model."""

import copy
import json
import re

import numpy as np
import pytest
from PIL import Image

import workflows
from small_runs import Done, apart, asked, of_type, placed, put_photos, small

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module", autouse=True)
def photos(base_directory):
    put_photos(base_directory / "input")


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


def test_portrait_from_a_face_draws_what_its_widgets_say(server, object_info):
    """The subgraph in a graph of its own: photo in, portrait out."""
    graph = placed("Portrait from a face", [(0, "SaveImage", "images", ["blueprint"])])
    pictures = []
    for samples, prompt in ((1, "a woman"), (2, "a woman"), (1, "a man with a hat")):
        given = asked(graph, samples=samples, prompt=prompt)
        pictures.append(list(Done(server, small(workflows.to_api(given, object_info))).pictures()))
    assert [len(p) for p in pictures] == [1, 2, 1]
    assert pictures[0][0].shape == (64, 64, 3) and pictures[0][0].std() > 5
    assert apart(pictures[0][0], pictures[2][0]) > 0.3


def test_embed_a_face_gives_the_face_and_shows_it(server, object_info):
    """The embeds are those of the nodes by themselves: a picture of the same face is as like it as can be."""
    ends = [(0, "FaceGenSaveFaceEmbeds", "face_embeds", ["blueprint"]), (1, "PreviewImage", "images", [])]
    graph = small(workflows.to_api(placed("Embed a face", ends), object_info))
    (analyzer,) = of_type(graph, "FaceGenLoadFaceAnalyzer")
    graph["31"] = {"class_type": "FaceGenLikeness", "inputs": {"image": ["11", 0], "keep": 1, "face_analysis": [analyzer, 0]}}
    graph["31"]["inputs"]["face_embeds"] = graph["21"]["inputs"]["face_embeds"]
    graph["32"] = {"class_type": "PreviewAny", "inputs": {"source": ["31", 1]}}
    done = Done(server, graph)
    assert float(done.entry["outputs"]["32"]["text"][0]) == pytest.approx(1.0, abs=1e-3)
    photo = np.asarray(Image.open(server.base / "input" / "face.jpg"))
    assert done.picture("22").shape == photo.shape and apart(done.picture("22"), photo) > 0.1  # marked
    (saved,) = (server.base / "user" / "facegen" / "faces").glob("blueprint*")
    saved.unlink()
    saved.parent.rmdir()


def judged(graph, likeness, pictures):
    """The graph with these files of the input folder, as one batch, in the place of a model's pictures."""
    for place, name in enumerate(pictures):
        graph[f"p{place}"] = {"class_type": "LoadImage", "inputs": {"image": name}}
    batch = ["p0", 0]
    for place in range(1, len(pictures)):
        graph[f"b{place}"] = {"class_type": "ImageBatch", "inputs": {"image1": batch, "image2": [f"p{place}", 0]}}
        batch = [f"b{place}", 0]
    graph[likeness]["inputs"]["image"] = batch
    return graph


PICTURES = ("face_3.jpg", "other.jpg", "face.jpg")  # the last is the person


def best_first(done, saved, cosines):
    """The pictures that were kept are the most like the person, in this order."""
    assert cosines == sorted(cosines, reverse=True) and cosines[0] > 0.99 > cosines[1]
    kept = list(done.pictures(saved))
    first, *_ = (np.asarray(Image.open(done.server.base / "input" / name)) for name in reversed(PICTURES))
    assert apart(kept[0], first) < 2 and all(apart(one, first) > 5 for one in kept[1:])
    return len(kept)


def test_keep_the_best_likeness_sorts_any_pictures(server, object_info):
    ends = [(0, "SaveImage", "images", ["best"]), (2, "PreviewAny", "source", [])]
    graph = workflows.to_api(placed("Keep the best likeness", ends), object_info)
    (likeness,) = of_type(graph, "FaceGenLikeness")
    done = Done(server, judged(graph, likeness, PICTURES))
    cosines = [one["cosine"] for one in json.loads(done.entry["outputs"]["22"]["text"][0])]
    assert len(cosines) == 3 and best_first(done, "21", cosines) == 1


def test_judge_any_model_keeps_the_two_most_like_the_person(server):
    """With photos in the place of what Qwen-Image-Edit would draw: its files have 30 GB."""
    graph = workflows.with_photos(copy.deepcopy(workflows.load("api/judge_any_model.json")))
    (likeness,), (save,) = of_type(graph, "FaceGenLikeness"), of_type(graph, "SaveImage")
    graph["shown"] = {"class_type": "PreviewAny", "inputs": {"source": [likeness, 2]}}
    done = Done(server, judged(graph, likeness, PICTURES))
    cosines = [one["cosine"] for one in json.loads(done.entry["outputs"]["shown"]["text"][0])]
    assert len(cosines) == 3 and best_first(done, save, cosines) == 2


def test_judge_any_model_lacks_nothing_but_its_files(server):
    """ComfyUI checks the whole graph before it runs it, and has no complaint besides the three files."""
    graph = workflows.with_photos(copy.deepcopy(workflows.load("api/judge_any_model.json")))
    with pytest.raises(RuntimeError) as refused:
        server.queue(graph)
    answer = json.loads(re.search(r"400 (\{.*\})", str(refused.value), re.DOTALL)[1])
    complaints = {(node["class_type"], e["type"]) for node in answer["node_errors"].values() for e in node["errors"]}
    assert complaints == {(kind, "value_not_in_list") for kind in ("UNETLoader", "CLIPLoader", "VAELoader")}
