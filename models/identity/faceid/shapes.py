"""Whether the tensors of a FaceID file fit each other: each has the shape that the projection, the blocks and the LoRA read."""

import re

from ..adapter_file import AdapterFile
from ..raw_embedding import LATENTS, raw_shapes
from ..resampler import resampler_shapes
from ..shapes import IDENTITY_DIM, Shapes
from .projection import STRUCTURE

LORA = re.compile(r"ip_adapter\.(\d{1,9})\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")


def wrong_shapes(file: AdapterFile) -> list[str]:
    """What doesn't fit, in words, in a file that holds all tensors that are needed."""
    shapes = Shapes(file)
    if LATENTS in file:
        raw_shapes(shapes)
    else:
        shapes.norm("image_proj.norm", "context")
        shapes.linear("image_proj.proj.0", "hidden", IDENTITY_DIM)
        shapes.linear("image_proj.proj.2", "all tokens", "hidden")
        if not shapes.wrong and shapes.sizes["all tokens"] % shapes.sizes["context"]:
            shapes.wrong.append(f"image_proj.proj.2.weight {list(file.shape('image_proj.proj.2.weight'))}, no whole tokens")
        resampler_shapes(shapes, STRUCTURE, "context", "states")
    shapes.blocks()
    _lora(shapes)
    return shapes.wrong


def _lora(shapes: Shapes) -> None:
    """Self- and cross-attention of block i have the numbers 2 i and 2 i + 1; the latter's keys and values read the text."""
    for name in shapes.file:
        if (match := LORA.fullmatch(name)) is None:
            continue
        index, part, side = int(match[1]), match[2], match[3]
        other = name.replace(f".{side}.", ".up." if side == "down" else ".down.")
        if other not in shapes.file:
            shapes.wrong.append(f"{name} without {other}")
        width, rank = f"width of block {index // 2}", f"rank of {index}.{part}"
        into = "context" if index % 2 and part in ("to_k", "to_v") else width
        shapes.need(name, *((rank, into) if side == "down" else (width, rank)))
