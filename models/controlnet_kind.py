"""For which base model a ControlNet was made: told by its header, before any weight is read."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import UnreadableFileError
from .checkpoint_kind import Shapes
from .safetensors_header import shapes

HINT = "controlnet_cond_embedding."  # what reads the hint image, in diffusers' names
SIZES = "add_embedding.linear_1.weight"  # SDXL's way in for the picture's size and the pooled text
ATTENTION = ".attn2.to_k.weight"
NAMES = {(768, None): "SD1.5", (1024, None): "SD2", (2048, 2816): "SDXL"}


@dataclass(frozen=True)
class ControlNetKind:
    """context_dim: width of what its cross-attention reads; added: width of what it is told beside; both None where the file
    holds no ControlNet in diffusers' names."""

    context_dim: int | None = None
    added: int | None = None

    def in_words(self) -> str:
        """ "a ControlNet for SDXL (context width 2048)"."""
        if self.context_dim is None:
            return "no ControlNet in diffusers' form"
        base = NAMES.get((self.context_dim, self.added), "another base")
        return f"a ControlNet for {base} (context width {self.context_dim})"

    def fits(self, context_dim: int | None) -> bool:
        """Whether it was made for an SDXL with a text context of that width."""
        return self.added is not None and self.context_dim == context_dim


def controlnet_kind(path: Path, default: ControlNetKind | None = None) -> ControlNetKind:
    """Raises UnreadableFileError when it is no .safetensors file, unless there is a default for that."""
    try:
        return _of_names(shapes(path))
    except (OSError, ValueError, LookupError) as error:
        if default is not None:
            return default
        raise UnreadableFileError(f"{path} can't be read as a ControlNet: {error}") from error


def _of_names(names: Shapes) -> ControlNetKind:
    context = next((shape[-1] for name, shape in names.items() if name.endswith(ATTENTION)), None)
    if context is None or f"{HINT}conv_in.weight" not in names:
        return ControlNetKind()
    return ControlNetKind(context, names[SIZES][-1] if SIZES in names else None)
