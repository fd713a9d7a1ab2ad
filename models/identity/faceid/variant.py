"""Which of the published FaceID adapters a file holds: told by the names and shapes of its tensors, not by its name.

Source of the layouts: https://github.com/tencent-ailab/IP-Adapter and the files of h94/IP-Adapter-FaceID.
"""

from dataclasses import dataclass

from ..adapter_file import AdapterFile
from ..raw_embedding import LATENTS, is_instantid
from ..shapes import IDENTITY_DIM
from ..variant import VARIANT_NOTE, Variant, not_an_adapter, require_shapes, require_tensors
from .projection import STRUCTURE, missing_weights
from .shapes import wrong_shapes

METHOD = "FaceID"
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


@dataclass(frozen=True)
class FaceIDVariant(Variant):
    """The kind of FaceID adapter in a file.

    clip_dim      width of the CLIP vision states it reads; None without a structure branch.
    shortcut      True when the structure branch is scaled by s_scale and added to the identity tokens.
    raw_identity  True when it reads the embedding as the recogniser gives it, not normalised.
    """

    clip_dim: int | None = None
    shortcut: bool = False
    raw_identity: bool = False


def recognise(file: AdapterFile) -> FaceIDVariant:
    """Which variant the file is. Raises NotAnAdapterError, with what was expected and what was found, for any other file."""
    require_tensors(file, METHOD, missing_weights(file), EXPECTED)
    _require_identity(file, "image_proj.proj_in.weight" if LATENTS in file else "image_proj.proj.0.weight")
    require_shapes(file, METHOD, wrong_shapes(file), EXPECTED)
    if LATENTS in file:
        return _unnorm(file)
    (context_dim,) = file.shape("image_proj.norm.weight")
    tokens = file.shape("image_proj.proj.2.weight")[0] // context_dim
    if f"{STRUCTURE}.proj_in.weight" in file:
        clip_dim = file.shape(f"{STRUCTURE}.proj_in.weight")[1]
        v1 = context_dim == 768 and _is_plus_v1(file)
        name = PLUS_V1 if v1 else _named("faceid-plusv2", context_dim)
        return FaceIDVariant(name, context_dim, tokens, clip_dim, shortcut=not v1)
    kind = "faceid" if any("_lora." in name for name in file) else "faceid-portrait"
    return FaceIDVariant(_named(kind, context_dim), context_dim, tokens)


def _unnorm(file: AdapterFile) -> FaceIDVariant:
    if is_instantid(file):
        raise not_an_adapter(file, METHOD, "is an InstantID adapter", EXPECTED)
    (context_dim,) = file.shape("image_proj.norm_out.weight")
    name = f"{_named('faceid-portrait', context_dim)}_unnorm"
    return FaceIDVariant(name, context_dim, tokens=file.shape(LATENTS)[1], raw_identity=True)


def _named(kind: str, context_dim: int) -> str:
    return f"{kind}_{SUFFIXES.get(context_dim, f'context{context_dim}')}"


def _is_plus_v1(file: AdapterFile) -> bool:
    if file.path.suffix.lower() == ".safetensors":
        return file.metadata.get(VARIANT_NOTE) == PLUS_V1
    return file.sha256() == PLUS_V1_SHA256


def _require_identity(file: AdapterFile, name: str) -> None:
    shape = file.shape(name)
    if len(shape) == 2 and (width := shape[1]) != IDENTITY_DIM:
        why = f"has {name} of width {width}, as IP-Adapters that read a picture have, in place of {IDENTITY_DIM}"
        raise not_an_adapter(file, METHOD, why, EXPECTED)
