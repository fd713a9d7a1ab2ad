"""Latents as the engine samples them: Euler's method, with guidance, both sides in one batch."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..networks import SCHEDULE
from .diffusion import LatentDiffusion

GUIDANCE, STEPS = 2.0, 20


@dataclass(frozen=True)
class Side:
    """Of a batch, prompted or not: ids [n, 77], identity [n, 512] and states [n, 257, width] of the faces."""

    ids: Tensor
    identity: Tensor
    states: Tensor


@torch.no_grad()
def sample(
    diffusion: LatentDiffusion,
    unwanted: Side,
    wanted: Side,
    s_scale: Tensor,
    weight: Tensor,
    noise: Tensor,
    guidance: float = GUIDANCE,
    steps: int = STEPS,
) -> Tensor:
    """s_scale and weight [n] of each face; noise [n, 4, side, side] of variance 1. Returns latents of that shape."""
    from diffusers import EulerDiscreteScheduler

    device = noise.device
    scheduler = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="leading")
    scheduler.set_timesteps(steps, device=device)
    latents = noise * scheduler.init_noise_sigma
    with torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
        context = diffusion.text(torch.cat([unwanted.ids, wanted.ids])).last_hidden_state
        diffusion.look(
            torch.cat([unwanted.identity, wanted.identity]),
            torch.cat([unwanted.states, wanted.states]),
            s_scale.repeat(2),
            weight.repeat(2),
        )
        for step in scheduler.timesteps:
            x = scheduler.scale_model_input(latents, step)
            without, with_ = diffusion.unet(torch.cat([x, x]), step, context).sample.float().chunk(2)
            latents = scheduler.step(without + guidance * (with_ - without), step, latents).prev_sample
    return latents
