"""A checkpoint as a diffusers folder: each network in a folder of its own, with its configuration."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers.models.clip import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ...models.checkpoint_kind import HALF, SDXL, CheckpointKind


def from_folder(kind: CheckpointKind, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a StableDiffusion. Raises OSError, ValueError or LookupError when something isn't there or doesn't fit."""
    folder = kind.path
    index = json.loads((folder / "model_index.json").read_text(encoding="utf-8"))
    if index.get("vae", ["", ""])[1] == "AutoencoderTiny":
        from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny as Autoencoder
    else:
        from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL as Autoencoder
    encoders: list[tuple[str, Any]] = [("", CLIPTextModel)]
    if kind.base == SDXL:
        encoders.append(("_2", CLIPTextModelWithProjection))

    def load(cls: Any, name: str) -> Any:
        return load_network(cls, folder / name, dtype).to(device, dtype)

    return {
        "tokenizers": [CLIPTokenizer.from_pretrained(folder / f"tokenizer{end}", local_files_only=True) for end, _ in encoders],
        "text_encoders": [load(cls, f"text_encoder{end}") for end, cls in encoders],
        "unet": load(UNet2DConditionModel, "unet"),
        "vae": load(Autoencoder, "vae"),
        "noise": json.loads((folder / "scheduler" / "scheduler_config.json").read_text(encoding="utf-8")),
    }


def load_network(cls: Any, folder: Path, dtype: torch.dtype) -> Any:
    """From the weights in half precision where there are no others, as many folders of SDXL are published."""
    weights = [file.name for file in folder.glob("*") if file.suffix in (".safetensors", ".bin")]
    variant = HALF.strip(".") if weights and all(HALF in name for name in weights) else None
    return cls.from_pretrained(folder, local_files_only=True, variant=variant, dtype=dtype)
