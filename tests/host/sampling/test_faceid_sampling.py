"""FaceID under real samplers and guiders: whatever order, number, size and kind of conditionings they make."""

import logging

import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch

import comfy_unets
from comfy_sampling import NEGATIVE, POSITIVE, face, guider, prompt, sample
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import faceid_state, relative_error, save
from host_models import randomize


def test_dual_cfg_gives_the_face_to_the_positive_conditioning(apply):
    """With a middle conditioning like the negative one and cfg 1 between them, Dual CFG is plain guidance."""
    dual = guider(
        apply(), custom_sampler.Guider_DualCFG, (prompt(POSITIVE), prompt(NEGATIVE), prompt(NEGATIVE)), (3.0, 1.0, False)
    )
    assert relative_error(sample(dual), sample(guider(apply()))) < 1e-5


def test_perp_neg_gives_the_face_to_the_positive_conditioning(apply):
    """With the negative conditioning at 0, Perp-Neg is plain guidance against the empty one."""
    perp = guider(apply(), perpneg.Guider_PerpNeg, (prompt(POSITIVE), prompt(20), prompt(NEGATIVE)), (3.0, 0.0))
    assert relative_error(sample(perp), sample(guider(apply()))) < 1e-5


def test_self_attention_guidance_asks_again_for_the_negative_conditioning(apply, sides):
    import comfy_extras.nodes_sag as sag

    node = sag.SelfAttentionGuidance()
    patched = (
        node.patch(apply(), 0.5, 2.0)[0] if hasattr(node, "patch") else sag.SelfAttentionGuidance.execute(apply(), 0.5, 2.0)[0]
    )
    sample(guider(patched), size=(16, 16), steps=1)
    assert set(sides) == {(1, 0), (1,)}


def test_a_guider_with_two_models_gives_the_face_to_the_positive_conditioning(apply, sides):
    """It asks for the negative conditioning in a list of its own, copied before the first step."""
    if not hasattr(custom_sampler, "Guider_DualModel"):
        pytest.skip("this ComfyUI has no guider with two models")
    patched = apply()
    dual = guider(patched, lambda model: custom_sampler.Guider_DualModel(model, patched.clone()))
    assert relative_error(sample(dual), sample(guider(patched))) < 1e-5
    assert {(0,), (1,)} < set(sides)


def test_without_guidance_there_is_one_conditioning(apply, sides, model):
    free = sample(guider(apply(), cfg=(1.0,)))
    assert set(sides) == {(0,)}
    assert relative_error(free, sample(guider(model, cfg=(1.0,)))) > 0.01


def test_conditionings_in_calls_of_their_own(apply, sides, monkeypatch):
    batched = sample(guider(apply()))
    assert set(sides) == {(1, 0)}
    sides.clear()
    memory = comfy.model_management.get_free_memory
    none = lambda device=None, torch_free_too=False: memory(device, True) if torch_free_too else 0  # noqa: E731
    monkeypatch.setattr(comfy.model_management, "get_free_memory", none)
    assert relative_error(sample(guider(apply())), batched) < 1e-5
    assert set(sides) == {(1,), (0,)}


@pytest.mark.parametrize("white", ["left", "right"])
def test_area_conditioning_sees_its_own_part_of_the_mask(apply, model, white):
    mask = torch.zeros(1, 128, 256)
    mask[..., :128] = white == "left"
    mask[..., 128:] = white == "right"
    left_half = [prompt(seed, area=("percentage", 1.0, 0.5, 0.0, 0.0)) for seed in (POSITIVE, NEGATIVE)]

    def generated(patched):
        return sample(guider(patched, conds=left_half), size=(8, 16))[..., :8]

    expected = generated(apply() if white == "left" else model)
    assert torch.equal(generated(apply(mask=mask)), expected)
    assert relative_error(generated(apply()), generated(model)) > 0.01


def test_two_areas_each_see_their_own_part_of_the_mask(apply, model):
    mask = torch.zeros(1, 128, 256)
    mask[..., :128] = 1
    halves = [(1.0, 0.5, 0.0, 0.0), (1.0, 0.5, 0.0, 0.5)]
    conds = [[prompt(seed, area=("percentage", *half))[0] for half in halves] for seed in (POSITIVE, NEGATIVE)]
    given, whole, plain = (sample(guider(patched, conds=conds), size=(8, 16)) for patched in (apply(mask=mask), apply(), model))
    assert torch.equal(given[..., :8], whole[..., :8]) and torch.equal(given[..., 8:], plain[..., 8:])
    assert relative_error(whole, plain) > 0.01


def test_a_guider_with_names_of_its_own(apply):
    class Named(comfy.samplers.CFGGuider):
        def set_conds(self, positive, negative):
            self.inner_set_conds({"with": positive, "without": negative})

        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 - the host's signature
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, self.conds["without"], self.conds["with"], self.cfg, model_options, seed=seed
            )

    assert relative_error(sample(guider(apply(), Named)), sample(guider(apply()))) < 1e-6


def tiles(model, together):
    """Samples the left and right half as tiles: in one batch, tile after tile, or each by itself."""

    def wrapper(apply_model, args):
        x, t, c = args["input"], args["timestep"], args["c"]
        halves = x.chunk(2, dim=-1)
        if not together:
            return torch.cat([apply_model(half, t, **c) for half in halves], dim=-1)
        doubled = {name: v.repeat(2, 1, 1) if isinstance(v, torch.Tensor) else v for name, v in c.items()}
        return torch.cat(apply_model(torch.cat(halves), t.repeat(2), **doubled).chunk(2), dim=-1)

    tiled = model.clone()
    tiled.set_model_unet_function_wrapper(wrapper)
    return tiled


@pytest.mark.parametrize("faces", [1, 2], ids=["one face", "one per image"])
def test_tiled_sampling(apply, model, faces):
    people = face(n=faces, per_image=faces == 2)
    alone, batched = (sample(guider(tiles(apply(faces=people), t)), size=(8, 16), batch=2) for t in (False, True))
    assert relative_error(batched, alone) < 1e-5
    assert relative_error(batched, sample(guider(tiles(model, True)), size=(8, 16), batch=2)) > 0.01


def test_a_mask_on_tiles_is_said_to_be_stretched(apply, caplog):
    mask = torch.zeros(1, 64, 64)
    mask[:, :32] = 1
    with caplog.at_level(logging.WARNING):
        sample(guider(tiles(apply(mask=mask), True)), size=(8, 16))
    assert [r.getMessage() for r in caplog.records if "stretched over each tile" in r.getMessage()] != []


def test_controlnet_alongside(apply, model, sides):
    import comfy.controlnet
    from comfy.cldm.cldm import ControlNet

    config = {**comfy_unets.SD15, "hint_channels": 3, "num_head_channels": -1}
    config.pop("transformer_depth_output"), config.pop("out_channels")
    net = ControlNet(**config, dtype=torch.float32)
    net.load_state_dict(randomize(net, 4))
    control = comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"))
    control.set_cond_hint(torch.rand(1, 3, 64, 64))
    conds = [prompt(seed, control=control, control_apply_to_uncond=True) for seed in (POSITIVE, NEGATIVE)]
    both = sample(guider(apply(), conds=conds), steps=1)
    assert len(sides) == 16  # the UNet's blocks, and none of the ControlNet's
    assert relative_error(both, sample(guider(apply()), steps=1)) > 0.01
    assert relative_error(both, sample(guider(model, conds=conds), steps=1)) > 0.01


def test_twice_in_one_graph(apply):
    patched = apply(mask=torch.tensor([[1.0, 0.0]]))
    first = sample(guider(patched))
    second = sample(guider(patched), size=(16, 8), batch=2)
    assert second.isfinite().all()
    assert torch.equal(sample(guider(patched)), first)


def discrete(model, sampling):
    import comfy_extras.nodes_model_advanced as advanced

    return advanced.ModelSamplingDiscrete().patch(model, sampling, False)[0]


@pytest.mark.parametrize(
    ("unet", "sampling", "settings"),
    [
        ({"in_channels": 9}, "eps", {}),
        ({}, "lcm", {"sampler": "lcm", "scheduler": "sgm_uniform"}),
        ({}, "v_prediction", {}),
        ({}, "eps", {"steps": 1, "scheduler": "sgm_uniform"}),
    ],
    ids=["inpainting", "LCM", "v-prediction", "turbo"],
)
@pytest.mark.parametrize("percents", [(0.0, 1.0), (0.0, 0.5)], ids=["whole", "half"])
def test_other_kinds_of_model(apply, unet, sampling, settings, percents):
    plain = discrete(comfy_unets.sd15(**unet), sampling)
    cfg = (1.0,) if settings else (3.0,)
    generated = sample(guider(apply(to=plain, start_percent=percents[0], end_percent=percents[1]), cfg=cfg), **settings)
    assert generated.isfinite().all()
    assert relative_error(generated, sample(guider(plain, cfg=cfg), **settings)) > 1e-3


ONE_LEVEL = {"num_res_blocks": [1], "channel_mult": (1,), "transformer_depth": [1], "transformer_depth_output": [1, 1]}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """(model, adapter) of one level: four blocks."""
    state = faceid_state([32] * 4, clip_dim=None)
    return comfy_unets.sd15(**ONE_LEVEL), FaceIDAdapter(save(state, tmp_path_factory.mktemp("faceid") / "small.safetensors"))


@pytest.mark.parametrize("percents", [(0.0, 1.0), (0.2, 0.8)], ids=["whole", "range"])
def test_every_sampler_of_this_host(run, small, sides, percents):
    inputs = {"face_embeds": face(), "lora_strength": 0.0, "start_percent": percents[0], "end_percent": percents[1]}
    patched = run("FaceGenApplyFaceID", model=small[0], faceid=small[1], **inputs)[0]
    for name in comfy.samplers.SAMPLER_NAMES:
        sides.clear()
        generated = sample(guider(patched), steps=4, sampler=name, size=(4, 4))
        assert generated.isfinite().all() and set(sides) == {(1, 0)}, name


def test_a_compiled_model(run, small, monkeypatch):
    """FaceID compiles into the UNet's one graph; with a percent range there is one graph with the face and one without."""
    import comfy.ldm.modules.attention as attention
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    from facegen.nodes.host.sampling import attention_patch

    for module in (attention, attention_patch):  # the host's choice for a CPU can't be compiled in one piece
        monkeypatch.setattr(module, "optimized_attention", attention.attention_pytorch)
    model, adapter = small
    counters = torch._dynamo.utils.counters

    def compiled(patcher, steps):
        torch._dynamo.reset()
        counters.clear()
        set_torch_compile_wrapper(made := patcher.clone(), backend="eager")
        generated = [sample(guider(made), steps=n) for n in steps]
        return generated[0], counters["frames"]["ok"], dict(counters["graph_break"])

    _, plain, _ = compiled(model, [4])
    for settings, graphs in (({}, 1), ({"end_percent": 0.5}, 2)):
        patched = run("FaceGenApplyFaceID", model=model, faceid=adapter, face_embeds=face(), **settings)[0]
        generated, frames, breaks = compiled(patched, [4, 12])
        assert relative_error(generated, sample(guider(patched), steps=4)) < 1e-5, settings
        assert 0 < frames <= graphs * plain and breaks == {}, settings
