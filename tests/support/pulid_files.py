"""PuLID files with the published tensor names and random weights, and random faces for them. Widths are reduced."""

from dataclasses import replace

import torch
from safetensors.torch import save_file

from faceid_files import linear, norm, random_faces, resampler_layer

STATES, POOLED, LENGTH, SCALES = 48, 40, 17, 5  # of the vision tower; published: 1024, 768, 577, 5
CONTEXT = 96  # published: 2048
DIM = 128  # of IDFormer; published: 1024
QUERIES = 32
FLUX_WIDTH, FLUX_INNER = 64, 256  # two heads of 128; published: 3072, 2048
# Of the published sizes, for *_state(**PUBLISHED), flux_state(inner=…) and seen_faces(**PUBLISHED_SEEN).
PUBLISHED = {"context_dim": 2048, "dim": 1024, "states": 1024, "pooled": 768}
PUBLISHED_INNER = 2048
PUBLISHED_SEEN = {"states": 1024, "pooled": 768, "length": 577}


def _mapping(g, state, name, d_in, hidden, out):
    for place, into, to in ((0, d_in, hidden), (3, hidden, hidden), (6, hidden, out)):
        linear(g, state, f"{name}.{place}", into, to)
    for place in (1, 4):
        norm(g, state, f"{name}.{place}", hidden)


def idformer(root, seed=0, context_dim=CONTEXT, dim=DIM, depth=10, states=STATES, pooled=POOLED):
    """The encoder of v1.1 and FLUX."""
    g, state = torch.Generator().manual_seed(seed), {}
    state[f"{root}.latents"] = torch.randn(1, QUERIES, dim, generator=g)
    state[f"{root}.proj_out"] = torch.randn(dim, context_dim, generator=g) / dim**0.5
    for i in range(SCALES):
        _mapping(g, state, f"{root}.mapping_{i}", states, states, dim)
    _mapping(g, state, f"{root}.id_embedding_mapping", 512 + pooled, 64, dim * 5)
    for i in range(depth):
        resampler_layer(g, state, f"{root}.layers.{i}", dim)
    return state


def mlp_encoder(root, seed=0, context_dim=CONTEXT, states=STATES, pooled=POOLED, tokens=5):
    """The encoder of v1."""
    g, state = torch.Generator().manual_seed(seed), {}
    _mapping(g, state, f"{root}.body", 512 + pooled, 64, context_dim * tokens)
    for i in range(SCALES):
        _mapping(g, state, f"{root}.mapping_{i}", states, states, context_dim)
        _mapping(g, state, f"{root}.mapping_patch_{i}", states, states, context_dim)
    return state


def sdxl_state(widths, context_dim=CONTEXT, seed=0, v1=False, **encoder):
    """pulid_v1.1.safetensors, or with `v1` pulid_v1.bin, for a UNet with blocks of these widths in the published order."""
    make = mlp_encoder if v1 else idformer
    state = make("id_adapter", seed, context_dim, **encoder)
    g = torch.Generator().manual_seed(seed + 1)
    for i, width in enumerate(widths):
        for part in ("id_to_k", "id_to_v"):
            name = f"id_adapter_attn_layers.{2 * i + 1}.{part}.weight"
            state[name] = torch.randn(width, context_dim, generator=g) / context_dim**0.5
    return state


def flux_state(layers, width=FLUX_WIDTH, inner=FLUX_INNER, context_dim=CONTEXT, seed=0, **encoder):
    """pulid_flux_v0.9.1.safetensors with so many cross-attention layers (published: 20)."""
    state = idformer("pulid_encoder", seed, context_dim, **encoder)
    g = torch.Generator().manual_seed(seed + 1)
    for i in range(layers):
        norm(g, state, f"pulid_ca.{i}.norm1", context_dim)
        norm(g, state, f"pulid_ca.{i}.norm2", width)
        linear(g, state, f"pulid_ca.{i}.to_q", width, inner, bias=False)
        linear(g, state, f"pulid_ca.{i}.to_kv", context_dim, 2 * inner, bias=False)
        linear(g, state, f"pulid_ca.{i}.to_out", inner, width, bias=False)
    return state


def save(state, path):
    """Flat, as .safetensors or, for any other ending, as PyTorch's."""
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return path


def seen_faces(n=1, seed=3, states=STATES, pooled=POOLED, length=LENGTH, **kwargs):
    """FaceEmbeds of n faces with what a vision tower saw of them."""
    g = torch.Generator().manual_seed(seed + 100)
    faces = random_faces(n, clip=None, seed=seed, **kwargs)
    hidden = torch.randn(n, SCALES, length, states, generator=g)
    return replace(faces, structure_pooled=3 * torch.randn(n, pooled, generator=g), structure_hidden=hidden)
