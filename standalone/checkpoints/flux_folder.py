"""FLUX.1 as a diffusers folder: each network in a folder of its own, with its configuration."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from transformers.models.clip import CLIPTextModel, CLIPTokenizer
from transformers.models.t5 import T5EncoderModel, T5TokenizerFast

from .folder import load_network


def from_flux_folder(folder: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a Flux. Raises OSError, ValueError or LookupError when something isn't there or doesn't fit."""

    def load(cls: Any, name: str) -> Any:
        return load_network(cls, folder / name, dtype).to(device, dtype)

    noise = json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8"))
    return {
        "tokenizers": [
            CLIPTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True),
            T5TokenizerFast.from_pretrained(folder / "tokenizer_2", local_files_only=True),
        ],
        "text_encoders": [load(CLIPTextModel, "text_encoder"), load(T5EncoderModel, "text_encoder_2")],
        "transformer": load(FluxTransformer2DModel, "transformer"),
        "vae": load(AutoencoderKL, "vae"),
        "scheduler": FlowMatchEulerDiscreteScheduler.from_config(noise),
    }
