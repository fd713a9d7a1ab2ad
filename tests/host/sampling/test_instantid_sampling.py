"""InstantID under real samplers and guiders: what its ControlNet is given for each row, beside other ControlNets that go on
reading the text, and where it acts.
"""

import comfy.model_management
import comfy.samplers
import comfy_extras.nodes_custom_sampler as custom_sampler
import comfy_extras.nodes_perpneg as perpneg
import nodes as comfy_nodes
import pytest
import torch

import comfy_unets
import instantid_step
from comfy_sampling import NEGATIVE, POSITIVE, animatediff_windows, guider, sample, windowed
from facegen.models.face.keypoints import as_in_photo, draw_keypoints
from faceid_files import relative_error
from instantid_step import FACE, ONE_LEVEL, person, prompt, small_control


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sdxl(**ONE_LEVEL)


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return instantid_step.adapter(tmp_path_factory.mktemp("instantid"), instantid_step.adapter_state([64] * 4))


@pytest.fixture(scope="module")
def control_net():
    return small_control(4)


@pytest.fixture(scope="module")
def other():
    """Another ControlNet, with a picture of its own."""
    return small_control(5)


@pytest.fixture
def apply(run, model, adapter, control_net):
    """apply(faces, …) -> a guider's model and conditionings."""

    def apply(faces=None, to=None, conds=None, **inputs):
        positive, negative = conds or (prompt(POSITIVE), prompt(NEGATIVE))
        inputs = {"control_net": control_net, **inputs}
        faces = faces or person()
        return run(
            "FaceGenApplyInstantID",
            model=to or model, instantid=adapter, face_embeds=faces, positive=positive, negative=negative, **inputs,
        )  # fmt: skip

    return apply


def generate(model, *conds, kind=comfy.samplers.CFGGuider, cfg=(3.0,), **settings):
    return sample(guider(model, kind, conds, cfg), **settings)


@pytest.fixture
def seen(monkeypatch):
    """seen(control_net) -> a list that gets (hint, context) of each call of its network from now on."""

    def watch(control):
        calls, forward = [], control.control_model.forward

        def watched(*args, **kwargs):
            calls.append((kwargs["hint"].clone(), kwargs["context"].clone()))
            return forward(*args, **kwargs)

        monkeypatch.setattr(control.control_model, "forward", watched)
        return calls

    return watch


def drawn(width, height, face=FACE):
    return draw_keypoints(as_in_photo([face], width, height), width, height).permute(2, 0, 1)


def test_the_tokens_of_each_side_are_its_context_and_other_controlnets_keep_the_text(
    apply, adapter, control_net, other, seen, model
):
    conds = [[*prompt(seed)] for seed in (POSITIVE, NEGATIVE)]
    picture = torch.rand(1, 64, 64, 3)
    stock = comfy_nodes.ControlNetApplyAdvanced().apply_controlnet
    before = apply(conds=stock(*conds, other, picture, 0.5, 0.0, 1.0))
    ours = apply(conds=conds)
    after = (ours[0], *stock(*ours[1:], other, picture, 0.5, 0.0, 1.0))
    cond, uncond = adapter.tokens(person())
    for patched in (before, after):
        face, text = seen(control_net), seen(other)
        generate(*patched, steps=1)
        ((hint, context),), ((_, read),) = face, text
        assert torch.equal(context, torch.cat([uncond, cond])) and torch.equal(hint[0], drawn(64, 64))
        assert torch.equal(read, torch.cat([conds[1][0][0], conds[0][0][0]]))
    both = [generate(*patched) for patched in (before, after)]
    assert relative_error(*both) < 1e-5
    assert relative_error(both[0], generate(*ours)) > 0.01
    assert relative_error(both[0], generate(model, *stock(*conds, other, picture, 0.5, 0.0, 1.0))) > 0.01


def test_a_controlnet_of_the_older_node_goes_on_reaching_the_negative_side(apply, other, seen, control_net):
    """It is on the positive conditioning alone, and the host carries it over."""
    (positive,) = comfy_nodes.ControlNetApply().apply_controlnet(prompt(POSITIVE), other, torch.rand(1, 64, 64, 3), 0.5)
    patched = apply(conds=(positive, prompt(NEGATIVE)))
    assert "control" not in patched[2][0][1]
    face, text = seen(control_net), seen(other)
    generate(*patched, steps=1)
    assert [len(context) for _, context in (*face, *text)] == [2, 2]


def test_one_call_for_both_sides_as_with_any_controlnet(apply, seen, control_net):
    calls = seen(control_net)
    generate(*apply(), steps=2)
    assert [len(context) for _, context in calls] == [2, 2]


def test_dual_cfg_gives_the_face_to_the_positive_conditioning(apply):
    model, positive, negative = apply()
    dual = generate(model, positive, negative, negative, kind=custom_sampler.Guider_DualCFG, cfg=(3.0, 1.0, False))
    assert relative_error(dual, generate(model, positive, negative)) < 1e-5


def test_perp_neg_gives_the_face_to_the_positive_conditioning(apply):
    model, positive, negative = apply()
    perp = generate(model, positive, prompt(20), negative, kind=perpneg.Guider_PerpNeg, cfg=(3.0, 0.0))
    assert relative_error(perp, generate(model, positive, negative)) < 1e-5


def test_without_guidance_there_is_one_conditioning(apply, adapter, seen, control_net):
    calls = seen(control_net)
    generate(*apply(), cfg=(1.0,), steps=1)
    ((_, context),) = calls
    assert torch.equal(context, adapter.tokens(person())[0])


def test_conditionings_in_calls_of_their_own(apply, adapter, seen, control_net, monkeypatch):
    batched = generate(*apply())
    memory = comfy.model_management.get_free_memory
    none = lambda device=None, torch_free_too=False: memory(device, True) if torch_free_too else 0  # noqa: E731
    monkeypatch.setattr(comfy.model_management, "get_free_memory", none)
    calls = seen(control_net)
    assert relative_error(generate(*apply()), batched) < 1e-5
    cond, uncond = adapter.tokens(person())
    assert len(calls) == 4 and all(torch.equal(context, cond) or torch.equal(context, uncond) for _, context in calls)


def test_each_image_gets_its_own_face_and_hint(apply, adapter, seen, control_net):
    faces = [{**FACE, "kps": [[x + 9 * n, y - 5 * n] for x, y in FACE["kps"]]} for n in range(2)]
    both = person(2, faces=tuple(faces), per_image=True)
    calls = seen(control_net)
    generated = generate(*apply(both), batch=2, steps=1)
    ((hint, context),) = calls
    cond, uncond = adapter.tokens(both)
    assert torch.equal(context, torch.cat([uncond, cond]))
    assert torch.equal(hint, torch.stack([drawn(64, 64, face) for face in faces] * 2))
    first = person(1, faces=(faces[0],))
    object.__setattr__(first, "identity", both.identity[:1])
    assert relative_error(generate(*apply(first), batch=2, steps=1)[0], generated[0]) < 1e-5
    assert relative_error(generate(*apply(first), batch=2, steps=1)[1], generated[1]) > 0.01


@pytest.mark.parametrize("white", ["left", "right"])
def test_area_conditioning_sees_its_own_part_of_the_mask(apply, model, white):
    mask = torch.zeros(1, 128, 256)
    mask[..., :128] = white == "left"
    mask[..., 128:] = white == "right"
    left_half = [prompt(seed, area=("percentage", 1.0, 0.5, 0.0, 0.0)) for seed in (POSITIVE, NEGATIVE)]

    def generated(**inputs):
        return generate(*apply(conds=left_half, **inputs), size=(8, 16))[..., :8]

    expected = generated() if white == "left" else generate(model, *left_half, size=(8, 16))[..., :8]
    assert relative_error(generated(mask=mask), expected) < 1e-6
    assert relative_error(generated(), generate(model, *left_half, size=(8, 16))[..., :8]) > 0.01


def test_two_areas_each_see_their_own_part_of_the_hint(apply, seen, control_net):
    halves = [(1.0, 0.5, 0.0, 0.0), (1.0, 0.5, 0.0, 0.5)]
    conds = [[prompt(seed, area=("percentage", *half))[0] for half in halves] for seed in (POSITIVE, NEGATIVE)]
    calls = seen(control_net)
    generate(*apply(conds=conds), size=(8, 16), steps=1)
    whole = drawn(128, 64)
    hints = torch.cat([hint.expand(len(context), -1, -1, -1) for hint, context in calls])
    left, right = whole[..., :64], whole[..., 64:]
    assert sorted(torch.equal(hint, left) + 2 * torch.equal(hint, right) for hint in hints) == [1, 1, 2, 2]


def test_two_people_each_in_their_own_region(apply, control_net, model):
    """Of what the ControlNets add, each half is that of its own person alone. The first is made before any face is read."""
    mask = torch.zeros(1, 64, 64)
    mask[..., :32] = 1
    anna, ben = person(seed=3), person(seed=4)
    first = apply(anna, mask=mask)
    both = apply(ben, to=first[0], conds=first[1:], mask=1 - mask)
    generated = generate(*both)
    only = [generate(*apply(who)) for who in (anna, ben)]
    assert all(relative_error(generated, one) > 0.01 for one in only)

    def added(conds):
        control = conds[0][0][1]["control"]
        control.pre_run(model.model, lambda percent: 1000 * (1 - percent))
        x, y = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)), torch.ones(1, 2816)
        cond = {"c_crossattn": conds[0][0][0], "y": y}
        made = control.get_control(x, torch.ones(1), cond, 1, {"cond_or_uncond": [0]})
        control.cleanup()
        return [t for outputs in made.values() for t in outputs if t is not None]

    every = list(zip(added(both[1:]), *(added(apply(who)[1:]) for who in (anna, ben)), strict=True))
    assert all(relative_error(every[-1][0], alone) > 0.01 for alone in every[-1][1:])
    for together, left, right in every:
        half = together.shape[-1] // 2
        assert torch.allclose(together[..., :half], left[..., :half], atol=1e-5)
        assert torch.allclose(together[..., half:], right[..., half:], atol=1e-5)


def test_context_windows_and_those_of_animatediff(apply):
    """A picture doesn't depend on the others of its batch, so each is as without windows."""
    faces = [{**FACE, "kps": [[x + 9 * n, y - 5 * n] for x, y in FACE["kps"]]} for n in range(4)]
    model, *conds = apply(person(4, faces=tuple(faces), per_image=True))
    whole = generate(model, *conds, batch=4)
    assert relative_error(generate(animatediff_windows(model, [[0, 1], [2, 3]]), *conds, batch=4), whole) < 1e-5
    assert relative_error(generate(windowed(model, 2, windows=[[0, 1], [2, 3]]), *conds, batch=4), whole) < 1e-5


@pytest.mark.parametrize("dim", [2, 3], ids=["height", "width"])
def test_windows_over_the_picture_see_their_own_part_of_the_hint(apply, seen, control_net, dim):
    model, *conds = apply()
    calls = seen(control_net)
    generate(windowed(model, 8, dim=dim), *conds, size=(16, 8) if dim == 2 else (8, 16), steps=1)
    whole = drawn(64, 128) if dim == 2 else drawn(128, 64)
    parts = whole.chunk(2, dim=dim - 1)
    assert len(calls) == 2 and all(torch.equal(hint[0], part) for (hint, _), part in zip(calls, parts, strict=True))


def test_a_percent_range(apply, seen, control_net):
    calls = seen(control_net)
    generate(*apply(end_percent=0.5), steps=4)
    assert 0 < len(calls) < 4


def test_samplers_that_work_in_tiles(apply, model):
    """They cut what the ControlNet gave for the whole, as they do with any."""

    def tiles(patcher):
        def wrapper(apply_model, args):
            x, t, c = args["input"], args["timestep"], args["c"]
            made = []
            for half in (0, 1):
                control = {name: [p if p is None else p.chunk(2, -1)[half] for p in ps] for name, ps in c["control"].items()}
                made.append(apply_model(x.chunk(2, -1)[half], t, **{**c, "control": control}))
            return torch.cat(made, -1)

        tiled = patcher.clone()
        tiled.set_model_unet_function_wrapper(wrapper)
        return tiled

    patched, *conds = apply()
    generated = generate(tiles(patched), *conds, size=(8, 16))
    assert generated.isfinite().all() and relative_error(generated, generate(tiles(model), *conds, size=(8, 16))) > 0.01


def test_a_sampler_that_asks_the_controlnet_for_each_tile_is_said_to_give_each_the_whole_face(apply, caplog):
    patched, *conds = apply()
    control = conds[0][0][1]["control"]

    def wrapper(apply_model, args):
        c = args["c"]
        for half in args["input"].chunk(2, -1):
            context = {"c_crossattn": c["c_crossattn"], "y": c["y"]}
            control.get_control(half, args["timestep"], context, len(args["cond_or_uncond"]), c["transformer_options"])
        return apply_model(args["input"], args["timestep"], **c)

    tiled = patched.clone()
    tiled.set_model_unet_function_wrapper(wrapper)
    generate(tiled, *conds, size=(8, 16))
    said = [r for r in caplog.records if "each tile gets the key points of the whole face" in r.getMessage()]
    assert len(said) == 1


def test_every_sampler_of_this_host(apply):
    patched = apply()
    for name in comfy.samplers.SAMPLER_NAMES:
        assert generate(*patched, steps=3, sampler=name, size=(4, 4)).isfinite().all(), name


def test_a_model_without_the_face_still_gets_the_controlnet_s(apply, model, adapter, seen, control_net):
    """Somebody may connect the conditionings and not the model: then a side is known by its place."""
    _, *conds = apply()
    calls = seen(control_net)
    generate(model, *conds, steps=1)
    ((_, context),) = calls
    cond, uncond = adapter.tokens(person())
    assert torch.equal(context, torch.cat([uncond, cond]))


def test_the_conditionings_beside_another_model_are_said_to_be_half_of_it(apply, model, caplog):
    patched, *conds = apply()
    generate(patched, *conds)
    assert "isn't the one that Apply InstantID made" not in caplog.text
    generate(model, *conds)
    said = [r for r in caplog.records if "Connect Apply InstantID's model output to the sampler" in r.getMessage()]
    assert len(said) == 1
