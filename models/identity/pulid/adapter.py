"""A PuLID file: the tokens, keys and values that come out of it, and for FLUX.1 the layers that a host has to hold.

Source: PuLID, https://github.com/ToTheBeginning/PuLID; paper arXiv:2404.16022.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import MissingStructureError, WrongBaseModelError
from ...face.embeds import FaceEmbeds
from ..adapter import IdentityAdapter
from ..blocks import CrossAttention
from . import cross_attention
from .encoder import pooled_tokens, resampled_tokens
from .kind import METHOD, SCALES, PulidVariant, matrices_of, recognise

TOWER = "the vision tower EVA02-CLIP-L-14-336"


class PulidAdapter(IdentityAdapter):
    """An opened PuLID file. Raises UnreadableFileError, or NotAnAdapterError when it is a file of another kind."""

    method, pack, recogniser = METHOD, "antelopev2", "glintr100"
    variant: PulidVariant

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.variant = recognise(self.file)
        self.matrices = matrices_of(self.variant.root)

    def check(self, face_embeds: FaceEmbeds) -> None:
        """Raises WrongRecogniserError unless the face embeds are of the recogniser that the adapter knows, and
        MissingStructureError unless the vision tower saw the faces that it reads."""
        super().check(face_embeds)
        face_embeds.require_recogniser(self.recogniser, self.pack)
        variant, name = self.variant, f"{self.file.path.name} ({self.variant.name})"
        needed = f"{TOWER} (output {variant.pooled}, {SCALES} states of width {variant.states})"
        pooled, hidden = face_embeds.structure_pooled, face_embeds.structure_hidden
        if pooled is None or hidden is None:
            raise MissingStructureError(
                f"{name} also reads the structure of the face, and these faces were embedded without it. It needs {needed}."
            )
        if pooled.shape[1] != variant.pooled or (hidden.shape[1], hidden.shape[3]) != (SCALES, variant.states):
            given = f"output {pooled.shape[1]}, {hidden.shape[1]} states of width {hidden.shape[3]}"
            raise MissingStructureError(f"{name} needs {needed}, but the faces were seen by another one ({given}).")

    def match(self, blocks: list[CrossAttention], context_dim: int) -> None:
        """Raises WrongBaseModelError unless the UNet's cross-attention blocks are those the adapter was trained for."""
        if self.variant.flux:
            raise self.other_model(f"a UNet ({len(blocks)} cross-attention blocks, context width {context_dim})")
        super().match(blocks, context_dim)

    def match_flux(self, width: int, double_blocks: int, single_blocks: int) -> list[tuple[str, int]]:
        """After which blocks of a FLUX.1 model of these sizes its layers stand, see cross_attention.places. Raises
        WrongBaseModelError when it was made for another model."""
        places = cross_attention.places(double_blocks, single_blocks)
        if not self.variant.flux or len(places) != self.layers or width != self._flux_width:
            raise self.other_model(f"FLUX with {double_blocks} double and {single_blocks} single blocks of width {width}")
        return places

    def other_model(self, given: str) -> WrongBaseModelError:
        """The error about a model, in words, that it wasn't made for."""
        if self.variant.flux:
            made = f"{self.layers} layers beside blocks of width {self._flux_width}"
        else:
            made = f"{self.blocks} cross-attention blocks, context width {self.variant.context_dim}"
        return WrongBaseModelError(
            f"{self.file.path.name} is {self.called()} adapter, made for {self.variant.base} ({made}), but the model is "
            f"{given}."
        )

    @property
    def layers(self) -> int:
        """For FLUX.1: how many layers it has beside the model's blocks."""
        return cross_attention.count(self.file)

    @property
    def _flux_width(self) -> int:
        return self.file.shape(f"{cross_attention.ROOT}.0.norm2.weight")[0]

    def picture_layers(self, operations: Any = nn) -> cross_attention.PictureLayers:
        """For FLUX.1: what the picture's states go through, as a module. See PictureLayers."""
        layers = cross_attention.PictureLayers(self.file, operations)
        self.file.require_finite(layers.parameters())
        return layers

    def _from_sides(self, sides: Tensor) -> list[tuple[Tensor, Tensor]]:
        return cross_attention.face_keys_values(self.file, sides) if self.variant.flux else super()._from_sides(sides)

    def _sides(self, face_embeds: FaceEmbeds) -> Tensor:
        """[2, m, tokens, context_dim]. Several photos of one person enter the encoder together."""
        assert face_embeds.structure_pooled is not None and face_embeds.structure_hidden is not None  # checked before
        pooled, hidden = face_embeds.structure_pooled.float(), face_embeds.structure_hidden.float()
        length = pooled.norm(dim=-1, keepdim=True)
        identity = torch.cat([face_embeds.identity.float(), pooled / torch.where(length > 0, length, 1)], dim=-1)
        # People one by one: a batch of them needs no more memory than one.
        people = [[row] for row in range(len(identity))] if face_embeds.per_image else [list(range(len(identity)))]
        cond = torch.cat([self._encode(identity[None, rows], hidden[None, rows]) for rows in people])
        # As published: IDFormer is given zeros as for one photo, the first encoder as for each.
        photos = 1 if self.variant.transformer else len(people[0])
        uncond = self._encode(torch.zeros_like(identity[None, :photos]), torch.zeros_like(hidden[None, :photos]))
        return torch.stack([cond, uncond.expand_as(cond)])

    def _encode(self, identity: Tensor, states: Tensor) -> Tensor:
        encode = resampled_tokens if self.variant.transformer else pooled_tokens
        return encode(self.file, self.variant.root, identity, states)
