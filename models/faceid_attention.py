"""Decoupled cross-attention to identity tokens, for one block (arXiv:2308.06721, section 3.2.2).

The block's own attention runs as ever; this adds `weight * Attention(Q, K_id, V_id)`. The weight is folded into V, the
keys and values come ready, and latents that share a face share its keys: a step costs one small SDPA and an addition.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class IdentityAttention:
    """Keys and values of a face, kept once, on the device and in the dtype of the queries that came last.

    key, value  [2, m, tokens, width]: side 0 conditional, 1 unconditional; m identities, one for all or one per latent.
    heads       number of attention heads.
    """

    def __init__(self, key: Tensor, value: Tensor, heads: int, weight: float = 1.0):
        # Unconditional first, as hosts batch the two: what a step needs is then a view.
        self.key, self.value = (
            t.flip(0).unflatten(-1, (heads, -1)).transpose(2, 3).contiguous() for t in (key, value * weight)
        )
        self._layouts = {}

    def __call__(self, q: Tensor, sides: Sequence[int]) -> Tensor:
        """What to add to the block's attention.

        q      [batch, length, width]: queries, the batch being len(sides) chunks of equal size.
        sides  for each chunk 0 if it is conditional, anything else if unconditional.
        """
        batch, length, width = q.shape
        if self.key.device != q.device or self.key.dtype != q.dtype:
            self.to(q)
        layout = (*sides, batch)
        if layout not in self._layouts:  # more than one where conditional and unconditional runs alternate
            self._layouts[layout] = [self._lay_out(t, sides, batch) for t in (self.key, self.value)]
        key, value = self._layouts[layout]
        rows, heads = key.shape[:2]
        # Latents with the same face lie end to end in one row, so its keys need no copy for each.
        q = q.view(rows, batch // rows * length, heads, width // heads).transpose(1, 2)
        return F.scaled_dot_product_attention(q, key, value).transpose(1, 2).reshape(batch, length, width)

    def _lay_out(self, t: Tensor, sides: Sequence[int], batch: int) -> Tensor:
        """[2, m, heads, tokens, d] -> [rows, heads, tokens, d], a row for each chunk or, with m faces, for each latent."""
        order = [0 if side else 1 for side in sides]
        if t.shape[1] == 1:
            t = t[:, 0]
            return t[order[0] : order[-1] + 1] if order in ([0], [1], [0, 1]) else t[order]
        latents = batch // len(sides)
        faces = [i % t.shape[1] for i in range(latents)]
        return torch.cat([t[side, faces] for side in order])

    def to(self, like: Tensor | torch.device) -> None:
        """Move keys and values; nothing stays where they were."""
        self._layouts.clear()
        self.key, self.value = self.key.to(like), self.value.to(like)
