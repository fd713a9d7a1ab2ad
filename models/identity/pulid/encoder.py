"""From a face's numbers to tokens: PuLID's two encoders as plain functions.

`w` maps the file's own tensor names to tensors, so weights are used where they lie (memory-mapped) and nothing is kept. Several
photos of one person enter together, as published. Source: https://github.com/ToTheBeginning/PuLID (encoders.py,
encoders_transformer.py); paper arXiv:2404.16022.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..resampler import Weights, feed_forward, layer_norm, linear, perceiver_attention

# Where the layers of both encoders' small networks stand in their lists: Linear, LayerNorm, LeakyReLU, twice, and Linear.
LINEARS, NORMS = (0, 3, 6), (1, 4)


def resampled_tokens(w: Weights, root: str, identity: Tensor, states: Tensor) -> Tensor:
    """IDFormer (v1.1 and FLUX): learnt queries look at identity and states, scale by scale, from coarse to fine.

    identity  [m, photos, 512 + 768]: the recogniser's numbers, and the vision tower's output of length 1.
    states    [m, photos, scales, length, width]: hidden states of the vision tower.
    Returns tokens [m, queries, context_dim], as many for several photos as for one.
    """
    queries = w[f"{root}.latents"].float()
    seen = mapped(w, f"{root}.id_embedding_mapping", identity).reshape(len(identity), -1, queries.shape[-1])
    latents = torch.cat([queries.expand(len(identity), -1, -1), seen], dim=1)
    scales = states.shape[2]
    per_scale = count_layers(w, root) // scales
    for scale in range(scales):
        context = torch.cat([seen, mapped(w, f"{root}.mapping_{scale}", states[:, :, scale].flatten(1, 2))], dim=1)
        for layer in range(scale * per_scale, (scale + 1) * per_scale):
            latents = latents + perceiver_attention(w, f"{root}.layers.{layer}.0", context, latents)
            latents = latents + feed_forward(w, f"{root}.layers.{layer}.1", latents)
    return latents[:, : queries.shape[1]] @ w[f"{root}.proj_out"].float()


def pooled_tokens(w: Weights, root: str, identity: Tensor, states: Tensor) -> Tensor:
    """The encoder of v1: a token or several from the identity, and one from each scale.

    Takes what `resampled_tokens` takes. Returns [m, tokens, context_dim]: all tokens of the first photo and, as published, of
    each further one the identity's.
    """
    context_dim = w[f"{root}.mapping_0.{LINEARS[-1]}.weight"].shape[0]
    tokens = torch.unflatten(mapped(w, f"{root}.body", identity), -1, (-1, context_dim))  # [m, photos, tokens, context_dim]
    scales = [
        mapped(w, f"{root}.mapping_{scale}", states[:, 0, scale, :1])
        + mapped(w, f"{root}.mapping_patch_{scale}", states[:, 0, scale, 1:]).mean(dim=1, keepdim=True)
        for scale in range(states.shape[2])
    ]
    return torch.cat([tokens[:, 0], *scales, tokens[:, 1:].flatten(1, 2)], dim=1)


def mapped(w: Weights, name: str, x: Tensor) -> Tensor:
    """One of the small networks of both encoders."""
    for place, norm in zip(LINEARS, NORMS, strict=False):
        x = F.leaky_relu(layer_norm(w, f"{name}.{norm}", linear(w, f"{name}.{place}", x)))
    return linear(w, f"{name}.{LINEARS[-1]}", x)


def count_layers(w: Weights, root: str) -> int:
    """How many perceiver layers IDFormer has."""
    layer = 0
    while f"{root}.layers.{layer}.0.to_q.weight" in w:
        layer += 1
    return layer
