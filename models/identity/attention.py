"""Decoupled cross-attention to identity tokens, for one block (arXiv:2308.06721, section 3.2.2).

The block's own attention runs as ever; this adds `weight * Attention(Q, K_id, V_id)`. The weight is folded into V, the
keys and values come ready, and latents that share a face share its keys: a step costs one small SDPA and an addition.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

KEPT_LAYOUTS = 16  # a sampling has a few; windows that move in each step would have ever more


class Copies:
    """Keys and values [2, m, heads, tokens, d] on one device, and as the rows of a call need them."""

    def __init__(self, key: Tensor, value: Tensor):
        self.key, self.value = key, value
        self.one_face = key.shape[1] == 1
        self._layouts = self._usual()

    def laid_out(self, sides: tuple[int, ...], latents: tuple[int, ...] | None) -> tuple[Tensor, ...]:
        """Key and value [rows, heads, tokens, d], a row for each chunk or, with several faces, for each row of the batch; and
        what a method needs beside them."""
        return self._layouts.get((sides, latents)) or self._new(sides, latents)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _new(self, sides: tuple[int, ...], latents: tuple[int, ...] | None) -> tuple[Tensor, ...]:
        if len(self._layouts) >= KEPT_LAYOUTS:
            self._layouts = self._usual()
        made = self._made(sides, latents)
        self._layouts[sides, latents] = made
        return made

    def _made(self, sides: Sequence[int], latents: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        return self._lay_out(self.key, sides, latents), self._lay_out(self.value, sides, latents)

    def _usual(self) -> dict[tuple[object, ...], tuple[Tensor, ...]]:
        """The usual layouts of one face for all, so that a compiled step finds them and is not compiled again."""
        usual = ((1, 0), (1,), (0,)) if self.one_face else ()
        return {(sides, None): self._made(sides) for sides in usual}

    @staticmethod
    def _lay_out(t: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None) -> Tensor:
        order = [1 - side for side in sides]
        if latents is None:
            t = t[:, 0]
            return t[order[0] : order[-1] + 1] if order in ([0], [1], [0, 1]) else t[order]
        per_chunk = len(latents) // len(sides)
        return t[[side for side in order for _ in range(per_chunk)], [number % t.shape[1] for number in latents]]

    def tensors(self) -> list[Tensor]:
        return [self.key, self.value, *(t for made in self._layouts.values() for t in made)]


class IdentityAttention:
    """Keys and values of a face, with a copy on each device and in each dtype that queries come in.

    key, value  [2, m, tokens, width]: side 0 conditional, 1 unconditional; m identities, one for all or one per latent.
    heads       number of attention heads.
    """

    _kind: type[Copies] = Copies  # what is kept for each device and dtype

    def __init__(self, key: Tensor, value: Tensor, heads: int, weight: float = 1.0):
        # Unconditional first, as hosts batch the two: what a step needs is then a view.
        key, value = (torch.unflatten(t.flip(0), -1, (heads, -1)).transpose(2, 3).contiguous() for t in (key, value * weight))
        self._settle(key, value)

    def __call__(self, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None) -> Tensor:
        """The attention to the face alone, [batch, length, width].

        q        [batch, length, width]: queries, the batch being len(sides) chunks of equal size.
        sides    for each chunk 0 if it is conditional, 1 if unconditional.
        latents  for each row of the batch the number of its latent, which says whose face it gets; if not given, each
                 chunk's are numbered from 0.
        """
        q_heads, key, value, *_ = self.rows(q, sides, latents)
        return attended(q_heads, key, value, q.shape)

    def added_to(
        self, own: Tensor, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None, where: Tensor | None = None
    ) -> Tensor:
        """The block's own attention `own` [batch, length, width] with the face added.

        where  how much of the face each place gets, [batch or 1, length, 1] (0-1); if not given, all. Rest: as for a call.
        """
        face = self(q, sides, latents)
        return own + face if where is None else torch.addcmul(own, face, where)

    def rows(self, q: Tensor, sides: Sequence[int], latents: Sequence[int] | None = None) -> tuple[Tensor, ...]:
        """Queries by rows and heads, [rows, heads, length, d], and what the copies lay out for them; for what it is called
        with."""
        batch, length, width = q.shape
        # Several devices may ask at once, each in a thread of its own: what they share is added to, or replaced as a whole.
        copies = self._copies.get((q.device, q.dtype)) or self._copy(q.device, q.dtype)
        if copies.one_face:
            latents = None
        elif latents is None:
            latents = tuple(range(batch // len(sides))) * len(sides)
        laid_out = copies.laid_out(tuple(sides), None if latents is None else tuple(latents))
        rows, heads = laid_out[0].shape[:2]
        # Latents with the same face lie end to end in one row, so its keys need no copy for each.
        return q.view(rows, batch // rows * length, heads, width // heads).transpose(1, 2), *laid_out

    # What is kept must not lie in the memory of a compiled or captured graph.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _copy(self, device: torch.device, dtype: torch.dtype) -> Copies:
        return self._copies.setdefault((device, dtype), self._kind(*(t.to(device, dtype) for t in self._home)))

    def _settle(self, key: Tensor, value: Tensor) -> None:
        self._home = (key, value)
        self._copies = {(key.device, key.dtype): self._kind(key, value)}

    def tensors(self) -> list[Tensor]:
        """All that is kept: keys, values and how they are laid out, which is mostly views of them."""
        return [t for copies in self._copies.values() for t in copies.tensors()]

    def to(self, where: torch.device | torch.dtype) -> None:
        """Be ready on a device; back on the one of its own, nothing stays on others. Or convert to a dtype for good."""
        key, value = self._home
        if isinstance(where, torch.dtype):
            self._settle(key.to(where), value.to(where))
            return
        device = torch.empty(0, device=where).device  # with its number
        if device == key.device:
            self._copies = {place: copies for place, copies in self._copies.items() if place[0] == device}
        elif (device, key.dtype) not in self._copies:
            self._copy(device, key.dtype)


def attended(q: Tensor, key: Tensor, value: Tensor, shape: torch.Size) -> Tensor:
    """Attention by rows and heads, in the shape [batch, length, width] of the queries as they came."""
    return F.scaled_dot_product_attention(q, key, value).transpose(1, 2).reshape(shape)
