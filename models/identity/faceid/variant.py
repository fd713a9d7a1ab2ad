"""Which of the published FaceID adapters a file holds: told by the names and shapes of its tensors, not by its name.

Source of the layouts: https://github.com/tencent-ailab/IP-Adapter and the files of h94/IP-Adapter-FaceID.
"""

from dataclasses import dataclass

from ....errors import NotAnAdapterError
from ..adapter_file import AdapterFile
from ..keys_values import count_blocks, matrix_names
from .projection import LATENTS, STRUCTURE, missing_weights
from .shapes import IDENTITY_DIM, wrong_shapes

BASES = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}  # by width of the text context
SUFFIXES = {768: "sd15", 2048: "sdxl"}
EXPECTED = (
    f"A FaceID file has image_proj.proj.0.weight [*, {IDENTITY_DIM}] (FaceID, Plus, portrait) or image_proj.latents and "
    f"image_proj.proj_in.weight [*, {IDENTITY_DIM}] (portrait-unnorm), and ip_adapter.1.to_k_ip.weight and to_v_ip.weight, "
    "ip_adapter.3.… and so on, for each cross-attention block"
)

# Plus v1 and v2 have the same tensor names and shapes; only v2 adds its structure branch to the identity tokens. v1 was
# published once, for SD1.5, and is known by its digest, or by the note that `models convert` leaves in its twin.
PLUS_V1 = "faceid-plus_sd15"
PLUS_V1_SHA256 = "252fb53e0d018489d9e7f9b9e2001a52ff700e491894011ada7cfb471e0fadf2"
VARIANT_NOTE = "facegen.variant"


@dataclass(frozen=True)
class Variant:
    """The kind of adapter in a file.

    name          such as "faceid-plusv2_sd15".
    context_dim   width of the UNet's text context: 768 for SD1.5, 2048 for SDXL.
    tokens        identity tokens per face.
    clip_dim      width of the CLIP vision states it reads; None without a structure branch.
    shortcut      True when the structure branch is scaled by s_scale and added to the identity tokens.
    raw_identity  True when it reads the embedding as the recogniser gives it, not normalised.
    """

    name: str
    context_dim: int
    tokens: int
    clip_dim: int | None = None
    shortcut: bool = False
    raw_identity: bool = False

    @property
    def base(self) -> str:
        """The base model that it was made for, in words."""
        return base_name(self.context_dim)


def base_name(context_dim: int) -> str:
    """The base model with a text context of that width, in words."""
    return BASES.get(context_dim, "another base")


def recognise(file: AdapterFile) -> Variant:
    """Which variant the file is. Raises NotAnAdapterError, with what was expected and what was found, for any other file."""
    needed = matrix_names(max(1, count_blocks(file)))
    if missing := [*missing_weights(file), *(name for name in needed if name not in file)]:
        raise _unknown(file, f"lacks {', '.join(missing[:4])}{', …' if len(missing) > 4 else ''}")
    _require_identity(file, "image_proj.proj_in.weight" if LATENTS in file else "image_proj.proj.0.weight")
    if wrong := wrong_shapes(file):
        raise _unknown(file, f"holds tensors of the wrong shape: {'; '.join(wrong[:3])}{'; …' if len(wrong) > 3 else ''}")
    if LATENTS in file:
        return _unnorm(file)
    (context_dim,) = file.shape("image_proj.norm.weight")
    tokens = file.shape("image_proj.proj.2.weight")[0] // context_dim
    if f"{STRUCTURE}.proj_in.weight" in file:
        clip_dim = file.shape(f"{STRUCTURE}.proj_in.weight")[1]
        v1 = context_dim == 768 and _is_plus_v1(file)
        return Variant(PLUS_V1 if v1 else _named("faceid-plusv2", context_dim), context_dim, tokens, clip_dim, shortcut=not v1)
    kind = "faceid" if any("_lora." in name for name in file) else "faceid-portrait"
    return Variant(_named(kind, context_dim), context_dim, tokens)


def _unnorm(file: AdapterFile) -> Variant:
    (context_dim,) = file.shape("image_proj.norm_out.weight")
    name = f"{_named('faceid-portrait', context_dim)}_unnorm"
    return Variant(name, context_dim, tokens=file.shape(LATENTS)[1], raw_identity=True)


def _named(kind: str, context_dim: int) -> str:
    return f"{kind}_{SUFFIXES.get(context_dim, f'context{context_dim}')}"


def _is_plus_v1(file: AdapterFile) -> bool:
    if file.path.suffix.lower() == ".safetensors":
        return file.metadata.get(VARIANT_NOTE) == PLUS_V1
    return file.sha256() == PLUS_V1_SHA256


def _require_identity(file: AdapterFile, name: str) -> None:
    shape = file.shape(name)
    if len(shape) == 2 and (width := shape[1]) != IDENTITY_DIM:
        raise _unknown(
            file, f"has {name} of width {width}, as IP-Adapters that read a picture have, in place of {IDENTITY_DIM}"
        )


def _unknown(file: AdapterFile, why: str) -> NotAnAdapterError:
    held = f"{len(file)} tensors{': ' + ', '.join(sorted(file)[:4]) + ', …' if len(file) else ''}"
    return NotAnAdapterError(f"{file.path} is not a FaceID adapter: it {why}.", f"{EXPECTED}. This file holds {held}.")
