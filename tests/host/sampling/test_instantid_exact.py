"""InstantID in a whole step of ComfyUI's own sampler, with its ControlNet, against diffusers."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

import comfy_unets
import instantid_step
from faceid_files import relative_error
from instantid_step import SIDE, Step, host_control, person, prompts, published_control
from keypoint_drawing import hint_image

WEIGHT, STRENGTH = 0.8, 0.7


@pytest.fixture(scope="module")
def state():
    return instantid_step.adapter_state()


@pytest.fixture(scope="module")
def adapter(state, tmp_path_factory):
    return instantid_step.adapter(tmp_path_factory.mktemp("instantid"), state)


@pytest.fixture(scope="module")
def published():
    return published_control()


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sdxl()


@pytest.fixture(scope="module")
def oracle(model, state):
    return comfy_unets.Diffusers(model, state)


@pytest.fixture
def control_net(published, monkeypatch):
    return host_control(published, monkeypatch)


@pytest.fixture
def apply(run, model, adapter, control_net):
    def apply(faces=None, to=None, conds=None, **inputs):
        positive, negative = conds or prompts(comfy_unets.xl_inputs())
        inputs = {"weight": WEIGHT, "control_strength": STRENGTH, "control_net": control_net, **inputs}
        faces = faces or person()
        return run(
            "FaceGenApplyInstantID",
            model=to or model, instantid=adapter, face_embeds=faces, positive=positive, negative=negative, **inputs,
        )  # fmt: skip

    return apply


def expected(oracle, published, faces, hint, model, weight=WEIGHT, strength=STRENGTH, dtype=torch.float32):
    """diffusers' prediction [uncond, cond]: projection, ControlNet and UNet."""
    step, given = Step(), comfy_unets.xl_inputs()
    x = step.scaled(model).to(dtype).expand(2, -1, -1, -1)
    identity = torch.stack([torch.zeros_like(faces.identity), faces.identity])
    with torch.no_grad():
        tokens = oracle.projection(identity.to(dtype))
        down, mid = published(
            x,
            torch.tensor(instantid_step.TIMESTEP),
            tokens,
            torch.from_numpy(hint).permute(2, 0, 1)[None].to(dtype).expand(2, -1, -1, -1) / 255,
            conditioning_scale=strength,
            added_cond_kwargs={"text_embeds": given.pooled.to(dtype), "time_ids": given.time_ids},
            return_dict=False,
        )
        return oracle.predict(
            faces,
            replace(given, x=x),
            weight=weight,
            down_block_additional_residuals=down,
            mid_block_additional_residual=mid,
        )


def hint(size=8 * SIDE):
    """The face of `person` in its photo, drawn by OpenCV."""
    return hint_image(np.float32(instantid_step.KPS) * np.float32(size / 112), size, size)


def test_a_step_equals_diffusers_on_both_sides(apply, oracle, published, model):
    faces = person()
    theirs = expected(oracle, published, faces, hint(), model)
    ours = Step()(*apply(faces))
    plain = Step()(model, *prompts(comfy_unets.xl_inputs()))
    without_control = Step()(*apply(faces, control_strength=0.0))
    assert relative_error(plain, theirs) > 0.02 and relative_error(without_control, theirs) > 0.02
    for side in (0, 1):
        assert relative_error(ours[side], theirs[side]) < 1e-4


@pytest.mark.newest
def test_photos_of_one_person_and_a_hint_image_of_another_pose(apply, oracle, published, model):
    faces = person(2)
    pose = np.rot90(hint()).copy()
    one_by_one = faces.identity.unflatten(0, (1, 2))  # their tokens lie end to end

    class Together:
        """The oracle's projection takes a sequence of photos for one of embeddings."""

        def __call__(self, identity):
            return oracle.projection(identity.flatten(0, 1)[:, None]).unflatten(0, (2, 2)).flatten(1, 2)

    step, given = Step(), comfy_unets.xl_inputs()
    x = step.scaled(model).expand(2, -1, -1, -1)
    with torch.no_grad():
        down, mid = published(
            x,
            torch.tensor(instantid_step.TIMESTEP),
            Together()(torch.cat([torch.zeros_like(one_by_one), one_by_one])),
            torch.from_numpy(pose).permute(2, 0, 1)[None].expand(2, -1, -1, -1) / 255,
            conditioning_scale=STRENGTH,
            added_cond_kwargs={"text_embeds": given.pooled, "time_ids": given.time_ids},
            return_dict=False,
        )
    ours = Step()(*apply(faces, weight=0.0, keypoints=torch.from_numpy(pose)[None].float() / 255))
    theirs = oracle.predict(
        faces, replace(given, x=x), weight=0.0, down_block_additional_residuals=down, mid_block_additional_residual=mid
    )
    for side in (0, 1):
        assert relative_error(ours[side], theirs[side]) < 1e-4


@pytest.mark.newest
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_as_near_as_diffusers(apply, oracle, published, model, state, monkeypatch, dtype):
    faces, half = person(), comfy_unets.sdxl(dtype=dtype)
    exact = expected(oracle, published, faces, hint(), model)
    net = copy.deepcopy(published).to(dtype)
    theirs = expected(comfy_unets.Diffusers(half, state, dtype=dtype), net, faces, hint(), half, dtype=dtype)
    ours = Step()(*apply(faces, to=half, control_net=host_control(published, monkeypatch, dtype)))
    assert ours.isfinite().all()
    assert relative_error(ours, exact) < 2 * relative_error(theirs, exact)


@pytest.mark.newest
def test_five_runs_are_the_same_and_leave_what_came_in_as_it_was(apply, model, control_net):
    given = prompts(comfy_unets.xl_inputs())
    before = [[[text.clone(), {**options}] for text, options in each] for each in given]
    weights = {name: t.clone() for name, t in control_net.control_model.state_dict().items()}
    plain = Step()(model, *given)
    first = Step()(*apply(conds=given))
    for _ in range(4):
        assert torch.equal(Step()(*apply(conds=given)), first)
    assert torch.equal(Step()(model, *given), plain)
    for (text, options), (text_before, options_before) in zip([*given[0], *given[1]], [*before[0], *before[1]], strict=True):
        assert torch.equal(text, text_before) and options.keys() == options_before.keys() and "control" not in options
    assert control_net.cond_hint_original is None and control_net.strength == 1.0 and control_net.previous_controlnet is None
    assert all(torch.equal(t, weights[name]) for name, t in control_net.control_model.state_dict().items())
