"""FaceID against diffusers' own implementation, on random weights of the published shapes and names."""

import pytest
import torch

from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import CLIP, SD15_WIDTHS, faceid_state, random_faces, relative_error, save

diffusers = pytest.importorskip("diffusers")

CONTEXT = 128
WIDTHS = [32, 32, 64, 64, 64, 64, 64, 64, 64, 64, 64, 64, 32, 32, 32, 64]  # of the reduced UNet, published order


def reduced_unet(seed=0):
    """SD1.5's topology, sixteen cross-attention blocks, at a tenth of its width."""
    torch.manual_seed(seed)
    return diffusers.UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64, 64, 64),
        layers_per_block=2,
        cross_attention_dim=CONTEXT,
        attention_head_dim=4,
        norm_num_groups=16,
    ).eval()


def diffusers_faceid(state, faces, s_scale):
    """The oracle: a UNet prepared by diffusers' load_ip_adapter, and the image_embeds that it wants."""
    unet = reduced_unet()
    pipe = diffusers.StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=unet,
        scheduler=diffusers.DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        image_encoder=None,
        requires_safety_checker=False,
    )
    pipe.load_ip_adapter(state, subfolder=None, weight_name=None, image_encoder_folder=None)
    projection = unet.encoder_hid_proj.image_projection_layers[0]
    projection.shortcut, projection.shortcut_scale = True, s_scale
    identity = faces.normed_identity
    clip = torch.stack([faces.clip_hidden_zero.expand_as(faces.clip_hidden), faces.clip_hidden])
    projection.clip_embeds = clip
    return pipe, torch.stack([torch.zeros_like(identity), identity])


@pytest.fixture(scope="module")
def published():
    """(state, diffusers' projection made of it), at the published shapes."""
    from diffusers.models.embeddings import IPAdapterFaceIDPlusImageProjection

    state = faceid_state(SD15_WIDTHS[:1], rank=0)
    projection = diffusers.UNet2DConditionModel._convert_ip_adapter_image_proj_to_diffusers(
        reduced_unet(), state["image_proj"], low_cpu_mem_usage=False
    )
    assert isinstance(projection, IPAdapterFaceIDPlusImageProjection)
    return state, projection


@pytest.fixture(scope="module", params=["bin", "safetensors"])
def published_adapter(request, published, tmp_path_factory):
    return FaceIDAdapter(save(published[0], tmp_path_factory.mktemp("faceid") / f"any name.{request.param}"))


@pytest.mark.parametrize("s_scale", [0.0, 1.0, 2.0])
def test_tokens_equal_diffusers_projection_at_published_shapes(published, published_adapter, s_scale):
    _, projection = published
    faces = random_faces(2, clip=1280)
    cond, uncond = published_adapter.tokens(faces, s_scale)
    projection.shortcut, projection.shortcut_scale = True, s_scale
    for ours, identity, clip in (
        (cond, faces.normed_identity, faces.clip_hidden),
        (uncond, torch.zeros(2, 512), faces.clip_hidden_zero.expand(2, -1, -1)),
    ):
        projection.clip_embeds = clip[None]
        with torch.no_grad():
            theirs = projection(identity)
        assert ours.shape == (1, 8, 768)
        assert relative_error(ours.view(2, 4, 768), theirs) < 1e-5


@pytest.mark.parametrize("faces", [1, 2])
@pytest.mark.parametrize("s_scale", [0.0, 1.0, 2.0])
def test_unet_output_equals_diffusers(tmp_path, s_scale, faces):
    from facegen.models.identity.shown import Shown
    from facegen.standalone.identity import apply_faceid

    state = faceid_state(WIDTHS, CONTEXT, CLIP)
    people = random_faces(faces)
    g = torch.Generator().manual_seed(9)
    latent, text = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 7, CONTEXT, generator=g)
    timestep = torch.tensor(500)

    plain = reduced_unet()
    ours = reduced_unet()
    adapter = FaceIDAdapter(save(state, tmp_path / "adapter.safetensors"))
    apply_faceid(ours, adapter, [Shown(people, weight=0.8, s_scale=s_scale)])
    pipe, image_embeds = diffusers_faceid(state, people, s_scale)
    pipe.set_ip_adapter_scale(0.8)
    with torch.no_grad():
        expected = pipe.unet(latent, timestep, text, added_cond_kwargs={"image_embeds": [image_embeds]}).sample
        given = ours(latent, timestep, text).sample
        without = plain(latent, timestep, text).sample
    assert relative_error(without, expected) > 0.05  # FaceID does something here
    for side in (0, 1):  # unconditional, conditional
        assert relative_error(given[side], expected[side]) < 1e-4


def test_each_call_replaces_the_lora_of_the_one_before(tmp_path):
    from facegen.models.identity.shown import Shown
    from facegen.standalone.identity import apply_faceid

    first, second = (
        FaceIDAdapter(save(faceid_state(WIDTHS, CONTEXT, CLIP, seed=seed), tmp_path / f"{seed}.safetensors")) for seed in (0, 7)
    )
    unet = reduced_unet()
    before = {name: tensor.clone() for name, tensor in unet.state_dict().items()}
    g = torch.Generator().manual_seed(9)
    latent, text = torch.randn(2, 4, 8, 8, generator=g), torch.randn(2, 7, CONTEXT, generator=g)

    def output(unet, adapter, strength):
        apply_faceid(unet, adapter, [Shown(random_faces())], lora_strength=strength)
        with torch.no_grad():
            return unet(latent, torch.tensor(500), text).sample

    steps = [(first, 1.0), (first, 0.5), (second, 0.5), (second, 0.0), (first, 1.0)]
    given = [output(unet, *step) for step in steps]
    after = unet.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[name], before[name]) for name in before)
    for step, picture in zip(steps, given, strict=True):
        assert relative_error(picture, output(reduced_unet(), *step)) < 1e-5
