"""SDXL, and single files of both bases: pictures bit by bit those of diffusers' own pipelines, without any network."""

import functools
import json
import operator
import shutil
import socket

import pytest
import torch

from facegen.errors import FaceGenError
from facegen.standalone.checkpoints.opening import open_checkpoint
from small_checkpoints import save_folder, save_single

PROMPT, NEGATIVE = "a portrait of a person, realistic", "dark"
LONG = " ".join(["a person in a red coat before a blue wall,"] * 12)  # more than 77 tokens


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A small checkpoint of each base, as a diffusers folder."""
    place = tmp_path_factory.mktemp("checkpoints")
    return {base: save_folder(base, place / name / "folder") for base, name in (("SD1.5", "sd15"), ("SDXL", "sdxl"))}


@pytest.fixture(scope="module")
def singles(folders):
    return {base: save_single(folder, folder.parent / "one file.safetensors") for base, folder in folders.items()}


@functools.cache
def pipeline(folder, dtype=torch.float32):
    from diffusers import DiffusionPipeline

    return prepared(DiffusionPipeline.from_pretrained(folder, local_files_only=True, torch_dtype=dtype))


def prepared(pipe):
    from diffusers import DPMSolverMultistepScheduler

    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(pipe.scheduler.config, use_karras_sigmas=True)
    return pipe


def theirs(pipe, prompt=PROMPT, negative=NEGATIVE, guidance=2.0, samples=1, size=(64, 64)):
    """Pictures [samples, height, width, 3] (0-1) of the pipeline."""
    pictures = pipe(
        prompt,
        negative_prompt=negative,
        width=size[0],
        height=size[1],
        num_inference_steps=4,
        guidance_scale=guidance,
        num_images_per_prompt=samples,
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
    ).images
    return pictures.movedim(1, -1).float()


def sampled(stable_diffusion, prompt=PROMPT, negative=NEGATIVE, guidance=2.0, samples=1, size=(64, 64), **more):
    """Pictures of ours."""
    return stable_diffusion.sample(
        [prompt],
        [negative],
        width=size[0],
        height=size[1],
        steps=4,
        guidance=guidance,
        generator=torch.Generator().manual_seed(5),
        samples=samples,
        **more,
    )


def aligned(*networks):
    """What is mapped from a file begins anywhere in it, and sums on a CPU are rounded differently then: these are copies."""
    for parameter in (parameter for network in networks for parameter in network.parameters()):
        parameter.data = parameter.data.clone()


def of_file(path):
    stable_diffusion = open_checkpoint(path)
    aligned(*stable_diffusion.text_encoders, stable_diffusion.unet, stable_diffusion.vae)
    return sampled(stable_diffusion)


def of_pipeline(pipe):
    aligned(*(part for part in pipe.components.values() if isinstance(part, torch.nn.Module)))
    return theirs(pipe)


@functools.cache
def opened(path, dtype=torch.float32):
    return open_checkpoint(path, dtype=dtype)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"negative": ""},
        {"guidance": 1.0},
        {"guidance": 7.5, "samples": 2},
        {"size": (136, 72)},
        {"prompt": LONG, "negative": LONG},
    ],
    ids=str,
)
def test_pictures_are_the_pipeline_s(folders, asked):
    ours, expected = sampled(opened(folders["SDXL"]), **asked), theirs(pipeline(folders["SDXL"]), **asked)
    assert ours.shape == expected.shape and ours.std() > 0.02 and torch.equal(ours, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_in_half_precision_too(folders, dtype):
    """In float16 the VAE decodes in float32, as its configuration says."""
    ours = sampled(opened(folders["SDXL"], dtype))
    assert torch.equal(ours, theirs(pipeline(folders["SDXL"], dtype))) and ours.std() > 0.02
    assert opened(folders["SDXL"], dtype).vae.dtype == (torch.float32 if dtype == torch.float16 else dtype)


@pytest.fixture
def offline(monkeypatch):
    """Whoever reaches out fails."""

    def refuse(*_, **__):
        raise AssertionError("there is no network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.parametrize("base", ["SD1.5", "SDXL"])
def test_a_single_file_is_the_folder_it_was_made_of(folders, singles, offline, base):
    """And diffusers, told the configurations, reads the same out of the file."""

    from diffusers import DiffusionPipeline, StableDiffusionPipeline, StableDiffusionXLPipeline

    ours = of_file(singles[base])
    assert torch.equal(ours, of_pipeline(prepared(DiffusionPipeline.from_pretrained(folders[base], local_files_only=True))))
    cls = StableDiffusionXLPipeline if base == "SDXL" else StableDiffusionPipeline
    pipe = cls.from_single_file(singles[base], config=str(folders[base]), local_files_only=True)
    assert torch.equal(ours, of_pipeline(prepared(pipe)))


@pytest.mark.parametrize("base", ["SD1.5", "SDXL"])
def test_the_tokenizers_of_a_single_file_are_the_published_ones(singles, folders, base):
    text = "Ünïcödé 🙂 portraits of a woman's red coat, 4k"
    for tokenizer, pad in zip(opened(singles[base]).tokenizers, ("<|endoftext|>", "!"), strict=False):
        ids = tokenizer(text, padding="max_length", max_length=77, truncation=True).input_ids
        assert len(tokenizer) == 49408 and len(ids) == 77 and tokenizer.decode(ids[-1:]) == pad
    # As CLIP's paper has them: "a", "photo", "of", "a", "cat" between the two marks.
    assert opened(singles[base]).tokenizers[0]("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]


def test_v_prediction_is_told_by_a_folder_s_scheduler_and_by_a_file_s_marks(folders, tmp_path):
    folder = tmp_path / "folder"
    shutil.copytree(folders["SDXL"], folder)
    file = folder / "scheduler" / "scheduler_config.json"
    noise = {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}
    file.write_text(json.dumps(json.loads(file.read_text(encoding="utf-8")) | noise), encoding="utf-8")
    from diffusers import DiffusionPipeline

    expected = of_pipeline(prepared(DiffusionPipeline.from_pretrained(folder, local_files_only=True)))
    assert torch.equal(of_file(folder), expected)
    assert torch.equal(of_file(save_single(folder, tmp_path / "one.safetensors", ("v_pred", "ztsnr"))), expected)
    assert not torch.equal(sampled(opened(folders["SDXL"])), expected)


def test_v_prediction_alone_leaves_the_noise_as_it_is(folders, tmp_path):
    config = open_checkpoint(save_single(folders["SDXL"], tmp_path / "one.safetensors", ("v_pred",))).scheduler.config
    assert config.prediction_type == "v_prediction" and not config.rescale_betas_zero_snr


def test_weights_in_half_precision(folders, tmp_path):
    """A folder that holds nothing else, and a file of them."""
    folder = save_folder("SDXL", tmp_path / "folder", dtype=torch.float16, variant="fp16")
    assert not (folder / "unet" / "diffusion_pytorch_model.safetensors").exists()
    from diffusers import DiffusionPipeline

    half = {"local_files_only": True, "variant": "fp16", "torch_dtype": torch.float32}
    expected = of_pipeline(prepared(DiffusionPipeline.from_pretrained(folder, **half)))
    assert torch.equal(of_file(folder), expected)
    single = save_single(folder, tmp_path / "one.safetensors")
    assert torch.equal(of_file(single), expected)
    assert opened(single, torch.float16).unet.dtype == torch.float16


@pytest.mark.parametrize("lost", ["model_index.json", "unet/config.json", "tokenizer_2", "text_encoder_2", "vae"])
def test_a_folder_that_is_not_whole_is_named(folders, tmp_path, lost):
    folder = tmp_path / "broken"
    shutil.copytree(folders["SDXL"], folder)
    (shutil.rmtree if (folder / lost).is_dir() else type(folder).unlink)(folder / lost)
    with pytest.raises(FaceGenError, match=r"broken (could not be loaded as a checkpoint of SDXL|can't be read as a chec)"):
        open_checkpoint(folder)


@pytest.mark.parametrize("cut", ["model.diffusion_model.middle_block.0.", "first_stage_model.decoder.conv_in."])
def test_a_file_that_lacks_tensors_is_named_with_what_it_lacks(singles, tmp_path, cut):
    from safetensors.torch import load_file, save_file

    state = {name: tensor for name, tensor in load_file(singles["SDXL"]).items() if not name.startswith(cut)}
    save_file(state, tmp_path / "cut.safetensors")
    with pytest.raises(
        FaceGenError, match=r"cut\.safetensors could not be loaded .*it doesn't hold all tensors of the (UNet|Auto)"
    ):
        open_checkpoint(tmp_path / "cut.safetensors")


def test_prompt_and_size_are_read(folders):
    ours = sampled(opened(folders["SDXL"]))
    for other in ({"prompt": "a dog"}, {"negative": ""}):
        assert (sampled(opened(folders["SDXL"]), **other) - ours).abs().max() > 1e-4, other


@pytest.mark.parametrize(
    ("name", "changed", "says"),
    [
        ("model.diffusion_model.input_blocks.0.0.weight", lambda t: torch.tensor(1.0), "can't be read as a checkpoint"),
        (
            "conditioner.embedders.1.model.token_embedding.weight",
            lambda t: torch.cat([t, t[:1]]),
            "its text encoder knows 49409 tokens, needed 49408",
        ),
        (
            "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight",
            lambda t: t[:100],
            "its text encoder knows 100 tokens, needed 49408",
        ),
    ],
)
def test_tensors_of_other_shapes_are_refused(singles, tmp_path, name, changed, says):
    from safetensors.torch import load_file, save_file

    tensors = load_file(singles["SDXL"])
    tensors[name] = changed(tensors[name])
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(FaceGenError, match=says):
        open_checkpoint(tmp_path / "odd.safetensors")


@pytest.mark.parametrize("layer", ["unet.conv_out", "vae.decoder.conv_out"])
def test_nan_is_no_picture(singles, layer):
    """It would be black when it is written."""
    opened = open_checkpoint(singles["SDXL"])
    operator.attrgetter(layer)(opened).weight.data.fill_(float("nan"))
    with pytest.raises(FaceGenError, match="pictures that hold NaN or infinite values"):
        sampled(opened)
