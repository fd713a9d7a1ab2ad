"""PuLID's attention to a face in FLUX.1: layers of its own, beside the model's.

A face's keys and values don't change while sampling, so they are projected once (`face_keys_values`) and the weights for that
are left in the file. What the picture's own states go through has to stay: `PictureLayers`, a module that a host can take
charge of. Source: https://github.com/ToTheBeginning/PuLID (encoders_transformer.py, flux/model.py); paper arXiv:2404.16022.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..attention import IdentityAttention
from ..resampler import Weights, layer_norm, linear

ROOT = "pulid_ca"
HEAD_DIM = 128
DOUBLE_EVERY, SINGLE_EVERY = 2, 4  # one of the layers follows so many double or single blocks; the first follows the first
KEPT = ("norm2.weight", "norm2.bias", "to_q.weight", "to_out.weight")


def count(names: Iterable[str]) -> int:
    """How many layers a file with these tensors has."""
    return len({name.split(".")[1] for name in names if name.startswith(f"{ROOT}.")})


def places(double_blocks: int, single_blocks: int) -> list[tuple[str, int]]:
    """After which blocks of a model the layers stand, in order: ("double", 0), ("double", 2), … ("single", 0), …"""
    return [("double", i) for i in range(0, double_blocks, DOUBLE_EVERY)] + [
        ("single", i) for i in range(0, single_blocks, SINGLE_EVERY)
    ]


@torch.no_grad()
def face_keys_values(w: Weights, tokens: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Key and value [..., tokens, width] of each layer from float32 tokens [..., tokens, context_dim]."""

    def of(layer: int) -> tuple[Tensor, Tensor]:
        key, value = linear(w, f"{ROOT}.{layer}.to_kv", layer_norm(w, f"{ROOT}.{layer}.norm1", tokens)).chunk(2, dim=-1)
        return key, value

    return [of(layer) for layer in range(count(w))]


class PictureLayer(nn.Module):
    """One layer: from a block's picture states [batch, length, width] to what the face adds to them."""

    def __init__(self, width: int, inner: int, operations: Any, **kwargs: Any):
        super().__init__()
        self.norm2 = operations.LayerNorm(width, **kwargs)
        self.to_q = operations.Linear(width, inner, bias=False, **kwargs)
        self.to_out = operations.Linear(inner, width, bias=False, **kwargs)

    def forward(self, picture: Tensor, face: IdentityAttention, *rows: Any) -> Tensor:
        """`rows`: sides and latents, as IdentityAttention takes them."""
        out: Tensor = self.to_out(face(self.to_q(self.norm2(picture)), *rows))
        return out


class PictureLayers(nn.ModuleList):
    """All layers of a file, in its own precision. `operations`: the module with Linear and LayerNorm, torch's or a host's."""

    def __init__(self, w: Weights, operations: Any = nn):
        dtype = w[f"{ROOT}.0.to_q.weight"].dtype
        inner, width = w[f"{ROOT}.0.to_q.weight"].shape
        with torch.device("meta"):
            super().__init__(PictureLayer(width, inner, operations, dtype=dtype) for _ in range(count(w)))
        state = {f"{layer}.{name}": w[f"{ROOT}.{layer}.{name}"] for layer in range(len(self)) for name in KEPT}
        self.load_state_dict(state, assign=True)
        self.eval().requires_grad_(False)
