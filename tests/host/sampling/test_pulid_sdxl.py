"""PuLID on ComfyUI's SDXL, at its real topology and reduced width, against the plain reference in each attention."""

import contextlib

import pytest
import torch

import comfy_unets
import pulid_reference as reference
from counting import Count
from facegen.errors import WrongBaseModelError
from facegen.models.identity.pulid.adapter import PulidAdapter
from facegen.models.identity.pulid.orthogonal import PLAIN, PROJECTIONS, V1, V2
from faceid_files import relative_error
from pulid_files import flux_state, save, sdxl_state, seen_faces


@pytest.fixture(scope="module")
def model():
    return comfy_unets.sdxl()


@pytest.fixture(scope="module")
def state():
    return sdxl_state(comfy_unets.XL_WIDTHS, 2048, depth=5)


@pytest.fixture(scope="module")
def adapter(state, tmp_path_factory):
    return PulidAdapter(save(state, tmp_path_factory.mktemp("pulid") / "any name.safetensors"))


@pytest.fixture
def apply(model, adapter):
    # After the host is there.
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid

    return lambda faces=None, to=None, **settings: apply_pulid(to or model, adapter, faces or seen_faces(), **settings)


def predict(patcher):
    given = comfy_unets.xl_inputs()
    return comfy_unets.predict(patcher, given.x, given.context, y=given.y)


@pytest.fixture(scope="module")
def plain(model):
    """What the model predicts without a face."""
    with torch.inference_mode():
        return predict(model)


@pytest.fixture(scope="module")
def plain_operations(model):
    return counted(model)[0]


@contextlib.contextmanager
def hooked(model, state, tokens, sides, **settings):
    """Within, each cross-attention adds what the reference says; by torch's hooks, of which ComfyUI knows nothing."""
    unet, handles, queries = model.model.diffusion_model, [], {}
    for number, (part, block, layer) in enumerate(comfy_unets.XL_BLOCKS):
        parts = {"input": "input_blocks", "output": "output_blocks"}
        spatial = unet.middle_block[1] if part == "middle" else getattr(unet, parts[part])[block][1]
        attention = spatial.transformer_blocks[layer].attn2

        def keep(_module, _args, out, number=number):
            queries[number] = out

        def add(_module, args, number=number, heads=attention.heads):
            rows = [
                reference.sdxl_addition(state, number, tokens[side][0], own, q, heads, **settings)
                for side, own, q in zip(sides, args[0], queries[number], strict=True)
            ]
            return (args[0] + torch.stack(rows),)

        handles += [attention.to_q.register_forward_hook(keep), attention.to_out.register_forward_pre_hook(add)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize(("projection", "num_zero"), [(projection, n) for projection in PROJECTIONS for n in (0, 8)])
def test_sdxl_equals_the_reference_on_both_sides(apply, model, plain, adapter, state, projection, num_zero):
    settings = {"weight": 0.8, "projection": projection, "num_zero": num_zero}
    given = predict(apply(**settings))
    with hooked(model, state, adapter.tokens(seen_faces()), (1, 0), **settings):
        wanted = predict(model)
    for row in (0, 1):  # unconditional, conditional
        assert relative_error(given[row], wanted[row]) < 1e-4
        assert relative_error(plain[row], wanted[row]) > 0.001


def counted(patcher):
    """(operations, syncs) of a call, as `identity_overhead.py` counts them."""
    given = comfy_unets.xl_inputs()
    call = comfy_unets.caller(patcher, given.x, given.context, y=given.y)
    with torch.inference_mode():
        call()
        with Count() as count:
            call()
    return len(count.names), count.syncs


@pytest.mark.parametrize(("projection", "operations", "masked"), [(V2, 15, 16), (V1, 12, 13), (PLAIN, 6, 6)])
def test_a_call_costs_few_operations_and_no_sync(apply, plain_operations, adapter, projection, operations, masked):
    """On a GPU their number counts, not what they compute."""
    assert counted(apply(projection=projection)) == (plain_operations + operations * adapter.blocks, 0)
    assert counted(apply(projection=projection, mask=torch.eye(8))) == (plain_operations + masked * adapter.blocks, 0)


def test_disconnecting_restores_and_runs_are_alike(apply, model, plain):
    first = predict(apply())
    assert torch.equal(predict(apply()), first) and torch.equal(predict(model), plain)


def test_the_face_acts_only_in_its_mask(apply, plain):
    """Black all over is no face; half of it is neither none nor all."""
    whole = predict(apply())
    left = torch.zeros(64, 64)
    assert torch.equal(predict(apply(mask=left)), plain)
    left[:, :32] = 1
    half = predict(apply(mask=left))
    assert relative_error(half, plain) > 1e-3 and relative_error(half, whole) > 1e-3
    assert torch.equal(predict(apply(mask=torch.ones(8, 8))), whole)


def test_a_file_for_flux_is_refused(model, tmp_path):
    from facegen.nodes.host.sampling.methods.pulid import apply_pulid

    flux = PulidAdapter(save(flux_state(4), tmp_path / "flux.safetensors"))
    with pytest.raises(
        WrongBaseModelError, match=r"pulid_flux adapter, made for FLUX\.1 .* model is a UNet \(70 cross-attention"
    ):
        apply_pulid(model, flux, seen_faces())
