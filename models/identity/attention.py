"""Decoupled cross-attention to identity tokens, for one block (arXiv:2308.06721, section 3.2.2).

The block's own attention runs as ever; this adds `weight * Attention(Q, K_id, V_id)`. The weight is folded into V, the
keys and values come ready, and latents that share a face share its keys: a step costs one small SDPA and an addition.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class IdentityAttention:
    """Keys and values of a face, kept once, on the device and in the dtype of the queries.

    key, value  [2, m, tokens, width]: side 0 conditional, 1 unconditional; m identities, one for all or one per latent.
    heads       number of attention heads.
    """

    def __init__(self, key: Tensor, value: Tensor, heads: int, weight: float = 1.0):
        # Unconditional first, as hosts batch the two: what a step needs is then a view.
        self.key, self.value = (
            torch.unflatten(t.flip(0), -1, (heads, -1)).transpose(2, 3).contiguous() for t in (key, value * weight)
        )
        self._lay_out_usual()

    def __call__(self, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None) -> Tensor:
        """What to add to the block's attention.

        q        [batch, length, width]: queries, the batch being len(sides) chunks of equal size.
        sides    for each chunk 0 if it is conditional, 1 if unconditional.
        latents  numbers of a chunk's latents, which say whose face each gets; from 0 if not given.
        """
        batch, length, width = q.shape
        if self.key.device != q.device or self.key.dtype != q.dtype:
            self.to(q)
        one = self.key.shape[1] == 1
        latents = None if one else tuple(latents or range(batch // len(sides)))
        layout = (tuple(sides), latents)
        if layout not in self._layouts:  # more than one where conditional and unconditional runs alternate
            self._layouts[layout] = [self._lay_out(t, sides, latents) for t in (self.key, self.value)]
        key, value = self._layouts[layout]
        rows, heads = key.shape[:2]
        # Latents with the same face lie end to end in one row, so its keys need no copy for each.
        q = q.view(rows, batch // rows * length, heads, width // heads).transpose(1, 2)
        return F.scaled_dot_product_attention(q, key, value).transpose(1, 2).reshape(batch, length, width)

    def _lay_out_usual(self) -> None:
        """The usual layouts of one face for all, made here so that a compiled step finds them and is not compiled again."""
        self._layouts: dict[tuple[object, ...], list[Tensor]] = {}
        if self.key.shape[1] == 1:
            for sides in ((1, 0), (1,), (0,)):
                self._layouts[sides, None] = [self._lay_out(t, sides, None) for t in (self.key, self.value)]

    @staticmethod
    def _lay_out(t: Tensor, sides: Sequence[int], latents: Sequence[int] | None) -> Tensor:
        """[2, m, heads, tokens, d] -> [rows, heads, tokens, d], a row for each chunk or, with m faces, for each latent."""
        order = [1 - side for side in sides]
        if latents is None:
            t = t[:, 0]
            return t[order[0] : order[-1] + 1] if order in ([0], [1], [0, 1]) else t[order]
        return torch.cat([t[side, [number % t.shape[1] for number in latents]] for side in order])

    def tensors(self) -> list[Tensor]:
        """All that is kept: keys, values and how they are laid out, which is mostly views of them."""
        return [self.key, self.value, *(t for pair in self._layouts.values() for t in pair)]

    def to(self, like: Tensor | torch.device | torch.dtype) -> None:
        """Move or convert keys and values; nothing stays where or as it was."""
        self.key, self.value = self.key.to(like), self.value.to(like)
        self._lay_out_usual()
