"""What InstantID costs beside its ControlNet: operations and syncs in a step, and memory."""

import nodes as comfy_nodes
import pytest
import torch

import comfy_unets
import instantid_step
from counting import counted
from instantid_step import caller, host_control, person, prompts, published_control

REAL_SDXL_WIDTHS = 10 * 640 + 60 * 1280  # channels of the 70 blocks, together

pytestmark = pytest.mark.newest


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sdxl()


@pytest.fixture(scope="module")
def adapter(tmp_path_factory):
    return instantid_step.adapter(tmp_path_factory.mktemp("instantid"))


@pytest.fixture(scope="module")
def published():
    return published_control()


@pytest.fixture
def control_net(published, monkeypatch):
    return host_control(published, monkeypatch)


@pytest.fixture
def apply(run, model, adapter, control_net):
    def apply(**inputs):
        positive, negative = prompts(comfy_unets.xl_inputs())
        parts = {"model": model, "instantid": adapter, "control_net": control_net, "face_embeds": person()}
        return run("FaceGenApplyInstantID", **parts, positive=positive, negative=negative, **inputs)

    return apply


def test_a_step_costs_few_operations_and_no_sync_over_the_controlnet(apply, model, adapter, control_net):
    given = comfy_unets.xl_inputs()
    stock = comfy_nodes.ControlNetApplyAdvanced().apply_controlnet
    with_control = stock(*prompts(given), control_net, torch.rand(1, 64, 64, 3), 0.8, 0.0, 1.0)
    plain, waits = counted([caller(model, *with_control, given)])
    for inputs, allowed in (({}, 10), ({"mask": torch.rand(1, 64, 64)}, 10)):
        operations, syncs = counted([caller(*apply(**inputs), given)])
        assert 0 < operations - plain <= allowed * adapter.blocks and syncs == waits


def test_memory_held_while_sampling(apply, adapter):
    """Keys and values of sixteen tokens, conditional and not, once, and the tokens: below 12 MB in fp16."""
    patched, positive, negative = apply()
    caller(patched, positive, negative, comfy_unets.xl_inputs())()
    slots = patched.model_options["transformer_options"]["patches_replace"]["attn2"].values()
    tensors = [t for slot in slots for t in slot.identity.tensors()]
    attention = sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
    control = positive[0][1]["control"]
    context = sum(t.untyped_storage().nbytes() for t in (control.tokens, *control._kept.values()) if t.shape[-1] == 2048)
    assert attention == 2 * 2 * 16 * sum(adapter.widths) * 4
    assert attention / 2 * REAL_SDXL_WIDTHS / sum(adapter.widths) + context < 12e6
