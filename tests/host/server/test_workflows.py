"""Every sample workflow, run by a real ComfyUI server at an eighth of its size: does it do what it is there for?

In this order ComfyUI keeps the loaded models from one workflow to the next.
"""

import base64
import copy
import io
import json

import numpy as np
import pytest
from PIL import Image

import workflows
from facegen.models.style import BUILT_IN, load_style
from host_models import FACES
from modelslab_server import KEY, RED, ModelsLabServer
from small_runs import Done, apart, of_type, placed, put_photos, small

SAMPLER = "FaceGenSampler"


@pytest.fixture(scope="module", autouse=True)
def photos(base_directory):
    put_photos(base_directory / "input")


@pytest.fixture
def draw(server):
    """draw(name, {node: {input: value}}) -> Done"""

    def run(name, changes=()):
        graph = small(workflows.with_photos(workflows.load(f"api/{name}.json")))
        for number, inputs in dict(changes).items():
            graph[number]["inputs"] |= inputs
        return Done(server, graph)

    return run


def all_differ(pictures):
    return all(apart(a, b) > 0.3 for i, a in enumerate(pictures) for b in pictures[:i])


def photo(graph, place=0):
    return of_type(graph, "LoadImage")[place]


def with_photo(draw, name, done, place=0):
    """The same with another photo."""
    return draw(name, {photo(done.graph, place): {"image": "other.jpg"}})


def test_portrait_sd15(draw):
    done = draw("portrait_sd15")
    assert done.picture().shape == (64, 64, 3) and done.picture().std() > 5
    assert all_differ([done.picture(), with_photo(draw, "portrait_sd15", done).picture()])


@pytest.mark.newest
def test_five_styles(draw):
    """Five pictures that differ, each drawn with what its style file advises."""
    done = draw("five_styles")
    saves = of_type(done.graph, "SaveImage")
    pictures = [done.picture(save) for save in saves]
    assert len(pictures) == 5 and all(p.std() > 5 for p in pictures) and all_differ(pictures)
    names = [node["inputs"]["style"] for node in done.graph.values() if node["class_type"] == "FaceGenStyle"]
    assert names == ["realistic", "anime", "3d", "chibi", "comic"]
    for name, sampler, save in zip(names, of_type(done.graph, SAMPLER), saves, strict=True):
        assert done.graph[sampler]["inputs"]["s_scale"] == load_style(BUILT_IN / f"{name}.json").s_scale
        assert done.graph[save]["inputs"]["filename_prefix"] == f"FaceGen/style_{name}"


@pytest.mark.newest
def test_s_scale_sweep(draw):
    """One row; nothing but s_scale differs from cell to cell."""
    done = draw("s_scale_sweep")
    inputs = [done.graph[sampler]["inputs"] for sampler in of_type(done.graph, SAMPLER)]
    assert [i["s_scale"] for i in inputs] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert all({**i, "s_scale": 0} == {**inputs[0], "s_scale": 0} for i in inputs)
    row, gap = done.picture(), 8
    assert row.shape == (64, 5 * 64 + 4 * gap, 3)
    cells = [row[:, start : start + 64] for start in range(0, row.shape[1], 64 + gap)]
    assert len(cells) == 5 and all_differ(cells)
    gaps = [row[:, start - gap : start] for start in range(64 + gap, row.shape[1], 64 + gap)]
    assert all(g.min() == 255 for g in gaps)


@pytest.mark.newest
def test_several_photos_one_person(draw):
    """Every photo counts: without it, the person is another."""
    name = "several_photos_one_person"
    done = draw(name)
    (combine,) = of_type(done.graph, "FaceGenCombineFaces")
    without = [draw(name, {combine: {f"weight_{n}": 0.0}}).picture() for n in (1, 2, 3)]
    assert done.picture().std() > 5 and all_differ([done.picture(), *without])


def test_two_people_masks(draw):
    """Another person on one side changes the picture there, and much less on the other.

    With a low weight: what a network of random weights is given in one place it passes on to all others, the more the bigger.
    """
    name, sides = "two_people_masks", (np.s_[:, :40], np.s_[:, 56:])
    little = {number: {"weight": 0.02} for number in of_type(workflows.load(f"api/{name}.json"), "FaceGenApplyFaceID")}
    done = draw(name, little)
    both = done.picture()
    assert both.shape == (64, 96, 3) and both.std() > 5
    for place in range(2):
        other = draw(name, little | {photo(done.graph, place): {"image": "other.jpg"}}).picture()
        here, there = (apart(both[side], other[side]) for side in (sides[place], sides[1 - place]))
        assert here > 0.5 and here > 2 * there


@pytest.mark.newest
def test_best_of_n_likeness(draw):
    """The two kept are the best of the eight, as Likeness measures them one round at a time."""
    name = "best_of_n_likeness"
    done = draw(name)
    (sampler,), (shown,) = of_type(done.graph, SAMPLER), of_type(done.graph, "PreviewAny")
    assert done.graph[sampler]["inputs"]["candidates"] == 8

    def cosines(run):
        return [entry["cosine"] for entry in json.loads(run.entry["outputs"][shown]["text"][0])]

    kept = cosines(done)
    assert len(kept) == len(list(done.pictures())) == 2
    seed, every = done.graph[sampler]["inputs"]["seed"], []
    for number in range(4):
        every += cosines(draw(name, {sampler: {"candidates": 1, "seed": seed + number}}))
    assert kept == pytest.approx(sorted(every, reverse=True)[:2], abs=1e-4) and len(set(every)) == 8


def test_second_pass_face_detail(draw):
    """The second pass draws the face anew and leaves every other pixel of the enlarged picture as it was."""
    name = "second_pass_face_detail"
    done = draw(name)
    detailed = done.picture()
    first, _ = of_type(done.graph, "PreviewImage")
    enlarged = np.asarray(Image.fromarray(done.picture(first)).resize((128, 192), Image.Resampling.LANCZOS))
    assert detailed.shape == enlarged.shape == (192, 128, 3)
    x0, y0, x1, y1 = (192 * side for side in FACES[0][:4])
    y, x = np.mgrid[:192, :128] + 0.5
    away = np.hypot((x - (x0 + x1) / 2) / ((x1 - x0) / 2), (y - (y0 + y1) / 2) / ((y1 - y0) / 2))
    changed = np.abs(detailed.astype(int) - enlarged).max(axis=2)
    assert changed[away > 1.6].max() <= 3  # the first pass was rounded to bytes before it was enlarged here
    assert changed[away < 0.9].mean() > 10
    second = of_type(done.graph, SAMPLER)[1]
    redrawn = draw(name, {second: {"seed": 99}}).picture()
    assert np.array_equal(redrawn[away > 1.6], detailed[away > 1.6]) and apart(redrawn[away < 0.9], detailed[away < 0.9]) > 1


def modes(workflow, upper, lower):
    """The workflow with the nodes of its two groups switched to those modes."""
    workflow = copy.deepcopy(workflow)
    edge = max(group["bounding"][1] for group in workflow["groups"])
    for node in workflow["nodes"]:
        node["mode"] = upper if node["pos"][1] < edge else lower
    return workflow


@pytest.mark.newest
def test_save_and_reuse_face(server, draw):
    """As the note says: queue, list the new file, switch the groups, queue. The picture is the one that the photo gives."""
    saved = workflows.load("save_and_reuse_face.json")
    folder = server.base / "user" / "facegen" / "faces"
    assert not folder.exists()
    done = draw("save_and_reuse_face")
    (file,) = folder.iterdir()
    try:
        info = server.get("/object_info")
        lower = small(workflows.to_api(modes(saved, workflows.NEVER, workflows.ALWAYS), info))
        (load,), (sampler,) = of_type(lower, "FaceGenLoadFaceEmbeds"), of_type(lower, SAMPLER)
        assert not of_type(lower, "LoadImage") and lower[load]["inputs"]["face_file"] == file.name
        from_photo = Done(server, joined(done.graph, lower, sampler)).picture()
        reused = Done(server, lower).picture()
    finally:
        file.unlink()
        folder.rmdir()
    assert reused.std() > 5 and np.array_equal(reused, from_photo)


def joined(upper, lower, sampler):
    """Both groups as one graph, where the face goes straight from the photo to the sampler."""
    (embed,) = of_type(upper, "FaceGenEmbedFace")
    graph = copy.deepcopy({**upper, **lower})
    for number in (*of_type(graph, "FaceGenSaveFaceEmbeds"), *of_type(graph, "FaceGenLoadFaceEmbeds")):
        del graph[number]
    graph[sampler]["inputs"]["face_embeds"] = [embed, 0]
    return graph


def test_safety_actions(draw, server):
    """All four redactions, none of which shows the picture."""
    done = draw("safety_actions")
    filters = [node["inputs"] for node in done.graph.values() if node["class_type"] == "FaceGenSafetyFilter"]
    assert [f["safety_checker_type"] for f in filters] == ["black", "blur", "pixelate", "sensitive_content_text"]
    black, blur, blocks, notice = pictures = [done.picture(preview) for preview in of_type(done.graph, "PreviewImage")]
    original = np.asarray(Image.open(server.base / "input" / "face.jpg"))
    assert all(p.shape == original.shape for p in pictures) and all_differ([original, *pictures])
    assert not black.any()
    assert blur.std() > 5 and np.abs(np.diff(blur.astype(int), axis=1)).max() <= 8
    assert len(np.unique(blocks.reshape(-1, 3), axis=0)) == 16
    assert notice.max() > 200 and np.median(notice) < 60


def test_try_without_models(draw):
    """Four pictures by the model that ships with the pack; face and style show in them."""
    name, whole = "try_without_models", {"width": 128, "height": 128}
    (sampler,), (style,) = (of_type(workflows.load(f"api/{name}.json"), kind) for kind in (SAMPLER, "FaceGenStyle"))
    done = draw(name, {sampler: whole})
    pictures = list(done.pictures())
    assert [p.shape for p in pictures] == [(128, 128, 3)] * 4 and all(p.std() > 5 for p in pictures) and all_differ(pictures)
    other_face, other_style = {photo(done.graph): {"image": "face_2.jpg"}}, {style: {"style": "anime"}}
    for changes in (other_face, other_style):
        (first, *_) = draw(name, {sampler: whole, **changes}).pictures()
        assert all_differ([pictures[0], first])


@pytest.mark.newest
def test_headshot_sdxl(draw, sdxl):
    done = draw("headshot_sdxl")
    assert done.picture().shape == (128, 128, 3) and done.picture().std() > 5
    assert all_differ([done.picture(), with_photo(draw, "headshot_sdxl", done).picture()])


@pytest.mark.newest
def test_headshot_instantid(draw, sdxl):
    """Another face, and another place for it, each change the picture."""
    name = "headshot_instantid"
    done = draw(name)
    assert done.picture().shape == (120, 120, 3) and done.picture().std() > 5
    (points,) = of_type(done.graph, "FaceGenFaceKeypoints")
    elsewhere = draw(name, {points: {"placement": "fitted", "center_x": 0.2}}).picture()
    assert all_differ([done.picture(), with_photo(draw, name, done).picture(), elsewhere])


@pytest.mark.newest
def test_headshot_pulid_sdxl(draw, sdxl):
    pytest.importorskip("timm")
    name = "headshot_pulid_sdxl"
    done = draw(name)
    assert done.picture().shape == (128, 128, 3) and done.picture().std() > 5
    (person,) = of_type(done.graph, "FaceGenApplyPuLID")
    nobody = draw(name, {person: {"weight": 0.0}}).picture()
    assert all_differ([done.picture(), with_photo(draw, name, done).picture(), nobody])


@pytest.mark.newest
def test_two_people_instantid(draw, sdxl):
    """Both people count. That each stays in its own region is tested on the ControlNet's numbers, with the sampling."""
    name = "two_people_instantid"
    done = draw(name)
    assert done.picture().shape == (104, 152, 3) and done.picture().std() > 5
    others = [with_photo(draw, name, done, place).picture() for place in range(2)]
    assert all_differ([done.picture(), *others])


@pytest.mark.newest
def test_the_blueprint_of_a_headshot_with_instantid(server, sdxl):
    """Photo and pose in; portrait, marked photo and key points out."""
    ends = [(output, "PreviewImage", "images", []) for output in range(3)]
    graph = workflows.to_api(placed("Headshot with InstantID", ends), server.get("/object_info"))
    done = Done(server, small(graph))
    portrait, marked, points = (done.picture(str(number)) for number in (21, 22, 23))
    assert portrait.shape == (120, 120, 3) and portrait.std() > 5 and marked.shape[0] >= 512
    assert points.shape == (127, 127, 3) and (points == (0, 0, 0)).mean() > 0.8 and points.max() == 255


@pytest.mark.newest
def test_the_local_api_draws_headshots_with_sdxl(server, sdxl):
    """Asked for by model_id, drawn at twice the size, and scaled down to what was asked for."""
    flavour = {"checkpoint": "sdxl.ckpt", "faceid": "ip-adapter-faceid-plusv2_sdxl.bin"}
    settings = server.base / "user" / "facegen" / "local_api.json"
    settings.parent.mkdir(exist_ok=True)
    settings.write_text(json.dumps({"hold_seconds": 600, "flavours": {"sdxl": flavour}}))
    settings.chmod(0o600)
    server.request("/facegen/settings", {"local_api": {"enabled": True}})
    photo_of_her = base64.b64encode((server.base / "input" / "face.jpg").read_bytes()).decode()
    body = {
        "model_id": "ai-avatar-generatorface-gen",
        "prompt": "a headshot",
        "face_image": photo_of_her,
        "width": 64,
        "height": 64,
        "num_inference_steps": 21,
        "base64": True,
    }
    answer = json.loads(server.request("/v6/image_editing/face_gen", body, timeout=620))
    assert answer["status"] == "success", answer
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["output"][0]))))
    assert picture.shape == (64, 64, 3) and picture.std() > 5
    graph = max((entry["prompt"] for entry in server.get("/history").values()), key=lambda prompt: prompt[0])[2]
    assert graph["sampler"]["inputs"]["width"] == 128 and graph["checkpoint"]["inputs"]["ckpt_name"] == "sdxl.ckpt"
    settings.unlink()


@pytest.fixture
def service(base_directory):
    """The hosted service on loopback, and a profile for it."""
    file = base_directory / "user" / "facegen" / "modelslab.json"
    file.parent.mkdir(exist_ok=True)
    with ModelsLabServer() as running:
        file.write_text(json.dumps({"test": {"key": KEY, "base_url": running.url}}))
        file.chmod(0o600)
        yield running
        file.unlink()


def remote(graph):
    """Number and inputs of the remote node."""
    (number,) = of_type(graph, "FaceGenModelsLab")
    return number, graph[number]["inputs"]


def test_modelslab_remote(draw, service, server):
    """One request, with the photo and with what the node's widgets say, and its picture saved."""
    name = "modelslab_remote"
    number, asked = remote(workflows.load(f"api/{name}.json"))
    done = draw(name, {number: {"profile": "test"}})
    (body,) = service.bodies
    sent = {field: value for field, value in body.items() if field not in ("key", "face_image", "webhook", "track_id")}
    assert sent == {field: asked[field] for field in sent} and sent["style"] == "realistic" and sent["prompt"]
    photo_sent = Image.open(io.BytesIO(base64.b64decode(body["face_image"].partition(",")[2])))
    assert apart(np.asarray(photo_sent), np.asarray(Image.open(server.base / "input" / "face.jpg"))) < 3
    assert (done.picture() == RED).all()
    (shown,) = of_type(done.graph, "PreviewAny")
    assert json.loads(done.entry["outputs"][shown]["text"][0])["status"] == "success"


@pytest.mark.newest
def test_local_vs_remote(draw, service):
    """Both sides are asked for the same; the result shows the local picture on the left, the hosted one on the right."""
    name = "local_vs_remote"
    number, asked = remote(workflows.load(f"api/{name}.json"))
    done = draw(name, {number: {"profile": "test"}})
    (sampler,), (style,) = of_type(done.graph, SAMPLER), of_type(done.graph, "FaceGenStyle")
    here, saved = done.graph[sampler]["inputs"], workflows.load(f"api/{name}.json")[sampler]["inputs"]
    same = ("width", "height", "samples", "num_inference_steps", "guidance_scale", "s_scale", "seed")
    assert {field: asked[field] for field in same} == {field: saved[field] for field in same}
    assert done.graph[style]["inputs"]["prompt"] == asked["prompt"] and done.graph[style]["inputs"]["style"] == asked["style"]
    row, local = done.picture(), here["width"]
    assert row[:, :local].std() > 5 and np.abs(row[:, local + 8 :] - np.array(RED)).max() <= 1
    shown = [done.entry["outputs"][node]["text"][0] for node in of_type(done.graph, "FaceGenLikeness")]
    assert len(shown) == 2 and all(text.startswith("picture 0: ") for text in shown) and len(set(shown)) == 2
