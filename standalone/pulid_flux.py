"""PuLID in diffusers' FLUX.1: its layers after some of the transformer's blocks, by hooks on these."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import FaceGenError
from ..models.identity.attention import IdentityAttention
from ..models.identity.pulid.adapter import PulidAdapter
from ..models.identity.pulid.cross_attention import HEAD_DIM
from ..models.identity.shown import Shown, weighed

SIDES = (0,)  # every row of the batch is conditional: FLUX.1 has no other side


class FluxFace:
    """The face in a FluxTransformer2DModel, on which it stays; there is none before `show`.

    Raises WrongBaseModelError when the adapter wasn't made for such a transformer.
    """

    def __init__(self, transformer: Any, adapter: PulidAdapter):
        blocks = {"double": transformer.transformer_blocks, "single": transformer.single_transformer_blocks}
        places = adapter.match_flux(transformer.inner_dim, *map(len, blocks.values()))
        self.adapter = adapter
        self.layers = adapter.picture_layers().to(transformer.device, transformer.dtype)
        self.faces: list[IdentityAttention | None] = [None] * len(places)
        for number, (part, block) in enumerate(places):
            blocks[part][block].register_forward_hook(_Hook(self, number))

    def show(self, shown: Sequence[Shown]) -> None:
        """From now on these faces, in place of any others. Raises FaceGenError when the adapter can't read them."""
        if not shown:
            self.faces = [None] * len(self.faces)
            return
        keys_values = [self.adapter.keys_values(one.face_embeds) for one in shown]
        self.faces = [
            IdentityAttention(key, value, key.shape[-1] // HEAD_DIM) if value.any() else None
            for key, value in weighed(shown, keys_values, range(len(self.faces)))
        ]

    def added(self, number: int, picture: Tensor) -> Tensor:
        """The picture's states [batch, length, width] after a block, with what layer `number` adds."""
        face = self.faces[number]
        return picture if face is None else picture + self.layers[number](picture, face, SIDES)


class _Hook:
    """After a block."""

    def __init__(self, face: FluxFace, number: int):
        self.face, self.number = face, number

    def __call__(self, _block: torch.nn.Module, _args: tuple[Any, ...], out: Any) -> tuple[Tensor, Tensor]:
        if not isinstance(out, tuple):
            raise FaceGenError("The installed diffusers is too old for FLUX.1: its blocks join text and picture. Update it.")
        text, picture = out
        return text, self.face.added(self.number, picture)
