"""CLIP's vision transformer in plain torch, up to the projected embedding of a picture.

The modules are named as in published CLIP files, and sizes are read from the tensors.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .views import LONGEST, starts

HEAD = 64  # width of an attention head in every published CLIP
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


class _Attention(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        states = self.q_proj(x), self.k_proj(context), self.v_proj(context)
        q, k, v = (state.unflatten(-1, (-1, HEAD)).transpose(1, 2) for state in states)
        out: Tensor = self.out_proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.fc1(x)
        out: Tensor = self.fc2(x * torch.sigmoid(1.702 * x))  # CLIP's "quick GELU"
        return out


class _Layer(nn.Module):
    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.layer_norm1, self.layer_norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.self_attn, self.mlp = _Attention(width), _MLP(width, hidden)

    def forward(self, x: Tensor, wanted: slice = slice(None)) -> Tensor:
        normed = self.layer_norm1(x)
        x = x[:, wanted] + self.self_attn(normed[:, wanted], normed)
        out: Tensor = x + self.mlp(self.layer_norm2(x))
        return out


class _Embeddings(nn.Module):
    def __init__(self, width: int, patch: int, positions: int):
        super().__init__()
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.patch_embedding = nn.Conv2d(3, width, patch, patch, bias=False)
        self.position_embedding = nn.Embedding(positions, width)

    def forward(self, pixels: Tensor) -> Tensor:
        patches = self.patch_embedding(pixels).flatten(2).transpose(1, 2)
        first = self.class_embedding.expand(len(pixels), 1, -1)
        return torch.cat([first, patches], dim=1) + self.position_embedding.weight


class _Encoder(nn.Module):
    def __init__(self, width: int, hidden: int, layers: int):
        super().__init__()
        self.layers = nn.ModuleList(_Layer(width, hidden) for _ in range(layers))


class VisionTransformer(nn.Module):
    """Normalised pixels [B, 3, side, side] to the pooled state [B, width]."""

    def __init__(self, width: int, hidden: int, layers: int, patch: int, positions: int):
        super().__init__()
        self.side = patch * round((positions - 1) ** 0.5)
        self.embeddings = _Embeddings(width, patch, positions)
        self.pre_layrnorm = nn.LayerNorm(width)  # spelt so in the files
        self.encoder = _Encoder(width, hidden, layers)
        self.post_layernorm = nn.LayerNorm(width)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pre_layrnorm(self.embeddings(pixels))
        *layers, last = self.encoder.layers
        for layer in layers:
            x = layer(x)
        pooled: Tensor = self.post_layernorm(last(x, slice(1))[:, 0])  # of its output only the class token is used
        return pooled

    @classmethod
    def like(cls, tensors: dict[str, Tensor], prefix: str) -> "VisionTransformer":
        """Without weights, in the sizes of a file's tensors. Raises KeyError when one of those it looks at is missing."""
        width, _, patch, _ = tensors[f"{prefix}embeddings.patch_embedding.weight"].shape
        hidden = tensors[f"{prefix}encoder.layers.0.mlp.fc1.weight"].shape[0]
        positions = tensors[f"{prefix}embeddings.position_embedding.weight"].shape[0]
        start = f"{prefix}encoder.layers."
        layers = 1 + max(int(name.removeprefix(start).split(".")[0]) for name in tensors if name.startswith(start))
        with torch.device("meta"):
            return cls(width, hidden, layers, patch, positions)


def views(images: Tensor, side: int) -> Tensor:
    """RGB pictures [B, H, W, 3] (float, 0-1) as CLIP takes them, on whatever device they are: [B, n, 3, side, side], n odd.

    The view in the middle, of a square picture the only one, is the published one: the shorter side to `side` by antialiased
    bicubic interpolation, columns before rows and each in 8 bits, then the middle square. The others lie before and after it
    along the longer side. A picture longer than LONGEST squares is reduced to these and lies on a black ground.
    """
    height, width = images.shape[1:3]
    shorter = max(min(height, width), max(height, width) / LONGEST)
    size = [max(side, int(side * s / shorter)) if s >= shorter else max(1, round(side * s / shorter)) for s in (height, width)]
    levels = images.float().movedim(-1, 1).mul(255).round_()
    for step in ((height, size[1]), size):
        levels = F.interpolate(levels, size=step, mode="bicubic", antialias=True).clamp_(0, 255).round_()
    missing = [max(0, side - s) for s in size]
    levels = F.pad(levels, [end for lack in reversed(missing) for end in (lack // 2, lack - lack // 2)])
    tops, lefts = (starts(s - side, side) for s in levels.shape[2:])
    squares = torch.stack([levels[:, :, y : y + side, x : x + side] for y in tops for x in lefts], dim=1)
    mean, std = (torch.tensor(v, device=images.device)[:, None, None] for v in (MEAN, STD))
    return (squares / 255 - mean) / std
