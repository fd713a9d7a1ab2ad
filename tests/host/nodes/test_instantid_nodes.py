"""Load InstantID, Apply InstantID, and the sampler node with an InstantID file."""

import comfy.controlnet
import nodes as comfy_nodes
import pytest
import torch

import comfy_unets
import instantid_step
from comfy_sampling import NEGATIVE, POSITIVE
from facegen.errors import FaceGenError, NoKeypointsError, NotAnAdapterError, WrongBaseModelError, WrongRecogniserError
from facegen.models.face.embeds import FaceEmbeds
from faceid_files import faceid_state, save
from instantid_step import ONE_LEVEL, person, prompt, small_control

STATE = {"context_dim": 2048, "rank": 0, "unnorm": True, "inner": 128}


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sdxl(**ONE_LEVEL)


@pytest.fixture(scope="module")
def files(folder_paths):
    """InstantID's file in a folder of ours and in IP-Adapter's, one that was converted, and none else is left behind."""
    import facegen.nodes.host.folders as folders

    folders.register_model_folders()
    from pathlib import Path

    state = faceid_state([64] * 4, **STATE)
    places = [Path(folder_paths.get_folder_paths(folder)[-1]) for folder in ("instantid", "ipadapter")]
    made = []
    for place, name in zip(places, ("ip-adapter.bin", "instantid.safetensors"), strict=True):
        place.mkdir(exist_ok=True, parents=True)
        made.append(save(state, place / name))
    folder_paths.filename_list_cache.clear()
    yield made
    for path in made:
        path.unlink()
    folder_paths.filename_list_cache.clear()


@pytest.fixture
def adapter(run, files):
    return run("FaceGenLoadInstantID", instantid_file="ip-adapter.bin")[0]


@pytest.fixture(scope="module")
def control_net():
    return small_control(4)


@pytest.fixture
def apply(run, model, adapter, control_net):
    def apply(**inputs):
        given = {
            "model": model,
            "instantid": adapter,
            "face_embeds": person(),
            "positive": prompt(POSITIVE),
            "negative": prompt(NEGATIVE),
            "control_net": control_net,
        }
        return run("FaceGenApplyInstantID", **{**given, **inputs})

    return apply


def test_files_of_both_folders_are_offered_and_opened(run, pack_nodes, files):
    options = pack_nodes["FaceGenLoadInstantID"].define_schema().inputs[0].options
    assert options[0] == "ip-adapter.bin" and "instantid.safetensors" in options
    loaded = [run("FaceGenLoadInstantID", instantid_file=path.name)[0] for path in files]
    assert [adapter.variant.name for adapter in loaded] == ["instantid"] * 2
    assert [adapter.file.path for adapter in loaded] == files
    check = pack_nodes["FaceGenLoadInstantID"].validate_inputs
    assert check("ip-adapter.bin") is True
    assert "models download instantid" in check("missing: ip-adapter.bin") and "Then press R" in check("gone.bin")


def test_files_of_the_other_method_are_refused(run, files):
    name = "ip-adapter-faceid-plusv2_sd15.bin"
    with pytest.raises(NotAnAdapterError, match=rf"^Load InstantID: .*{name} is not .* is a FaceID adapter.*use Load FaceID"):
        run("FaceGenLoadInstantID", instantid_file=name)
    noted = save(faceid_state([64] * 4, **STATE), files[1].with_name("noted.safetensors"), {"facegen.variant": "instantid"})
    try:
        with pytest.raises(NotAnAdapterError, match=r"^Load FaceID: .*noted\.safetensors is not .* is an InstantID adapter"):
            run("FaceGenLoadFaceID", faceid_file=noted.name)
    finally:
        noted.unlink()


def test_a_model_or_controlnet_of_another_kind_is_named(apply, adapter):
    with pytest.raises(
        WrongBaseModelError, match=r"^Apply InstantID: ip-adapter\.bin is an instantid.*SDXL checkpoint in Load"
    ):
        apply(model=comfy_unets.sd15())
    flux = comfy_unets.sdxl(**ONE_LEVEL)
    flux.model.diffusion_model = torch.nn.Linear(1, 1)
    with pytest.raises(FaceGenError, match=r"^Apply InstantID: ip-adapter\.bin is .* for SDXL models; this one is a Linear"):
        apply(model=flux)
    for wrong, says in (
        (small_control(4, context_dim=768), r"made for another base model \(context width 768\)"),
        (comfy.controlnet.T2IAdapter(torch.nn.Linear(1, 1), 3, 8, "nearest-exact"), "a T2IAdapter without cross-attention"),
        (comfy.controlnet.ControlNet(torch.nn.Linear(1, 1), load_device="cpu"), "a Linear without cross-attention"),
    ):
        with pytest.raises(
            WrongBaseModelError, match=rf"^Apply InstantID: ip-adapter\.bin needs .*{says}.*Load ControlNet Model"
        ):
            apply(control_net=wrong)


def test_faces_of_another_recogniser_are_refused_on_both_sides(run, apply, parts, face_analysis):
    with pytest.raises(WrongRecogniserError, match=r"w600k_r50 \(model pack buffalo_l\).*with the pack antelopev2"):
        apply(face_embeds=parts["face_embeds"])
    given = {name: parts[name] for name in ("model", "faceid")}
    with pytest.raises(
        WrongRecogniserError, match=r"glintr100 \(model pack antelopev2\), but w600k_r50 \(model pack buffalo_l\)"
    ):
        run("FaceGenApplyFaceID", **given, face_embeds=person())


def test_a_face_without_points_needs_a_hint_image(apply):
    known = {"recogniser": "glintr100", "model_pack": "antelopev2"}
    nowhere = FaceEmbeds(person().identity, faces=(known,))
    with pytest.raises(
        NoKeypointsError, match=r"^Apply InstantID: These faces don't say .* Connect Face Keypoints to keypoints"
    ):
        apply(face_embeds=nowhere)
    apply(face_embeds=nowhere, keypoints=torch.ones(1, 64, 64, 3))
    with pytest.raises(NoKeypointsError, match="^Apply InstantID: keypoints is black all over"):
        apply(keypoints=torch.zeros(1, 64, 64, 3))


def test_points_of_an_older_file_are_put_at_the_usual_place(apply, caplog):
    apply(face_embeds=person(faces=({k: v for k, v in instantid_step.FACE.items() if k != "size"},)))
    assert "don't say how large their photo was" in caplog.text


def test_what_has_no_effect_is_said(apply, model, caplog):
    apply(weight=0.0)
    assert "weight 0 leaves ip-adapter.bin out" in caplog.text
    patched, positive, negative = apply(weight=0.0, control_strength=0.0)
    assert "the person doesn't show" in caplog.text
    assert "control" not in positive[0][1] and "control" not in negative[0][1]
    assert not patched.model_options["transformer_options"].get("patches_replace", {}).get("attn2")
    patched, positive, _ = apply(mask=torch.zeros(1, 8, 8))
    assert "the mask is black all over" in caplog.text and "control" not in positive[0][1]
    with pytest.raises(FaceGenError, match=r"^Apply InstantID: start_percent 0\.6 lies after end_percent 0\.4"):
        apply(start_percent=0.6, end_percent=0.4)


class Text:
    """Stands for SDXL's text encoders."""

    def tokenize(self, text):
        return text

    def encode_from_tokens_scheduled(self, tokens):
        return prompt(POSITIVE if tokens else NEGATIVE)


SETTINGS = {"width": 64, "height": 64, "num_inference_steps": 2, "seed": 7, "guidance_scale": 4.0, "prompt": "a portrait"}


def test_the_sampler_node_equals_the_stock_nodes(run, apply, model, adapter, control_net, parts):
    inputs = {"model": model, "clip": Text(), "vae": parts["vae"], "faceid": adapter, "face_embeds": person()}
    settings = {**SETTINGS, "faceid_weight": 0.8, "sampler_name": "euler", "scheduler": "normal", "control_strength": 0.6}
    image, latent = run("FaceGenSampler", **inputs, **settings, control_net=control_net)
    patched, positive, negative = apply(control_strength=0.6)
    (start,) = comfy_nodes.EmptyLatentImage().generate(64, 64, 1)
    (expected,) = comfy_nodes.common_ksampler(patched, 7, 2, 4.0, "euler", "normal", positive, negative, start)
    assert torch.equal(latent["samples"], expected["samples"]) and image.shape == (1, 64, 64, 3)
    other, _ = run("FaceGenSampler", **inputs, **settings, control_net=control_net, keypoints=torch.rand(1, 64, 64, 3))
    assert not torch.equal(image, other)


def test_the_sampler_node_says_what_instantid_lacks(run, model, adapter, control_net, parts, caplog):
    inputs = {"model": model, "clip": Text(), "vae": parts["vae"], "faceid": adapter, "face_embeds": person()}
    with pytest.raises(FaceGenError, match="^Face Portrait Sampler: InstantID needs its ControlNet: connect Load ControlNet"):
        run("FaceGenSampler", **inputs, **SETTINGS)
    with pytest.raises(WrongBaseModelError, match=r"^Face Portrait Sampler: .*InstantID needs an SDXL checkpoint"):
        run("FaceGenSampler", **{**inputs, "model": parts["model"]}, **SETTINGS, control_net=control_net)
    run("FaceGenSampler", **inputs, **SETTINGS, control_net=control_net, s_scale=0.5)
    assert "s_scale 0.5 has no effect: InstantID (ip-adapter.bin)" in caplog.text
