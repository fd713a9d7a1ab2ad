"""Whether the tensors of a FaceID file fit each other: each has the shape that the projection, the blocks and the LoRA read."""

import re

from ..adapter_file import AdapterFile
from ..keys_values import count_blocks, matrix_names
from .projection import HEAD_DIM, LATENTS, STRUCTURE

IDENTITY_DIM = 512
LORA = re.compile(r"ip_adapter\.(\d+)\.(to_q|to_k|to_v|to_out)_lora\.(down|up)\.weight")
Dim = int | str  # a number, or the name of a size that is the same wherever it stands


class Shapes:
    """Collects in `wrong` what doesn't fit, "NAME [3, 4], needed [hidden, 512]". Named sizes are learned from the first tensor
    that has them. A tensor that isn't there is passed over."""

    def __init__(self, file: AdapterFile):
        self.file, self.wrong = file, list[str]()
        self.sizes: dict[str, int] = {}

    def need(self, name: str, *dims: Dim) -> None:
        if name not in self.file:
            return
        shape = self.file.shape(name)
        if len(shape) != len(dims) or not all(map(self._fits, dims, shape)):
            needed = ", ".join(f"{dim} = {self.sizes[dim]}" if dim in self.sizes else str(dim) for dim in map(str, dims))
            self.wrong.append(f"{name} {list(shape)}, needed [{needed}]")

    def _fits(self, dim: Dim, size: int) -> bool:
        return size > 0 and size == (dim if isinstance(dim, int) else self.sizes.setdefault(dim, size))

    def linear(self, name: str, out: Dim, into: Dim) -> None:
        self.need(f"{name}.weight", out, into)
        self.need(f"{name}.bias", out)

    def norm(self, name: str, dim: Dim) -> None:
        self.need(f"{name}.weight", dim)
        self.need(f"{name}.bias", dim)


def wrong_shapes(file: AdapterFile) -> list[str]:
    """What doesn't fit, in words, in a file that holds all tensors that are needed."""
    shapes = Shapes(file)
    if LATENTS in file:
        shapes.norm("image_proj.norm_out", "context")
        shapes.need(LATENTS, 1, "tokens", "inner")
        _resampler(shapes, "image_proj", "inner", IDENTITY_DIM)
    else:
        shapes.norm("image_proj.norm", "context")
        shapes.linear("image_proj.proj.0", "hidden", IDENTITY_DIM)
        shapes.linear("image_proj.proj.2", "all tokens", "hidden")
        if not shapes.wrong and shapes.sizes["all tokens"] % shapes.sizes["context"]:
            shapes.wrong.append(f"image_proj.proj.2.weight {list(file.shape('image_proj.proj.2.weight'))}, no whole tokens")
        _resampler(shapes, STRUCTURE, "context", "states")
    _blocks(shapes)
    _lora(shapes)
    return shapes.wrong


def _resampler(shapes: Shapes, root: str, dim: str, states: Dim) -> None:
    shapes.linear(f"{root}.proj_in", dim, states)
    shapes.linear(f"{root}.proj_out", "context", dim)
    shapes.norm(f"{root}.norm_out", "context")
    layer = 0
    while f"{root}.layers.{layer}.0.to_q.weight" in shapes.file:
        heads, hidden = f"heads of layer {layer}", f"hidden of layer {layer}"
        attention, feed_forward = f"{root}.layers.{layer}.0", f"{root}.layers.{layer}.1"
        shapes.norm(f"{attention}.norm1", dim)
        shapes.norm(f"{attention}.norm2", dim)
        shapes.linear(f"{attention}.to_q", heads, dim)
        inner = shapes.sizes.get(heads, HEAD_DIM)
        if inner % HEAD_DIM:
            shapes.wrong.append(
                f"{attention}.to_q.weight {list(shapes.file.shape(f'{attention}.to_q.weight'))}, no whole heads"
            )
        shapes.linear(f"{attention}.to_kv", 2 * inner, dim)
        shapes.linear(f"{attention}.to_out", dim, inner)
        shapes.norm(f"{feed_forward}.0", dim)
        shapes.linear(f"{feed_forward}.1", hidden, dim)
        shapes.linear(f"{feed_forward}.3", dim, hidden)
        layer += 1


def _blocks(shapes: Shapes) -> None:
    for number, name in enumerate(matrix_names(count_blocks(shapes.file))):
        shapes.need(name, f"width of block {number // 2}", "context")


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
