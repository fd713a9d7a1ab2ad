"""Checkpoints and ControlNets that hold nothing but what they are known by."""

import torch
from safetensors.torch import save_file

UNET = "model.diffusion_model."
BASES = {
    "SD1.5": (768, ["cond_stage_model.transformer.x"], {}),
    "SDXL": (
        2048,
        ["conditioner.embedders.0.transformer.x", "conditioner.embedders.1.model.x"],
        {f"{UNET}label_emb.0.0.weight": torch.zeros(2, 2816)},
    ),
    "SD2": (1024, ["cond_stage_model.model.x"], {}),
}


def save_checkpoint(path, base, blocks=2):
    """Nothing but what it is known by."""
    context, encoders, more = BASES[base]
    state = {f"{UNET}input_blocks.0.0.weight": torch.zeros(1, 4, 1, 1), "first_stage_model.x": torch.zeros(1), **more}
    state |= {
        f"{UNET}input_blocks.{n}.1.transformer_blocks.0.attn2.to_k.weight": torch.zeros(1, context) for n in range(blocks)
    }
    save_file(state | {name: torch.zeros(1) for name in encoders}, path)


def save_controlnet(path, context=2048, added=2816):
    state = {
        "controlnet_cond_embedding.conv_in.weight": torch.zeros(1),
        "down_blocks.0.attn2.to_k.weight": torch.zeros(1, context),
    }
    save_file(state | ({"add_embedding.linear_1.weight": torch.zeros(1, added)} if added else {}), path)
