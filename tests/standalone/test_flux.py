"""FLUX.1 without ComfyUI: plain pictures against diffusers' pipeline, PuLID against the plain reference after each block."""

import pytest
import torch

import pulid_reference as reference
from facegen.errors import FaceGenError, MissingStructureError, WrongBaseModelError
from facegen.models.identity.pulid.adapter import PulidAdapter
from facegen.models.identity.pulid.cross_attention import places
from facegen.models.identity.shown import Shown
from facegen.standalone.checkpoints.opening import CPU, open_checkpoint
from facegen.standalone.pulid_flux import FluxFace
from faceid_files import random_faces, relative_error
from flux_folder import DOUBLE, LAYERS, SINGLE, WIDTH, save_flux_folder, transformer
from pulid_files import flux_state, save, sdxl_state, seen_faces

PROMPTS = ["a pilot", "a pilot in red"]


@pytest.fixture(scope="module", params=[True, False], ids=["dev", "schnell"])
def folder(request, tmp_path_factory):
    return save_flux_folder(tmp_path_factory.mktemp("flux") / "folder", guidance=request.param)


@pytest.fixture(scope="module")
def state():
    return flux_state(LAYERS, WIDTH)


@pytest.fixture(scope="module")
def adapter(state, tmp_path_factory):
    return PulidAdapter(save(state, tmp_path_factory.mktemp("pulid") / "any name.safetensors"))


@pytest.fixture
def pipe(folder):
    import diffusers

    pipe = diffusers.FluxPipeline.from_pretrained(folder, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def by_diffusers(pipe, prompts=PROMPTS, samples=1, size=(64, 96), **settings):
    return pipe(
        prompts,
        num_inference_steps=3,
        num_images_per_prompt=samples,
        width=size[0],
        height=size[1],
        generator=torch.Generator().manual_seed(5),
        output_type="pt",
        **settings,
    ).images.movedim(1, -1)


def by_us(flux, prompts=PROMPTS, samples=1, size=(64, 96), guidance=3.5, **settings):
    generator = torch.Generator().manual_seed(5)
    asked = {"width": size[0], "height": size[1], "steps": 3, "guidance": guidance, "samples": samples, **settings}
    return flux.sample(prompts, generator=generator, **asked)


def test_pictures_are_those_of_diffusers_bit_by_bit(folder, pipe):
    flux = open_checkpoint(folder)
    given = by_us(flux)
    assert given.shape == (2, 96, 64, 3) and given.std() > 0.01
    assert torch.equal(given, by_diffusers(pipe, guidance_scale=3.5))
    assert torch.equal(by_us(flux), given)
    two = by_us(flux, PROMPTS[:1], samples=2)
    assert torch.equal(two, by_diffusers(pipe, PROMPTS[:1], samples=2, guidance_scale=3.5))


def test_guidance_and_prompt_reach_the_picture(folder):
    flux = open_checkpoint(folder)
    base = by_us(flux, PROMPTS[:1])
    assert torch.equal(by_us(flux, PROMPTS[:1], guidance=9.0), base) is not flux.transformer.config.guidance_embeds
    assert not torch.equal(by_us(flux, PROMPTS[1:]), base)


def test_a_size_between_is_made_a_little_larger(folder):
    assert by_us(open_checkpoint(folder), PROMPTS[:1], size=(72, 64)).shape == (1, 64, 80, 3)


def test_it_is_watched_and_can_be_stopped(folder):
    flux, seen = open_checkpoint(folder), []
    before = by_us(flux, PROMPTS[:1], watch=lambda done, of: seen.append((done, of)))
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]

    def stop(done, _of):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        by_us(flux, PROMPTS[:1], watch=stop)
    assert torch.equal(by_us(flux, PROMPTS[:1]), before)


def test_half_precision_is_bfloat16(folder):
    flux = open_checkpoint(folder, CPU, torch.float16)
    assert {flux.transformer.dtype, flux.vae.dtype, flux.text_encoders[1].dtype} == {torch.bfloat16}
    assert (by_us(flux) - by_us(open_checkpoint(folder))).abs().mean() < 0.02


def test_a_folder_that_is_not_whole_is_told(folder, tmp_path):
    import shutil

    shutil.copytree(folder, tmp_path / "cut", ignore=shutil.ignore_patterns("text_encoder_2"))
    with pytest.raises(FaceGenError, match=r"cut could not be loaded as a checkpoint of FLUX\.1: "):
        open_checkpoint(tmp_path / "cut")


# --- PuLID ----------------------------------------------------------------------------------------------------------


def hooked(network, state, tokens, weight):
    """What the reference says, added by wrapping the blocks' forward."""
    blocks = {"double": network.transformer_blocks, "single": network.single_transformer_blocks}
    for number, (part, at) in enumerate(places(DOUBLE, SINGLE)):

        def forward(*args, block=blocks[part][at], plain=blocks[part][at].forward, number=number, **kwargs):
            text, picture = plain(*args, **kwargs)
            added = [reference.flux_addition(state, number, tokens, row, weight) for row in picture]
            return text, picture + torch.stack(added)

        blocks[part][at].forward = forward
    return network


def predict(network, rows=2):
    g = torch.Generator().manual_seed(9)
    with torch.no_grad():
        return network(
            torch.randn(rows, 6, 16, generator=g),
            encoder_hidden_states=torch.randn(rows, 7, 32, generator=g),
            pooled_projections=torch.randn(rows, 32, generator=g),
            timestep=torch.full((rows,), 0.7),
            guidance=torch.full((rows,), 3.5),
            txt_ids=torch.zeros(7, 3),
            img_ids=torch.cartesian_prod(torch.zeros(1), torch.arange(2.0), torch.arange(3.0)),
        ).sample


@pytest.mark.parametrize("weight", [1.0, 0.6])
def test_the_whole_model_equals_the_reference(state, adapter, weight):
    network, faces = transformer(), seen_faces()
    plain = predict(network)
    face = FluxFace(network, adapter)
    assert torch.equal(predict(network), plain)  # no face yet
    face.show([Shown(faces, weight)])
    ours, wanted = predict(network), predict(hooked(transformer(), state, adapter.tokens(faces)[0][0], weight))
    for row in (0, 1):
        assert relative_error(ours[row], wanted[row]) < 1e-4 and relative_error(plain[row], wanted[row]) > 1e-3


def test_another_face_takes_the_place_of_the_first_and_weight_0_is_none(adapter):
    network = transformer()
    plain, face = predict(network), FluxFace(network, adapter)
    face.show([Shown(seen_faces())])
    first = predict(network)
    face.show([Shown(seen_faces(seed=5))])
    assert not torch.equal(predict(network), first)
    face.show([Shown(seen_faces())])
    assert torch.equal(predict(network), first)
    face.show([Shown(seen_faces(), layer_weights="0-1:0, 2-3:0.5")])
    assert not torch.equal(predict(network), first) and not torch.equal(predict(network), plain)
    face.show([Shown(seen_faces(), weight=0.0)])
    assert torch.equal(predict(network), plain)


def test_the_picture_s_face_is_the_reference_s(folder, pipe, state, adapter):
    flux, faces = open_checkpoint(folder), seen_faces()
    plain = by_us(flux)
    FluxFace(flux.transformer, adapter).show([Shown(faces)])
    hooked(pipe.transformer, state, adapter.tokens(faces)[0][0], 1.0)
    expected = by_diffusers(pipe, guidance_scale=3.5)
    assert relative_error(by_us(flux), expected) < 1e-4 and relative_error(plain, expected) > 0.01


def test_what_does_not_fit_is_refused(adapter, tmp_path):
    network = transformer()
    other = PulidAdapter(save(flux_state(LAYERS + 1, WIDTH), tmp_path / "more.safetensors"))
    xl = PulidAdapter(save(sdxl_state([64]), tmp_path / "xl.safetensors"))
    for wrong, says in ((other, r"made for FLUX\.1 \(5 layers beside blocks of width 64\)"), (xl, "is a pulid_v1.1 adapter")):
        with pytest.raises(WrongBaseModelError, match=rf"{says}.* FLUX with 3 double and 5 single blocks of width 64"):
            FluxFace(network, wrong)
    with pytest.raises(MissingStructureError, match="reads the structure of the face"):
        FluxFace(network, adapter).show([Shown(random_faces(clip=None))])
