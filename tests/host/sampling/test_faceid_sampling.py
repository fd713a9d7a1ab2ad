"""FaceID under real samplers and guiders: whatever order, number, size and kind of conditionings they make."""

import inspect
import logging

import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_perpneg as perpneg
import pytest
import torch

import comfy_unets
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity.attention import IdentityAttention
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from faceid_files import faceid_state, save


def face(seed=3, n=1, **kwargs):
    return FaceEmbeds(torch.randn(n, 512, generator=torch.Generator().manual_seed(seed)), **kwargs)


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sd15()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    state = faceid_state(comfy_unets.WIDTHS, clip_dim=None)
    return FaceIDAdapter(save(state, tmp_path_factory.mktemp("faceid") / "adapter.safetensors"))


@pytest.fixture
def apply(run, model, adapter):
    def apply(to=None, faces=None, **inputs):
        inputs = {"lora_strength": 0.0, **inputs}
        return run("FaceGenApplyFaceID", model=to or model, faceid=adapter, face_embeds=faces or face(), **inputs)[0]

    return apply


@pytest.fixture
def sides(monkeypatch):
    """What each call of a block's face took the chunks for."""
    seen, call = [], IdentityAttention.__call__
    monkeypatch.setattr(
        IdentityAttention,
        "__call__",
        lambda self, q, sides, *latents: seen.append(tuple(sides)) or call(self, q, sides, *latents),
    )
    return seen


def prompt(seed, **extra):
    return [[torch.randn(1, 7, 768, generator=torch.Generator().manual_seed(seed)), extra]]


POSITIVE, NEGATIVE = 11, 12


def guider(model, kind=comfy.samplers.CFGGuider, conds=None, cfg=(3.0,)):
    made = kind(model)
    made.set_conds(*(conds or (prompt(POSITIVE), prompt(NEGATIVE))))
    made.set_cfg(*cfg)
    return made


def sample(guided, steps=2, size=(8, 8), batch=1, sampler="euler", scheduler="normal"):
    noise = torch.randn(batch, 4, *size, generator=torch.Generator().manual_seed(5))
    sigmas = comfy.samplers.calculate_sigmas(guided.model_patcher.get_model_object("model_sampling"), scheduler, steps)
    return guided.sample(noise, torch.zeros_like(noise), comfy.samplers.sampler_object(sampler), sigmas, disable_pbar=True)


def error(a, b):
    return ((a - b).norm() / b.norm()).item()


def test_dual_cfg_gives_the_face_to_the_positive_conditioning(apply):
    """With a middle conditioning like the negative one and cfg 1 between them, Dual CFG is plain guidance."""
    dual = guider(
        apply(), custom_sampler.Guider_DualCFG, (prompt(POSITIVE), prompt(NEGATIVE), prompt(NEGATIVE)), (3.0, 1.0, False)
    )
    assert error(sample(dual), sample(guider(apply()))) < 1e-5


def test_perp_neg_gives_the_face_to_the_positive_conditioning(apply):
    """With the negative conditioning at 0, Perp-Neg is plain guidance against the empty one."""
    perp = guider(apply(), perpneg.Guider_PerpNeg, (prompt(POSITIVE), prompt(20), prompt(NEGATIVE)), (3.0, 0.0))
    assert error(sample(perp), sample(guider(apply()))) < 1e-5


def test_self_attention_guidance_asks_again_for_the_negative_conditioning(apply, sides):
    import comfy_extras.nodes_sag as sag

    node = sag.SelfAttentionGuidance()
    patched = (
        node.patch(apply(), 0.5, 2.0)[0] if hasattr(node, "patch") else sag.SelfAttentionGuidance.execute(apply(), 0.5, 2.0)[0]
    )
    sample(guider(patched), size=(16, 16), steps=1)
    assert set(sides) == {(1, 0), (1,)}


def test_without_guidance_there_is_one_conditioning(apply, sides, model):
    free = sample(guider(apply(), cfg=(1.0,)))
    assert set(sides) == {(0,)}
    assert error(free, sample(guider(model, cfg=(1.0,)))) > 0.01


def test_conditionings_in_calls_of_their_own(apply, sides, monkeypatch):
    batched = sample(guider(apply()))
    assert set(sides) == {(1, 0)}
    sides.clear()
    memory = comfy.model_management.get_free_memory
    none = lambda device=None, torch_free_too=False: memory(device, True) if torch_free_too else 0  # noqa: E731
    monkeypatch.setattr(comfy.model_management, "get_free_memory", none)
    assert error(sample(guider(apply())), batched) < 1e-5
    assert set(sides) == {(1,), (0,)}


@pytest.mark.parametrize("white", ["left", "right"])
def test_area_conditioning_sees_its_own_part_of_the_mask(apply, model, white):
    mask = torch.zeros(1, 128, 256)
    mask[..., :128] = white == "left"
    mask[..., 128:] = white == "right"
    left_half = [prompt(seed, area=("percentage", 1.0, 0.5, 0.0, 0.0)) for seed in (POSITIVE, NEGATIVE)]

    def drawn(patched):
        return sample(guider(patched, conds=left_half), size=(8, 16))[..., :8]

    expected = drawn(apply() if white == "left" else model)
    assert torch.equal(drawn(apply(mask=mask)), expected)
    assert error(drawn(apply()), drawn(model)) > 0.01


def test_two_areas_each_see_their_own_part_of_the_mask(apply, model):
    mask = torch.zeros(1, 128, 256)
    mask[..., :128] = 1
    halves = [(1.0, 0.5, 0.0, 0.0), (1.0, 0.5, 0.0, 0.5)]
    conds = [[prompt(seed, area=("percentage", *half))[0] for half in halves] for seed in (POSITIVE, NEGATIVE)]
    given, whole, plain = (sample(guider(patched, conds=conds), size=(8, 16)) for patched in (apply(mask=mask), apply(), model))
    assert torch.equal(given[..., :8], whole[..., :8]) and torch.equal(given[..., 8:], plain[..., 8:])
    assert error(whole, plain) > 0.01


def test_a_guider_with_names_of_its_own(apply):
    class Named(comfy.samplers.CFGGuider):
        def set_conds(self, positive, negative):
            self.inner_set_conds({"with": positive, "without": negative})

        def predict_noise(self, x, timestep, model_options={}, seed=None):  # noqa: B006 - the host's signature
            return comfy.samplers.sampling_function(
                self.inner_model, x, timestep, self.conds["without"], self.conds["with"], self.cfg, model_options, seed=seed
            )

    assert error(sample(guider(apply(), Named)), sample(guider(apply()))) < 1e-6


@pytest.mark.parametrize("kind", ["people", "masks", "dual"])
def test_context_windows(apply, kind):
    """Windows of two pictures that don't overlap change nothing where pictures don't see each other."""
    context_windows = pytest.importorskip("comfy.context_windows")
    several = {
        "people": {"faces": face(n=4, per_image=True)},
        "masks": {"mask": torch.rand(4, 16, 16, generator=torch.Generator().manual_seed(1)).round()},
        "dual": {},
    }
    patched = apply(**several[kind])
    windowed = patched.clone()
    schedule = context_windows.get_matching_context_schedule(context_windows.ContextSchedules.STATIC_STANDARD)
    fuse = context_windows.get_matching_fuse_method(context_windows.ContextFuseMethods.FLAT)
    handler = context_windows.IndexListContextHandler(schedule, fuse, context_length=2, context_overlap=0, dim=0)
    handler.set_step = lambda *args, **kwargs: setattr(handler, "_step", 0)  # 0.3.64 takes a batch of sigmas for one
    windowed.model_options["context_handler"] = handler
    dual = (custom_sampler.Guider_DualCFG, (prompt(POSITIVE), prompt(20), prompt(NEGATIVE)), (3.0, 2.0, False))
    arguments = dual if kind == "dual" else ()
    given, expected = (sample(guider(m, *arguments), batch=4) for m in (windowed, patched))
    assert error(given, expected) < 1e-5


def test_an_anchor_before_a_window_is_the_latent_that_it_is(apply):
    """A window of two may arrive as three: the newest host puts the frame before it in front, as an anchor."""
    context_windows = pytest.importorskip("comfy.context_windows")
    if "causal_window_fix" not in inspect.signature(context_windows.IndexListContextHandler).parameters:
        pytest.skip("this ComfyUI has no anchors")
    patched = apply(faces=face(n=4, per_image=True))
    windowed = patched.clone()
    schedule = context_windows.get_matching_context_schedule(context_windows.ContextSchedules.STATIC_STANDARD)
    fuse = context_windows.get_matching_fuse_method(context_windows.ContextFuseMethods.FLAT)
    handler = context_windows.IndexListContextHandler(
        schedule, fuse, context_length=2, context_overlap=1, dim=0, causal_window_fix=True
    )
    windowed.model_options["context_handler"] = handler
    given, expected = (sample(guider(m), batch=4) for m in (windowed, patched))
    assert error(given, expected) < 1e-5
    other = apply(faces=face(n=4, per_image=True, seed=8))
    assert error(sample(guider(other), batch=4), expected) > 1e-3  # it would be seen


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
    assert error(batched, alone) < 1e-5
    assert error(batched, sample(guider(tiles(model, True)), size=(8, 16), batch=2)) > 0.01


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
    net.load_state_dict(comfy_unets.randomize(net, 4))
    control = comfy.controlnet.ControlNet(net, load_device=torch.device("cpu"))
    control.set_cond_hint(torch.rand(1, 3, 64, 64))
    conds = [prompt(seed, control=control, control_apply_to_uncond=True) for seed in (POSITIVE, NEGATIVE)]
    both = sample(guider(apply(), conds=conds), steps=1)
    assert len(sides) == 16  # the UNet's blocks, and none of the ControlNet's
    assert error(both, sample(guider(apply()), steps=1)) > 0.01
    assert error(both, sample(guider(model, conds=conds), steps=1)) > 0.01


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
    drawn = sample(guider(apply(to=plain, start_percent=percents[0], end_percent=percents[1]), cfg=cfg), **settings)
    assert drawn.isfinite().all()
    assert error(drawn, sample(guider(plain, cfg=cfg), **settings)) > 1e-3


ONE_LEVEL = {"num_res_blocks": [1], "channel_mult": (1,), "transformer_depth": [1], "transformer_depth_output": [1, 1]}


@pytest.mark.parametrize(("settings", "graphs"), [({}, 1), ({"end_percent": 0.5}, 2)], ids=["whole", "percent range"])
def test_a_compiled_model(run, tmp_path, monkeypatch, settings, graphs):
    """FaceID compiles into the UNet's one graph; with a percent range there is one graph with the face and one without."""
    import comfy.ldm.modules.attention as attention
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    from facegen.nodes.host import attention_patch

    for module in (attention, attention_patch):  # the host's choice for a CPU can't be compiled in one piece
        monkeypatch.setattr(module, "optimized_attention", attention.attention_pytorch)
    adapter = FaceIDAdapter(save(faceid_state([32] * 4, clip_dim=None), tmp_path / "adapter.safetensors"))
    small = comfy_unets.sd15(**ONE_LEVEL)
    patched = run("FaceGenApplyFaceID", model=small, faceid=adapter, face_embeds=face(), **settings)[0]
    counters = torch._dynamo.utils.counters

    def compiled(patcher, steps):
        torch._dynamo.reset()
        counters.clear()
        set_torch_compile_wrapper(made := patcher.clone(), backend="eager")
        drawn = [sample(guider(made), steps=n) for n in steps]
        return drawn[0], counters["frames"]["ok"], dict(counters["graph_break"])

    _, plain, _ = compiled(small, [4])
    drawn, frames, breaks = compiled(patched, [4, 12])
    assert error(drawn, sample(guider(patched), steps=4)) < 1e-5
    assert 0 < frames <= graphs * plain and breaks == {}
