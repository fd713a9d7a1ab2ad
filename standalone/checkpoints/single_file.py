"""A checkpoint in one .safetensors file, as they are published for ComfyUI: what it needs beside its weights is made here.

The weights are mapped from the file, and turned once into the numbers that are computed with. Nothing is fetched.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from transformers.models.clip import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ...models.checkpoint_kind import SDXL, TEXT_ENCODERS, UNET, V_PREDICTION, VAE, ZERO_SNR, CheckpointKind
from .clip_tokenizer import EOS, LENGTH, clip_merges, save_tokenizer
from .configs import TRAINED_NOISE, clip_config, unet_config, vae_config
from .networks import Tensors, build, read_tensors
from .open_clip import from_open_clip

PADS = (EOS, "!")  # what short texts are filled up with: for CLIP-L, and for SDXL's second text encoder
EMBEDDING, VOCABULARY = "token_embedding.weight", 49408  # tokens of OpenAI's CLIP
WRAPPER = "text_model."  # before the names of transformers' text encoders; published files have it or not


def from_single_file(kind: CheckpointKind, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """The parts of a StableDiffusion. Raises ValueError or RuntimeError when the tensors don't make up the networks."""
    tensors = read_tensors(kind.path)
    names = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    encoders = [_text_encoder(tensors, start, dtype).to(device, dtype) for start in TEXT_ENCODERS[kind.base]]
    pooled = encoders[-1].config.projection_dim
    unet = build(UNet2DConditionModel, _part(tensors, UNET), unet_config(kind.base, names, pooled))
    vae = build(AutoencoderKL, _part(tensors, VAE), vae_config(kind.base, names))
    return {
        "tokenizers": [_tokenizer(pad) for pad in PADS[: len(encoders)]],
        "text_encoders": encoders,
        "unet": unet.to(device, dtype),
        "vae": vae.to(device, dtype),
        "noise": TRAINED_NOISE | _prediction(kind.base, tensors),
    }


def _part(tensors: Tensors, start: str) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(start)}


def _prediction(base: str, tensors: Tensors) -> dict[str, Any]:
    """What the UNet predicts, and whether its noise ends without any signal: SDXL files say it by tensors of these names."""
    if base != SDXL or V_PREDICTION not in tensors:
        return {"prediction_type": "epsilon"}
    return {"prediction_type": "v_prediction", "rescale_betas_zero_snr": ZERO_SNR in tensors}


def _text_encoder(tensors: Tensors, start: str, dtype: torch.dtype) -> Any:
    part = {name.removeprefix(start).removeprefix(WRAPPER): tensor for name, tensor in _part(tensors, start).items()}
    open_clip = "positional_embedding" in part
    known = len(part[EMBEDDING if open_clip else f"embeddings.{EMBEDDING}"])
    if known != VOCABULARY:  # the number of the mark at a text's end would be another, too
        raise ValueError(f"its text encoder knows {known} tokens, needed {VOCABULARY}")
    config = CLIPTextConfig(**clip_config({name: tuple(t.shape) for name, t in part.items()}, open_clip))
    state = from_open_clip(part) if open_clip else part
    cls = CLIPTextModelWithProjection if open_clip else CLIPTextModel
    encoder, report = cls.from_pretrained(
        None, config=config, state_dict=_as_named(cls, config, state), dtype=dtype, output_loading_info=True
    )
    if lacking := sorted(report["missing_keys"]):
        raise ValueError(f"it lacks {len(lacking)} tensors of the text encoder: {', '.join(lacking[:3])}")
    return encoder


def _as_named(cls: Any, config: CLIPTextConfig, state: Tensors) -> dict[str, Tensor]:
    """With the names that this version of transformers gives the encoder's own tensors."""
    with torch.device("meta"):
        wanted = cls(config).state_dict()
    return {name if name in wanted else f"{WRAPPER}{name}": tensor for name, tensor in state.items()}


def _tokenizer(pad: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        save_tokenizer(Path(folder), clip_merges(), pad)
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True, model_max_length=LENGTH)
