"""FaceID on ComfyUI's own UNet, at SD1.5's real topology, against diffusers."""

import pytest
import torch

import comfy_unets
from facegen.errors import FaceGenError
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import CLIP, faceid_state, random_faces, relative_error, save


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
        return run("FaceGenApplyFaceID", model=to or model, faceid=adapter, face_embeds=faces or random_faces(), **inputs)[0]

    return apply


def test_the_order_of_the_batch_does_not_matter(apply):
    patched = apply()
    x, context = comfy_unets.inputs()
    both = comfy_unets.predict(patched, x, context, sides=[1, 0])
    flipped = comfy_unets.predict(patched, x.flip(0), context.flip(0), sides=[0, 1]).flip(0)
    alone = torch.cat([comfy_unets.predict(patched, x[i : i + 1], context[i : i + 1], sides=[1 - i]) for i in (0, 1)])
    assert relative_error(flipped, both) < 1e-5 and relative_error(alone, both) < 1e-5


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
    assert ours is not cloned and ours.identity is cloned.identity


def test_weight_zero_leaves_only_the_lora(apply, model):
    x, context = comfy_unets.inputs()
    plain = comfy_unets.predict(model, x, context)
    assert torch.equal(comfy_unets.predict(apply(weight=0.0, lora_strength=0.0), x, context), plain)
    assert not torch.equal(comfy_unets.predict(apply(weight=0.0), x, context), plain)


def test_a_second_face_adds_to_the_first_and_shares_its_lora(apply, adapter, run):
    first = apply(faces=random_faces(seed=1))
    reopened = FaceIDAdapter(adapter.file.path)
    second = run("FaceGenApplyFaceID", model=first, faceid=reopened, face_embeds=random_faces(seed=2))[0]
    assert [len(p) for p in second.patches.values()] == [1] * len(second.patches)
    x, context = comfy_unets.inputs()
    one, two = comfy_unets.predict(first, x, context), comfy_unets.predict(second, x, context)
    other = comfy_unets.predict(apply(faces=random_faces(seed=2)), x, context)
    assert relative_error(two, one) > 0.01 and relative_error(two, other) > 0.01
    assert torch.equal(comfy_unets.predict(first, x, context), one)


def test_a_copy_of_the_adapter_brings_no_second_lora(apply, adapter, run, tmp_path):
    from facegen.standalone.cli.convert import convert

    published = save(_nested(adapter.file), tmp_path / "published.bin")
    twin = FaceIDAdapter(convert(published)[0])
    second = run("FaceGenApplyFaceID", model=apply(), faceid=twin, face_embeds=random_faces(seed=2))[0]
    assert [len(p) for p in second.patches.values()] == [1] * len(second.patches)


def _nested(file):
    state = {"image_proj": {}, "ip_adapter": {}}
    for name in file:
        part, _, rest = name.partition(".")
        state[part][rest] = file[name]
    return state


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
    assert relative_error(both, without) > 1e-4


class Attn2Replace:
    """What other IP-Adapter packs put into the slot, and stack onto when it is taken."""

    def __init__(self, callback, **kwargs):
        self.callbacks = [(callback, kwargs)]

    def add(self, callback, **kwargs):
        self.callbacks.append((callback, kwargs))

    def __call__(self, q, k, v, extra_options):
        out = torch.zeros_like(q)
        for callback, kwargs in self.callbacks:
            out = out + callback(out, q, k, v, extra_options, **kwargs)
        return out


def another_pack(model, callback, **kwargs):
    """Puts a callback into the middle block as they do."""
    patched = model.clone()
    slots = patched.model_options["transformer_options"].setdefault("patches_replace", {}).setdefault("attn2", {})
    if MIDDLE in slots:
        slots[MIDDLE].add(callback, **kwargs)
    else:
        slots[MIDDLE] = Attn2Replace(callback, **kwargs)
    return patched


MIDDLE = ("middle", 0, 0)


def test_another_pack_before_or_after_ours(apply, model):
    def theirs(out, q, k, v, extra_options, strength, **_):
        return strength * q

    x, context = comfy_unets.inputs()
    middle_only = {"lora_strength": 0.0, "layer_weights": only(comfy_unets.DEPTH["middle"])}
    ours = apply(**middle_only)
    alone = comfy_unets.predict(ours, x, context)
    after = another_pack(ours, theirs, strength=0.5, sigma_start=9.0, sigma_end=1.0)
    both = comfy_unets.predict(after, x, context)
    assert relative_error(both, alone) > 1e-4
    assert torch.equal(comfy_unets.predict(ours, x, context), alone)  # the model that came in has not been added to
    assert torch.equal(
        comfy_unets.predict(after, x, context, sigma=0.5), comfy_unets.predict(ours, x, context, sigma=0.5)
    )  # outside their range
    before = another_pack(model, theirs, strength=0.5)
    stacked = comfy_unets.predict(apply(to=before, **middle_only), x, context)
    assert relative_error(stacked, comfy_unets.predict(before, x, context)) > 1e-4
    assert relative_error(stacked, alone) > 1e-4


def test_keys_and_values_follow_the_model(apply):
    x, context = comfy_unets.inputs()
    patched = apply()
    expected = comfy_unets.predict(patched, x, context)
    slots = patched.model_options["transformer_options"]["patches_replace"]["attn2"].values()

    def places():
        return {(t.device.type, t.dtype) for slot in slots for t in slot.identity.tensors()}

    patched.model_patches_to(torch.device("meta"))
    patched.model_patches_to(torch.float8_e4m3fn)  # what the weights are stored in, not what is computed in
    assert places() == {("cpu", torch.float32), ("meta", torch.float32)}
    patched.model_patches_to(torch.device("cpu"))
    assert places() == {("cpu", torch.float32)}
    assert torch.equal(comfy_unets.predict(patched, x, context), expected)


def only(block):
    return ", ".join(f"{i}:{int(i == block)}" for i in range(16))


def test_a_white_mask_is_no_mask_and_a_black_one_no_face(apply, model, caplog):
    x, context = comfy_unets.inputs(size=16)
    whole = comfy_unets.predict(apply(), x, context)
    assert torch.equal(comfy_unets.predict(apply(mask=torch.ones(1, 100, 60)), x, context), whole)
    plain = comfy_unets.predict(model, x, context)
    assert "mask" not in caplog.text
    assert torch.equal(comfy_unets.predict(apply(mask=torch.zeros(1, 64, 64)), x, context), plain)  # nor its LoRA
    assert "the mask is black all over, so neither the face nor its LoRA is applied" in caplog.text


def first_block(patched, height, width):
    g = torch.Generator().manual_seed(9)
    x, context = torch.randn(2, 4, height, width, generator=g), torch.randn(2, 7, 768, generator=g)
    return comfy_unets.first_block(patched, x, context)


# A square mask on each picture, a square picture under each mask, and both of an odd shape.
@pytest.mark.parametrize(
    ("height", "width", "mask_size"),
    [
        (16, 16, (64, 64)),
        (8, 24, (64, 64)),
        (40, 8, (64, 64)),
        (16, 16, (100, 60)),
        (16, 16, (4, 4)),
        (8, 24, (100, 60)),
    ],
)
def test_a_face_acts_only_inside_its_mask(apply, height, width, mask_size):
    top = torch.zeros(1, *mask_size)
    top[:, : mask_size[0] // 2] = 1
    inputs = {"lora_strength": 0.0, "layer_weights": only(0)}
    given, plain, whole = (first_block(apply(**inputs, **more), height, width) for more in ({"mask": top}, {"weight": 0.0}, {}))
    half = height // 2
    assert torch.equal(given[..., half:, :], plain[..., half:, :])
    assert (
        relative_error(given[..., :half, :], whole[..., :half, :])
        < 1e-6
        < relative_error(given[..., :half, :], plain[..., :half, :])
    )


def test_a_grey_mask_weighs_the_face(apply):
    x, context = comfy_unets.inputs(size=16)
    grey = comfy_unets.predict(apply(mask=torch.full((1, 50, 50), 0.5)), x, context)
    assert relative_error(grey, comfy_unets.predict(apply(weight=0.5), x, context)) < 1e-5


def test_a_soft_edge_stays_soft(apply):
    ramp = torch.linspace(0, 1, 128).expand(1, 128, 128)
    inputs = {"lora_strength": 0.0, "layer_weights": only(0)}
    plain = first_block(apply(**inputs, weight=0.0), 16, 16)
    change = (first_block(apply(**inputs, mask=ramp), 16, 16) - plain).abs().sum(dim=(0, 1, 2))
    assert (change.diff() > -0.1 * change.max()).all() and change[0] < 0.2 * change[-1]


def test_two_people_each_in_their_region(apply, run, adapter):
    left = torch.zeros(1, 64, 64)
    left[..., :32] = 1
    inputs = {"lora_strength": 0.0, "layer_weights": only(0)}
    one, two = random_faces(seed=1), random_faces(seed=2)
    both = apply(to=apply(faces=one, mask=left, **inputs), faces=two, mask=1 - left, **inputs)
    given, first, second = (first_block(m, 16, 16) for m in (both, apply(faces=one, **inputs), apply(faces=two, **inputs)))
    assert relative_error(given[..., :8], first[..., :8]) < 1e-6 and relative_error(given[..., 8:], second[..., 8:]) < 1e-6
    assert relative_error(first, second) > 1e-3


def test_percent_range_follows_sigma(apply, model):
    x, context = comfy_unets.inputs()
    late = apply(start_percent=0.5)
    none, whole = apply(weight=0.0), apply()
    sampling = model.get_model_object("model_sampling")
    for percent, expected in ((0.2, none), (0.8, whole)):
        sigma = sampling.percent_to_sigma(percent)
        given = comfy_unets.predict(late, x, context, sigma=sigma)
        assert torch.equal(given, comfy_unets.predict(expected, x, context, sigma=sigma))


def test_end_percent(apply, model):
    x, context = comfy_unets.inputs()
    early, none, whole = apply(end_percent=0.5), apply(weight=0.0), apply()
    sampling = model.get_model_object("model_sampling")
    for percent, expected in ((0.2, whole), (0.8, none)):
        sigma = sampling.percent_to_sigma(percent)
        given = comfy_unets.predict(early, x, context, sigma=sigma)
        assert torch.equal(given, comfy_unets.predict(expected, x, context, sigma=sigma))


def test_one_mask_per_latent(apply):
    x, context = comfy_unets.inputs(batch=4)
    masks = torch.stack([torch.ones(16, 16), torch.zeros(16, 16)])
    given = comfy_unets.predict(apply(mask=masks), x, context)
    whole, none = (comfy_unets.predict(apply(weight=w), x, context) for w in (1.0, 0.0))
    for side in (0, 2):
        assert relative_error(given[side], whole[side]) < 1e-5 and relative_error(given[side + 1], none[side + 1]) < 1e-5


def test_one_identity_per_latent(apply):
    people = random_faces(2, per_image=True)
    patched = apply(faces=people)
    x, context = comfy_unets.inputs(batch=4)  # two unconditional, two conditional
    given = comfy_unets.predict(patched, x, context)
    for i in (0, 1):
        alone = FaceEmbeds(people.identity[i : i + 1], people.clip_hidden[i : i + 1], people.clip_hidden_zero)
        expected = comfy_unets.predict(apply(faces=alone), x, context)
        for side in (0, 2):
            assert relative_error(given[side + i], expected[side + i]) < 1e-5


def faceid_file(tmp_path, **kwargs):
    return FaceIDAdapter(save(faceid_state(**kwargs), tmp_path / "adapter.safetensors"))


def test_sdxl_adapter_on_sd15_names_both(run, model, tmp_path):
    sdxl = faceid_file(tmp_path, widths=comfy_unets.XL_WIDTHS, context_dim=2048, clip_dim=CLIP, rank=0, inner=64, depth=0)
    with pytest.raises(FaceGenError, match=r"^Apply FaceID: .*faceid-plusv2_sdxl.*SDXL.*70.*SD1\.5.*16 blocks.*Load FaceID"):
        run("FaceGenApplyFaceID", model=model, faceid=sdxl, face_embeds=random_faces())


def test_plus_adapter_without_clip_vision_says_where_to_connect_it(apply):
    with pytest.raises(
        FaceGenError, match="needs a CLIP vision model .*Connect that model to clip_vision of the Embed Face node"
    ):
        apply(faces=FaceEmbeds(torch.ones(1, 512)))


def test_wrong_clip_vision_width_names_both(apply):
    with pytest.raises(FaceGenError, match=r"width 80.*ViT-L of width 1024.*Load CLIP Vision"):
        apply(faces=random_faces(clip=1024))


@pytest.mark.parametrize("kind", ["flux.model.Flux", "modules.diffusionmodules.mmdit.OpenAISignatureMMDITWrapper"])
def test_a_model_of_another_kind_is_refused(apply, model, kind):
    import importlib

    module, name = f"comfy.ldm.{kind}".rsplit(".", 1)
    other = model.clone()
    other.model = torch.nn.Module()
    other.model.diffusion_model = object.__new__(getattr(importlib.import_module(module), name))
    torch.nn.Module.__init__(other.model.diffusion_model)
    with pytest.raises(FaceGenError, match=f"^Apply FaceID: .*this one is a {name}.*`model`.*Load Checkpoint"):
        apply(to=other)


@pytest.mark.parametrize(
    ("inputs", "says"),
    [
        ({"mask": torch.ones(0, 8, 8)}, r"not empty, got \[0, 8, 8\]"),
        ({"mask": torch.full((1, 8, 8), float("nan"))}, "mask holds NaN"),
        ({"layer_weights": "0:x"}, "can't read '0:x'"),
        ({"layer_weights": "12-16:1"}, "blocks 0 to 15"),
        ({"start_percent": 0.8, "end_percent": 0.2}, "start_percent 0.8 lies after end_percent 0.2"),
        ({"mask": torch.ones(1, 1, 8, 8)}, r"mask must be .* got \[1, 1, 8, 8\]"),
        ({"s_scale": 3.0}, "between 0 and 2, got 3"),
    ],
)
def test_bad_settings(apply, inputs, says):
    with pytest.raises(FaceGenError, match=says):
        apply(**inputs)
