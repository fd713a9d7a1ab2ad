"""Stable Diffusion 1.5 and XL on diffusers' and transformers' own networks: a prompt sampled to pictures.

Only what is used is imported: diffusers' pipelines bring much more, and take longer to import than a small picture to sample.
Source of the loop: diffusers' StableDiffusionPipeline and StableDiffusionXLPipeline, whose pictures it gives bit by bit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from tqdm import tqdm

from ...errors import FaceGenError
from ...models.checkpoint_kind import SDXL, CheckpointKind
from ...models.pictures import Watch, unwatched
from .prompts import Text, encode, numbers

# Called in each step with the latents, the time and what else the UNet is told (`added_cond_kwargs`); gives more for it.
Control = Callable[[Tensor, Tensor, dict[str, Tensor] | None], dict[str, Any]]


@dataclass
class StableDiffusion:
    """A checkpoint's networks, as `open_checkpoint` gives them."""

    kind: CheckpointKind
    tokenizers: Sequence[Any]
    text_encoders: Sequence[Any]
    unet: Any
    vae: Any
    scheduler: Any

    @property
    def scale(self) -> int:
        """How many times as large as a small picture of SD1.5 it has to be sampled: SDXL knows pictures of 1024x1024 pixels."""
        return 2 if self.kind.base == SDXL else 1

    @torch.no_grad()
    def sample(
        self,
        prompts: Sequence[str],
        negative_prompts: Sequence[str],
        *,
        width: int,
        height: int,
        steps: int,
        guidance: float,
        generator: torch.Generator | list[torch.Generator],
        samples: int | Sequence[int] = 1,
        control: Control | None = None,
        progress: str | None = None,
        watch: Watch = unwatched,
    ) -> Tensor:
        """Pictures, RGB float32 on the CPU [n, height, width, 3] (0-1), those of the first prompt first.

        prompts, negative_prompts  one of each for every kind of picture.
        width, height              multiples of 8.
        guidance                   scale of classifier-free guidance; at 1 or less the negative prompts are left out.
        generator                  of all noise: one for all pictures, or one for each; neighbours may share theirs.
        samples                    how many pictures of every prompt, or of each.
        control                    what else acts on the UNet in each step.
        progress                   label of a progress bar; None shows none.
        watch                      is told of the steps as of a batch's pictures: before each, and after the last.
        """
        device, dtype = self.unet.device, self.unet.dtype  # looked up among all of its parameters
        guided = guidance > 1
        text = self._encode(prompts, samples)
        if guided:
            text = text.after(self._encode(negative_prompts, samples))
        context, added = text.states.to(dtype), self._added(text, width, height)
        self.scheduler.set_timesteps(steps, device=device)
        shape = (len(numbers(len(prompts), samples)), self.unet.config.in_channels, height // 8, width // 8)
        latents = first_noise(shape, generator, device, dtype) * self.scheduler.init_noise_sigma
        for step, t in enumerate(tqdm(self.scheduler.timesteps, desc=progress, disable=progress is None)):
            watch(step, len(self.scheduler.timesteps))
            given = self.scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
            more = control(given, t, added) if control else {}
            noise = self.unet(given, t, encoder_hidden_states=context, added_cond_kwargs=added, return_dict=False, **more)[0]
            if guided:
                without, with_prompt = noise.chunk(2)
                noise = without + guidance * (with_prompt - without)
            latents = self.scheduler.step(noise, t, latents, generator=generator, return_dict=False)[0]
        watch(len(self.scheduler.timesteps), len(self.scheduler.timesteps))
        return decoded(self.vae, latents.to(self.vae.dtype) / self.vae.config.scaling_factor)

    def _encode(self, texts: Sequence[str], samples: int | Sequence[int]) -> Text:
        return encode(self.tokenizers, self.text_encoders, texts, samples)

    def _added(self, text: Text, width: int, height: int) -> dict[str, Tensor] | None:
        """What SDXL's UNet is told beside the text's states: the pooled text and, for each row, that the picture had its size
        from the beginning and is whole."""
        if text.pooled is None:
            return None
        pooled = text.pooled.to(self.unet.dtype)
        sizes = torch.tensor([[height, width, 0, 0, height, width]], device=pooled.device, dtype=pooled.dtype)
        return {"text_embeds": pooled, "time_ids": sizes.expand(len(pooled), -1)}


def first_noise(
    shape: tuple[int, ...], generator: torch.Generator | list[torch.Generator], device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Normal numbers from one generator, or from one for each row. Rows that share theirs get what they would get alone: drawn
    one by one, they would get others."""
    if isinstance(generator, torch.Generator):
        drawn: Tensor = randn_tensor(shape, generator=generator, device=device, dtype=dtype)
        return drawn
    shared = [list(rows) for _, rows in groupby(generator, key=id)]
    return torch.cat([first_noise((len(rows), *shape[1:]), rows[0], device, dtype) for rows in shared])


def decoded(vae: Any, latents: Tensor) -> Tensor:
    """Latents as the VAE was trained on them to pictures, RGB float32 on the CPU [n, H, W, 3] (0-1).

    Raises FaceGenError for NaN and infinite values."""
    pixels = vae.decode(latents, return_dict=False)[0]
    if not pixels.isfinite().all():  # they would be black when they are written
        raise FaceGenError(
            "The checkpoint gave pictures that hold NaN or infinite values: it is damaged, or its networks overflow in "
            f"{str(pixels.dtype).removeprefix('torch.')}. Nothing is delivered of them; use another checkpoint."
        )
    pictures: Tensor = (pixels * 0.5 + 0.5).clamp(0, 1).movedim(1, -1).float().cpu()
    return pictures
