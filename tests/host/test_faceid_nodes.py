"""FaceID on ComfyUI's own UNet, at SD1.5's real topology, against diffusers."""

import pytest
import torch

import comfy_unets
from facegen.models.errors import FaceGenError
from facegen.models.face_embeds import FaceEmbeds
from facegen.models.faceid_adapter import FaceIDAdapter
from faceid_files import faceid_state, save

CLIP = 80


def embeds(n=1, clip=CLIP, seed=3, **kwargs):
    g = torch.Generator().manual_seed(seed)
    return FaceEmbeds(
        20 * torch.nn.functional.normalize(torch.randn(n, 512, generator=g), dim=-1),
        torch.randn(n, 257, clip, generator=g),
        torch.randn(1, 257, clip, generator=g),
        **kwargs,
    )


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sd15()


@pytest.fixture(scope="module")
def state():
    return faceid_state(comfy_unets.WIDTHS, 768, CLIP)


@pytest.fixture(scope="module")
def adapter(state, tmp_path_factory):
    return FaceIDAdapter(save(state, tmp_path_factory.mktemp("faceid") / "adapter.safetensors"))


@pytest.fixture
def apply(run, model, adapter):
    def apply(to=None, faces=None, **inputs):
        return run("FaceGenApplyFaceID", model=to or model, faceid=adapter, face_embeds=faces or embeds(), **inputs)[0]

    return apply


def error(a, b):
    return ((a - b).norm() / b.norm()).item()


@pytest.mark.parametrize("faces", [1, 2])
@pytest.mark.parametrize("s_scale", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("lora_strength", [0.0, 1.0])
def test_unet_equals_diffusers(apply, model, state, s_scale, faces, lora_strength):
    people = embeds(faces)
    patched = apply(faces=people, weight=0.8, s_scale=s_scale, lora_strength=lora_strength)
    assert sorted(patched.model_options["transformer_options"]["patches_replace"]["attn2"]) == sorted(comfy_unets.BLOCKS)
    x, context = comfy_unets.inputs()
    expected = comfy_unets.diffusers_faceid(model, state, people, 0.8, s_scale, lora_strength, x, context)
    given = comfy_unets.predict(patched, x, context)
    assert error(comfy_unets.predict(model, x, context), expected) > 0.02  # FaceID does something here
    for side in (0, 1):
        assert error(given[side], expected[side]) < 1e-4


def test_the_order_of_the_batch_does_not_matter(apply):
    patched = apply()
    x, context = comfy_unets.inputs()
    both = comfy_unets.predict(patched, x, context, sides=[1, 0])
    flipped = comfy_unets.predict(patched, x.flip(0), context.flip(0), sides=[0, 1]).flip(0)
    alone = torch.cat([comfy_unets.predict(patched, x[i : i + 1], context[i : i + 1], sides=[1 - i]) for i in (0, 1)])
    assert error(flipped, both) < 1e-5 and error(alone, both) < 1e-5


def test_the_input_model_is_left_as_it_was(apply, model):
    options, patches = dict(model.model_options["transformer_options"]), dict(model.patches)
    x, context = comfy_unets.inputs()
    before = comfy_unets.predict(model, x, context)
    patched = apply()
    comfy_unets.predict(patched, x, context)
    assert patched is not model and patched.model is model.model
    assert model.model_options["transformer_options"] == options and model.patches == patches
    assert torch.equal(comfy_unets.predict(model, x, context), before)


def test_clones_share_keys_and_values(apply):
    patched = apply()
    key = ("middle", 0, 0)
    ours, cloned = (m.model_options["transformer_options"]["patches_replace"]["attn2"][key] for m in (patched, patched.clone()))
    assert ours.identity.key.data_ptr() == cloned.identity.key.data_ptr()


def test_weight_zero_leaves_only_the_lora(apply, model):
    x, context = comfy_unets.inputs()
    plain = comfy_unets.predict(model, x, context)
    assert torch.equal(comfy_unets.predict(apply(weight=0.0, lora_strength=0.0), x, context), plain)
    assert not torch.equal(comfy_unets.predict(apply(weight=0.0), x, context), plain)


def test_a_second_face_adds_to_the_first_and_shares_its_lora(apply, adapter, run):
    first = apply(faces=embeds(seed=1))
    reopened = FaceIDAdapter(adapter.file.path)
    second = run("FaceGenApplyFaceID", model=first, faceid=reopened, face_embeds=embeds(seed=2))[0]
    assert [len(p) for p in second.patches.values()] == [1] * len(second.patches)
    x, context = comfy_unets.inputs()
    one, two = comfy_unets.predict(first, x, context), comfy_unets.predict(second, x, context)
    other = comfy_unets.predict(apply(faces=embeds(seed=2)), x, context)
    assert error(two, one) > 0.01 and error(two, other) > 0.01
    assert torch.equal(comfy_unets.predict(first, x, context), one)


def test_an_earlier_replacement_of_the_block_is_chained(apply, model):
    called = []

    def theirs(q, k, v, extra_options):
        called.append(extra_options["block"])
        return torch.zeros_like(q)

    patched = model.clone()
    patched.set_model_attn2_replace(theirs, "middle", 0)  # for the whole block, without a transformer index
    x, context = comfy_unets.inputs()
    without = comfy_unets.predict(patched, x, context)
    called.clear()
    both = comfy_unets.predict(
        apply(to=patched, lora_strength=0.0, layer_weights=only(comfy_unets.DEPTH["middle"])), x, context
    )
    assert called == [("middle", 0)]
    assert error(both, without) > 1e-4


def only(block):
    return ", ".join(f"{i}:{int(i == block)}" for i in range(16))


def test_mask(apply):
    x, context = comfy_unets.inputs(size=16)
    whole = comfy_unets.predict(apply(), x, context)
    assert torch.equal(comfy_unets.predict(apply(mask=torch.ones(1, 100, 60)), x, context), whole)
    none = comfy_unets.predict(apply(weight=0.0), x, context)
    assert torch.equal(comfy_unets.predict(apply(mask=torch.zeros(1, 64, 64)), x, context), none)
    left = torch.zeros(1, 128, 128)
    left[..., :64] = 1
    only_first = apply(mask=left, layer_weights=only(0))
    difference = (
        comfy_unets.first_block(only_first, x, context) - comfy_unets.first_block(apply(weight=0.0), x, context)
    ).abs()
    assert difference[..., :8].max() > 1e-3 and difference[..., 8:].max() == 0


def test_percent_range_follows_sigma(apply, model):
    x, context = comfy_unets.inputs()
    late = apply(start_percent=0.5)
    none, whole = apply(weight=0.0), apply()
    sampling = model.get_model_object("model_sampling")
    for percent, expected in ((0.2, none), (0.8, whole)):
        sigma = sampling.percent_to_sigma(percent)
        given = comfy_unets.predict(late, x, context, sigma=sigma)
        assert torch.equal(given, comfy_unets.predict(expected, x, context, sigma=sigma))


def test_one_identity_per_latent(apply):
    people = embeds(2, per_image=True)
    patched = apply(faces=people)
    x, context = comfy_unets.inputs(batch=4)  # two unconditional, two conditional
    given = comfy_unets.predict(patched, x, context)
    for i in (0, 1):
        alone = FaceEmbeds(people.identity[i : i + 1], people.clip_hidden[i : i + 1], people.clip_hidden_zero)
        expected = comfy_unets.predict(apply(faces=alone), x, context)
        assert error(given[2 + i], expected[2 + i]) < 1e-5


def faceid_file(tmp_path, **kwargs):
    return FaceIDAdapter(save(faceid_state(**kwargs), tmp_path / "adapter.safetensors"))


def test_sdxl_adapter_on_sd15_names_both(run, model, tmp_path):
    sdxl = faceid_file(tmp_path, widths=[640] * 4 + [1280] * 66, context_dim=2048, clip_dim=CLIP, rank=0, inner=64, depth=0)
    with pytest.raises(FaceGenError, match=r"faceid-plusv2_sdxl.*SDXL.*70.*SD1\.5.*16 blocks.*Load FaceID"):
        run("FaceGenApplyFaceID", model=model, faceid=sdxl, face_embeds=embeds())


def test_plus_adapter_without_clip_vision_says_where_to_connect_it(apply):
    with pytest.raises(FaceGenError, match="Connect a CLIP vision model .*clip_vision of the Embed Face node"):
        apply(faces=FaceEmbeds(torch.ones(1, 512)))


def test_wrong_clip_vision_width_names_both(apply):
    with pytest.raises(FaceGenError, match=r"width 80.*ViT-L of width 1024.*Load CLIP Vision"):
        apply(faces=embeds(clip=1024))


def test_a_model_without_unet_blocks_is_refused(apply, model):
    class Flux(torch.nn.Module):
        pass

    other = model.clone()
    other.model = type("Base", (torch.nn.Module,), {})()
    other.model.diffusion_model = Flux()
    with pytest.raises(FaceGenError, match="this one is a Flux"):
        apply(to=other)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [({"layer_weights": "0:x"}, "can't read '0:x'"), ({"layer_weights": "12-16:1"}, "blocks 0 to 15"),
     ({"start_percent": 0.8, "end_percent": 0.2}, "start_percent 0.8 lies after end_percent 0.2"),
     ({"mask": torch.ones(1, 1, 8, 8)}, r"mask must be .* got \[1, 1, 8, 8\]"), ({"s_scale": 3.0}, "between 0 and 2, got 3")],
)  # fmt: skip
def test_bad_settings(apply, inputs, says):
    with pytest.raises(FaceGenError, match=says):
        apply(**inputs)
