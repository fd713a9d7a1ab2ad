"""FLUX.1 on diffusers' and transformers' own networks: a prompt sampled to pictures.

Source of the loop: diffusers' FluxPipeline, whose pictures it gives bit by bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ...models.checkpoint_kind import CheckpointKind
from ...models.pictures import Watch, unwatched
from .prompts import numbers
from .stable_diffusion import decoded, first_noise

LENGTH = 512  # tokens of T5 that the transformer reads
SIDE = 16  # pixels: of a picture's patches, each of 2x2 latents of 8x8
# How the noise is spread over the steps: for pictures of so few and so many patches, and what lies between.
PATCHES, SHIFTS = ("base_image_seq_len", "max_image_seq_len"), ("base_shift", "max_shift")
USUAL = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}


@dataclass
class Flux:
    """The networks of a folder, as `open_checkpoint` gives them. tokenizers, text_encoders: CLIP's, and T5's."""

    kind: CheckpointKind
    tokenizers: Sequence[Any]
    text_encoders: Sequence[Any]
    transformer: Any
    vae: Any
    scheduler: Any

    scale = 1  # it makes small pictures as well as large ones

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        *,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        generator: torch.Generator | list[torch.Generator],
        samples: int | Sequence[int] = 1,
        progress: str | None = None,
        watch: Watch = unwatched,
    ) -> Tensor:
        """Pictures, RGB float32 on the CPU [n, H, W, 3] (0-1): width and height, up to multiples of 16.

        There are no negative prompts: the model was taught what guidance does, and computes one side. schnell knows no
        `guidance` either. The rest is as of StableDiffusion.
        """
        device, dtype = self.transformer.device, self.transformer.dtype  # looked up among all of its parameters
        states, pooled = self._encode(prompts, samples)
        rows, columns = (-(-side // SIDE) for side in (height, width))
        channels = self.transformer.config.in_channels // 4
        noise = first_noise((len(states), channels, 2 * rows, 2 * columns), generator, device, dtype)
        given = {
            "encoder_hidden_states": states,
            "pooled_projections": pooled,
            "txt_ids": torch.zeros(states.shape[1], 3, device=device, dtype=dtype),
            "img_ids": _places(rows, columns).to(device, dtype),
            "guidance": self._guidance(guidance, len(states)),
        }
        latents = _packed(noise)
        self._set_steps(steps, rows * columns)
        for step, t in enumerate(tqdm(self.scheduler.timesteps, desc=progress, disable=progress is None)):
            watch(step, len(self.scheduler.timesteps))
            time = t.expand(len(latents)).to(dtype) / 1000
            flow = self.transformer(latents, timestep=time, return_dict=False, **given)[0]
            latents = self.scheduler.step(flow, t, latents, return_dict=False)[0]
        watch(len(self.scheduler.timesteps), len(self.scheduler.timesteps))
        config = self.vae.config
        return decoded(self.vae, _unpacked(latents, rows, columns) / config.scaling_factor + config.shift_factor)

    def _encode(self, prompts: Sequence[str], samples: int | Sequence[int]) -> tuple[Tensor, Tensor]:
        """What the transformer reads: T5's states, and CLIP's pooled text; each text `samples` times."""
        outputs = []
        for tokenizer, encoder in zip(self.tokenizers, self.text_encoders, strict=True):
            length = min(tokenizer.model_max_length, LENGTH)
            tokens = tokenizer(list(prompts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            outputs.append(encoder(tokens.input_ids.to(encoder.device)))
        pooled, states = outputs[0].pooler_output, outputs[1][0]
        device, dtype = self.transformer.device, self.transformer.dtype
        rows = numbers(len(prompts), samples)
        return states[rows].to(device, dtype), pooled[rows].to(device, dtype)

    def _guidance(self, guidance: float, count: int) -> Tensor | None:
        if not self.transformer.config.guidance_embeds:
            return None
        return torch.full((count,), guidance, device=self.transformer.device)

    def _set_steps(self, steps: int, patches: int) -> None:
        """The noise is spread over the steps as is right for so many patches of a picture."""
        settings = {name: self.scheduler.config.get(name, usual) for name, usual in USUAL.items()}
        (few, many), (low, high) = ([settings[name] for name in names] for names in (PATCHES, SHIFTS))
        slope = (high - low) / (many - few)
        shift = patches * slope + (low - slope * few)
        sigmas = np.linspace(1.0, 1 / steps, steps)
        self.scheduler.set_timesteps(sigmas=sigmas, mu=shift, device=self.transformer.device)
        self.scheduler.set_begin_index(0)


def _places(rows: int, columns: int) -> Tensor:
    """Of each patch [rows x columns, 3]: 0, its row, its column."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).flatten(0, 1)


def _packed(latents: Tensor) -> Tensor:
    """[n, channels, 2 x rows, 2 x columns] -> a token for each patch, [n, rows x columns, channels x 4]."""
    n, channels, height, width = latents.shape
    patches = latents.reshape(n, channels, height // 2, 2, width // 2, 2)
    return patches.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def _unpacked(tokens: Tensor, rows: int, columns: int) -> Tensor:
    """The other way round."""
    patches = tokens.reshape(len(tokens), rows, columns, -1, 2, 2)
    return patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
