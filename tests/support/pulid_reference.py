"""PuLID written plainly, from the paper and the published tensors: step by step, with matrices, one face at a time.

Checked by hand against the method's own code (https://github.com/ToTheBeginning/PuLID) on random weights.
"""

import math

import torch


def linear(state, name, x):
    x = x @ state[f"{name}.weight"].T
    return x + state[f"{name}.bias"] if f"{name}.bias" in state else x


def norm(state, name, x):
    centred = x - x.mean(-1, keepdim=True)
    deviation = (centred.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    return centred / deviation * state[f"{name}.weight"] + state[f"{name}.bias"]


def leaky(x):
    return torch.where(x > 0, x, 0.01 * x)


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))


def mapping(state, name, x):
    x = leaky(norm(state, f"{name}.1", linear(state, f"{name}.0", x)))
    x = leaky(norm(state, f"{name}.4", linear(state, f"{name}.3", x)))
    return linear(state, f"{name}.6", x)


def attention(q, k, v, head_dim):
    """[length, width] each; head after head."""
    out = []
    for start in range(0, q.shape[1], head_dim):
        head = slice(start, start + head_dim)
        scores = q[:, head] @ k[:, head].T / math.sqrt(head_dim)
        out.append(scores.softmax(-1) @ v[:, head])
    return torch.cat(out, dim=1)


def vector(identity, pooled):
    """What the encoders read: the recogniser's 512 numbers as they are, the vision tower's output with length 1."""
    length = pooled.norm()
    return torch.cat([identity, pooled / length if length > 0 else pooled])


def idformer(state, root, vectors, hidden):
    """vectors: a list, one for each photo; hidden: a list of [5, length, width]. Returns [queries, context_dim]."""
    latents = state[f"{root}.latents"][0]
    count, dim = latents.shape
    seen = torch.cat([mapping(state, f"{root}.id_embedding_mapping", x).reshape(-1, dim) for x in vectors])
    latents = torch.cat([latents, seen])
    layers = [i for i in range(100) if f"{root}.layers.{i}.0.to_q.weight" in state]
    for scale in range(5):
        context = torch.cat([seen, mapping(state, f"{root}.mapping_{scale}", torch.cat([h[scale] for h in hidden]))])
        for i in layers[scale * len(layers) // 5 : (scale + 1) * len(layers) // 5]:
            name = f"{root}.layers.{i}"
            normed = norm(state, f"{name}.0.norm2", latents)
            q = linear(state, f"{name}.0.to_q", normed)
            both = linear(state, f"{name}.0.to_kv", torch.cat([norm(state, f"{name}.0.norm1", context), normed]))
            k, v = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
            latents = latents + linear(state, f"{name}.0.to_out", attention(q, k, v, 64))
            hidden_layer = gelu(linear(state, f"{name}.1.1", norm(state, f"{name}.1.0", latents)))
            latents = latents + linear(state, f"{name}.1.3", hidden_layer)
    return latents[:count] @ state[f"{root}.proj_out"]


def mlp_encoder(state, root, vectors, hidden):
    """As idformer; of photos after the first only the identity's tokens."""
    context = state[f"{root}.mapping_0.6.weight"].shape[0]
    tokens = [mapping(state, f"{root}.body", x).reshape(-1, context) for x in vectors]
    scales = []
    for i in range(5):
        patches = mapping(state, f"{root}.mapping_patch_{i}", hidden[0][i][1:])
        scales.append(mapping(state, f"{root}.mapping_{i}", hidden[0][i][:1]) + patches.mean(0, keepdim=True))
    return torch.cat([tokens[0], *scales, *tokens[1:]])


def sdxl_addition(state, block, tokens, own, q, heads, weight, projection, num_zero):
    """What PuLID adds to a block's own attention `own` [length, width] of one latent; tokens [n, context_dim]."""
    tokens = torch.cat([tokens, torch.zeros(num_zero, tokens.shape[1])])
    k = tokens @ state[f"id_adapter_attn_layers.{2 * block + 1}.id_to_k.weight"].T
    v = tokens @ state[f"id_adapter_attn_layers.{2 * block + 1}.id_to_v.weight"].T
    head_dim = q.shape[1] // heads
    face = attention(q, k, v, head_dim)
    if projection == "plain":
        return weight * face
    along = torch.stack([own[:, c] * (own[:, c] @ face[:, c]) / (own[:, c] @ own[:, c]) for c in range(own.shape[1])], dim=1)
    if projection == "orthogonal v1":
        return weight * (face - along)
    shares = [
        (q[:, i : i + head_dim] @ k[:, i : i + head_dim].T).softmax(-1)[:, :5].sum(-1) for i in range(0, q.shape[1], head_dim)
    ]
    return weight * (face - (1 - torch.stack(shares).mean(0)[:, None]) * along)


def flux_addition(state, layer, tokens, picture, weight):
    """What layer number `layer` adds to the picture's states [length, width] of one latent."""
    name = f"pulid_ca.{layer}"
    q = linear(state, f"{name}.to_q", norm(state, f"{name}.norm2", picture))
    both = linear(state, f"{name}.to_kv", norm(state, f"{name}.norm1", tokens))
    k, v = both[:, : both.shape[1] // 2], both[:, both.shape[1] // 2 :]
    return weight * linear(state, f"{name}.to_out", attention(q, k, v, 128))
