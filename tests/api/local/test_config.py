"""Settings of the local API, and the graphs that they and a request make."""

import json
import os
import re
from dataclasses import fields
from pathlib import Path

import pytest

from facegen.api.local.config import ConfigError, ConfigFile, Flavour, LocalConfig, StyleFiles
from facegen.contract import FaceGenRequest
from facegen.nodes.host.local_api.graph import build_graph, load_workflow, result_node
from local_api_server import CHOICES

REQUEST = FaceGenRequest("a sailor", "x", width=512, height=768, seed=5)


def read(tmp_path, content):
    path = tmp_path / "local_api.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(0o600)
    return ConfigFile(path).read()


def test_the_documented_example(tmp_path):
    text = (Path(__file__).parents[3] / "docs" / "local-api.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    config = read(tmp_path, example)
    assert config.enabled and config.flavours["sd15"].styles["anime"].loras == {"ink.safetensors": 0.6}
    assert all(re.search(rf"\b{f.name}\b", text) for kind in (LocalConfig, Flavour) for f in fields(kind))


def test_no_file_is_off(tmp_path):
    config = ConfigFile(tmp_path / "none.json").read()
    assert config == LocalConfig() and not config.enabled


def test_everything_that_can_be_set(tmp_path):
    config = read(
        tmp_path,
        {
            "enabled": True,
            "token": "sixteen characters",
            "default": "mine",
            "max_queued": 3,
            "keep_hours": 1,
            "hold_seconds": 0.5,
            "allowed_hosts": ["nas.local"],
            "served_as": ["faces.example"],
            "flavours": {
                "mine": {"workflow": "own", "checkpoint": "a.safetensors"},
                "sdxl": {"styles": {"anime": {"checkpoint": "b.safetensors", "loras": {"c.safetensors": 1}}}},
            },
        },
    )
    assert config.flavour(None) == Flavour("own", checkpoint="a.safetensors")
    sdxl = config.flavour("ai-avatar-generatorface-gen")
    assert sdxl.workflow == "local_sdxl" and sdxl.render_scale == 2
    assert sdxl.styles == {"anime": StyleFiles("b.safetensors", {"c.safetensors": 1.0})}
    assert config.flavour(["no", "name"]) == config.flavours["mine"]
    assert config.max_queued == 3 and config.allowed_hosts == ("nas.local",) and config.keep_hours == 1.0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "can't be read as JSON"),
        ("[]", "must hold a JSON object"),
        ({"enabled": "yes"}, "enabled must be bool"),
        ({"enable": True}, "has enable; known are enabled"),
        ({"max_queued": 0}, "max_queued is 0"),
        ({"max_queued": 1.5}, "max_queued must be int"),
        ({"hold_seconds": -1}, "hold_seconds is -1"),
        ({"poll_seconds": float("nan")}, "poll_seconds is nan"),
        ({"keep_hours": 0}, "keep_hours is 0.0; it must be at least 0.1"),
        ({"webhook_secret": "whsec_"}, "webhook_secret must be whsec_ and"),
        ({"webhook_secret": "whsec_" + "a" * 33}, "webhook_secret must be whsec_ and"),
        ({"webhook_secret": "a" * 32}, "webhook_secret must be whsec_ and"),
        ({"default": "none"}, "default is 'none'; flavours has sd15, sdxl"),
        ({"flavours": {"new": {}}}, "lacks an entry"),
        ({"flavours": {"sd15": {"chekpoint": "a"}}}, "flavours.sd15 has chekpoint"),
        ({"flavours": {"sd15": {"styles": {"oil": {}}}}}, "styles has oil; the styles are realistic"),
        ({"flavours": {"sd15": {"styles": {"anime": {"loras": {"a": "1"}}}}}}, "loras.a must be float"),
        ({"flavours": {"sd15": 5}}, "must be a JSON object"),
        ({"allowed_hosts": "nas"}, "allowed_hosts must be"),
        ({"allowed_hosts": [5]}, "allowed_hosts must be str"),
    ],
)
def test_a_mistake_names_the_file_and_the_entry(tmp_path, content, message):
    with pytest.raises(ConfigError) as error:
        read(tmp_path, content)
    assert message in str(error.value) and "local_api.json" in str(error.value)


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_a_token_that_others_can_read(tmp_path):
    path = tmp_path / "local_api.json"
    path.write_text(json.dumps({"token": "sixteen characters"}))
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ConfigFile(path).read()


def test_an_edit_is_seen_and_a_mistake_keeps_the_last(tmp_path):
    path = tmp_path / "local_api.json"
    file = ConfigFile(path)
    file.enable(True)
    assert file.read().enabled
    path.write_text(json.dumps({"enabled": True, "max_queued": 7}))
    assert file.read().max_queued == 7
    path.write_text("{")
    with pytest.raises(ConfigError):
        file.read()
    assert file.last.max_queued == 7
    with pytest.raises(ConfigError):
        file.enable(False)
    assert path.read_text() == "{"


SD15 = Flavour("local_sd15")


def build(flavour=SD15, request=REQUEST, choices=CHOICES, template=None):
    template = template or load_workflow(flavour.workflow, Path("none"))
    graph = build_graph(template, flavour, request, 5, "f.png [temp]", choices)
    return graph, {node["class_type"]: node["inputs"] for node in graph.values()}


def test_without_a_safety_checker_nothing_of_it_is_left():
    request = FaceGenRequest("a", "x", safety_checker=False)
    _, nodes = build(request=request)
    assert "FaceGenLoadSafetyChecker" not in nodes and "safety_checker" not in nodes["FaceGenSampler"]
    assert build()[1]["FaceGenSampler"]["safety_checker"] == ["checker", 0]


def test_sdxl_draws_twice_as_large_and_scales_down():
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
    with pytest.raises(ConfigError, match=r"8_pruned.safetensors is not there and no other is chosen; ComfyUI has a, b\."):
        build(choices=CHOICES | {"CheckpointLoaderSimple": ["a", "b"]})
    for none in ([], ["missing: plusv2.bin -> models/ipadapter"]):  # how the loader puts it
        with pytest.raises(ConfigError, match="ComfyUI has nothing. Set faceid of the flavour"):
            build(choices=CHOICES | {"FaceGenLoadFaceID": none})


def test_the_users_own_workflow_wins(tmp_path):
    graph = load_workflow("local_sd15", tmp_path)
    graph["sampler"]["inputs"]["candidates"] = 4
    (tmp_path / "local_sd15.json").write_text(json.dumps(graph))
    assert load_workflow("local_sd15", tmp_path)["sampler"]["inputs"]["candidates"] == 4


@pytest.mark.parametrize("content", ["{", '{"nodes": [], "version": 1}', '{"1": {"class_type": 1}}'])
def test_a_file_that_is_no_workflow(tmp_path, content):
    (tmp_path / "own.json").write_text(content)
    with pytest.raises(ConfigError, match="not a workflow in API format"):
        load_workflow("own", tmp_path)


@pytest.mark.parametrize("name", ["", "../local_sd15", "missing", "a/b"])
def test_a_workflow_that_is_not_there(tmp_path, name):
    with pytest.raises(ConfigError):
        load_workflow(name, tmp_path)


@pytest.mark.parametrize("kind", ["LoadImage", "FaceGenSampler", "PreviewImage", "FaceGenStyle", "CheckpointLoaderSimple"])
def test_a_workflow_that_lacks_a_node(tmp_path, kind):
    graph = load_workflow("local_sd15", tmp_path)
    template = {number: node for number, node in graph.items() if node["class_type"] != kind}
    with pytest.raises(ConfigError, match=f"has 0 {kind} nodes"):
        build(template=template)
