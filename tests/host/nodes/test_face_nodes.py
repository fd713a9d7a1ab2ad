"""Face nodes inside ComfyUI."""

import json
import re

import comfy.model_management
import comfy.utils
import numpy as np
import pytest
import torch

from facegen.errors import FaceGenError, NoFaceError
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.safety.checking import SafetyResult
from few_layers import LAYERS


def test_embeds_the_largest_face(run, face_analysis, astronaut):
    face_embeds, crops, annotated, faces, *_ = run("FaceGenEmbedFace", face_analysis=face_analysis, image=astronaut)
    assert faces == 1 and len(face_embeds) == 1 and face_embeds.clip_hidden is None
    assert face_embeds.faces[0]["model_pack"] == "buffalo_l"
    assert face_embeds.faces[0]["bbox"][0] == pytest.approx(0.35 * 512, abs=1)
    assert crops.shape == (1, 224, 224, 3) and annotated.shape == astronaut.shape
    other = run("FaceGenEmbedFace", face_analysis=face_analysis, image=astronaut, select="all", combine="concat")[0]
    assert len(other) == 2


def test_clip_states_equal_transformers(run, face_analysis, clip_vision, astronaut, folder_paths):
    """Penultimate states of the RGB crop, and of a picture that is zero after normalisation."""
    from safetensors.torch import load_file
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    face_embeds, crops, *_ = run("FaceGenEmbedFace", face_analysis=face_analysis, image=astronaut, clip_vision=clip_vision)
    assert face_embeds.clip_hidden.shape == face_embeds.clip_hidden_zero.shape == (1, 257, 1024)
    config = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=LAYERS,
        num_attention_heads=16,
        patch_size=14,
        projection_dim=768,
    )
    with torch.device("meta"):  # its own random weights would take seconds
        oracle = CLIPVisionModelWithProjection(config).eval()
    state = {k: v.float() for k, v in load_file(folder_paths.get_full_path("clip_vision", "vit_l.safetensors")).items()}
    missing, unexpected = oracle.load_state_dict(state, strict=False, assign=True)
    left_out = {name for name in state if name.startswith("vision_model.encoder.layers.") and name not in oracle.state_dict()}
    assert set(unexpected) == left_out and all("position_ids" in name for name in missing)
    oracle.vision_model.embeddings.position_ids = torch.arange(257)[None]
    rgb = (crops[0].numpy() * 255).round().astype(np.uint8)
    pixels = CLIPImageProcessor()(images=[rgb], return_tensors="pt").pixel_values
    both = oracle(torch.cat([pixels, torch.zeros_like(pixels)]), output_hidden_states=True).hidden_states[-2]
    for given, expected in zip((face_embeds.clip_hidden, face_embeds.clip_hidden_zero), both.split(1), strict=True):
        assert ((given - expected).norm() / expected.norm()).item() < 1e-4


def test_no_face_is_an_error_or_skipped(run, face_analysis, astronaut):
    black = torch.zeros_like(astronaut)
    advice = r"Use another photo, or lower min_confidence on the Load Face Analyzer node\."
    with pytest.raises(
        NoFaceError, match=rf"^Embed Face: No face found in the 512x512 picture\. .* is needed\. {advice} \(Det.*\)$"
    ):
        run("FaceGenEmbedFace", face_analysis=face_analysis, image=black)
    both = torch.cat([black, astronaut])
    face_embeds, _, annotated, faces, report, mask, _ = run(
        "FaceGenEmbedFace", face_analysis=face_analysis, image=both, on_no_face="skip"
    )
    assert faces == len(face_embeds) == 1 and len(annotated) == 2
    skipped, *_, last = json.loads(report)["warnings"]
    assert skipped.startswith("picture 0 skipped. No face found in the 512x512") and re.search(advice, last)
    assert mask.shape == (2, 512, 512) and not mask[0].any() and mask[1, 128, 230] == 1
    with pytest.raises(NoFaceError, match=f"all were skipped.*{advice}"):
        run("FaceGenEmbedFace", face_analysis=face_analysis, image=black, on_no_face="skip")


@pytest.mark.parametrize(
    ("combine", "count", "per_image"), [("average", 1, False), ("concat", 2, False), ("one per image", 2, True)]
)
def test_combining_a_batch(run, face_analysis, astronaut, combine, count, per_image):
    batch = torch.cat([astronaut, astronaut.flip(2)])
    face_embeds, _, _, faces, *_ = run("FaceGenEmbedFace", face_analysis=face_analysis, image=batch, combine=combine)
    assert (len(face_embeds), face_embeds.per_image, faces) == (count, per_image, 2)
    if combine == "average":
        each = run("FaceGenEmbedFace", face_analysis=face_analysis, image=batch, combine="concat")[0]
        mean = each.normed_identity.mean(0, keepdim=True)
        assert torch.allclose(face_embeds.normed_identity, mean / mean.norm(), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_that_are_not_rgb(run, face_analysis, channels):
    with pytest.raises(FaceGenError, match=f"{channels}.*Embed Face|Embed Face.*{channels}"):
        run("FaceGenEmbedFace", face_analysis=face_analysis, image=torch.zeros(1, 64, 64, channels))


def test_pictures_with_nan(run, face_analysis):
    with pytest.raises(FaceGenError, match="Embed Face.*NaN"):
        run("FaceGenEmbedFace", face_analysis=face_analysis, image=torch.full((1, 64, 64, 3), float("nan")))


def test_a_missing_pack_names_the_folder(run):
    get = r"Get it with `python <pack folder> models download antelopev2`, or unpack the source there\."
    with pytest.raises(FaceGenError, match=rf"'antelopev2' not found.*insightface/models/antelopev2.*source: http.*{get}"):
        run("FaceGenLoadFaceAnalyzer", model_pack="antelopev2")


class Interrupting:
    """A safety checker that presses ComfyUI's cancel button while it looks at the third picture, and counts its pictures."""

    name = "interrupting"

    def __init__(self):
        self.seen = 0

    def look(self, many=1):
        self.seen += many
        if self.seen >= 3:
            comfy.model_management.interrupt_current_processing()

    def check(self, images):
        self.look(len(images))
        return [SafetyResult(0.0)] * len(images)


@pytest.fixture
def interrupting(monkeypatch, face_analysis):
    cancel = Interrupting()
    find = face_analysis.find
    monkeypatch.setattr(face_analysis, "find", lambda bgr: cancel.look() or find(bgr))
    monkeypatch.setattr(face_analysis, "detect", lambda bgr: cancel.look() or list(find(bgr).faces))
    yield cancel
    comfy.model_management.interrupt_current_processing(False)


@pytest.mark.parametrize("node", ["FaceGenEmbedFace", "FaceGenFaceQuality", "FaceGenLikeness", "FaceGenSafetyFilter"])
def test_cancel_ends_the_work_between_two_pictures(run, face_analysis, astronaut, interrupting, node):
    inputs = {"face_analysis": face_analysis}
    if node == "FaceGenSafetyFilter":
        inputs = {"safety_checker": interrupting}
    if node == "FaceGenLikeness":
        inputs["face_embeds"] = FaceEmbeds(torch.ones(1, 512))
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        run(node, image=astronaut.repeat(20, 1, 1, 1), **inputs)
    assert interrupting.seen == (8 if node == "FaceGenSafetyFilter" else 3)


def test_cancel_ends_the_encoding_of_many_crops(clip_vision, monkeypatch):
    from facegen.nodes.host.clip_states import encode_clip_vision

    calls = []

    def encode(crops):
        calls.append(len(crops))
        comfy.model_management.interrupt_current_processing()
        return {"penultimate_hidden_states": torch.zeros(len(crops), 257, 4)}

    monkeypatch.setattr(clip_vision, "encode_image", encode)
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            encode_clip_vision(clip_vision, torch.rand(40, 224, 224, 3))
    finally:
        comfy.model_management.interrupt_current_processing(False)
    assert calls == [16]


def test_many_photos_move_the_progress_bar(run, face_analysis, astronaut, monkeypatch):
    shown = []
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_HOOK", lambda value, total, *_, **__: shown.append((value, total)))
    monkeypatch.setattr(comfy.utils, "PROGRESS_BAR_ENABLED", True)
    run("FaceGenEmbedFace", face_analysis=face_analysis, image=astronaut.repeat(3, 1, 1, 1))
    assert shown[0] == (0, 3) and shown[-1] == (3, 3)  # newer hosts leave out what follows too fast
    before = len(shown)
    run("FaceGenEmbedFace", face_analysis=face_analysis, image=astronaut)
    assert len(shown) == before
