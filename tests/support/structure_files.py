"""Files of the two networks that see the structure of a face, with the published tensor names and random weights.

Widths are small."""

from pathlib import Path

import torch

LAYERS = (8, 8, 8, 16)  # widths of ResNet-18's stages; published: 64, 128, 256, 512


def _conv(g, state, name, out, into, kernel):
    state[f"{name}.weight"] = torch.randn(out, into, kernel, kernel, generator=g) / (into * kernel**2) ** 0.5


def _batch_norm(g, state, name, width):
    state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=g)
    state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=g)
    state[f"{name}.running_mean"] = 0.1 * torch.randn(width, generator=g)
    state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=g)
    state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def _block(g, state, name, out, into, kernel):
    _conv(g, state, f"{name}.conv", out, into, kernel)
    _batch_norm(g, state, f"{name}.bn", out)


def parsing_state(seed=0, classes=19, context=8, fused=16):
    """parsing_bisenet.pth (published: context 128, fused 256)."""
    g, state = torch.Generator().manual_seed(seed), {}
    _conv(g, state, "cp.resnet.conv1", LAYERS[0], 3, 7)
    _batch_norm(g, state, "cp.resnet.bn1", LAYERS[0])
    into = LAYERS[0]
    for stage, out in enumerate(LAYERS, 1):
        for block in (0, 1):
            name = f"cp.resnet.layer{stage}.{block}"
            _conv(g, state, f"{name}.conv1", out, into, 3)
            _batch_norm(g, state, f"{name}.bn1", out)
            _conv(g, state, f"{name}.conv2", out, out, 3)
            _batch_norm(g, state, f"{name}.bn2", out)
            if block == 0 and stage > 1:
                _conv(g, state, f"{name}.downsample.0", out, into, 1)
                _batch_norm(g, state, f"{name}.downsample.1", out)
            into = out
    for part, width in (("arm16", LAYERS[2]), ("arm32", LAYERS[3])):
        _block(g, state, f"cp.{part}.conv", context, width, 3)
        _conv(g, state, f"cp.{part}.conv_atten", context, context, 1)
        _batch_norm(g, state, f"cp.{part}.bn_atten", context)
    _block(g, state, "cp.conv_head32", context, context, 3)
    _block(g, state, "cp.conv_head16", context, context, 3)
    _block(g, state, "cp.conv_avg", context, LAYERS[3], 1)
    _block(g, state, "ffm.convblk", fused, LAYERS[1] + context, 1)
    _conv(g, state, "ffm.conv1", fused // 4, fused, 1)
    _conv(g, state, "ffm.conv2", fused, fused // 4, 1)
    for name, width, middle in (("conv_out", fused, fused), ("conv_out16", context, 8), ("conv_out32", context, 8)):
        _block(g, state, f"{name}.conv", middle, width, 3)
        _conv(g, state, f"{name}.conv_out", classes, middle, 1)
    return state


def tower_state(seed=0, width=64, blocks=24, side=336, patch=14, pooled=40, prefix="visual."):
    """EVA02_CLIP_L_336_psz14_s6B.pt (published: width 1024, pooled 768), with a little of the text tower."""
    g, state = torch.Generator().manual_seed(seed), {}
    hidden, grid = int(width * 2.6667), side // patch

    def linear(name, out, into, bias=True):
        state[f"{prefix}{name}.weight"] = torch.randn(out, into, generator=g) / into**0.5
        if bias:
            state[f"{prefix}{name}.bias"] = 0.1 * torch.randn(out, generator=g)

    def norm(name, dim):
        state[f"{prefix}{name}.weight"] = 1 + 0.1 * torch.randn(dim, generator=g)
        state[f"{prefix}{name}.bias"] = 0.1 * torch.randn(dim, generator=g)

    state[f"{prefix}cls_token"] = 0.1 * torch.randn(1, 1, width, generator=g)
    state[f"{prefix}pos_embed"] = 0.1 * torch.randn(1, 1 + grid**2, width, generator=g)
    state[f"{prefix}patch_embed.proj.weight"] = torch.randn(width, 3, patch, patch, generator=g) / (3 * patch**2) ** 0.5
    state[f"{prefix}patch_embed.proj.bias"] = 0.1 * torch.randn(width, generator=g)
    for i in range(blocks):
        name = f"blocks.{i}"
        norm(f"{name}.norm1", width)
        for part in "qkv":
            linear(f"{name}.attn.{part}_proj", width, width, bias=False)
        for part in "qv":
            state[f"{prefix}{name}.attn.{part}_bias"] = 0.1 * torch.randn(width, generator=g)
        norm(f"{name}.attn.inner_attn_ln", width)
        linear(f"{name}.attn.proj", width, width)
        norm(f"{name}.norm2", width)
        linear(f"{name}.mlp.w1", hidden, width)
        linear(f"{name}.mlp.w2", hidden, width)
        norm(f"{name}.mlp.ffn_ln", hidden)
        linear(f"{name}.mlp.w3", width, hidden)
    norm("norm", width)
    linear("head", pooled, width)
    state[f"{prefix}rope.freqs_cos"] = torch.zeros(grid**2, 64)  # not read: computed
    return state | {"text.positional_embedding": torch.zeros(77, 8), "logit_scale": torch.ones(())}


def save_structure(models: Path) -> list[Path]:
    """Both under their published names, in a models folder."""
    tower, parsing = models / "clip_vision" / "EVA02_CLIP_L_336_psz14_s6B.pt", models / "facexlib" / "parsing_bisenet.pth"
    parsing.parent.mkdir(exist_ok=True)
    torch.save(tower_state(), tower)
    torch.save(parsing_state(), parsing)
    return [tower, parsing]
