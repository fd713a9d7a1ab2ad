"""An InstantID adapter: what a file holds, and the tokens, keys and values that come out of it.

The ControlNet that belongs to the method is a file of its own; the tokens are its context, in place of the text's.
Source: InstantID, https://github.com/instantX-research/InstantID; paper arXiv:2401.07519.
"""

from pathlib import Path

import torch
from torch import Tensor

from ...face.embeds import FaceEmbeds
from ..adapter import IdentityAdapter, by_person
from ..adapter_file import AdapterFile
from ..raw_embedding import INSTANTID, LATENTS, is_instantid, raw_missing, raw_shapes, raw_tokens
from ..shapes import IDENTITY_DIM, Shapes
from ..variant import Variant, not_an_adapter, require_shapes, require_tensors

METHOD = "InstantID"
EXPECTED = (
    f"An InstantID file has image_proj.latents, image_proj.proj_in.weight [*, {IDENTITY_DIM}], image_proj.layers.…, and "
    "ip_adapter.1.to_k_ip.weight and to_v_ip.weight, ip_adapter.3.… and so on, for each cross-attention block, and no LoRA"
)


class InstantIDAdapter(IdentityAdapter):
    """An opened InstantID file. Raises UnreadableFileError, or NotAnAdapterError when it is a file of another kind."""

    method, pack, recogniser = METHOD, "antelopev2", "glintr100"

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.variant = recognise(self.file)

    def check(self, face_embeds: FaceEmbeds) -> None:
        """Raises WrongRecogniserError unless the face embeds are of the recogniser that the adapter knows."""
        super().check(face_embeds)
        face_embeds.require_recogniser(self.recogniser, self.pack)

    def _sides(self, face_embeds: FaceEmbeds) -> Tensor:
        """[2, m, tokens, context_dim]. The embedding is read as it comes, and the unconditional side is that of zeros."""
        identity = face_embeds.identity.float()
        cond, uncond = raw_tokens(self.file, identity), raw_tokens(self.file, torch.zeros_like(identity[:1]))
        return by_person(cond, uncond, face_embeds)


def recognise(file: AdapterFile) -> Variant:
    """Raises NotAnAdapterError, with what was expected and what was found, unless the file is an InstantID adapter."""
    if any("_lora." in name for name in file) or (LATENTS not in file and "image_proj.proj.0.weight" in file):
        raise not_an_adapter(file, METHOD, "is a FaceID adapter", EXPECTED)
    require_tensors(file, METHOD, raw_missing(file), EXPECTED)
    shapes = Shapes(file)
    raw_shapes(shapes)
    shapes.blocks()
    require_shapes(file, METHOD, shapes.wrong, EXPECTED)
    if is_instantid(file) is False:
        raise not_an_adapter(file, METHOD, "is a FaceID adapter (portrait-unnorm)", EXPECTED)
    (context_dim,) = file.shape("image_proj.norm_out.weight")
    return Variant(INSTANTID, context_dim, tokens=file.shape(LATENTS)[1])
