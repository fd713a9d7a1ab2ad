"""The graphs that a request and the settings' flavours make in ComfyUI."""

import json
import re
from pathlib import Path

import pytest

from comfyui_double import CHOICES
from facegen.api.local.backend import BackendError
from facegen.api.local.flavours import FLAVOURS, Flavour, StyleFiles
from facegen.comfyui.checked import PASSING
from facegen.comfyui.choices import LOADERS, offered
from facegen.comfyui.graph import build_graph, flavour_files, load_workflow, result_node
from facegen.contract import ENDPOINTS, NOTICE_TEXT, FaceGenRequest
from pack import ROOT

REQUEST = FaceGenRequest("a sailor", "x", width=512, height=768, seed=5)
SD15 = Flavour("local_sd15")
NUDENET = {"FaceGenLoadSafetyChecker": ["nudenet"]}


def workflow(name="local_sd15"):
    return load_workflow(name, Path("none"))


def build(flavour=SD15, request=REQUEST, choices=CHOICES, template=None):
    template = template or workflow(flavour.workflow)
    graph, _ = build_graph(template, flavour, request, "f.png [temp]", choices)
    return graph, {node["class_type"]: node["inputs"] for node in graph.values()}


def test_without_a_safety_checker_nothing_of_it_is_left():
    request = FaceGenRequest("a", "x", safety_checker=False)
    _, nodes = build(request=request)
    assert "FaceGenLoadSafetyChecker" not in nodes and "safety_checker" not in nodes["FaceGenSampler"]
    assert build()[1]["FaceGenSampler"]["safety_checker"] == ["checker", 0]


def test_sdxl_generates_twice_as_large_and_scales_down():
    graph, nodes = build(Flavour("local_sdxl", render_scale=2))
    assert (nodes["FaceGenSampler"]["width"], nodes["FaceGenSampler"]["height"]) == (1024, 1536)
    assert (nodes["ImageScale"]["width"], nodes["ImageScale"]["height"]) == (512, 768)
    assert graph[result_node(graph)]["inputs"]["images"] == ["size", 0]


def test_a_style_brings_its_checkpoint_and_loras():
    files = StyleFiles("anime.safetensors", {"ink.safetensors": 0.6, "line.safetensors": 0.2})
    flavour = Flavour("local_sd15", styles={"anime": files})
    loras = ["ink.safetensors", "line.safetensors"]
    choices = CHOICES | {"CheckpointLoaderSimple": ["sd15.safetensors", "anime.safetensors"], "LoraLoader": loras}
    request = FaceGenRequest("a", "x", style="anime")
    graph, nodes = build(flavour, request, choices | {"CLIPVisionLoader": ["vit_h.safetensors"]})
    assert nodes["CheckpointLoaderSimple"]["ckpt_name"] == "anime.safetensors"
    first, second = (graph[f"lora{n}"]["inputs"] for n in range(2))
    assert first["strength_model"] == 0.6 and second["lora_name"] == "line.safetensors"
    # checkpoint -> second -> first -> sampler, or the other way round: a chain in which nobody is left out
    sampler = nodes["FaceGenSampler"]
    assert sampler["vae"] == ["checkpoint", 2] and sampler["clip"] == [sampler["model"][0], 1]
    seen, link = [], sampler["model"]
    while link[0] != "checkpoint":
        seen.append(graph[link[0]]["inputs"]["lora_name"])
        link = graph[link[0]]["inputs"]["model"]
    assert sorted(seen) == loras


def test_which_file_is_taken():
    several = CHOICES | {"CheckpointLoaderSimple": ["a.safetensors", "DreamShaper_8_pruned.safetensors"]}
    taken = build(choices=several)[1]["CheckpointLoaderSimple"]["ckpt_name"]
    assert taken == "DreamShaper_8_pruned.safetensors"
    set_by_user = Flavour("local_sd15", checkpoint="a.safetensors")
    assert build(set_by_user, choices=several)[1]["CheckpointLoaderSimple"]["ckpt_name"] == "a.safetensors"
    with pytest.raises(BackendError, match=r"8_pruned.safetensors is missing; ComfyUI has a, b\. Set checkpoint"):
        build(choices=CHOICES | {"CheckpointLoaderSimple": ["a", "b"]})
    with pytest.raises(BackendError, match=r"^faceid: \S+ is missing, and ComfyUI has no other\. .*doctor"):
        build(choices=CHOICES | {"FaceGenLoadFaceID": []})


def test_which_files_a_loader_offers():
    def told(kind, files, part="required", new=False):
        return {"input": {part: {LOADERS[kind]: ["COMBO", {"options": files}] if new else [files, {}]}}}

    kind, files = "CLIPVisionLoader", ["EVA02_CLIP_L_336_psz14_s6B.pt", "mine.safetensors"]
    for new in (False, True):  # how older nodes and V3's are told
        assert offered(told(kind, files, new=new), kind) == ["mine.safetensors"]
    assert offered(told("LoraLoader", ["a"], "optional"), "LoraLoader") == ["a"]
    ours = "FaceGenLoadFaceID"
    assert offered(told(ours, ["missing: plusv2.bin -> models/ipadapter"]), ours) == [] == offered({}, ours)


def test_the_users_own_workflow_wins(tmp_path):
    graph = load_workflow("local_sd15", tmp_path)
    graph["sampler"]["inputs"]["candidates"] = 4
    (tmp_path / "local_sd15.json").write_text(json.dumps(graph))
    assert load_workflow("local_sd15", tmp_path)["sampler"]["inputs"]["candidates"] == 4


def test_every_file_that_is_missing_is_named():
    nothing = {kind: [] for kind in CHOICES}
    styled = Flavour("local_sd15", styles={"anime": StyleFiles("anime.safetensors", {"ink.safetensors": 0.6, "b": 1})})
    with pytest.raises(BackendError) as error:
        build(styled, FaceGenRequest("a", "x", style="anime"), nothing)
    entries = (
        "checkpoint: anime",
        "clip_vision: CLIP",
        "face_pack: buff",
        "faceid: ip-ad",
        "safety_checker: nu",
        "loras: ink",
        "loras: b",
    )
    assert all(entry in str(error.value) for entry in entries), str(error.value)
    *each, cure = flavour_files(workflow(), SD15, nothing).missing
    assert len(each) == 5 and "doctor" in cure and flavour_files(workflow(), SD15, CHOICES).missing == []
    assert flavour_files(workflow("local_tiny"), Flavour("local_tiny"), {**nothing, **NUDENET}).missing == []


def test_the_files_in_use_are_told():
    _, files = build_graph(workflow(), SD15, REQUEST, "f.png", CHOICES)
    wanted = ("sd15.safetensors", "vit_h.safetensors", "buffalo_l", "plusv2.bin", "nudenet")
    assert files == dict(zip(("checkpoint", "clip_vision", "face_pack", "faceid", "safety_checker"), wanted, strict=True))


def stock(**changes):
    """A workflow for FLUX with stock nodes: an empty latent, a guidance, one text, and a Safety Filter behind it."""
    graph = {name: node for name, node in workflow().items() if name in ("photo", "analyzer", "face", "checker", "result")}
    nodes = {
        "unet": ("UNETLoader", {"unet_name": "flux.safetensors"}),
        "clip": ("DualCLIPLoader", {}),
        "vae": ("VAELoader", {}),
        "pulid": ("FaceGenApplyPuLID", {"model": ["unet", 0], "face_embeds": ["face", 0]}),
        "text": ("CLIPTextEncode", {"clip": ["clip", 0], "text": ""}),
        "zero": ("ConditioningZeroOut", {"conditioning": ["text", 0]}),
        "guidance": ("FluxGuidance", {"conditioning": ["text", 0], "guidance": 3.5}),
        "latent": ("EmptySD3LatentImage", {"width": 8, "height": 8, "batch_size": 1}),
        "sampler": (
            "KSampler",
            {"cfg": 1.0, "positive": ["guidance", 0], "negative": ["zero", 0], "latent_image": ["latent", 0]},
        ),
        "decode": ("VAEDecode", {"samples": ["sampler", 0], "vae": ["vae", 0]}),
        "filter": ("FaceGenSafetyFilter", {"image": ["decode", 0], "safety_checker": ["checker", 0]}),
    }
    graph |= {name: {"class_type": kind, "inputs": inputs} for name, (kind, inputs) in nodes.items()}
    graph["result"]["inputs"]["images"] = ["filter", 0]
    for name, inputs in changes.items():
        graph[name]["inputs"] |= inputs
    return graph


FLUX = ENDPOINTS["/v1/enterprise/flux_headshot/make_gen"]


def test_a_workflow_of_stock_nodes_gets_a_flux_headshot_s_values():
    values = {"width": 1024, "height": 768, "samples": 2, "seed": 9, "guidance_scale": 4, "safety_checker_type": NOTICE_TEXT}
    request = FLUX.request(prompt="a sailor", face_image="x", **values)
    flavour = Flavour("own", endpoints=("flux_headshot",))
    graph, _ = build_graph(stock(), flavour, request, "f.png", CHOICES)
    sampler = graph["sampler"]["inputs"]
    assert (sampler["seed"], sampler["steps"], sampler["cfg"]) == (9, 25, 1.0) and graph["guidance"]["inputs"]["guidance"] == 4
    assert graph["latent"]["inputs"] == {"width": 1024, "height": 768, "batch_size": 2}
    assert graph["text"]["inputs"]["text"] == "a sailor" and graph["filter"]["inputs"]["safety_checker_type"] == NOTICE_TEXT


def test_the_template_of_flux_serves_once_it_shows_its_pictures():
    graph = load_workflow("portrait_flux_pulid", Path("none"))
    (result,) = (node for node in graph.values() if node["class_type"] == "SaveImage")
    result["class_type"], result["inputs"] = "PreviewImage", {"images": result["inputs"]["images"]}
    request = FLUX.request(prompt="a sailor", face_image="x", width=1024, height=1536, seed=9)
    choices = CHOICES | {"FaceGenLoadFaceAnalyzer": ["antelopev2"]}
    graph, used = build_graph(graph, Flavour("own", endpoints=("flux_headshot",)), request, "f.png", choices)
    values = {key: value for node in graph.values() for key, value in node["inputs"].items()}
    wanted = {"noise_seed": 9, "steps": 25, "guidance": 5.5, "width": 1024, "height": 1536, "batch_size": 1, "text": "a sailor"}
    assert {key: values[key] for key in wanted} == wanted and used["face_pack"] == "antelopev2"


def test_a_workflow_of_stock_nodes_without_a_guidance_has_two_texts():
    graph = stock(sampler={"positive": ["text", 0], "negative": ["negative", 0]})
    del graph["guidance"], graph["zero"]
    graph["negative"] = {"class_type": "CLIPTextEncode", "inputs": {"clip": ["clip", 0], "text": "?"}}
    request = FLUX.request(prompt="a sailor", face_image="x", negative_prompt="blurry", seed=9)
    graph, _ = build_graph(graph, SD15, request, "f.png", CHOICES)
    assert graph["sampler"]["inputs"]["cfg"] == 5.5 and graph["negative"]["inputs"]["text"] == "blurry"


def test_a_workflow_of_stock_nodes_in_a_style_is_linked_to_it():
    graph = stock(text={"text": ["style", 1]})
    with pytest.raises(BackendError, match="has 0 FaceGenStyle nodes"):
        build_graph(graph, SD15, REQUEST, "f.png", CHOICES)
    graph["style"] = {"class_type": "FaceGenStyle", "inputs": {}}
    graph, _ = build_graph(graph, SD15, REQUEST, "f.png", CHOICES)
    assert graph["style"]["inputs"]["prompt"] == "a sailor" and graph["text"]["inputs"]["text"] == ["style", 1]


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sampler": {"latent_image": ["decode", 0]}}, "needs an empty latent: EmptyLatentImage"),
        ({"sampler": {"positive": ["unet", 0]}}, "has to begin at a CLIPTextEncode"),
        ({"result": {"images": ["decode", 0]}}, "that no safety checker has seen"),
    ],
)
def test_a_workflow_of_stock_nodes_that_doesn_t_fit(changes, says):
    request = FLUX.request(prompt="a sailor", face_image="x", seed=9)
    with pytest.raises(BackendError, match=says):
        build_graph(stock(**changes), SD15, request, "f.png", CHOICES)


def test_a_style_s_loras_need_our_sampler():
    files = {"": StyleFiles(loras={"ink.safetensors": 0.6})}
    request = FLUX.request(prompt="a sailor", face_image="x", seed=9)
    with pytest.raises(BackendError, match="LoRAs of a style need a FaceGenSampler"):
        build_graph(stock(), Flavour("own", styles=files), request, "f.png", CHOICES)


def test_a_workflow_with_other_loaders():
    """Here a UNETLoader in place of the checkpoint's, and two CLIP vision models."""
    graph = workflow()
    del graph["checkpoint"]
    graph |= {name: {"class_type": name, "inputs": {}} for name in ("UNETLoader", "CLIPLoader", "VAELoader")}
    graph["sampler"]["inputs"] |= {"model": ["UNETLoader", 0], "clip": ["CLIPLoader", 0], "vae": ["VAELoader", 0]}
    graph["other"] = {"class_type": "CLIPVisionLoader", "inputs": {"clip_name": "vit_h.safetensors"}}
    choices = CHOICES | {"CLIPVisionLoader": ["vit_h.safetensors", graph["clip_vision"]["inputs"]["clip_name"]]}
    flavour = Flavour("local_sd15", styles={"realistic": StyleFiles(loras={"ink.safetensors": 0.5})})
    built, nodes = build(flavour, choices=choices, template=graph)
    assert nodes["FaceGenSampler"]["model"] == ["lora0", 0] and nodes["LoraLoader"]["clip"] == ["CLIPLoader", 0]
    assert built["other"]["inputs"]["clip_name"] != built["clip_vision"]["inputs"]["clip_name"]
    for setting, says in (({"checkpoint": "a"}, "0 CheckpointLoaderSimple"), ({"clip_vision": "a"}, "2 CLIPVisionLoader")):
        with pytest.raises(BackendError, match=f"is set in the flavour, and its workflow has {says} nodes; it needs one"):
            build(Flavour("local_sd15", **setting), choices=choices, template=graph)


@pytest.mark.parametrize("size", [(64, 64), (64, 768), (512, 512), (512, 768), (72, 64)])
def test_the_tiny_model_makes_small_pictures_of_the_right_shape(size):
    width, height = size
    request = FaceGenRequest("a", "x", width=width, height=height, seed=1)
    _, nodes = build(FLAVOURS["tiny"], request, CHOICES)
    made = nodes["FaceGenSampler"]
    assert min(made["width"], made["height"]) >= 64 and made["width"] <= max(72, width // 2)
    assert abs(made["width"] / made["height"] - width / height) < 0.1
    assert (nodes["ImageScale"]["width"], nodes["ImageScale"]["height"]) == size
    assert 2 < made["guidance_scale"] < 2.1, "what it was trained for"


# --- safety


def tail(*kinds, start="sampler", loose=False):
    """The workflow with nodes of these classes between the sampler, or `start`, and the result."""
    graph, link = workflow(), [start, 0]
    if loose:
        del graph["sampler"]["inputs"]["safety_checker"]
    for number, kind in enumerate(kinds):
        name = "samples" if kind.startswith("VAE") else "image"
        graph[f"n{number}"] = {"class_type": kind, "inputs": {name: link}}
        if kind == "FaceGenSafetyFilter" and not loose:
            graph[f"n{number}"]["inputs"] |= {"safety_checker": ["checker", 0], "safety_checker_type": "blur"}
        link = [f"n{number}", 0]
    graph["result"]["inputs"]["images"] = link
    return graph


CHECKED = [
    tail(),
    tail("ImageScale"),
    tail("ImageCrop", "FaceGenLikeness", "ImageScaleBy"),
    tail("FaceGenSafetyFilter"),
    tail("VAEEncode", "KSampler", "VAEDecode", "FaceGenSafetyFilter", "ImageScale"),
]
UNCHECKED = [
    tail(loose=True),
    tail("FaceGenSafetyFilter", loose=True),
    tail("VAEEncode", "KSampler", "VAEDecode"),
    tail("FaceGenSafetyFilter", "SomebodysOwnNode"),
    tail("ImageBatch"),
    tail("VAEDecode"),  # of the sampler's latent, which is not filtered
    tail("ImageScale", start="photo"),
    tail("ImageScale", start="gone"),
    tail("ImageScale", start="n0"),  # a circle
]


@pytest.mark.parametrize("graph", CHECKED, ids=range(len(CHECKED)))
def test_a_workflow_whose_pictures_are_checked(graph):
    _, nodes = build(request=FaceGenRequest("a", "x", safety_checker_type="pixelate"), template=graph)
    assert nodes.get("FaceGenSafetyFilter", {}).get("safety_checker_type", "pixelate") == "pixelate"
    unsafe, kinds = build(request=FaceGenRequest("a", "x", safety_checker=False), template=graph)
    assert not {"FaceGenLoadSafetyChecker", "FaceGenSafetyFilter"} & set(kinds)
    links = [v for node in unsafe.values() for v in node["inputs"].values() if isinstance(v, list)]
    assert all(number in unsafe for number, _ in links) and "images" in kinds["PreviewImage"]


@pytest.mark.parametrize("graph", UNCHECKED, ids=range(len(UNCHECKED)))
def test_a_workflow_whose_pictures_nobody_checks_is_refused(graph):
    with pytest.raises(BackendError, match=r"delivers pictures of .* that no safety checker has seen. Connect one to"):
        build(template=graph)


def test_the_sampler_s_latent_is_not_what_was_checked():
    graph = tail("ImageScale")
    graph["n0"]["inputs"]["image"] = ["sampler", 1]
    with pytest.raises(BackendError, match="no safety checker has seen"):
        build(template=graph)


def test_combined_checkers_go_with_the_checker():
    graph = workflow()
    graph["second"] = {"class_type": "FaceGenLoadSafetyChecker", "inputs": {"checker": "nudenet"}}
    both = {"safety_checker_1": ["checker", 0], "safety_checker_2": ["second", 0]}
    graph["both"] = {"class_type": "FaceGenCombineSafetyCheckers", "inputs": both}
    graph["sampler"]["inputs"]["safety_checker"] = ["both", 0]
    assert build(template=graph)[1]["FaceGenSampler"]["safety_checker"] == ["both", 0]
    _, nodes = build(request=FaceGenRequest("a", "x", safety_checker=False), template=graph)
    assert not any("Checker" in kind for kind in nodes) and "safety_checker" not in nodes["FaceGenSampler"]


def own_workflows(base, content):
    folder = base / "user" / "facegen" / "workflows"
    folder.mkdir(parents=True)
    (folder / "own.json").write_text(content)
    return folder


@pytest.mark.parametrize("content", ["{", '{"nodes": [], "version": 1}', '{"1": {"class_type": 1}}'])
def test_a_file_that_is_no_workflow(tmp_path, content):
    with pytest.raises(BackendError, match=r"^workflows/own\.json is not a workflow in API format") as error:
        load_workflow("own", own_workflows(tmp_path, content))
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("name", ["", "../local_sd15", "missing", "a/b"])
def test_a_workflow_that_is_not_there(tmp_path, name):
    with pytest.raises(BackendError, match=r"Set workflow of the flavour in local_api\.json\.$") as error:
        load_workflow(name, tmp_path)
    assert str(tmp_path) not in str(error.value) and str(ROOT) not in str(error.value)


@pytest.mark.parametrize("kind", ["LoadImage", "FaceGenSampler", "PreviewImage", "FaceGenStyle"])
def test_a_workflow_that_lacks_a_node(tmp_path, kind):
    graph = load_workflow("local_sd15", tmp_path)
    template = {number: node for number, node in graph.items() if node["class_type"] != kind}
    with pytest.raises(BackendError, match=f"has 0 {kind} nodes"):
        build(template=template)


def test_the_nodes_that_may_lie_between_checker_and_pictures_are_documented():
    text = (ROOT / "docs" / "local-api.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"nodes that show what they are given\s\(([^)]+)\)", text)
    assert set(re.findall(r"`(\w+)`", named)) == set(PASSING) - {"FaceGenLikeness"} and named.endswith("Likeness")
