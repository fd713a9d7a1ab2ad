"""Faces in SDXL against diffusers' own IP-Adapter and ControlNet: FaceID's pictures, and whole steps of InstantID."""

import pytest
import torch
from safetensors.torch import save_file

from facegen.errors import FaceGenError, UnreadableFileError, WrongBaseModelError
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from facegen.models.identity.instantid.adapter import InstantIDAdapter
from facegen.models.identity.shown import Shown
from facegen.standalone.checkpoints.controlnet import open_controlnet
from facegen.standalone.checkpoints.opening import CPU, open_checkpoint
from facegen.standalone.identity import INSTANTID_WEIGHT, apply_faceid, apply_instantid
from facegen.standalone.instantid import FaceControl, hint_image
from faceid_files import CLIP, faceid_state, random_faces, relative_error, save
from small_checkpoints import BLOCKS, CONTEXT, POOLED, SIZES, controlnet, save_folder, unet

CONTEXT_DIM = CONTEXT["SDXL"]
ON_PHOTO = {
    "recogniser": "glintr100",
    "model_pack": "antelopev2",
    "bbox": [10.0, 8.0, 50.0, 60.0],
    "kps": [[20.0, 25.0], [40.0, 26.0], [30.0, 36.0], [22.0, 46.0], [38.0, 47.0]],
    "size": [64, 64],
}


@pytest.fixture
def added():
    g = torch.Generator().manual_seed(4)
    sizes = torch.tensor([[64.0, 64.0, 0.0, 0.0, 64.0, 64.0]]).expand(2, -1)
    return {"text_embeds": torch.randn(2, POOLED, generator=g), "time_ids": sizes}


@pytest.fixture
def step():
    """(latents, time, text states), unconditional first."""
    g = torch.Generator().manual_seed(9)
    return torch.randn(2, 4, 8, 8, generator=g), torch.tensor(500), torch.randn(2, 7, CONTEXT_DIM, generator=g)


def with_ip_adapter(network, state):
    """diffusers' pipeline around the UNet, with its own IP-Adapter loaded into it."""
    import diffusers

    parts = dict.fromkeys(("vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2"))
    pipe = diffusers.StableDiffusionXLPipeline(**parts, unet=network, scheduler=diffusers.DDIMScheduler())
    pipe.load_ip_adapter(state, subfolder=None, weight_name=None, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.8)
    return pipe


def asks_for_the_face(network, faces, s_scale):
    """Tells diffusers' projection of FaceID-Plus what it reads beside the embedding, which its pipeline doesn't."""
    projection = network.encoder_hid_proj.image_projection_layers[0]
    projection.shortcut, projection.shortcut_scale = True, s_scale
    projection.clip_embeds = torch.stack([faces.clip_hidden_zero.expand_as(faces.clip_hidden), faces.clip_hidden])
    identity = faces.normed_identity
    return torch.stack([torch.zeros_like(identity), identity])


@pytest.mark.parametrize("s_scale", [0.0, 1.3])
def test_faceid_in_a_step_equals_diffusers(tmp_path, step, added, s_scale):
    state, faces = faceid_state(BLOCKS["SDXL"], CONTEXT_DIM, CLIP), random_faces()
    latents, time, text = step
    ours, plain = unet("SDXL"), unet("SDXL")
    adapter = FaceIDAdapter(save(state, tmp_path / "adapter.safetensors"))
    apply_faceid(ours, adapter, [Shown(faces, weight=0.8, s_scale=s_scale)])
    pipe = with_ip_adapter(unet("SDXL"), state)
    embeds = asks_for_the_face(pipe.unet, faces, s_scale)
    with torch.no_grad():
        given = ours(latents, time, text, added_cond_kwargs=added).sample
        expected = pipe.unet(latents, time, text, added_cond_kwargs=added | {"image_embeds": [embeds]}).sample
        without = plain(latents, time, text, added_cond_kwargs=added).sample
    assert relative_error(without, expected) > 0.05  # FaceID does something here
    for side in (0, 1):
        assert relative_error(given[side], expected[side]) < 1e-4


def test_faceid_s_pictures_are_those_of_diffusers(tmp_path):
    import diffusers

    folder = save_folder("SDXL", tmp_path / "checkpoint")
    state, faces = faceid_state(BLOCKS["SDXL"], CONTEXT_DIM, CLIP), random_faces()
    ours = open_checkpoint(folder)
    asked = {"width": 64, "height": 72}
    settings = {"steps": 4, "guidance": 2.0, **asked}
    before = ours.sample(["a pilot"], ["dark"], generator=torch.Generator().manual_seed(5), **settings)
    apply_faceid(ours.unet, FaceIDAdapter(save(state, tmp_path / "adapter.bin")), [Shown(faces, weight=0.8)])
    given = ours.sample(["a pilot"], ["dark"], generator=torch.Generator().manual_seed(5), **settings)
    pipe = diffusers.StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = diffusers.DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    pipe.load_ip_adapter(state, subfolder=None, weight_name=None, image_encoder_folder=None)
    pipe.set_ip_adapter_scale(0.8)
    expected = pipe(
        "a pilot",
        negative_prompt="dark",
        num_inference_steps=4,
        guidance_scale=2.0,
        generator=torch.Generator().manual_seed(5),
        ip_adapter_image_embeds=[asks_for_the_face(pipe.unet, faces, 1.0)],
        output_type="pt",
        **asked,
    ).images.movedim(1, -1)
    assert relative_error(given, expected) < 1e-4 and relative_error(before, expected) > 0.01


# --- InstantID ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def instantid_state():
    return faceid_state(BLOCKS["SDXL"], CONTEXT_DIM, rank=0, unnorm=True, inner=128)


@pytest.fixture
def adapter(instantid_state, tmp_path):
    return InstantIDAdapter(save(instantid_state, tmp_path / "ip-adapter.bin"))


@pytest.fixture
def identity_net(tmp_path):
    """diffusers' own ControlNet, and its file without a configuration, as InstantID's is published."""
    network = controlnet()
    save_file(network.state_dict(), tmp_path / "instantid-controlnet.safetensors")
    return network, tmp_path / "instantid-controlnet.safetensors"


def person():
    return random_faces(clip=None, faces=(ON_PHOTO,))


def our_step(adapter, file, step, added, sides, dtype=torch.float32):
    face, (latents, time, text) = person(), step
    network = unet("SDXL").to(dtype)
    shown = [Shown(face, INSTANTID_WEIGHT)]
    apply_instantid(network, adapter, shown, sides=sides)
    opened, hint = open_controlnet(file, network, CPU, dtype), hint_image(face, 64, 64)
    control = FaceControl(opened, adapter, shown, [hint], sides=sides)
    with torch.no_grad():
        return network(latents, time, text, added_cond_kwargs=added, **control(latents, time, added)).sample


def diffusers_step(state, controlnet, step, added, sides, dtype=torch.float32, face_in_unet=True, face_in_controlnet=True):
    """By plain calls: diffusers' projection, its IPAdapterAttnProcessor2_0 in its UNet, and its ControlNet."""
    face, (latents, time, text) = person(), step
    pipe = with_ip_adapter(unet("SDXL"), state)
    pipe.unet.to(dtype)
    pipe.set_ip_adapter_scale(0.8 if face_in_unet else 0.0)
    embeds = torch.stack([torch.zeros_like(face.identity), face.identity])[-len(sides) :, None].to(dtype)
    with torch.no_grad():
        (tokens,) = pipe.unet.encoder_hid_proj([embeds])
        down, middle = controlnet.to(dtype)(
            latents,
            time,
            encoder_hidden_states=tokens.flatten(1, 2),
            controlnet_cond=hint_image(face, 64, 64).movedim(-1, 0)[None].expand(len(latents), -1, -1, -1).to(dtype),
            conditioning_scale=0.8 if face_in_controlnet else 0.0,
            added_cond_kwargs=added,
            return_dict=False,
        )
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": middle}
        asked = {"added_cond_kwargs": added | {"image_embeds": [embeds]}}
        return pipe.unet(latents, time, text, **asked, **residuals).sample


@pytest.mark.parametrize("sides", [(1, 0), (0,)], ids=["both sides", "conditional alone"])
def test_a_whole_step_of_instantid_equals_diffusers(step, added, adapter, instantid_state, identity_net, sides):
    theirs, file = identity_net
    step = (step[0][-len(sides) :], step[1], step[2][-len(sides) :])
    added = {name: tensor[-len(sides) :] for name, tensor in added.items()}
    given = our_step(adapter, file, step, added, sides)
    expected = diffusers_step(instantid_state, theirs, step, added, sides)
    for without in ({"face_in_unet": False}, {"face_in_controlnet": False}):  # each does something here
        assert relative_error(diffusers_step(instantid_state, theirs, step, added, sides, **without), expected) > 0.01
    for side in range(len(sides)):
        assert relative_error(given[side], expected[side]) < 1e-4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_as_near_as_diffusers(step, added, adapter, instantid_state, identity_net, dtype):
    theirs, file = identity_net
    exact = diffusers_step(instantid_state, theirs, step, added, (1, 0))
    half = (step[0].to(dtype), step[1], step[2].to(dtype))
    added = {name: tensor.to(dtype) for name, tensor in added.items()}
    given = our_step(adapter, file, half, added, (1, 0), dtype)
    expected = diffusers_step(instantid_state, theirs, half, added, (1, 0), dtype)
    assert given.dtype == dtype and relative_error(given, exact) < 2 * relative_error(expected, exact)


def test_the_hint_lies_as_in_the_photo_and_in_the_middle_where_that_is_not_known():
    face = person()
    hint = hint_image(face, 128, 128)
    assert hint.shape == (128, 128, 3) and hint[50, 40].tolist() == [1, 0, 0] and hint[72, 60].tolist() == [0, 0, 1]
    unplaced = random_faces(clip=None, faces=({name: ON_PHOTO[name] for name in ("bbox", "kps")},))
    lit = hint_image(unplaced, 128, 128).amax(-1).nonzero().float().mean(0) / 128
    assert (lit - torch.tensor([0.4, 0.5])).abs().max() < 0.1


def test_a_controlnet_of_another_base_is_named(identity_net, tmp_path):
    """SD1.5's, one in another form, one that isn't whole, and no file of tensors at all."""
    from safetensors.torch import load_file

    network, state = unet("SDXL"), load_file(identity_net[1])
    whole = "down_blocks.2.attentions.0.transformer_blocks.0.attn2.to_k.weight"
    broken = {
        "sd15": ({n: t for n, t in state.items() if not n.startswith("add_embedding.")}, WrongBaseModelError, "another base"),
        "other": ({"control_model.input_hint_block.0.weight": torch.zeros(1)}, WrongBaseModelError, "no ControlNet in diff"),
        "cut": ({n: t for n, t in state.items() if n != whole}, FaceGenError, "doesn't hold all tensors of the ControlNet"),
    }
    for name, (tensors, error, says) in broken.items():
        path = tmp_path / f"{name}.safetensors"
        save_file(tensors, path)
        with pytest.raises(error, match=rf"{name}\.safetensors .*{says}"):
            open_controlnet(path, network, CPU, torch.float32)
    (tmp_path / "page.safetensors").write_bytes(b"<html>")
    with pytest.raises(UnreadableFileError, match="can't be read as a ControlNet"):
        open_controlnet(tmp_path / "page.safetensors", network, CPU, torch.float32)


def test_the_configuration_that_is_made_of_the_tensors_is_the_one_it_was_built_with(identity_net):
    theirs, file = identity_net
    ours = open_controlnet(file, unet("SDXL"), CPU, torch.float32)
    said = ("block_out_channels", "down_block_types", "attention_head_dim", "transformer_layers_per_block", "layers_per_block")
    said += ("cross_attention_dim", "addition_time_embed_dim", "projection_class_embeddings_input_dim", "in_channels")
    said += ("conditioning_embedding_out_channels", "conditioning_channels", "use_linear_projection", "addition_embed_type")
    assert {name: plain(ours.config[name]) for name in said} == {name: plain(theirs.config[name]) for name in said}
    assert ours.config.addition_time_embed_dim == SIZES


def plain(value):
    return list(value) if isinstance(value, tuple) else value
