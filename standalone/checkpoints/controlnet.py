"""A ControlNet of SDXL in diffusers' names, as InstantID's is published; its configuration follows from its tensors."""

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from ...errors import FaceGenError, WrongBaseModelError
from ...models.controlnet_kind import ATTENTION, HINT, SIZES, ControlNetKind, controlnet_kind
from ..memory import is_out_of_memory
from .configs import HEAD_WIDTH, Shapes, numbers
from .networks import build, read_tensors


def open_controlnet(path: Path, unet: Any, device: torch.device, dtype: torch.dtype) -> Any:
    """diffusers' ControlNetModel for this UNet of SDXL.

    Raises UnreadableFileError, WrongBaseModelError when it wasn't made for such a UNet, or FaceGenError; an error about memory
    as it is.
    """
    kind = controlnet_kind(path)
    needed = ControlNetKind(unet.config.cross_attention_dim, unet.config.projection_class_embeddings_input_dim)
    if kind != needed:
        raise WrongBaseModelError(f"{path} is {kind.in_words()}, and {needed.in_words()} is needed.")
    from diffusers.models.controlnets.controlnet import ControlNetModel

    try:
        tensors = read_tensors(path)
        config = _config({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        config["addition_time_embed_dim"] = unet.config.addition_time_embed_dim
        return build(ControlNetModel, tensors, config).to(device, dtype).eval()
    except (OSError, ValueError, LookupError, RuntimeError, SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        raise FaceGenError(f"{path} could not be loaded as a ControlNet of SDXL: {error}") from error


def _config(names: Shapes) -> dict[str, Any]:
    levels = range(numbers(names, "down_blocks."))
    widths = [names[f"down_blocks.{level}.resnets.0.conv1.weight"][0] for level in levels]
    depths = [numbers(names, f"down_blocks.{level}.attentions.0.transformer_blocks.") for level in levels]
    hint = numbers(names, f"{HINT}blocks.")
    return {
        "in_channels": names["conv_in.weight"][1],
        "conditioning_channels": names[f"{HINT}conv_in.weight"][1],
        "conditioning_embedding_out_channels": [
            names[f"{HINT}conv_in.weight"][0],
            *(names[f"{HINT}blocks.{number}.weight"][0] for number in range(1, hint, 2)),
        ],
        "block_out_channels": widths,
        "layers_per_block": numbers(names, "down_blocks.0.resnets."),
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "transformer_layers_per_block": [depth or 1 for depth in depths],
        "attention_head_dim": [width // HEAD_WIDTH for width in widths],
        "cross_attention_dim": next(shape[1] for name, shape in names.items() if name.endswith(ATTENTION)),
        "use_linear_projection": len(names["mid_block.attentions.0.proj_in.weight"]) == 2,
        "addition_embed_type": "text_time",
        "projection_class_embeddings_input_dim": names[SIZES][1],
    }
