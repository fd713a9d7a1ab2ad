"""What another pack stacks onto our patches stays in its own clone, on hosts that copy a model's options deeply and on those
that don't."""

import gc

import pytest
import torch

import comfy_unets
from facegen.models.face.embeds import FaceEmbeds
from facegen.models.identity.faceid.adapter import FaceIDAdapter
from facegen.nodes.host.attention_patch import FaceIDPatch
from faceid_files import faceid_state, save

MIDDLE = ("middle", 0, 0)


@pytest.fixture(scope="module")
def patched(run, tmp_path_factory):
    """An SD1.5 model with a face on it."""
    adapter = FaceIDAdapter(
        save(faceid_state(comfy_unets.WIDTHS, clip_dim=None), tmp_path_factory.mktemp("faceid") / "adapter.safetensors")
    )
    face = FaceEmbeds(torch.randn(1, 512, generator=torch.Generator().manual_seed(3)))
    inputs = {"model": comfy_unets.sd15(), "faceid": adapter, "face_embeds": face, "lora_strength": 0.0}
    return run("FaceGenApplyFaceID", **inputs)[0]


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
