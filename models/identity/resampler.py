"""The perceiver resampler that turns embeddings into tokens, as plain functions.

`w` maps the file's own tensor names to tensors, so weights are used where they lie (memory-mapped) and nothing is kept.
Source: https://github.com/tencent-ailab/IP-Adapter (resampler.py); paper arXiv:2308.06721.
"""

import re
from collections.abc import Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .shapes import Dim, Shapes

Weights = Mapping[str, Tensor]
HEAD_DIM = 64  # of its attention
LAYER = {  # module -> has a bias
    "0.norm1": True,
    "0.norm2": True,
    "0.to_q": False,
    "0.to_kv": False,
    "0.to_out": False,
    "1.0": True,
    "1.1": False,
    "1.3": False,
}


def resampler_modules(names: Iterable[str], root: str) -> dict[str, bool]:
    """Modules that a resampler at `root` reads, with as many layers as `names` has any tensor of; True for one with a bias."""
    modules = {f"{root}.{part}": True for part in ("proj_in", "proj_out", "norm_out")}
    layers = {match[1] for name in names if (match := re.match(rf"{re.escape(root)}\.layers\.(\d+)\.", name))}
    for i in range(len(layers)):  # a number may be any
        modules |= {f"{root}.layers.{i}.{part}": bias for part, bias in LAYER.items()}
    return modules


def missing_tensors(names: Mapping[str, object], modules: Mapping[str, bool]) -> list[str]:
    """Tensors of these modules (True: with a bias) that `names` lacks."""
    wanted = [f"{module}.{kind}" for module, bias in modules.items() for kind in ("weight", "bias")[: 1 + bias]]
    return [name for name in wanted if name not in names]


def resampler_shapes(shapes: Shapes, root: str, dim: str, states: Dim) -> None:
    """Checks a resampler of width `dim` that looks at `states` and gives tokens of the size "context"."""
    shapes.linear(f"{root}.proj_in", dim, states)
    shapes.linear(f"{root}.proj_out", "context", dim)
    shapes.norm(f"{root}.norm_out", "context")
    layer = 0
    while f"{root}.layers.{layer}.0.to_q.weight" in shapes.file:
        heads, hidden = f"heads of layer {layer}", f"hidden of layer {layer}"
        attention, feed_forward = f"{root}.layers.{layer}.0", f"{root}.layers.{layer}.1"
        shapes.norm(f"{attention}.norm1", dim)
        shapes.norm(f"{attention}.norm2", dim)
        shapes.linear(f"{attention}.to_q", heads, dim)
        inner = shapes.sizes.get(heads, HEAD_DIM)
        if inner % HEAD_DIM:
            shapes.wrong.append(
                f"{attention}.to_q.weight {list(shapes.file.shape(f'{attention}.to_q.weight'))}, no whole heads"
            )
        shapes.linear(f"{attention}.to_kv", 2 * inner, dim)
        shapes.linear(f"{attention}.to_out", dim, inner)
        shapes.norm(f"{feed_forward}.0", dim)
        shapes.linear(f"{feed_forward}.1", hidden, dim)
        shapes.linear(f"{feed_forward}.3", dim, hidden)
        layer += 1


def resample(w: Weights, root: str, latents: Tensor, x: Tensor) -> Tensor:
    """Perceiver resampler: latents [n, tokens, dim] look at x [n, length, d_in]."""
    x = linear(w, f"{root}.proj_in", x)
    layer = 0
    while f"{root}.layers.{layer}.0.to_q.weight" in w:
        latents = latents + perceiver_attention(w, f"{root}.layers.{layer}.0", x, latents)
        latents = latents + feed_forward(w, f"{root}.layers.{layer}.1", latents)
        layer += 1
    return layer_norm(w, f"{root}.norm_out", linear(w, f"{root}.proj_out", latents))


def perceiver_attention(w: Weights, name: str, x: Tensor, latents: Tensor) -> Tensor:
    """What latents [n, tokens, dim] get from x [n, length, dim] and from each other."""
    x = layer_norm(w, f"{name}.norm1", x)
    latents = layer_norm(w, f"{name}.norm2", latents)
    q = linear(w, f"{name}.to_q", latents)
    k, v = linear(w, f"{name}.to_kv", torch.cat([x, latents], dim=1)).chunk(2, dim=-1)
    q, k, v = (torch.unflatten(t, -1, (-1, HEAD_DIM)).transpose(1, 2) for t in (q, k, v))
    return linear(w, f"{name}.to_out", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def feed_forward(w: Weights, name: str, x: Tensor) -> Tensor:
    return linear(w, f"{name}.3", F.gelu(linear(w, f"{name}.1", layer_norm(w, f"{name}.0", x))))


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    bias = w.get(f"{name}.bias")
    return F.linear(x, w[f"{name}.weight"].float(), None if bias is None else bias.float())


def layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"].float()
    return F.layer_norm(x, weight.shape, weight, w[f"{name}.bias"].float())
