"""The UNet with its text encoder and the FaceID adapter: velocity prediction (arXiv:2202.00512), IP-Adapter's decoupled
attention (arXiv:2308.06721), guidance by dropping conditions (arXiv:2207.12598).

First the adapter's tokens, without a UNet; then all of it together; then, as published, the adapter and its LoRA alone, with
the UNet frozen.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ....models.identity.faceid.projection import identity_tokens, structure_tokens
from ..data import Drawings
from ..drawings.person import STYLES
from ..language import token_ids, unwanted
from ..networks import HEADS, SCHEDULE, SIDE, Adapter, text_encoder, unet
from ..shares import TEXTS, VIEWS
from ..worker import Worker, train
from .conditions import Conditions
from .tokens import train_tokens

RATES = 1.5e-3, 8e-4  # of all together, and of the adapter alone
OFTEN = 80.0  # seconds between two looks at what is there
KEEP = 0.998  # of the running mean, a step
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
        """identity [n, 512], states [n, 257, width]; s_scale and weight [n]."""
        tokens = identity_tokens(self.adapter.weights, identity)
        structure = structure_tokens(self.adapter.weights, tokens, states)
        self.tokens, self.weight = tokens + s_scale[:, None, None] * structure, weight

    def loss(self, latents: Tensor, ids: Tensor, steps: Tensor, noise: Tensor, importance: Tensor) -> Tensor:
        """latents and noise [n, 4, side, side], ids [n, 77], steps [n] in 0..999; importance [n, 1, side, side]."""
        keep, add = (x[steps][:, None, None, None] for x in (self.alphas.sqrt(), (1 - self.alphas).sqrt()))
        context = self.text(ids).last_hidden_state
        seen = self.unet(keep * latents + add * noise, steps, context).sample
        return (importance * (seen.float() - keep * noise + add * latents).square()).mean()


@dataclass(frozen=True)
class Mix:
    """Shares of a batch: no condition at all, prompt without face, and faces whose structure isn't shown or half shown."""

    empty: float
    faceless: float
    unstructured: float = 0.2
    half: float = 0.2


TOGETHER, ALONE = Mix(empty=0.1, faceless=0.25), Mix(empty=0.1, faceless=0.1)


def train_diffusion(
    worker: Worker,
    drawings: Drawings,
    conditions: Conditions,
    tokenizer,
    steps: tuple[int, int, int],
    batch: int = 12,
    tokens_batch: int = 64,
    often: Callable[[LatentDiffusion], None] | None = None,
) -> LatentDiffusion:
    """`steps` with the adapter's tokens alone, with all parameters, with the adapter's alone. `often` sees it on the way.
    Returns the LatentDiffusion."""
    diffusion = worker.build(lambda: LatentDiffusion(len(tokenizer)))
    if worker.device.type == "cuda":
        diffusion.unet.to(memory_format=torch.channels_last)
    train_tokens(worker, drawings, conditions, diffusion.adapter, steps[0], tokens_batch)
    count = max(2, batch // worker.world)
    lora = [p for name, p in diffusion.adapter.weights.items() if "_lora." in name]
    for parameter in lora:
        parameter.requires_grad_(False)
    seen = (OFTEN, lambda: often(diffusion)) if often else None
    learn = Batches(worker, drawings, conditions, tokenizer, count)
    train(worker, STAGE, diffusion, lambda _: learn.loss(diffusion, TOGETHER), steps[1], RATES[0], KEEP, often=seen)
    diffusion.requires_grad_(False)
    diffusion.adapter.requires_grad_(True)
    diffusion.with_lora = True
    train(worker, "adapter", diffusion, lambda _: learn.loss(diffusion, ALONE), steps[2], RATES[1], KEEP)
    return diffusion


class Batches:
    """Examples to learn from."""

    def __init__(self, worker: Worker, drawings: Drawings, conditions: Conditions, tokenizer, count: int):
        self.worker, self.drawings, self.conditions, self.count = worker, drawings, conditions, count
        self.unwanted = torch.from_numpy(token_ids(tokenizer, unwanted())).to(worker.device)

    def loss(self, diffusion: LatentDiffusion, mix: Mix) -> Tensor:
        drawings, n = self.drawings, self.count
        rows = drawings.rows(n)
        kind = self._rand()
        empty, with_face = kind < mix.empty, kind >= mix.empty + mix.faceless
        s_scale, photos = self._photos(rows, mix)
        identity = self.conditions.identities[photos].float().masked_fill(empty[:, None], 0)
        states = torch.where(empty[:, None, None], self.conditions.nothing, self.conditions.states[photos].float())
        half = torch.where(self._rand() < 0.3, 0.6 + 0.5 * self._rand(), torch.ones_like(kind))
        weight = torch.where(empty, (self._rand() < 0.5).float(), half * with_face)
        ids = drawings.texts[rows, (~with_face).long(), self._whole(TEXTS)]
        ids = torch.where(empty[:, None], self._unwanted(), ids.long())
        latents = self.conditions.latents[rows].float()
        importance = cell_importance(drawings.points[rows], latents.shape[-1])
        with self.worker.fast():
            diffusion.look(identity, states, s_scale.masked_fill(empty, 1), weight)
            return diffusion.loss(latents, ids, self._steps(), torch.randn_like(latents), importance)

    def _photos(self, rows: Tensor, mix: Mix) -> tuple[Tensor, Tensor]:
        """How much of the structure is shown, and which photo of the person: of the very view, if any is."""
        styles = len(STYLES)
        people, views = rows // (VIEWS * styles), rows // styles % VIEWS
        chance = self._rand()
        shown = chance >= mix.unstructured
        s_scale = shown * torch.where(chance < mix.unstructured + mix.half, 0.3 + 0.7 * self._rand(), torch.ones_like(chance))
        return s_scale, self.drawings.photos(people, torch.where(shown, views, self._whole(VIEWS)))

    def _unwanted(self) -> Tensor:
        """[n, 77]; the empty text in every second case."""
        others = 1 + self._whole(len(self.unwanted) - 1)
        return self.unwanted[others * (self._rand() < 0.5)]

    def _steps(self) -> Tensor:
        """Half of them uniform; the other half where it is decided who and what is drawn, in the noisier part."""
        noisy = (0.8 * torch.randn(self.count, device=self.worker.device) + 1).sigmoid()
        return (torch.where(self._rand() < 0.5, self._rand(), noisy) * 1000).long().clamp_(max=999)

    def _rand(self) -> Tensor:
        return torch.rand(self.count, device=self.worker.device)

    def _whole(self, below: int) -> Tensor:
        return torch.randint(below, (self.count,), device=self.worker.device)


def cell_importance(points: Tensor, side: int) -> Tensor:
    """Of each cell [n, 1, side, side], 1 on average: cells around the five points [n, 5, 2] count FACE times as much as the
    others, which are mostly background and would otherwise hide what little a pose or an expression changes."""
    low, high = points.amin(dim=1), points.amax(dim=1)
    margin = 0.4 * (high - low)
    middles = ((torch.arange(side, device=points.device) + 0.5) * SIDE / side)[None, :, None]
    inside = (middles > (low - margin)[:, None]) & (middles < (high + margin)[:, None])  # [n, cell, x or y]
    weights = 1 + (FACE - 1) * (inside[:, :, None, 1] & inside[:, None, :, 0]).float()
    return (weights / weights.mean(dim=(1, 2), keepdim=True))[:, None]
