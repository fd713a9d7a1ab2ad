"""Stable Diffusion 1.5 on diffusers' and transformers' own networks: a checkpoint opened, a prompt sampled to pictures.

Only what is used is imported: diffusers' pipelines bring much more, and take longer to import than a small picture to sample.
Source of the loop: diffusers' StableDiffusionPipeline, whose pictures it gives bit by bit.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.utils.torch_utils import randn_tensor
from torch import Tensor
from tqdm import tqdm
from transformers.models.clip import CLIPTextModel, CLIPTokenizer

from ..errors import FaceGenError
from ..models.pictures import Watch, unwatched


@dataclass
class StableDiffusion:
    """A checkpoint's networks, as `open_checkpoint` gives them."""

    tokenizer: Any
    text_encoder: Any
    unet: Any
    vae: Any
    scheduler: Any

    def to(self, device: torch.device, dtype: torch.dtype) -> "StableDiffusion":
        for network in (self.text_encoder, self.unet, self.vae):
            network.to(device, dtype).eval()
        return self

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
        samples: int = 1,
        progress: str | None = None,
        watch: Watch = unwatched,
    ) -> Tensor:
        """Pictures, RGB float32 on the CPU [prompts x samples, height, width, 3] (0-1).

        prompts, negative_prompts  one of each for every kind of picture.
        width, height              multiples of 8.
        guidance                   scale of classifier-free guidance; at 1 or less the negative prompts are left out.
        generator                  of all noise: one for all pictures, or one for each.
        progress                   label of a progress bar; None shows none.
        watch                      is told of the steps as of a batch's pictures: before each, and after the last.
        """
        device, dtype = self.unet.device, self.unet.dtype  # looked up among all of its parameters
        guided = guidance > 1
        context = self._encode(prompts, samples)
        if guided:
            context = torch.cat([self._encode(negative_prompts, samples), context])
        self.scheduler.set_timesteps(steps, device=device)
        shape = (len(prompts) * samples, self.unet.config.in_channels, height // 8, width // 8)
        latents = randn_tensor(shape, generator=generator, device=device, dtype=dtype) * self.scheduler.init_noise_sigma
        for step, t in enumerate(tqdm(self.scheduler.timesteps, desc=progress, disable=progress is None)):
            watch(step, len(self.scheduler.timesteps))
            given = self.scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, t)
            noise = self.unet(given, t, encoder_hidden_states=context, return_dict=False)[0]
            if guided:
                without, with_prompt = noise.chunk(2)
                noise = without + guidance * (with_prompt - without)
            latents = self.scheduler.step(noise, t, latents, generator=generator, return_dict=False)[0]
        watch(len(self.scheduler.timesteps), len(self.scheduler.timesteps))
        decoded = self.vae.decode(latents / self.vae.config.scaling_factor, return_dict=False)[0]
        pictures: Tensor = (decoded * 0.5 + 0.5).clamp(0, 1).movedim(1, -1).float().cpu()
        return pictures

    def _encode(self, texts: Sequence[str], samples: int) -> Tensor:
        """Text states [texts x samples, 77, width]; what is beyond the 77 tokens is cut off."""
        length = self.tokenizer.model_max_length
        tokens = self.tokenizer(list(texts), padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        states: Tensor = self.text_encoder(tokens.input_ids.to(self.text_encoder.device), attention_mask=None)[0]
        return states.to(self.unet.dtype).repeat_interleave(samples, 0)


def open_checkpoint(path: Path) -> StableDiffusion:
    """A diffusers folder, or a single file, whose small configuration files diffusers fetches from the hub once.

    The networks are float32 on the CPU. Raises FaceGenError when it can't be loaded as Stable Diffusion 1.5.
    """
    try:
        parts = _from_folder(path) if path.is_dir() else _from_single_file(path)
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        raise FaceGenError(f"{path} could not be loaded as a Stable Diffusion 1.5 checkpoint: {error}") from error
    return StableDiffusion(**parts)


def _from_folder(folder: Path) -> dict[str, Any]:
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    if index.get("vae", ["", ""])[1] == "AutoencoderTiny":
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny as Autoencoder
    else:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as Autoencoder
    here = {"local_files_only": True}
    return {
        "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer", **here),
        "text_encoder": CLIPTextModel.from_pretrained(folder / "text_encoder", **here),
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", **here),
        "vae": Autoencoder.from_pretrained(folder / "vae", **here),
        "scheduler": _scheduler(json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))),
    }


def _from_single_file(file: Path) -> dict[str, Any]:
    from diffusers import StableDiffusionPipeline
    from diffusers.loaders.single_file_utils import SingleFileComponentError

    try:
        pipe = StableDiffusionPipeline.from_single_file(file, safety_checker=None, requires_safety_checker=False)
    except SingleFileComponentError as error:
        raise ValueError(error) from error
    return {
        "tokenizer": pipe.tokenizer,
        "text_encoder": pipe.text_encoder,
        "unet": pipe.unet,
        "vae": pipe.vae,
        "scheduler": _scheduler(pipe.scheduler.config),
    }


def _scheduler(config: Any) -> Any:
    """DPM-Solver++ with Karras sigmas, for the noise that the checkpoint was trained with."""
    return DPMSolverMultistepScheduler.from_config(config, use_karras_sigmas=True)
