"""What the adapters of all identity methods share: an opened file, a face's tokens, and the keys and values made from them.

Projection runs on the CPU in float32, once per identity; only small keys and values live through sampling.
"""

from abc import ABC, abstractmethod
from functools import cached_property
from pathlib import Path
from typing import ClassVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ...errors import WrongBaseModelError, WrongRecogniserError
from ..face.embeds import FaceEmbeds
from .adapter_file import AdapterFile
from .blocks import CrossAttention
from .keys_values import IP_ADAPTER, Matrices, count_blocks, project_tokens, query_widths
from .shapes import IDENTITY_DIM
from .variant import Variant, base_name


class IdentityAdapter(ABC):
    """An opened adapter file. Raises UnreadableFileError, or NotAnAdapterError when it is a file of another kind."""

    method: ClassVar[str]  # as one speaks of it, such as "FaceID"
    pack: ClassVar[str]  # the face model pack that it was trained with
    recogniser: ClassVar[str]  # in that pack
    matrices: Matrices = IP_ADAPTER  # what makes keys and values
    variant: Variant

    def __init__(self, path: str | Path):
        self.file = AdapterFile(path)
        # Lives as long as the face does, so that another weight reads no file.
        self._made: WeakKeyDictionary[FaceEmbeds, Tensor] = WeakKeyDictionary()
        self._projected: WeakKeyDictionary[FaceEmbeds, list[tuple[Tensor, Tensor]]] = WeakKeyDictionary()

    @cached_property
    def widths(self) -> list[int]:
        """Query channels of the blocks the adapter was trained for, in its own order: down, up, middle."""
        return query_widths(self.file, self.matrices)

    @cached_property
    def blocks(self) -> int:
        """How many cross-attention blocks it was trained for."""
        return count_blocks(self.file, self.matrices)

    @torch.no_grad()
    def tokens(self, face_embeds: FaceEmbeds) -> tuple[Tensor, Tensor]:
        """Conditional and unconditional identity tokens, float32 [m, tokens, context_dim] each.

        m is 1 when the faces describe one person (their tokens are concatenated), or the number of faces when each
        belongs to its own latent. Raises WrongRecogniserError when the face embeds are of a recogniser that the adapter
        doesn't know.
        """
        self.check(face_embeds)
        cond, uncond = self._kept_sides(face_embeds)
        return cond, uncond

    @torch.no_grad()
    def keys_values(self, face_embeds: FaceEmbeds) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each block in the adapter's order, float32 [2, m, tokens, width]; side 0 conditional.

        Raises as `tokens` does.
        """
        self.check(face_embeds)
        return self._kept(face_embeds)

    def check(self, face_embeds: FaceEmbeds) -> None:
        """Raises WrongRecogniserError, or another FaceGenError, unless the adapter can read these face embeds."""
        width = face_embeds.identity.shape[1]
        if width != IDENTITY_DIM:
            raise WrongRecogniserError(
                f"{self.method} reads {IDENTITY_DIM}-wide face embeddings, got {width}. The recogniser of an InsightFace pack "
                f"such as {self.pack} is needed."
            )

    @abstractmethod
    def _sides(self, face_embeds: FaceEmbeds) -> Tensor:
        """What tokens are made from, [..., 2, m, tokens, context_dim]: conditional and unconditional."""

    def _kept_sides(self, face_embeds: FaceEmbeds) -> Tensor:
        """What `_sides` gives, made once for a face."""
        if face_embeds not in self._made:
            sides = self._sides(face_embeds)
            self.file.require_finite([sides])
            self._made[face_embeds] = sides
        return self._made[face_embeds]

    def _kept(self, face_embeds: FaceEmbeds) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of what `_sides` gives, made once for a face."""
        if face_embeds not in self._projected:
            projected = self._from_sides(self._kept_sides(face_embeds))
            self.file.require_finite(t for pair in projected for t in pair)
            self._projected[face_embeds] = projected
        return self._projected[face_embeds]

    def _from_sides(self, sides: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of each block from what `_sides` gives."""
        return project_tokens(self.file, sides, self.matrices)

    def match(self, blocks: list[CrossAttention], context_dim: int) -> None:
        """Raises WrongBaseModelError unless the UNet's cross-attention blocks are those the adapter was trained for."""
        if context_dim == self.variant.context_dim and [b.width for b in blocks] == self.widths:
            return
        raise WrongBaseModelError(
            f"{self.file.path.name} is {self.called()} adapter, made for {self.variant.base} ({self.blocks} "
            f"cross-attention blocks, context width {self.variant.context_dim}), but the model is "
            f"{base_name(context_dim)} ({len(blocks)} blocks, context width {context_dim})."
        )

    def called(self) -> str:
        """Its kind with an article: "a faceid_sd15"."""
        return f"{'an' if self.variant.name[0] in 'aeio' else 'a'} {self.variant.name}"


def by_person(cond: Tensor, uncond: Tensor, face_embeds: FaceEmbeds) -> Tensor:
    """Tokens of n faces [..., n, tokens, dim] and of nobody [..., 1, tokens, dim] as [..., 2, m, tokens, dim].

    m is n when each face belongs to its own latent; else 1, all tokens one after the other, for one person.
    """
    both = torch.stack([cond, uncond.expand_as(cond)], dim=-4)
    return both if face_embeds.per_image else both.flatten(-3, -2).unsqueeze(-3)
