"""From face embeddings to identity tokens: the projection networks of IP-Adapter-FaceID as plain functions.

`w` maps the file's own tensor names to tensors, so weights are used where they lie (memory-mapped) and nothing is kept.
Source: https://github.com/tencent-ailab/IP-Adapter (ip_adapter_faceid.py); paper arXiv:2308.06721.
"""

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from ..raw_embedding import LATENTS, raw_missing
from ..resampler import Weights, layer_norm, linear, missing_tensors, resample, resampler_modules

STRUCTURE = "image_proj.perceiver_resampler"  # reads CLIP states, starts from the identity tokens


def missing_weights(names: Mapping[str, object]) -> list[str]:
    """Tensors that the projection reads and `names` lacks; the resampler's only where there is one."""
    if LATENTS in names:
        return raw_missing(names)
    modules = {"image_proj.proj.0": True, "image_proj.proj.2": True, "image_proj.norm": True}  # name -> has a bias
    if any(name.startswith(STRUCTURE) for name in names):
        modules |= resampler_modules(names, STRUCTURE)
    return missing_tensors(names, modules)


def identity_tokens(w: Weights, identity: Tensor) -> Tensor:
    """MLP over the normalised ArcFace embedding: [n, 512] -> [n, tokens, context_dim]."""
    context_dim = w["image_proj.norm.weight"].shape[0]
    x = F.gelu(linear(w, "image_proj.proj.0", identity))
    x = linear(w, "image_proj.proj.2", x)
    return layer_norm(w, "image_proj.norm", x.reshape(len(identity), -1, context_dim))


def structure_tokens(w: Weights, latents: Tensor, clip_hidden: Tensor) -> Tensor:
    """Identity tokens [n, tokens, context_dim] look at CLIP states [n, 257, clip_dim]."""
    return resample(w, STRUCTURE, latents, clip_hidden)
