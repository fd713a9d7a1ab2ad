"""How the networks of a single file are built: as diffusers and transformers configure them, from the tensors' shapes.

Heads, factors and activations that no shape tells are those of the published SD1.5 and SDXL.
"""

from collections.abc import Mapping
from typing import Any

from ...models.checkpoint_kind import LABELS, SDXL, UNET, VAE

HEADS, HEAD_WIDTH = 8, 64  # SD1.5 has as many heads everywhere, SDXL heads as wide everywhere
LATENT_SCALE = {SDXL: 0.13025}
SD15_LATENT_SCALE = 0.18215
TRAINED_NOISE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
CROSS, PLAIN = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
OPEN_CLIP_LAYERS = "transformer.resblocks."

Shapes = Mapping[str, tuple[int, ...]]


def unet_config(base: str, names: Shapes, pooled: int) -> dict[str, Any]:
    """pooled: width of the pooled text that SDXL reads. Raises ValueError when the blocks are laid out as in neither."""
    part = {name.removeprefix(UNET): shape for name, shape in names.items() if name.startswith(UNET)}
    widths, depths, layers = _levels(part)
    middle = _depth(part, "middle_block.1")
    up = [_depth(part, f"output_blocks.{i}.1") for i in range(len(widths) * (layers + 1))]
    if up != [depth for depth in reversed(depths) for _ in range(layers + 1)] or middle != (depths[-1] or 1):
        raise ValueError(
            f"its UNet isn't laid out like that of {base}, as a distilled one isn't; its diffusers folder is needed"
        )
    config: dict[str, Any] = {
        "in_channels": part["input_blocks.0.0.weight"][1],
        "out_channels": part["out.2.weight"][0],
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": [(CROSS if depth else PLAIN)[0] for depth in depths],
        "up_block_types": [(CROSS if depth else PLAIN)[1] for depth in reversed(depths)],
        "transformer_layers_per_block": [depth or 1 for depth in depths],
        "cross_attention_dim": next(shape[1] for name, shape in part.items() if name.endswith(".attn2.to_k.weight")),
        "use_linear_projection": len(part["middle_block.1.proj_in.weight"]) == 2,
        "attention_head_dim": HEADS,  # diffusers calls so the number of heads
    }
    if base == SDXL:
        added = names[LABELS][1]
        config |= {
            "attention_head_dim": [width // HEAD_WIDTH for width in widths],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (added - pooled) // 6,  # of each of the six numbers that tell size and crop
            "projection_class_embeddings_input_dim": added,
        }
    return config


def _levels(part: Shapes) -> tuple[list[int], list[int], int]:
    """Of each level of the way down its width and its blocks' transformer layers; and how many blocks a level has."""
    levels: list[list[tuple[int, int]]] = [[]]
    number = 1
    while any(name.startswith(f"input_blocks.{number}.") for name in part):
        if f"input_blocks.{number}.0.op.weight" in part:
            levels.append([])
        else:
            width = part[f"input_blocks.{number}.0.in_layers.2.weight"][0]
            levels[-1].append((width, _depth(part, f"input_blocks.{number}.1")))
        number += 1
    if any(len(set(level)) != 1 or len(level) != len(levels[0]) for level in levels):
        raise ValueError("the blocks of its UNet aren't alike within a level")
    return [level[0][0] for level in levels], [level[0][1] for level in levels], len(levels[0])


def _depth(part: Shapes, block: str) -> int:
    return numbers(part, f"{block}.transformer_blocks.")


def numbers(part: Shapes, start: str) -> int:
    """How many parts there are, of which each has its number after `start`."""
    return len({name.removeprefix(start).partition(".")[0] for name in part if name.startswith(start)})


def vae_config(base: str, names: Shapes) -> dict[str, Any]:
    """Of a whole autoencoder, not of a tiny one."""
    widths: list[int] = []
    while (first := f"{VAE}encoder.down.{len(widths)}.block.0.conv1.weight") in names:
        widths.append(names[first][0])
    if not widths:
        raise ValueError("its VAE isn't a Stable Diffusion VAE")
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": numbers(names, f"{VAE}encoder.down.0.block."),
        "latent_channels": names[f"{VAE}post_quant_conv.weight"][0],
        "scaling_factor": LATENT_SCALE.get(base, SD15_LATENT_SCALE),
        "force_upcast": base == SDXL,  # its VAE overflows in half precision
    }


def clip_config(part: Shapes, open_clip: bool) -> dict[str, Any]:
    """Of a CLIP text encoder by its tensors: `open_clip` in OpenCLIP's names, else in transformers' as they stand."""
    tokens = part["token_embedding.weight" if open_clip else "embeddings.token_embedding.weight"]
    fc = f"{OPEN_CLIP_LAYERS}0.mlp.c_fc.weight" if open_clip else "encoder.layers.0.mlp.fc1.weight"
    width = tokens[1]
    return {
        "vocab_size": tokens[0],
        "hidden_size": width,
        "intermediate_size": part[fc][0],
        "num_hidden_layers": numbers(part, OPEN_CLIP_LAYERS if open_clip else "encoder.layers."),
        "num_attention_heads": max(1, width // HEAD_WIDTH),
        "hidden_act": "gelu" if open_clip else "quick_gelu",
        "projection_dim": part.get("text_projection", part.get("text_projection.weight", (width,)))[-1],
        "bos_token_id": tokens[0] - 2,
        "eos_token_id": tokens[0] - 1,
        "pad_token_id": 1,
    }
