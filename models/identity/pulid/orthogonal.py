"""PuLID's attention to a face in SDXL, for one block: what the block's own attention already holds isn't added again.

A step has some seventy such blocks, and on a GPU each tensor operation costs about as much as the next, whatever its size:
hence as few of them as can be. Source: https://github.com/ToTheBeginning/PuLID (attention_processor.py, ORTHO and ORTHO_v2);
paper arXiv:2404.16022.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention import Copies, IdentityAttention, attended

V2, V1, PLAIN = "orthogonal v2", "orthogonal v1", "plain"
PROJECTIONS = (V2, V1, PLAIN)
IDENTITY_TOKENS = 5  # the first ones; v2 keeps the share of the projection that attention gives to them


class _Copies(Copies):
    """As well what the projection needs, next to nothing in size: a value that is 1 for all tokens but the identity's, and
    float32's 1 and its least number."""

    def __init__(self, key: Tensor, value: Tensor):
        self.others = torch.ones(key.shape[-2:], dtype=key.dtype, device=key.device)
        self.others[:IDENTITY_TOKENS] = 0
        least = torch.finfo(torch.float32).tiny
        self.one, self.least = (torch.full((), n, dtype=torch.float32, device=key.device) for n in (1.0, least))
        super().__init__(key, value)

    def _made(self, sides: Sequence[int], latents: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        key, value = super()._made(sides, latents)
        return key, value, self.others.expand_as(key), self.one, self.least


class OrthogonalAttention(IdentityAttention):
    """Keys and values of a face, added as one of PROJECTIONS says. `num_zero` tokens of zeros draw attention off the face."""

    _kind = _Copies

    def __init__(self, key: Tensor, value: Tensor, heads: int, weight: float = 1.0, projection: str = V2, num_zero: int = 0):
        super().__init__(F.pad(key, (0, 0, 0, num_zero)), F.pad(value, (0, 0, 0, num_zero)), heads, weight)
        self.projection = projection

    def added_to(
        self, own: Tensor, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None, where: Tensor | None = None
    ) -> Tensor:
        """As with every method, but less the face's projection on `own`, or less a part of that. Each channel is projected by
        itself, over all places; in float32, rounded once."""
        if self.projection == PLAIN:
            return super().added_to(own, q, sides, latents, where)
        q_heads, key, value, others, one, least = self.rows(q, sides, latents)
        face = attended(q_heads, key, value, q.shape)
        length = torch.linalg.vector_norm(own, dim=-2, keepdim=True, dtype=torch.float32)
        square = torch.addcmul(least, length, length)  # where a channel of `own` is all zero, nothing lies along it
        along = (own / square * face).sum(dim=-2, keepdim=True)
        if self.projection == V1:
            rest = 1 - along
        else:
            # As published, the scores aren't divided by the square root of a head's width.
            to_others = F.scaled_dot_product_attention(q_heads, key, others, scale=1.0)
            taken = to_others.mean(dim=(1, 3), dtype=torch.float32).view(len(q), -1, 1)
            rest = torch.addcmul(one, taken, along, value=-1)
        # In place, it rounds to the face's dtype as it adds. Gradients need the face as it was.
        both = (face.clone() if face.requires_grad else face).addcmul_(own, rest)
        return both if where is None else torch.lerp(own, both, where)
