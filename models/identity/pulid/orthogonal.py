"""PuLID's attention to a face in SDXL, for one block: what the block's own attention already holds isn't added again.

Source: https://github.com/ToTheBeginning/PuLID (attention_processor.py, ORTHO and ORTHO_v2); paper arXiv:2404.16022.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..attention import IdentityAttention

V2, V1, PLAIN = "orthogonal v2", "orthogonal v1", "plain"
PROJECTIONS = (V2, V1, PLAIN)
IDENTITY_TOKENS = 5  # the first ones; v2 keeps the share of the projection that attention gives to them


class OrthogonalAttention(IdentityAttention):
    """Keys and values of a face, added as one of PROJECTIONS says. `num_zero` tokens of zeros draw attention off the face."""

    def __init__(self, key: Tensor, value: Tensor, heads: int, weight: float = 1.0, projection: str = V2, num_zero: int = 0):
        super().__init__(F.pad(key, (0, 0, 0, num_zero)), F.pad(value, (0, 0, 0, num_zero)), heads, weight)
        self.projection = projection

    def beside(self, own: Tensor, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None) -> Tensor:
        """As with every method, but less what `own` holds already."""
        face = self(q, sides, latents)
        if self.projection == PLAIN:
            return face
        kept = self.share(q, sides, latents) if self.projection == V2 else None
        return without_projection(face, own, kept)

    def share(self, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None) -> Tensor:
        """How much of each query's attention goes to the identity tokens, the mean of all heads, [batch, length, 1]. As
        published, the scores aren't divided by the square root of a head's width."""
        heads, key, _ = self.rows(q, sides, latents)
        scores = (heads @ key.transpose(-2, -1)).softmax(dim=-1, dtype=torch.float32)
        return scores[..., :IDENTITY_TOKENS].sum(dim=-1).mean(dim=1).view(len(q), -1, 1)


def without_projection(face: Tensor, own: Tensor, kept: Tensor | None = None) -> Tensor:
    """`face` [batch, length, width] less its projection on `own`, or less all but `kept` [batch, length, 1] of that.

    Each channel is projected by itself, over all places. Computed in float32.
    """
    added, base = face.float(), own.float()
    square = (base * base).sum(dim=-2, keepdim=True)
    along = (base * added).sum(dim=-2, keepdim=True) / square.clamp_min(torch.finfo(torch.float32).tiny) * base
    return (added - (along if kept is None else (1 - kept) * along)).to(face.dtype)
