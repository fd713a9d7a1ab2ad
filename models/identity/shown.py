"""Faces that act together in one sampling, each on latents of its own and in its own measure: their keys and values as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..face.embeds import FaceEmbeds
from .layer_weights import parse_layer_weights

KeysValues = Sequence[tuple[Tensor, Tensor]]  # of each block [2, m, tokens, width], as an adapter gives them


@dataclass(frozen=True)
class Shown:
    """A person, and how much of that person there is to be.

    s_scale        weight of the face structure, for adapters that know it.
    layer_weights  in the syntax of `parse_layer_weights`.
    latents        for how many latents, one after the other; where nobody else is shown, for all.
    """

    face_embeds: FaceEmbeds
    weight: float = 1.0
    s_scale: float = 1.0
    layer_weights: str = ""
    latents: int = 1


def weighed(shown: Sequence[Shown], keys_values: Sequence[KeysValues], depths: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
    """Of each block the keys and the weighed values of all, [2, m, tokens, width], as `joined` gives them.

    keys_values  what the adapter makes of each person; as many tokens for each.
    depths       of each block the number that layer weights have for it.
    """
    shares = [parse_layer_weights(one.layer_weights, len(depths)) for one in shown]
    blocks = []
    for number, depth in enumerate(depths):
        keys = [made[number][0] for made in keys_values]
        values = [
            made[number][1] * (one.weight * share[depth]) for one, share, made in zip(shown, shares, keys_values, strict=True)
        ]
        blocks.append((joined(shown, keys, dim=1), joined(shown, values, dim=1)))
    return blocks


def joined(shown: Sequence[Shown], parts: Sequence[Tensor], dim: int = 0) -> Tensor:
    """What belongs to each person as one: of several a row along `dim` for each latent, of one alone what there is."""
    if len(shown) == 1:
        return parts[0]
    rows = [
        part.index_select(dim, torch.arange(one.latents, device=part.device) % part.shape[dim])
        for part, one in zip(parts, shown, strict=True)
    ]
    return torch.cat(rows, dim)
