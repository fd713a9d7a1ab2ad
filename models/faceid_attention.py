"""Decoupled cross-attention to identity tokens, for one block (arXiv:2308.06721, section 3.2.2).

The block's own attention runs as ever; this adds `weight * Attention(Q, K_id, V_id)`. The weight is folded into V, the
keys and values come ready, and laying them out for a batch happens once, so a step costs one small SDPA and an addition.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class IdentityAttention:
    """key, value: [2, m, tokens, width]; side 0 conditional, 1 unconditional; m identities, one or one per latent."""

    def __init__(self, key: Tensor, value: Tensor, weight: float = 1.0):
        self.key = key
        self.value = value * weight
        self._layouts = {}

    def __call__(self, q: Tensor, heads: int, sides: Sequence[int]) -> Tensor:
        """What to add to the block's attention.

        q      [batch, length, width]: queries, the batch being len(sides) chunks of equal size.
        heads  number of attention heads.
        sides  for each chunk 0 if it is conditional, anything else if unconditional.
        """
        batch, length, width = q.shape
        layout = (tuple(sides), batch, heads, q.dtype, q.device)
        if layout not in self._layouts:  # more than one where conditional and unconditional runs alternate
            self._layouts[layout] = [self._lay_out(t, *layout) for t in (self.key, self.value)]
        q = q.view(batch, length, heads, width // heads).transpose(1, 2)
        return F.scaled_dot_product_attention(q, *self._layouts[layout]).transpose(1, 2).reshape(batch, length, width)

    def _lay_out(self, t: Tensor, sides: tuple, batch: int, heads: int, dtype: torch.dtype, device: torch.device) -> Tensor:
        """[2, m, tokens, width] -> [batch, heads, tokens, width / heads], chunk by chunk in the batch's own order."""
        per_chunk = batch // len(sides)
        repeats = -(-per_chunk // t.shape[1])
        chunks = [t[0 if side == 0 else 1].repeat(repeats, 1, 1)[:per_chunk] for side in sides]
        laid = torch.cat(chunks).unflatten(-1, (heads, -1)).transpose(1, 2)
        return laid.to(device=device, dtype=dtype).contiguous()

    def forget(self) -> None:
        """Let go of the batch layouts, and with them of device memory; the next call lays out again."""
        self._layouts.clear()
