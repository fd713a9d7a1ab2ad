"""A face on a model that is on several devices, moves between them, or isn't resident: its tensors follow."""

import gc

import pytest
import torch

import comfy_unets
from comfy_sampling import guider, people, sample
from facegen.models.identity.attention import KEPT_LAYOUTS, IdentityAttention
from facegen.nodes.host.sampling.mask_region import KEPT_SIZES, Region
from facegen.nodes.host.sampling.rows import Chunks
from faceid_files import relative_error

META = torch.device("meta")  # a second device that every machine has; what is on it has a shape and no numbers


@pytest.fixture
def on_two_devices(apply):
    """apply(…), with a deep clone for a second device, as the host's node for several GPUs makes it."""

    def make(**inputs):
        model = comfy_unets.sd15()
        if not hasattr(model, "deepclone_multigpu"):
            pytest.skip("this ComfyUI works on one device")
        model.cached_patcher_init = (comfy_unets.sd15, ())
        patched = apply(to=model, **inputs)
        second = patched.deepclone_multigpu(new_load_device=torch.device("cpu", 0))  # by name another than "cpu"
        second.is_multigpu_base_clone = True
        patched.set_additional_models("multigpu", [second])
        return patched

    return make


WAYS = {
    "face": {},
    "percent range": {"end_percent": 0.5},
    "mask and people": {"faces": people(2), "mask": torch.eye(8).repeat(2, 1, 1)},
}


@pytest.mark.parametrize("way", WAYS)
def test_work_units(apply, on_two_devices, sides, way):
    """The host's own threads, one for each device: conditional on one, unconditional on the other, at the same time."""
    patched = on_two_devices(**WAYS[way])
    given = sample(guider(patched), batch=2, steps=4)
    assert set(sides) == {(0,), (1,)}
    assert relative_error(given, sample(guider(apply(**WAYS[way])), batch=2, steps=4)) < 1e-5


def test_a_copy_for_each_device():
    key, value, q = (torch.randn(2, n, 4, 32) for n in (2, 2, 1))
    attention, q = IdentityAttention(key, value, 4), torch.randn(2, 6, 32)
    expected = attention(q, (1, 0))
    attention.to(META)
    assert attention(q.to(META), (1, 0)).device == META
    assert torch.equal(attention(q, (1, 0)), expected)
    assert {t.device.type for t in attention.tensors()} == {"cpu", "meta"}
    attention.to(torch.device("cpu"))
    assert {t.device.type for t in attention.tensors()} == {"cpu"}
    half = attention(q.half(), (1, 0))
    assert half.dtype == torch.half and torch.equal(attention(q, (1, 0)), expected)


def test_a_neighbour_that_moves_is_not_moved_in_place(apply, model):
    """Threads of several devices ask the same patch to move; each gets one with the neighbour on its own device."""

    class Moving:
        def __init__(self, device="cpu"):
            self.device = torch.device(device)

        def __call__(self, q, k, v, options):
            return q

        def to(self, where):
            return Moving(where) if isinstance(where, torch.device) else self

    other = model.clone()
    other.set_model_attn2_replace(Moving(), "middle", 0, 0)
    patch = apply(to=other).model_options["transformer_options"]["patches_replace"]["attn2"]["middle", 0, 0]
    moved = patch.to(META)
    assert moved is not patch and moved.identity is patch.identity
    assert moved.previous.device == META and patch.previous.device.type == "cpu"
    assert patch.to(torch.float16).previous is patch.previous


def window(number):
    """A call for the latents `number` and the next."""
    return Chunks((1, 0), (None, None), (number, number + 1) * 2)


def tensors():
    gc.collect()
    return sum(type(thing) is torch.Tensor for thing in gc.get_objects())


def test_windows_that_move_in_each_step_do_not_pile_up():
    """What is laid out for a window is kept, for as many as a sampling usually has."""
    attention = IdentityAttention(torch.randn(2, 3, 4, 32), torch.randn(2, 3, 4, 32), 4)
    q, region = torch.randn(4, 6, 32), Region(torch.rand(2, 8, 8))
    before = tensors()
    for number in range(400):
        attention(q, (1, 0), (number, number + 1) * 2)
        region.weights(q, (2, 3), window(number))
    assert tensors() <= before + 2 * KEPT_LAYOUTS + KEPT_SIZES


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU: CUDA graphs are captured on one")
def test_a_captured_graph_replays_the_face():
    """After a warm-up all that a call needs is in place, so a graph that is captured may be replayed with other queries."""
    attention = IdentityAttention(torch.randn(2, 2, 4, 64), torch.randn(2, 2, 4, 64), 4)
    attention.to(torch.device("cuda"))
    q = torch.randn(4, 16, 64, device="cuda")
    attention(q, (1, 0), (0, 1, 0, 1))
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = attention(q, (1, 0), (0, 1, 0, 1))
    q.copy_(torch.randn_like(q))
    graph.replay()
    assert relative_error(captured, attention(q, (1, 0), (0, 1, 0, 1))) < 1e-5
