"""FaceID adapter files with the published tensor names and random weights, random faces for them, and a measure of error."""

import torch
from safetensors.torch import save_file

from facegen.models.face.embeds import FaceEmbeds

CLIP = 80  # width of the CLIP vision states of random faces
SD15_WIDTHS = [320, 320, 640, 640, 1280, 1280, 1280, 1280, 1280, 640, 640, 640, 320, 320, 320, 1280]  # down, up, middle


def linear(g, state, name, d_in, d_out, bias=True):
    state[f"{name}.weight"] = torch.randn(d_out, d_in, generator=g) / d_in**0.5
    if bias:
        state[f"{name}.bias"] = torch.randn(d_out, generator=g) * 0.1


def norm(g, state, name, dim):
    state[f"{name}.weight"] = 1 + 0.1 * torch.randn(dim, generator=g)
    state[f"{name}.bias"] = 0.1 * torch.randn(dim, generator=g)


def image_proj(context_dim=768, clip_dim=1280, tokens=4, depth=4, seed=0, inner=1024):
    """`image_proj` of FaceID-Plus (clip_dim given) or of plain FaceID (clip_dim None)."""
    g, state = torch.Generator().manual_seed(seed), {}
    linear(g, state, "proj.0", 512, inner)
    linear(g, state, "proj.2", inner, context_dim * tokens)
    norm(g, state, "norm", context_dim)
    if clip_dim is None:
        return state
    return state | _resampler(g, "perceiver_resampler.", context_dim, clip_dim, context_dim, depth)


def unnorm_proj(context_dim=2048, tokens=16, depth=4, seed=0, inner=1280):
    """`image_proj` of portrait-unnorm: a resampler whose learnt latents look at the raw embedding."""
    g = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, tokens, inner, generator=g) / inner**0.5
    return {"latents": latents, **_resampler(g, "", inner, 512, context_dim, depth)}


def _resampler(g, root, dim, d_in, d_out, depth):
    state = {}
    linear(g, state, f"{root}proj_in", d_in, dim)
    linear(g, state, f"{root}proj_out", dim, d_out)
    norm(g, state, f"{root}norm_out", d_out)
    for i in range(depth):
        resampler_layer(g, state, f"{root}layers.{i}", dim)
    return state


def resampler_layer(g, state, name, dim):
    """Attention and feed-forward of a perceiver resampler."""
    norm(g, state, f"{name}.0.norm1", dim)
    norm(g, state, f"{name}.0.norm2", dim)
    linear(g, state, f"{name}.0.to_q", dim, dim, bias=False)
    linear(g, state, f"{name}.0.to_kv", dim, 2 * dim, bias=False)
    linear(g, state, f"{name}.0.to_out", dim, dim, bias=False)
    norm(g, state, f"{name}.1.0", dim)
    linear(g, state, f"{name}.1.1", dim, 4 * dim, bias=False)
    linear(g, state, f"{name}.1.3", 4 * dim, dim, bias=False)


def ip_adapter(widths, context_dim=768, rank=8, seed=1, lora_scale=0.3):
    """Keys, values and LoRA (rank 0: none) of every block, in the published numbering: self- and cross-attention alternate."""
    g, state = torch.Generator().manual_seed(seed), {}
    for i, width in enumerate(widths):
        for index, context in ((2 * i, width), (2 * i + 1, context_dim)):
            for part, d_in in (("to_q", width), ("to_k", context), ("to_v", context), ("to_out", width)) if rank else ():
                state[f"{index}.{part}_lora.down.weight"] = torch.randn(rank, d_in, generator=g) / d_in**0.5
                state[f"{index}.{part}_lora.up.weight"] = torch.randn(width, rank, generator=g) * lora_scale / rank**0.5
        for part in ("to_k_ip", "to_v_ip"):
            state[f"{2 * i + 1}.{part}.weight"] = torch.randn(width, context_dim, generator=g) / context_dim**0.5
    return state


def faceid_state(widths, context_dim=768, clip_dim=1280, rank=8, seed=0, unnorm=False, **kwargs):
    project = (
        unnorm_proj(context_dim, seed=seed, **kwargs) if unnorm else image_proj(context_dim, clip_dim, seed=seed, **kwargs)
    )
    return {"image_proj": project, "ip_adapter": ip_adapter(widths, context_dim, rank, seed=seed + 1)}


PLUS_V1_NOTE = {"facegen.variant": "faceid-plus_sd15"}  # the tensors of Plus v1 and v2 have the same names and shapes


def save(state, path, metadata=None):
    """As .safetensors (flat names) or, for any other ending, as PyTorch's nested .bin."""
    if path.suffix == ".safetensors":
        save_file({f"{part}.{name}": t for part, tensors in state.items() for name, t in tensors.items()}, path, metadata)
    else:
        torch.save(state, path)
    return path


def random_faces(n=1, clip=CLIP, seed=3, **kwargs):
    """FaceEmbeds of n faces, with CLIP vision states of width `clip` unless it is None."""
    g = torch.Generator().manual_seed(seed)
    identity = 20 * torch.nn.functional.normalize(torch.randn(n, 512, generator=g), dim=-1)
    if clip is None:
        return FaceEmbeds(identity, **kwargs)
    return FaceEmbeds(identity, torch.randn(n, 257, clip, generator=g), torch.randn(1, 257, clip, generator=g), **kwargs)


def relative_error(given, expected):
    return ((given.float() - expected.float()).norm() / expected.float().norm()).item()
