"""What a .safetensors file says of its tensors, read without opening it as one: no library, and no weight is touched."""

import json
import struct
from pathlib import Path

MAX_HEADER = 100_000_000  # bytes; the format's own limit
CLIP_WIDTH = "vision_model.embeddings.class_embedding"


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Tensor name -> shape. Raises ValueError when the file is no .safetensors file or shorter than it says; OSError."""
    with open(path, "rb") as file:
        start = file.read(8)
        (length,) = struct.unpack("<Q", start) if len(start) == 8 else (0,)
        if not 2 <= length <= MAX_HEADER:
            raise ValueError("it doesn't begin like a .safetensors file")
        try:
            header = json.loads(file.read(length))
        except RecursionError as error:
            raise ValueError("its header is damaged") from error
    if not isinstance(header, dict):
        raise ValueError("its header is no object")
    header.pop("__metadata__", None)
    try:
        end = max((entry["data_offsets"][1] for entry in header.values()), default=0)
        found = {name: tuple(entry["shape"]) for name, entry in header.items()}
    except (TypeError, KeyError, IndexError) as error:
        raise ValueError("its header is damaged") from error
    if path.stat().st_size < 8 + length + end:
        raise ValueError("it is truncated: download it again")
    return found


def clip_width(path: Path) -> int | None:
    """Width of the CLIP vision model in the file (1280 for ViT-H); None when it holds none or can't be read."""
    try:
        shape = shapes(path).get(CLIP_WIDTH)
    except (OSError, ValueError):
        return None
    return shape[-1] if shape else None
