"""The UNet with its text encoder and the FaceID adapter: velocity prediction (arXiv:2202.00512), IP-Adapter's decoupled
attention (arXiv:2308.06721), guidance by dropping conditions (arXiv:2207.12598).

First the adapter's tokens, without a UNet; then all of it together; then, as published, the adapter and its LoRA alone, with
the UNet frozen.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.identity.faceid.projection import identity_tokens, structure_tokens
from ..data import Drawings
from ..drawings.person import STYLES
from ..language import caption, token_ids, unwanted
from ..networks import HEADS, SCHEDULE, SIDE, Adapter, text_encoder, unet
from ..worker import Worker, train
from .conditions import Conditions, photo_of
from .tokens import train_tokens

FACE = 4.0  # importance of a cell of the face, against another one
STAGE = "painter"  # seeds the stage's chance and names its file: another name gives another model


class FaceAttention:
    """A diffusers attention processor that is trained: LoRA on all parts, and in cross-attention the face's tokens."""

    def __init__(self, diffusion: "LatentDiffusion", number: int):
        self.diffusion, self.number = diffusion, number

    def _part(self, layer: nn.Module, part: str, x: Tensor) -> Tensor:
        out = layer(x)
        if not self.diffusion.with_lora:
            return out
        down, up = (self._weight(f"to_{part}_lora.{side}") for side in ("down", "up"))
        return out + F.linear(F.linear(x, down), up)

    def _weight(self, name: str) -> Tensor:
        return self.diffusion.adapter.weights[f"ip_adapter.{self.number}.{name}.weight"]

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        q = self._part(attn.to_q, "q", hidden_states)
        out = _attend(q, self._part(attn.to_k, "k", context), self._part(attn.to_v, "v", context))
        if encoder_hidden_states is not None:
            face = (F.linear(self.diffusion.tokens, self._weight(f"to_{part}_ip")) for part in "kv")
            out = out + self.diffusion.weight[:, None, None] * _attend(q, *face)
        return self._part(attn.to_out[0], "out", out)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class LatentDiffusion(nn.Module):
    """tokens and weight: the face's tokens [n, 4, context] and how much they act [n], set before the UNet is called."""

    def __init__(self, vocabulary: int):
        super().__init__()
        self.unet, self.text = unet(), text_encoder(vocabulary)
        # Numbered down, up, middle; each attends to itself, then to the prompt.
        names = list(self.unet.attn_processors)
        self.adapter = Adapter([self.unet.get_submodule(name.removesuffix(".processor")).to_q.in_features for name in names])
        self.unet.set_attn_processor({name: FaceAttention(self, number) for number, name in enumerate(names)})
        self.with_lora = False
        self.tokens = self.weight = None
        betas = torch.linspace(SCHEDULE["beta_start"] ** 0.5, SCHEDULE["beta_end"] ** 0.5, 1000) ** 2
        self.register_buffer("alphas", (1 - betas).cumprod(0), persistent=False)
        self._start_face_like_text(names)

    def _start_face_like_text(self, names: list[str]) -> None:
        weights = self.adapter.weights
        with torch.no_grad():
            for number, name in enumerate(names):
                if number % 2:
                    attention = self.unet.get_submodule(name.removesuffix(".processor"))
                    weights[f"ip_adapter.{number}.to_k_ip.weight"].copy_(attention.to_k.weight)
                    weights[f"ip_adapter.{number}.to_v_ip.weight"].copy_(attention.to_v.weight)

    def look(self, identity: Tensor, states: Tensor, s_scale: Tensor, weight: Tensor) -> None:
        """identity [n, 512], states [n, 257, 64]; s_scale and weight [n]."""
        tokens = identity_tokens(self.adapter.weights, identity)
        structure = structure_tokens(self.adapter.weights, tokens, states)
        self.tokens, self.weight = tokens + s_scale[:, None, None] * structure, weight

    def loss(self, latents: Tensor, ids: Tensor, steps: Tensor, noise: Tensor, importance: Tensor) -> Tensor:
        """latents and noise [n, 4, 16, 16], ids [n, 77], steps [n] in 0..999; importance [n, 1, 16, 16], of each cell."""
        keep, add = (x[steps][:, None, None, None] for x in (self.alphas.sqrt(), (1 - self.alphas).sqrt()))
        context = self.text(ids).last_hidden_state
        seen = self.unet(keep * latents + add * noise, steps, context).sample
        return (importance * (seen - keep * noise + add * latents).square()).mean()


@dataclass(frozen=True)
class Mix:
    """Shares of a batch: no condition at all, prompt without face, and faces whose structure isn't shown.

    kept: how much a caption says, with a face and without.
    """

    empty: float
    faceless: float
    unstructured: float = 0.2
    kept: tuple[float, float] = (0.35, 0.85)


TOGETHER, ALONE = Mix(empty=0.1, faceless=0.25), Mix(empty=0.1, faceless=0.1)


def train_diffusion(
    worker: Worker, drawings: Drawings, conditions: Conditions, tokenizer, steps: tuple[int, int, int], batch=12
) -> LatentDiffusion:
    """`steps` with the adapter's tokens alone, with all parameters, with the adapter's alone. Returns the LatentDiffusion."""
    diffusion = worker.build(lambda: LatentDiffusion(len(tokenizer)))
    train_tokens(worker, drawings, conditions, diffusion.adapter, steps[0])
    count = max(2, batch // worker.world)
    lora = [p for name, p in diffusion.adapter.weights.items() if "_lora." in name]
    for parameter in lora:
        parameter.requires_grad_(False)
    train(
        worker,
        STAGE,
        diffusion,
        lambda rng: _loss(diffusion, drawings, conditions, tokenizer, rng, count, TOGETHER),
        steps[1],
        1e-3,
    )
    diffusion.requires_grad_(False)
    diffusion.adapter.requires_grad_(True)
    diffusion.with_lora = True
    train(
        worker,
        "adapter",
        diffusion,
        lambda rng: _loss(diffusion, drawings, conditions, tokenizer, rng, count, ALONE),
        steps[2],
        6e-4,
    )
    return diffusion


def _loss(
    diffusion: LatentDiffusion, drawings: Drawings, conditions: Conditions, tokenizer, rng, count: int, mix: Mix
) -> Tensor:
    rows = [_row(drawings, conditions, rng, mix) for _ in range(count)]
    texts, *arrays = zip(*rows, strict=True)
    device = diffusion.alphas.device
    latents, importance, identity, states, s_scale, weight = (
        torch.from_numpy(np.stack(a).astype(np.float32)).to(device) for a in arrays
    )
    diffusion.look(identity, states, s_scale, weight)
    noise = torch.from_numpy(rng.standard_normal(latents.shape).astype(np.float32)).to(device)
    ids, times = token_ids(tokenizer, list(texts)).to(device), _steps(rng, count).to(device)
    return diffusion.loss(latents, ids, times, noise, importance)


def _steps(rng: np.random.Generator, count: int) -> Tensor:
    """Half of them uniform; the other half where it is decided who and what is drawn, in the noisier part."""
    uniform, noisy = rng.random(count), 1 / (1 + np.exp(-(0.8 * rng.standard_normal(count) + 1)))
    return torch.from_numpy((np.where(rng.random(count) < 0.5, uniform, noisy) * 1000).astype(np.int64))


def _row(drawings: Drawings, conditions: Conditions, rng: np.random.Generator, mix: Mix) -> tuple:
    """One example: caption, latents, importance of their cells, identity, CLIP states, s_scale, weight of the face."""
    person, view, style = (int(rng.integers(n)) for n in drawings.pictures.shape[:3])
    latents, changed = conditions.latents[person, view, style], bool(drawings.changed[person, view, style])
    importance = cell_importance(drawings.points[person, view, style], latents.shape[-1])
    phrases, kind = drawings.captions[person][view][style], rng.random()
    if kind < mix.empty:
        faceless = float(rng.random() < 0.5)
        return unwanted(rng), latents, importance, np.zeros(512), conditions.nothing, 1.0, faceless
    s_scale = float(rng.random() >= mix.unstructured)
    photo = photo_of(drawings, rng, person, view if s_scale else int(rng.integers(2)))
    with_face = kind >= mix.empty + mix.faceless
    text = caption(STYLES[style], phrases, rng, mix.kept[0 if with_face else 1], changed)
    weight = rng.uniform(0.6, 1.1) if rng.random() < 0.3 else 1.0
    face = conditions.identities[photo], conditions.states[photo], s_scale, weight * with_face
    return text, latents, importance, *face


def cell_importance(points: np.ndarray, side: int) -> np.ndarray:
    """Of each cell [1, side, side], 1 on average: cells around the five points count FACE times as much as the others, which
    are mostly background and would otherwise hide what little a pose or an expression changes."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.4 * (high - low)
    middles = (np.arange(side) + 0.5) * SIDE / side
    inside = (middles[:, None] > low - margin) & (middles[:, None] < high + margin)  # [cell, x or y]
    weights = np.where(inside[None, :, 1, None] & inside[None, None, :, 0], FACE, 1.0)
    return weights / weights.mean()
