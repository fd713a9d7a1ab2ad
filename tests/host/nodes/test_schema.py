"""What a graph sees of the pack."""

import pytest

from facegen.adoption.which import OLD
from facegen.contract import STYLES
from pack import ROOT

REQUIRED = object()
SEED = {"seed": ("INT", 0)}
# node id -> (category, {input: (type, default)}, optional inputs, output types). Saved workflows depend on all of it.
NODES = {
    "FaceGenLoadFaceAnalyzer": (
        "FaceGen/face",
        {"model_pack": ("COMBO", None), "provider": ("COMBO", "auto"), "min_confidence": ("FLOAT", 0.5)},
        set(),
        ["FACE_ANALYSIS"],
    ),
    "FaceGenEmbedFace": (
        "FaceGen/face",
        {
            "face_analysis": ("FACE_ANALYSIS", None),
            "image": ("IMAGE", None),
            "clip_vision": ("CLIP_VISION", None),
            "select": ("COMBO", "largest"),
            "face_index": ("INT", 0),
            "combine": ("COMBO", "average"),
            "on_no_face": ("COMBO", "error"),
            "face_structure": ("FACE_STRUCTURE", None),
        },
        {"clip_vision", "face_structure"},
        ["FACE_EMBEDS", "IMAGE", "IMAGE", "INT", "STRING", "MASK", "IMAGE"],
    ),
    "FaceGenLoadFaceStructure": (
        "FaceGen/face",
        {"vision_file": ("COMBO", None), "parsing_file": ("COMBO", None)},
        set(),
        ["FACE_STRUCTURE"],
    ),
    "FaceGenLoadPuLID": ("FaceGen/face", {"pulid_file": ("COMBO", None)}, set(), ["FACEGEN_PULID"]),
    "FaceGenApplyPuLID": (
        "FaceGen/face",
        {
            "model": ("MODEL", None),
            "pulid": ("FACEGEN_PULID", None),
            "face_embeds": ("FACE_EMBEDS", None),
            "weight": ("FLOAT", 1.0),
            "start_percent": ("FLOAT", 0.0),
            "end_percent": ("FLOAT", 1.0),
            "projection": ("COMBO", "orthogonal v2"),
            "num_zero": ("INT", 0),
            "layer_weights": ("STRING", ""),
            "mask": ("MASK", None),
        },
        {"mask"},
        ["MODEL"],
    ),
    "FaceGenFaceQuality": (
        "FaceGen/face",
        {
            "face_analysis": ("FACE_ANALYSIS", None),
            "image": ("IMAGE", None),
            "select": ("COMBO", "largest"),
            "face_index": ("INT", 0),
        },
        set(),
        ["FLOAT", "BOOLEAN", "IMAGE", "STRING"],
    ),
    "FaceGenCombineFaces": (
        "FaceGen/face",
        {
            "method": ("COMBO", "average"),
            **{
                f"{name}_{n}": kind
                for n in (1, 2, 3, 4)
                for name, kind in (("face_embeds", ("FACE_EMBEDS", None)), ("weight", ("FLOAT", 1.0)))
            },
        },
        {f"face_embeds_{n}" for n in (1, 2, 3, 4)},
        ["FACE_EMBEDS"],
    ),
    "FaceGenSaveFaceEmbeds": (
        "FaceGen/face",
        {"face_embeds": ("FACE_EMBEDS", None), "filename_prefix": ("STRING", "face")},
        set(),
        [],
    ),
    "FaceGenLoadFaceEmbeds": (
        "FaceGen/face",
        {"face_file": ("COMBO", None), "recogniser": ("COMBO", "w600k_r50")},
        set(),
        ["FACE_EMBEDS"],
    ),
    "FaceGenLikeness": (
        "FaceGen/face",
        {
            "image": ("IMAGE", None),
            "face_analysis": ("FACE_ANALYSIS", None),
            "face_embeds": ("FACE_EMBEDS", None),
            "keep": ("INT", 1),
        },
        set(),
        ["IMAGE", "FLOAT", "STRING"],
    ),
    "FaceGenLoadFaceID": ("FaceGen/face", {"faceid_file": ("COMBO", None)}, set(), ["FACEID"]),
    "FaceGenApplyFaceID": (
        "FaceGen/face",
        {
            "model": ("MODEL", None),
            "faceid": ("FACEID", None),
            "face_embeds": ("FACE_EMBEDS", None),
            "weight": ("FLOAT", 1.0),
            "s_scale": ("FLOAT", 1.0),
            "lora_strength": ("FLOAT", 1.0),
            "start_percent": ("FLOAT", 0.0),
            "end_percent": ("FLOAT", 1.0),
            "layer_weights": ("STRING", ""),
            "mask": ("MASK", None),
        },
        {"mask"},
        ["MODEL"],
    ),
    "FaceGenLoadInstantID": ("FaceGen/face", {"instantid_file": ("COMBO", None)}, set(), ["FACEGEN_INSTANTID"]),
    "FaceGenApplyInstantID": (
        "FaceGen/face",
        {
            "model": ("MODEL", None),
            "instantid": ("FACEGEN_INSTANTID", None),
            "face_embeds": ("FACE_EMBEDS", None),
            "positive": ("CONDITIONING", None),
            "negative": ("CONDITIONING", None),
            "control_net": ("CONTROL_NET", None),
            "keypoints": ("IMAGE", None),
            "weight": ("FLOAT", 0.8),
            "control_strength": ("FLOAT", 0.8),
            "start_percent": ("FLOAT", 0.0),
            "end_percent": ("FLOAT", 1.0),
            "layer_weights": ("STRING", ""),
            "mask": ("MASK", None),
        },
        {"keypoints", "mask"},
        ["MODEL", "CONDITIONING", "CONDITIONING"],
    ),
    "FaceGenFaceKeypoints": (
        "FaceGen/face",
        {
            "width": ("INT", 1016),
            "height": ("INT", 1016),
            "placement": ("COMBO", "as in the photo"),
            "center_x": ("FLOAT", 0.5),
            "center_y": ("FLOAT", 0.4),
            "scale": ("FLOAT", 0.4),
            "image": ("IMAGE", None),
            "face_analysis": ("FACE_ANALYSIS", None),
            "face_embeds": ("FACE_EMBEDS", None),
            "select": ("COMBO", "largest"),
            "face_index": ("INT", 0),
        },
        {"image", "face_analysis", "face_embeds", "select", "face_index"},
        ["IMAGE"],
    ),
    "FaceGenStyle": (
        "FaceGen",
        {"style": ("COMBO", None), "prompt": ("STRING", ""), "negative_prompt": ("STRING", "")},
        set(),
        ["FACE_STYLE", "STRING", "STRING"],
    ),
    "FaceGenSampler": (
        "FaceGen",
        {
            "model": ("MODEL", None),
            "clip": ("CLIP", None),
            "vae": ("VAE", None),
            "faceid": ("FACEID,FACEGEN_INSTANTID", None),
            "face_embeds": ("FACE_EMBEDS", None),
            "style": ("FACE_STYLE", None),
            "prompt": ("STRING", ""),
            "negative_prompt": ("STRING", ""),
            "s_scale": ("FLOAT", 1.0),
            "faceid_weight": ("FLOAT", 1.0),
            "width": ("INT", 512),
            "height": ("INT", 512),
            "samples": ("INT", 1),
            "num_inference_steps": ("INT", 31),
            "guidance_scale": ("FLOAT", 7.5),
            **SEED,
            "sampler_name": ("COMBO", "dpmpp_2m"),
            "scheduler": ("COMBO", "karras"),
            "latent": ("LATENT", None),
            "denoise": ("FLOAT", 1.0),
            "face_analysis": ("FACE_ANALYSIS", None),
            "candidates": ("INT", 1),
            "safety_checker": ("SAFETY_CHECKER", None),
            "safety_checker_type": ("COMBO", "black"),
            "control_net": ("CONTROL_NET", None),
            "keypoints": ("IMAGE", None),
            "control_strength": ("FLOAT", 0.8),
        },
        {"style", "latent", "face_analysis", "candidates", "safety_checker", "safety_checker_type"}
        | {"control_net", "keypoints", "control_strength"},
        ["IMAGE", "LATENT"],
    ),
    "FaceGenLoadTinyModel": (
        "FaceGen",
        {},
        set(),
        ["MODEL", "CLIP", "VAE", "CLIP_VISION", "FACEID", "FACE_ANALYSIS"],
    ),
    "FaceGenLoadSafetyChecker": (
        "FaceGen/safety",
        {
            "checker": ("COMBO", "nudenet"),
            "provider": ("COMBO", "auto"),
            "preset": ("COMBO", "default"),
            "unsafe_labels": ("STRING", ""),
        },
        {"preset", "unsafe_labels"},
        ["SAFETY_CHECKER"],
    ),
    "FaceGenCombineSafetyCheckers": (
        "FaceGen/safety",
        {**{f"safety_checker_{n}": ("SAFETY_CHECKER", None) for n in (1, 2, 3, 4)}, "unsafe_when": ("COMBO", "any")},
        {"safety_checker_3", "safety_checker_4"},
        ["SAFETY_CHECKER"],
    ),
    "FaceGenSafetyFilter": (
        "FaceGen/safety",
        {
            "image": ("IMAGE", None),
            "safety_checker": ("SAFETY_CHECKER", None),
            "safety_checker_type": ("COMBO", "black"),
            "threshold": ("FLOAT", 0.4),
            "region": ("COMBO", "whole image"),
            "notice": ("STRING", "Sensitive content"),
        },
        {"notice"},
        ["IMAGE", "MASK", "BOOLEAN", "STRING"],
    ),
    "FaceGenModelsLab": (
        "FaceGen/remote",
        {
            "prompt": ("STRING", ""),
            "face_image": ("IMAGE", None),
            "negative_prompt": ("STRING", ""),
            "width": ("INT", 512),
            "height": ("INT", 512),
            "num_inference_steps": ("INT", 31),
            "guidance_scale": ("FLOAT", 7.5),
            "style": ("COMBO", "realistic"),
            "s_scale": ("FLOAT", 1.0),
            "samples": ("INT", 1),
            "safety_checker": ("BOOLEAN", True),
            "safety_checker_type": ("COMBO", "black"),
            "base64": ("BOOLEAN", True),
            **SEED,
            "webhook": ("STRING", ""),
            "track_id": ("STRING", ""),
            "profile": ("COMBO", "default"),
            "timeout": ("INT", 300),
            "request_id": ("STRING", ""),
            "endpoint": ("COMBO", "face_gen"),
        },
        {"webhook", "track_id", "request_id", "endpoint"},
        ["IMAGE", "STRING"],
    ),
}


def test_all_nodes_are_there(pack_nodes):
    """And those that stand in for other packs', which test_adopted_nodes.py knows."""
    assert set(pack_nodes) == {*NODES, *(old.new_id for old in OLD.values())}


def test_queued_graphs_are_checked_by_each_node_s_own_outputs(pack_nodes):
    """ComfyUI keeps them on the class, where a node that is made from another one would find the other's."""
    schemas = {number: node.GET_SCHEMA() for number, node in pack_nodes.items()}
    for number, node in pack_nodes.items():
        told = node.RETURN_TYPES
        assert told == [output.io_type for output in schemas[number].outputs], number


@pytest.mark.parametrize("node_id", NODES)
def test_sockets_and_defaults(server, node_id):
    category, inputs, optional, outputs = NODES[node_id]
    info = server.get(f"/object_info/{node_id}")[node_id]
    given = info["input"].get("required", {}) | info["input"].get("optional", {})
    assert info["category"] == category
    assert set(info["input"].get("optional", {})) == optional
    kinds = {name: "COMBO" if isinstance(spec[0], list) else spec[0] for name, spec in given.items()}
    assert kinds == {name: kind for name, (kind, _) in inputs.items()}
    assert {n: s[1].get("default") for n, s in given.items() if inputs[n][1] is not None} == {
        n: default for n, (_, default) in inputs.items() if default is not None
    }
    assert info["output"] == outputs


@pytest.mark.parametrize("node_id", NODES)
def test_everything_is_explained(server, node_id):
    info = server.get(f"/object_info/{node_id}")[node_id]
    assert len(info["description"]) > 40
    assert info["display_name"].endswith("(FaceGen)")
    for name, spec in (info["input"].get("required", {}) | info["input"].get("optional", {})).items():
        assert spec[1].get("tooltip"), f"{name} has no tooltip"


def test_combos_offer_what_is_in_the_folders(server):
    def options(node, name):
        inputs = server.get(f"/object_info/{node}")[node]["input"]
        spec = (inputs["required"] | inputs.get("optional", {}))[name]
        return spec[0] if isinstance(spec[0], list) else spec[1]["options"]

    assert options("FaceGenLoadFaceAnalyzer", "model_pack") == ["buffalo_l"]
    assert options("FaceGenLoadFaceAnalyzer", "provider")[:2] == ["auto", "CPU"]
    assert options("FaceGenLoadFaceID", "faceid_file") == ["ip-adapter-faceid-plusv2_sd15.bin"]
    styles = options("FaceGenStyle", "style")
    assert styles[: len(STYLES)] == list(STYLES)
    assert sorted(styles) == sorted(path.stem for path in (ROOT / "models" / "styles").glob("*.json"))
    checkers = ["nudenet", "concepts.safetensors", "detector"]
    assert options("FaceGenLoadSafetyChecker", "checker") == checkers
    assert options("FaceGenLoadSafetyChecker", "preset") == ["default", "strict", "lenient"]
    assert options("FaceGenSafetyFilter", "safety_checker_type") == [
        "black",
        "blur",
        "pixelate",
        "sensitive_content_text",
    ]
