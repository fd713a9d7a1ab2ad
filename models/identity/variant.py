"""Which adapter a file holds: told by the names and shapes of its tensors, not by its name."""

from dataclasses import dataclass

from ...errors import NotAnAdapterError
from .adapter_file import AdapterFile
from .keys_values import count_blocks, matrix_names

BASES = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}  # by width of the text context
VARIANT_NOTE = "facegen.variant"  # in the metadata of a .safetensors file, where names and shapes don't tell


@dataclass(frozen=True)
class Variant:
    """The kind of adapter in a file.

    name          such as "faceid-plusv2_sd15".
    context_dim   width of the UNet's text context: 768 for SD1.5, 2048 for SDXL.
    tokens        tokens per face.
    """

    name: str
    context_dim: int
    tokens: int

    @property
    def base(self) -> str:
        """The base model that it was made for, in words."""
        return base_name(self.context_dim)


def base_name(context_dim: int) -> str:
    """The base model with a text context of that width, in words."""
    return BASES.get(context_dim, "another base")


def require_tensors(file: AdapterFile, method: str, missing: list[str], expected: str) -> None:
    """Raises NotAnAdapterError when tensors are missing: those named, or keys and values of a block."""
    needed = matrix_names(max(1, count_blocks(file)))
    require_present(file, method, [*missing, *(name for name in needed if name not in file)], expected)


def require_present(file: AdapterFile, method: str, missing: list[str], expected: str) -> None:
    """Raises NotAnAdapterError when there is anything in `missing`."""
    if missing:
        raise not_an_adapter(file, method, f"lacks {', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}", expected)


def require_shapes(file: AdapterFile, method: str, wrong: list[str], expected: str) -> None:
    """Raises NotAnAdapterError when there is anything in `wrong`."""
    if wrong:
        more = "; …" if len(wrong) > 3 else ""
        raise not_an_adapter(file, method, f"holds tensors of the wrong shape: {'; '.join(wrong[:3])}{more}", expected)


def not_an_adapter(file: AdapterFile, method: str, why: str, expected: str) -> NotAnAdapterError:
    """ "FILE is not a METHOD adapter: it WHY.", with what was expected and what the file holds as details."""
    held = f"{len(file)} tensors{': ' + ', '.join(sorted(file)[:4]) + ', …' if len(file) else ''}"
    article = "an" if method[0] in "AEIO" else "a"
    message = f"{file.path} is not {article} {method} adapter: it {why}."
    return NotAnAdapterError(message, f"{expected}. This file holds {held}.")
