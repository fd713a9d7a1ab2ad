"""PuLID on ComfyUI's own FLUX.1 at reduced width, against the plain reference after each block."""

import copy
import dataclasses
from dataclasses import replace

import comfy.model_management
import comfy.samplers
import pytest
import torch
from comfy.ldm.flux.model import FluxParams

import comfy_flux
import pulid_reference as reference
from comfy_flux import DOUBLE, LAYERS, SINGLE, WIDTH, evaluate, hooked, latents, prompt
from facegen.errors import FaceGenError, WrongBaseModelError
from facegen.models.identity.pulid.adapter import PulidAdapter
from facegen.models.identity.pulid.cross_attention import places
from faceid_files import relative_error
from pulid_files import flux_state, save, sdxl_state, seen_faces

PLACES = places(DOUBLE, SINGLE)
REFERENCES = {"reference_latents": [comfy_flux.latents(seed=20)]}


@pytest.fixture(scope="module")
def model():
    return comfy_flux.flux()


@pytest.fixture(scope="module")
def state():
    return flux_state(LAYERS, WIDTH)


@pytest.fixture(scope="module")
def adapter(state, tmp_path_factory):
    return PulidAdapter(save(state, tmp_path_factory.mktemp("pulid") / "any name.safetensors"))


@pytest.fixture
def apply(model, adapter):
    # After the host is there.
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid

    return lambda faces=None, to=None, **settings: apply_pulid(to or model, adapter, faces or seen_faces(), **settings)


def expected(model, state, tokens, x, weight=1.0, only=None, tokens_of_picture=16, **call):
    """tokens: [n, context] for all rows, or a list of such, one for each; only: share of each token of the picture."""

    def add(number, picture):
        rows = tokens if isinstance(tokens, list) else [tokens] * len(picture)
        added = [reference.flux_addition(state, number, t, row, weight) for t, row in zip(rows, picture, strict=True)]
        return torch.stack(added) * (1 if only is None else only)

    with hooked(model, PLACES, add, tokens=tokens_of_picture):
        return evaluate(model, x, **call)


@pytest.mark.parametrize("weight", [1.0, 0.6])
@pytest.mark.parametrize("side", [0, 1])
def test_flux_equals_the_reference(apply, model, adapter, state, side, weight):
    """Both sides: the unconditional one is that of true guidance."""
    x, cfg = latents(), 1.0 - side
    given = evaluate(apply(weight=weight), x, cfg=cfg)
    wanted = expected(model, state, adapter.tokens(seen_faces())[side][0], x, weight, cfg=1.0, positive=prompt(1 + side))
    assert relative_error(given, wanted) < 1e-4
    assert relative_error(evaluate(model, x, cfg=cfg), wanted) > 0.01


def test_guidance_gives_each_side_its_tokens(apply, model, adapter, state):
    x = latents(2)
    sides = [expected(model, state, adapter.tokens(seen_faces())[side][0], x, positive=prompt(1 + side)) for side in (0, 1)]
    assert relative_error(evaluate(apply(), x, cfg=3.0), sides[1] + 3.0 * (sides[0] - sides[1])) < 1e-4


def test_one_face_per_latent(apply, model, adapter, state):
    faces = replace(seen_faces(2), per_image=True)
    x = latents(2)
    wanted = expected(model, state, list(adapter.tokens(faces)[0]), x)
    assert relative_error(evaluate(apply(faces), x), wanted) < 1e-4


def test_reference_pictures_get_no_face(apply, model, adapter, state):
    """Kontext's way: their tokens follow the picture's."""
    x = latents()
    wanted = expected(model, state, adapter.tokens(seen_faces())[0][0], x, positive=prompt(1, **REFERENCES))
    given = evaluate(apply(), x, positive=prompt(1, **REFERENCES))
    assert relative_error(given, wanted) < 1e-4
    assert relative_error(evaluate(apply(), x), wanted) > 1e-3


def test_a_mask_and_a_second_person(apply, model, adapter, state):
    """Left and right half of the picture, 4 x 4 tokens."""
    x, left = latents(), torch.zeros(64, 64)
    left[:, :32] = 1
    first, second = seen_faces(seed=3), seen_faces(seed=4)
    both = apply(second, to=apply(first, mask=left), mask=1 - left)
    half = torch.tensor([1.0, 1, 0, 0]).repeat(4)[:, None]
    tokens = [adapter.tokens(faces)[0][0] for faces in (first, second)]

    def add(number, picture):
        one = reference.flux_addition(state, number, tokens[0], picture[0], 1.0) * half
        # The second is given what the first left.
        return (one + reference.flux_addition(state, number, tokens[1], picture[0] + one, 1.0) * (1 - half))[None]

    with hooked(model, PLACES, add):
        wanted = evaluate(model, x)
    assert relative_error(evaluate(both, x), wanted) < 1e-4
    held = both.get_nested_additional_models()
    assert len(held) == 1  # the layers of one file are there once


@pytest.mark.newest
def test_a_picture_that_is_no_square(apply, model, adapter, state):
    x = latents(size=(6, 9))  # an odd side is padded to whole tokens
    wanted = expected(model, state, adapter.tokens(seen_faces())[0][0], x, tokens_of_picture=15)
    assert relative_error(evaluate(apply(), x), wanted) < 1e-4


@pytest.mark.newest
def test_layer_weights(apply, model, adapter, state):
    x, tokens = latents(), adapter.tokens(seen_faces())[0][0]
    given = evaluate(apply(layer_weights="0:0, 2:0.5"), x)
    shares = (0.0, 1.0, 0.5, 1.0)

    def add(number, picture):
        return reference.flux_addition(state, number, tokens, picture[0], shares[number])[None]

    with hooked(model, PLACES, add):
        wanted = evaluate(model, x)
    assert relative_error(given, wanted) < 1e-4


@pytest.mark.parametrize(("range_", "acts"), [((0.0, 0.7), True), ((0.0, 0.5), False), ((0.9, 1.0), False)])
def test_the_percent_range_follows_sigma(apply, model, range_, acts):
    x = latents()  # sigma 0.7 is at 57 percent
    given = evaluate(apply(percent_range=range_), x, sigma=0.7)
    assert (relative_error(given, evaluate(model, x, sigma=0.7)) > 0.01) == acts


def test_another_pack_on_the_same_block_before_us(apply, model):
    calls = []

    def other(args, extra):
        calls.append(args["img"].shape)
        out = extra["original_block"](args)
        return {**out, "img": out["img"] * 1.01}

    theirs = model.clone()
    theirs.set_model_patch_replace(other, "dit", "double_block", 0)
    theirs.set_model_patch_replace(other, "dit", "single_block", 1)
    x = latents()
    both, alone = evaluate(apply(to=theirs), x), evaluate(theirs, x)
    assert len(calls) == 4 and relative_error(both, alone) > 0.01
    assert relative_error(both, evaluate(apply(), x)) > 1e-4


@pytest.mark.newest
def test_applied_and_taken_away_twenty_times_the_model_is_as_it_was(apply, model):
    x = latents()
    plain, options = evaluate(model, x), copy.copy(model.model_options["transformer_options"])
    first = evaluate(apply(), x)
    for _ in range(20):
        assert torch.equal(evaluate(apply(), x), first)
    assert torch.equal(evaluate(model, x), plain)
    assert model.model_options["transformer_options"].keys() == options.keys()
    assert model.get_nested_additional_models() == []


def test_the_layers_are_the_hosts_to_load_and_free(apply):
    patched = apply()
    (held,) = patched.get_nested_additional_models()
    evaluate(patched, latents())
    loaded = [each.model for each in comfy.model_management.current_loaded_models]
    assert any(each is not None and each.model is held.model for each in loaded)
    assert held.model_size() == sum(t.numel() * t.element_size() for t in held.model.state_dict().values())
    comfy.model_management.unload_all_models()
    assert all(each.model.model is not held.model for each in comfy.model_management.current_loaded_models if each.model)


def face_on(model, state, tokens, x):
    """What the reference gives on a model whose own numbers are rounded."""

    def add(number, picture):
        return reference.flux_addition(state, number, tokens, picture[0].float(), 1.0)[None].to(picture)

    with hooked(model, PLACES, add):
        return evaluate(model, x)


def test_a_model_in_half_precision(apply, adapter, state):
    """The layers' weights are cast to what the model computes in, as they are used."""
    half, x = comfy_flux.flux(dtype=torch.bfloat16), latents()
    wanted = face_on(half, state, adapter.tokens(seen_faces())[0][0], x)
    given = evaluate(apply(to=half), x)
    assert relative_error(given, wanted) < 0.2 < relative_error(evaluate(half, x), wanted)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16])
def test_weights_in_another_precision_than_the_model_computes_in(apply, adapter, state, dtype):
    stored, x = comfy_flux.flux(dtype=dtype, computes_in=torch.float32), latents()
    wanted = face_on(stored, state, adapter.tokens(seen_faces())[0][0], x)
    assert relative_error(evaluate(apply(to=stored), x), wanted) < 1e-4
    assert relative_error(evaluate(stored, x), wanted) > 0.01


class Quantised(torch.nn.Module):
    """A layer as packs for GGUF have it: its weight is no floating-point parameter, and is unpacked as it is used."""

    def __init__(self, layer):
        super().__init__()
        self.scale = layer.weight.abs().max() / 127
        self.register_buffer("packed", (layer.weight / self.scale).round().to(torch.int8))
        self.bias = layer.bias

    def forward(self, x):
        return torch.nn.functional.linear(x, self.packed.to(x) * self.scale, self.bias)


def test_a_model_with_layers_of_another_pack(apply, adapter, state):
    packed, x = comfy_flux.flux(), latents()
    for block in (*packed.model.diffusion_model.double_blocks, *packed.model.diffusion_model.single_blocks):
        for name, layer in list(block.named_modules()):
            if isinstance(layer, torch.nn.Linear):
                parent = block.get_submodule(name.rpartition(".")[0])
                setattr(parent, name.rpartition(".")[2], Quantised(layer))
    wanted = face_on(packed, state, adapter.tokens(seen_faces())[0][0], x)
    assert relative_error(evaluate(apply(to=packed), x), wanted) < 1e-4


def test_a_compiled_model(apply, model, monkeypatch):
    """The face compiles into the model's graphs, of which there are as many as without it."""
    import comfy.ldm.flux.layers
    import comfy.ldm.flux.math
    import comfy.ldm.modules.attention as attention
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    for module in (comfy.ldm.flux.math, comfy.ldm.flux.layers):  # the host's choice for a CPU can't be compiled in one piece
        if hasattr(module, "optimized_attention"):
            monkeypatch.setattr(module, "optimized_attention", attention.attention_pytorch)
    counters, x = torch._dynamo.utils.counters, latents()

    def compiled(patcher):
        torch._dynamo.reset()
        counters.clear()
        set_torch_compile_wrapper(made := patcher.clone(), backend="eager")
        given = [evaluate(made, x, sigma=sigma) for sigma in (0.9, 0.7, 0.5)]
        return given[1], counters["frames"]["ok"], dict(counters["graph_break"])

    _, plain, broken = compiled(model)
    given, frames, breaks = compiled(apply())
    assert relative_error(given, evaluate(apply(), x)) < 1e-5
    assert 0 < frames <= plain and breaks == broken


@pytest.mark.newest
def test_what_doesnt_fit_is_refused(apply, model, adapter, tmp_path):
    import comfy_unets
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid

    with pytest.raises(WrongBaseModelError, match=r"made for FLUX\.1 .*but the model is a UNet \(16 cross-attention blocks"):
        apply(to=comfy_unets.sd15())
    with pytest.raises(WrongBaseModelError, match="but the model is FLUX with 2 double and 5 single blocks of width 128"):
        apply(to=comfy_flux.flux(depth=2))
    sdxl = PulidAdapter(save(sdxl_state([64, 128]), tmp_path / "sdxl.safetensors"))
    with pytest.raises(WrongBaseModelError, match="but the model is FLUX with 3 double"):
        apply_pulid(model, sdxl, seen_faces())
    with pytest.raises(FaceGenError, match="Unknown projection 'v3'"):
        apply(projection="v3")


def test_flux_2_is_refused(apply):
    """It is the same class as FLUX.1, with one modulation for all blocks."""
    if "global_modulation" not in {field.name for field in dataclasses.fields(FluxParams)}:
        pytest.skip("this ComfyUI knows no FLUX.2")
    with pytest.raises(WrongBaseModelError, match="the network Flux, which is neither SDXL's nor FLUX.1's"):
        apply(to=comfy_flux.flux(global_modulation=True))


def test_a_model_of_another_kind_is_named(apply, model):
    class QwenImage:
        diffusion_model = torch.nn.Linear(1, 1)

    other = model.clone()
    other.model = QwenImage()
    with pytest.raises(
        WrongBaseModelError, match="the model is a QwenImage with the network Linear, which is neither SDXL's nor"
    ):
        apply(to=other)
