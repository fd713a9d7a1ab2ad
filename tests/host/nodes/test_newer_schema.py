"""What newer ComfyUIs show of a node: other names to find it by, inputs folded away, a price. Older ones do without."""

import dataclasses
import inspect

import pytest
from comfy_api.latest import io

import workflows

# What people type -> a node that they should be offered.
SEARCHED = {
    "face id": "FaceGenApplyFaceID",
    "faceid": "FaceGenSampler",
    "ip-adapter": "FaceGenLoadFaceID",
    "ipadapter": "FaceGenApplyFaceID",
    "instantid": "FaceGenApplyFaceID",
    "insightface": "FaceGenLoadFaceAnalyzer",
    "headshot": "FaceGenSampler",
    "avatar": "FaceGenSampler",
    "portrait": "FaceGenSampler",
    "consistent character": "FaceGenSampler",
    "nsfw": "FaceGenSafetyFilter",
    "censor": "FaceGenSafetyFilter",
    "face similarity": "FaceGenLikeness",
    "reactor": "FaceGenSaveFaceEmbeds",
}
FOLDED = {
    "FaceGenSampler": {"sampler_name", "scheduler", "denoise", "candidates", "safety_checker_type", "control_strength"},
    "FaceGenApplyFaceID": {"lora_strength", "start_percent", "end_percent", "layer_weights"},
    "FaceGenApplyInstantID": {"start_percent", "end_percent", "layer_weights"},
    "FaceGenApplyPuLID": {"projection", "num_zero", "end_percent", "layer_weights"},  # its start matters most
    "FaceGenLoadFaceAnalyzer": {"provider"},
    "FaceGenLoadFaceEmbeds": {"recogniser"},
    "FaceGenLoadSafetyChecker": {"provider", "unsafe_labels"},
    "FaceGenSafetyFilter": {"notice"},
    "FaceGenModelsLab": {"safety_checker_type", "base64", "webhook", "track_id", "timeout", "request_id"},
}
HAS = {field.name for field in dataclasses.fields(io.Schema)}
FOLDS = "advanced" in inspect.signature(io.Combo.Input.__init__).parameters


@pytest.fixture(scope="module")
def ours(server):
    """Without those that only old graphs have."""
    all_nodes = server.get("/object_info").items()
    return {name: info for name, info in all_nodes if name.startswith("FaceGen") and not info["deprecated"]}


def test_every_node_has_names_to_be_found_by(ours):
    aliases = {name: info.get("search_aliases") for name, info in ours.items()}
    if "search_aliases" not in HAS:
        assert not any(aliases.values())
        return
    for name, given in aliases.items():
        assert len(given) > 2 and len(set(given)) == len(given), name
        assert all(text == text.strip().lower() != "" for text in given), name
    assert [text for text, name in SEARCHED.items() if text not in aliases[name]] == []


def test_what_few_need_is_folded_away(ours):
    """Only what has a default: nobody has to unfold a node to run it."""
    folded = {}
    for name, info in ours.items():
        inputs = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        if away := {one for one, spec in inputs.items() if spec[1].get("advanced")}:
            folded[name] = away
            assert all("default" in inputs[one][1] for one in away)
    assert folded == (FOLDED if FOLDS else {})
    shown = [name for name in workflows.widget_order("FaceGenSampler", ours) if name not in folded.get("FaceGenSampler", ())]
    assert len(shown) == (11 if FOLDS else 17)


def test_the_hosted_node_says_who_bills_and_gets_no_account(ours):
    """Not as a node of ComfyUI's own service: that would hand it the user's token."""
    badge = ours["FaceGenModelsLab"].get("price_badge")
    assert (badge is not None) == ("price_badge" in HAS)
    assert badge is None or "billed by ModelsLab" in badge["expr"]
    for name, info in ours.items():
        assert not info.get("api_node") and "auth_token_comfy_org" not in info["input"].get("hidden", {})
        assert name == "FaceGenModelsLab" or not info.get("price_badge")


def test_the_sampler_is_among_the_essentials(ours):
    essential = {name: info["essentials_category"] for name, info in ours.items() if info.get("essentials_category")}
    assert essential == ({"FaceGenSampler": "Image Generation"} if "essentials_category" in HAS else {})
