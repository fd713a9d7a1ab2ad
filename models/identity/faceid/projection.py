"""From face embeddings to identity tokens: the projection networks of IP-Adapter-FaceID as plain functions.

`w` maps the file's own tensor names to tensors, so weights are used where they lie (memory-mapped) and nothing is kept.
Source: https://github.com/tencent-ailab/IP-Adapter (ip_adapter_faceid.py, resampler.py); paper arXiv:2308.06721.
"""

import re
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]
HEAD_DIM = 64  # of the perceiver resampler's attention
RESAMPLER_LAYER = {  # module -> has a bias
    "0.norm1": True,
    "0.norm2": True,
    "0.to_q": False,
    "0.to_kv": False,
    "0.to_out": False,
    "1.0": True,
    "1.1": False,
    "1.3": False,
}


STRUCTURE = "image_proj.perceiver_resampler"  # reads CLIP states, starts from the identity tokens
LATENTS = "image_proj.latents"  # what the resampler of portrait-unnorm starts from


def missing_weights(names: Mapping[str, object]) -> list[str]:
    """Tensors that the projection reads and `names` lacks; the resampler's only where there is one."""
    modules: dict[str, bool] = {}  # name -> has a bias
    if LATENTS in names:
        modules |= _resampler_modules(names, "image_proj")
    else:
        modules |= {"image_proj.proj.0": True, "image_proj.proj.2": True, "image_proj.norm": True}
        if any(name.startswith(STRUCTURE) for name in names):
            modules |= _resampler_modules(names, STRUCTURE)
    wanted = [f"{module}.{kind}" for module, bias in modules.items() for kind in ("weight", "bias")[: 1 + bias]]
    return [name for name in wanted if name not in names]


def _resampler_modules(names: Mapping[str, object], root: str) -> dict[str, bool]:
    modules = {f"{root}.{part}": True for part in ("proj_in", "proj_out", "norm_out")}
    layers = {int(match[1]) for name in names if (match := re.match(rf"{re.escape(root)}\.layers\.(\d+)\.", name))}
    for i in range(max(layers, default=-1) + 1):
        modules |= {f"{root}.layers.{i}.{part}": bias for part, bias in RESAMPLER_LAYER.items()}
    return modules


def identity_tokens(w: Weights, identity: Tensor) -> Tensor:
    """MLP over the normalised ArcFace embedding: [n, 512] -> [n, tokens, context_dim]."""
    context_dim = w["image_proj.norm.weight"].shape[0]
    x = F.gelu(_linear(w, "image_proj.proj.0", identity))
    x = _linear(w, "image_proj.proj.2", x)
    return _layer_norm(w, "image_proj.norm", x.reshape(len(identity), -1, context_dim))


def structure_tokens(w: Weights, latents: Tensor, clip_hidden: Tensor) -> Tensor:
    """Identity tokens [n, tokens, context_dim] look at CLIP states [n, 257, clip_dim]."""
    return _resample(w, STRUCTURE, latents, clip_hidden)


def unnorm_tokens(w: Weights, identity: Tensor) -> Tensor:
    """portrait-unnorm: learnt latents look at the raw ArcFace embedding, [n, 512] -> [n, tokens, context_dim]."""
    return _resample(w, "image_proj", w[LATENTS].float().expand(len(identity), -1, -1), identity[:, None])


def _resample(w: Weights, root: str, latents: Tensor, x: Tensor) -> Tensor:
    """Perceiver resampler: latents [n, tokens, dim] look at x [n, length, d_in]."""
    x = _linear(w, f"{root}.proj_in", x)
    layer = 0
    while f"{root}.layers.{layer}.0.to_q.weight" in w:
        latents = latents + _perceiver_attention(w, f"{root}.layers.{layer}.0", x, latents)
        latents = latents + _feed_forward(w, f"{root}.layers.{layer}.1", latents)
        layer += 1
    return _layer_norm(w, f"{root}.norm_out", _linear(w, f"{root}.proj_out", latents))


def _perceiver_attention(w: Weights, name: str, x: Tensor, latents: Tensor) -> Tensor:
    x = _layer_norm(w, f"{name}.norm1", x)
    latents = _layer_norm(w, f"{name}.norm2", latents)
    q = _linear(w, f"{name}.to_q", latents)
    k, v = _linear(w, f"{name}.to_kv", torch.cat([x, latents], dim=1)).chunk(2, dim=-1)
    q, k, v = (torch.unflatten(t, -1, (-1, HEAD_DIM)).transpose(1, 2) for t in (q, k, v))
    return _linear(w, f"{name}.to_out", F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _feed_forward(w: Weights, name: str, x: Tensor) -> Tensor:
    return _linear(w, f"{name}.3", F.gelu(_linear(w, f"{name}.1", _layer_norm(w, f"{name}.0", x))))


def _linear(w: Weights, name: str, x: Tensor) -> Tensor:
    bias = w.get(f"{name}.bias")
    return F.linear(x, w[f"{name}.weight"].float(), None if bias is None else bias.float())


def _layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    weight = w[f"{name}.weight"].float()
    return F.layer_norm(x, weight.shape, weight, w[f"{name}.bias"].float())
