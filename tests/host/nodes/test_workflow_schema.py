"""Workflows that were saved stay usable: what they say of nodes, by number and by name, is what the nodes have."""

import copy

import pytest

import workflows

# Saved nodes list the values of their widgets by place, so this order is kept; what is new goes to the end.
WIDGETS = {
    "FaceGenApplyFaceID": ["weight", "s_scale", "lora_strength", "start_percent", "end_percent", "layer_weights"],
    "FaceGenApplyInstantID": ["weight", "control_strength", "start_percent", "end_percent", "layer_weights"],
    "FaceGenApplyPuLID": ["weight", "start_percent", "end_percent", "projection", "num_zero", "layer_weights"],
    "FaceGenCombineFaces": ["method", "weight_1", "weight_2", "weight_3", "weight_4"],
    "FaceGenCombineSafetyCheckers": ["unsafe_when"],
    "FaceGenEmbedFace": ["select", "face_index", "combine", "on_no_face"],
    "FaceGenFaceKeypoints": ["width", "height", "placement", "center_x", "center_y", "scale", "select", "face_index"],
    "FaceGenFaceQuality": ["select", "face_index"],
    "FaceGenLikeness": ["keep"],
    "FaceGenLoadFaceAnalyzer": ["model_pack", "provider", "min_confidence"],
    "FaceGenLoadFaceEmbeds": ["face_file", "recogniser"],
    "FaceGenLoadFaceID": ["faceid_file"],
    "FaceGenLoadFaceStructure": ["vision_file", "parsing_file"],
    "FaceGenLoadInstantID": ["instantid_file"],
    "FaceGenLoadPuLID": ["pulid_file"],
    "FaceGenLoadSafetyChecker": ["checker", "provider", "preset", "unsafe_labels"],
    "FaceGenLoadTinyModel": [],
    "FaceGenModelsLab": ["prompt", "negative_prompt", "width", "height", "num_inference_steps", "guidance_scale", "style",
                         "s_scale", "samples", "safety_checker", "safety_checker_type", "base64", "seed",
                         "control_after_generate", "profile", "timeout", "webhook", "track_id", "request_id"],
    "FaceGenSafetyFilter": ["safety_checker_type", "threshold", "region", "notice"],
    "FaceGenSampler": ["prompt", "negative_prompt", "s_scale", "faceid_weight", "width", "height", "samples",
                       "num_inference_steps", "guidance_scale", "seed", "control_after_generate", "sampler_name", "scheduler",
                       "denoise", "candidates", "safety_checker_type", "control_strength"],
    "FaceGenSaveFaceEmbeds": ["filename_prefix"],
    "FaceGenStyle": ["style", "prompt", "negative_prompt"],
}  # fmt: skip
# Links leave a node by the number of the output.
OUTPUTS = {
    "FaceGenApplyFaceID": ["model"],
    "FaceGenApplyInstantID": ["model", "positive", "negative"],
    "FaceGenApplyPuLID": ["model"],
    "FaceGenCombineFaces": ["face_embeds"],
    "FaceGenCombineSafetyCheckers": ["safety_checker"],
    "FaceGenEmbedFace": ["face_embeds", "crops", "annotated", "faces", "report", "face_mask", "structure_crops"],
    "FaceGenFaceKeypoints": ["keypoints"],
    "FaceGenFaceQuality": ["score", "good", "annotated", "report"],
    "FaceGenLikeness": ["image", "score", "report"],
    "FaceGenLoadFaceAnalyzer": ["face_analysis"],
    "FaceGenLoadFaceEmbeds": ["face_embeds"],
    "FaceGenLoadFaceID": ["faceid"],
    "FaceGenLoadFaceStructure": ["face_structure"],
    "FaceGenLoadInstantID": ["instantid"],
    "FaceGenLoadPuLID": ["pulid"],
    "FaceGenLoadSafetyChecker": ["safety_checker"],
    "FaceGenLoadTinyModel": ["model", "clip", "vae", "clip_vision", "faceid", "face_analysis"],
    "FaceGenModelsLab": ["image", "response"],
    "FaceGenSafetyFilter": ["image", "flagged", "any_flagged", "report"],
    "FaceGenSampler": ["image", "latent"],
    "FaceGenSaveFaceEmbeds": [],
    "FaceGenStyle": ["style", "positive", "negative"],
}


@pytest.fixture(scope="module")
def object_info(server):
    return server.get("/object_info")


@pytest.fixture(params=[*workflows.NAMES, "blueprint"])
def nodes(request):
    """The saved nodes of one workflow, without notes."""
    if request.param == "blueprint":
        saved = workflows.blueprint()["definitions"]["subgraphs"][0]["nodes"]
    else:
        saved = workflows.load(f"{request.param}.json")["nodes"]
    return [node for node in saved if node["type"] not in workflows.NOT_QUEUED]


def kept(before, now):
    """Whether all that was there is there, in its place."""
    return now[: len(before)] == before


def test_every_node_is_frozen(object_info):
    """Those that stand in for other packs' are what these were, which test_adopted_nodes.py knows."""
    ours = {name for name in object_info if name.startswith("FaceGen") and not name.startswith("FaceGenAdopted")}
    assert set(WIDGETS) == set(OUTPUTS) == ours


@pytest.mark.parametrize("node_type", WIDGETS)
def test_widgets_and_outputs_keep_their_places(object_info, node_type):
    assert kept(WIDGETS[node_type], workflows.widget_order(node_type, object_info))
    assert kept(OUTPUTS[node_type], object_info[node_type]["output_name"])


@pytest.mark.parametrize("name", workflows.NAMES)
def test_workflow_file_and_api_twin_are_the_same_graph(object_info, name):
    twin = workflows.load(f"api/{name}.json")
    graph = workflows.to_api(workflows.load(f"{name}.json"), object_info)
    assert graph == {number: {k: node[k] for k in ("class_type", "inputs")} for number, node in twin.items()}


def problems(nodes, object_info):
    """What the schema no longer has of saved nodes, in words."""
    found = []
    for node in nodes:
        info = object_info.get(node["type"])
        if info is None:
            found.append(f"no node {node['type']}")
            continue
        schema = workflows.schema_inputs(node["type"], object_info)
        for saved in node["inputs"]:
            taken = {*workflows.kind(schema[saved["name"]]).split(","), "*"} if saved["name"] in schema else set()
            if not set(saved["type"].split(",")) <= taken:
                found.append(f"{node['type']}: input {saved['name']}")
        outputs = list(zip(info["output_name"], info["output"], strict=True))
        if not kept([(o["name"], o["type"]) for o in node["outputs"]], outputs):
            found.append(f"{node['type']}: outputs")
        order = workflows.widget_order(node["type"], object_info)
        if len(node["widgets_values"]) > len(order):
            found.append(f"{node['type']}: widgets")
        for name, value in zip(order, node["widgets_values"], strict=False):
            if name in schema and not fits(value, schema[name]):
                found.append(f"{node['type']}: {name} = {value!r}")
    return found


# Combos of what is in a folder.
FILES = {"ckpt_name", "clip_name", "faceid_file", "face_file", "model_pack", "image", "unet_name", "vae_name"}
FILES |= {"clip_name1", "clip_name2", "control_net_name", "instantid_file", "pulid_file", "vision_file", "parsing_file"}


def fits(value, spec):
    kind, rules = workflows.kind(spec), spec[1] if len(spec) > 1 else {}
    if kind == "COMBO":
        return isinstance(value, str)
    right = {"INT": int, "FLOAT": (int, float), "STRING": str, "BOOLEAN": bool}[kind]
    if not isinstance(value, right) or (kind != "BOOLEAN" and isinstance(value, bool)):
        return False
    return kind in ("STRING", "BOOLEAN") or rules.get("min", value) <= value <= rules.get("max", value)


def test_saved_nodes_fit_the_nodes_there_are(nodes, object_info):
    assert problems(nodes, object_info) == []


def test_choices_are_offered(nodes, object_info):
    for node in nodes:
        for name, value in workflows.widget_values(node, object_info).items():
            spec = workflows.schema_inputs(node["type"], object_info)[name]
            if workflows.kind(spec) == "COMBO" and name not in FILES:
                assert value in (spec[0] if isinstance(spec[0], list) else spec[1]["options"]), f"{node['type']} {name}"


def renamed(inputs, old, new):
    return {new if name == old else name: spec for name, spec in inputs.items()}


def moved_to_front(inputs, name):
    return {name: inputs[name], **inputs}


SAMPLER = "FaceGenSampler"
BREAKING = {
    "node id": lambda info: info.update({"FaceGenSampler2": info.pop(SAMPLER)}),
    "socket name": lambda info: info[SAMPLER]["input"].update(required=renamed(info[SAMPLER]["input"]["required"], "vae", "v")),
    "socket type": lambda info: info[SAMPLER]["input"]["required"].update(model=["CLIP", {}]),
    "widget order": lambda info: info[SAMPLER]["input"].update(
        required=moved_to_front(info[SAMPLER]["input"]["required"], "samples")
    ),
    "widget taken out": lambda info: info[SAMPLER]["input"]["required"].pop("faceid_weight"),
    "outputs": lambda info: info[SAMPLER].update(output=["LATENT", "IMAGE"]),
}


@pytest.mark.parametrize("change", BREAKING)
def test_a_breaking_change_is_noticed(object_info, change):
    changed = {SAMPLER: copy.deepcopy(object_info[SAMPLER])}
    saved = [n for n in workflows.load("portrait_sd15.json")["nodes"] if n["type"] == SAMPLER]
    assert problems(saved, changed) == []
    BREAKING[change](changed)
    assert problems(saved, changed) != []
    if change.startswith("widget"):
        assert not kept(WIDGETS[SAMPLER], workflows.widget_order(SAMPLER, changed))


def test_the_template_browser_lists_the_workflows(server):
    assert sorted(server.get("/workflow_templates")["my-faces"]) == workflows.NAMES


def test_the_blueprint_is_offered_where_comfyui_can(server):
    try:
        offered = server.get("/global_subgraphs")
    except RuntimeError as error:
        assert "404" in str(error)  # an older ComfyUI has no blueprints
        return
    ours = [(number, entry) for number, entry in offered.items() if entry["info"]["node_pack"] == "custom_nodes.my-faces"]
    files = {path.stem: path.read_text(encoding="utf-8") for path in workflows.BLUEPRINTS.glob("*.json")}
    assert {entry["name"]: server.get(f"/global_subgraphs/{number}")["data"] for number, entry in ours} == files
