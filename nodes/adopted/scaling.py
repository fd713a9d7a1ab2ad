"""ComfyUI_IPAdapter_plus's ways to weigh a face, put into the keys and values that our attention takes.

Source: ipadapter_attention in that pack's CrossAttentionPatch.py, of which only the arithmetic is here.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ...adoption.packs.ip_adapter import K_MEAN_V, K_V, K_V_PENALTY
from ...adoption.packs.weight_types import Place, Weight
from ...models.identity.blocks import CrossAttention

PENALTY_WIDTH = 1280  # channels by which "C penalty" divides a block's

KeysValues = list[tuple[Tensor, Tensor]]


def places(blocks: Sequence[CrossAttention]) -> list[Place]:
    """Of the blocks along the forward pass: blocks of one spatial transformer have one place."""
    found: dict[tuple[str | int, ...], int] = {}
    along = sorted(blocks, key=lambda block: block.depth)
    return [Place(str(block.key[0]), found.setdefault(block.key[:2], len(found))) for block in along]


def weighed(
    keys_values: KeysValues, blocks: Sequence[CrossAttention], weights: Sequence[Weight], how: str, tokens: int
) -> tuple[KeysValues, list[float]]:
    """Keys and values [2, m, tokens, width] of each of `blocks`, and the weights along the forward pass that are left to apply.

    weights: along the forward pass. how: an entry of ip_adapter.SCALINGS. tokens: of one face, of which there may be several.
    """
    made, left = [], [0.0] * len(blocks)
    for block, (key, value) in zip(blocks, keys_values, strict=True):
        weight, swapped = weights[block.depth]
        if swapped:
            key, value = _on_the_other_side(key), _on_the_other_side(value)
        if weight and how in (K_V, K_V_PENALTY, K_MEAN_V):
            weight *= block.width / PENALTY_WIDTH if how != K_V else 1
            kept = value - _mean(value, tokens) if how == K_MEAN_V else torch.zeros_like(value)
            value = kept + (value - kept) * weight
            key, weight = key * weight, 1.0
        made.append((key, value))
        left[block.depth] = weight
    return made, left


def _mean(value: Tensor, tokens: int) -> Tensor:
    """Of each face's tokens, in the shape of `value`."""
    faces = torch.unflatten(value, -2, (-1, tokens))
    return faces.mean(dim=-2, keepdim=True).expand_as(faces).flatten(-3, -2)


def _on_the_other_side(t: Tensor) -> Tensor:
    """The conditional side's on the unconditional side, and nothing in its place."""
    return torch.stack([torch.zeros_like(t[0]), t[0]])
