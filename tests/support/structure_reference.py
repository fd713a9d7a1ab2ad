"""The two networks that see the structure of a face, written plainly from the papers and the published tensors.

Checked by hand against the code that they were published with (facexlib's BiSeNet, EVA-CLIP's vision transformer).
"""

import math

import torch
import torch.nn.functional as F


def conv(state, name, x, stride=1):
    weight = state[f"{name}.weight"]
    return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)


def batch_norm(state, name, x):
    mean, var, weight, bias = (
        state[f"{name}.{part}"][:, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def block(state, name, x):
    return batch_norm(state, f"{name}.bn", conv(state, f"{name}.conv", x)).relu()


def residual(state, name, x, stride):
    y = batch_norm(state, f"{name}.bn1", conv(state, f"{name}.conv1", x, stride)).relu()
    y = batch_norm(state, f"{name}.bn2", conv(state, f"{name}.conv2", y))
    if f"{name}.downsample.0.weight" in state:
        x = batch_norm(state, f"{name}.downsample.1", conv(state, f"{name}.downsample.0", x, stride))
    return (x + y).relu()


def everywhere(x):
    return x.mean((2, 3), keepdim=True)


def repeat(x, like):
    return x.repeat_interleave(like.shape[2] // x.shape[2], 2).repeat_interleave(like.shape[3] // x.shape[3], 3)


def parsing(state, pictures):
    """RGB [B, 3, H, W] (0-1) to scores of the classes [B, classes, H, W]."""
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    x = batch_norm(state, "cp.resnet.bn1", conv(state, "cp.resnet.conv1", (pictures - mean) / std, 2)).relu()
    x = F.max_pool2d(x, 3, 2, 1)
    stages = []
    for stage in (1, 2, 3, 4):
        x = residual(state, f"cp.resnet.layer{stage}.0", x, 1 if stage == 1 else 2)
        x = residual(state, f"cp.resnet.layer{stage}.1", x, 1)
        stages.append(x)
    _, eighth, sixteenth, last = stages

    def refined(name, x):
        x = block(state, f"cp.{name}.conv", x)
        return x * batch_norm(state, f"cp.{name}.bn_atten", conv(state, f"cp.{name}.conv_atten", everywhere(x))).sigmoid()

    context = refined("arm32", last) + block(state, "cp.conv_avg", everywhere(last))
    context = refined("arm16", sixteenth) + block(state, "cp.conv_head32", repeat(context, sixteenth))
    context = block(state, "cp.conv_head16", repeat(context, eighth))
    x = block(state, "ffm.convblk", torch.cat([eighth, context], 1))
    x = x + x * conv(state, "ffm.conv2", conv(state, "ffm.conv1", everywhere(x)).relu()).sigmoid()
    scores = conv(state, "conv_out.conv_out", block(state, "conv_out.conv", x))
    return F.interpolate(scores, size=pictures.shape[2:], mode="bilinear", align_corners=True)


def norm(state, name, x):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def rotated(x, grid):
    """Queries or keys [grid², 64] of the patches, each pair of channels turned by an angle of its row or column."""
    half = x.shape[1] // 2
    frequencies = 10000.0 ** (-torch.arange(0, half, 2) / half)
    angles = torch.arange(grid)[:, None] / grid * 16 * frequencies  # as on a grid of 16
    rows, columns = angles[:, None].expand(-1, grid, -1), angles[None].expand(grid, -1, -1)
    turned = torch.cat([rows, columns], -1).reshape(grid**2, half)
    even, odd = x[:, ::2], x[:, 1::2]
    return torch.stack([even * turned.cos() - odd * turned.sin(), odd * turned.cos() + even * turned.sin()], -1).flatten(1)


def tower(state, picture, prefix="visual."):
    """RGB [3, side, side] (0-1): the output, and the states [5, length, width] that enter blocks 4, 8, 12, 16, 20."""
    state = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073])[:, None, None]
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711])[:, None, None]
    weight = state["patch_embed.proj.weight"]
    patches = F.conv2d(((picture - mean) / std)[None], weight, state["patch_embed.proj.bias"], stride=weight.shape[-1])
    grid = patches.shape[-1]
    x = torch.cat([state["cls_token"][0], patches[0].flatten(1).T]) + state["pos_embed"][0]
    hidden = []
    for i in range(1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks."))):
        if i in (4, 8, 12, 16, 20):
            hidden.append(x)
        name = f"blocks.{i}"
        y = norm(state, f"{name}.norm1", x)
        q = y @ state[f"{name}.attn.q_proj.weight"].T + state[f"{name}.attn.q_bias"]
        k = y @ state[f"{name}.attn.k_proj.weight"].T
        v = y @ state[f"{name}.attn.v_proj.weight"].T + state[f"{name}.attn.v_bias"]
        heads = []
        for start in range(0, q.shape[1], 64):
            head = slice(start, start + 64)
            queries, keys = (torch.cat([t[:1, head], rotated(t[1:, head], grid)]) for t in (q, k))
            heads.append((queries @ keys.T / math.sqrt(64)).softmax(-1) @ v[:, head])
        x = x + linear(state, f"{name}.attn.proj", norm(state, f"{name}.attn.inner_attn_ln", torch.cat(heads, 1)))
        y = norm(state, f"{name}.norm2", x)
        gate = linear(state, f"{name}.mlp.w1", y)
        y = norm(state, f"{name}.mlp.ffn_ln", gate * gate.sigmoid() * linear(state, f"{name}.mlp.w2", y))
        x = x + linear(state, f"{name}.mlp.w3", y)
    return linear(state, "head", norm(state, "norm", x)[0]), torch.stack(hidden)
