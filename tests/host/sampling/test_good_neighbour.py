"""What another pack stacks onto our patches stays in its own clone, on hosts that copy a model's options deeply and on those
that don't."""

import gc

import pytest
import torch

import comfy_unets
from facegen.nodes.host.sampling.attention_patch import FaceIDPatch

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


def test_chained_and_taken_away_twenty_times_the_first_model_is_as_it_was(patched):
    x, context = comfy_unets.inputs()
    before = comfy_unets.predict(patched, x, context)
    other = comfy_unets.predict(stack(patched), x, context)
    assert not torch.equal(other, before)
    count = None
    for _ in range(20):
        chained = stack(stack(patched))
        chained.clone()
        del chained
        gc.collect()
        alive = sum(isinstance(thing, FaceIDPatch) for thing in gc.get_objects())
        count = count or alive
        assert alive == count
    assert torch.equal(comfy_unets.predict(stack(patched), x, context), other)
    assert torch.equal(comfy_unets.predict(patched, x, context), before)


def test_clones_share_keys_and_values(patched):
    """Only what is added is copied: a clone costs no memory."""
    patches, others = (
        m.model_options["transformer_options"]["patches_replace"]["attn2"] for m in (patched, stack(patched.clone()))
    )
    assert all(others[key] is not patch and others[key].identity is patch.identity for key, patch in patches.items())
