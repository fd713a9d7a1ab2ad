"""What another pack stacks onto our patches stays in its own clone, on hosts that copy a model's options deeply and on those
that don't."""

import gc

import pytest
import torch

import comfy_unets
from comfy_sampling import POSITIVE, RegionalPrompts, face, guider, prompt, sample, windowed
from facegen.nodes.host.sampling.attention_patch import FacePatch
from faceid_files import relative_error

MIDDLE = ("middle", 0, 0)


@pytest.fixture(scope="module")
def patched(apply):
    """An SD1.5 model with a face on it."""
    return apply()


def stack(model):
    """Another IP-Adapter pack's node after ours: it clones the model and adds to the patch that it finds."""
    clone = model.clone()
    clone.model_options["transformer_options"]["patches_replace"]["attn2"][MIDDLE].add(lambda out, q, *_, **__: 0.5 * q)
    return clone


def alive():
    """(patches, tensors) of this process."""
    gc.collect()
    things = gc.get_objects()
    return sum(type(thing) is FacePatch for thing in things), sum(type(thing) is torch.Tensor for thing in things)


def test_chained_and_taken_away_twenty_times_the_first_model_is_as_it_was(apply, patched):
    """By other packs and by another face of ours, and sampled each time: on other devices, in windows, in regions."""
    x, context = comfy_unets.inputs()
    before, sampled = comfy_unets.predict(patched, x, context), sample(guider(patched), batch=2)
    other = comfy_unets.predict(stack(patched), x, context)
    assert not torch.equal(other, before)
    mask, count = torch.eye(8), None
    for turn in range(20):
        if turn == 2:  # all that is kept is there
            count = alive()
        chained = stack(apply(to=stack(patched), faces=face(4), mask=mask, end_percent=0.5))
        chained = windowed(RegionalPrompts([prompt(POSITIVE)[0][0]], mask[None].repeat(2, 1, 1) / 2).onto(chained), 1)
        if turn in (0, 1, 19):
            sample(guider(chained), batch=2)
        chained.model_patches_to(torch.device("meta")), chained.model_patches_to(torch.device("cpu"))
        chained.clone()
        del chained
    assert alive() == count
    assert torch.equal(comfy_unets.predict(stack(patched), x, context), other)
    assert torch.equal(comfy_unets.predict(patched, x, context), before)
    assert torch.equal(sample(guider(patched), batch=2), sampled)


def test_clones_share_keys_and_values(patched):
    """Only what is added is copied: a clone costs no memory."""
    patches, others = (
        m.model_options["transformer_options"]["patches_replace"]["attn2"] for m in (patched, stack(patched.clone()))
    )
    assert all(others[key] is not patch and others[key].identity is patch.identity for key, patch in patches.items())


def half(q, k, v, options):
    """Another pack's attention, which calls nothing that was there before."""
    return q * 0.5


@pytest.mark.parametrize("block", [("input", 4), ("input", 4, 0)], ids=["by its block", "by its layer"])
def test_what_replaces_attention_without_asking_counts_in_either_order(apply, model, block):
    """Some packs for regional prompts put their own attention into the slot, or name the whole block, which the host passes
    over where a layer has one of its own: neither the face nor theirs is lost."""

    def onto(patched):
        clone = patched.clone()
        clone.set_model_attn2_replace(half, *block)
        return clone

    def two_faces(to):
        return apply(to=apply(to=to), faces=face(4))

    expected = sample(guider(two_faces(onto(model))))
    assert torch.equal(sample(guider(onto(two_faces(model)))), expected)
    assert torch.equal(sample(guider(apply(to=onto(apply()), faces=face(4)))), expected)
    for other in (two_faces(model), onto(model), onto(apply())):
        assert relative_error(sample(guider(other)), expected) > 1e-3


def test_a_pack_that_calls_what_was_there_gets_the_face_once(apply):
    patched, outer = apply(), apply().clone()
    slot = outer.model_options["transformer_options"]["patches_replace"]["attn2"][MIDDLE]
    outer.set_model_attn2_replace(lambda *args: slot(*args) * 1.0, *MIDDLE)
    assert torch.equal(sample(guider(outer)), sample(guider(patched)))
