"""The graphs that a request and the settings' flavours make in ComfyUI."""

import json
from pathlib import Path

import pytest

from comfyui_double import CHOICES
from facegen.api.local.backend import BackendError
from facegen.api.local.flavours import Flavour, StyleFiles
from facegen.contract import FaceGenRequest
from facegen.nodes.host.local_api.graph import build_graph, load_workflow, result_node
from pack import ROOT

REQUEST = FaceGenRequest("a sailor", "x", width=512, height=768, seed=5)
SD15 = Flavour("local_sd15")


def build(flavour=SD15, request=REQUEST, choices=CHOICES, template=None):
    template = template or load_workflow(flavour.workflow, Path("none"))
    graph = build_graph(template, flavour, request, "f.png [temp]", choices)
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
    with pytest.raises(BackendError, match=r"8_pruned.safetensors is not there and no other is chosen; ComfyUI has a, b\."):
        build(choices=CHOICES | {"CheckpointLoaderSimple": ["a", "b"]})
    for none in ([], ["missing: plusv2.bin -> models/ipadapter"]):  # how the loader puts it
        with pytest.raises(BackendError, match="ComfyUI has nothing. Set faceid of the flavour"):
            build(choices=CHOICES | {"FaceGenLoadFaceID": none})


def test_the_users_own_workflow_wins(tmp_path):
    graph = load_workflow("local_sd15", tmp_path)
    graph["sampler"]["inputs"]["candidates"] = 4
    (tmp_path / "local_sd15.json").write_text(json.dumps(graph))
    assert load_workflow("local_sd15", tmp_path)["sampler"]["inputs"]["candidates"] == 4


def own_workflows(base, content):
    folder = base / "user" / "facegen" / "workflows"
    folder.mkdir(parents=True)
    (folder / "own.json").write_text(content)
    return folder


@pytest.mark.parametrize("content", ["{", '{"nodes": [], "version": 1}', '{"1": {"class_type": 1}}'])
def test_a_file_that_is_no_workflow(tmp_path, content):
    with pytest.raises(BackendError, match=r"^user/facegen/workflows/own\.json is not a workflow in API format") as error:
        load_workflow("own", own_workflows(tmp_path, content))
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize("name", ["", "../local_sd15", "missing", "a/b"])
def test_a_workflow_that_is_not_there(tmp_path, name):
    with pytest.raises(BackendError, match=r"Set workflow of the flavour in user/facegen/local_api\.json\.$") as error:
        load_workflow(name, tmp_path)
    assert str(tmp_path) not in str(error.value) and str(ROOT) not in str(error.value)


@pytest.mark.parametrize("kind", ["LoadImage", "FaceGenSampler", "PreviewImage", "FaceGenStyle", "CheckpointLoaderSimple"])
def test_a_workflow_that_lacks_a_node(tmp_path, kind):
    graph = load_workflow("local_sd15", tmp_path)
    template = {number: node for number, node in graph.items() if node["class_type"] != kind}
    with pytest.raises(BackendError, match=f"has 0 {kind} nodes"):
        build(template=template)
