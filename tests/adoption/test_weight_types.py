"""What ComfyUI_IPAdapter_plus's weight types and scalings do, by its own formulas, on random numbers."""

import math

import pytest
import torch

from facegen.adoption.packs import ip_adapter, weight_types
from facegen.adoption.packs.weight_types import Place, block_weights, usual_places
from facegen.models.identity.attention import IdentityAttention
from facegen.models.identity.blocks import CrossAttention
from facegen.nodes.adopted.scaling import places, weighed

W = 0.7
# Place -> weight, as the pack writes them down; (place, …) in SWAPPED act on the unconditional side.
FIRST, LAST = dict.fromkeys(range(4), W), dict.fromkeys(range(9, 16), W)
PICKED = {
    ("style transfer", "sd15"): FIRST | LAST,
    ("style transfer", "sdxl"): {6: W},
    ("composition", "sd15"): {4: W * 0.25, 5: W},
    ("composition", "sdxl"): {3: W},
    ("strong style transfer", "sd15"): FIRST | dict.fromkeys(range(6, 16), W),
    ("strong style transfer", "sdxl"): dict.fromkeys((0, 1, 2, 4, 5, 6, 7, 8, 9, 10), W),
    ("style and composition", "sd15"): FIRST | {4: 0.25, 5: 1.0} | LAST,
    ("style and composition", "sdxl"): {3: 1.0, 6: W},
    ("style transfer precise", "sd15"): FIRST | {4: W * 0.25, 5: W} | LAST,
    ("style transfer precise", "sdxl"): {3: W, 6: W},
    ("composition precise", "sd15"): FIRST | {4: W * 0.25, 5: W} | dict.fromkeys((6, 7, 8), W * 0.1) | LAST,
    ("composition precise", "sdxl"): dict.fromkeys(range(11), W * 0.1) | {3: W, 6: W},
}
SWAPPED = {
    ("style transfer precise", "sd15"): {4, 5},
    ("style transfer precise", "sdxl"): {3},
    ("composition precise", "sd15"): set(range(16)) - {4, 5},
    ("composition precise", "sdxl"): set(range(11)) - {3},
}


def formula(kind, base, place):
    """Of the pack's attention, for what isn't a table."""
    layers = {"sd15": 16, "sdxl": 11}[base]
    t, half = place.number, layers / 2
    if kind == "ease in":
        return W * (0.05 + 0.95 * (1 - t / layers))
    if kind == "ease out":
        return W * (0.05 + 0.95 * (t / layers))
    if kind == "ease in-out":
        return W * (0.05 + 0.95 * (1 - abs(t - half) / half))
    if kind == "reverse in-out":
        return W * (0.05 + 0.95 * (abs(t - half) / half))
    weak = {"weak input": ["input"], "weak output": ["output"], "weak middle": ["middle"], "strong middle": ["input", "output"]}
    return W * 0.2 if place.part in weak.get(kind, ()) else W


@pytest.mark.parametrize("base", ip_adapter.BASES)
@pytest.mark.parametrize("kind", ip_adapter.WEIGHT_TYPES)
def test_weights(kind, base):
    where = usual_places(base)
    table = PICKED.get((kind, base))
    for place, given in zip(where, block_weights(kind, W, base, where), strict=True):
        wanted = formula(kind, base, place) if table is None else table.get(place.number, 0.0)
        assert given.weight == pytest.approx(wanted, abs=1e-12), place
        assert given.swapped == (place.number in SWAPPED.get((kind, base), ())) or given.weight == 0


def test_every_picked_type_has_its_table():
    assert set(weight_types._PICKED) == {kind for kind, _ in PICKED}


def test_places_of_the_published_models():
    assert [len(usual_places(base)) for base in ip_adapter.BASES] == [16, 70]
    assert usual_places("sd15")[6] == Place("middle", 6) and usual_places("sdxl")[24] == Place("middle", 4)
    # Blocks of one spatial transformer have one place; the order that they come in doesn't count.
    blocks = [block(("output", 3, 1), 4), block(("input", 1, 0), 0), block(("middle", 0, 0), 2), block(("output", 3, 0), 3)]
    blocks += [block(("input", 1, 1), 1)]
    assert places(blocks) == [Place("input", 0)] * 2 + [Place("middle", 1)] + [Place("output", 2)] * 2


def block(key, depth=0, width=32):
    return CrossAttention(key, "", width, 4, depth)


def attention(q, key, value, heads):
    split = [torch.unflatten(t, -1, (heads, -1)).transpose(1, 2) for t in (q, key, value)]
    weights = (split[0] @ split[1].transpose(-1, -2) / math.sqrt(split[0].shape[-1])).softmax(-1)
    return (weights @ split[2]).transpose(1, 2).flatten(2)


def theirs(q, key, value, weight, how, heads, tokens):
    """What the pack adds for one side: key and value [1, tokens of all faces, width]."""
    if "penalty" in how:
        weight = weight * key.shape[-1] / 1280
    if how == ip_adapter.K_MEAN_V:
        faces = value.reshape(-1, tokens, value.shape[-1])
        mean = faces.mean(dim=1, keepdim=True)
        return attention(q, key * weight, ((faces - mean) + mean * weight).reshape(value.shape), heads)
    if how == ip_adapter.V_ONLY:
        return attention(q, key, value, heads) * weight
    return attention(q, key * weight, value * weight, heads)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("faces", [1, 3])
@pytest.mark.parametrize("how", ip_adapter.SCALINGS)
def test_scalings(how, faces, swapped):
    g = torch.Generator().manual_seed(1)
    tokens, one = 4, block(("input", 1, 0))
    key, value = (torch.randn(2, 1, faces * tokens, one.width, generator=g) for _ in range(2))
    q = torch.randn(2, 5, one.width, generator=g)
    ((k, v),), (left,) = weighed([(key, value)], [one], [weight_types.Weight(W, swapped)], how, tokens)
    given = IdentityAttention(k, v, one.heads, left)(q, (1, 0))  # unconditional first
    for row, side in ((0, 1), (1, 0)):
        if swapped and side == 0:
            assert not given[row].any()
            continue
        wanted = theirs(q[row : row + 1], *(t[0 if swapped else side] for t in (key, value)), W, how, one.heads, tokens)
        assert torch.allclose(given[row : row + 1], wanted, atol=1e-5)


def test_weight_zero_leaves_nothing_to_do():
    one = block(("input", 1, 0))
    key = torch.randn(2, 1, 4, one.width)
    for how in ip_adapter.SCALINGS:
        assert weighed([(key, key)], [one], [weight_types.Weight(0.0)], how, 4)[1] == [0.0]
