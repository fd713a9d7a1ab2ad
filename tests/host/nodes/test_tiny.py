"""The model that ships with the pack: in ComfyUI it computes what diffusers and transformers compute with its files."""

import json
import re
import shutil

import pytest
import torch

from facegen.errors import FaceGenError
from facegen.models import tiny_files

NODE = "FaceGenLoadTinyModel"
PROMPTS = ["a woman in a red coat, smiling", "", "watercolour of a very old man with a beard " * 3]


def error(given, wanted):
    """Relative, in the Euclidean norm."""
    return ((given.float() - wanted.float()).norm() / wanted.float().norm()).item()


@pytest.fixture(scope="module")
def loaded(run):
    """The node's outputs by name."""
    names = ("model", "clip", "vae", "clip_vision", "faceid", "face_analysis")
    return dict(zip(names, run(NODE), strict=True))


@pytest.fixture(scope="module")
def pipe():
    """The same files in diffusers, in float32."""
    from diffusers import StableDiffusionPipeline

    folder = tiny_files.TINY / tiny_files.CHECKPOINT
    return StableDiffusionPipeline.from_pretrained(folder, local_files_only=True).to(torch.float32)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def states(pipe, prompt):
    ids = pipe.tokenizer(prompt, padding="max_length", truncation=True, max_length=77, return_tensors="pt").input_ids
    return pipe.text_encoder(ids)[0]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_text_states_are_those_of_transformers(loaded, pipe, prompt):
    given = loaded["clip"].encode_from_tokens(loaded["clip"].tokenize(prompt))
    wanted = states(pipe, prompt)
    assert given[:, :77].shape == wanted.shape and error(given[:, :77], wanted) < 1e-3


@pytest.mark.parametrize("timestep", [0, 499, 999])
def test_the_unet_predicts_as_in_diffusers(loaded, pipe, timestep):
    x, context = noise(2, 4, 16, 16), torch.cat([states(pipe, prompt) for prompt in PROMPTS[:2]])
    unet, t = loaded["model"].model.diffusion_model, torch.tensor([timestep] * 2)
    assert unet.dtype == torch.float32  # on a CPU
    assert error(unet(x, t, context=context), pipe.unet(x, t, context).sample) < 1e-3


def test_the_host_loads_it_once_more_for_another_device(loaded):
    model = loaded["model"]
    if not hasattr(model, "deepclone_multigpu"):
        pytest.skip("this ComfyUI works on one device")
    x, t, context = (
        noise(2, 4, 16, 16),
        torch.tensor([500.0] * 2),
        noise(2, 77, model.model.model_config.unet_config["context_dim"]),
    )
    wanted = model.model.diffusion_model(x, t, context=context)
    for other in (model.deepclone_multigpu(new_load_device=torch.device("cpu", 0)), model.clone(force_deepcopy=True)):
        assert other.model is not model.model
        assert torch.equal(other.model.diffusion_model(x, t, context=context), wanted)


def test_schedule_and_prediction_are_those_of_the_files(loaded, pipe):
    """One step down to the clean latents, from each noise level."""
    model, betas = loaded["model"].model, pipe.scheduler
    sampling, context = model.model_sampling, states(pipe, PROMPTS[0])
    for timestep in (10, 500, 999):
        alpha = betas.alphas_cumprod[timestep]
        sigma = sampling.sigma(torch.tensor([float(timestep)]))
        assert sigma.item() == pytest.approx(((1 - alpha) / alpha).sqrt().item(), rel=1e-4)
        noisy = noise(1, 4, 16, 16, seed=timestep)  # of unit size, as diffusers has it
        v = pipe.unet(noisy, torch.tensor([timestep]), context).sample
        clean = model.apply_model(noisy / alpha.sqrt(), sigma, c_crossattn=context)
        assert error(clean, alpha.sqrt() * noisy - (1 - alpha).sqrt() * v) < 1e-3


def test_pictures_and_latents_are_those_of_diffusers_up_to_sd15_s_factor(loaded, pipe, astronaut):
    vae, latent_format = loaded["vae"], loaded["model"].model.latent_format
    picture = torch.nn.functional.interpolate(astronaut.movedim(-1, 1), size=(128, 128), mode="area")
    latents = pipe.vae.encode(picture * 2 - 1).latents
    given = latent_format.process_in(vae.encode(picture.movedim(1, -1)))
    assert given.shape == (1, 4, 16, 16) and error(given, latents) < 1e-3
    for latent in (latents, 3 * noise(1, 4, 16, 16)):
        wanted = (pipe.vae.decode(latent).sample / 2 + 0.5).clamp(0, 1)
        assert error(vae.decode(latent_format.process_out(latent)).movedim(-1, 1), wanted) < 1e-3


def test_clip_vision_states_are_those_of_transformers(loaded, astronaut):
    from safetensors.torch import load_file
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig.from_json_file(tiny_files.TINY / tiny_files.CLIP_VISION_CONFIG)
    model = CLIPVisionModelWithProjection(config).eval()
    model.load_state_dict(load_file(tiny_files.TINY / tiny_files.CLIP_VISION), strict=False)
    model = model.float()
    crop = (astronaut[:, :224, 100:324] * 255).round() / 255
    mean, std = (torch.tensor(getattr(loaded["clip_vision"], f"image_{name}")) for name in ("mean", "std"))
    wanted = model(((crop - mean) / std).movedim(-1, 1), output_hidden_states=True).hidden_states[-2]
    given = loaded["clip_vision"].encode_image(crop)["penultimate_hidden_states"]
    assert given.shape == (1, 257, config.hidden_size) and error(given, wanted) < 1e-3


def test_a_person_is_found_and_shown(run, loaded, astronaut):
    """The whole way at the template's size, in few steps; another face gives another picture."""
    parts = {name: loaded[name] for name in ("model", "clip", "vae", "faceid")}
    embed = {name: loaded[name] for name in ("face_analysis", "clip_vision")}
    faces = run("FaceGenEmbedFace", image=astronaut, **embed)[0]
    settings = {"width": 128, "height": 128, "num_inference_steps": 4, "guidance_scale": 4.0, "samples": 2, "seed": 1}

    def generate(face_embeds):
        return run("FaceGenSampler", **parts, face_embeds=face_embeds, prompt="a woman", negative_prompt="", **settings)[0]

    pictures = generate(faces)
    assert pictures.shape == (2, 128, 128, 3) and torch.isfinite(pictures).all() and pictures.std() > 0.01
    other = type(faces)(-faces.identity, faces.clip_hidden.flip(1), faces.clip_hidden_zero)
    assert (generate(other) - pictures).abs().mean() > 1e-4


def test_every_run_loads_its_own(run, loaded):
    again = run(NODE)
    assert all(one is not other for one, other in zip(again, loaded.values(), strict=True))


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the files that may be spoilt, which the node then loads."""
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_files.TINY, folder)
    monkeypatch.setattr(tiny_files, "TINY", folder)
    return folder


def refused(run, file):
    """The message, which names the node, the file and the cure."""
    with pytest.raises(FaceGenError) as caught:
        run(NODE)
    message = str(caught.value)
    assert message.startswith("Load Tiny Model: ") and file in message and "git checkout -- models/tiny" in message
    return message


@pytest.mark.newest
@pytest.mark.parametrize("name", tiny_files.FILES)
def test_a_missing_file_is_named(run, copy, name):
    (copy / name).unlink()
    assert f"lacks {name}. " in refused(run, name)


@pytest.mark.newest
def test_all_that_is_missing_is_named_at_once(run, copy):
    shutil.rmtree(copy)
    message = refused(run, str(copy))
    assert [name for name in tiny_files.FILES if name not in message] == []


MODELS = [name for name in tiny_files.FILES if name.endswith((".safetensors", ".onnx"))]
# Of the others, those that can't be half right.
TEXTS = [
    tiny_files.UNET_CONFIG,
    tiny_files.TEXT_CONFIG,
    tiny_files.SCHEDULER,
    tiny_files.CLIP_VISION_CONFIG,
    tiny_files.TOKENIZER_FILES[0],
]


@pytest.mark.newest
@pytest.mark.parametrize("name", [*MODELS, *TEXTS])
@pytest.mark.parametrize("left", [0, 0.5], ids=["empty", "half"])
def test_a_truncated_file_is_named(run, copy, name, left):
    path = copy / name
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole))])
    refused(run, str(path if name not in tiny_files.TOKENIZER_FILES else path.parent))


@pytest.mark.newest
@pytest.mark.parametrize("name", MODELS)
def test_a_foreign_file_is_named(run, copy, name):
    """Another model's in its place, whole and readable."""
    others = [other for other in MODELS if other != name and other.endswith(name[-5:])]
    shutil.copyfile(tiny_files.TINY / others[0], copy / name)
    refused(run, str(copy / name))


@pytest.mark.newest
@pytest.mark.parametrize("cut", [False, True], ids=["missing", "of another shape"])
@pytest.mark.parametrize("name", [tiny_files.UNET, tiny_files.VAE, tiny_files.TEXT_ENCODER, tiny_files.CLIP_VISION])
def test_a_tensor_that_is_missing_or_of_another_shape_is_named(run, copy, name, cut):
    from safetensors.torch import load_file, save_file

    state = load_file(copy / name)
    lost = sorted(state)[-1]
    tensor = state.pop(lost)
    save_file({**state, **({lost: tensor[:-1].contiguous()} if cut else {})}, copy / name)
    assert re.search(rf"1 of \d+ tensors are missing or of another shape, {re.escape(lost)} for one", refused(run, name))


@pytest.mark.newest
@pytest.mark.parametrize("name", [tiny_files.UNET_CONFIG, tiny_files.TEXT_CONFIG, tiny_files.CLIP_VISION_CONFIG])
def test_a_foreign_configuration_is_named(run, copy, name):
    (copy / name).write_text(json.dumps({"model_type": "bert"}))
    assert "it lacks " in refused(run, str(copy / name))
