"""Nodes that stand in for ComfyUI_InstantID's: what they give, by our own node and by that pack's formulas."""

from dataclasses import replace

import pytest
import torch

import comfy_unets
import instantid_step
from comfy_sampling import NEGATIVE, POSITIVE
from facegen.errors import FaceGenError, WrongRecogniserError
from facegen.models.face.embeds import FaceEmbeds
from faceid_files import relative_error
from instantid_step import ONE_LEVEL, Step, person, prompt, small_control

ADVANCED = {"ip_weight": 0.7, "cn_strength": 0.6, "start_at": 0.0, "end_at": 1.0, "noise": 0.0, "combine_embeds": "average"}


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sdxl(**ONE_LEVEL)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return instantid_step.adapter(tmp_path_factory.mktemp("instantid"), instantid_step.adapter_state([64] * 4))


@pytest.fixture(scope="module")
def photo():
    from skimage import data

    return torch.from_numpy(data.astronaut()).float()[None] / 255


@pytest.fixture
def photos(monkeypatch, pack_nodes):
    """photos(faces) lets every picture show these faces."""
    from facegen.models.face.photo_to_embeds import EmbeddedPhotos
    from facegen.nodes.adopted import instantid

    def show(faces):
        nothing = torch.zeros(1)
        monkeypatch.setattr(
            instantid, "embed_photos", lambda *_, combine, **__: EmbeddedPhotos(faces, nothing, nothing, {}, nothing)
        )

    return show


@pytest.fixture
def given(model, adapter, face_analysis, photo):
    parts = {"instantid": adapter, "insightface": face_analysis, "control_net": small_control(4), "image": photo}
    return {**parts, "model": model, "positive": prompt(POSITIVE), "negative": prompt(NEGATIVE)}


@pytest.fixture
def native(run, given):
    def apply(faces, keypoints, **inputs):
        parts = {name: given[name] for name in ("model", "instantid", "control_net", "positive", "negative")}
        return run("FaceGenApplyInstantID", **parts, face_embeds=faces, keypoints=keypoints, **inputs)

    return apply


def same(a, b):
    return relative_error(Step()(*a), Step()(*b))


@pytest.fixture
def drawn(run, face_analysis, photo):
    return run("FaceGenAdoptedFaceKeypointsPreprocessor", faceanalysis=face_analysis, image=photo)[0]


def test_key_points_are_drawn_where_the_face_is_in_its_photo(run, face_analysis, photo, drawn):
    ours = run("FaceGenFaceKeypoints", width=512, height=512, image=photo, face_analysis=face_analysis)[0]
    assert drawn.shape == photo.shape and torch.equal(drawn, ours) and drawn.any()
    both = torch.cat([torch.zeros_like(photo), photo])
    assert torch.equal(run("FaceGenAdoptedFaceKeypointsPreprocessor", faceanalysis=face_analysis, image=both)[0], ours)


def test_no_face_to_draw_is_said(run, face_analysis, photo, caplog):
    black = torch.zeros_like(photo)
    assert not run("FaceGenAdoptedFaceKeypointsPreprocessor", faceanalysis=face_analysis, image=black)[0].any()
    assert "no face was found, so there are no key points" in caplog.text


def test_advanced_is_what_our_own_node_makes(run, given, native, photos, drawn):
    faces = person()
    photos(faces)
    adopted = run("FaceGenAdoptedApplyInstantIDAdvanced", **{**given, **ADVANCED})
    assert same(adopted, native(faces, drawn, weight=0.7, control_strength=0.6)) < 1e-6
    assert same(adopted, native(faces, drawn, weight=0.8, control_strength=0.6)) > 1e-4
    assert same(adopted, native(faces, drawn, weight=0.7, control_strength=0.8)) > 1e-4


def test_a_hint_image_that_is_drawn_already_is_used_as_it_is(run, given, native, photos, drawn):
    """The tests' detector would find a face in it; so may a real one. Smaller or enlarged, it is still seen for what it is."""
    faces, hint = person(), drawn.flip(2)
    photos(faces)
    adopted = run("FaceGenAdoptedApplyInstantIDAdvanced", **{**given, **ADVANCED}, image_kps=hint)
    assert same(adopted, native(faces, hint, weight=0.7, control_strength=0.6)) < 1e-6
    assert same(adopted, native(faces, drawn, weight=0.7, control_strength=0.6)) > 1e-5
    from facegen.nodes.adopted.instantid import is_drawn

    resized = torch.nn.functional.interpolate(hint.movedim(-1, 1), scale_factor=1.7, mode="bilinear").movedim(1, -1)
    assert is_drawn(hint) and is_drawn(resized) and not is_drawn(given["image"]) and not is_drawn(torch.zeros_like(hint))
    pose = run("FaceGenAdoptedApplyInstantIDAdvanced", **{**given, **ADVANCED}, image_kps=given["image"])
    assert same(pose, native(faces, drawn, weight=0.7, control_strength=0.6)) < 1e-6


@pytest.mark.parametrize("combine", ["average", "norm average", "concat"])
def test_several_photos(run, given, native, photos, drawn, combine):
    faces = person(2)
    photos(faces)
    adopted = run("FaceGenAdoptedApplyInstantIDAdvanced", **{**given, **ADVANCED, "combine_embeds": combine})
    rows = faces.identity  # raw, as the pack combines them
    if combine == "norm average":
        rows = rows / torch.norm(rows, dim=0, keepdim=True)
    one = faces if combine == "concat" else replace(faces, identity=torch.mean(rows, dim=0, keepdim=True))
    assert same(adopted, native(one, drawn, weight=0.7, control_strength=0.6)) < 1e-6


def test_noise_is_the_pack_s_own(run, given, adapter, photos, monkeypatch):
    """Seeded by the face: the unconditional side sees it in place of zeros. ApplyInstantID always has 0.35."""
    from facegen.models.identity.raw_embedding import raw_tokens
    from facegen.nodes.adopted import instantid

    faces, seen = person(), []
    photos(faces)
    monkeypatch.setattr(instantid, "apply_instantid", lambda *parts, **_: seen.append(parts[1]) or (1, [], []))
    run("FaceGenAdoptedApplyInstantID", **given, weight=0.7)
    clip_embed = faces.identity[None]
    torch.manual_seed(int(torch.sum(clip_embed).item()) % 1000000007)
    noise = 0.35 * torch.rand_like(clip_embed)
    cond, uncond = seen[0].tokens(faces)
    assert torch.equal(cond, adapter.tokens(faces)[0])
    assert torch.allclose(uncond, raw_tokens(adapter.file, noise[0]), atol=1e-6)
    assert relative_error(uncond, adapter.tokens(faces)[1]) > 0.01
    assert relative_error(seen[0].keys_values(faces)[0][0][1], adapter.keys_values(faces)[0][0][1]) > 0.01


def test_a_mask_also_keeps_the_prompt_apart(run, given, photos):
    photos(person())
    mask = torch.zeros(64, 64)
    mask[:, :32] = 1
    _, positive, negative = run("FaceGenAdoptedApplyInstantIDAdvanced", **{**given, **ADVANCED}, mask=mask)
    assert positive[0][1]["mask"].shape == (1, 64, 64) and positive[0][1]["set_area_to_bounds"] is False
    assert "mask" not in negative[0][1] and "mask" not in given["positive"][0][1]


HALVES = {"weight": 0.7, "start_at": 0.0, "end_at": 1.0, "noise": 0.0}, {"strength": 0.6, "start_at": 0.0, "end_at": 1.0}


@pytest.mark.parametrize("masked", [False, True])
def test_the_two_halves_are_the_whole(run, given, photos, drawn, masked):
    photos(person(2))
    attention, control = HALVES
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    more = {"mask": mask} if masked else {}
    parts = {name: given[name] for name in ("instantid", "insightface", "image", "model")}
    model, faces = run("FaceGenAdoptedInstantIDAttentionPatch", **parts, **attention, **more)
    rest = {name: given[name] for name in ("control_net", "positive", "negative")}
    texts = run("FaceGenAdoptedApplyInstantIDControlNet", face_embeds=faces, image_kps=drawn, **rest, **control, **more)
    whole = run("FaceGenAdoptedApplyInstantIDAdvanced", **{**given, **ADVANCED}, image_kps=drawn, **more)
    assert same((model, *texts), whole) < 1e-6
    assert same((model, given["positive"], given["negative"]), whole) > 1e-4 < same((given["model"], *texts), whole)
    off = run(
        "FaceGenAdoptedApplyInstantIDControlNet", face_embeds=faces, image_kps=drawn, **rest, **{**control, "strength": 0.0}
    )
    assert "control" not in off[0][0][1]
    assert not masked or texts[0][0][1]["mask"].shape == (1, 64, 64)


def test_face_embeds_of_another_node_are_refused(run, given, drawn):
    rest = {name: given[name] for name in ("control_net", "positive", "negative")}
    with pytest.raises(
        FaceGenError, match="^InstantID Apply ControlNet: face_embeds has to come from InstantID Patch Attention"
    ):
        run("FaceGenAdoptedApplyInstantIDControlNet", face_embeds=person(), image_kps=drawn, **rest, **HALVES[1])


def test_what_it_says_of_bad_parts(run, given, photos, pack_nodes):
    photos(FaceEmbeds(person().identity, faces=({"recogniser": "w600k_r50", "model_pack": "buffalo_l"},)))
    with pytest.raises(WrongRecogniserError, match=r"^Apply InstantID: .*Choose antelopev2 in the node that loads the face"):
        run("FaceGenAdoptedApplyInstantID", **given)
    with pytest.raises(FaceGenError, match="^Load InstantID Model: 'gone.bin' is not there"):
        run("FaceGenAdoptedInstantIDModelLoader", instantid_file="gone.bin")
    assert "is not there" in pack_nodes["FaceGenAdoptedInstantIDModelLoader"].validate_inputs("gone.bin")
    with pytest.raises(FaceGenError, match="InstantID Face Analysis: InsightFace model pack 'antelopev2' not found"):
        run("FaceGenAdoptedInstantIDFaceAnalysis", provider="CPU")
